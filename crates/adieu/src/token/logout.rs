//! The claims of a logout token.

use std::time::Duration;

use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::json;

use crate::{Issuer, SessionId, Subject, TokenId, time::Timestamp};

/// How long a logout token is valid: the recommended maximum (§2.4).
const LIFETIME: Duration = Duration::from_secs(120);

/// The member of `events` that makes a token a logout token (§2.4).
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// The claims of a logout token (OpenID Connect Back-Channel Logout 1.0 §2.4), which tells a relying party that a user
/// has logged out. [`encode_logout`](super::encode_logout) signs it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogoutClaims {
    /// The issuer that signs the token (`iss`).
    pub issuer: Issuer,
    /// The client id of the relying party (`aud`).
    pub audience: String,
    /// Who has logged out.
    pub target: LogoutTarget,
    /// The time at which the token was issued (`iat`).
    pub issued_at: Timestamp,
    /// The time at which the token expires (`exp`).
    pub expires_at: Timestamp,
    /// The id of the token (`jti`).
    pub token_id: TokenId,
}

/// Who has logged out.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogoutTarget {
    /// One session (`sid`).
    Session(SessionId),
    /// A subject with all sessions (`sub`).
    Subject(Subject),
}

impl LogoutClaims {
    /// Creates the claims of a new logout token with a random id, issued at `now` and valid for two minutes.
    #[must_use]
    pub fn new(issuer: Issuer, audience: impl Into<String>, target: LogoutTarget, now: Timestamp) -> Self {
        Self {
            issuer,
            audience: audience.into(),
            target,
            issued_at: now,
            expires_at: now.plus(LIFETIME),
            token_id: TokenId::random(),
        }
    }
}

impl Serialize for LogoutClaims {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("iss", &self.issuer)?;
        match &self.target {
            LogoutTarget::Session(session) => map.serialize_entry("sid", session)?,
            LogoutTarget::Subject(subject) => map.serialize_entry("sub", subject)?,
        }
        map.serialize_entry("aud", &self.audience)?;
        map.serialize_entry("iat", &self.issued_at)?;
        map.serialize_entry("exp", &self.expires_at)?;
        map.serialize_entry("jti", &self.token_id)?;
        map.serialize_entry("events", &json!({ EVENT: {} }))?;
        map.end()
    }
}
