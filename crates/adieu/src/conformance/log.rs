//! What every [`RevocationLog`] promises.

use std::time::Duration;

use crate::{
    Issuer, SessionId, Subject, TokenId,
    revocation::{Cursor, Index, LogId, Position, Revocation, RevocationLog, Target},
    time::Timestamp,
};

use super::{
    Place, open,
    sample::{NOON, after, issuer, lapsing, read_all, token},
};

#[macro_export]
#[doc(hidden)]
macro_rules! __conformance_log {
    () => {
        $crate::__conformance_tests! { log:
            entries_come_in_the_order_of_their_appends
            a_cursor_reads_on_where_it_left_off
            an_empty_log_answers_at_once
            an_append_of_nothing_is_none
            a_read_waits_for_an_append
            a_read_notices_what_another_process_appends
            a_read_that_waits_in_vain_ends
            the_longest_wait_is_no_mistake
            a_cursor_of_another_log_starts_over
            a_cursor_ahead_of_the_head_starts_over
            what_has_lapsed_goes_and_nothing_else
            a_position_is_never_given_twice
            a_revocation_may_come_twice
            ten_thousand_in_one_append_come_whole
            unusual_facts_come_back_as_they_were
            readers_see_no_gaps_while_many_append
            it_is_all_there_after_a_restart
        }
    };
}

/// Entries come in the order of their appends.
pub async fn entries_come_in_the_order_of_their_appends<P: Place<Store: RevocationLog>>() {
    let place = P::empty().await;
    let log = place.open().await;
    let first = log.append(vec![token("a"), token("b")]).await.unwrap();
    let second = log.append(vec![token("c")]).await.unwrap();
    assert!(Position::START < first && first < second);
    let page = log.read(None, Duration::ZERO).await.unwrap();
    assert_eq!(page.entries, [token("a"), token("b"), token("c")]);
    assert_eq!(page.cursor.position, second);
    assert!(page.complete && page.from_start && page.age.is_zero());
}

/// A cursor reads on where it left off.
pub async fn a_cursor_reads_on_where_it_left_off<P: Place<Store: RevocationLog>>() {
    let place = P::empty().await;
    let log = place.open().await;
    log.append(vec![token("a")]).await.unwrap();
    let cursor = log.read(None, Duration::ZERO).await.unwrap().cursor;
    log.append(vec![token("b")]).await.unwrap();
    let page = log.read(Some(&cursor), Duration::ZERO).await.unwrap();
    assert_eq!(page.entries, [token("b")]);
    assert!(page.complete && !page.from_start);
    let page = log.read(Some(&page.cursor), Duration::ZERO).await.unwrap();
    assert_eq!(page.entries, []);
    assert!(page.complete && !page.from_start);
}

/// An empty log answers at once.
pub async fn an_empty_log_answers_at_once<P: Place<Store: RevocationLog>>() {
    let place = P::empty().await;
    let log = place.open().await;
    let page = log.read(None, Duration::from_secs(3_600)).await.unwrap();
    assert_eq!((page.entries, page.cursor.position, page.complete), (vec![], Position::START, true));
    assert_eq!(page.pruned_through, Timestamp::ZERO);
}

/// An append of nothing is none.
pub async fn an_append_of_nothing_is_none<P: Place<Store: RevocationLog>>() {
    let place = P::empty().await;
    let log = place.open().await;
    let head = log.append(vec![token("a")]).await.unwrap();
    assert_eq!(log.append(vec![]).await.unwrap(), head);
    assert_eq!(read_all(&log, None).await.0, [token("a")]);
}

/// A read waits for an append.
pub async fn a_read_waits_for_an_append<P: Place<Store: RevocationLog>>() {
    let place = P::empty().await;
    let log = place.open().await;
    let cursor = log.read(None, Duration::ZERO).await.unwrap().cursor;
    let (page, appended) =
        tokio::join!(log.read(Some(&cursor), Duration::from_secs(3_600)), log.append(vec![token("a")]));
    assert_eq!(page.unwrap().entries, [token("a")]);
    appended.unwrap();
}

/// A read notices what another process appends.
pub async fn a_read_notices_what_another_process_appends<P: Place<Store: RevocationLog>>() {
    let place = P::empty().await;
    let (here, there) = (open(&place).await, open(&place).await);
    let cursor = here.read(None, Duration::ZERO).await.unwrap().cursor;
    let (page, appended) =
        tokio::join!(here.read(Some(&cursor), Duration::from_secs(3_600)), there.append(vec![token("a")]));
    assert_eq!(page.unwrap().entries, [token("a")]);
    appended.unwrap();
}

/// A read that waits in vain ends.
pub async fn a_read_that_waits_in_vain_ends<P: Place<Store: RevocationLog>>() {
    let place = P::empty().await;
    let log = place.open().await;
    log.append(vec![token("a")]).await.unwrap();
    let cursor = log.read(None, Duration::ZERO).await.unwrap().cursor;
    let page = log.read(Some(&cursor), Duration::from_millis(5)).await.unwrap();
    assert_eq!((page.entries, page.cursor, page.complete), (vec![], cursor, true));
}

/// The longest wait is no mistake.
pub async fn the_longest_wait_is_no_mistake<P: Place<Store: RevocationLog>>() {
    let place = P::empty().await;
    let log = place.open().await;
    let cursor = log.read(None, Duration::ZERO).await.unwrap().cursor;
    let (page, appended) = tokio::join!(log.read(Some(&cursor), Duration::MAX), log.append(vec![token("a")]));
    assert_eq!(page.unwrap().entries, [token("a")]);
    appended.unwrap();
}

/// A cursor of another log starts over.
pub async fn a_cursor_of_another_log_starts_over<P: Place<Store: RevocationLog>>() {
    let (place, elsewhere) = (P::empty().await, P::empty().await);
    let (log, other) = (place.open().await, elsewhere.open().await);
    log.append(vec![token("a")]).await.unwrap();
    other.append(vec![token("x"), token("y")]).await.unwrap();
    let cursor = log.read(None, Duration::ZERO).await.unwrap().cursor;
    let page = other.read(Some(&cursor), Duration::ZERO).await.unwrap();
    assert_eq!(page.entries, [token("x"), token("y")]);
    assert!(page.from_start);
    assert_ne!(page.cursor.log, cursor.log);

    let unheard_of = Cursor { log: LogId::new("never' OR 1=1 --").unwrap(), position: Position::new(u64::MAX) };
    assert!(other.read(Some(&unheard_of), Duration::ZERO).await.unwrap().from_start);
}

/// A cursor ahead of the head starts over.
pub async fn a_cursor_ahead_of_the_head_starts_over<P: Place<Store: RevocationLog>>() {
    let place = P::empty().await;
    let log = place.open().await;
    let head = log.append(vec![token("a")]).await.unwrap();
    let cursor = log.read(None, Duration::ZERO).await.unwrap().cursor;
    for ahead in [head.get() + 1, u64::MAX] {
        let ahead = Cursor { position: Position::new(ahead), ..cursor.clone() };
        // It does not wait until the head is there: what it knows is not what this log knows.
        let page = log.read(Some(&ahead), Duration::from_secs(3_600)).await.unwrap();
        assert_eq!((page.entries, page.from_start), (vec![token("a")], true));
        assert_eq!(page.cursor, cursor);
    }
}

/// What has lapsed goes and nothing else.
pub async fn what_has_lapsed_goes_and_nothing_else<P: Place<Store: RevocationLog>>() {
    let place = P::empty().await;
    let log = place.open().await;
    // Now and then one that stays, so that no step is a stretch without exceptions.
    let stays = |number: u64| number.is_multiple_of(7);
    let fact = |number: u64| lapsing(format!("{number}"), after(if stays(number) { 61 } else { 60 }));
    log.append((0..2_000).map(fact).collect()).await.unwrap();
    let head = log.append(vec![token("last")]).await.unwrap();

    assert_eq!(log.prune(after(59)).await.unwrap().removed, 0);
    let mut removed = 0;
    loop {
        let step = log.prune(after(60)).await.unwrap();
        removed += step.removed;
        if step.complete {
            break;
        }
    }
    assert_eq!(removed, (0..2_000).filter(|&number| !stays(number)).count());
    let (entries, cursor) = read_all(&log, None).await;
    let expected: Vec<_> = (0..2_000).filter(|&number| stays(number)).map(fact).chain([token("last")]).collect();
    assert_eq!(entries, expected);
    assert_eq!(cursor.position, head);
    assert_eq!(log.read(None, Duration::ZERO).await.unwrap().pruned_through, after(60));
    // A clock that goes back takes nothing back.
    log.prune(after(10)).await.unwrap();
    assert_eq!(log.read(None, Duration::ZERO).await.unwrap().pruned_through, after(60));
}

/// A position is never given twice.
pub async fn a_position_is_never_given_twice<P: Place<Store: RevocationLog>>() {
    let place = P::empty().await;
    let (head, cursor) = {
        let log = place.open().await;
        let head = log.append((0..10).map(|number| lapsing(format!("{number}"), after(1))).collect()).await.unwrap();
        let cursor = log.read(None, Duration::ZERO).await.unwrap().cursor;
        while !log.prune(after(2)).await.unwrap().complete {}
        assert_eq!(read_all(&log, None).await, (vec![], cursor.clone()));
        (head, cursor)
    };
    let log = place.open().await;
    assert_eq!(read_all(&log, None).await, (vec![], cursor.clone()));
    assert!(log.append(vec![token("next")]).await.unwrap() > head);
    let page = log.read(Some(&cursor), Duration::ZERO).await.unwrap();
    assert_eq!((page.entries, page.from_start), (vec![token("next")], false));
}

/// A revocation may come twice.
pub async fn a_revocation_may_come_twice<P: Place<Store: RevocationLog>>() {
    let place = P::empty().await;
    let log = place.open().await;
    let first = log.append(vec![token("a"), token("a")]).await.unwrap();
    let second = log.append(vec![token("a")]).await.unwrap();
    assert!(second > first);
    let index = Index::new(NOON);
    index.extend(&read_all(&log, None).await.0);
    assert_eq!(index.stats().entries, 1);
}

/// Ten thousand in one append come whole.
pub async fn ten_thousand_in_one_append_come_whole<P: Place<Store: RevocationLog>>() {
    let place = P::empty().await;
    let log = place.open().await;
    let facts: Vec<_> = (0..10_000).map(|number| token(format!("{number}"))).collect();
    let position = log.append(facts.clone()).await.unwrap();
    let (entries, cursor) = read_all(&log, None).await;
    assert_eq!(entries, facts);
    assert_eq!(cursor.position, position);
}

/// Unusual facts come back as they were.
pub async fn unusual_facts_come_back_as_they_were<P: Place<Store: RevocationLog>>() {
    let place = P::empty().await;
    let log = place.open().await;
    let texts = [
        " ".to_owned(),
        "\0".to_owned(),
        "a\0b".to_owned(),
        "\u{1}\r\n\t\u{7f}\u{feff}\u{202e}".to_owned(),
        "'; DROP TABLE revocation; --".to_owned(),
        "42".to_owned(),
        "NULL".to_owned(),
        "Ä\u{308}ß漢字🦀".to_owned(),
        "x".repeat(512),
        "\u{10ffff}".repeat(128),
    ];
    let mut facts = Vec::new();
    for text in &texts {
        let (issuer, subject) = (Issuer::new(text).unwrap(), Subject::new(text).unwrap());
        for time in [Timestamp::ZERO, NOON, Timestamp::MAX] {
            let token = |expires_at| Target::Token { id: TokenId::new(text).unwrap(), expires_at };
            facts.extend(
                [
                    token(None),
                    token(Some(time)),
                    Target::Session { id: SessionId::new(text).unwrap() },
                    Target::Subject { id: subject.clone(), issued_until: time },
                    Target::Everything { issued_until: time },
                ]
                .map(|target| Revocation { issuer: issuer.clone(), target, lapses_at: Timestamp::MAX }),
            );
        }
    }
    log.append(facts.clone()).await.unwrap();
    assert_eq!(read_all(&log, None).await.0, facts);
}

/// Readers see no gaps while many append.
pub async fn readers_see_no_gaps_while_many_append<P: Place<Store: RevocationLog>>() {
    const WRITERS: usize = 16;
    const APPENDS: usize = 40;
    let place = P::empty().await;
    let (here, there) = (open(&place).await, open(&place).await);
    let follow = |log: std::sync::Arc<P::Store>| {
        tokio::spawn(async move {
            let (mut seen, mut cursor) = (Vec::new(), None);
            while seen.len() < WRITERS * APPENDS * 2 {
                let page = log.read(cursor.as_ref(), Duration::from_secs(1)).await.unwrap();
                seen.extend(page.entries);
                cursor = Some(page.cursor);
            }
            seen
        })
    };
    let readers = [follow(here.clone()), follow(there.clone())];
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let log = if writer % 2 == 0 { here.clone() } else { there.clone() };
            tokio::spawn(async move {
                let mut last = Position::START;
                for append in 0..APPENDS {
                    let facts = ["one", "other"].map(|which| token(format!("{writer} {append} {which}")));
                    let position = log.append(facts.to_vec()).await.unwrap();
                    assert!(position > last);
                    last = position;
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    // Read from the beginning it is whole and in its final order. Whoever has followed it has seen just that: an entry
    // that had appeared behind a reader's cursor would be missing.
    let (entries, _) = read_all(&*here, None).await;
    assert_eq!(entries.len(), WRITERS * APPENDS * 2);
    for reader in readers {
        assert_eq!(reader.await.unwrap(), entries);
    }
}

/// It is all there after a restart.
pub async fn it_is_all_there_after_a_restart<P: Place<Store: RevocationLog>>() {
    let place = P::empty().await;
    let before = {
        let log = place.open().await;
        log.append(vec![token("a"), lapsing("b", after(1))]).await.unwrap();
        log.append(vec![Revocation {
            issuer: issuer(),
            target: Target::Everything { issued_until: NOON },
            lapses_at: after(60),
        }])
        .await
        .unwrap();
        while !log.prune(after(2)).await.unwrap().complete {}
        log.read(None, Duration::ZERO).await.unwrap()
    };
    let after = place.open().await.read(None, Duration::ZERO).await.unwrap();
    assert_eq!(after.entries, before.entries);
    assert_eq!(after.entries.len(), 2);
    assert_eq!(after.cursor, before.cursor);
    assert_eq!(after.pruned_through, before.pruned_through);
}
