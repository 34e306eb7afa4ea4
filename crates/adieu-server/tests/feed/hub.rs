//! One reader of the log serves all followers.

use std::{sync::atomic::Ordering, time::Duration};

use tokio::{task::JoinSet, time::Instant};

use super::support::{READ_WAIT, Served, sessions};

const LONG: Duration = Duration::from_secs(30);

#[tokio::test(start_paused = true)]
async fn a_snapshot_is_a_read_from_the_beginning() {
    let served = Served::start();
    served.revoke("one").await;
    let first = served.read(None, LONG).await;
    assert_eq!(sessions(&first), ["one"]);
    assert!(first.page().complete && first.page().from_start);

    served.revoke("two").await;
    let next = served.read(Some(&first.page().cursor), LONG).await;
    assert_eq!(sessions(&next), ["two"]);
    assert!(!next.page().from_start);
}

#[tokio::test(start_paused = true)]
async fn thousands_wait_and_the_log_is_read_by_one() {
    let served = Served::start();
    let cursor = served.catch_up().await;
    let mut followers = JoinSet::new();
    for _ in 0..2_000 {
        let (feed, cursor) = (served.feed.clone(), cursor.clone());
        let arrived = adieu::time::Clock::moment(&*served.clock);
        followers.spawn(async move { feed.hub.read(Some(&cursor), LONG, arrived, || ()).await.unwrap() });
    }
    tokio::time::sleep(Duration::from_millis(350)).await;
    assert_eq!(served.feed.hub.waiting(), 2_000);
    let before = served.log.reads.load(Ordering::SeqCst);

    served.revoke("one").await;
    let answers = followers.join_all().await;
    assert_eq!(answers.len(), 2_000);
    assert!(answers.iter().all(|answer| sessions(answer) == ["one"]));
    let reads = served.log.reads.load(Ordering::SeqCst) - before;
    assert!(reads < 5, "{reads} reads of the log");
    assert_eq!(served.feed.hub.waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn whoever_is_somewhere_in_the_middle_misses_nothing() {
    let served = Served::start();
    let start = served.catch_up().await;
    let mut cursors = vec![start];
    for number in 0..20 {
        served.revoke(&format!("session-{number}")).await;
        let last = served.read(cursors.last(), LONG).await;
        cursors.push(last.page().cursor);
    }
    for (seen, cursor) in cursors.iter().enumerate().take(20) {
        let found = sessions(&served.read(Some(cursor), Duration::ZERO).await);
        let missed: Vec<_> = (seen..20).map(|number| format!("session-{number}")).collect();
        assert_eq!(found, missed, "after {cursor}");
    }
}

#[tokio::test(start_paused = true)]
async fn followers_who_are_many_get_many_revocations_in_few_pages() {
    let served = Served::start();
    let start = served.catch_up().await;
    let mut followers = JoinSet::new();
    for _ in 0..2_000 {
        let (feed, clock, mut cursor) = (served.feed.clone(), served.clock.clone(), start.clone());
        followers.spawn(async move {
            let (mut pages, mut seen) = (0, 0);
            while seen < 100 {
                let arrived = adieu::time::Clock::moment(&*clock);
                let page = feed.hub.read(Some(&cursor), LONG, arrived, || ()).await.unwrap().page();
                (pages, seen, cursor) = (pages + 1, seen + page.entries.len(), page.cursor);
            }
            pages
        });
    }
    tokio::time::sleep(Duration::from_millis(10)).await;
    let started = Instant::now();
    for number in 0..100 {
        served.revoke(&format!("session-{number}")).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let pages = followers.join_all().await;
    assert!(started.elapsed() < Duration::from_millis(1_300), "{:?}", started.elapsed());
    let most = pages.iter().max().unwrap();
    assert!(*most <= 12, "{most} pages for a second");
}

#[tokio::test(start_paused = true)]
async fn few_followers_are_told_at_once() {
    let served = Served::start();
    let mut cursor = served.catch_up().await;
    for number in 0..10 {
        let (feed, after) = (served.feed.clone(), cursor.clone());
        let arrived = adieu::time::Clock::moment(&*served.clock);
        let waiting = tokio::spawn(async move { feed.hub.read(Some(&after), LONG, arrived, || ()).await.unwrap() });
        tokio::time::sleep(Duration::from_millis(20)).await;
        let revoked_at = Instant::now();
        served.revoke(&format!("session-{number}")).await;
        cursor = waiting.await.unwrap().page().cursor;
        assert!(revoked_at.elapsed() <= Duration::from_millis(1), "{:?}", revoked_at.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_never_younger_than_it_says() {
    let served = Served::start();
    let cursor = served.catch_up().await;

    // Nothing new: the answer at the end of the wait was true when the request arrived.
    let waited = served.read(Some(&cursor), Duration::from_millis(500)).await;
    assert_eq!(waited.age, Duration::ZERO);
    // Without a wait, the answer is as old as the hub's last completed read.
    tokio::time::sleep(Duration::from_millis(40)).await;
    assert!(served.read(Some(&cursor), Duration::ZERO).await.age <= READ_WAIT * 2 + Duration::from_millis(10));

    // While the log can't be read, the age grows with time.
    served.log.set_broken(true);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let age = served.read(Some(&cursor), Duration::ZERO).await.age;
    assert!(age >= Duration::from_millis(900), "{age:?}");
    let age = served.read(Some(&cursor), Duration::from_millis(500)).await.age;
    assert!(age >= Duration::from_millis(900), "{age:?}");

    served.log.set_broken(false);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(served.read(Some(&cursor), Duration::ZERO).await.age <= READ_WAIT * 2 + Duration::from_millis(10));
}

#[tokio::test(start_paused = true)]
async fn another_log_is_answered_from_its_beginning_also_to_those_who_wait() {
    let served = Served::start();
    served.revoke("old").await;
    let cursor = served.catch_up().await;
    let (feed, arrived) = (served.feed.clone(), adieu::time::Clock::moment(&*served.clock));
    let waiting = {
        let cursor = cursor.clone();
        tokio::spawn(async move { feed.hub.read(Some(&cursor), LONG, arrived, || ()).await.unwrap() })
    };
    served.log.replace();
    served.revoke("new").await;
    let late = served.feed.hub.read(Some(&cursor), LONG, arrived, || ()).await.unwrap();
    for answer in [late, waiting.await.unwrap()] {
        assert!(answer.page().from_start);
        assert_eq!(sessions(&answer), ["new"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_cursor_ahead_of_the_hub_waits_until_it_is_reached() {
    let served = Served::start();
    let start = served.catch_up().await;
    served.revoke("one").await;
    // Another reader has already read the entry.
    let ahead = adieu::revocation::RevocationLog::read(&served.log, Some(&start), Duration::ZERO).await.unwrap().cursor;
    let (feed, arrived) = (served.feed.clone(), adieu::time::Clock::moment(&*served.clock));
    let waiting = tokio::spawn(async move { feed.hub.read(Some(&ahead), LONG, arrived, || ()).await.unwrap() });
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!waiting.is_finished());
    served.revoke("two").await;
    assert_eq!(sessions(&waiting.await.unwrap()), ["two"]);
}

#[tokio::test(start_paused = true)]
async fn a_flood_reaches_those_who_waited_before_it() {
    let served = Served::start();
    let mut cursor = served.catch_up().await;
    let (feed, arrived, after) = (served.feed.clone(), adieu::time::Clock::moment(&*served.clock), cursor.clone());
    let waiting = tokio::spawn(async move { feed.hub.read(Some(&after), LONG, arrived, || ()).await.unwrap() });
    tokio::time::sleep(Duration::from_millis(1)).await;
    for part in 0..20 {
        let flood = (0..3_000).map(|number| super::support::revocation(&format!("{part}-{number}"))).collect();
        adieu::revocation::RevocationLog::append(&served.log, flood).await.unwrap();
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert!(!waiting.await.unwrap().page().entries.is_empty());
    let mut seen = 0;
    loop {
        let page = served.read(Some(&cursor), Duration::ZERO).await.page();
        seen += page.entries.len();
        cursor = page.cursor;
        if page.complete && page.entries.is_empty() {
            break;
        }
    }
    assert!(seen >= 60_000, "{seen}");
}

#[tokio::test(start_paused = true)]
async fn the_end_ends_all_waiting() {
    let served = Served::start();
    let cursor = served.catch_up().await;
    let started = Instant::now();
    let (feed, arrived, after) = (served.feed.clone(), adieu::time::Clock::moment(&*served.clock), cursor.clone());
    let waiting = tokio::spawn(async move { feed.hub.read(Some(&after), LONG, arrived, || ()).await.unwrap() });
    tokio::time::sleep(Duration::from_millis(5)).await;
    served.feed.hub.end_waiting();
    assert!(waiting.await.unwrap().page().entries.is_empty());
    served.read(Some(&cursor), LONG).await;
    assert!(started.elapsed() < Duration::from_millis(10));
}
