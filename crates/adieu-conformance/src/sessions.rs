//! The guarantees of every [`SessionStore`].

mod races;

use std::{collections::BTreeSet, time::Duration};

use adieu::{
    SessionId, Subject, TokenId,
    revocation::{Revocation, RevocationLog, Target},
    session::{
        EndSessions, Origin, Presented, Rotated, Rotation, Selection, Session, SessionKey, SessionStore, UsedRefresh,
    },
    time::Timestamp,
};

use super::{
    Storage,
    sample::{NOON, after, ending, issuer, read_all, session, subject, token, unusual_texts},
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
            a_session_that_is_not_there_ends_by_what_goes_along
            a_rotation_is_written_down
            a_renewal_is_written_down_and_leaves_the_refresh_token
            reuse_ends_the_session
            one_of_many_rotations_wins
            a_rotation_and_an_ending_have_an_order
            whoever_finds_a_session_gone_finds_its_revocation
            several_endings_are_one_step
            several_endings_that_are_given_up_are_one_step
            several_endings_in_a_crash_are_one_step
            thousands_of_endings_are_no_mistake
            they_are_listed_in_order_and_in_pages
            everybodys_are_listed_in_pages_while_they_come_and_go
            the_oldest_is_found
            they_are_listed_by_the_bytes_of_their_ids
            one_that_is_created_again_is_one
            when_the_last_token_expires_is_known
            last_seen_only_goes_forward
            thousands_are_seen_at_once
            what_has_expired_is_forgotten_and_nothing_else
            they_are_there_after_a_restart
        }
    };
}

pub use races::{
    a_rotation_and_an_ending_have_an_order, one_of_many_rotations_wins, several_endings_are_one_step,
    several_endings_in_a_crash_are_one_step, several_endings_that_are_given_up_are_one_step,
    whoever_finds_a_session_gone_finds_its_revocation,
};

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

/// Returns all sessions, in the order of their ids: each engine may order subjects in its own way.
async fn everybodys<S: SessionStore>(store: &S) -> Vec<Session> {
    let mut sessions = store.sessions(None, 1_000).await.unwrap();
    sessions.sort_by(|one, other| one.id.cmp(&other.id));
    sessions
}

/// Every field, with any content of an id.
pub async fn a_session_is_kept_as_it_was<P: Storage<Store: RevocationLog + SessionStore>>() {
    let place = P::empty().await;
    let (store, other) = (place.open().await, place.open().await);
    let plain = session("jose");
    let unusual = unusual_texts().into_iter().map(|text| Session {
        id: SessionId::new(&text).unwrap(),
        subject: Subject::new(&text).unwrap(),
        origin: Origin { address: "2001:db8::7".parse().ok(), user_agent: Some(format!("{text}\0🦀")) },
        refresh_id: TokenId::new(&text).unwrap(),
        previous_refresh_id: Some(TokenId::new(&text).unwrap()),
        used_refresh: Some(UsedRefresh { id: TokenId::new(&text).unwrap(), at: after(5) }),
        created_at: Timestamp::ZERO,
        last_seen_at: after(1),
        refreshed_at: after(2),
        refresh_expires_at: after(3),
        access_expires_at: after(4),
        expires_at: Timestamp::MAX,
    });
    let unusual: Vec<_> = unusual.collect();
    for session in [plain].iter().chain(&unusual) {
        store.create(session.clone()).await.unwrap();
        for store in [&store, &other] {
            assert_eq!(store.session(&session.id).await.unwrap().as_ref(), Some(session));
            let of_subject = store.sessions_of(&session.subject, None, 10).await.unwrap();
            assert_eq!(of_subject, std::slice::from_ref(session));
        }
    }
    assert_eq!(store.session(&SessionId::random()).await.unwrap(), None);
    // Unusual as they are, each one ends on its own.
    for session in &unusual {
        let owned = Selection::Owned(session.id.clone(), session.subject.clone());
        assert_eq!(other.end(ending(owned)).await.unwrap().unwrap().sessions, 1, "{:?}", session.id);
        assert_eq!(store.session(&session.id).await.unwrap(), None);
    }
    assert_eq!(store.sessions(None, 100).await.unwrap().len(), 1);
}

/// In one step; a second time there is nothing to end.
pub async fn ending_removes_it_and_appends_its_revocation<P: Storage<Store: RevocationLog + SessionStore>>() {
    let place = P::empty().await;
    let store = place.open().await;
    let session = with_sessions(&store, &["jose"]).await.remove(0);
    let end = || {
        store.end(EndSessions {
            only_if: Some((session.id.clone(), session.subject.clone())),
            extra_revocations: vec![token("also")],
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

/// Each ended session gets a revocation, unless a cut-off covers it.
pub async fn each_selection_ends_what_it_says<P: Storage<Store: RevocationLog + SessionStore>>() {
    let all = ["ana", "ana", "jose", "jose", "jose"];
    type Choose = fn(&[Session]) -> Selection;
    // Which selection leaves which of the sessions, in order.
    let cases: [(Choose, &[usize]); 8] = [
        (|of| Selection::One(of[2].id.clone()), &[0, 1, 3, 4]),
        (|_| Selection::One(SessionId::random()), &[0, 1, 2, 3, 4]),
        (|of| Selection::Owned(of[2].id.clone(), of[2].subject.clone()), &[0, 1, 3, 4]),
        (|of| Selection::Owned(of[2].id.clone(), subject("unknown")), &[0, 1, 2, 3, 4]),
        (|_| Selection::OfSubject(subject("unknown")), &[0, 1, 2, 3, 4]),
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
        assert_eq!(everybodys(&store).await, left, "case {number}");
        assert_eq!(ended.sessions, all.len() - left.len());
        // A cut-off that covers the sessions replaces their own revocations.
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
    assert_eq!(everybodys(&store).await, left);
}

/// Whatever lapse time was given.
pub async fn a_cut_off_outlives_the_sessions_that_it_covers<P: Storage<Store: RevocationLog + SessionStore>>() {
    let place = P::empty().await;
    let store = place.open().await;
    with_sessions(&store, &["jose"]).await;
    let target = Target::Everything { issued_until: after(1) };
    let cut_off = Revocation { issuer: issuer(), target, lapses_at: after(2) };
    let everything = ending(Selection::All { issued_until: after(1) });
    store.end(EndSessions { extra_revocations: vec![cut_off], ..everything }).await.unwrap();
    let (entries, _) = read_all(&store, None).await;
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].lapses_at, Revocation::lapse_for(after(900)));
}

/// Nor if the session belongs to a different subject.
pub async fn nothing_happens_without_the_session_it_was_provided_on<P: Storage<Store: RevocationLog + SessionStore>>() {
    let place = P::empty().await;
    let store = place.open().await;
    let sessions = with_sessions(&store, &["jose", "jose"]).await;
    let all = ending(Selection::OfSubject(subject("jose")));
    for provided in [(SessionId::random(), subject("jose")), (sessions[0].id.clone(), subject("unknown"))] {
        let ending = EndSessions { only_if: Some(provided), extra_revocations: vec![token("also")], ..all.clone() };
        assert!(store.end(ending).await.unwrap().is_none());
    }
    assert_eq!(everybodys(&store).await, sessions);
    assert_eq!(read_all(&store, None).await.0, []);
}

/// An existing session has a revocation of its own.
pub async fn a_session_that_is_not_there_ends_by_what_goes_along<P: Storage<Store: RevocationLog + SessionStore>>() {
    let place = P::empty().await;
    let store = place.open().await;
    let session = with_sessions(&store, &["jose"]).await.remove(0);
    let revocation = Revocation { lapses_at: after(5000), ..session.revocation(&issuer()) };
    let ending =
        EndSessions { extra_revocations: vec![revocation.clone()], ..ending(Selection::One(session.id.clone())) };
    for (sessions, expected) in [(1, session.revocation(&issuer())), (0, revocation)] {
        let ended = store.end(ending.clone()).await.unwrap().unwrap();
        assert_eq!((ended.sessions, ended.revocations), (sessions, vec![expected.clone()]));
        assert_eq!(read_all(&store, None).await.0.pop(), Some(expected));
    }
}

/// Each sees the results of those before it.
pub async fn several_endings_are_carried_out_in_order<P: Storage<Store: RevocationLog + SessionStore>>() {
    let place = P::empty().await;
    let store = place.open().await;
    let sessions = with_sessions(&store, &["ana", "jose", "jose"]).await;
    let ana = sessions.iter().find(|one| one.subject == subject("ana")).unwrap();
    let provided = Some((ana.id.clone(), ana.subject.clone()));
    let endings = vec![
        ending(Selection::One(ana.id.clone())),
        EndSessions { extra_revocations: vec![token("also")], ..ending(Selection::Nothing) },
        ending(Selection::One(SessionId::random())),
        // This session has just ended.
        EndSessions { only_if: provided, ..ending(Selection::OfSubject(subject("jose"))) },
        ending(Selection::OfSubject(subject("jose"))),
    ];
    let ended = store.end_all(endings).await.unwrap();
    let counts: Vec<_> = ended.iter().map(|ended| ended.as_ref().map(|ended| ended.sessions)).collect();
    assert_eq!(counts, [Some(1), Some(0), Some(0), None, Some(2)]);
    let appended: Vec<_> = ended.into_iter().flatten().flat_map(|ended| ended.revocations).collect();
    assert_eq!(appended.len(), 4);
    assert_eq!(read_all(&store, None).await.0, appended);
    assert_eq!(store.sessions(None, 10).await.unwrap(), []);
    assert!(store.end_all(vec![]).await.unwrap().is_empty());
}

/// The decision is stored.
pub async fn a_rotation_is_written_down<P: Storage<Store: RevocationLog + SessionStore>>() {
    let place = P::empty().await;
    let store = place.open().await;
    let session = with_sessions(&store, &["jose"]).await.remove(0);
    let first = rotation(&session, &session.refresh_id);
    let Rotated::Fresh(rotated) = store.rotate(first.clone()).await.unwrap() else { panic!("it was the current one") };
    assert_eq!(rotated.refresh_id, first.successor);
    assert_eq!(store.session(&session.id).await.unwrap(), Some(rotated.clone()));

    let again = rotation(&session, &session.refresh_id);
    // At any later time: the successor has not been used.
    let again = Rotation { forgiven_since: Some(after(70)), ..again };
    let Rotated::WithinGrace(forgiven) = store.rotate(again).await.unwrap() else {
        panic!("its successor is not used")
    };
    assert_eq!(forgiven.refresh_id, first.successor);
    assert_eq!(store.session(&session.id).await.unwrap(), Some(forgiven));

    let second = rotation(&session, &first.successor);
    let Rotated::Fresh(rotated) = store.rotate(second.clone()).await.unwrap() else { panic!("it was the current one") };
    assert_eq!(store.session(&session.id).await.unwrap(), Some(rotated));
    let again = rotation(&session, &session.refresh_id);
    let Rotated::WithinGrace(forgiven) = store.rotate(again).await.unwrap() else { panic!("it is within the grace") };
    assert_eq!(forgiven.refresh_id, second.successor);

    let unknown = rotation(&super::sample::session("jose"), &session.refresh_id);
    assert!(matches!(store.rotate(unknown).await.unwrap(), Rotated::Ended));
    let not_theirs = Rotation { subject: subject("unknown"), ..rotation(&session, &first.successor) };
    assert!(matches!(store.rotate(not_theirs).await.unwrap(), Rotated::Ended));
}

/// It only extends the time for which a revocation would have to be kept.
pub async fn a_renewal_is_written_down_and_leaves_the_refresh_token<P: Storage<Store: RevocationLog + SessionStore>>() {
    let place = P::empty().await;
    let store = place.open().await;
    let session = with_sessions(&store, &["jose"]).await.remove(0);
    let renewal = Rotation { presented: Presented::Access, ..rotation(&session, &session.refresh_id) };
    let Rotated::WithinGrace(renewed) = store.rotate(renewal.clone()).await.unwrap() else {
        panic!("the session is there")
    };
    let access_expires_at = renewal.access_expires_at.max(session.access_expires_at);
    assert_eq!(renewed, Session { access_expires_at, ..session.clone() });
    assert_eq!(store.session(&session.id).await.unwrap(), Some(renewed));

    store.end(ending(Selection::Owned(session.id.clone(), session.subject.clone()))).await.unwrap();
    assert!(matches!(store.rotate(renewal).await.unwrap(), Rotated::Ended));
}

/// With its revocation, in the step that detected the reuse.
pub async fn reuse_ends_the_session<P: Storage<Store: RevocationLog + SessionStore>>() {
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

/// One subject's sessions, oldest first.
pub async fn they_are_listed_in_order_and_in_pages<P: Storage<Store: RevocationLog + SessionStore>>() {
    let place = P::empty().await;
    let store = place.open().await;
    let (ana, jose) = (subject("ana"), subject("jose"));
    let sessions = with_sessions(&store, &["ana", "jose", "jose", "ana", "jose"]).await;
    let of = |name: &Subject| sessions.iter().filter(|one| one.subject == *name).cloned().collect::<Vec<_>>();
    let (of_ana, of_jose) = (of(&ana), of(&jose));
    assert_eq!(store.sessions_of(&jose, None, 100).await.unwrap(), of_jose);
    assert_eq!(store.sessions_of(&jose, None, 2).await.unwrap(), of_jose[..2]);
    assert_eq!(store.sessions_of(&jose, Some(&of_jose[0].id), 1).await.unwrap(), of_jose[1..2]);
    assert_eq!(store.sessions_of(&jose, Some(&of_jose[2].id), 1).await.unwrap(), []);
    assert_eq!(store.sessions_of(&jose, None, 0).await.unwrap(), []);
    assert_eq!(store.sessions_of(&ana, None, 100).await.unwrap(), of_ana);
    assert_eq!(store.sessions_of(&subject("unknown"), None, 100).await.unwrap(), []);
}

/// All sessions, subject by subject, so that a page may end within a subject and between two. Sessions that exist all the
/// time are listed exactly once although others come and go, including the one that the last page ended with.
pub async fn everybodys_are_listed_in_pages_while_they_come_and_go<P: Storage<Store: RevocationLog + SessionStore>>() {
    let subjects = ["a", "ab", "b", "jo", "jose", "josé", "kim", "0123456789", "\0", "a\0b", "\u{10ffff}"];
    for limit in [1, 2, 3, 4, 100] {
        let place = P::empty().await;
        let store = place.open().await;
        assert_eq!(store.sessions(None, limit).await.unwrap(), []);
        // Three of each subject, begun in turns, so that their ids are in another order than their subjects.
        let all = with_sessions(&store, &[subjects; 3].concat()).await;
        let in_order = store.sessions(None, 100).await.unwrap();
        assert!(in_order.chunks(3).all(|of_one| {
            of_one.iter().all(|one| one.subject == of_one[0].subject) && of_one.is_sorted_by_key(|one| &one.id)
        }));
        let (mut listed, mut last) = (Vec::new(), None);
        loop {
            let page = store.sessions(last.as_ref(), limit).await.unwrap();
            let Some(end) = page.last() else { break };
            assert!(page.len() <= limit);
            last = Some(end.key());
            // A session of the same subject and one of another are added, and the session at the cursor is removed.
            if all.contains(end) {
                store.create(session(end.subject.as_str())).await.unwrap();
                store.create(session("new")).await.unwrap();
            }
            store.end(ending(Selection::Owned(end.id.clone(), end.subject.clone()))).await.unwrap();
            listed.extend(page);
        }
        let once: BTreeSet<_> = listed.iter().map(Session::key).collect();
        assert_eq!(once.len(), listed.len(), "pages of {limit}");
        listed.retain(|one| all.contains(one));
        assert_eq!(listed, in_order, "pages of {limit}");
    }
}

/// Of any subject.
pub async fn the_oldest_is_found<P: Storage<Store: RevocationLog + SessionStore>>() {
    let place = P::empty().await;
    let store = place.open().await;
    assert_eq!(store.oldest().await.unwrap(), None);
    let mut sessions = with_sessions(&store, &["kim", "ana", "jose", "b"]).await;
    while !sessions.is_empty() {
        let oldest = sessions.remove(0);
        assert_eq!(store.oldest().await.unwrap().as_ref(), Some(&oldest));
        store.end(ending(Selection::Owned(oldest.id, oldest.subject))).await.unwrap();
    }
    assert_eq!(store.oldest().await.unwrap(), None);
}

/// After all of its tokens have expired, and without a revocation.
pub async fn what_has_expired_is_forgotten_and_nothing_else<P: Storage<Store: RevocationLog + SessionStore>>() {
    let place = P::empty().await;
    let store = place.open().await;
    let mut staying = BTreeSet::new();
    for number in 0..600 {
        let mut session = session("jose");
        match number % 3 {
            0 => session.refresh_expires_at = NOON,
            1 => {
                // The refresh token has expired, an access token has not.
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
    assert_eq!(store.delete_expired(after(900)).await.unwrap().removed, 0, "it expires after its exp");
    // Twice: the second run starts from the beginning.
    for expected in [200, 0] {
        let mut removed = 0;
        loop {
            let step = store.delete_expired(after(901)).await.unwrap();
            removed += step.removed;
            if step.complete {
                break;
            }
        }
        assert_eq!(removed, expected);
    }
    let left: BTreeSet<_> = store.sessions(None, 1_000).await.unwrap().into_iter().map(|one| one.id).collect();
    assert_eq!(left, staying);
    assert_eq!(read_all(&store, None).await.0, [], "what has expired needs no revocation");
}

/// Unchanged, also after a crash.
pub async fn they_are_there_after_a_restart<P: Storage<Store: RevocationLog + SessionStore>>() {
    let place = P::empty().await;
    let sessions = {
        let store = place.open().await;
        let sessions = with_sessions(&store, &["ana", "jose", "jose"]).await;
        store.end(ending(Selection::One(sessions[1].id.clone()))).await.unwrap();
        sessions
    };
    place.crash().await;
    let store = place.open().await;
    assert_eq!(everybodys(&store).await, [sessions[0].clone(), sessions[2].clone()]);
    assert_eq!(store.read(None, Duration::ZERO).await.unwrap().entries.len(), 1);
}

/// Not an alphabetical order: a database may have to be configured for it.
pub async fn they_are_listed_by_the_bytes_of_their_ids<P: Storage<Store: SessionStore>>() {
    let place = P::empty().await;
    let store = place.open().await;
    let more = ["a", "B", "b", "a-b", "ab", "a b", "Z", "_", "é", "e", "10", "9", "\u{ffff}", "aa", "a\0"];
    let ids: BTreeSet<String> = more.map(str::to_owned).into_iter().chain(unusual_texts()).collect();
    for id in ids.iter().rev() {
        store.create(Session { id: SessionId::new(id).unwrap(), ..session("jose") }).await.unwrap();
    }
    // In pages of each size, so that every id is the end of a page.
    let jose = subject("jose");
    for (of, limit) in [(None, 1), (Some(&jose), 2), (None, 7), (Some(&jose), 100)] {
        let (mut listed, mut last) = (Vec::new(), None::<SessionKey>);
        loop {
            let page = match of {
                Some(of) => store.sessions_of(of, last.as_ref().map(|key| &key.id), limit).await.unwrap(),
                None => store.sessions(last.as_ref(), limit).await.unwrap(),
            };
            let Some(session) = page.last() else { break };
            last = Some(session.key());
            listed.extend(page.into_iter().map(|session| session.id.to_string()));
        }
        assert_eq!(listed, ids.iter().cloned().collect::<Vec<_>>());
    }
}

/// As when a caller retries without knowing the first result.
pub async fn one_that_is_created_again_is_one<P: Storage<Store: SessionStore>>() {
    let place = P::empty().await;
    let (store, other) = (place.open().await, place.open().await);
    let session = session("jose");
    for store in [&store, &store, &other] {
        store.create(session.clone()).await.unwrap();
        assert_eq!(store.sessions(None, 10).await.unwrap(), std::slice::from_ref(&session));
        assert_eq!(store.session(&session.id).await.unwrap().as_ref(), Some(&session));
    }
}

/// Of any session, for access tokens and refresh tokens: a revocation is kept that long if its expiry is unknown.
pub async fn when_the_last_token_expires_is_known<P: Storage<Store: SessionStore>>() {
    let place = P::empty().await;
    let store = place.open().await;
    assert_eq!(store.latest_expiry().await.unwrap(), Timestamp::ZERO);
    for (refresh, access, latest) in [(100, 50, 100), (10, 200, 200), (20, 30, 200)] {
        let (refresh_expires_at, access_expires_at) = (after(refresh), after(access));
        store.create(Session { refresh_expires_at, access_expires_at, ..session("jose") }).await.unwrap();
        assert_eq!(store.latest_expiry().await.unwrap(), after(latest));
    }
    store.end(ending(Selection::OfSubject(subject("jose")))).await.unwrap();
    assert_eq!(store.latest_expiry().await.unwrap(), Timestamp::ZERO);
}

/// For any caller, in any order; and it creates no session.
pub async fn last_seen_only_goes_forward<P: Storage<Store: SessionStore>>() {
    let place = P::empty().await;
    let store = place.open().await;
    let session = with_sessions(&store, &["jose"]).await.remove(0);
    let seen = |at| {
        let of = &session.subject;
        vec![
            (SessionId::random(), of.clone(), at),
            (session.id.clone(), of.clone(), at),
            (session.id.clone(), subject("unknown"), after(30)),
        ]
    };
    store.record_last_seen(seen(after(20))).await.unwrap();
    store.record_last_seen(seen(after(10))).await.unwrap();
    store.record_last_seen(vec![]).await.unwrap();
    assert_eq!(store.session(&session.id).await.unwrap().unwrap().last_seen_at, after(20));
    assert_eq!(store.sessions(None, 100).await.unwrap().len(), 1);
}

/// More than the parameters of an engine's statement, with duplicates, and most of them absent.
pub async fn thousands_are_seen_at_once<P: Storage<Store: SessionStore>>() {
    let place = P::empty().await;
    let store = place.open().await;
    let sessions = with_sessions(&store, &["ana", "jose", "jose"]).await;
    let mut seen = Vec::new();
    for number in 0..25_000 {
        let session = &sessions[number % 3];
        match number % 5_000 {
            0..3 => seen.push((session.id.clone(), session.subject.clone(), after(number as u64))),
            _ => seen.push((SessionId::random(), session.subject.clone(), after(1))),
        }
    }
    let latest = |session: &Session| seen.iter().filter(|(id, ..)| *id == session.id).map(|(.., at)| *at).max();
    let expected: Vec<_> = sessions.iter().map(latest).collect();
    store.record_last_seen(seen.clone()).await.unwrap();
    let listed = everybodys(&store).await;
    assert_eq!(listed.iter().map(|session| Some(session.last_seen_at)).collect::<Vec<_>>(), expected);
}

/// More than the parameters of an engine's statement, each by an id alone, which requires a search.
pub async fn thousands_of_endings_are_no_mistake<P: Storage<Store: RevocationLog + SessionStore>>() {
    let place = P::empty().await;
    let store = place.open().await;
    let sessions = with_sessions(&store, &["ana", "jose", "jose"]).await;
    let mut endings: Vec<_> = (0..3_000).map(|_| ending(Selection::One(SessionId::random()))).collect();
    for (place, session) in [0, 1_700, 2_999].into_iter().zip(&sessions) {
        endings[place] = ending(Selection::One(session.id.clone()));
    }
    let ended = store.end_all(endings).await.unwrap();
    let counts: Vec<_> = ended.iter().map(|ended| ended.as_ref().unwrap().sessions).collect();
    assert_eq!((counts.len(), counts.iter().sum::<usize>()), (3_000, 3));
    assert_eq!((counts[0], counts[1_700], counts[2_999]), (1, 1, 1));
    let expected: Vec<_> = sessions.iter().map(|session| session.revocation(&issuer())).collect();
    assert_eq!(read_all(&store, None).await.0, expected);
}
