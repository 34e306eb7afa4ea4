//! Verification, refresh and logout use one function to decide whether a token is revoked, whatever revoked it.

use std::time::Duration;

use adieu::{
    revocation::{Revocation, RevokedBy, Target},
    session::{Scope, SessionError},
    token::TokenError,
};

use crate::support::{NOON, Node, issuer, jose};

#[tokio::test]
async fn whatever_revoked_it_every_path_refuses() {
    let kinds = [RevokedBy::Session, RevokedBy::Subject, RevokedBy::Everything, RevokedBy::Token];
    for by in kinds {
        let node = Node::start().await;
        let tokens = node.log_in(jose()).await;
        let refresh = node.sessions.inspect(&tokens.refresh).unwrap();
        let session = tokens.claims.session.clone().unwrap();
        let targets = match by {
            RevokedBy::Session => vec![Target::Session { id: session }],
            RevokedBy::Subject => vec![Target::Subject { id: jose(), issued_until: NOON }],
            RevokedBy::Everything => vec![Target::Everything { issued_until: NOON }],
            _ => vec![
                Target::Token { id: tokens.claims.token_id.clone(), expires_at: Some(tokens.claims.expires_at) },
                Target::Token { id: refresh.token_id().clone(), expires_at: None },
            ],
        };
        let lapses_at = Revocation::lapse_for(NOON.plus(Duration::from_secs(30 * 24 * 60 * 60)));
        let revocations = targets.into_iter().map(|target| Revocation { issuer: issuer(), target, lapses_at });
        // In the log only: the session's row still exists, so no path can rely on it.
        node.sessions.append(revocations.collect()).await.unwrap();

        let refusal = TokenError::Revoked(by);
        assert_eq!(node.refusal(&tokens.access), Some(refusal.clone()), "verify, {by:?}");
        assert_eq!(node.sessions.inspect(&tokens.refresh).unwrap_err(), refusal, "refresh, {by:?}");
        let logout = node.sessions.log_out(&tokens.access, Scope::This).await;
        assert!(matches!(logout, Err(SessionError::InvalidToken(told)) if told == refusal), "logout, {by:?}");
    }
}
