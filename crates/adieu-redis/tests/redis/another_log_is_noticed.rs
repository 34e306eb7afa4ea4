//! Data loss at the server is noticed as another log, even if the log has grown past the cursor since.

use std::time::Duration;

use adieu::{
    Issuer, Node, Subject,
    revocation::{Cursor, Position, Revocation, RevocationLog, RevokedBy},
    session::Scope,
    token::{Algorithm, SigningKey, TokenError},
};
use adieu_conformance::sample::{read_all, token};
use adieu_redis::Redis;
use test_servers::{Redis as Server, recovers};

use crate::support::{cursor, replicated, with_server};

fn facts(name: &str, count: usize) -> Vec<Revocation> {
    (0..count).map(|number| token(format!("{name} {number}"))).collect()
}

/// Checks that a read from the cursor reports another log, and returns all of it.
async fn noticed(store: &Redis, before: &Cursor, expected: &[Revocation]) {
    let page = store.read(Some(before), Duration::ZERO).await.unwrap();
    assert!(page.from_start, "read on from {before} to {}", page.cursor);
    assert_ne!(page.cursor.log, before.log);
    assert_eq!(read_all(store, None).await.0, expected);
    let again = store.read(Some(&page.cursor), Duration::ZERO).await.unwrap();
    assert!(!again.from_start, "once, not each time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn emptied() {
    let (server, store) = with_server().await;
    store.append(facts("old", 3)).await.unwrap();
    let before = cursor(&store).await;
    server.command(&["FLUSHALL"]).await;
    let empty = store.read(Some(&before), Duration::ZERO).await.unwrap();
    assert!(empty.from_start && empty.entries.is_empty());
    assert_eq!(empty.cursor.position, Position::START);
    // And again, if the first entry is appended before the next read.
    server.command(&["FLUSHALL"]).await;
    store.append(facts("new", 5)).await.unwrap();
    noticed(&store, &before, &facts("new", 5)).await;
    assert!(store.read(Some(&empty.cursor), Duration::ZERO).await.unwrap().from_start);
}

/// A node with a mark had seen the revocations: it rejects everything from before, even tokens signed with its own key.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn emptied_under_a_node_it_forgets_no_logout() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start().await;
    let start = async |name: &str| {
        let key = SigningKey::from_secret(Algorithm::HS256, &[9; 32]).unwrap();
        let builder = Node::builder(Issuer::new("https://adieu.test").unwrap()).with_signing_key(key);
        let store = Redis::connect(&server.url()).await.unwrap();
        builder.with_high_water(folder.path().join(name)).start(store).await.unwrap()
    };
    let jose = || Subject::new("jose").unwrap();
    for turn in ["it reads first", "it appends first"] {
        let node = start("mark").await;
        let left = node.sessions().log_in(jose()).await.unwrap();
        node.sessions().log_out(&left.access, Scope::This).await.unwrap();
        server.command(&["FLUSHALL"]).await;
        if turn == "it appends first" {
            // 503 until the log has been reset.
            recovers(async || node.sessions().append(facts(turn, 1)).await).await;
        }
        recovers(async || node.restored_at().ok_or("it has not noticed")).await;
        drop(node);
        let (same, late) = (start("mark").await, start(turn).await);
        for node in [&same, &late] {
            let refusal = node.verifier().verify(&left.access).unwrap_err();
            assert_eq!(refusal, TokenError::Revoked(RevokedBy::Everything), "{turn}");
        }
        assert!(same.accept_restore().await.unwrap().is_some());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_copy_that_has_grown_past_the_cursor() {
    let (mut server, store) = with_server().await;
    store.append(facts("kept", 3)).await.unwrap();
    let copy = server.copy_data();
    store.append(facts("lost", 3)).await.unwrap();
    let before = cursor(&store).await;
    server.stop().await;
    server.put_back(&copy);
    server.start_again().await;
    recovers(async || store.append(facts("new", 10)).await).await;
    assert!(cursor(&store).await.position > before.position);
    noticed(&store, &before, &[facts("kept", 3), facts("new", 10)].concat()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarted_with_nothing_lost_it_is_read_once_more() {
    let (mut server, store) = with_server().await;
    store.append(facts("kept", 3)).await.unwrap();
    let before = cursor(&store).await;
    server.kill();
    server.start_again().await;
    recovers(async || store.read(None, Duration::ZERO).await).await;
    noticed(&store, &before, &facts("kept", 3)).await;
    assert_eq!(cursor(&store).await.position, before.position, "positions go on");
}

/// A replica that lacks the last entries takes over at the address of the primary. To keep the port, the test lets the primary copy the
/// replica's data and become a primary again: the same process, at the same address.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failed_over_to_a_replica_without_the_tail_and_back() {
    let (primary, store) = with_server().await;
    let replica = Server::start().await;
    let port = |server: &Server| server.port().to_string();
    store.append(facts("kept", 3)).await.unwrap();
    replica.command(&["REPLICAOF", "127.0.0.1", &port(&primary)]).await;
    recovers(async || replicated(&replica).await).await;
    // The replica is disconnected from its primary, and does not get the next entries.
    replica.command(&["REPLICAOF", "NO", "ONE"]).await;
    store.append(facts("lost", 3)).await.unwrap();
    let before = cursor(&store).await;

    let there = Redis::connect(&replica.url()).await.unwrap();
    there.append(facts("new", 10)).await.unwrap();
    assert!(cursor(&there).await.position > before.position);
    noticed(&there, &before, &[facts("kept", 3), facts("new", 10)].concat()).await;

    primary.command(&["REPLICAOF", "127.0.0.1", &port(&replica)]).await;
    recovers(async || replicated(&primary).await).await;
    let refused = store.read(Some(&before), Duration::ZERO).await.unwrap_err();
    assert!(format!("{refused:?}").contains("is a replica"), "{refused:?}");
    assert!(store.append(facts("refused", 1)).await.is_err());
    primary.command(&["REPLICAOF", "NO", "ONE"]).await;
    recovers(async || store.read(None, Duration::ZERO).await).await;
    noticed(&store, &before, &[facts("kept", 3), facts("new", 10)].concat()).await;
}
