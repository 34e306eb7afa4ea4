//! A refresh token is good once; it gets the same successor for as long as nobody has used that, and within the grace the
//! one that is good now; anything else is reuse.

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

#[tokio::test]
async fn within_the_grace_also_one_whose_successor_has_been_used_gets_the_one_that_is_good_now() {
    let node = Node::start().await;
    let first = node.log_in(jose()).await;
    let second = node.refresh(&first.refresh).await.unwrap();
    let third = node.refresh(&second.refresh).await.unwrap();
    node.clock.advance(Duration::from_secs(9));
    node.catch_up().await;
    assert_eq!(node.refresh(&first.refresh).await.unwrap().refresh, third.refresh, "the chain must not fork");
    assert_eq!(node.refresh(&second.refresh).await.unwrap().refresh, third.refresh);
}

#[tokio::test]
async fn reuse_after_the_grace_ends_the_session() {
    let node = Node::start().await;
    let first = node.log_in(jose()).await;
    let stolen = node.refresh(&first.refresh).await.unwrap();
    node.clock.advance(Duration::from_secs(12));
    node.catch_up().await;
    // The second to use it, when the first has gone on.
    let used = node.refresh(&stolen.refresh).await.unwrap();
    let second = node.refresh(&used.refresh).await.unwrap();
    node.clock.advance(Duration::from_secs(12));
    node.catch_up().await;
    let first = stolen;

    assert!(matches!(node.refresh(&first.refresh).await, Err(SessionError::Refused(REVOKED))));

    assert_eq!(node.refusal(&second.access), Some(REVOKED));
    assert!(matches!(node.refresh(&second.refresh).await, Err(SessionError::Refused(REVOKED))));
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
    assert!(matches!(node.refresh(&first.refresh).await, Err(SessionError::Refused(REVOKED))));
}

#[tokio::test]
async fn what_is_older_is_never_forgiven() {
    let node = Node::start().await;
    let first = node.log_in(jose()).await;
    let second = node.refresh(&first.refresh).await.unwrap();
    let third = node.refresh(&second.refresh).await.unwrap();
    let third = node.refresh(&third.refresh).await.unwrap();
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
