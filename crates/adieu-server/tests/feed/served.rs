//! The pages that a node serves and the age that it states: no follower gets a page older than its stated age.

use std::{sync::Arc, time::Duration};

use adieu::{
    FreshnessLimit,
    revocation::{Cursor, Follower, Index, RevocationLog},
    time::Clock as _,
    token::StalePolicy,
};
use adieu_server::feed::{Answer, Feed, Joining};
use tokio::{sync::watch, time::sleep};

use super::support::{BOUND, Log, Members, READ_WAIT, RuntimeClock, Served, issuer, revocation, sessions};

/// Longer than the hub's interval and its reads, and shorter than the bound.
const BEHIND: Duration = Duration::from_millis(600);

/// Returns whether a follower that gets this answer now may accept a token of this session afterwards.
fn may_accept(answer: &Answer, session: &str) -> bool {
    !sessions(answer).iter().any(|known| known == session) && answer.age < BOUND
}

#[tokio::test(start_paused = true)]
async fn once_it_holds_everywhere_no_answer_is_from_before() {
    let served = Served::long_since().await;
    // As read by a follower whose lease has expired, or that has not given its name.
    let before = served.catch_up().await;
    served.log.delay_the_hub(BEHIND);
    sleep(BOUND).await;
    served.revoke("ended").await;
    served.feed.everywhere().await.unwrap();
    let answer = served.read(Some(&before), Duration::ZERO).await;
    assert!(!may_accept(&answer, "ended"), "it is {:?} old, with {:?}", answer.age, sessions(&answer));
}

#[tokio::test(start_paused = true)]
async fn also_when_the_log_has_just_come_back() {
    let served = Served::long_since().await;
    let before = served.catch_up().await;
    served.log.set_broken(true);
    sleep(BOUND / 2).await;
    served.log.set_broken(false);
    served.revoke("ended").await;
    served.feed.everywhere().await.unwrap();
    assert!(!may_accept(&served.read(Some(&before), Duration::ZERO).await, "ended"));
}

#[tokio::test(start_paused = true)]
async fn also_when_the_end_of_the_log_is_not_known() {
    let served = Served::long_since().await;
    let before = served.catch_up().await;
    served.revoke("ended").await;
    served.log.hang();
    served.feed.everywhere().await.unwrap();
    assert!(!may_accept(&served.read(Some(&before), Duration::ZERO).await, "ended"));
}

/// A node beside others, whose own index is up to date at once.
struct Node {
    log: Log,
    clock: Arc<RuntimeClock>,
    feed: Feed,
    own: watch::Sender<Option<Cursor>>,
    limit: FreshnessLimit,
}

impl Node {
    async fn join(log: Log, clock: &Arc<RuntimeClock>, members: Members, bound: Duration) -> Self {
        let joining = Joining::begin(Arc::new(members), clock.clone(), bound, StalePolicy::Reject).await.unwrap();
        let (own, limit) = (watch::Sender::new(None), joining.limit());
        let joining = Some((joining, own.subscribe()));
        let feed = Feed::start_among(Arc::new(log.clone()), clock.clone(), issuer(), bound, joining);
        Self { log, clock: Arc::clone(clock), feed, own, limit }
    }

    async fn settle(&self) {
        let end = self.log.read(None, Duration::ZERO).await.unwrap().cursor;
        self.own.send_replace(Some(end));
    }

    async fn read(&self, after: Option<&Cursor>) -> Answer {
        self.feed.hub.read(after, Duration::ZERO, self.clock.moment(), || ()).await.unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn another_node_says_that_it_has_it_once_it_serves_it() {
    let (log, clock, members) = (Log::new(), RuntimeClock::start(), Members::default());
    let here = Node::join(log.clone(), &clock, members.for_another(), BOUND).await;
    let slow = log.with_delay_of_its_own();
    let there = Node::join(slow.clone(), &clock, members, BOUND).await;
    sleep(BOUND).await;
    let before = there.read(None).await.page().cursor;
    slow.delay_the_hub(BEHIND);
    sleep(BOUND).await;
    log.append(vec![revocation("ended")]).await.unwrap();
    there.settle().await;
    let everywhere = here.feed.everywhere().await.unwrap();
    assert_eq!((everywhere.acknowledged, everywhere.waited_out), (1, 0), "it was waited for what it says");
    assert!(!may_accept(&there.read(Some(&before)).await, "ended"));
}

#[tokio::test(start_paused = true)]
async fn each_node_is_waited_for_as_long_as_its_own_bound() {
    let (log, clock, members) = (Log::new(), RuntimeClock::start(), Members::default());
    let here = Node::join(log.clone(), &clock, members.for_another(), BOUND).await;
    let _there = Node::join(log.clone(), &clock, members, BOUND * 5).await;
    sleep(BOUND * 5).await;
    log.append(vec![revocation("ended")]).await.unwrap();
    let revoked_at = clock.moment();
    let everywhere = here.feed.everywhere().await.unwrap();
    assert_eq!((everywhere.acknowledged, everywhere.waited_out), (0, 1));
    let took = clock.moment().since(revoked_at);
    assert!(took >= BOUND * 5, "answered after {took:?}, while the other may still accept");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_known_of_the_other_nodes_is_no_success() {
    let (log, clock, members) = (Log::new(), RuntimeClock::start(), Members::default());
    let here = Node::join(log.clone(), &clock, members.clone(), BOUND).await;
    sleep(BOUND).await;
    members.set_out_of_reach(true);
    log.append(vec![revocation("ended")]).await.unwrap();
    assert!(here.feed.everywhere().await.is_err());
    members.set_out_of_reach(false);
    here.feed.everywhere().await.unwrap();
}

/// A standby has taken over without the row of a node, which has read nothing since: that node accepts tokens until its bound has passed.
#[tokio::test(start_paused = true)]
async fn a_node_that_a_takeover_has_lost_is_waited_for() {
    let (log, clock, members) = (Log::new(), RuntimeClock::start(), Members::default());
    let here = Node::join(log.clone(), &clock, members.for_another(), BOUND).await;
    let of_lost = members.for_another();
    let _lost = Node::join(log.clone(), &clock, of_lost.clone(), BOUND * 2).await;
    sleep(BOUND * 3).await;
    log.append(vec![revocation("before")]).await.unwrap();
    let asked_at = clock.moment();
    here.feed.everywhere().await.unwrap();
    let took = clock.moment().since(asked_at);
    assert!(took >= BOUND * 2, "of one that is known and says nothing, too: {took:?}");

    of_lost.set_out_of_reach(true);
    members.take_over();
    let taken_over_at = clock.moment();
    log.append(vec![revocation("after")]).await.unwrap();
    here.feed.everywhere().await.unwrap();
    assert!(members.count() <= 1, "the node is not listed");
    let took = clock.moment().since(taken_over_at);
    assert!(took >= BOUND * 2, "answered after {took:?}, while an unlisted node may still accept");
    // After that it rejects tokens, and no node waits for it.
    sleep(BOUND).await;
    let asked_at = clock.moment();
    log.append(vec![revocation("later")]).await.unwrap();
    here.feed.everywhere().await.unwrap();
    assert!(clock.moment().since(asked_at) < BOUND);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_forgotten_refuses_until_it_is_known_again() {
    let (log, clock, members) = (Log::new(), RuntimeClock::start(), Members::default());
    let _here = Node::join(log.clone(), &clock, members.for_another(), BOUND).await;
    let there = Node::join(log.clone(), &clock, members.clone(), BOUND).await;
    let is_fresh = || clock.moment().since(there.limit.latest().unwrap()) <= BOUND;
    sleep(BOUND * 5).await;
    assert!(is_fresh());
    members.set_out_of_reach(true);
    while members.count() == 2 {
        sleep(Duration::from_millis(10)).await;
    }
    assert!(!is_fresh(), "it is not waited for any more, and counts as complete");
    members.set_out_of_reach(false);
    while members.count() == 1 {
        assert!(!is_fresh());
        sleep(Duration::from_millis(10)).await;
    }
    sleep(Duration::from_millis(10)).await;
    assert!(is_fresh());
}

#[tokio::test(start_paused = true)]
async fn a_store_that_can_only_be_read_makes_no_node_refuse() {
    let (log, clock, members) = (Log::new(), RuntimeClock::start(), Members::default());
    let here = Node::join(log.clone(), &clock, members.clone(), BOUND).await;
    let there = Node::join(log.clone(), &clock, members.clone(), BOUND).await;
    members.set_read_only(true);
    for _ in 0..2_000 {
        sleep(Duration::from_millis(100)).await;
        for node in [&here, &there] {
            let behind = clock.moment().since(node.limit.latest().unwrap());
            assert!(behind <= BOUND / 2, "{behind:?}");
        }
    }
    assert_eq!(members.count(), 2, "no node is forgotten meanwhile");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_can_only_read_refuses_before_it_is_forgotten() {
    let (log, clock, members) = (Log::new(), RuntimeClock::start(), Members::default());
    let _here = Node::join(log.clone(), &clock, members.for_another(), BOUND).await;
    let there = Node::join(log.clone(), &clock, members.clone(), BOUND).await;
    sleep(BOUND).await;
    members.set_read_only(true);
    while members.count() == 2 {
        sleep(Duration::from_millis(10)).await;
    }
    let behind = clock.moment().since(there.limit.latest().unwrap());
    assert!(behind > BOUND, "{behind:?}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_comes_late_takes_nothing_from_what_was_read_since() {
    let served = Served::long_since().await;
    served.revoke("old").await;
    served.catch_up().await;
    // During a read of the hub.
    sleep(BOUND + READ_WAIT / 2).await;

    served.log.replace();
    let release = served.log.hold_next_answer();
    let asking = {
        let feed = served.feed.clone();
        tokio::spawn(async move { feed.hub.head().await })
    };
    sleep(Duration::from_millis(1)).await;
    let start = served.catch_up().await;
    for session in ["one", "two"] {
        sleep(BOUND).await;
        served.revoke(session).await;
    }
    sleep(BOUND).await;
    // The answer says that the log is another one, which ends where it ended then.
    release.notify_one();
    asking.await.unwrap().unwrap();
    served.revoke("three").await;
    sleep(BOUND).await;
    assert_eq!(sessions(&served.read(Some(&start), Duration::ZERO).await), ["one", "two", "three"]);
}

/// Answers each read at once, as a node does that is about to shut down.
struct Hasty(Log);

#[async_trait::async_trait]
impl RevocationLog for Hasty {
    async fn append(
        &self,
        revocations: Vec<adieu::revocation::Revocation>,
    ) -> Result<adieu::revocation::Position, adieu::Error> {
        self.0.append(revocations).await
    }

    async fn read(&self, after: Option<&Cursor>, _: Duration) -> Result<adieu::revocation::Page, adieu::Error> {
        self.0.read(after, Duration::ZERO).await
    }

    async fn prune(&self, now: adieu::time::Timestamp) -> Result<adieu::revocation::Pruned, adieu::Error> {
        self.0.prune(now).await
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_is_answered_at_once_does_not_ask_at_once_again() {
    let (log, clock) = (Log::new(), RuntimeClock::start());
    let hasty = Arc::new(Hasty(log.clone()));
    let index = Arc::new(Index::new(clock.now()));
    let follower = Follower::start(hasty.clone(), index, clock.clone(), BOUND);
    let feed = Feed::start(hasty, clock.clone(), issuer(), BOUND);
    feed.hub.head().await.unwrap();
    sleep(BOUND * 10).await;
    let reads = log.reads.load(std::sync::atomic::Ordering::SeqCst);
    // The hub reads ten times a second, the follower twice.
    assert!(reads < 20 * 15, "{reads} reads in 20 seconds");
    assert!(follower.freshness().age(clock.moment()).unwrap() < BOUND);
}
