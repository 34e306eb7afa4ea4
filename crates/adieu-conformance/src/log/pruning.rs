//! Pruning of lapsed entries, and the pruning mark.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::{after, assert_later, token, whole};
use crate::{
    Identity, LogOwnership, Storage, open,
    sample::{issuer, lapsing},
};
use adieu::{
    revocation::{Index, Pruned, Revocation, RevocationLog, RevokedBy, RevokedClaim, Target, TokenClaims, TokenFacts},
    time::Timestamp,
    token::KeyId,
};

/// Prunes to the end, and returns how many entries were removed.
async fn prune(log: &impl RevocationLog, now: Timestamp) -> usize {
    let mut removed = 0;
    loop {
        let step = log.prune(now).await.unwrap();
        removed += step.removed;
        if step.complete {
            return removed;
        }
    }
}

/// Checks that pruning a remote log removes nothing.
async fn leaves_all<P: Storage<Store: RevocationLog>>() {
    let place = P::empty().await;
    let log = place.open().await;
    log.append(vec![token::<P>("a")]).await.unwrap();
    let before = whole::<P>(&log, None).await;
    assert_eq!(log.prune(Timestamp::MAX).await.unwrap(), Pruned { removed: 0, complete: true });
    let after = whole::<P>(&log, None).await;
    assert_eq!((after.entries, after.cursor), (before.entries, before.cursor));
    assert_eq!(after.pruned_through, before.pruned_through);
}

/// At `lapses_at` and not before; the entries between stay, in order.
pub async fn what_has_lapsed_goes_and_nothing_else<P: Storage<Store: RevocationLog>>() {
    if P::LOG == LogOwnership::Remote {
        return leaves_all::<P>().await;
    }
    let place = P::empty().await;
    let log = place.open().await;
    // Some entries stay, so that no pruning step covers a range without exceptions.
    let stays = |number: u64| number.is_multiple_of(7);
    let fact = |number: u64| lapsing(format!("{number}"), after::<P>(if stays(number) { 61 } else { 60 }));
    log.append((0..2_000).map(fact).collect()).await.unwrap();
    let head = log.append(vec![token::<P>("last")]).await.unwrap();

    assert_eq!(prune(&log, after::<P>(59)).await, 0);
    assert_eq!(prune(&log, after::<P>(60)).await, (0..2_000).filter(|&number| !stays(number)).count());
    assert_eq!(prune(&log, after::<P>(60)).await, 0);
    let page = whole::<P>(&log, None).await;
    let expected: Vec<_> = (0..2_000).filter(|&number| stays(number)).map(fact).chain([token::<P>("last")]).collect();
    assert!(page.entries == expected);
    assert_eq!((page.cursor.position, page.pruned_through), (head, after::<P>(60)));
}

/// The claims of a token.
#[derive(Debug)]
struct Tenant<'a>(&'a str);

impl TokenClaims for Tenant<'_> {
    fn has(&self, name: &str, test: &mut dyn FnMut(&str) -> bool) -> bool {
        name == "tenant" && test(self.0)
    }
}

/// Both are in the log after a restart, and an index that is made of it rejects their tokens.
pub async fn a_key_stays_revoked_and_a_claim_lapses<P: Storage<Store: RevocationLog>>() {
    if P::LOG == LogOwnership::Remote {
        return leaves_all::<P>().await;
    }
    let place = P::empty().await;
    let key = Revocation::of_key(issuer(), KeyId::new("kid-1").unwrap());
    let claim = |value, issued_until, lapses_at| {
        let claim = RevokedClaim::new("tenant", value).unwrap();
        Revocation { issuer: issuer(), target: Target::Claim { claim, issued_until }, lapses_at }
    };
    let claims = [
        claim("acme", P::noon(), after::<P>(60)),
        claim("acmé", after::<P>(5), after::<P>(61)),
        claim("acme", after::<P>(9), after::<P>(70)),
    ];
    let facts: Vec<_> = [key.clone()].into_iter().chain(claims).chain([token::<P>("last")]).collect();
    place.open().await.append(facts.clone()).await.unwrap();

    let log = place.open().await;
    let page = whole::<P>(&log, None).await;
    assert_eq!(page.entries, facts);
    let index = Index::new(P::noon());
    index.extend(&page.entries);
    let revoked_by = |key_id, tenant: &str, issued_at| {
        let claims = Tenant(tenant);
        index.check(&TokenFacts {
            issuer: issuer().as_str(),
            token_id: "another",
            session: None,
            subject: "jose",
            issued_at: Some(issued_at),
            expires_at: after::<P>(50),
            key_id: Some(key_id),
            claims: Some(&claims),
        })
    };
    assert_eq!(revoked_by("kid-1", "other", after::<P>(49)), Some(RevokedBy::Key));
    assert_eq!(revoked_by("kid-2", "acme", after::<P>(9)), Some(RevokedBy::Claim), "the later cut-off counts");
    assert_eq!(revoked_by("kid-2", "acme", after::<P>(10)), None);
    assert_eq!(revoked_by("kid-2", "acmé", after::<P>(6)), None);
    assert_eq!(revoked_by("kid-2", "other", P::noon()), None);

    assert_eq!(prune(&log, after::<P>(3_000)).await, 3);
    assert_eq!(whole::<P>(&log, None).await.entries, [key, token::<P>("last")]);
}

/// From the first pruned entry on, for every reader: the mark never moves back.
pub async fn what_is_forgotten_is_marked<P: Storage<Store: RevocationLog>>() {
    if P::LOG == LogOwnership::Remote {
        return leaves_all::<P>().await;
    }
    let place = P::empty().await;
    let (log, other) = (place.open().await, place.open().await);
    log.append(vec![lapsing("a", after::<P>(10)), lapsing("b", after::<P>(20)), token::<P>("c")]).await.unwrap();
    assert_eq!(whole::<P>(&log, None).await.pruned_through, Timestamp::ZERO);
    let cursor = whole::<P>(&other, None).await.cursor;
    for seconds in [10, 25] {
        prune(&log, after::<P>(seconds)).await;
        for log in [&log, &other] {
            assert_eq!(whole::<P>(log, None).await.pruned_through, after::<P>(seconds));
            let page = whole::<P>(log, Some(&cursor)).await;
            assert_eq!(page.pruned_through, after::<P>(seconds), "a reader that has read before gets it, too");
            assert_eq!((page.entries, &page.cursor), (vec![], &cursor));
        }
    }
    // A clock that goes back does not move the mark back, even if there is something to prune.
    log.append(vec![lapsing("late", after::<P>(5)), token::<P>("d")]).await.unwrap();
    for log in [&log, &other] {
        prune(log, after::<P>(6)).await;
    }
    drop((log, other));
    place.crash().await;
    assert_eq!(whole::<P>(&place.open().await, None).await.pruned_through, after::<P>(25));
}

/// One process removes lapsed entries, step by step, while others append and others read from the beginning. Every entry that
/// a page lacks is covered by its pruning mark, or by that of a later page: a reader that trusts the marks misses nothing.
pub async fn what_is_pruned_while_many_append_is_only_what_has_lapsed<P: Storage<Store: RevocationLog>>() {
    if P::LOG == LogOwnership::Remote {
        return leaves_all::<P>().await;
    }
    const WRITERS: u64 = 3;
    const APPENDS: u64 = 60;
    let place = P::empty().await;
    // A third lapses while it is being written, a third at the end, and a third stays.
    let lapses_at = |number: u64| match number % 3 {
        0 => after::<P>(1 + number % 50),
        1 => after::<P>(100),
        _ => after::<P>(3_600),
    };
    let fact = move |writer: u64, number: u64| lapsing(format!("{writer} {number}"), lapses_at(number));
    let facts_of = move |writer, append: u64| (append * 10..append * 10 + 10).map(move |number| fact(writer, number));
    let before: Vec<_> = (0..1_000).map(|number| fact(WRITERS, number)).collect();
    open(&place).await.append(before.clone()).await.unwrap();

    let is_over = Arc::new(AtomicBool::new(false));
    let mut others = Vec::new();
    for pruner in 0..2 {
        let (log, is_over) = (open(&place).await, is_over.clone());
        others.push(tokio::spawn(async move {
            let mut now = pruner;
            while !is_over.load(Ordering::Relaxed) {
                log.prune(after::<P>(now % 60)).await.unwrap();
                now += 1;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }));
    }
    for _ in 0..2 {
        let (log, is_over, before) = (open(&place).await, is_over.clone(), before.clone());
        others.push(tokio::spawn(async move {
            while !is_over.load(Ordering::Relaxed) {
                // An engine that never waits would otherwise starve the writers.
                tokio::task::yield_now().await;
                let page = whole::<P>(&*log, None).await;
                let mut entries = page.entries.iter();
                for fact in before.iter().filter(|fact| fact.lapses_at > page.pruned_through) {
                    assert!(entries.any(|entry| entry == fact), "{fact:?} is missing beside {:?}", page.pruned_through);
                }
            }
        }));
    }
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        let log = open(&place).await;
        writers.push(tokio::spawn(async move {
            for append in 0..APPENDS {
                log.append(facts_of(writer, append).collect()).await.unwrap();
            }
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    is_over.store(true, Ordering::Relaxed);
    for other in others {
        other.await.unwrap();
    }

    let log = place.open().await;
    // Twice: each opening may track its own progress, and starts over at the end.
    for _ in 0..2 {
        prune(&log, after::<P>(100)).await;
    }
    let entries = whole::<P>(&log, None).await.entries;
    let is_of = |entry: &Revocation, writer: u64| {
        let adieu::revocation::Target::Token { id, .. } = &entry.target else { return false };
        id.as_str().starts_with(&format!("{writer} "))
    };
    for writer in 0..=WRITERS {
        let there: Vec<_> = entries.iter().filter(|entry| is_of(entry, writer)).cloned().collect();
        let facts: Vec<_> = if writer == WRITERS {
            before.clone()
        } else {
            (0..APPENDS).flat_map(|append| facts_of(writer, append)).collect()
        };
        let expected: Vec<_> = facts.into_iter().filter(|fact| fact.lapses_at > after::<P>(100)).collect();
        assert!(there == expected, "what has not lapsed is all there, in order, and what has is not");
    }
}

/// Even if all entries have been removed, and the process that assigns positions has restarted since. Otherwise new entries
/// would be behind the cursors of earlier readers.
pub async fn a_position_is_never_given_twice<P: Storage<Store: RevocationLog>>() {
    if P::LOG == LogOwnership::Remote {
        return leaves_all::<P>().await;
    }
    let place = P::empty().await;
    let (head, cursor) = {
        let log = place.open().await;
        let facts = (0..10).map(|number| lapsing(format!("{number}"), after::<P>(1))).collect();
        let head = log.append(facts).await.unwrap();
        let cursor = whole::<P>(&log, None).await.cursor;
        prune(&log, after::<P>(2)).await;
        let page = whole::<P>(&log, None).await;
        assert_eq!((page.entries, &page.cursor), (vec![], &cursor));
        (head, cursor)
    };
    place.crash().await;
    let log = place.open().await;
    prune(&log, after::<P>(3)).await;
    let page = whole::<P>(&log, None).await;
    assert_eq!((page.entries, page.cursor.position), (vec![], cursor.position));
    assert_eq!(page.cursor.log == cursor.log, P::IDENTITY == Identity::Stable);
    assert_eq!(log.append(vec![]).await.unwrap(), head);
    assert_later::<P>(log.append(vec![token::<P>("next")]).await.unwrap(), head);
    let page = whole::<P>(&log, Some(&cursor)).await;
    assert_eq!((page.entries, page.from_start), (vec![token::<P>("next")], P::IDENTITY == Identity::Changes));
}
