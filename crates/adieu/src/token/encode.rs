//! Encodes and signs tokens.

use serde::{
    Serialize, Serializer,
    ser::{Error as _, SerializeMap},
};
use serde_json::{Map, Value};

use crate::Error;

use super::{
    Claims, DEFAULT_MAX_TOKEN_BYTES, Fresh, SigningKey, TokenType, base64url,
    claims::{REGISTERED, TYPE_SIBLINGS},
    key::header::EncodedHeaders,
    logout::LogoutClaims,
    token_type::NamedType,
};

/// Signs claims and returns the token in the JWS compact serialisation (RFC 7515 §7.1).
///
/// # Errors
/// Returns [`Error::Claims`] if a custom claim has the name of a registered claim or names another type of token, or if
/// the token would be longer than [`DEFAULT_MAX_TOKEN_BYTES`]. Returns [`Error::Key`] if the key cannot sign.
pub fn encode(key: &SigningKey, claims: &Claims) -> Result<String, Error> {
    let header = key.headers().of_type(claims.token_type);
    sign(key, header, &Wire(claims))
}

/// Like [`encode`], but adds parameters to the header.
///
/// # Errors
/// Returns the same errors as [`encode`], and [`Error::Claims`] if a parameter changes how a token is read: the
/// parameters of the key, or any that a [`Decoder`](super::Decoder) rejects.
pub fn encode_with_header(key: &SigningKey, claims: &Claims, header: &Map<String, Value>) -> Result<String, Error> {
    if header.is_empty() {
        return encode(key, claims);
    }
    if let Some(name) = header.keys().find(|name| RESERVED.contains(&name.as_str())) {
        return Err(Error::Claims(format!("the header parameter `{name}` is not for an application to set")));
    }
    let header = EncodedHeaders::with(key.verifying_key(), claims.token_type, header);
    sign(key, &header, &Wire(claims))
}

/// Signs the claims of a logout token (OpenID Connect Back-Channel Logout 1.0 §2.4) and returns the token in the JWS
/// compact serialisation. Its header has the `typ` `logout+jwt`, so that no verifier takes it for an access token.
///
/// # Errors
/// Returns [`Error::Claims`] if the token would be longer than [`DEFAULT_MAX_TOKEN_BYTES`], and [`Error::Key`] if the
/// key cannot sign.
pub fn encode_logout(key: &SigningKey, claims: &LogoutClaims) -> Result<String, Error> {
    let header = EncodedHeaders::of_typ(key.verifying_key(), "logout+jwt");
    sign(key, &header, claims)
}

/// The parameters that change how a token is read (RFC 7515 §4.1, RFC 7516 §4.1, RFC 7797 §3).
const RESERVED: [&str; 14] =
    ["alg", "b64", "crit", "cty", "enc", "jku", "jwk", "kid", "typ", "x5c", "x5t", "x5t#S256", "x5u", "zip"];

fn sign(key: &SigningKey, header: &str, claims: &impl Serialize) -> Result<String, Error> {
    let json =
        serde_json::to_vec(claims).map_err(|error| Error::Claims(format!("the claims can't be written: {error}")))?;
    let mut token = String::with_capacity(header.len() + json.len().div_ceil(3) * 4 + 96);
    token.push_str(header);
    token.push('.');
    base64url::encode_onto(&json, &mut token);
    let signature = key.sign(token.as_bytes(), base64url::encode)?;
    token.push('.');
    token.push_str(&signature);

    if token.len() > DEFAULT_MAX_TOKEN_BYTES {
        return Err(Error::Claims(format!(
            "the token would have {} bytes, more than the {DEFAULT_MAX_TOKEN_BYTES} that are accepted",
            token.len()
        )));
    }
    Ok(token)
}

/// Returns whether a sibling of the claim `type` may have this value in a token of this type.
fn may_be_named(value: &Value, token_type: TokenType) -> bool {
    match value.as_str().map(NamedType::of) {
        Some(NamedType::One(named)) => named == token_type,
        Some(NamedType::None) => true,
        Some(NamedType::Other) | None => false,
    }
}

/// The claims in their serialized form.
struct Wire<'a>(&'a Claims);

impl Serialize for Wire<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let claims = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("iss", &claims.issuer)?;
        map.serialize_entry("sub", &claims.subject)?;
        match claims.audience.as_slice() {
            [] => {}
            [one] => map.serialize_entry("aud", one)?,
            several => map.serialize_entry("aud", several)?,
        }
        if let Some(issued_at) = claims.issued_at {
            map.serialize_entry("iat", &issued_at)?;
        }
        if let Some(not_before) = claims.not_before {
            map.serialize_entry("nbf", &not_before)?;
        }
        map.serialize_entry("exp", &claims.expires_at)?;
        map.serialize_entry("jti", &claims.token_id)?;
        if let Some(session) = &claims.session {
            map.serialize_entry("sid", session)?;
        }
        map.serialize_entry("type", &claims.token_type)?;
        match claims.fresh {
            Fresh::No => map.serialize_entry("fresh", &false)?,
            Fresh::Yes => map.serialize_entry("fresh", &true)?,
            Fresh::Until(end) => map.serialize_entry("fresh", &end)?,
        }
        for (name, value) in &claims.custom {
            if REGISTERED.contains(&name.as_str()) {
                return Err(S::Error::custom(format_args!("`{name}` is not a custom claim")));
            }
            if TYPE_SIBLINGS.contains(&name.as_str()) && !may_be_named(value, claims.token_type) {
                return Err(S::Error::custom(format_args!("`{name}` must not name another type of token")));
            }
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}
