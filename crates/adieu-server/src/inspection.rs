//! The findings about a token: the verdict and its reason, the signature, the session, and the content.

use adieu::{
    SessionId,
    revocation::RevokedBy,
    session::{RefreshToken, Rotated, SessionError, VerifiedToken},
    token::{
        TokenError, Verifier,
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
    /// Another check failed first, or the key is not known.
    NotChecked,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SessionState {
    Live,
    Ended,
    /// The token names no session of this server, or its signature is not good.
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
    let signature = match outcome {
        Ok(()) => Signature::Good,
        Err(_) => signature(token, sessions.verifier()),
    };
    let [header, claims] = [unverified_header(token).ok(), unverified_claims(token).ok()];
    let claim = |name| claims.as_ref().and_then(|claims| claims.get(name)?.as_str());
    // The sessions of another issuer are not in the store.
    let is_ours = signature == Signature::Good && claim("iss") == Some(sessions.issuer().as_str());
    let session = match claim("sid").and_then(|id| SessionId::new(id).ok()).filter(|_| is_ours) {
        Some(id) => match sessions.store().session(&id).await? {
            Some(_) => SessionState::Live,
            None => SessionState::Ended,
        },
        None => SessionState::None,
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

/// Checks the signature of a token that was rejected. The reason alone does not tell: a token can be rejected as stale, or for its issuer,
/// before its signature is checked.
fn signature(token: &str, verifier: &Verifier) -> Signature {
    match verifier.read_claims(token) {
        Ok(_) => Signature::Good,
        // The issuer of a token is read before its signature, to find the keys.
        Err(TokenError::WrongIssuer | TokenError::MissingClaim("iss") | TokenError::InvalidClaim("iss")) => {
            Signature::NotChecked
        }
        // Every other claim is read after it.
        Err(
            TokenError::WrongAudience
            | TokenError::UnknownType
            | TokenError::MissingClaim(_)
            | TokenError::InvalidClaim(_)
            | TokenError::MissingSubject(_)
            | TokenError::InvalidSubject(_),
        ) => Signature::Good,
        Err(TokenError::BadSignature) => Signature::Wrong,
        Err(_) => Signature::NotChecked,
    }
}
