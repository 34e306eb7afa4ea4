//! The findings about a token: the verdict and its reason, the signature, the session, and the content.

use adieu::{
    SessionId,
    revocation::RevokedBy,
    session::{RefreshToken, Rotated, SessionError, VerifiedToken},
    token::{
        TokenError,
        dangerous::{unverified_claims, unverified_header},
    },
};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::node::Node;

/// Claims that hold times.
pub(crate) const TIMES: [&str; 3] = ["exp", "iat", "nbf"];

/// The findings about a token.
#[derive(Debug, Serialize)]
pub(crate) struct Findings {
    pub(crate) verdict: Verdict,
    /// The error code of the API.
    pub(crate) code: Option<&'static str>,
    pub(crate) reason: Option<String>,
    pub(crate) signature: Signature,
    pub(crate) session: SessionState,
    /// Header and claims as in the token: meaningless unless the signature is valid.
    pub(crate) header: Option<Map<String, Value>>,
    pub(crate) claims: Option<Map<String, Value>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    Good,
    Refused,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Signature {
    Good,
    Wrong,
    /// Another check failed first.
    NotChecked,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SessionState {
    Live,
    Ended,
    /// The token names no session, or the store cannot tell.
    None,
}

/// Verifies a token of any type as the server does, without using it.
///
/// # Errors
/// Fails if the store can't be read.
pub(crate) async fn judge(token: &str, node: &Node) -> Result<Findings, SessionError> {
    let sessions = &node.sessions;
    // Each type of token is verified as the server verifies it.
    let (outcome, refresh) = match sessions.verify_any(token) {
        Ok(VerifiedToken::Access(_)) => (Ok(()), None),
        Ok(VerifiedToken::Refresh(refresh)) => (Ok(()), Some(refresh)),
        Err(error) => (Err(error), None),
    };
    let signature = signature(&outcome);
    let [header, claims] = [unverified_header(token).ok(), unverified_claims(token).ok()];
    let id = claims.as_ref().and_then(|claims| claims.get("sid")?.as_str()).and_then(|id| SessionId::new(id).ok());
    let session = match id {
        Some(id) if signature == Signature::Good => match sessions.store().session(&id).await? {
            Some(_) => SessionState::Live,
            None => SessionState::Ended,
        },
        _ => SessionState::None,
    };
    let (code, reason) = match (outcome, refresh) {
        (Err(refusal), _) => (Some(refusal.code()), Some(refusal.to_string())),
        (Ok(()), Some(refresh)) => {
            let reason = refused_by_session(&refresh, node).await?;
            (reason.map(|_| TokenError::Revoked(RevokedBy::Session).code()), reason.map(str::to_owned))
        }
        (Ok(()), None) => (None, None),
    };
    let verdict = if reason.is_none() { Verdict::Good } else { Verdict::Refused };
    Ok(Findings { verdict, code, reason, signature, session, header, claims })
}

/// Returns why the session would reject a refresh token, without using the token.
async fn refused_by_session(token: &RefreshToken, node: &Node) -> Result<Option<&'static str>, SessionError> {
    Ok(match node.sessions.preview_refresh(token).await? {
        Rotated::Fresh(_) | Rotated::WithinGrace(_) => None,
        Rotated::Reused(..) => Some("the refresh token has been used already; using it again ends its session"),
        Rotated::Ended => Some("its session has ended"),
    })
}

/// Returns the result of the signature check. Every later check implies a valid signature.
fn signature(outcome: &Result<(), TokenError>) -> Signature {
    match outcome {
        Ok(())
        | Err(
            TokenError::WrongIssuer
            | TokenError::WrongAudience
            | TokenError::UnknownType
            | TokenError::MissingClaim(_)
            | TokenError::InvalidClaim(_)
            | TokenError::WrongTokenType { .. }
            | TokenError::NotYetValid
            | TokenError::Expired
            | TokenError::Revoked(_)
            | TokenError::Stale,
        ) => Signature::Good,
        Err(TokenError::BadSignature) => Signature::Wrong,
        Err(_) => Signature::NotChecked,
    }
}
