//! A node that can't prove that it is fresh enough rejects tokens, unless it is configured to accept them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use adieu::{
    Error, FreshnessLimit,
    revocation::{Cursor, LogId, Page, Position, Pruned, Revocation, RevocationLog, RevokedBy},
    session::{Scope, SessionError},
    store::Memory,
    time::{Clock as _, Moment, SystemClock, Timestamp},
    token::{Algorithm, Claims, Rules, SigningKey, StalePolicy, TokenError, TokenType, encode},
};
use adieu_sqlite::Sqlite;
use async_trait::async_trait;

use crate::support::{MAX_STALENESS, Node, Setup, issuer, jose};

#[tokio::test]
async fn what_another_process_revokes_is_refused_here() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("adieu.sqlite");
    let (here, there) = (Node::on_file(&file, Setup::default()).await, Node::on_file(&file, Setup::default()).await);
    let tokens = here.log_in(jose()).await;

    there.sessions.log_out(&tokens.access, Scope::This).await.unwrap();

    here.catch_up().await;
    assert_eq!(here.refusal(&tokens.access), Some(TokenError::Revoked(RevokedBy::Session)));
}

/// A log that can be cut off.
struct Severable {
    log: Memory,
    cut: Arc<AtomicBool>,
}

#[async_trait]
impl RevocationLog for Severable {
    async fn append(&self, revocations: Vec<Revocation>) -> Result<Position, Error> {
        self.log.append(revocations).await
    }

    async fn read(&self, after: Option<&Cursor>, wait: Duration) -> Result<Page, Error> {
        let page = self.log.read(after, wait).await;
        if self.cut.load(Ordering::SeqCst) { Err(Error::unavailable("cut off")) } else { page }
    }

    async fn prune(&self, now: Timestamp) -> Result<Pruned, Error> {
        self.log.prune(now).await
    }
}

async fn severable(stale_policy: StalePolicy) -> (Node, Arc<AtomicBool>) {
    let (log, cut) = (Memory::new(), Arc::new(AtomicBool::new(false)));
    let key = SigningKey::generate(Algorithm::EdDSA).unwrap();
    let severable = Severable { log: log.clone(), cut: Arc::clone(&cut) };
    let setup = Setup { stale_policy, ..Setup::default() };
    (Node::with_parts(Arc::new(severable), Arc::new(log), key, Rules::new(issuer()), setup).await, cut)
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_cut_off_refuses_after_the_bound_and_recovers() {
    let (node, cut) = severable(StalePolicy::Reject).await;
    let tokens = node.log_in(jose()).await;
    node.catch_up().await;
    cut.store(true, Ordering::SeqCst);

    node.clock.advance(MAX_STALENESS - Duration::from_millis(10));
    assert_eq!(node.refusal(&tokens.access), None);
    node.clock.advance(Duration::from_millis(20));
    assert_eq!(node.refusal(&tokens.access), Some(TokenError::Stale));

    cut.store(false, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(node.refusal(&tokens.access), None);
}

/// Its key may be one that this node has not read yet, and its session may be live.
#[tokio::test(start_paused = true)]
async fn a_node_that_is_cut_off_calls_no_token_of_an_unknown_key_invalid() {
    let (node, cut) = severable(StalePolicy::Reject).await;
    let newer = SigningKey::generate(Algorithm::EdDSA).unwrap();
    let token = Claims::new(issuer(), jose(), TokenType::Access, node.clock.now(), Duration::from_secs(900));
    let token = encode(&newer, &token).unwrap();
    for (is_cut_off, refusal) in [(false, TokenError::UnknownKey), (true, TokenError::Stale)] {
        if is_cut_off {
            cut.store(true, Ordering::SeqCst);
            node.clock.advance(MAX_STALENESS * 2);
        }
        assert_eq!(node.refusal(&token), Some(refusal.clone()));
        assert_eq!(node.sessions.verifier().read_claims(&token).unwrap_err(), refusal);
        let outcome = node.sessions.log_out(&token, Scope::This).await;
        assert!(matches!(outcome, Err(SessionError::InvalidToken(reason)) if reason == refusal));
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_was_told_to_accept_does() {
    let (node, cut) = severable(StalePolicy::Accept).await;
    let tokens = node.log_in(jose()).await;
    cut.store(true, Ordering::SeqCst);
    node.clock.advance(Duration::from_secs(600));
    assert_eq!(node.refusal(&tokens.access), None);
}

#[tokio::test]
async fn a_wall_clock_that_jumps_does_not_make_a_node_look_fresh() {
    let (node, cut) = severable(StalePolicy::Reject).await;
    let tokens = node.log_in(jose()).await;
    node.catch_up().await;
    cut.store(true, Ordering::SeqCst);
    node.clock.advance(Duration::from_secs(60));
    node.clock.set_wall(crate::support::NOON);
    assert_eq!(node.refusal(&tokens.access), Some(TokenError::Stale));
}

#[tokio::test]
async fn a_log_with_another_identity_takes_nothing_back() {
    let folder = tempfile::tempdir().unwrap();
    let one = Sqlite::open(folder.path().join("one.sqlite")).await.unwrap();
    let other = Sqlite::open(folder.path().join("other.sqlite")).await.unwrap();
    let cursor = one.read(None, Duration::ZERO).await.unwrap().cursor;
    let page = other.read(Some(&cursor), Duration::ZERO).await.unwrap();
    assert!(page.from_start);
    assert_ne!(page.cursor.log, cursor.log);
}

/// The other nodes know this node under one identity of the log only: under another one, they may have lost its report.
#[tokio::test]
async fn what_is_read_under_an_identity_that_has_no_limit_proves_nothing() {
    let (store, limit) = (Memory::new(), FreshnessLimit::never());
    let builder = adieu::Node::builder(issuer()).with_max_staleness(Duration::from_millis(500));
    let node = builder.with_freshness_limit(limit.clone()).start(store.clone()).await.unwrap();
    let (log, another) = (store.read(None, Duration::ZERO).await.unwrap().cursor.log, LogId::new("another").unwrap());
    let tokens = node.sessions().log_in(jose()).await.unwrap();
    let refusal = || node.verifier().verify(&tokens.access).err();
    let becomes = async |expected: Option<TokenError>| {
        while refusal() != expected {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let in_an_hour = Moment::from_nanos(SystemClock.moment().as_nanos() + 3_600_000_000_000);
    limit.raise(&another, in_an_hour);
    // Long enough for several reads.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(refusal(), Some(TokenError::Stale));
    limit.raise(&log, in_an_hour);
    becomes(None).await;
    limit.raise(&another, in_an_hour);
    becomes(Some(TokenError::Stale)).await;
    limit.raise(&log, in_an_hour);
    becomes(None).await;
}
