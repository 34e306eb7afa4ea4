//! Concurrent operations of several processes on one session or several.

use std::{collections::BTreeSet, time::Duration};

use tokio::task::JoinHandle;

use super::{ending, rotation, with_sessions};
use crate::{
    Storage, open,
    sample::{after, issuer, read_all, token},
};
use adieu::{
    revocation::{Revocation, RevocationLog},
    session::{EndSessions, Rotated, Selection, Session, SessionStore},
};

/// Of tabs and nodes that refresh with the same token at once, one gets a new token, and the others get the same one: the
/// chain of refresh tokens never forks. A later use of the old token counts as theft.
pub async fn one_of_many_rotations_wins<P: Storage<Store: RevocationLog + SessionStore>>() {
    let place = P::empty().await;
    let (here, there) = (open(&place).await, open(&place).await);
    for _ in 0..8 {
        let session = with_sessions(&*here, &["jose"]).await.remove(0);
        let tabs: Vec<_> = (0..16)
            .map(|tab| {
                let store = if tab % 2 == 0 { here.clone() } else { there.clone() };
                let rotation = rotation(&session, &session.refresh_id);
                tokio::spawn(async move { store.rotate(rotation).await.unwrap() })
            })
            .collect();
        let (mut fresh, mut successors) = (0, BTreeSet::new());
        for tab in tabs {
            match tab.await.unwrap() {
                Rotated::Fresh(session) => {
                    fresh += 1;
                    successors.insert(session.refresh_id);
                }
                Rotated::WithinGrace(session) => drop(successors.insert(session.refresh_id)),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((fresh, successors.len()), (1, 1));
        let kept = there.session(&session.id).await.unwrap().unwrap();
        assert_eq!(
            (Some(&kept.refresh_id), kept.previous_refresh_id),
            (successors.first(), Some(session.refresh_id.clone()))
        );

        let stolen = adieu::session::Rotation { forgiven_since: None, ..rotation(&session, &session.refresh_id) };
        let (one, other) = tokio::join!(here.rotate(stolen.clone()), there.rotate(stolen));
        let ended = [one.unwrap(), other.unwrap()].into_iter().filter(|one| matches!(one, Rotated::Reused(..))).count();
        assert_eq!(ended, 1, "a session ends once");
    }
    assert_eq!(read_all(&*here, None).await.0.len(), 8);
}

/// In either order, the session is over, and its revocation is kept until the last token that was issued expires.
pub async fn a_rotation_and_an_ending_have_an_order<P: Storage<Store: RevocationLog + SessionStore>>() {
    let place = P::empty().await;
    let (here, there) = (open(&place).await, open(&place).await);
    for _ in 0..30 {
        let session = with_sessions(&*here, &["jose"]).await.remove(0);
        let (rotated, ended) = tokio::join!(
            here.rotate(rotation(&session, &session.refresh_id)),
            there.end(ending(Selection::One(session.id.clone())))
        );
        let ended = ended.unwrap().unwrap();
        assert_eq!(ended.sessions, 1);
        let last_token_expires_at = match rotated.unwrap() {
            Rotated::Fresh(_) => after(960),
            Rotated::Ended => after(900),
            other => panic!("{other:?}"),
        };
        assert_eq!(ended.revocations[0].lapses_at, Revocation::lapse_for(last_token_expires_at));
        assert_eq!(here.session(&session.id).await.unwrap(), None);
    }
}

/// A session is never gone without its revocation being there: a crash at such a moment would leave a logout half done.
pub async fn whoever_finds_a_session_gone_finds_its_revocation<P: Storage<Store: RevocationLog + SessionStore>>() {
    let place = P::empty().await;
    let (here, there) = (open(&place).await, open(&place).await);
    for _ in 0..20 {
        let session = with_sessions(&*here, &["jose"]).await.remove(0);
        let (store, id) = (there.clone(), session.id.clone());
        let looking = tokio::spawn(async move {
            while store.session(&id).await.unwrap().is_some() {
                tokio::task::yield_now().await;
            }
            read_all(&*store, None).await.0
        });
        here.end(ending(Selection::Owned(session.id.clone(), session.subject.clone()))).await.unwrap();
        assert!(looking.await.unwrap().contains(&session.revocation(&issuer())));
    }
}

/// The number of sessions when all of them are to end.
const MANY: usize = 60;

/// Returns an ending for each of these sessions, and one revocation without a session.
fn endings(of: &[Session], also: &str) -> Vec<EndSessions> {
    let mut endings: Vec<_> =
        of.iter().map(|one| ending(Selection::Owned(one.id.clone(), one.subject.clone()))).collect();
    endings.push(EndSessions { extra_revocations: vec![token(also)], ..ending(Selection::Nothing) });
    endings
}

/// Returns the revocations that these endings append.
fn revocations(of: &[Session], also: &str) -> Vec<Revocation> {
    of.iter().map(|one| one.revocation(&issuer())).chain([token(also)]).collect()
}

async fn many<S: SessionStore>(store: &S, round: usize) -> Vec<Session> {
    let names: Vec<_> = (0..MANY).map(|number| format!("{round} {number}")).collect();
    with_sessions(store, &names.iter().map(String::as_str).collect::<Vec<_>>()).await
}

/// Returns whether all of these sessions are over and all revocations appended; fails if only some are.
async fn are_over<S: RevocationLog + SessionStore>(store: &S, sessions: &[Session], also: &str) -> bool {
    let left = store.sessions(None, 10 * MANY).await.unwrap();
    let left = left.iter().filter(|one| sessions.contains(one)).count();
    let expected = revocations(sessions, also);
    let appended = read_all(store, None).await.0;
    let appended: Vec<_> = appended.into_iter().filter(|one| expected.contains(one)).collect();
    match left {
        0 => assert_eq!(appended, expected),
        MANY => assert_eq!(appended, []),
        _ => panic!("{left} of {MANY} sessions are left"),
    }
    left == 0
}

/// No reader sees only some of them done.
pub async fn several_endings_are_one_step<P: Storage<Store: RevocationLog + SessionStore>>() {
    let place = P::empty().await;
    let (here, there) = (open(&place).await, open(&place).await);
    for round in 0..4 {
        let sessions = many(&*here, round).await;
        let store = there.clone();
        let looking: JoinHandle<()> = tokio::spawn(async move {
            loop {
                match store.sessions(None, 10 * MANY).await.unwrap().len() {
                    0 => break,
                    left => assert_eq!(left, MANY, "some have ended, and others have not"),
                }
            }
        });
        let ended = here.end_all(endings(&sessions, "also")).await.unwrap();
        assert_eq!(ended.len(), MANY + 1);
        looking.await.unwrap();
        assert_eq!(there.sessions(None, 10).await.unwrap(), []);
    }
}

/// Cancelling the call leaves all of it done, or nothing.
pub async fn several_endings_that_are_given_up_are_one_step<P: Storage<Store: RevocationLog + SessionStore>>() {
    let place = P::empty().await;
    let (here, there) = (open(&place).await, open(&place).await);
    for round in 0..6 {
        let (sessions, also) = (many(&*here, round).await, format!("also {round}"));
        let (store, endings) = (here.clone(), endings(&sessions, &also));
        let given_up = tokio::spawn(async move { store.end_all(endings).await.map(drop) });
        tokio::time::sleep(Duration::from_micros(150 * round as u64)).await;
        given_up.abort();
        let _ = given_up.await;
        // After this, the endings cannot still be in progress.
        here.append(vec![token("after it")]).await.unwrap();
        let were_over = are_over(&*there, &sessions, &also).await;
        here.end_all(self::endings(&sessions, "again")).await.unwrap();
        assert_eq!(there.sessions(None, 10).await.unwrap(), [], "over before: {were_over}");
    }
}

/// The same holds for a crash of the storage in the middle. An acknowledged ending is done.
pub async fn several_endings_in_a_crash_are_one_step<P: Storage<Store: RevocationLog + SessionStore>>() {
    let place = P::empty().await;
    let (sessions, was_answered) = {
        let store = open(&place).await;
        let sessions = many(&*store, 0).await;
        let endings = endings(&sessions, "also");
        let ending = tokio::spawn(async move { store.end_all(endings).await.is_ok() });
        tokio::task::yield_now().await;
        place.crash().await;
        // An unanswered call may wait for long.
        let was_answered = tokio::time::timeout(Duration::from_secs(20), ending).await;
        (sessions, matches!(was_answered, Ok(Ok(true))))
    };
    let store = place.open().await;
    let are_over = are_over(&store, &sessions, "also").await;
    assert!(are_over || !was_answered, "it was answered");
}
