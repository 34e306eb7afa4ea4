//! The guarantees of every [`RevocationLog`].

mod crash;
mod pruning;
mod readers;

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use super::{LogOwnership, Storage, open, sample::issuer};
use adieu::{
    Issuer, SessionId, Subject, TokenId,
    revocation::{Cursor, Index, LogId, Page, Position, Revocation, RevocationLog, RevokedClaim, Target},
    time::Timestamp,
    token::KeyId,
};

pub use crash::{
    a_cursor_from_before_a_crash_reads_on, what_was_acknowledged_is_there_after_a_crash,
    what_was_given_up_is_there_whole_or_not_at_all,
};
pub use pruning::{
    a_key_stays_revoked_and_a_claim_lapses, a_position_is_never_given_twice, what_has_lapsed_goes_and_nothing_else,
    what_is_forgotten_is_marked, what_is_pruned_while_many_append_is_only_what_has_lapsed,
};
pub use readers::{
    a_transaction_that_takes_long_is_not_overtaken, many_wait_at_once, readers_see_no_gaps_while_many_append,
    reads_that_are_given_up_harm_nobody,
};

#[macro_export]
#[doc(hidden)]
macro_rules! __conformance_log {
    () => {
        $crate::__conformance_tests! { log:
            entries_come_in_the_order_of_their_appends
            a_cursor_reads_on_where_it_left_off
            every_opening_is_the_same_log
            an_empty_log_answers_at_once
            an_append_of_nothing_is_none
            a_read_waits_for_an_append
            a_read_notices_what_another_process_appends
            a_read_notices_soon_what_another_process_appends
            a_read_that_waits_in_vain_ends
            the_longest_wait_is_no_mistake
            many_wait_at_once
            a_cursor_of_another_log_starts_over
            a_cursor_ahead_of_the_head_starts_over
            what_has_lapsed_goes_and_nothing_else
            a_key_stays_revoked_and_a_claim_lapses
            what_is_forgotten_is_marked
            what_is_pruned_while_many_append_is_only_what_has_lapsed
            a_position_is_never_given_twice
            a_revocation_may_come_twice
            ten_thousand_in_one_append_come_whole
            the_longest_facts_come_whole
            unusual_facts_come_back_as_they_were
            readers_see_no_gaps_while_many_append
            a_transaction_that_takes_long_is_not_overtaken
            reads_that_are_given_up_harm_nobody
            what_was_given_up_is_there_whole_or_not_at_all
            it_is_all_there_after_a_restart
            what_was_acknowledged_is_there_after_a_crash
            a_cursor_from_before_a_crash_reads_on
        }
    };
}

/// Longer than any wait that an event is meant to end.
const LONG: Duration = Duration::from_secs(3_600);

/// Returns the time this many seconds after [`Storage::noon`].
fn after<P: Storage>(seconds: u64) -> Timestamp {
    P::noon().plus(Duration::from_secs(seconds))
}

/// Returns the revocation of a token with this name, which lapses in an hour.
fn token<P: Storage>(name: impl AsRef<str>) -> Revocation {
    super::sample::lapsing(name, after::<P>(3_600))
}

fn tokens<P: Storage>(names: impl IntoIterator<Item = u64>) -> Vec<Revocation> {
    names.into_iter().map(|name| token::<P>(name.to_string())).collect()
}

/// Returns everything after the cursor as one page, like [`sample::whole`](super::sample::whole), without repeated entries.
async fn whole<P: Storage>(log: &impl RevocationLog, after: Option<&Cursor>) -> Page {
    let page = super::sample::whole(log, after).await;
    Page { entries: once::<P>(&[], page.entries), ..page }
}

/// Returns the entries that are new to a reader who knows these facts, without repeated ones. Entries may be repeated only
/// where the log is [remote](LogOwnership::Remote). Only for facts of which none was appended twice.
fn once<P: Storage>(known: &[Revocation], mut entries: Vec<Revocation>) -> Vec<Revocation> {
    if P::LOG == LogOwnership::Remote {
        let name = |fact: &Revocation| format!("{fact:?}");
        let mut known: HashSet<_> = known.iter().map(name).collect();
        entries.retain(|entry| known.insert(name(entry)));
    }
    entries
}

/// Fails unless an append's position is later than an earlier one's, if appends return positions.
fn assert_later<P: Storage>(position: Position, than: Position) {
    match P::LOG {
        LogOwnership::Own => assert!(position > than, "{position:?} is not after {than:?}"),
        LogOwnership::Remote => assert_eq!(position, Position::START),
    }
}

/// Within one append in the given order, and across two appends in the order of the appends.
pub async fn entries_come_in_the_order_of_their_appends<P: Storage<Store: RevocationLog>>() {
    let place = P::empty().await;
    let log = place.open().await;
    let [a, b, c] = ["a", "b", "c"].map(token::<P>);
    let first = log.append(vec![b.clone(), a.clone()]).await.unwrap();
    let second = log.append(vec![c.clone()]).await.unwrap();
    assert_later::<P>(first, Position::START);
    assert_later::<P>(second, first);
    let page = whole::<P>(&log, None).await;
    assert_eq!(page.entries, [b, a, c]);
    assert!(page.complete && page.from_start);
    if P::LOG == LogOwnership::Own {
        assert_eq!(page.cursor.position, second);
        assert!(page.age.is_zero(), "it asks its storage");
    }
}

/// No entry is repeated or left out.
pub async fn a_cursor_reads_on_where_it_left_off<P: Storage<Store: RevocationLog>>() {
    let place = P::empty().await;
    let log = place.open().await;
    let mut known = vec![token::<P>("a")];
    log.append(known.clone()).await.unwrap();
    let mut cursor = whole::<P>(&log, None).await.cursor;
    for name in ["b", "c"] {
        log.append(vec![token::<P>(name)]).await.unwrap();
        let page = whole::<P>(&log, Some(&cursor)).await;
        assert!(!page.from_start && page.cursor.position > cursor.position);
        assert_eq!(once::<P>(&known, page.entries), [token::<P>(name)]);
        known.push(token::<P>(name));
        cursor = page.cursor;
    }
    let page = whole::<P>(&log, Some(&cursor)).await;
    assert_eq!((once::<P>(&known, page.entries), page.cursor, page.from_start), (vec![], cursor, false));
}

/// Every opening of the place is the same log: each reads what the other appends, and continues from the other's cursor.
pub async fn every_opening_is_the_same_log<P: Storage<Store: RevocationLog>>() {
    let place = P::empty().await;
    let (here, there) = (place.open().await, place.open().await);
    here.append(vec![token::<P>("a")]).await.unwrap();
    let cursor = whole::<P>(&there, None).await.cursor;
    there.append(vec![token::<P>("b")]).await.unwrap();
    let page = whole::<P>(&here, Some(&cursor)).await;
    assert_eq!(once::<P>(&[token::<P>("a")], page.entries), [token::<P>("b")]);
    assert!(!page.from_start && page.cursor.log == cursor.log);
    let late = place.open().await;
    assert_eq!(whole::<P>(&late, Some(&page.cursor)).await.cursor, page.cursor);
    assert_eq!(whole::<P>(&late, None).await.entries, [token::<P>("a"), token::<P>("b")]);
}

/// For a reader without a cursor, an empty log is an answer.
pub async fn an_empty_log_answers_at_once<P: Storage<Store: RevocationLog>>() {
    let place = P::empty().await;
    let log = place.open().await;
    let page = log.read(None, LONG).await.unwrap();
    assert_eq!((page.entries, page.cursor.position, page.complete), (vec![], Position::START, true));
    assert!(page.from_start);
    assert_eq!(page.pruned_through, Timestamp::ZERO);
}

/// It leaves the log unchanged, and returns the log's end.
pub async fn an_append_of_nothing_is_none<P: Storage<Store: RevocationLog>>() {
    let place = P::empty().await;
    let log = place.open().await;
    assert_eq!(log.append(vec![]).await.unwrap(), Position::START);
    let head = log.append(vec![token::<P>("a")]).await.unwrap();
    assert_eq!(log.append(vec![]).await.unwrap(), head);
    assert_eq!(whole::<P>(&log, None).await.entries, [token::<P>("a")]);
}

/// An append in the same process.
pub async fn a_read_waits_for_an_append<P: Storage<Store: RevocationLog>>() {
    let place = P::empty().await;
    let log = place.open().await;
    let cursor = whole::<P>(&log, None).await.cursor;
    let (page, appended) = tokio::join!(log.read(Some(&cursor), LONG), log.append(vec![token::<P>("a")]));
    assert_eq!(page.unwrap().entries, [token::<P>("a")]);
    appended.unwrap();
}

/// Which it learns only through the place.
pub async fn a_read_notices_what_another_process_appends<P: Storage<Store: RevocationLog>>() {
    let place = P::empty().await;
    let (here, there) = (place.open().await, place.open().await);
    let cursor = whole::<P>(&here, None).await.cursor;
    let (page, appended) = tokio::join!(here.read(Some(&cursor), LONG), there.append(vec![token::<P>("a")]));
    assert_eq!(page.unwrap().entries, [token::<P>("a")]);
    appended.unwrap();
}

/// Usually within a quarter of a second: followers ask with waits of a second and more, and have a bound to keep.
pub async fn a_read_notices_soon_what_another_process_appends<P: Storage<Store: RevocationLog>>() {
    const SOON: Duration = Duration::from_millis(250);
    let place = P::empty().await;
    let (here, there) = (open(&place).await, place.open().await);
    let mut cursor = whole::<P>(&*here, None).await.cursor;
    let (mut taken, mut known) = (Vec::new(), Vec::new());
    for round in 0..9 {
        let (log, from) = (here.clone(), cursor);
        let waiting = tokio::spawn(async move {
            let page = log.read(Some(&from), LONG).await.unwrap();
            (page, Instant::now())
        });
        // So that the read does wait, and the append comes at a time that matches no polling rhythm.
        tokio::time::sleep(Duration::from_millis(20 + round * 17)).await;
        let fact = token::<P>(format!("{round}"));
        there.append(vec![fact.clone()]).await.unwrap();
        let appended_at = Instant::now();
        let (page, noticed_at) = waiting.await.unwrap();
        assert_eq!(once::<P>(&known, page.entries), std::slice::from_ref(&fact));
        known.push(fact);
        cursor = page.cursor;
        taken.push(noticed_at.saturating_duration_since(appended_at));
    }
    // Not every one: on a busy machine a single read may take longer.
    taken.sort();
    assert!(taken[taken.len() / 2] < SOON, "it took {taken:?}");
}

/// Not at once, since its caller would then ask without a pause; and with a cursor to continue from.
pub async fn a_read_that_waits_in_vain_ends<P: Storage<Store: RevocationLog>>() {
    let place = P::empty().await;
    let log = place.open().await;
    log.append(vec![token::<P>("a")]).await.unwrap();
    let cursor = whole::<P>(&log, None).await.cursor;
    let (started, wait) = (Instant::now(), Duration::from_millis(60));
    let page = log.read(Some(&cursor), wait).await.unwrap();
    assert_eq!((page.entries, page.cursor, page.complete), (vec![], cursor, true));
    assert!(started.elapsed() > wait / 2, "it has not waited");
}

/// [`Duration::MAX`] causes no overflow.
pub async fn the_longest_wait_is_no_mistake<P: Storage<Store: RevocationLog>>() {
    let place = P::empty().await;
    let log = place.open().await;
    assert_eq!(log.read(None, Duration::MAX).await.unwrap().entries, []);
    let cursor = whole::<P>(&log, None).await.cursor;
    let (page, appended) = tokio::join!(log.read(Some(&cursor), Duration::MAX), log.append(vec![token::<P>("a")]));
    assert_eq!(page.unwrap().entries, [token::<P>("a")]);
    appended.unwrap();
}

/// Even if its position is valid here.
pub async fn a_cursor_of_another_log_starts_over<P: Storage<Store: RevocationLog>>() {
    let (place, elsewhere) = (P::empty().await, P::empty().await);
    let (log, other) = (place.open().await, elsewhere.open().await);
    log.append(vec![token::<P>("a")]).await.unwrap();
    other.append(vec![token::<P>("x"), token::<P>("y")]).await.unwrap();
    let cursor = whole::<P>(&log, None).await.cursor;
    // Lets this log settle, so that its next answer is the only one.
    let own = whole::<P>(&other, None).await.cursor;
    assert_ne!(own.log, cursor.log);
    let page = other.read(Some(&cursor), LONG).await.unwrap();
    assert_eq!(page.entries, [token::<P>("x"), token::<P>("y")]);
    assert!(page.from_start);
    assert_eq!(page.cursor, own);

    for name in ["never' OR 1=1 --", "\u{10ffff}", "-", "0", "a.b.c"] {
        for position in [Position::START, own.position, Position::new(u64::MAX)] {
            let unheard_of = Cursor { log: LogId::new(name).unwrap(), position };
            let page = other.read(Some(&unheard_of), LONG).await.unwrap();
            assert!(page.from_start && page.entries.len() == 2, "{unheard_of}");
        }
    }
}

/// The log was rolled back: the reader knows entries that this log does not have. The read does not wait until the head is
/// reached.
pub async fn a_cursor_ahead_of_the_head_starts_over<P: Storage<Store: RevocationLog>>() {
    let place = P::empty().await;
    let log = place.open().await;
    log.append(vec![token::<P>("a")]).await.unwrap();
    let cursor = whole::<P>(&log, None).await.cursor;
    for ahead in [cursor.position.get() + 1, u64::MAX >> 1, u64::MAX] {
        let ahead = Cursor { position: Position::new(ahead), ..cursor.clone() };
        let page = log.read(Some(&ahead), LONG).await.unwrap();
        assert_eq!((page.entries, page.from_start), (vec![token::<P>("a")], true));
        assert_eq!(page.cursor, cursor);
    }
}

/// As when a caller retries without knowing the first result. No entry is rejected as a duplicate.
pub async fn a_revocation_may_come_twice<P: Storage<Store: RevocationLog>>() {
    let place = P::empty().await;
    let (log, other) = (place.open().await, place.open().await);
    let batch = vec![token::<P>("a"), token::<P>("a"), token::<P>("b")];
    let first = log.append(batch.clone()).await.unwrap();
    let second = log.append(batch.clone()).await.unwrap();
    let third = other.append(batch.clone()).await.unwrap();
    assert_later::<P>(second, first);
    assert_later::<P>(third, second);
    let index = Index::new(P::noon());
    index.extend(&whole::<P>(&log, None).await.entries);
    assert_eq!(index.stats().entries, 2);
}

/// And in order.
pub async fn ten_thousand_in_one_append_come_whole<P: Storage<Store: RevocationLog>>() {
    let place = P::empty().await;
    let (log, other) = (place.open().await, place.open().await);
    let cursor = whole::<P>(&other, None).await.cursor;
    let facts = tokens::<P>(0..10_000);
    let position = log.append(facts.clone()).await.unwrap();
    let page = whole::<P>(&log, None).await;
    assert_eq!(page.entries.len(), facts.len());
    assert!(page.entries == facts);
    assert!(whole::<P>(&other, Some(&cursor)).await.entries == facts, "as another process reads on");
    if P::LOG == LogOwnership::Own {
        assert_eq!(page.cursor.position, position);
    }
}

/// A megabyte of ids in one append.
pub async fn the_longest_facts_come_whole<P: Storage<Store: RevocationLog>>() {
    let place = P::empty().await;
    let log = place.open().await;
    let width = adieu::MAX_ID_BYTES;
    let facts: Vec<_> = (0..2_048).map(|number| token::<P>(format!("{number:0>width$}"))).collect();
    log.append(facts.clone()).await.unwrap();
    assert!(whole::<P>(&log, None).await.entries == facts);
}

/// With any content of an id, and any time.
pub async fn unusual_facts_come_back_as_they_were<P: Storage<Store: RevocationLog>>() {
    let place = P::empty().await;
    let log = place.open().await;
    let mut facts = Vec::new();
    for text in super::sample::unusual_texts() {
        let (issuer, subject) = (Issuer::new(&text).unwrap(), Subject::new(&text).unwrap());
        // What every engine accepts.
        let of_a_token = token::<P>(&text);
        facts.push(Revocation { issuer: issuer.clone(), ..of_a_token.clone() });
        facts.push(of_a_token);
        if P::LOG == LogOwnership::Remote {
            continue;
        }
        for time in [Timestamp::ZERO, P::noon(), Timestamp::MAX] {
            let token = |expires_at| Target::Token { id: TokenId::new(&text).unwrap(), expires_at };
            facts.extend(
                [
                    token(None),
                    token(Some(time)),
                    Target::Session { id: SessionId::new(&text).unwrap() },
                    Target::Subject { id: subject.clone(), issued_until: time },
                    Target::Everything { issued_until: time },
                ]
                .into_iter()
                .chain(RevokedClaim::new("tenant", &text).ok().map(|claim| Target::Claim { claim, issued_until: time }))
                .chain(KeyId::new(&text).ok().map(|id| Target::Key { id }))
                .map(|target| Revocation { issuer: issuer.clone(), target, lapses_at: Timestamp::MAX }),
            );
        }
    }
    log.append(facts.clone()).await.unwrap();
    assert_eq!(whole::<P>(&log, None).await.entries, facts);
}

/// Entries, pruning mark, identity and cursor.
pub async fn it_is_all_there_after_a_restart<P: Storage<Store: RevocationLog>>() {
    let place = P::empty().await;
    let before = {
        let log = place.open().await;
        log.append(vec![token::<P>("a"), token::<P>("b")]).await.unwrap();
        if P::LOG == LogOwnership::Own {
            let lapses_at = after::<P>(1);
            log.append(vec![super::sample::lapsing("c", lapses_at)]).await.unwrap();
            let target = Target::Everything { issued_until: P::noon() };
            log.append(vec![Revocation { issuer: issuer(), target, lapses_at: after::<P>(60) }]).await.unwrap();
            while !log.prune(after::<P>(2)).await.unwrap().complete {}
        }
        whole::<P>(&log, None).await
    };
    let after = whole::<P>(&place.open().await, None).await;
    assert_eq!(after.entries, before.entries);
    assert_eq!(after.entries.len(), if P::LOG == LogOwnership::Own { 3 } else { 2 });
    assert_eq!(after.cursor, before.cursor);
    assert_eq!(after.pruned_through, before.pruned_through);
}
