//! Under concurrent changes, sessions end together with their revocations, and no index keeps an entry of an ended session.

use std::{collections::HashSet, time::Duration};

use adieu::{
    revocation::Target,
    session::{EndSessions, Selection, Session, SessionStore},
};
use adieu_conformance::sample::{NOON, after, ending, read_all, session, subject};
use adieu_redis::Redis;
use test_servers::Redis as Server;

use crate::support::{rotation, with_server};

async fn size(server: &Server, command: &str, key: &str) -> usize {
    let answer = server.command(&[command, &format!("{{adieu}}:{key}")]).await;
    answer.strip_prefix(':').unwrap_or_else(|| panic!("{answer}")).parse().unwrap()
}

/// Checks that each index has exactly the existing sessions, and no revoked one.
async fn agree(server: &Server, store: &Redis) -> HashSet<adieu::SessionId> {
    let left: HashSet<_> =
        store.sessions(None, usize::MAX).await.unwrap().into_iter().map(|session| session.id).collect();
    assert_eq!(size(server, "HLEN", "sessions").await, left.len());
    for index in ["ids", "subjects", "refreshed", "access", "expiry"] {
        assert_eq!(size(server, "ZCARD", index).await, left.len(), "{index}");
    }
    for fact in read_all(store, None).await.0 {
        let Target::Session { id } = fact.target else { panic!("{fact:?}") };
        assert!(!left.contains(&id), "a session is revoked, and there");
    }
    left
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_everything_happens_at_once() {
    const SUBJECTS: usize = 4;
    let (server, store) = with_server().await;
    let other = Redis::connect(&server.url()).await.unwrap();
    let tasks: Vec<_> = (0..16)
        .map(|task| {
            let store = if task % 2 == 0 { store.clone() } else { other.clone() };
            tokio::spawn(async move {
                for number in 0..30 {
                    let of = format!("{}", (task + number) % SUBJECTS);
                    let session = session(&of);
                    store.create(session.clone()).await.unwrap();
                    store.rotate(rotation(&session, 910)).await.unwrap();
                    store
                        .record_last_seen(vec![(session.id.clone(), session.subject.clone(), after(20))])
                        .await
                        .unwrap();
                    let selection = match number % 6 {
                        0 => Selection::OfSubject(subject(&of)),
                        1 => Selection::Others(subject(&of), session.id.clone()),
                        2 => Selection::One(session.id.clone()),
                        3 if task == 0 => Selection::All { issued_until: NOON },
                        // Its refresh token has been rotated: using it ends the session.
                        4 => {
                            store.rotate(rotation(&session, 910)).await.unwrap();
                            continue;
                        }
                        _ => continue,
                    };
                    store.end(ending(selection)).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    agree(&server, &store).await;
    let all = store.end(ending(Selection::All { issued_until: NOON })).await.unwrap().unwrap();
    let revoked = all.revocations.len();
    assert_eq!(all.sessions, revoked, "all of them had been refreshed after the cut-off");
    assert!(agree(&server, &store).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_endings_are_one_step() {
    let (server, store) = with_server().await;
    let mut sessions = Vec::new();
    for of in ["ana", "ana", "jose", "jose", "kim"] {
        let session = session(of);
        store.create(session.clone()).await.unwrap();
        sessions.push(session);
    }
    let commits = async || {
        let stats = server.command(&["INFO", "commandstats"]).await;
        let calls = stats.lines().find_map(|line| line.strip_prefix("cmdstat_hincrby:calls="));
        calls.map_or(0, |calls| calls.split(',').next().unwrap().parse::<usize>().unwrap())
    };
    let before = commits().await;
    let provided = |session: &Session| Some((session.id.clone(), session.subject.clone()));
    let endings = vec![
        ending(Selection::One(sessions[0].id.clone())),
        // Ended by the previous operation.
        EndSessions { only_if: provided(&sessions[0]), ..ending(Selection::OfSubject(subject("kim"))) },
        ending(Selection::OfSubject(subject("ana"))),
        ending(Selection::Others(subject("jose"), sessions[2].id.clone())),
        ending(Selection::All { issued_until: NOON }),
        ending(Selection::OfSubject(subject("jose"))),
    ];
    let ended = store.end_all(endings).await.unwrap();
    let counts: Vec<_> = ended.iter().map(|ended| ended.as_ref().map(|ended| ended.sessions)).collect();
    assert_eq!(counts, [Some(1), None, Some(1), Some(1), Some(2), Some(0)]);
    assert_eq!(commits().await, before + 1);
    assert!(agree(&server, &store).await.is_empty());
    // Sessions covered by the cut-off get no revocation of their own.
    assert_eq!(read_all(&store, None).await.0.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_they_are_forgotten() {
    let (server, store) = with_server().await;
    for number in 0..600 {
        let mut session = session(&format!("{}", number % 7));
        if number % 2 == 0 {
            session.refresh_expires_at = NOON;
        }
        store.create(session).await.unwrap();
    }
    while !store.delete_expired(after(901)).await.unwrap().complete {}
    assert_eq!(agree(&server, &store).await.len(), 300);
    let page = store.sessions_of(&subject("1"), None, 5).await.unwrap();
    let rest = store.sessions_of(&subject("1"), Some(&page[4].id), usize::MAX).await.unwrap();
    let mut ids: Vec<_> = page.iter().chain(&rest).map(|session| session.id.clone()).collect();
    let of_one = ids.len();
    ids.dedup();
    assert!(ids.is_sorted() && ids.len() == of_one && of_one > 40);
    tokio::time::timeout(Duration::from_secs(5), store.end(ending(Selection::OfSubject(subject("1")))))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(agree(&server, &store).await.len(), 300 - of_one);
}
