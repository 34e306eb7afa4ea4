//! The conditions on a token in the query of `/verify`.

use adieu::token::{Claims, TokenError};
use adieu_axum::AccessToken;
use percent_encoding::percent_decode_str;
use serde_json::{Number, Value};

use super::Verdicts;
use crate::{
    api::client::is_admin,
    config::ClaimPath,
    error::{ApiError, FieldErrors},
};

/// The conditions on a token, besides being valid.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    admin: bool,
    fresh: bool,
    audience: Option<String>,
    issuer: Option<String>,
    /// All of these.
    claims: Vec<ClaimValue>,
    /// At least one of these, if there are any.
    any_claims: Vec<ClaimValue>,
    /// All of these.
    scopes: Vec<String>,
}

impl Wanted {
    /// Parses a query. Anything unknown is rejected: a check that is not made must not look like one that was.
    pub(super) fn parse(query: &str) -> Result<Self, ApiError> {
        let (mut wanted, mut errors) = (Self::default(), FieldErrors::default());
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, text) = (decoded(name), decoded(value));
            match name.as_str() {
                "admin" | "fresh" if text != "true" => errors.add(name, "Must be true."),
                "admin" => wanted.admin = true,
                "fresh" => wanted.fresh = true,
                "audience" | "issuer" => {
                    let wanted = if name == "audience" { &mut wanted.audience } else { &mut wanted.issuer };
                    if text.is_empty() {
                        errors.add(name, "Shorter than minimum length 1.");
                    } else if wanted.is_some() {
                        errors.add(name, "Duplicate field.");
                    } else {
                        *wanted = Some(text);
                    }
                }
                "claim" | "any_claim" => {
                    let claims = if name == "claim" { &mut wanted.claims } else { &mut wanted.any_claims };
                    match ClaimValue::parse(&text) {
                        Some(claim) => claims.push(claim),
                        None => errors.add(name, "Must be a name and a value with a colon between."),
                    }
                }
                "scope" if text.split(' ').all(is_scope) => {
                    wanted.scopes.extend(text.split(' ').map(str::to_owned));
                }
                "scope" => errors.add(name, "Must be scopes with one space between."),
                _ => errors.add(name, "Unknown field."),
            }
        }
        if errors.is_empty() { Ok(wanted) } else { Err(ApiError::InvalidQuery(errors)) }
    }

    /// Checks that the token meets all conditions.
    pub(super) fn of(&self, token: &AccessToken, verdicts: &Verdicts) -> Result<(), ApiError> {
        if self.audience.as_ref().is_some_and(|audience| !token.audience.contains(audience)) {
            return Err(TokenError::WrongAudience.into());
        }
        if self.issuer.as_ref().is_some_and(|issuer| token.issuer.as_str() != issuer) {
            return Err(TokenError::WrongIssuer.into());
        }
        if self.admin && !is_admin(token, &verdicts.issuer) {
            return Err(ApiError::AdminOnly);
        }
        let has_one = self.any_claims.is_empty() || self.any_claims.iter().any(|claim| claim.is_in(token));
        if !has_one || !self.claims.iter().all(|claim| claim.is_in(token)) {
            return Err(ApiError::ClaimRequired);
        }
        if !self.scopes.iter().all(|scope| has_scope(token, scope)) {
            return Err(ApiError::ScopeRequired(self.scopes.join(" ")));
        }
        if self.fresh {
            token.require_fresh(verdicts.clock.now())?;
        }
        Ok(())
    }
}

fn decoded(text: &str) -> String {
    percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}

/// A claim, and the value that it must have or contain.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ClaimValue {
    path: ClaimPath,
    value: String,
}

impl ClaimValue {
    /// Parses a path, a colon and a value, which is taken as it is.
    fn parse(text: &str) -> Option<Self> {
        let (path, value) = ClaimPath::parse(text)?;
        Some(Self { path, value: value?.to_owned() })
    }

    /// Returns whether the claim has this value, or is a list with this value.
    fn is_in(&self, claims: &Claims) -> bool {
        let mut path = self.path.names().iter();
        let claim = path.next().and_then(|name| claims.custom.get(name));
        match path.try_fold(claim, |value, name| value.map(|value| value.get(name))) {
            Some(Some(Value::Array(values))) => values.iter().any(|value| is(value, &self.value)),
            Some(Some(value)) => is(value, &self.value),
            _ => false,
        }
    }
}

/// Compares the value of a claim with a text: numbers by their value, so that `7` is `7.0`, and booleans in their JSON form.
fn is(value: &Value, wanted: &str) -> bool {
    match value {
        Value::String(text) => text == wanted,
        Value::Bool(flag) => flag.to_string() == wanted,
        Value::Number(number) => wanted.parse().is_ok_and(|wanted: Number| {
            // As whole numbers, if both are: an `f64` has 53 bits.
            *number == wanted || ((number.is_f64() || wanted.is_f64()) && number.as_f64() == wanted.as_f64())
        }),
        _ => false,
    }
}

/// RFC 6749 §3.3: `scope-token`.
fn is_scope(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\')
}

/// Returns whether the token has this scope: in the claim `scope` (RFC 8693 §4.2), or in `scp` if that claim is absent, as some
/// issuers write it. Either may also be a list.
fn has_scope(claims: &Claims, wanted: &str) -> bool {
    match claims.custom.get("scope").or_else(|| claims.custom.get("scp")) {
        Some(Value::String(text)) => text.split(' ').any(|scope| scope == wanted),
        Some(Value::Array(scopes)) => scopes.iter().any(|scope| scope.as_str() == Some(wanted)),
        _ => false,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::*;

    fn claim<const N: usize>(path: [&str; N], value: &str) -> ClaimValue {
        ClaimValue { path: path.into(), value: value.to_owned() }
    }

    #[test]
    fn what_is_wanted_is_read_from_a_query() {
        let wanted = Wanted::parse(
            "admin=true&claim=role:editor&audience=the+shop&issuer=adieu&claim=https%5C://example%5C.com/a%20b:c:d&fresh=true\
             &any_claim=realm_access.roles:support&any_claim=level:7&scope=read+write&scope=a%3Ab",
        );
        assert_eq!(
            wanted.unwrap(),
            Wanted {
                admin: true,
                fresh: true,
                audience: Some("the shop".into()),
                issuer: Some("adieu".into()),
                claims: vec![claim(["role"], "editor"), claim(["https://example.com/a b"], "c:d")],
                any_claims: vec![claim(["realm_access", "roles"], "support"), claim(["level"], "7")],
                scopes: vec!["read".into(), "write".into(), "a:b".into()],
            }
        );
        assert_eq!(Wanted::parse("").unwrap(), Wanted::default());
        // As libraries write what they are given as the value of a parameter.
        let encoded = Wanted::parse("claim=role%3Aeditor&claim=a%2Eb%3Ac%2Ed%5C").unwrap();
        assert_eq!(encoded.claims, [claim(["role"], "editor"), claim(["a", "b"], r"c.d\")]);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for query in [
            "admin",
            "admin=",
            "admin=false",
            "admin=1",
            "Admin=true",
            "fresh=yes",
            "audience=",
            "audience=a&audience=b",
            "issuer=",
            "issuer=a&issuer=b",
            "claim=role",
            "claim=:editor",
            "claim=%3Aeditor",
            "claim=",
            "claim=a..b:c",
            "claim=.a:c",
            "claim=a.:c",
            r"claim=a\b:c",
            r"claim=a\:c",
            r"claim=a\",
            "any_claim=role",
            "claims=a:b",
            "scope=",
            "scope=read++write",
            "scope=+read",
            "scope=%22",
            "scope=%5C",
            "scope=é",
            "x",
            "admin=true/orders/7",
        ] {
            assert!(matches!(Wanted::parse(query), Err(ApiError::InvalidQuery(_))), "{query}");
        }
    }

    fn escaped(name: &str) -> String {
        name.replace('\\', r"\\").replace('.', r"\.").replace(':', r"\:")
    }

    proptest! {
        #[test]
        fn every_path_can_be_written(path in prop::collection::vec("[a.:\\\\é ]{1,5}", 1..5), value in "[a.:\\\\&=% ]{0,9}") {
            let names: Vec<_> = path.iter().map(|name| escaped(name)).collect();
            let text = format!("{}:{value}", names.join("."));
            let expected = ClaimValue::parse(&text).unwrap();
            prop_assert_eq!((expected.path.names(), &expected.value), (&path[..], &value));
            let query: String = form_urlencoded::byte_serialize(text.as_bytes()).collect();
            prop_assert_eq!(Wanted::parse(&format!("claim={query}")).unwrap().claims, [expected]);
        }

        #[test]
        fn a_text_is_refused_or_read_back(text in "[a.:\\\\]{0,12}") {
            if let Some(ClaimValue { path, value }) = ClaimValue::parse(&text) {
                prop_assert!(path.names().iter().all(|name| !name.is_empty()));
                let names: Vec<_> = path.names().iter().map(|name| escaped(name)).collect();
                prop_assert_eq!(format!("{}:{value}", names.join(".")), text);
            }
        }

        #[test]
        fn any_query_is_refused_or_read(query in "([a-z_]{0,9}=?[ -~é%]{0,20}&?){0,4}") {
            // A query with a condition must not be read as one without.
            if let Ok(wanted) = Wanted::parse(&query) {
                prop_assert_eq!(wanted == Wanted::default(), query.chars().all(|character| character == '&'));
            }
        }
    }

    #[test]
    fn the_longest_head_is_read_in_no_time() {
        let started = Instant::now();
        for (start, text) in [
            ("", "&"),
            ("", "claim=a:b&"),
            ("claim=", "a."),
            ("claim=", r"\\"),
            ("scope=", "a+"),
            ("", "x="),
            ("", "%41"),
        ] {
            let _wanted = Wanted::parse(&format!("{start}{}", text.repeat((144 << 10) / text.len())));
        }
        // A quadratic one would take minutes.
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    }
}
