//! A refresh token works once. It gets the same successor until that one has been used, and within the grace period the current token;
//! any other use is reuse and ends the session.

use std::time::Duration;

use adieu::{
    revocation::RevokedBy,
    session::{Scope, SessionError, SessionSettings},
    store::Memory,
    token::TokenError,
};

use crate::support::{Node, Setup, issuer, jose};

const REVOKED: TokenError = TokenError::Revoked(RevokedBy::Session);

#[tokio::test]
async fn two_tabs_get_the_same_successor() {
    let node = Node::start().await;
    let first = node.log_in(jose()).await;
    let one = node.refresh(&first.refresh).await.unwrap();
    node.clock.advance(Duration::from_secs(9));
    node.catch_up().await;
    let other = node.refresh(&first.refresh).await.unwrap();
    assert_eq!(one.refresh, other.refresh, "the chain must not fork");
    assert_ne!(one.access, other.access);
    assert_eq!(node.refusal(&other.access), None);
}

#[tokio::test]
async fn a_lost_response_logs_nobody_out() {
    let node = Node::start().await;
    let mut tokens = node.log_in(jose()).await;
    for _ in 0..3 {
        let lost = node.refresh(&tokens.refresh).await.unwrap();
        node.clock.advance(Duration::from_secs(24 * 60 * 60));
        node.catch_up().await;
        let again = node.refresh(&tokens.refresh).await.unwrap();
        assert_eq!(again.refresh, lost.refresh, "the chain must not fork");
        assert_eq!(node.refusal(&again.access), None);
        tokens = again;
    }
}

/// The result of presenting a refresh token.
#[derive(Debug, PartialEq)]
enum Gets {
    /// A new successor.
    Successor,
    /// The current refresh token.
    Current,
    /// The end of the session.
    TheEnd,
}

/// The grace in seconds; the pauses after each refresh in the first token's chain; and the result of presenting that token then.
const WHAT_THE_FIRST_GETS: &[(u64, &[u64], Gets)] = &[
    (10, &[], Gets::Successor),
    // Its successor has not been used.
    (10, &[0], Gets::Current),
    (10, &[DAY], Gets::Current),
    // Its successor has been used; the grace counts from the use of the first token itself.
    (10, &[0, 0], Gets::Current),
    (10, &[0, 10], Gets::Current),
    (10, &[10, 0], Gets::Current),
    (10, &[5, 5], Gets::Current),
    (10, &[0, 11], Gets::TheEnd),
    (10, &[11, 0], Gets::TheEnd),
    (10, &[6, 6], Gets::TheEnd),
    (14 * 60, &[1, 800], Gets::Current),
    // The successor's successor has been used as well.
    (10, &[0, 0, 0], Gets::TheEnd),
    (14 * 60, &[1, 1, 1], Gets::TheEnd),
    (10, &[0, 0, 0, 0], Gets::TheEnd),
    // Without a grace.
    (0, &[], Gets::Successor),
    (0, &[0], Gets::TheEnd),
    (0, &[0, 0], Gets::TheEnd),
];

const DAY: u64 = 24 * 60 * 60;

#[tokio::test]
async fn what_a_refresh_token_gets_depends_on_whose_successor_was_used_and_when() {
    for (grace, pauses, expected) in WHAT_THE_FIRST_GETS {
        let rotation_grace = Duration::from_secs(*grace);
        let settings = SessionSettings::new(issuer()).with_rotation_grace(rotation_grace);
        let node = Node::on(Memory::new(), Setup { settings, ..Setup::default() }).await;
        let first = node.log_in(jose()).await;
        let mut current = first.clone();
        for pause in *pauses {
            current = node.refresh(&current.refresh).await.unwrap();
            node.clock.advance(Duration::from_secs(*pause));
            node.catch_up().await;
        }
        let gets = match node.refresh(&first.refresh).await {
            Ok(pair) if pair.refresh == current.refresh => Gets::Current,
            Ok(_) => Gets::Successor,
            Err(SessionError::InvalidToken(REVOKED)) => Gets::TheEnd,
            Err(error) => panic!("{error}"),
        };
        assert_eq!(gets, *expected, "with a grace of {grace} s, after {pauses:?}");
        // After one caller was told that the session has ended, no other caller can use it.
        let goes_on = node.refresh(&current.refresh).await.is_ok();
        let is_reuse = *expected == Gets::TheEnd || (*grace == 0 && *expected == Gets::Successor);
        assert_eq!(goes_on, !is_reuse, "with a grace of {grace} s, after {pauses:?}");
    }
}

#[tokio::test]
async fn reuse_after_the_grace_ends_the_session() {
    let node = Node::start().await;
    let first = node.log_in(jose()).await;
    let stolen = node.refresh(&first.refresh).await.unwrap();
    node.clock.advance(Duration::from_secs(12));
    node.catch_up().await;
    // The second user of the token, after the first has continued.
    let used = node.refresh(&stolen.refresh).await.unwrap();
    let second = node.refresh(&used.refresh).await.unwrap();
    node.clock.advance(Duration::from_secs(12));
    node.catch_up().await;
    let first = stolen;

    assert!(matches!(node.refresh(&first.refresh).await, Err(SessionError::InvalidToken(REVOKED))));

    assert_eq!(node.refusal(&second.access), Some(REVOKED));
    assert!(matches!(node.refresh(&second.refresh).await, Err(SessionError::InvalidToken(REVOKED))));
    assert_eq!(node.store.sessions_of(&jose(), None, 1).await.unwrap(), vec![], "it is listed no more");
}

#[tokio::test]
async fn the_grace_begins_when_a_token_is_used_and_not_when_its_successor_is() {
    let node = Node::start().await;
    let first = node.log_in(jose()).await;
    let second = node.refresh(&first.refresh).await.unwrap();
    node.clock.advance(Duration::from_secs(12));
    node.catch_up().await;
    node.refresh(&second.refresh).await.unwrap();
    assert!(matches!(node.refresh(&first.refresh).await, Err(SessionError::InvalidToken(REVOKED))));
}

#[tokio::test]
async fn the_grace_is_no_longer_because_another_node_has_a_clock_that_is_ahead() {
    let store = Memory::new();
    let (ahead, node) = (Node::on(store.clone(), Setup::ahead(3)).await, Node::on(store, Setup::default()).await);
    let first = ahead.log_in(jose()).await;
    let second = node.refresh(&first.refresh).await.unwrap();
    node.refresh(&second.refresh).await.unwrap();
    node.clock.advance(Duration::from_secs(12));
    node.catch_up().await;
    assert!(matches!(node.refresh(&first.refresh).await, Err(SessionError::InvalidToken(REVOKED))));
}

/// A token from a log file, for example.
#[tokio::test]
async fn one_that_was_used_up_ends_its_own_session_at_most() {
    for scope in [Scope::All, Scope::Others] {
        let node = Node::start().await;
        let (first, elsewhere) = (node.log_in(jose()).await, node.log_in(jose()).await);
        let second = node.refresh(&first.refresh).await.unwrap();
        let third = node.refresh(&second.refresh).await.unwrap();
        node.clock.advance(Duration::from_secs(12));
        node.catch_up().await;
        let told = node.sessions.log_out(&first.refresh, scope).await;
        assert!(matches!(told, Err(SessionError::InvalidToken(REVOKED))), "{scope:?}: {told:?}");
        assert_eq!(node.refusal(&third.access), Some(REVOKED), "{scope:?}");
        assert_eq!(node.refusal(&elsewhere.access), None, "{scope:?}");
    }
    // A token whose successor has not been used could be used again.
    let node = Node::start().await;
    let (first, elsewhere) = (node.log_in(jose()).await, node.log_in(jose()).await);
    node.refresh(&first.refresh).await.unwrap();
    assert_eq!(node.sessions.log_out(&first.refresh, Scope::All).await.unwrap().sessions, 2);
    assert_eq!(node.refusal(&elsewhere.access), Some(REVOKED));
}
