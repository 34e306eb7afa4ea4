//! Issuers beside this server's own.

use std::{fmt, path::PathBuf, time::Duration};

use adieu::token::{Algorithm, DEFAULT_SKEW};
use serde::{
    Deserialize,
    de::{self, Deserializer, SeqAccess, Visitor, value::SeqAccessDeserializer},
};

use super::value::text;

/// Another issuer whose tokens are accepted, and where its key is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustedIssuer {
    /// The claim `iss` of its tokens.
    #[serde(deserialize_with = "text")]
    pub name: String,
    /// A file with the secret that it signs with. The end of a line at the end of the file is not part of it.
    #[serde(default)]
    pub secret_file: Option<PathBuf>,
    /// A file with its public key (`-----BEGIN PUBLIC KEY-----`).
    #[serde(default)]
    pub pem_file: Option<PathBuf>,
    /// Where it publishes its public keys.
    #[serde(default)]
    pub jwks_url: Option<String>,
    /// What its key is for: HS256 for a secret and RS256 for RSA unless set; other keys are for one algorithm only.
    #[serde(default)]
    pub algorithm: Option<Algorithm>,
    /// What its tokens call the key (`kid`), if they do.
    #[serde(default)]
    pub key_id: Option<String>,
    /// Whom its tokens must be for.
    #[serde(default)]
    pub audience: Option<String>,
    /// The longest that its tokens live. One that lives longer is refused.
    #[serde(default = "thirty_one_days", deserialize_with = "text")]
    pub longest_lifetime: Duration,
    /// How far its clock may be ahead of ours, for `iat` and `nbf`: it is that of another machine.
    #[serde(default = "a_few_seconds", deserialize_with = "text")]
    pub clock_skew: Duration,
    /// Which of its claims are believed beside those that say who somebody is. Others would count as ours, such as that
    /// somebody is an editor: they are left out.
    #[serde(default)]
    pub claims: Vec<String>,
    /// Accepts a header without the type of RFC 9068, if a claim says what the token is: `type`, `token_type`,
    /// `token_use` or `typ`.
    #[serde(default)]
    pub accept_generic_type: bool,
    /// Takes what says nothing of its type for an access token.
    #[serde(default)]
    pub accept_missing_type: bool,
    /// Accepts tokens without `iss`.
    #[serde(default)]
    pub accept_missing_issuer: bool,
    /// Accepts tokens without `jti`.
    #[serde(default)]
    pub accept_missing_token_id: bool,
    /// Accepts a whole number as `sub`, which is then its digits.
    #[serde(default)]
    pub accept_integer_subject: bool,
}

const fn thirty_one_days() -> Duration {
    Duration::from_secs(31 * 24 * 60 * 60)
}

const fn a_few_seconds() -> Duration {
    DEFAULT_SKEW
}

impl TrustedIssuer {
    /// What is wrong with it by itself, if anything is.
    pub(super) fn contradiction(&self) -> Option<&'static str> {
        let keys = [self.secret_file.is_some(), self.pem_file.is_some(), self.jwks_url.is_some()];
        if keys.into_iter().filter(|given| *given).count() != 1 {
            return Some("give exactly one of secret_file, pem_file and jwks_url");
        }
        if self.jwks_url.is_some() && self.key_id.is_some() {
            return Some("key_id does not go with jwks_url, whose keys have names");
        }
        let secret = self.algorithm.map(Algorithm::is_symmetric);
        match secret {
            Some(true) if self.secret_file.is_none() => Some("this algorithm needs secret_file"),
            Some(false) if self.secret_file.is_some() => Some("this algorithm needs a public key, not secret_file"),
            _ => None,
        }
    }
}

/// Reads a list of tables; in the environment written as in the file.
pub(super) fn issuers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<TrustedIssuer>, D::Error> {
    struct Issuers;

    impl<'de> Visitor<'de> for Issuers {
        type Value = Vec<TrustedIssuer>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("a list of tables")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
            #[derive(Deserialize)]
            struct Document {
                issuers: Vec<TrustedIssuer>,
            }
            let document: Result<Document, toml::de::Error> = toml::from_str(&format!("issuers = {text}"));
            document.map(|document| document.issuers).map_err(|error| E::custom(error.message()))
        }

        fn visit_seq<A: SeqAccess<'de>>(self, sequence: A) -> Result<Self::Value, A::Error> {
            Vec::deserialize(SeqAccessDeserializer::new(sequence))
        }
    }

    deserializer.deserialize_any(Issuers)
}
