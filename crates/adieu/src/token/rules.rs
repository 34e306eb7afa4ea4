//! The rules that a token must satisfy.

use std::{borrow::Cow, time::Duration};

use serde_json::{Map, Value};

use crate::{Error, Issuer, Subject, revocation::MAX_LEEWAY, time::Timestamp};

use super::{Claims, Fresh, TokenError};

/// The default maximum length of a token, in bytes.
pub const DEFAULT_MAX_TOKEN_BYTES: usize = 8 * 1024;

/// The default for how far the clock of an issuer may be ahead of the verifier's clock.
pub const DEFAULT_SKEW: Duration = Duration::from_secs(3);

/// The lifetime assumed for tokens whose maximum lifetime is not configured: how long a cut-off is kept.
const TEN_YEARS: Duration = Duration::from_secs(3660 * 24 * 60 * 60);

/// The rules that the tokens of one issuer must satisfy.
///
/// The defaults are strict. The `accept_…` methods relax them for issuers that need it.
///
/// For an application that uses Flask-JWT-Extended, call [`accept_generic_type`](Rules::accept_generic_type) and
/// [`accept_missing_issuer`](Rules::accept_missing_issuer).
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
    /// The claim of the subject, and the names of the members inside it; empty for `sub`.
    pub(super) subject_claim: Vec<String>,
    pub(super) max_lifetime: Option<Duration>,
    trusted_claims: Vec<String>,
}

impl Rules {
    /// Creates rules for the tokens of `issuer`: no audience, no leeway, a skew of [`DEFAULT_SKEW`] and at most
    /// [`DEFAULT_MAX_TOKEN_BYTES`] per token.
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
            subject_claim: Vec::new(),
            max_lifetime: None,
            trusted_claims: Vec::new(),
        }
    }

    /// Adds an audience of this verifier. A token must have at least one of the audiences in its `aud`.
    ///
    /// Without an audience, a token that has `aud` is rejected, since the verifier is not in it (RFC 7519 §4.1.3).
    #[must_use]
    pub fn with_audience(mut self, audience: impl Into<String>) -> Self {
        self.audience.push(audience.into());
        self
    }

    /// Sets how far the issuer's clock may differ from the verifier's clock, for `exp`, `nbf` and `iat`. The default is
    /// zero.
    ///
    /// # Errors
    /// Returns an error if `leeway` is longer than [`MAX_LEEWAY`]. To let tokens live longer, set a longer lifetime at
    /// the issuer.
    pub fn with_leeway(self, leeway: Duration) -> Result<Self, Error> {
        Ok(Self { leeway: at_most_a_minute("leeway", leeway)?, ..self })
    }

    /// Sets how far the issuer's clock may be ahead of the verifier's clock, for `nbf` and `iat`. The default is
    /// [`DEFAULT_SKEW`]. If the [leeway](Rules::with_leeway) is longer, the leeway applies.
    ///
    /// # Errors
    /// Returns an error if `skew` is longer than [`MAX_LEEWAY`].
    pub fn with_skew(self, skew: Duration) -> Result<Self, Error> {
        Ok(Self { skew: at_most_a_minute("skew", skew)?, ..self })
    }

    /// Sets the maximum length of a token, in bytes. The default is [`DEFAULT_MAX_TOKEN_BYTES`].
    #[must_use]
    pub fn with_max_token_bytes(self, max_token_bytes: usize) -> Self {
        Self { max_token_bytes, ..self }
    }

    /// Accepts a token whose header has `typ: JWT` or no `typ`, if a claim says whether it is an access or a refresh
    /// token: `type`, `token_type`, `token_use` or `typ`. For issuers that predate RFC 9068.
    #[must_use]
    pub fn accept_generic_type(self) -> Self {
        Self { generic_type: true, ..self }
    }

    /// Accepts tokens without `iss`, as tokens of the issuer of these rules.
    ///
    /// Use it only if no other issuer has the keys. A token that names another issuer is still rejected.
    #[must_use]
    pub fn accept_missing_issuer(self) -> Self {
        Self { missing_issuer: true, ..self }
    }

    /// Accepts tokens without `jti`. The token id is then the SHA-256 of the signing input in base64url.
    ///
    /// The signature is not part of the id, since with ECDSA one token can have several signatures.
    #[must_use]
    pub fn accept_missing_token_id(self) -> Self {
        Self { missing_token_id: true, ..self }
    }

    /// Accepts a token that has no type, neither in the header's `typ` nor in a claim such as `type`, as an access
    /// token. Implies [`accept_generic_type`](Rules::accept_generic_type).
    ///
    /// Use it only if the issuer signs nothing but access tokens with these keys: no refresh tokens and no identity
    /// tokens.
    #[must_use]
    pub fn accept_missing_type(self) -> Self {
        Self { generic_type: true, missing_type: true, ..self }
    }

    /// Accepts an integer as `sub`, with an absolute value up to 2^53 - 1, which every JSON parser reads exactly. The
    /// subject is then its decimal digits: `7` and `"7"` are the same subject.
    #[must_use]
    pub fn accept_integer_subject(self) -> Self {
        Self { integer_subject: true, ..self }
    }

    /// Takes the subject of a token from another claim than `sub`, for an issuer that names its users there, such as `oid` of Microsoft
    /// Entra or `username` of Amazon Cognito. `path` is the name of the claim; more names lead to a member of an object. An empty path is
    /// `sub`.
    ///
    /// [`Claims::subject`] is then the value of that claim, which must be a text of 1 to [`MAX_ID_BYTES`](crate::MAX_ID_BYTES) bytes; the
    /// token need not have `sub`. Revocations of a subject name that value: every verifier of the issuer's tokens must have the same rule.
    #[must_use]
    pub fn with_subject_claim(self, path: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { subject_claim: path.into_iter().map(Into::into).collect(), ..self }
    }

    /// Returns the subject that these claims name: in the [claim of the subject](Rules::with_subject_claim), or in `sub`,
    /// which may be an integer if [the rules accept one](Rules::accept_integer_subject).
    ///
    /// # Errors
    /// [`TokenError::MissingSubject`] or [`TokenError::InvalidSubject`]; for `sub`, [`TokenError::MissingClaim`] or
    /// [`TokenError::InvalidClaim`].
    pub fn subject_in(&self, claims: &Map<String, Value>) -> Result<Subject, TokenError> {
        const SUB: &str = "sub";
        let name = || self.subject_claim.join(".").into_boxed_str();
        let value = match self.subject_claim.split_first() {
            None => claims.get(SUB).ok_or(TokenError::MissingClaim(SUB))?,
            Some((first, inside)) => {
                let inside = inside.iter().try_fold(claims.get(first), |value, name| Some(value?.get(name)));
                inside.flatten().ok_or_else(|| TokenError::MissingSubject(name()))?
            }
        };
        let text = match value {
            Value::Number(number) if self.integer_subject && self.subject_claim.is_empty() => {
                let whole = number.as_f64().filter(|number| number.fract() == 0.0).map(|number| number as i64);
                digits(number.as_i64().or(whole)).map(Cow::Owned)
            }
            value => value.as_str().map(Cow::Borrowed),
        };
        text.and_then(|text| Subject::new(text).ok()).ok_or_else(|| match self.subject_claim.is_empty() {
            true => TokenError::InvalidClaim(SUB),
            false => TokenError::InvalidSubject(name()),
        })
    }

    /// Trusts the claim `name` in tokens of this issuer, if the issuer was added with
    /// [`Verifier::with_issuer`](super::Verifier::with_issuer).
    ///
    /// Such an issuer identifies the subject. Its custom claims, for example one that makes the subject an
    /// administrator, are dropped unless they are trusted with this method. [`Claims::fresh`] is reset to [`Fresh::No`]
    /// unless `fresh` is trusted.
    #[must_use]
    pub fn with_trusted_claim(mut self, name: impl Into<String>) -> Self {
        self.trusted_claims.push(name.into());
        self
    }

    /// Sets the maximum lifetime of a token of this issuer. A token that lives longer is rejected. The maximum lifetime
    /// bounds how long a revocation of all tokens of a subject must be kept.
    ///
    /// For a token without `iat`, only the remaining lifetime is checked.
    #[must_use]
    pub fn with_max_lifetime(self, max_lifetime: Duration) -> Self {
        Self { max_lifetime: Some(max_lifetime), ..self }
    }

    /// Returns the maximum lifetime of a token of this issuer: ten years if it was not set.
    #[must_use]
    pub fn max_lifetime(&self) -> Duration {
        self.max_lifetime.unwrap_or(TEN_YEARS)
    }

    /// Returns the maximum lifetime that was set.
    pub(crate) fn max_lifetime_set(&self) -> Option<Duration> {
        self.max_lifetime
    }

    /// Returns the issuer.
    #[must_use]
    pub fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    /// Returns how far the issuer's clock may differ from the verifier's clock. A revocation is kept for that much
    /// longer than its tokens live.
    #[must_use]
    pub fn leeway(&self) -> Duration {
        self.leeway
    }

    /// Returns how far the issuer's clock may be ahead of the verifier's clock: the longer of skew and leeway. A
    /// revocation of all tokens issued until now must also match tokens whose `iat` is that far in the future.
    #[must_use]
    pub fn skew(&self) -> Duration {
        self.skew.max(self.leeway)
    }

    /// Drops the claims of another issuer that are not trusted.
    pub(super) fn restrict(&self, claims: &mut Claims) {
        let is_believed = |name: &str| self.trusted_claims.iter().any(|believed| believed == name);
        if claims.custom.keys().any(|name| !is_believed(name)) {
            // Tokens can be revoked by them nevertheless.
            let (believed, untrusted) =
                std::mem::take(&mut claims.custom).into_iter().partition(|(name, _)| is_believed(name));
            (claims.custom, claims.verified.untrusted) = (believed, untrusted);
        }
        if !is_believed("fresh") {
            claims.fresh = Fresh::No;
        }
        claims.verified.is_restricted = true;
    }

    /// Rejects a token that lives longer from `begin` than the maximum lifetime.
    pub(super) fn require_short_life(&self, begin: Timestamp, expires_at: Timestamp) -> Result<(), TokenError> {
        match self.max_lifetime {
            Some(longest) if expires_at > begin.plus(longest) => Err(TokenError::InvalidClaim("exp")),
            _ => Ok(()),
        }
    }

    /// Rejects a token that is not yet valid or has expired. Expiry is checked last, so [`TokenError::Expired`] means
    /// that nothing else is wrong.
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
        // RFC 7519 §4.1.4: a token expires at `exp`, not after it.
        if now >= expires_at.plus(self.leeway) {
            return Err(TokenError::Expired);
        }
        Ok(())
    }
}

/// Returns the subject that an integer is, unless not every JSON parser reads it exactly (RFC 8259 §6).
pub(super) fn digits(number: Option<i64>) -> Option<String> {
    const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;
    number.filter(|number| number.unsigned_abs() <= MAX_SAFE_INTEGER).map(|number| number.to_string())
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
