//! On the node that answered the logout, the next check of that token refuses it.

use adieu::{revocation::RevokedBy, session::Scope, token::Refusal};

use crate::support::{Node, jose};

#[tokio::test]
async fn the_next_check_refuses() {
    let node = Node::start().await;
    for _ in 0..100 {
        let tokens = node.log_in(jose()).await;
        assert_eq!(node.refusal(&tokens.access), None);
        node.sessions.log_out(&tokens.access, Scope::This).await.unwrap();
        assert_eq!(node.refusal(&tokens.access), Some(Refusal::Revoked(RevokedBy::Session)));
    }
}
