//! What a token must be like to be accepted.

use std::time::Duration;

use crate::{Error, Issuer, revocation::MAX_LEEWAY, time::Timestamp};

use super::{Claims, Fresh, TokenError};

/// The longest token that is accepted unless something else is set, in bytes.
pub const DEFAULT_MAX_TOKEN_BYTES: usize = 8 * 1024;

/// How far the clock of an issuer may be ahead of ours unless something else is set: it is that of another machine.
pub const DEFAULT_SKEW: Duration = Duration::from_secs(3);

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
    skew: Duration,
    pub(super) max_token_bytes: usize,
    pub(super) generic_type: bool,
    pub(super) missing_issuer: bool,
    pub(super) missing_token_id: bool,
    pub(super) missing_type: bool,
    pub(super) integer_subject: bool,
    pub(super) max_lifetime: Option<Duration>,
    trusted_claims: Vec<String>,
}

impl Rules {
    /// Tokens of this issuer, meant for nobody in particular, from a clock that is [`DEFAULT_SKEW`] ahead at most, up to
    /// 8 KiB.
    #[must_use]
    pub fn new(issuer: Issuer) -> Self {
        Self {
            issuer,
            audience: Vec::new(),
            leeway: Duration::ZERO,
            skew: DEFAULT_SKEW,
            max_token_bytes: DEFAULT_MAX_TOKEN_BYTES,
            generic_type: false,
            missing_issuer: false,
            missing_token_id: false,
            missing_type: false,
            integer_subject: false,
            max_lifetime: None,
            trusted_claims: Vec::new(),
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
        Ok(Self { leeway: at_most_a_minute("leeway", leeway)?, ..self })
    }

    /// How far the issuer's clock may be ahead of ours, for `nbf` and `iat`, where that is more than the
    /// [leeway](Rules::with_leeway). [`DEFAULT_SKEW`] unless something else is set.
    ///
    /// # Errors
    /// When it is longer than [`MAX_LEEWAY`].
    pub fn with_skew(self, skew: Duration) -> Result<Self, Error> {
        Ok(Self { skew: at_most_a_minute("skew", skew)?, ..self })
    }

    /// The longest token, in bytes.
    #[must_use]
    pub fn with_max_token_bytes(self, max_token_bytes: usize) -> Self {
        Self { max_token_bytes, ..self }
    }

    /// Accepts the header type `JWT`, and none at all, when a claim says whether it is an access or a refresh token:
    /// `type`, or its siblings `token_type`, `token_use` and `typ`. For issuers that came before RFC 9068.
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

    /// Takes a token that says nowhere what it is for an access token: neither in the header's `typ` nor in a claim such
    /// as `type`. Only for issuers that sign nothing else with these keys, neither refresh tokens nor identity tokens.
    #[must_use]
    pub fn accept_missing_type(self) -> Self {
        Self { generic_type: true, missing_type: true, ..self }
    }

    /// Accepts a whole number as `sub`, up to 2^53 - 1 so that it is the same number to everyone who reads JSON. The
    /// subject is then its decimal digits: `7` and `"7"` are one and the same.
    #[must_use]
    pub fn accept_integer_subject(self) -> Self {
        Self { integer_subject: true, ..self }
    }

    /// Believes this claim (once more: this one as well) where this issuer is not our own but one that is
    /// [accepted beside it](super::Verifier::with_issuer). Such an issuer says who somebody is. What it says beside that
    /// would count as ours, such as that somebody is an administrator, and is left out unless it is named here.
    ///
    /// `fresh` is such a claim, too.
    #[must_use]
    pub fn with_trusted_claim(mut self, name: impl Into<String>) -> Self {
        self.trusted_claims.push(name.into());
        self
    }

    /// The longest that a token of this issuer lives. One that lives longer is refused, so that it is known for how long
    /// "everything of this subject until now" must be remembered.
    ///
    /// Without `iat` it can only be asked how long a token has to live still.
    #[must_use]
    pub fn with_max_lifetime(self, max_lifetime: Duration) -> Self {
        Self { max_lifetime: Some(max_lifetime), ..self }
    }

    /// The longest that a token of this issuer is taken to live: ten years, if nothing else was said.
    #[must_use]
    pub fn max_lifetime(&self) -> Duration {
        self.max_lifetime.unwrap_or(TEN_YEARS)
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

    /// How far the issuer's clock may be ahead of ours: a token may be from so far in the future, and "everything issued
    /// until now" has to reach as far.
    #[must_use]
    pub fn skew(&self) -> Duration {
        self.skew.max(self.leeway)
    }

    /// Leaves of the claims of another issuer what it is believed.
    pub(super) fn restrict(&self, claims: &mut Claims) {
        let is_believed = |name: &str| self.trusted_claims.iter().any(|believed| believed == name);
        claims.custom.retain(|name, _| is_believed(name));
        if !is_believed("fresh") {
            claims.fresh = Fresh::No;
        }
    }

    /// Passes on a token that does not live longer than its issuer's tokens do from `begin`.
    pub(super) fn require_short_life(&self, begin: Timestamp, expires_at: Timestamp) -> Result<(), TokenError> {
        match self.max_lifetime {
            Some(longest) if expires_at > begin.plus(longest) => Err(TokenError::InvalidClaim("exp")),
            _ => Ok(()),
        }
    }

    /// Passes on a token that is good at this time of all times. Too late comes last: nothing else is wrong then.
    pub(super) fn require_live(
        &self,
        issued_at: Option<Timestamp>,
        not_before: Option<Timestamp>,
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<(), TokenError> {
        if issued_at.is_none() {
            self.require_short_life(now, expires_at)?;
        }
        if issued_at.max(not_before).is_some_and(|begin| begin > now.plus(self.skew())) {
            return Err(TokenError::NotYetValid);
        }
        // RFC 7519 §4.1.4: on or after `exp` is too late.
        if now >= expires_at.plus(self.leeway) {
            return Err(TokenError::Expired);
        }
        Ok(())
    }
}

fn at_most_a_minute(setting: &'static str, value: Duration) -> Result<Duration, Error> {
    if value > MAX_LEEWAY {
        return Err(Error::setting(
            setting,
            format!("the {setting} must not be longer than {} seconds", MAX_LEEWAY.as_secs()),
        ));
    }
    Ok(value)
}
