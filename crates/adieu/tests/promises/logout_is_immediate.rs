//! On the node that answered the logout, the next check of that token rejects it, whichever response reported that the
//! session has ended.

use std::sync::Arc;

use adieu::{
    revocation::RevokedBy,
    session::{Scope, Selection},
    token::TokenError,
};

use crate::support::{Node, Setup, jose};

#[tokio::test]
async fn the_next_check_refuses() {
    let node = Node::start().await;
    for _ in 0..100 {
        let tokens = node.log_in(jose()).await;
        assert_eq!(node.refusal(&tokens.access), None);
        node.sessions.log_out(&tokens.access, Scope::This).await.unwrap();
        assert_eq!(node.refusal(&tokens.access), Some(TokenError::Revoked(RevokedBy::Session)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_hung_up_and_asks_again_is_told_the_truth() {
    let folder = tempfile::tempdir().unwrap();
    let node = Arc::new(Node::on_file(&folder.path().join("adieu.sqlite"), Setup::default()).await);
    for round in 0..300 {
        let tokens = node.log_in(jose()).await;
        let first = tokio::spawn({
            let (node, token) = (Arc::clone(&node), tokens.access.clone());
            async move { node.sessions.log_out(&token, Scope::This).await }
        });
        for _ in 0..round % 16 {
            tokio::task::yield_now().await;
        }
        first.abort();
        // Logged out now or before: either way the token is rejected from here on.
        let _ = node.sessions.log_out(&tokens.access, Scope::This).await;
        assert_eq!(node.refusal(&tokens.access), Some(TokenError::Revoked(RevokedBy::Session)), "round {round}");
    }
}

#[tokio::test]
async fn what_another_process_ended_is_refused_as_soon_as_this_one_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("adieu.sqlite");
    let (here, there) = (Node::on_file(&file, Setup::default()).await, Node::on_file(&file, Setup::default()).await);
    for by_refresh in [false, true] {
        let tokens = here.log_in(jose()).await;
        let session = tokens.claims.session.clone().unwrap();
        there.sessions.end_sessions(Selection::One(session)).await.unwrap();
        if by_refresh {
            assert!(here.refresh(&tokens.refresh).await.is_err());
        } else {
            assert!(here.sessions.log_out(&tokens.access, Scope::This).await.is_err());
        }
        assert_eq!(here.refusal(&tokens.access), Some(TokenError::Revoked(RevokedBy::Session)));
    }
}
