//! Reads the table of verdicts, which `verdicts.md` describes. Shared by the tests of several crates.

#[path = "../crates/adieu/tests/support/base64url.rs"]
mod base64url;

use std::collections::BTreeMap;

use adieu::{
    Issuer, SessionId, Subject, TokenId,
    revocation::RevokedClaim,
    session::{RevocationRequest, RevocationTarget, Sessions},
    token::{Algorithm, KeyId, KeySet, Rules, VerifyingKey},
};
use aws_lc_rs::signature::Ed25519KeyPair;
use base64::{Engine as _, prelude::BASE64_STANDARD};
pub(crate) use base64url::base64url;
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// The whole table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Table {
    #[serde(rename = "read_me")]
    _read_me: String,
    pub(crate) issuers: BTreeMap<String, Signer>,
    pub(crate) token_ids: Vec<Value>,
    pub(crate) rows: Vec<Row>,
}

/// An issuer with its key and its settings at the server.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Signer {
    pub(crate) settings: Map<String, Value>,
    #[serde(default)]
    pub(crate) revocable_claims: Vec<String>,
    pub(crate) key_id: Option<String>,
    private_key: String,
    pub(crate) public_key: String,
}

/// A token and the verdicts on it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) issuer: String,
    header: Map<String, Value>,
    claims: Map<String, Value>,
    #[serde(default)]
    revoked: Vec<Map<String, Value>>,
    pub(crate) verify: String,
    pub(crate) log_out: String,
    #[serde(rename = "is_revoked")]
    _is_revoked: Option<bool>,
    #[serde(rename = "without_token")]
    _without_token: Option<String>,
}

/// The verdict on an accepted token.
pub(crate) const GOOD: &str = "good";

impl Table {
    pub(crate) fn read() -> Self {
        serde_json::from_str(include_str!("verdicts.json")).unwrap()
    }

    /// Returns every row with its token, whose times are relative to `now`.
    pub(crate) fn tokens(&self, now: u64) -> Vec<(&Row, String)> {
        self.rows.iter().map(|row| (row, row.sign(&self.issuers[&row.issuer], now))).collect()
    }
}

impl Signer {
    /// Returns the public key.
    pub(crate) fn keys(&self) -> KeySet {
        let key = VerifyingKey::from_pem(Algorithm::EdDSA, &self.public_key).unwrap();
        KeySet::new([match &self.key_id {
            Some(id) => key.with_key_id(KeyId::new(id).unwrap()),
            None => key,
        }])
        .unwrap()
    }

    /// Returns the settings as rules.
    pub(crate) fn rules(&self, issuer: &str) -> Rules {
        self.settings.iter().fold(Rules::new(Issuer::new(issuer).unwrap()), |rules, (setting, value)| {
            assert_eq!(value, &json!(true), "{setting}");
            match setting.as_str() {
                "accept_generic_type" => rules.accept_generic_type(),
                "accept_missing_type" => rules.accept_missing_type(),
                "accept_missing_issuer" => rules.accept_missing_issuer(),
                "accept_missing_token_id" => rules.accept_missing_token_id(),
                "accept_integer_subject" => rules.accept_integer_subject(),
                other => panic!("{other}: no such rule"),
            }
        })
    }
}

impl Row {
    /// Returns the `jti`, if it has one.
    pub(crate) fn token_id(&self) -> Option<&Value> {
        self.claims.get("jti")
    }

    fn sign(&self, signer: &Signer, now: u64) -> String {
        let mut header = self.header.clone();
        header.insert("alg".into(), "EdDSA".into());
        let mut claims = self.claims.clone();
        for name in ["exp", "nbf", "iat"] {
            if let Some(Value::Number(from_now)) = claims.get(name) {
                let time = match from_now.as_i64() {
                    Some(seconds) => json!(i64::try_from(now).unwrap() + seconds),
                    None => json!(now as f64 + from_now.as_f64().unwrap()),
                };
                claims.insert(name.into(), time);
            }
        }
        let [header, claims] = [header, claims].map(|part| base64url(Value::Object(part).to_string().as_bytes()));
        let signing_input = format!("{header}.{claims}");
        let pem: String = signer.private_key.lines().filter(|line| !line.starts_with('-')).collect();
        let key = Ed25519KeyPair::from_pkcs8(&BASE64_STANDARD.decode(pem).unwrap()).unwrap();
        let signature = base64url(key.sign(signing_input.as_bytes()).as_ref());
        format!("{signing_input}.{signature}")
    }

    /// Returns the revocations, as bodies of `POST /revocations`.
    pub(crate) fn revocations(&self, token: &str) -> Vec<Value> {
        let bodies = self.revoked.iter().cloned().map(|mut body| {
            if body.get("token") == Some(&json!(true)) {
                return json!({ "token": token });
            }
            body.insert("issuer".into(), json!(self.issuer));
            Value::Object(body)
        });
        bodies.collect()
    }

    /// Returns the revocations, as requests to `Sessions`.
    pub(crate) fn named(&self, token: &str, sessions: &Sessions) -> Vec<RevocationRequest> {
        let named = self.revoked.iter().map(|body| {
            let (kind, value) = body.iter().next().unwrap();
            let id = value.as_str().unwrap_or_default();
            let what = match kind.as_str() {
                "token" => {
                    let (claims, _) = sessions.verifier().read_claims(token).unwrap();
                    return sessions.revocation_request(&claims);
                }
                "token_id" => RevocationTarget::Token { id: TokenId::new(id).unwrap(), expires_at: None },
                "session" => RevocationTarget::Session(SessionId::new(id).unwrap()),
                "subject" => RevocationTarget::Subject(Subject::new(id).unwrap()),
                "key" => RevocationTarget::Key(KeyId::new(id).unwrap()),
                "claim" => {
                    let [name, value] = ["name", "value"].map(|member| value[member].as_str().unwrap());
                    RevocationTarget::Claim(RevokedClaim::new(name, value).unwrap())
                }
                other => panic!("{other}: can't be revoked"),
            };
            RevocationRequest::new(what).with_issuer(Issuer::new(&self.issuer).unwrap())
        });
        named.collect()
    }
}
