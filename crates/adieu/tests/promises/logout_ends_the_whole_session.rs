//! Logging out ends the session: its access tokens, including refreshed ones, and its refresh token. Either token works for it, even
//! an expired one. A second logout gets the error that the token is already revoked, and changes nothing.

use std::{num::NonZeroUsize, time::Duration};

use adieu::{
    revocation::RevokedBy,
    session::{Scope, SessionError, SessionSettings},
    store::Memory,
    token::TokenError,
};

use crate::support::{NOON, Node, Setup, issuer, jose};

const REVOKED: TokenError = TokenError::Revoked(RevokedBy::Session);

fn is_revoked<T>(outcome: Result<T, SessionError>) -> bool {
    matches!(outcome, Err(SessionError::InvalidToken(REVOKED)))
}

#[tokio::test]
async fn every_token_of_it_ends() {
    let node = Node::start().await;
    let first = node.log_in(jose()).await;
    let second = node.refresh(&first.refresh).await.unwrap();
    let third = node.refresh(&second.refresh).await.unwrap();

    node.sessions.log_out(&first.access, Scope::This).await.unwrap();

    for tokens in [&first, &second, &third] {
        assert_eq!(node.refusal(&tokens.access), Some(REVOKED));
        assert!(is_revoked(node.refresh(&tokens.refresh).await));
    }
}

#[tokio::test]
async fn the_refresh_token_will_do() {
    let node = Node::start().await;
    let tokens = node.log_in(jose()).await;
    node.sessions.log_out(&tokens.refresh, Scope::This).await.unwrap();
    assert_eq!(node.refusal(&tokens.access), Some(REVOKED));
}

#[tokio::test]
async fn so_will_an_expired_token() {
    let node = Node::start().await;
    let tokens = node.log_in(jose()).await;
    node.clock.advance(Duration::from_secs(60 * 60));
    node.catch_up().await;
    assert_eq!(node.refusal(&tokens.access), Some(TokenError::Expired));

    node.sessions.log_out(&tokens.access, Scope::This).await.unwrap();

    assert!(is_revoked(node.refresh(&tokens.refresh).await));
    assert!(is_revoked(node.sessions.log_out(&tokens.access, Scope::This).await));
}

#[tokio::test]
async fn an_expired_token_ends_no_other_session() {
    let node = Node::start().await;
    let (tokens, other) = (node.log_in(jose()).await, node.log_in(jose()).await);
    node.clock.advance(Duration::from_secs(60 * 60));
    node.catch_up().await;
    for scope in [Scope::Others, Scope::All] {
        let outcome = node.sessions.log_out(&tokens.access, scope).await;
        assert!(matches!(outcome, Err(SessionError::InvalidToken(TokenError::Expired))));
    }
    assert!(node.refresh(&tokens.refresh).await.is_ok() && node.refresh(&other.refresh).await.is_ok());
}

#[tokio::test]
async fn so_will_one_from_before_the_clock_was_set_back() {
    let node = Node::start().await;
    let tokens = node.log_in(jose()).await;
    node.clock.set_wall(NOON.minus(Duration::from_secs(60 * 60)));
    node.catch_up().await;
    assert_eq!(node.refusal(&tokens.access), Some(TokenError::NotYetValid));

    node.sessions.log_out(&tokens.access, Scope::This).await.unwrap();

    assert!(is_revoked(node.sessions.log_out(&tokens.refresh, Scope::This).await));
}

#[tokio::test]
async fn a_second_time_is_told_so() {
    let node = Node::start().await;
    let (tokens, other) = (node.log_in(jose()).await, node.log_in(jose()).await);
    node.sessions.log_out(&tokens.access, Scope::This).await.unwrap();
    for scope in [Scope::This, Scope::Others, Scope::All] {
        assert!(is_revoked(node.sessions.log_out(&tokens.access, scope).await));
        assert!(is_revoked(node.sessions.log_out(&tokens.refresh, scope).await));
    }
    assert_eq!(node.refusal(&other.access), None);
}

#[tokio::test]
async fn the_others_end_and_this_one_stays() {
    let node = Node::start().await;
    let (this, other, stranger) =
        (node.log_in(jose()).await, node.log_in(jose()).await, node.log_in("ana".parse().unwrap()).await);

    assert_eq!(node.sessions.log_out(&this.access, Scope::Others).await.unwrap().sessions, 1);
    assert_eq!(node.refusal(&this.access), None);
    assert_eq!(node.refusal(&other.access), Some(REVOKED));

    let other = node.log_in(jose()).await;
    assert_eq!(node.sessions.log_out(&this.access, Scope::All).await.unwrap().sessions, 2);
    assert_eq!(node.refusal(&this.access), Some(REVOKED));
    assert_eq!(node.refusal(&other.access), Some(REVOKED));
    assert_eq!(node.refusal(&stranger.access), None);
}

#[tokio::test]
async fn a_login_right_after_logging_out_everywhere_is_good() {
    let node = Node::start().await;
    let tokens = node.log_in(jose()).await;
    node.sessions.log_out(&tokens.access, Scope::All).await.unwrap();
    let again = node.log_in(jose()).await;
    assert_eq!(node.refusal(&again.access), None);
    assert!(node.refresh(&again.refresh).await.is_ok());
}

#[tokio::test]
async fn what_shows_a_login_to_a_developer_shows_no_token() {
    let node = Node::start().await;
    let tokens = node.log_in(jose()).await;
    let shown = format!("{tokens:?}");
    assert!(shown.contains("jose"));
    assert!(!shown.contains(&tokens.access) && !shown.contains(&tokens.refresh));
}

#[tokio::test]
async fn with_one_session_too_many_the_oldest_ends() {
    let settings = SessionSettings::new(issuer()).with_sessions_per_subject(NonZeroUsize::new(3).unwrap());
    let node = Node::on(Memory::new(), Setup { settings, ..Setup::default() }).await;
    let stranger = node.log_in("ana".parse().unwrap()).await;
    let mut logins = Vec::new();
    for _ in 0..5 {
        logins.push(node.log_in(jose()).await);
    }
    let refused: Vec<_> = logins.iter().map(|tokens| node.refusal(&tokens.access)).collect();
    assert_eq!(refused, [Some(REVOKED), Some(REVOKED), None, None, None]);
    assert_eq!(node.refusal(&stranger.access), None);
}

/// The evaluator refuses a revoked token on every path. Its session goes on until another token ends it.
#[tokio::test]
async fn a_token_that_was_revoked_alone_does_not_but_another_of_its_session_does() {
    let node = Node::start().await;
    let tokens = node.log_in(jose()).await;
    node.sessions.revoke_token(&tokens.access).await.unwrap();
    let refused = node.sessions.log_out(&tokens.access, Scope::This).await;
    assert!(matches!(refused, Err(SessionError::InvalidToken(TokenError::Revoked(RevokedBy::Token)))), "{refused:?}");
    assert_eq!(node.sessions.log_out(&tokens.refresh, Scope::This).await.unwrap().sessions, 1);
    assert!(is_revoked(node.refresh(&tokens.refresh).await));
}

/// Its id is not the latest if the clock of another node is ahead.
#[tokio::test]
async fn the_session_of_a_login_is_not_one_too_many() {
    let settings = SessionSettings::new(issuer()).with_sessions_per_subject(NonZeroUsize::MIN);
    let node = Node::on(Memory::new(), Setup { settings, ..Setup::default() }).await;
    node.log_in(jose()).await;
    let mut ahead = node.store.sessions_of(&jose(), None, 1).await.unwrap().remove(0);
    ahead.id = "ffffffff-ffff-7fff-bfff-ffffffffffff".parse().unwrap();
    node.store.create(ahead.clone()).await.unwrap();
    let tokens = node.log_in(jose()).await;
    assert_eq!(node.refusal(&tokens.access), None);
    let left = node.store.sessions_of(&jose(), None, 9).await.unwrap();
    assert_eq!(left.iter().map(|session| &session.id).collect::<Vec<_>>(), [tokens.claims.session.as_ref().unwrap()]);
}
