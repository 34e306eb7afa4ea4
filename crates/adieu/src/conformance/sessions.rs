//! What every [`SessionStore`] promises.

use std::{collections::BTreeSet, time::Duration};

use crate::{
    SessionId, Subject, TokenId,
    revocation::{Revocation, RevocationLog, Target},
    session::{Ending, Origin, Presented, Rotated, Rotation, Selection, Session, SessionStore},
};

use super::{
    Place, open,
    sample::{NOON, after, issuer, read_all, session, subject, token},
};

#[macro_export]
#[doc(hidden)]
macro_rules! __conformance_sessions {
    () => {
        $crate::__conformance_tests! { sessions:
            a_session_is_kept_as_it_was
            ending_removes_it_and_appends_its_revocation
            each_selection_ends_what_it_says
            a_cut_off_outlives_the_sessions_that_it_covers
            nothing_happens_without_the_session_it_was_provided_on
            several_endings_are_carried_out_in_order
            a_rotation_is_written_down
            a_renewal_is_written_down_and_leaves_the_refresh_token
            reuse_ends_the_session
            one_of_many_rotations_wins
            a_rotation_and_an_ending_have_an_order
            they_are_listed_in_order_and_in_pages
            last_seen_only_goes_forward
            what_has_expired_is_forgotten_and_nothing_else
            they_are_there_after_a_restart
        }
    };
}

fn ending(selection: Selection) -> Ending {
    Ending { issuer: issuer(), selection, provided: None, also: vec![] }
}

fn rotation(of: &Session, presented: &TokenId) -> Rotation {
    Rotation {
        issuer: issuer(),
        subject: of.subject.clone(),
        session: of.id.clone(),
        presented: presented.clone().into(),
        successor: TokenId::random(),
        now: after(60),
        forgiven_since: Some(after(50)),
        access_expires_at: after(960),
        refresh_expires_at: after(7_200),
    }
}

async fn with_sessions<S: SessionStore>(store: &S, of: &[&str]) -> Vec<Session> {
    let mut sessions: Vec<_> = of.iter().map(|name| session(name)).collect();
    sessions.sort_by(|one, other| one.id.cmp(&other.id));
    for session in &sessions {
        store.create(session.clone()).await.unwrap();
    }
    sessions
}

/// A session is kept as it was.
pub async fn a_session_is_kept_as_it_was<P: Place<Store: RevocationLog + SessionStore>>() {
    let place = P::empty().await;
    let store = place.open().await;
    let long = "\u{10ffff}".repeat(128);
    let unusual = Session {
        id: SessionId::new("a\0'\"\n").unwrap(),
        subject: Subject::new(&long).unwrap(),
        origin: Origin { address: "2001:db8::7".parse().ok(), user_agent: Some("\0🦀".to_owned()) },
        previous_refresh_id: Some(TokenId::new(&long).unwrap()),
        last_seen_at: after(1),
        refreshed_at: after(2),
        refresh_expires_at: after(3),
        access_expires_at: after(4),
        expires_at: after(5),
        ..session("jose")
    };
    for session in [session("jose"), unusual] {
        store.create(session.clone()).await.unwrap();
        assert_eq!(store.session(&session.id).await.unwrap(), Some(session));
    }
    assert_eq!(store.session(&SessionId::random()).await.unwrap(), None);
}

/// Ending removes it and appends its revocation.
pub async fn ending_removes_it_and_appends_its_revocation<P: Place<Store: RevocationLog + SessionStore>>() {
    let place = P::empty().await;
    let store = place.open().await;
    let session = with_sessions(&store, &["jose"]).await.remove(0);
    let end = || {
        store.end(Ending {
            provided: Some((session.id.clone(), session.subject.clone())),
            also: vec![token("also")],
            ..ending(Selection::One(session.id.clone()))
        })
    };

    let ended = end().await.unwrap().unwrap();
    let expected = Revocation {
        issuer: issuer(),
        target: Target::Session { id: session.id.clone() },
        lapses_at: Revocation::lapse_for(after(900)),
    };
    assert_eq!((ended.sessions, ended.revocations), (1, vec![expected.clone(), token("also")]));
    assert_eq!(store.session(&session.id).await.unwrap(), None);
    assert!(end().await.unwrap().is_none(), "the second time changes nothing");
    assert_eq!(read_all(&store, None).await.0, [expected, token("also")]);
}

/// Each selection ends what it says.
pub async fn each_selection_ends_what_it_says<P: Place<Store: RevocationLog + SessionStore>>() {
    let all = ["ana", "ana", "jose", "jose", "jose"];
    type Choose = fn(&[Session]) -> Selection;
    // Of the sessions in order, which selection leaves which.
    let cases: [(Choose, &[usize]); 8] = [
        (|of| Selection::One(of[2].id.clone()), &[0, 1, 3, 4]),
        (|_| Selection::One(SessionId::random()), &[0, 1, 2, 3, 4]),
        (|of| Selection::Owned(of[2].id.clone(), of[2].subject.clone()), &[0, 1, 3, 4]),
        (|of| Selection::Owned(of[2].id.clone(), subject("nobody")), &[0, 1, 2, 3, 4]),
        (|_| Selection::OfSubject(subject("nobody")), &[0, 1, 2, 3, 4]),
        (|_| Selection::All { issued_until: after(1) }, &[]),
        (|_| Selection::Nothing, &[0, 1, 2, 3, 4]),
        (|of| Selection::OfSubject(of[0].subject.clone()), &[]),
    ];
    for (number, (choose, left)) in cases.into_iter().enumerate() {
        let place = P::empty().await;
        let store = place.open().await;
        let sessions = with_sessions(&store, &all).await;
        let selection = choose(&sessions);
        let left: Vec<Session> = match &selection {
            Selection::OfSubject(name) => sessions.iter().filter(|one| one.subject != *name).cloned().collect(),
            _ => left.iter().map(|&place| sessions[place].clone()).collect(),
        };
        let ended = store.end(ending(selection.clone())).await.unwrap().unwrap();
        assert_eq!(store.sessions(None, None, 100).await.unwrap(), left, "case {number}");
        assert_eq!(ended.sessions, all.len() - left.len());
        // A cut-off that covers them stands for their own revocations.
        let revocations = if matches!(selection, Selection::All { .. }) { 0 } else { ended.sessions };
        assert_eq!(ended.revocations.len(), revocations);
        assert_eq!(read_all(&store, None).await.0, ended.revocations);
    }

    let place = P::empty().await;
    let store = place.open().await;
    let sessions = with_sessions(&store, &all).await;
    let (this, of) = (&sessions[0].id, &sessions[0].subject);
    store.end(ending(Selection::Others(of.clone(), this.clone()))).await.unwrap();
    let left: Vec<_> = sessions.iter().filter(|one| one.subject != *of || one.id == *this).cloned().collect();
    assert_eq!(store.sessions(None, None, 100).await.unwrap(), left);
}

/// A cut off outlives the sessions that it covers.
pub async fn a_cut_off_outlives_the_sessions_that_it_covers<P: Place<Store: RevocationLog + SessionStore>>() {
    let place = P::empty().await;
    let store = place.open().await;
    with_sessions(&store, &["jose"]).await;
    let target = Target::Everything { issued_until: after(1) };
    let cut_off = Revocation { issuer: issuer(), target, lapses_at: after(2) };
    let everything = ending(Selection::All { issued_until: after(1) });
    store.end(Ending { also: vec![cut_off], ..everything }).await.unwrap();
    let (entries, _) = read_all(&store, None).await;
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].lapses_at, Revocation::lapse_for(after(900)));
}

/// Nothing happens without the session it was provided on.
pub async fn nothing_happens_without_the_session_it_was_provided_on<P: Place<Store: RevocationLog + SessionStore>>() {
    let place = P::empty().await;
    let store = place.open().await;
    let sessions = with_sessions(&store, &["jose", "jose"]).await;
    let all = ending(Selection::OfSubject(subject("jose")));
    for provided in [(SessionId::random(), subject("jose")), (sessions[0].id.clone(), subject("nobody"))] {
        let ending = Ending { provided: Some(provided), also: vec![token("also")], ..all.clone() };
        assert!(store.end(ending).await.unwrap().is_none());
    }
    assert_eq!(store.sessions(None, None, 100).await.unwrap(), sessions);
    assert_eq!(read_all(&store, None).await.0, []);
}

/// Several endings are carried out in order.
pub async fn several_endings_are_carried_out_in_order<P: Place<Store: RevocationLog + SessionStore>>() {
    let place = P::empty().await;
    let store = place.open().await;
    let sessions = with_sessions(&store, &["ana", "jose", "jose"]).await;
    let ana = sessions.iter().find(|one| one.subject == subject("ana")).unwrap();
    let provided = Some((ana.id.clone(), ana.subject.clone()));
    let endings = vec![
        ending(Selection::One(ana.id.clone())),
        Ending { also: vec![token("also")], ..ending(Selection::Nothing) },
        ending(Selection::One(SessionId::random())),
        // Which has just ended.
        Ending { provided, ..ending(Selection::OfSubject(subject("jose"))) },
        ending(Selection::OfSubject(subject("jose"))),
    ];
    let ended = store.end_all(endings).await.unwrap();
    let counts: Vec<_> = ended.iter().map(|ended| ended.as_ref().map(|ended| ended.sessions)).collect();
    assert_eq!(counts, [Some(1), Some(0), Some(0), None, Some(2)]);
    let appended: Vec<_> = ended.into_iter().flatten().flat_map(|ended| ended.revocations).collect();
    assert_eq!(appended.len(), 4);
    assert_eq!(read_all(&store, None).await.0, appended);
    assert_eq!(store.sessions(None, None, 10).await.unwrap(), []);
    assert!(store.end_all(vec![]).await.unwrap().is_empty());
}

/// A rotation is written down.
pub async fn a_rotation_is_written_down<P: Place<Store: RevocationLog + SessionStore>>() {
    let place = P::empty().await;
    let store = place.open().await;
    let session = with_sessions(&store, &["jose"]).await.remove(0);
    let first = rotation(&session, &session.refresh_id);
    let Rotated::Fresh(rotated) = store.rotate(first.clone()).await.unwrap() else { panic!("it was the current one") };
    assert_eq!(rotated.refresh_id, first.successor);
    assert_eq!(store.session(&session.id).await.unwrap(), Some(rotated.clone()));

    let again = rotation(&session, &session.refresh_id);
    let Rotated::Again(forgiven) = store.rotate(again).await.unwrap() else { panic!("it is within the grace") };
    assert_eq!(forgiven.refresh_id, first.successor);
    assert_eq!(store.session(&session.id).await.unwrap(), Some(forgiven));

    let unknown = rotation(&super::sample::session("jose"), &session.refresh_id);
    assert!(matches!(store.rotate(unknown).await.unwrap(), Rotated::Ended));
    let not_theirs = Rotation { subject: subject("nobody"), ..rotation(&session, &first.successor) };
    assert!(matches!(store.rotate(not_theirs).await.unwrap(), Rotated::Ended));
}

/// A renewal is written down and leaves the refresh token.
pub async fn a_renewal_is_written_down_and_leaves_the_refresh_token<P: Place<Store: RevocationLog + SessionStore>>() {
    let place = P::empty().await;
    let store = place.open().await;
    let session = with_sessions(&store, &["jose"]).await.remove(0);
    let renewal = Rotation { presented: Presented::Access, ..rotation(&session, &session.refresh_id) };
    let Rotated::Again(renewed) = store.rotate(renewal.clone()).await.unwrap() else { panic!("the session is there") };
    let access_expires_at = renewal.access_expires_at.max(session.access_expires_at);
    assert_eq!(renewed, Session { access_expires_at, ..session.clone() });
    assert_eq!(store.session(&session.id).await.unwrap(), Some(renewed));

    store.end(ending(Selection::Owned(session.id.clone(), session.subject.clone()))).await.unwrap();
    assert!(matches!(store.rotate(renewal).await.unwrap(), Rotated::Ended));
}

/// Reuse ends the session.
pub async fn reuse_ends_the_session<P: Place<Store: RevocationLog + SessionStore>>() {
    let place = P::empty().await;
    let store = place.open().await;
    let session = with_sessions(&store, &["jose"]).await.remove(0);
    let stolen = rotation(&session, &TokenId::random());
    let Rotated::Reused(reused, revocation) = store.rotate(stolen).await.unwrap() else { panic!("it is unknown") };
    assert_eq!(*reused, session);
    assert_eq!(store.session(&session.id).await.unwrap(), None);
    assert_eq!(read_all(&store, None).await.0, [revocation]);
    let late = rotation(&session, &session.refresh_id);
    assert!(matches!(store.rotate(late).await.unwrap(), Rotated::Ended));
}

/// One of many rotations wins.
pub async fn one_of_many_rotations_wins<P: Place<Store: RevocationLog + SessionStore>>() {
    let place = P::empty().await;
    let (here, there) = (open(&place).await, open(&place).await);
    let session = with_sessions(&*here, &["jose"]).await.remove(0);
    let tabs: Vec<_> = (0..32)
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
            Rotated::Again(session) => drop(successors.insert(session.refresh_id)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((fresh, successors.len()), (1, 1));
}

/// A rotation and an ending have an order.
pub async fn a_rotation_and_an_ending_have_an_order<P: Place<Store: RevocationLog + SessionStore>>() {
    let place = P::empty().await;
    let (here, there) = (open(&place).await, open(&place).await);
    for _ in 0..50 {
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

/// They are listed in order and in pages.
pub async fn they_are_listed_in_order_and_in_pages<P: Place<Store: RevocationLog + SessionStore>>() {
    let place = P::empty().await;
    let store = place.open().await;
    let sessions = with_sessions(&store, &["ana", "jose", "jose", "ana", "jose"]).await;
    assert_eq!(store.sessions(None, None, 2).await.unwrap(), sessions[..2]);
    assert_eq!(store.sessions(None, Some(&sessions[1].id), 2).await.unwrap(), sessions[2..4]);
    assert_eq!(store.sessions(None, Some(&sessions[4].id), 2).await.unwrap(), []);
    assert_eq!(store.sessions(None, None, 0).await.unwrap(), []);
    let of_jose: Vec<_> = sessions.iter().filter(|one| one.subject == subject("jose")).cloned().collect();
    assert_eq!(store.sessions(Some(&subject("jose")), None, 100).await.unwrap(), of_jose);
    assert_eq!(store.sessions(Some(&subject("jose")), Some(&of_jose[0].id), 1).await.unwrap(), of_jose[1..2]);
    assert_eq!(store.sessions(Some(&subject("nobody")), None, 100).await.unwrap(), []);
}

/// Last seen only goes forward.
pub async fn last_seen_only_goes_forward<P: Place<Store: RevocationLog + SessionStore>>() {
    let place = P::empty().await;
    let store = place.open().await;
    let session = with_sessions(&store, &["jose"]).await.remove(0);
    let seen = |at| {
        let of = &session.subject;
        vec![
            (SessionId::random(), of.clone(), at),
            (session.id.clone(), of.clone(), at),
            (session.id.clone(), subject("nobody"), after(30)),
        ]
    };
    store.seen(seen(after(20))).await.unwrap();
    store.seen(seen(after(10))).await.unwrap();
    store.seen(vec![]).await.unwrap();
    assert_eq!(store.session(&session.id).await.unwrap().unwrap().last_seen_at, after(20));
    assert_eq!(store.sessions(None, None, 100).await.unwrap().len(), 1);
}

/// What has expired is forgotten and nothing else.
pub async fn what_has_expired_is_forgotten_and_nothing_else<P: Place<Store: RevocationLog + SessionStore>>() {
    let place = P::empty().await;
    let store = place.open().await;
    let mut staying = BTreeSet::new();
    for number in 0..600 {
        let mut session = session("jose");
        match number % 3 {
            0 => session.refresh_expires_at = NOON,
            1 => {
                // Its refresh token has expired, an access token has not.
                session.refresh_expires_at = NOON;
                session.access_expires_at = after(1_000);
            }
            _ => {}
        }
        if number % 3 != 0 {
            staying.insert(session.id.clone());
        }
        store.create(session).await.unwrap();
    }
    assert_eq!(store.forget_expired(after(900)).await.unwrap().removed, 0, "it expires after its exp");
    // Twice: the second time starts over from the beginning.
    for expected in [200, 0] {
        let mut removed = 0;
        loop {
            let step = store.forget_expired(after(901)).await.unwrap();
            removed += step.removed;
            if step.complete {
                break;
            }
        }
        assert_eq!(removed, expected);
    }
    let left: BTreeSet<_> = store.sessions(None, None, 1_000).await.unwrap().into_iter().map(|one| one.id).collect();
    assert_eq!(left, staying);
    assert_eq!(read_all(&store, None).await.0, [], "what has expired needs no revocation");
}

/// They are there after a restart.
pub async fn they_are_there_after_a_restart<P: Place<Store: RevocationLog + SessionStore>>() {
    let place = P::empty().await;
    let sessions = {
        let store = place.open().await;
        let sessions = with_sessions(&store, &["ana", "jose", "jose"]).await;
        store.end(ending(Selection::One(sessions[1].id.clone()))).await.unwrap();
        sessions
    };
    let store = place.open().await;
    assert_eq!(store.sessions(None, None, 100).await.unwrap(), [sessions[0].clone(), sessions[2].clone()]);
    assert_eq!(store.read(None, Duration::ZERO).await.unwrap().entries.len(), 1);
}
