//! Settings of trusted issuers.

use std::{path::PathBuf, time::Duration};

use adieu::{
    MAX_ID_BYTES,
    token::{Algorithm, DEFAULT_SKEW},
};
use adieu_events::{EventKind, LogoutScope};
use serde::{
    Deserialize,
    de::{self, Deserializer},
};

use super::{
    claim_path::ClaimPath,
    issuer_webhook::IssuerWebhook,
    table::tables,
    value::{RevocableClaims, text},
};
use crate::aliases::AliasClaim;

/// Another issuer whose tokens are accepted, and the source of its keys.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustedIssuer {
    /// The claim `iss` of its tokens; not given: that of `discovery`.
    #[serde(default)]
    pub name: String,
    /// The URL of an OpenID provider, whose metadata says where it publishes its public keys.
    #[serde(default)]
    pub discovery: Option<String>,
    /// A file with the secret that it signs with. A line break at the end of the file is not part of the secret.
    #[serde(default)]
    pub secret_file: Option<PathBuf>,
    /// A file with its public key (`-----BEGIN PUBLIC KEY-----`).
    #[serde(default)]
    pub pem_file: Option<PathBuf>,
    /// The URL where it publishes its public keys.
    #[serde(default)]
    pub jwks_url: Option<String>,
    /// The algorithm of its key: by default HS256 for a secret and RS256 for RSA. Other keys have one algorithm only.
    #[serde(default)]
    pub algorithm: Option<Algorithm>,
    /// The id of the key (`kid`) in its tokens, if they have one.
    #[serde(default)]
    pub key_id: Option<String>,
    /// The audiences of which its tokens must have one: a text or a list.
    #[serde(default, deserialize_with = "one_or_several")]
    pub audience: Vec<String>,
    /// The maximum lifetime of its tokens. Tokens that live longer are rejected.
    #[serde(default = "thirty_one_days", deserialize_with = "text")]
    pub max_lifetime: Duration,
    /// How far its clock may be ahead of this server's, for `iat` and `nbf`.
    #[serde(default = "a_few_seconds", deserialize_with = "text")]
    pub clock_skew: Duration,
    /// The claims that are trusted, besides those that identify the user. Other claims are dropped, since services
    /// would take them for this server's, for example a role.
    #[serde(default)]
    pub trusted_claims: Vec<String>,
    /// The claims by whose values its tokens can be revoked.
    #[serde(default, deserialize_with = "text")]
    pub revocable_claims: RevocableClaims,
    /// Accepts a header without the type of RFC 9068, if a claim says what the token is: `type`, `token_type`,
    /// `token_use` or `typ`.
    #[serde(default)]
    pub accept_generic_type: bool,
    /// Accepts tokens without any statement of their type as access tokens.
    #[serde(default)]
    pub accept_missing_type: bool,
    /// Accepts tokens without `iss`.
    #[serde(default)]
    pub accept_missing_issuer: bool,
    /// Accepts tokens without `jti`.
    #[serde(default)]
    pub accept_missing_token_id: bool,
    /// Accepts an integer `sub`; its decimal digits are the subject.
    #[serde(default)]
    pub accept_integer_subject: bool,
    /// The claim that is the subject of its tokens, instead of `sub`.
    #[serde(default, deserialize_with = "text")]
    pub subject_claim: ClaimPath,
    /// The kinds of events that it may send.
    #[serde(default, deserialize_with = "kinds")]
    pub events: Vec<EventKind>,
    /// The audiences of this server in events, such as its client id at the issuer.
    #[serde(default)]
    pub event_audience: Vec<String>,
    /// The issuer that signs its events, if it is another.
    #[serde(default)]
    pub event_issuer: Option<EventIssuer>,
    /// What an event about one session ends: the session, or its whole subject.
    #[serde(default, deserialize_with = "scope")]
    pub logout_scope: LogoutScope,
    /// The claims of its tokens from which aliases are recorded, by which its events may name users.
    #[serde(default, deserialize_with = "alias_claims")]
    pub alias_claims: Vec<AliasClaim>,
    /// The webhooks that it sends.
    #[serde(default)]
    pub webhook: Option<IssuerWebhook>,
}

/// Another issuer, which signs the events of a trusted issuer, and the source of its keys.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventIssuer {
    /// The claim `iss` of events; not given: that of `discovery`.
    #[serde(default)]
    pub name: Option<String>,
    /// The URL of an OpenID provider, whose metadata says where it publishes its public keys.
    #[serde(default)]
    pub discovery: Option<String>,
    /// The URL where it publishes its public keys.
    #[serde(default)]
    pub jwks_url: Option<String>,
}

impl EventIssuer {
    /// Returns the URL of the keys, or of the metadata that says where they are.
    #[must_use]
    pub fn url(&self) -> &str {
        self.jwks_url.as_deref().or(self.discovery.as_deref()).unwrap_or_default()
    }

    /// Returns the claim `iss` of events.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name.as_deref().or(self.discovery.as_deref()).unwrap_or_default()
    }

    fn is_whole(&self) -> bool {
        let Self { name, discovery, jwks_url } = self;
        name.is_some() == jwks_url.is_some()
            && discovery.is_some() != jwks_url.is_some()
            && (1..=MAX_ID_BYTES).contains(&self.name().len())
    }
}

pub(crate) fn one_or_several<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a text or a list of texts is expected")]
    enum OneOrSeveral {
        One(String),
        Several(Vec<String>),
    }
    Ok(match OneOrSeveral::deserialize(deserializer)? {
        OneOrSeveral::One(one) => vec![one],
        OneOrSeveral::Several(several) => several,
    })
}

fn kinds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<EventKind>, D::Error> {
    let names = Vec::<String>::deserialize(deserializer)?;
    let kind = |name: String| {
        name.parse().map_err(|_| {
            let all: Vec<_> = EventKind::ALL.iter().map(|kind| kind.as_str()).collect();
            de::Error::custom(format_args!("{name:?} is not a kind of event: {}", all.join(", ")))
        })
    };
    names.into_iter().map(kind).collect()
}

fn alias_claims<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<AliasClaim>, D::Error> {
    let claim = |name: String| {
        let known = AliasClaim::ALL.into_iter().find(|claim| claim.as_str() == name);
        known.ok_or_else(|| de::Error::custom(format_args!(r#"{name:?} is not "email" or "phone_number""#)))
    };
    Vec::<String>::deserialize(deserializer)?.into_iter().map(claim).collect()
}

fn scope<'de, D: Deserializer<'de>>(deserializer: D) -> Result<LogoutScope, D::Error> {
    match String::deserialize(deserializer)?.as_str() {
        "session" => Ok(LogoutScope::Session),
        "subject" => Ok(LogoutScope::Subject),
        other => Err(de::Error::custom(format_args!(r#"{other:?} is not "session" or "subject""#))),
    }
}

const fn thirty_one_days() -> Duration {
    Duration::from_secs(31 * 24 * 60 * 60)
}

const fn a_few_seconds() -> Duration {
    DEFAULT_SKEW
}

impl TrustedIssuer {
    /// Returns the issuer that signs its events: itself, unless the settings name another.
    pub(crate) fn signer_of_events(&self) -> &str {
        self.event_issuer.as_ref().map_or(&self.name, EventIssuer::name)
    }

    /// Returns whether it may send events or webhooks.
    pub(crate) const fn sends(&self) -> bool {
        !self.events.is_empty() || self.webhook.is_some()
    }

    /// Returns whether the same issuer signs the events of both, with keys from different places: a message is for both, so each must have its
    /// key.
    pub(super) fn has_other_event_keys(&self, other: &Self) -> bool {
        let signer = |issuer: &Self| match &issuer.event_issuer {
            Some(signer) => (signer.name().to_owned(), Some(signer.url().to_owned())),
            None => (issuer.name.clone(), issuer.jwks_url.clone().or(issuer.discovery.clone())),
        };
        let ((name, place), (other_name, other_place)) = (signer(self), signer(other));
        !self.events.is_empty() && !other.events.is_empty() && name == other_name && place != other_place
    }

    /// Returns why these settings contradict each other, if they do.
    pub(super) fn contradiction(&self) -> Option<&'static str> {
        if !(1..=MAX_ID_BYTES).contains(&self.name.len()) {
            return Some("name must be a text of 1 to 512 bytes");
        }
        if self.discovery.as_ref().is_some_and(|url| *url != self.name) {
            return Some("name and discovery are the same: metadata is valid only for the issuer at whose URL it is");
        }
        let keys =
            [self.secret_file.is_some(), self.pem_file.is_some(), self.jwks_url.is_some(), self.discovery.is_some()];
        if keys.into_iter().filter(|given| *given).count() != 1 {
            return Some("give exactly one of secret_file, pem_file, jwks_url and discovery");
        }
        if (self.jwks_url.is_some() || self.discovery.is_some()) && self.key_id.is_some() {
            return Some("key_id does not go with jwks_url and discovery, whose keys have names");
        }
        let is_hanko = self.webhook.as_ref().is_some_and(IssuerWebhook::is_signed_by_issuer);
        if (self.events.is_empty() && !is_hanko) != self.event_audience.is_empty() {
            return Some("events, or a webhook of Hanko, and event_audience go together");
        }
        if self.events.is_empty() && !self.alias_claims.is_empty() {
            return Some("alias_claims are for events");
        }
        if let Some(issuer) = &self.event_issuer {
            if self.events.is_empty() {
                return Some("event_issuer is for events");
            }
            if !issuer.is_whole() {
                return Some("event_issuer has either discovery, or name and jwks_url");
            }
            if issuer.name() == self.name {
                return Some("event_issuer is for events that another issuer signs");
            }
        }
        if let Some(wrong) = self.webhook.as_ref().and_then(IssuerWebhook::contradiction) {
            return Some(wrong);
        }
        let secret = self.algorithm.map(Algorithm::is_symmetric);
        match secret {
            Some(true) if self.secret_file.is_none() => Some("this algorithm needs secret_file"),
            Some(false) if self.secret_file.is_some() => Some("this algorithm needs a public key, not secret_file"),
            _ => None,
        }
    }
}

/// Names each issuer that has no other name after its discovery.
fn named(mut issuers: Vec<TrustedIssuer>) -> Vec<TrustedIssuer> {
    for issuer in issuers.iter_mut().filter(|issuer| issuer.name.is_empty()) {
        issuer.name = issuer.discovery.clone().unwrap_or_default();
    }
    issuers
}

/// Deserializes the issuers.
pub(super) fn issuers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<TrustedIssuer>, D::Error> {
    tables(deserializer).map(named)
}
