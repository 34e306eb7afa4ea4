//! Signed messages (JWS) that are no access or refresh tokens, such as logout tokens and security event tokens.

use serde_json::{Map, Value};

use super::{
    DEFAULT_MAX_TOKEN_BYTES, KeySet, TokenError, base64url,
    decode::{NOT_BASE64URL, NOT_THREE_PARTS, check, with_signature},
    json::unambiguous_json,
    key::header::Header,
};

/// A message whose signature has been verified. Its claims have not been checked.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct SignedMessage {
    /// The `typ` of the header, if it has one. A verifier accepts only the types that it expects (RFC 8725 §3.11).
    pub typ: Option<String>,
    /// The claims. No object has a duplicate member, at any depth.
    pub claims: Map<String, Value>,
}

impl KeySet {
    /// Verifies the signature of a message in the JWS compact serialisation, with the one algorithm of the key that the
    /// header selects. Header and encoding are checked as strictly as those of a token.
    ///
    /// Use a [`Decoder`](super::Decoder) for access and refresh tokens, whose claims it checks too.
    ///
    /// # Errors
    /// Returns the first rule that the message breaks. [`TokenError::Stale`] means that the keys are not known yet.
    pub fn verify_message(&self, message: &str) -> Result<SignedMessage, TokenError> {
        if message.len() > DEFAULT_MAX_TOKEN_BYTES {
            return Err(TokenError::TooLong);
        }
        let (signing_input, signature) = message.rsplit_once('.').ok_or(NOT_THREE_PARTS)?;
        let (header, claims) = signing_input.split_once('.').ok_or(NOT_THREE_PARTS)?;
        // A surplus dot ends up in this part, where it is invalid base64url.
        let claims = base64url::decode(claims).map_err(|_| NOT_BASE64URL)?;
        let header = base64url::decode(header).map_err(|_| NOT_BASE64URL)?;
        let header = Header::parse(&header)?;
        let candidates = self.candidates(&header)?;
        with_signature(signature, |signature| {
            candidates.try_each(|key| check(key, signing_input, signature)).map(drop)
        })?;
        match unambiguous_json(&claims) {
            Ok(Value::Object(claims)) => Ok(SignedMessage { typ: header.typ.map(Into::into), claims }),
            _ => Err(TokenError::Malformed("the claims are not a JSON object, or a name appears twice")),
        }
    }
}
