//! What every [`Restorable`] store promises.

use super::{
    Place, open,
    sample::{NOON, after, issuer, lapsing, read_all, session, token},
};
use crate::{
    restore::{Renewal, Restorable},
    revocation::{LogId, Position, Revocation, RevocationLog, Target},
    session::{Ending, Selection, SessionStore},
};

#[macro_export]
#[doc(hidden)]
macro_rules! __conformance_restore {
    () => {
        $crate::__conformance_tests! { restore:
            a_look_shows_what_a_read_hides
            a_log_begins_anew_in_one_step
            it_does_so_once_whoever_asks
            a_restore_is_accepted_once
        }
    };
}

fn cut_off() -> Revocation {
    Revocation { issuer: issuer(), target: Target::Everything { issued_until: NOON }, lapses_at: after(3_600) }
}

fn renewal(seen: &LogId, position: u64) -> Renewal {
    Renewal {
        seen: seen.clone(),
        log: LogId::random(),
        after: Position::new(position),
        at: NOON,
        ending: Ending {
            issuer: issuer(),
            selection: Selection::All { issued_until: NOON },
            provided: None,
            also: vec![cut_off(), token("another")],
        },
    }
}

/// The identity, the head, the mark of pruning, and entries by their places, also the last one when it has lapsed.
pub async fn a_look_shows_what_a_read_hides<P: Place<Store: RevocationLog + Restorable>>() {
    let place = P::empty().await;
    let store = place.open().await;
    assert!(store.restorable().is_some());
    let empty = store.look(Position::START).await.unwrap();
    assert_eq!((empty.head, empty.entry, empty.last, empty.restored_at), (Position::START, None, None, None));

    let (first, last) = (token("first"), lapsing("last", NOON));
    let at = store.append(vec![first.clone()]).await.unwrap();
    let head = store.append(vec![last.clone()]).await.unwrap();
    let found = place.open().await.look(at).await.unwrap();
    assert_eq!(found.log, read_all(&store, None).await.1.log);
    assert_eq!((found.head, found.entry, found.last), (head, Some(first), Some(last)));

    while !store.prune(after(1)).await.unwrap().complete {}
    let found = store.look(Position::new(head.get() + 1)).await.unwrap();
    assert_eq!((found.head, found.entry), (head, None));
    while !store.prune(after(10_000)).await.unwrap().complete {}
    let pruned = store.look(at).await.unwrap();
    assert_eq!((pruned.head, pruned.entry), (head, None));
    assert!(pruned.pruned_through >= found.pruned_through && pruned.pruned_through >= after(1));
}

/// Another identity, no sessions, what was asked for at the end, positions after the one that was named.
pub async fn a_log_begins_anew_in_one_step<P: Place<Store: RevocationLog + SessionStore + Restorable>>() {
    let place = P::empty().await;
    let store = place.open().await;
    let head = store.append(vec![token("before")]).await.unwrap();
    let before = read_all(&store, None).await.1;
    let later = crate::session::Session { refreshed_at: after(1), ..session("later") };
    store.create(session("jose")).await.unwrap();
    store.create(later.clone()).await.unwrap();

    let renewal = renewal(&before.log, head.get() + 1_000);
    let ended = store.begin_anew(renewal.clone()).await.unwrap().unwrap();
    assert_eq!(ended.sessions, 2);
    assert_eq!(ended.revocations, [later.revocation(&issuer()), cut_off(), token("another")]);

    let other = place.open().await;
    assert!(other.sessions(None, 10).await.unwrap().is_empty());
    let page = other.read(Some(&before), std::time::Duration::ZERO).await.unwrap();
    assert!(page.from_start && page.cursor.log == renewal.log);
    assert_eq!(page.entries, [token("before"), later.revocation(&issuer()), cut_off(), token("another")]);
    assert_eq!(page.cursor.position.get(), head.get() + 1_003);
    let found = other.look(Position::new(head.get() + 1_001)).await.unwrap();
    assert_eq!((found.restored_at, found.entry), (Some(NOON), Some(later.revocation(&issuer()))));
    // And it goes on from there.
    assert!(store.append(vec![token("after")]).await.unwrap() > page.cursor.position);
    assert_eq!(read_all(&other, Some(&page.cursor)).await.0, [token("after")]);
}

/// Several nodes notice at once: one acts, and the others are told that there is nothing left to do.
pub async fn it_does_so_once_whoever_asks<P: Place<Store: RevocationLog + SessionStore + Restorable>>() {
    let place = P::empty().await;
    let seen = read_all(&place.open().await, None).await.1.log;
    let mut nodes = Vec::new();
    for _ in 0..8 {
        let (store, renewal) = (open(&place).await, renewal(&seen, 10));
        nodes.push(tokio::spawn(async move { store.begin_anew(renewal).await.unwrap().is_some() }));
    }
    let mut acted = 0;
    for node in nodes {
        acted += usize::from(node.await.unwrap());
    }
    assert_eq!(acted, 1);
    assert_eq!(read_all(&place.open().await, None).await.0, [cut_off(), token("another")]);
}

/// What was revoked stays so.
pub async fn a_restore_is_accepted_once<P: Place<Store: RevocationLog + SessionStore + Restorable>>() {
    let place = P::empty().await;
    let store = place.open().await;
    assert_eq!(store.accept_restore().await.unwrap(), None);
    let seen = store.look(Position::START).await.unwrap().log;
    store.begin_anew(renewal(&seen, 0)).await.unwrap().unwrap();
    let other = place.open().await;
    assert_eq!(other.accept_restore().await.unwrap(), Some(NOON));
    assert_eq!(store.accept_restore().await.unwrap(), None);
    assert_eq!(store.look(Position::START).await.unwrap().restored_at, None);
    assert_eq!(read_all(&store, None).await.0, [cut_off(), token("another")]);
}
