//! What a token must be like to be accepted.

use std::time::Duration;

use crate::{Error, Issuer, revocation::MAX_LEEWAY, time::Timestamp};

use super::Refusal;

/// The longest token that is accepted unless something else is set, in bytes.
pub const DEFAULT_MAX_TOKEN_BYTES: usize = 8 * 1024;

/// For how long a cut-off is remembered when nobody says how long tokens live.
const TEN_YEARS: Duration = Duration::from_secs(3660 * 24 * 60 * 60);

/// What a token must be like to be accepted. Strict as it is made; each method that loosens it says for whom.
///
/// For an application with Flask-JWT-Extended, [`accept_generic_type`](Rules::accept_generic_type) and
/// [`accept_missing_issuer`](Rules::accept_missing_issuer) are what it takes.
#[derive(Debug, Clone)]
pub struct Rules {
    pub(super) issuer: Issuer,
    pub(super) audience: Vec<String>,
    pub(super) leeway: Duration,
    pub(super) max_token_bytes: usize,
    pub(super) generic_type: bool,
    pub(super) missing_issuer: bool,
    pub(super) missing_token_id: bool,
    pub(super) missing_type: bool,
    pub(super) longest_lifetime: Option<Duration>,
}

impl Rules {
    /// Tokens of this issuer, meant for nobody in particular, to the second, up to 8 KiB.
    #[must_use]
    pub fn new(issuer: Issuer) -> Self {
        Self {
            issuer,
            audience: Vec::new(),
            leeway: Duration::ZERO,
            max_token_bytes: DEFAULT_MAX_TOKEN_BYTES,
            generic_type: false,
            missing_issuer: false,
            missing_token_id: false,
            missing_type: false,
            longest_lifetime: None,
        }
    }

    /// We are this audience (once more: this one as well), and a token must be meant for us.
    ///
    /// Without any, a token that is meant for somebody is refused, because that is not us (RFC 7519 §4.1.3).
    #[must_use]
    pub fn with_audience(mut self, audience: impl Into<String>) -> Self {
        self.audience.push(audience.into());
        self
    }

    /// How far the issuer's clock may be from ours, for `exp`, `nbf` and `iat` alike.
    ///
    /// # Errors
    /// When it is longer than [`MAX_LEEWAY`]: that is a longer life, which is for the issuer to give.
    pub fn with_leeway(self, leeway: Duration) -> Result<Self, Error> {
        if leeway > MAX_LEEWAY {
            return Err(Error::Setting(format!("the leeway must not be longer than {} seconds", MAX_LEEWAY.as_secs())));
        }
        Ok(Self { leeway, ..self })
    }

    /// The longest token, in bytes.
    #[must_use]
    pub fn with_max_token_bytes(self, max_token_bytes: usize) -> Self {
        Self { max_token_bytes, ..self }
    }

    /// Accepts the header type `JWT`, and none at all, when the claim `type` says whether it is an access or a refresh
    /// token. For issuers that came before RFC 9068.
    #[must_use]
    pub fn accept_generic_type(self) -> Self {
        Self { generic_type: true, ..self }
    }

    /// Accepts tokens without `iss`: whoever has the key is the issuer of these rules. Only for keys that nobody else
    /// has; a token that names another issuer is refused all the same.
    #[must_use]
    pub fn accept_missing_issuer(self) -> Self {
        Self { missing_issuer: true, ..self }
    }

    /// Accepts tokens without `jti`. What is signed stands for it: the id is the SHA-256 of the signing input in
    /// base64url. (Of the signature it could not be: with ECDSA one token can have several.)
    #[must_use]
    pub fn accept_missing_token_id(self) -> Self {
        Self { missing_token_id: true, ..self }
    }

    /// Takes a token that says nowhere what it is for an access token: neither in the header's `typ` nor in the claim
    /// `type`. Only for issuers that sign nothing else with these keys, neither refresh tokens nor identity tokens.
    #[must_use]
    pub fn accept_missing_type(self) -> Self {
        Self { generic_type: true, missing_type: true, ..self }
    }

    /// The longest that a token of this issuer lives. One that lives longer is refused, so that it is known for how long
    /// "everything of this subject until now" must be remembered.
    ///
    /// Without `iat` it can only be asked how long a token has to live still.
    #[must_use]
    pub fn with_longest_lifetime(self, longest_lifetime: Duration) -> Self {
        Self { longest_lifetime: Some(longest_lifetime), ..self }
    }

    /// The longest that a token of this issuer is taken to live: ten years, if nothing else was said.
    #[must_use]
    pub fn longest_lifetime(&self) -> Duration {
        self.longest_lifetime.unwrap_or(TEN_YEARS)
    }

    /// The issuer.
    #[must_use]
    pub fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    /// How far the issuer's clock may be from ours. A revocation must outlive its tokens by as much.
    #[must_use]
    pub fn leeway(&self) -> Duration {
        self.leeway
    }

    /// Passes on a token that does not live longer than its issuer's tokens do.
    pub(super) fn require_short_life(
        &self,
        issued_at: Option<Timestamp>,
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        match self.longest_lifetime {
            Some(longest) if expires_at > issued_at.unwrap_or(now).plus(longest) => Err(Refusal::InvalidClaim("exp")),
            _ => Ok(()),
        }
    }

    /// Passes on a token whose `nbf` and `iat` have come. One from the future would outlive "everything issued until
    /// now".
    pub(super) fn require_begun(&self, begins: [Option<Timestamp>; 2], now: Timestamp) -> Result<(), Refusal> {
        if begins.into_iter().flatten().any(|begin| begin > now.plus(self.leeway)) {
            return Err(Refusal::NotYetValid);
        }
        Ok(())
    }
}
