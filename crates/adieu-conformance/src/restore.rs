//! The guarantees of every [`Restorable`] store.

use std::{path::PathBuf, sync::Arc, time::Duration};

use super::{
    Storage, open,
    sample::{NOON, after, ending, issuer, lapsing, read_all, session, token},
};
use adieu::{
    Error, RollbackCause, SessionId, TokenId,
    restore::{HighWater, LogReset, LogState, Restorable},
    revocation::{LogId, Position, Revocation, RevocationLog, Target},
    session::{EndSessions, Rotated, Rotation, Selection, Session, SessionStore},
    store::Store,
    time::Timestamp,
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
            whatever_is_appended_is_in_the_mark
            a_log_that_went_back_is_neither_read_nor_appended_to
            a_store_that_was_emptied_has_gone_back
            another_store_need_not_be_pruned_as_far
        }
    };
}

fn cut_off() -> Revocation {
    Revocation { issuer: issuer(), target: Target::Everything { issued_until: NOON }, lapses_at: after(3_600) }
}

fn renewal(seen: &LogId, position: u64) -> LogReset {
    LogReset {
        seen: seen.clone(),
        log: LogId::random(),
        after: Position::new(position),
        at: NOON,
        ending: EndSessions {
            extra_revocations: vec![cut_off(), token("another")],
            ..ending(Selection::All { issued_until: NOON })
        },
    }
}

/// The identity, the head, the pruning mark, and entries by position, including the last one if it has lapsed.
pub async fn a_look_shows_what_a_read_hides<P: Storage<Store: Restorable + Store>>() {
    let place = P::empty().await;
    let store = place.open().await;
    assert!(store.restorable().is_some());
    let empty = store.inspect(Position::START).await.unwrap();
    assert_eq!((empty.head, empty.entry, empty.last, empty.restored_at), (Position::START, None, None, None));

    let (first, last) = (token("first"), lapsing("last", NOON));
    let at = store.append(vec![first.clone()]).await.unwrap();
    let head = store.append(vec![last.clone()]).await.unwrap();
    let found = place.open().await.inspect(at).await.unwrap();
    assert_eq!((found.head, found.entry, found.last), (head, Some(first), Some(last)));

    while !store.prune(after(1)).await.unwrap().complete {}
    let found = store.inspect(Position::new(head.get() + 1)).await.unwrap();
    assert_eq!((found.head, found.entry), (head, None));
    while !store.prune(after(10_000)).await.unwrap().complete {}
    let pruned = store.inspect(at).await.unwrap();
    assert_eq!((pruned.head, pruned.entry), (head, None));
    assert!(pruned.pruned_through >= found.pruned_through && pruned.pruned_through >= after(1));
}

/// A new identity, no sessions, the requested revocations at the end, and positions after the given one.
pub async fn a_log_begins_anew_in_one_step<P: Storage<Store: Restorable + Store>>() {
    let place = P::empty().await;
    let store = place.open().await;
    let head = store.append(vec![token("before")]).await.unwrap();
    let (before, seen) = (read_all(&store, None).await.1, store.inspect(Position::START).await.unwrap().log);
    let later = Session { refreshed_at: after(1), ..session("later") };
    store.create(session("jose")).await.unwrap();
    store.create(later.clone()).await.unwrap();

    let renewal = renewal(&seen, head.get() + 1_000);
    let ended = store.reset(renewal.clone()).await.unwrap().unwrap();
    assert_eq!(ended.sessions, 2);
    assert_eq!(ended.revocations, [later.revocation(&issuer()), cut_off(), token("another")]);

    let other = place.open().await;
    assert!(other.sessions(None, 10).await.unwrap().is_empty());
    let page = other.read(Some(&before), Duration::ZERO).await.unwrap();
    assert!(page.from_start && page.cursor.log != before.log);
    assert_eq!(page.entries, [token("before"), later.revocation(&issuer()), cut_off(), token("another")]);
    assert_eq!(page.cursor.position.get(), head.get() + 1_003);
    let found = other.inspect(Position::new(head.get() + 1_001)).await.unwrap();
    assert_eq!(
        (found.log, found.restored_at, found.entry),
        (renewal.log, Some(NOON), Some(later.revocation(&issuer())))
    );
    // And it continues from there.
    assert!(store.append(vec![token("after")]).await.unwrap() > page.cursor.position);
    assert_eq!(read_all(&other, Some(&page.cursor)).await.0, [token("after")]);
}

/// Several nodes notice at once: one acts, and the others learn that there is nothing left to do.
pub async fn it_does_so_once_whoever_asks<P: Storage<Store: Restorable + Store>>() {
    let place = P::empty().await;
    let seen = place.open().await.inspect(Position::START).await.unwrap().log;
    let mut nodes = Vec::new();
    for _ in 0..8 {
        let (store, renewal) = (open(&place).await, renewal(&seen, 10));
        nodes.push(tokio::spawn(async move { store.reset(renewal).await.unwrap().is_some() }));
    }
    let mut acted = 0;
    for node in nodes {
        acted += usize::from(node.await.unwrap());
    }
    assert_eq!(acted, 1);
    assert_eq!(read_all(&place.open().await, None).await.0, [cut_off(), token("another")]);
}

/// Revocations stay in place.
pub async fn a_restore_is_accepted_once<P: Storage<Store: Restorable + Store>>() {
    let place = P::empty().await;
    let store = place.open().await;
    assert_eq!(store.accept_restore().await.unwrap(), None);
    let seen = store.inspect(Position::START).await.unwrap().log;
    store.reset(renewal(&seen, 0)).await.unwrap().unwrap();
    let other = place.open().await;
    assert_eq!(other.accept_restore().await.unwrap(), Some(NOON));
    assert_eq!(store.accept_restore().await.unwrap(), None);
    assert_eq!(store.inspect(Position::START).await.unwrap().restored_at, None);
    assert_eq!(read_all(&store, None).await.0, [cut_off(), token("another")]);
}

/// A high-water mark in a file that is removed at the end of the test.
struct Marked(PathBuf, Arc<HighWater>);

impl Marked {
    fn new(store: &impl Restorable) -> Self {
        let path = std::env::temp_dir().join(format!("adieu-conformance-{}", SessionId::random()));
        let mark = Arc::new(HighWater::open(&path).unwrap());
        store.witness().keep_to(&mark);
        Self(path, mark)
    }
}

impl Drop for Marked {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Entries are in the mark before the append returns, for every append; entries found by a read are too.
pub async fn whatever_is_appended_is_in_the_mark<P: Storage<Store: Restorable + Store>>() {
    let place = P::empty().await;
    let store = place.open().await;
    let marked = Marked::new(&store);
    marked.1.record(&store.inspect(Position::START).await.unwrap());
    let is_at_the_end = async || {
        let found = store.inspect(Position::START).await.unwrap();
        let mark = marked.1.mark().unwrap();
        assert_eq!((mark.log(), mark.position(), mark.anchor()), (found.log.as_str(), found.head, found.head));
        found.head
    };

    let head = store.append(vec![token("a"), token("b")]).await.unwrap();
    assert_eq!(is_at_the_end().await, head);
    let (one, two) = (session("jose"), session("jose"));
    store.create(one.clone()).await.unwrap();
    store.create(two.clone()).await.unwrap();
    store.end(ending(Selection::Owned(one.id.clone(), one.subject.clone()))).await.unwrap().unwrap();
    assert!(is_at_the_end().await > head);
    let head = is_at_the_end().await;
    let stolen = rotation(&two, TokenId::random());
    assert!(matches!(store.rotate(stolen).await.unwrap(), Rotated::Reused(..)));
    assert!(is_at_the_end().await > head);

    // From another process, with no mark or a mark of its own; also an entry that had lapsed before it arrived.
    for entry in [token("c"), lapsing("d", Timestamp::from_unix(1))] {
        place.open().await.append(vec![entry]).await.unwrap();
        read_all(&store, None).await;
        is_at_the_end().await;
    }
    // A page that is not the last one records only what has been read: a position always comes with its entry.
    let cursor = read_all(&store, None).await.1;
    place.open().await.append((0..5_000).map(|number| token(format!("many {number}"))).collect()).await.unwrap();
    store.read(Some(&cursor), Duration::ZERO).await.unwrap();
    let noted = marked.1.mark().unwrap();
    assert!(noted.position() > cursor.position && noted.anchor() == noted.position());
}

/// Not even after it has grown, for any caller: otherwise new entries would take the place of lost ones.
pub async fn a_log_that_went_back_is_neither_read_nor_appended_to<P: Storage<Store: Restorable + Store>>() {
    let place = P::empty().await;
    let store = place.open().await;
    let before = store.append(vec![token("a"), token("b")]).await.unwrap();
    let (one, two) = (session("jose"), session("jose"));
    store.create(one.clone()).await.unwrap();
    store.create(two.clone()).await.unwrap();
    let found = store.inspect(Position::START).await.unwrap();
    // Shorter than before, and with a different entry at a known position.
    for (head, last) in [(before.get() + 2, token("lost")), (before.get(), token("other"))] {
        let marked = Marked::new(&store);
        marked.1.record(&LogState { head: Position::new(head), last: Some(last), ..found.clone() });
        let went_back = |outcome: Option<Error>| assert!(matches!(outcome, Some(Error::RolledBack(_))), "{outcome:?}");
        went_back(store.read(None, Duration::ZERO).await.err());
        for _ in 0..4 {
            went_back(store.append(vec![token("new")]).await.err());
        }
        went_back(store.end(ending(Selection::Owned(one.id.clone(), one.subject.clone()))).await.err());
        went_back(store.rotate(rotation(&two, TokenId::random())).await.err());
        let now = store.inspect(Position::START).await.unwrap();
        assert_eq!((now.head, now.last), (before, Some(token("b"))), "nothing was appended");
        assert_eq!(place.open().await.sessions_of(&one.subject, None, 9).await.unwrap().len(), 2, "nor removed");
    }
    // After a reset it continues.
    let log = store.inspect(Position::START).await.unwrap().log;
    store.reset(renewal(&log, before.get() + 2)).await.unwrap().unwrap();
    store.append(vec![token("new")]).await.unwrap();
    assert_eq!(read_all(&store, None).await.0.pop(), Some(token("new")));
}

/// An empty store in place of one with revocations: emptied by mistake, or a new server at the same address.
pub async fn a_store_that_was_emptied_has_gone_back<P: Storage<Store: RevocationLog + SessionStore + Restorable>>() {
    let (before, place) = (P::empty().await, P::empty().await);
    let (first, store) = (before.open().await, place.open().await);
    let marked = Marked::new(&first);
    // A store without revocations has nothing to forget.
    marked.1.record(&first.inspect(Position::START).await.unwrap());
    store.witness().keep_to(&marked.1);
    assert!(read_all(&store, None).await.0.is_empty());

    let marked = Marked::new(&first);
    marked.1.record(&first.inspect(Position::START).await.unwrap());
    first.append(vec![token("told")]).await.unwrap();
    store.witness().keep_to(&marked.1);
    let went_back = |outcome: Option<Error>| {
        assert!(matches!(outcome, Some(Error::RolledBack(RollbackCause::Emptied))), "{outcome:?}");
    };
    went_back(store.read(None, Duration::ZERO).await.err());
    went_back(store.append(vec![token("new")]).await.err());
    let found = store.inspect(Position::START).await.unwrap();
    assert_eq!(found.head, Position::START, "nothing was appended");
    // After a reset it continues.
    store.reset(renewal(&found.log, marked.1.mark().unwrap().position().get())).await.unwrap().unwrap();
    store.append(vec![token("new")]).await.unwrap();
    assert_eq!(read_all(&store, None).await.0, [cut_off(), token("another"), token("new")]);
}

/// How far one store was pruned says nothing about another that replaces it, even if that is first appended to.
pub async fn another_store_need_not_be_pruned_as_far<P: Storage<Store: RevocationLog + Restorable>>() {
    let (before, place) = (P::empty().await, P::empty().await);
    let (first, store) = (before.open().await, place.open().await);
    first.append(vec![lapsing("lapsed", Timestamp::from_unix(1)), token("told")]).await.unwrap();
    first.prune(NOON).await.unwrap();
    let marked = Marked::new(&first);
    marked.1.record(&first.inspect(Position::START).await.unwrap());
    assert_eq!(marked.1.mark().unwrap().pruned_through(), NOON);

    place.open().await.append(vec![token("kept")]).await.unwrap();
    store.witness().keep_to(&marked.1);
    let head = store.append(vec![token("new")]).await.unwrap();
    let (mark, found) = (marked.1.mark().unwrap(), store.inspect(Position::START).await.unwrap());
    assert_eq!((mark.log(), mark.position()), (found.log.as_str(), head));
    assert_eq!(mark.pruned_through(), found.pruned_through);
    assert_eq!(read_all(&store, None).await.0, [token("kept"), token("new")]);
}

/// Returns the rotation that presenting this refresh token asks for.
fn rotation(of: &Session, presented: TokenId) -> Rotation {
    Rotation {
        issuer: issuer(),
        subject: of.subject.clone(),
        session: of.id.clone(),
        presented: presented.into(),
        successor: TokenId::random(),
        now: after(1),
        forgiven_since: None,
        access_expires_at: after(900),
        refresh_expires_at: after(86_400),
    }
}
