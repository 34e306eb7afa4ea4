//! Waiting until a revocation holds everywhere ends when it does, and no later than the bound.

use std::time::Duration;

use adieu::{revocation::Cursor, time::Clock as _, token::StalePolicy};
use adieu_server::feed::{Everywhere, Follower, Lease};
use tokio::time::{Instant, sleep};

use super::support::{BOUND, Served};

impl Served {
    fn follow(&self, id: &str, max_staleness: Duration, stale_policy: StalePolicy, applied: &Cursor) -> Lease {
        let follower = Follower { client: "billing", id, max_staleness, stale_policy, agent: "" };
        let lease = self.leases.renew(&follower, self.clock.moment()).unwrap();
        self.leases.record_applied(&lease, applied.clone());
        lease
    }

    /// Revokes, waits until the revocation holds everywhere, and returns how long that took.
    async fn revoke_everywhere(&self) -> (Everywhere, Duration) {
        self.revoke("ended").await;
        let started = Instant::now();
        let everywhere = self.feed.everywhere().await.unwrap();
        (everywhere, started.elapsed())
    }
}

fn counts(acknowledged: usize, waited_out: usize, unbounded: usize) -> Everywhere {
    let mut counts = Everywhere::default();
    (counts.acknowledged, counts.waited_out, counts.unbounded) = (acknowledged, waited_out, unbounded);
    counts
}

const MILLISECOND: Duration = Duration::from_millis(1);

#[tokio::test(start_paused = true)]
async fn without_followers_it_is_answered_at_once() {
    let served = Served::long_since().await;
    assert_eq!(served.revoke_everywhere().await, (counts(0, 0, 0), Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn after_a_start_there_may_be_followers_that_are_not_known_yet() {
    let served = Served::start();
    sleep(BOUND / 4).await;
    let (everywhere, took) = served.revoke_everywhere().await;
    assert_eq!(everywhere, counts(0, 0, 0));
    assert!(took >= BOUND * 3 / 4 && took < BOUND, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn it_waits_for_each_follower_to_say_that_it_has_it() {
    let served = Served::long_since().await;
    let before = served.catch_up().await;
    let first = served.follow("first", BOUND, StalePolicy::Reject, &before);
    let second = served.follow("second", BOUND, StalePolicy::Reject, &before);
    let after_a_while = async {
        sleep(Duration::from_millis(100)).await;
        let head = served.feed.hub.head().await.unwrap();
        served.leases.record_applied(&first, head.clone());
        sleep(Duration::from_millis(200)).await;
        served.leases.record_applied(&second, head);
    };
    let ((everywhere, took), ()) = tokio::join!(served.revoke_everywhere(), after_a_while);
    assert_eq!(everywhere, counts(2, 0, 0));
    assert!(took >= Duration::from_millis(300) && took < Duration::from_millis(310), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn what_was_said_of_an_earlier_position_is_no_acknowledgement() {
    let served = Served::long_since().await;
    let before = served.catch_up().await;
    let lease = served.follow("slow", BOUND, StalePolicy::Reject, &before);
    let goes_on_asking = async {
        let follower = Follower {
            client: "billing",
            id: "slow",
            max_staleness: BOUND,
            stale_policy: StalePolicy::Reject,
            agent: "",
        };
        for _ in 0..50 {
            sleep(Duration::from_millis(100)).await;
            served.leases.renew(&follower, served.clock.moment()).unwrap();
            served.leases.record_applied(&lease, before.clone());
        }
    };
    // It still sends requests, but its knowledge is from before: it rejects tokens once that is older than its bound.
    let ((everywhere, took), ()) = tokio::join!(served.revoke_everywhere(), goes_on_asking);
    assert_eq!(everywhere, counts(0, 1, 0));
    assert!(took >= BOUND && took <= BOUND + 10 * MILLISECOND, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_silent_follower_is_waited_out() {
    let served = Served::long_since().await;
    let before = served.catch_up().await;
    served.follow("silent", BOUND, StalePolicy::Reject, &before);
    served.follow("silent-and-strict", BOUND / 4, StalePolicy::Reject, &before);
    sleep(BOUND / 8).await;
    let (everywhere, took) = served.revoke_everywhere().await;
    assert_eq!(everywhere, counts(0, 2, 0));
    // Counted from its last request, not from the revocation.
    let expected = BOUND - BOUND / 8;
    assert!(took >= expected && took <= expected + 10 * MILLISECOND, "{took:?}");

    // By now both leases are removed.
    assert_eq!(served.revoke_everywhere().await, (counts(0, 0, 0), Duration::ZERO));
    assert_eq!(served.leases.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn of_one_that_goes_on_accepting_silence_proves_nothing() {
    let served = Served::long_since().await;
    let before = served.catch_up().await;
    served.follow("accepting", BOUND, StalePolicy::Accept, &before);
    sleep(BOUND / 2).await;
    let (everywhere, took) = served.revoke_everywhere().await;
    assert_eq!(everywhere, counts(0, 0, 1));
    assert!(took >= BOUND && took <= BOUND + 10 * MILLISECOND, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_log_that_can_not_be_read_is_waited_out() {
    let served = Served::long_since().await;
    let before = served.catch_up().await;
    served.follow("one", BOUND, StalePolicy::Reject, &before);
    served.log.set_broken(true);
    let (everywhere, took) = served.revoke_everywhere().await;
    assert_eq!(everywhere, counts(0, 1, 0));
    assert!(took >= BOUND && took <= BOUND + 10 * MILLISECOND, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_log_that_does_not_answer_holds_nobody_up_for_longer_than_the_bound() {
    let served = Served::long_since().await;
    let before = served.catch_up().await;
    served.follow("one", BOUND, StalePolicy::Reject, &before);
    served.log.hang();
    let started = Instant::now();
    assert_eq!(served.feed.everywhere().await.unwrap(), counts(0, 1, 0));
    assert!(started.elapsed() <= BOUND + 10 * MILLISECOND, "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_was_said_of_another_log_is_no_acknowledgement() {
    let served = Served::long_since().await;
    for number in 0..10 {
        served.revoke(&format!("session-{number}")).await;
    }
    let before = served.catch_up().await;
    served.follow("one", BOUND, StalePolicy::Reject, &before);
    served.log.replace();
    assert_eq!(served.revoke_everywhere().await.0, counts(0, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_client_has_so_many_followers_and_no_more() {
    let served = Served::long_since().await;
    let refuse = StalePolicy::Reject;
    let renew = |client, number: usize| {
        let id = number.to_string();
        let follower = Follower { client, id: &id, max_staleness: BOUND, stale_policy: refuse, agent: "" };
        served.leases.renew(&follower, served.clock.moment()).is_ok()
    };
    assert!((0..10_000).all(|number| renew("billing", number)));
    assert!(!renew("billing", 10_000), "one too many");
    assert!(renew("billing", 9_999), "which is known");
    assert!(renew("shipping", 1), "another client");
    // Expired followers make room.
    sleep(BOUND).await;
    assert!(renew("billing", 10_000));
    assert_eq!(served.leases.count(), 1);
}
