//! Users of a node in this process, while something happens to the server of its store.

use std::{path::Path, sync::Arc, time::Duration};

use adieu::{
    Error, Issuer, Node, Subject,
    restore::{HighWater, Restorable},
    revocation::{Position, RevocationLog},
    session::{Scope, SessionError, TokenPair},
    store::IntoStore,
    token::TokenError,
};
use adieu_conformance::sample::{read_all, token};

use crate::{
    server::{Engine, Server},
    wait::recovers,
};

/// Starts a node on a store, with its mark in this file, if any.
///
/// # Panics
/// If it does not start.
pub async fn start(store: impl IntoStore, mark: Option<&Path>) -> Node {
    let builder = Node::builder(Issuer::new("https://adieu.test").unwrap());
    let builder = match mark {
        Some(mark) => builder.with_high_water(mark),
        None => builder,
    };
    builder.start(store).await.unwrap()
}

/// Logs a user in.
///
/// # Errors
/// Those of the node.
pub async fn try_log_in(node: &Node) -> Result<TokenPair, Error> {
    node.sessions().log_in(Subject::new("jose").unwrap()).await
}

/// Logs a user in.
///
/// # Panics
/// If that fails.
pub async fn log_in(node: &Node) -> TokenPair {
    try_log_in(node).await.unwrap()
}

/// Logs a user in this many times.
///
/// # Panics
/// If that fails.
pub async fn log_in_times(node: &Node, count: usize) -> Vec<TokenPair> {
    let mut tokens = Vec::new();
    for _ in 0..count {
        tokens.push(log_in(node).await);
    }
    tokens
}

/// Logs out, and retries until the response says that this token is revoked.
///
/// # Panics
/// If it is rejected for another reason.
pub async fn log_out(node: &Node, tokens: &TokenPair) {
    recovers(async || match node.sessions().log_out(&tokens.access, Scope::This).await {
        Ok(_) | Err(SessionError::InvalidToken(TokenError::Revoked(_))) => Ok(()),
        Err(error @ (SessionError::InvalidToken(TokenError::Stale) | SessionError::Failed(_))) => Err(error),
        Err(error) => panic!("{error:?}"),
    })
    .await;
}

/// Logs each of these out.
///
/// # Panics
/// Those of [`log_out`].
pub async fn log_out_each(node: &Node, tokens: &[TokenPair]) {
    for tokens in tokens {
        log_out(node, tokens).await;
    }
}

/// Returns why a node rejects an access token.
#[must_use]
pub fn refusal(node: &Node, tokens: &TokenPair) -> Option<TokenError> {
    node.verifier().verify(&tokens.access).err()
}

/// Returns whether a node rejects an access token because it is revoked.
#[must_use]
pub fn is_revoked(node: &Node, tokens: &TokenPair) -> bool {
    matches!(refusal(node, tokens), Some(TokenError::Revoked(_)))
}

/// Returns whether a node exchanges a refresh token.
pub async fn refresh(node: &Node, tokens: &TokenPair) -> bool {
    let Ok(token) = node.sessions().inspect(&tokens.refresh) else { return false };
    node.sessions().refresh(&token).await.is_ok()
}

/// Lets a standby without the last entries take over from a server, with no reads in between: neither a read nor an append
/// continues, even if other clients' new entries have reused the positions of the lost ones.
///
/// # Panics
/// If it is not so.
pub async fn a_takeover_with_a_loss_is_noticed<E: Engine, S>(store: impl AsyncFn(String) -> S)
where
    S: RevocationLog + Restorable,
{
    let folder = tempfile::tempdir().unwrap();
    let mut primary = Server::<E>::start().await;
    let connect = async |mark: &str| {
        let store = store(primary.url()).await;
        let mark = Arc::new(HighWater::open(folder.path().join(mark)).unwrap());
        mark.record(&store.inspect(Position::START).await.unwrap());
        store.witness().keep_to(&mark);
        (store, mark)
    };
    let (reads, _one) = connect("one").await;
    let (appends, _two) = connect("two").await;
    appends.append(vec![token("kept")]).await.unwrap();
    let mut standby = primary.standby().await;
    standby.cut_off().await;
    for store in [&reads, &appends] {
        store.append(vec![token("lost")]).await.unwrap();
    }
    let before = reads.read(None, Duration::ZERO).await.unwrap().cursor;
    primary.fail_over_to(standby).await;
    let other = store(primary.url()).await;
    other.append((0..5).map(|number| token(format!("new {number}"))).collect()).await.unwrap();
    // Also without a mark, no reader continues from there.
    let page = other.read(Some(&before), Duration::ZERO).await.unwrap();
    assert!(page.from_start && page.cursor.position > before.position, "read on from {before} to {}", page.cursor);
    // Until the old connections are abandoned.
    let noticed = |outcome: Result<(), Error>| match outcome {
        Err(Error::RolledBack(_)) => Ok(()),
        Err(error) => Err(error),
        Ok(()) => panic!("nothing was noticed"),
    };
    recovers(async || noticed(reads.read(None, Duration::ZERO).await.map(drop))).await;
    recovers(async || noticed(appends.append(vec![token("after")]).await.map(drop))).await;
    assert_eq!(read_all(&other, None).await.0.len(), 6, "and nothing was appended");
}
