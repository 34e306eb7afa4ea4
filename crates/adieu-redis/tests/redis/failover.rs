//! A replica takes over, with everything that was acknowledged or without the last writes.

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
use adieu_redis::Redis;
use test_servers::Redis as Server;

use crate::support::recovers;

/// Only a test that hangs reaches it.
const TEST_TIMEOUT: Duration = Duration::from_secs(60);

async fn start(server: &Server, mark: Option<&Path>) -> Node {
    let builder = Node::builder(Issuer::new("https://adieu.test").unwrap());
    let builder = match mark {
        Some(mark) => builder.with_high_water(mark),
        None => builder,
    };
    builder.start(Redis::connect(&server.url()).await.unwrap()).await.unwrap()
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

async fn refresh(node: &Node, tokens: &TokenPair) -> bool {
    let Ok(token) = node.sessions().inspect(&tokens.refresh) else { return false };
    node.sessions().refresh(&token).await.is_ok()
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < TEST_TIMEOUT, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_it_had_not_got_is_noticed_and_everything_from_before_is_refused() {
    for stays_up in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let mark = folder.path().join("mark");
        let mut primary = Server::start().await;
        let node = start(&primary, Some(&mark)).await;
        let mut tokens = Vec::new();
        for _ in 0..8 {
            tokens.push(log_in(&node).await);
        }
        let (before, rest) = tokens.split_at(3);
        let (lost, rest) = rest.split_at(1);
        let (after, stays) = rest.split_at(2);
        for tokens in before {
            log_out(&node, tokens).await;
        }
        let replica = primary.replica().await;
        replica.leave().await;
        for tokens in lost {
            log_out(&node, tokens).await;
        }

        let node = match stays_up {
            true => {
                primary.fail_over_to(replica).await;
                node
            }
            false => {
                drop(node);
                primary.fail_over_to(replica).await;
                start(&primary, Some(&mark)).await
            }
        };
        // New entries reuse the position of the lost one.
        for tokens in after {
            log_out(&node, tokens).await;
        }
        until("it is noticed", || node.restored_at().is_some()).await;
        let late = start(&primary, None).await;
        for node in [&node, &late] {
            until("it has read that", || refusal(node, &stays[0]).is_some_and(|why| why != TokenError::Stale)).await;
            for tokens in &tokens {
                assert!(matches!(refusal(node, tokens), Some(TokenError::Revoked(_))), "{stays_up}");
                assert!(!refresh(node, tokens).await);
            }
            assert_eq!(refusal(node, &stays[0]), Some(TokenError::Revoked(RevokedBy::Everything)));
        }
        let new = log_in(&node).await;
        assert!(refusal(&node, &new).is_none() && refresh(&node, &new).await);
        drop(node);
        let node = start(&primary, Some(&mark)).await;
        assert!(refusal(&node, &new).is_none(), "noticed once, not at each start");
        assert!(node.accept_restore().await.unwrap().is_some() && node.accept_restore().await.unwrap().is_none());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_nothing_lost_nobody_is_logged_out() {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("mark");
    let mut primary = Server::start().await;
    let node = start(&primary, Some(&mark)).await;
    let (left, stays) = (log_in(&node).await, log_in(&node).await);
    log_out(&node, &left).await;
    let replica = primary.replica().await;
    replica.leave().await;
    primary.fail_over_to(replica).await;
    let also = recovers(async || {
        let subject = Subject::new("jose").unwrap();
        node.sessions().log_in(subject).await
    })
    .await;
    log_out(&node, &also).await;
    let late = start(&primary, Some(&mark)).await;
    for node in [&node, &late] {
        until("it is fresh again", || refusal(node, &stays) != Some(TokenError::Stale)).await;
        assert_eq!((node.restored_at(), refusal(node, &stays)), (None, None));
        assert!(refusal(node, &left).is_some() && refusal(node, &also).is_some());
    }
    assert!(refresh(&late, &stays).await);
}

/// There were no reads in between: neither a read nor an append continues, even if other clients' new entries have reused the positions
/// of the lost ones.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_look_after_it_notices_whichever_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let mut primary = Server::start().await;
    let connect = async |mark: &str| {
        let store = Redis::connect(&primary.url()).await.unwrap();
        let mark = Arc::new(HighWater::open(folder.path().join(mark)).unwrap());
        mark.record(&store.inspect(Position::START).await.unwrap());
        store.witness().keep_to(&mark);
        (store, mark)
    };
    let (reads, _one) = connect("one").await;
    let (appends, _two) = connect("two").await;
    appends.append(vec![token("kept")]).await.unwrap();
    let replica = primary.replica().await;
    replica.leave().await;
    for store in [&reads, &appends] {
        store.append(vec![token("lost")]).await.unwrap();
    }
    let before = reads.read(None, Duration::ZERO).await.unwrap().cursor;
    primary.fail_over_to(replica).await;
    let other = Redis::connect(&primary.url()).await.unwrap();
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
