//! A standby takes over, with everything that was acknowledged or without the last writes.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use adieu::{
    Error, Issuer, Node, Subject,
    restore::{HighWater, Restorable as _},
    revocation::{Position, RevocationLog as _, RevokedBy},
    session::{Scope, SessionError, TokenPair},
    token::TokenError,
};
use adieu_conformance::sample::{read_all, token};
use adieu_postgres::Postgres;
use test_servers::Postgres as Server;

/// Only a test that hangs reaches it.
const TEST_TIMEOUT: Duration = Duration::from_secs(60);

async fn start(server: &Server, mark: Option<&Path>) -> Node {
    let builder = Node::builder(Issuer::new("https://adieu.test").unwrap());
    let builder = match mark {
        Some(mark) => builder.with_high_water(mark),
        None => builder,
    };
    builder.start(Postgres::connect(&server.url()).await.unwrap()).await.unwrap()
}

async fn log_in(node: &Node) -> TokenPair {
    let subject = Subject::new("jose").unwrap();
    node.sessions().log_in(subject).await.unwrap()
}

/// Logs out, and retries until the response says that this token is revoked.
async fn log_out(node: &Node, tokens: &TokenPair) {
    let started = Instant::now();
    loop {
        match node.sessions().log_out(&tokens.access, Scope::This).await {
            Ok(_) | Err(SessionError::InvalidToken(TokenError::Revoked(_))) => return,
            Err(SessionError::InvalidToken(TokenError::Stale) | SessionError::Failed(_)) => {}
            Err(error) => panic!("{error:?}"),
        }
        assert!(started.elapsed() < TEST_TIMEOUT);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn refusal(node: &Node, tokens: &TokenPair) -> Option<TokenError> {
    node.verifier().verify(&tokens.access).err()
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < TEST_TIMEOUT, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn is_revoked(node: &Node, tokens: &TokenPair) -> bool {
    matches!(refusal(node, tokens), Some(TokenError::Revoked(_)))
}

/// New entries reuse the positions of the lost ones. A reader that has read further than the standby must not continue from there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_revoked_after_it_reaches_whoever_had_read_further() {
    for has_mark in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let mark = folder.path().join("mark");
        let mut primary = Server::start().await;
        let node = start(&primary, has_mark.then_some(&mark)).await;
        // A follower that knows only what it reads.
        let follower = start(&primary, None).await;
        let mut tokens = Vec::new();
        for _ in 0..12 {
            tokens.push(log_in(&node).await);
        }
        let (before, rest) = tokens.split_at(5);
        let (lost, rest) = rest.split_at(2);
        let (after, stays) = rest.split_at(4);
        for tokens in before {
            log_out(&node, tokens).await;
        }
        let mut standby = primary.standby().await;
        standby.stop().await;
        for tokens in lost {
            log_out(&node, tokens).await;
        }
        until("the follower has read them", || lost.iter().all(|tokens| is_revoked(&follower, tokens))).await;

        primary.fail_over_to(standby).await;
        for tokens in after {
            log_out(&node, tokens).await;
        }
        let is_known = || after.iter().all(|tokens| is_revoked(&follower, tokens));
        until("the follower refuses what was revoked after the failover", is_known).await;
        for tokens in before.iter().chain(lost).chain(after) {
            assert!(is_revoked(&node, tokens) && is_revoked(&follower, tokens));
        }

        if has_mark {
            // The mark shows the loss, so everything from before is rejected, also by a node that starts now.
            until("the node notices", || node.restored_at().is_some()).await;
            let late = start(&primary, None).await;
            for tokens in lost.iter().chain(stays) {
                assert_eq!(refusal(&late, tokens), Some(TokenError::Revoked(RevokedBy::Everything)));
            }
            let new = log_in(&node).await;
            assert_eq!((refusal(&node, &new), refusal(&late, &new)), (None, None));
        }
    }
}

/// Commits wait for the standby, so it has everything that was acknowledged: no user has to log in again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_nothing_lost_nobody_is_logged_out() {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("mark");
    let mut primary = Server::start().await;
    let node = start(&primary, Some(&mark)).await;
    let follower = start(&primary, None).await;
    let standby = primary.standby().await;
    primary.sql("ALTER SYSTEM SET synchronous_standby_names = 'standby'").await;
    primary.sql("SELECT pg_reload_conf()").await;
    let mut tokens = Vec::new();
    for _ in 0..8 {
        tokens.push(log_in(&node).await);
    }
    let (before, rest) = tokens.split_at(4);
    let (after, stay) = rest.split_at(2);
    for tokens in before {
        log_out(&node, tokens).await;
    }

    primary.fail_over_to(standby).await;
    primary.sql("ALTER SYSTEM RESET synchronous_standby_names").await;
    primary.sql("SELECT pg_reload_conf()").await;
    for tokens in after {
        log_out(&node, tokens).await;
    }
    let late = start(&primary, Some(&mark)).await;
    for node in [&node, &follower, &late] {
        until("it is refused", || before.iter().chain(after).all(|tokens| is_revoked(node, tokens))).await;
        until("and the rest is good", || stay.iter().all(|tokens| refusal(node, tokens).is_none())).await;
        assert_eq!(node.restored_at(), None);
    }
    for tokens in stay {
        let token = late.sessions().inspect(&tokens.refresh).unwrap();
        assert!(late.sessions().refresh(&token).await.is_ok());
    }
}

/// There were no reads in between: neither a read nor an append continues, even if other clients' new entries have reused the positions
/// of the lost ones.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_look_after_it_notices_whichever_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let mut primary = Server::start().await;
    let connect = async |mark: &str| {
        let store = Postgres::connect(&primary.url()).await.unwrap();
        let mark = Arc::new(HighWater::open(folder.path().join(mark)).unwrap());
        mark.record(&store.inspect(Position::START).await.unwrap());
        store.witness().keep_to(&mark);
        (store, mark)
    };
    let (reads, _one) = connect("one").await;
    let (appends, _two) = connect("two").await;
    appends.append(vec![token("kept")]).await.unwrap();
    let mut standby = primary.standby().await;
    standby.stop().await;
    for store in [&reads, &appends] {
        store.append(vec![token("lost")]).await.unwrap();
    }
    let before = reads.read(None, Duration::ZERO).await.unwrap().cursor;
    primary.fail_over_to(standby).await;
    let other = Postgres::connect(&primary.url()).await.unwrap();
    other.append((0..5).map(|number| token(format!("new {number}"))).collect()).await.unwrap();
    // Also without a mark, no reader continues from there.
    let page = other.read(Some(&before), Duration::ZERO).await.unwrap();
    assert!(page.from_start && page.cursor.position > before.position, "read on from {before} to {}", page.cursor);
    // Until the old connections are abandoned.
    let started = Instant::now();
    let is_noticed = |outcome: Result<(), Error>| match outcome {
        Err(Error::RolledBack(_)) => true,
        Err(_) => false,
        Ok(()) => panic!("nothing was noticed"),
    };
    while !is_noticed(reads.read(None, Duration::ZERO).await.map(drop)) {
        assert!(started.elapsed() < TEST_TIMEOUT);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    while !is_noticed(appends.append(vec![token("after")]).await.map(drop)) {
        assert!(started.elapsed() < TEST_TIMEOUT);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(read_all(&other, None).await.0.len(), 6, "and nothing was appended");
}
