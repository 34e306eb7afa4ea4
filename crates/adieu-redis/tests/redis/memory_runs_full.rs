//! A server whose memory is full rejects logins. It accepts logouts and operations that free memory, so it recovers by itself.

use std::time::Duration;

use adieu::{
    Error, TokenId,
    revocation::RevocationLog,
    run_maintenance,
    session::{Presented, Rotated, Rotation, Selection, Session, SessionStore},
    store::{Membership, NodeStatus},
    token::KeyStore,
};
use adieu_conformance::sample::{after, ending, issuer, key, lapsing, read_all, session, subject, token};
use adieu_redis::Redis;
use test_servers::Redis as Server;

use crate::support::with_server;

/// Makes the server reject all commands that would use more memory.
async fn fill(server: &Server) {
    assert_eq!(server.command(&["CONFIG", "SET", "maxmemory", "100kb"]).await, "+OK");
}

async fn end(store: &Redis, selection: Selection) -> usize {
    store.end(ending(selection)).await.unwrap().unwrap().sessions
}

fn is_denied<T: std::fmt::Debug>(outcome: Result<T, Error>) {
    let Err(error) = outcome else { panic!("{outcome:?}") };
    assert!(format!("{error:?}").contains("OOM"), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logouts_and_whatever_frees_memory_are_taken_when_it_is_full() {
    let (server, store) = with_server().await;
    let sessions: Vec<_> = (0..8).map(|number| session(if number < 4 { "ana" } else { "jose" })).collect();
    for session in &sessions {
        store.create(session.clone()).await.unwrap();
    }
    let keys = store.add_first_key(key(after(0))).await.unwrap();
    store.append((0..600).map(|number| lapsing(format!("{number}"), after(5))).collect()).await.unwrap();
    for number in 0..600 {
        let past = Session { refresh_expires_at: after(5), access_expires_at: after(5), ..session("past") };
        store.create(past).await.unwrap_or_else(|error| panic!("{number}: {error}"));
    }
    fill(&server).await;
    is_denied(store.create(session("ana")).await);
    is_denied(store.check().await);

    let owned = |session: &Session| Selection::Owned(session.id.clone(), session.subject.clone());
    assert_eq!(end(&store, owned(&sessions[0])).await, 1);
    assert_eq!(end(&store, Selection::OfSubject(subject("ana"))).await, 3);
    store.append(vec![token("revoked")]).await.unwrap();
    store.record_last_seen(vec![(sessions[4].id.clone(), sessions[4].subject.clone(), after(1))]).await.unwrap();
    let rotation = Rotation {
        issuer: issuer(),
        subject: sessions[4].subject.clone(),
        session: sessions[4].id.clone(),
        presented: Presented::Refresh(sessions[4].refresh_id.clone()),
        successor: TokenId::random(),
        now: after(2),
        forgiven_since: None,
        access_expires_at: after(900),
        refresh_expires_at: after(86_400),
    };
    assert!(matches!(store.rotate(rotation.clone()).await.unwrap(), Rotated::Fresh(_)));
    assert!(matches!(store.rotate(rotation).await.unwrap(), Rotated::Reused(..)));
    let standing = NodeStatus {
        node: "node".to_owned(),
        heartbeat: 1,
        applied: None,
        followers: 0,
        unbounded: 0,
        max_staleness: Duration::from_secs(2),
    };
    store.publish(&standing).await.unwrap();
    assert_eq!(store.replace_keys(Some(key(after(9))), vec![keys[0].id.clone()]).await.unwrap().len(), 1);

    // Only expired data is removed.
    run_maintenance(&store, &store, after(1_000_000)).await.unwrap_or_else(|error| panic!("{error:?}"));
    assert_eq!(store.sessions(None, 1_000).await.unwrap(), []);
    assert_eq!(read_all(&store, None).await.0, []);
    assert_eq!(store.memory().limit, 100 * 1_024);

    // Now with free memory, as a server with more data than its own buffers has after that.
    assert_eq!(server.command(&["CONFIG", "SET", "maxmemory", "1gb"]).await, "+OK");
    store.create(session("ana")).await.unwrap();
    assert_eq!(end(&store, Selection::All { issued_until: after(0) }).await, 1);
}

/// Uses the memory that a server really frees: the operator need not change a setting.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_recovers_by_itself_when_what_is_kept_has_expired() {
    let (server, store) = with_server().await;
    let used = async || {
        let info = server.command(&["INFO", "memory"]).await;
        info.lines().find_map(|line| line.strip_prefix("used_memory:")?.trim().parse::<usize>().ok()).unwrap()
    };
    let limit = used().await + 2 * 1_024 * 1_024;
    server.command(&["CONFIG", "SET", "maxmemory", &limit.to_string()]).await;
    let mut logged_in = 0;
    loop {
        match store.create(session("ana")).await {
            Ok(()) => logged_in += 1,
            Err(error) => break is_denied::<()>(Err(error)),
        }
    }
    assert!(logged_in > 100);
    let some = store.sessions(None, 64).await.unwrap();
    for session in some {
        assert_eq!(end(&store, Selection::Owned(session.id, session.subject)).await, 1);
    }
    run_maintenance(&store, &store, after(1_000_000)).await.unwrap();
    store.create(session("ana")).await.unwrap();
}

/// Freeing sessions does not wait for freeing the log.
#[tokio::test]
async fn sessions_are_forgotten_also_when_the_log_can_not_be_pruned() {
    let (server, store) = with_server().await;
    let past = Session { refresh_expires_at: after(5), access_expires_at: after(5), ..session("past") };
    store.create(past).await.unwrap();
    store.append(vec![lapsing("a", after(5))]).await.unwrap();
    // Replaced by another type, so that every command on it fails.
    server.command(&["DEL", "{adieu}:lapses"]).await;
    server.command(&["SET", "{adieu}:lapses", "in the way"]).await;
    run_maintenance(&store, &store, after(1_000_000)).await.unwrap_err();
    assert_eq!(store.sessions(None, 10).await.unwrap(), []);
}
