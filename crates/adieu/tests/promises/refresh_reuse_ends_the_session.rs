//! A refresh token is good once; its predecessor gets the same successor within the grace; anything else is reuse.

use std::time::Duration;

use adieu::{
    revocation::RevokedBy,
    session::{SessionError, SessionSettings},
    store::Memory,
    token::Refusal,
};

use crate::support::{Node, Setup, issuer, jose};

const REVOKED: Refusal = Refusal::Revoked(RevokedBy::Session);

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
async fn reuse_after_the_grace_ends_the_session() {
    let node = Node::start().await;
    let first = node.log_in(jose()).await;
    let second = node.refresh(&first.refresh).await.unwrap();
    node.clock.advance(Duration::from_secs(12));
    node.catch_up().await;

    assert!(matches!(node.refresh(&first.refresh).await, Err(SessionError::Refused(REVOKED))));

    assert_eq!(node.refusal(&second.access), Some(REVOKED));
    assert!(matches!(node.refresh(&second.refresh).await, Err(SessionError::Refused(REVOKED))));
}

#[tokio::test]
async fn the_one_before_the_last_is_never_forgiven() {
    let node = Node::start().await;
    let first = node.log_in(jose()).await;
    let second = node.refresh(&first.refresh).await.unwrap();
    let third = node.refresh(&second.refresh).await.unwrap();
    assert!(matches!(node.refresh(&first.refresh).await, Err(SessionError::Refused(REVOKED))));
    assert_eq!(node.refusal(&third.access), Some(REVOKED));
}

#[tokio::test]
async fn without_a_grace_nothing_is_forgiven() {
    let settings = SessionSettings { rotation_grace: Duration::ZERO, ..SessionSettings::new(issuer()) };
    let node = Node::on(Memory::new(), Setup { settings, ..Setup::default() }).await;
    let first = node.log_in(jose()).await;
    node.refresh(&first.refresh).await.unwrap();
    assert!(matches!(node.refresh(&first.refresh).await, Err(SessionError::Refused(REVOKED))));
}
