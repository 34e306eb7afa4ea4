//! An older copy replaces a database, while nodes run and while none does: every token from before is rejected.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::{
    path::Path,
    time::{Duration, Instant},
};

use adieu::{
    Node,
    revocation::RevokedBy,
    session::{LoggedOut, Scope, SessionError, TokenPair},
    token::TokenError,
};
use adieu_conformance::{Storage, suite};
use adieu_postgres::Postgres;
use test_servers::{
    TEST_TIMEOUT, recovers,
    story::{self, refresh, refusal, try_log_in},
    until,
};

/// A separate server for each test.
struct Server(test_servers::Postgres);

impl Storage for Server {
    type Store = Postgres;

    async fn empty() -> Self {
        Self(test_servers::Postgres::start().await)
    }

    async fn open(&self) -> Postgres {
        Postgres::connect(&self.0.url()).await.unwrap()
    }
}

suite!(postgres: Server, restore);

async fn start(server: &test_servers::Postgres, mark: &Path) -> Node {
    story::start(Postgres::connect(&server.url()).await.unwrap(), Some(mark)).await
}

async fn log_in(node: &Node) -> TokenPair {
    recovers(async || try_log_in(node).await).await
}

async fn log_out(node: &Node, tokens: &TokenPair) {
    node.sessions().log_out(&tokens.access, Scope::This).await.unwrap();
}

async fn assert_all_is_revoked(node: &Node, before: &[&TokenPair]) {
    assert!(node.restored_at().is_some());
    for tokens in before {
        assert_eq!(refusal(node, tokens), Some(TokenError::Revoked(RevokedBy::Everything)));
        assert!(!refresh(node, tokens).await);
    }
    assert_eq!(refusal(node, &log_in(node).await), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_every_node_was_down() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    let mut server = test_servers::Postgres::start().await;
    let nodes = [start(&server, &one).await, start(&server, &two).await];
    let (left, stayed) = (log_in(&nodes[0]).await, log_in(&nodes[0]).await);
    let copy = server.copy_data();
    log_out(&nodes[0], &left).await;
    until("the other node refuses", async || refusal(&nodes[1], &left).is_some()).await;
    drop(nodes);
    server.stop().await;
    server.put_back(&copy);
    server.start_again().await;

    let (first, second) = tokio::join!(start(&server, &one), start(&server, &two));
    for node in [&first, &second] {
        assert_all_is_revoked(node, &[&left, &stayed]).await;
    }
    drop((first, second));
    let node = start(&server, &one).await;
    assert!(node.accept_restore().await.unwrap().is_some());
    assert_eq!(node.accept_restore().await.unwrap(), None);
    let new = log_in(&node).await;
    drop(node);
    let node = start(&server, &two).await;
    assert_eq!((node.restored_at(), refusal(&node, &new)), (None, None), "noticed once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_nodes_run_and_whether_or_not_others_go_on_with_it_first() {
    for grown in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let mut server = test_servers::Postgres::start().await;
        let node = start(&server, &folder.path().join("one")).await;
        let late = start(&server, &folder.path().join("late")).await;
        let (left, stayed) = (log_in(&node).await, log_in(&node).await);
        let copy = server.copy_data();
        log_out(&node, &left).await;
        until("the other node refuses", async || refusal(&late, &left).is_some()).await;
        // Time for the mark to record the entry.
        tokio::time::sleep(Duration::from_secs(1)).await;
        server.stop().await;
        server.put_back(&copy);
        if grown {
            drop(late);
            let late = folder.path().join("another mark");
            server.start_again().await;
            let other = start(&server, &late).await;
            for _ in 0..5 {
                let tokens = log_in(&other).await;
                // The node may notice as soon as there is an entry, and may have ended this session as well.
                let ended = other.sessions().log_out(&tokens.access, Scope::This).await;
                assert!(
                    matches!(
                        ended,
                        Ok(LoggedOut { sessions: 1, .. }) | Err(SessionError::InvalidToken(TokenError::Revoked(_)))
                    ),
                    "{ended:?}"
                );
            }
        } else {
            server.start_again().await;
        }
        let started = Instant::now();
        while node.restored_at().is_none()
            || refusal(&node, &stayed) != Some(TokenError::Revoked(RevokedBy::Everything))
        {
            assert!(started.elapsed() < TEST_TIMEOUT, "grown: {grown}");
            assert!(refusal(&node, &left).is_some(), "what was known stays revoked");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        println!("noticed {:?} after the server was back (grown: {grown})", started.elapsed());
        assert!(refusal(&node, &left).is_some());
        assert_eq!(refusal(&node, &log_in(&node).await), None);
    }
}
