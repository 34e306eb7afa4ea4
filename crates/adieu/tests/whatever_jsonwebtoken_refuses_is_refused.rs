//! Almost valid tokens, compared with `jsonwebtoken` at its strictest settings.
//!
//! This crate rejects everything that `jsonwebtoken` rejects. If only this crate rejects a token, the reason is one of its documented
//! rules, never the signature. If both accept it, the claims are equal. `PROPTEST_CASES=1000000` makes a long run of it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/forge.rs"]
mod forge;

use adieu::{
    Issuer,
    time::{Clock, SystemClock},
    token::{Algorithm, Claims, Decoder, Expiry, KeySet, Rules, TokenError, VerifyingKey},
};
use forge::{SECRET, base64url, forge, sign};
use jsonwebtoken::{DecodingKey, Validation};
use proptest::{collection::vec, prelude::*, sample::select};
use serde_json::{Map, Value};

type Members = Vec<(String, String)>;

fn header() -> Members {
    members(&[("alg", r#""HS256""#), ("typ", r#""at+jwt""#)])
}

fn claims() -> Members {
    let now = SystemClock.now().as_unix();
    let (past, future) = ((now - 100).to_string(), (now + 1000).to_string());
    members(&[
        ("iss", r#""us""#),
        ("sub", r#""jose""#),
        ("exp", &future),
        ("nbf", &past),
        ("iat", &past),
        ("jti", r#""1""#),
        ("sid", r#""s""#),
        ("type", r#""access""#),
        ("fresh", "true"),
        ("is_admin", "false"),
    ])
}

fn members(members: &[(&str, &str)]) -> Members {
    members.iter().map(|(name, value)| (format!("\"{name}\""), (*value).to_owned())).collect()
}

fn object(members: &Members) -> String {
    let members: Vec<String> = members.iter().map(|(name, value)| format!("{name}:{value}")).collect();
    format!("{{{}}}", members.join(","))
}

/// One change to an object: in an existing member, or an additional member.
#[derive(Debug, Clone)]
enum Change {
    Replace(usize, String),
    Remove(usize),
    Rename(usize, String),
    Add(usize, String, String),
    Swap(usize, usize),
}

impl Change {
    fn apply(self, members: &mut Members) {
        let length = members.len();
        match self {
            Self::Add(at, name, value) => members.insert(at % (length + 1), (name, value)),
            _ if length == 0 => {}
            Self::Replace(at, value) => members[at % length].1 = value,
            Self::Remove(at) => drop(members.remove(at % length)),
            Self::Rename(at, name) => members[at % length].0 = name,
            Self::Swap(a, b) => members.swap(a % length, b % length),
        }
    }
}

fn names() -> impl Strategy<Value = String> {
    static KNOWN: &[&str] = &[
        "alg",
        "typ",
        "kid",
        "crit",
        "b64",
        "jwk",
        "jku",
        "x5u",
        "x5c",
        "x5t",
        "x5t#S256",
        "enc",
        "zip",
        "cty",
        "url",
        "nonce",
        "iss",
        "sub",
        "aud",
        "exp",
        "nbf",
        "iat",
        "jti",
        "sid",
        "type",
        "fresh",
        "is_admin",
        "other",
        "",
        r"\u0061lg",
        r"\u0065xp",
        r"s\u0075b",
        r"\ud800",
    ];
    prop_oneof![
        9 => select(KNOWN).prop_map(|name| format!("\"{name}\"")),
        1 => select(&["alg", "'alg'", "1", "null", "\"", ""][..]).prop_map(str::to_owned),
    ]
}

fn values() -> impl Strategy<Value = String> {
    let now = SystemClock.now().as_unix();
    // Not so close to the present that the two could disagree about the time.
    let around_now = prop_oneof![Just(-1_000_i64), Just(-60), Just(60), Just(1_000)]
        .prop_map(move |offset| now.saturating_add_signed(offset).to_string());
    static FIXED: &[&str] = &[
        "null",
        "true",
        "false",
        "0",
        "-0",
        "1",
        "-1",
        "1.5",
        "1e3",
        "1e20",
        "1e400",
        "-1e400",
        "18446744073709551615",
        "18446744073709551616",
        "253402300799",
        "253402300800",
        "253402300799.5",
        "01",
        "+1",
        ".5",
        "NaN",
        "[]",
        "{}",
        "[1]",
        r#"["us"]"#,
        r#"["exp"]"#,
        r#"["MII"]"#,
        r#"[["us"]]"#,
        r#"{"a":1,"a":2}"#,
        r#"{"kty":"oct","k":"AA"}"#,
        r#""""#,
        r#""us""#,
        r#""\u0075s""#,
        r#""US""#,
        r#""HS256""#,
        r#""hs256""#,
        r#""HS384""#,
        r#""none""#,
        r#""EdDSA""#,
        r#""Ed25519""#,
        r#""at+jwt""#,
        r#""rt+jwt""#,
        r#""JWT""#,
        r#""access""#,
        r#""refresh""#,
        r#""\ud83d\ude00""#,
        r#""\ud800""#,
        r#""\x""#,
        "\"\u{1}\"",
        "\"",
        "'us'",
        "",
        "[",
        "{",
        "1 2",
        " 1 ",
        "\t\n1\r\n",
    ];
    prop_oneof![
        6 => select(FIXED).prop_map(str::to_owned),
        2 => around_now.clone(),
        1 => around_now.prop_map(|seconds| format!("{seconds}.25")),
        1 => any::<String>().prop_map(|text| Value::String(text).to_string()),
        1 => any::<f64>().prop_map(|number| number.to_string()),
        1 => (1..600_usize).prop_map(|depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth))),
        1 => (1..600_usize).prop_map(|length| format!("\"{}\"", "x".repeat(length))),
    ]
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let index = 0..64_usize;
    let change = prop_oneof![
        3 => (index.clone(), values()).prop_map(|(at, value)| Change::Replace(at, value)),
        1 => index.clone().prop_map(Change::Remove),
        1 => (index.clone(), names()).prop_map(|(at, name)| Change::Rename(at, name)),
        3 => (index.clone(), names(), values()).prop_map(|(at, name, value)| Change::Add(at, name, value)),
        1 => (index.clone(), index).prop_map(|(a, b)| Change::Swap(a, b)),
    ];
    vec(change, 0..4)
}

/// A token whose header and claims were changed before it was signed.
fn signed() -> impl Strategy<Value = String> {
    let whole = prop_oneof![
        20 => Just(None),
        1 => select(&["", "null", "[]", "1", "\"\"", "{}", "{} {}", "\u{FEFF}{}"][..]).prop_map(Some),
    ];
    (changes(), changes(), whole).prop_map(|(header_changes, claims_changes, whole)| {
        let (mut header, mut claims) = (header(), claims());
        header_changes.into_iter().for_each(|change| change.apply(&mut header));
        claims_changes.into_iter().for_each(|change| change.apply(&mut claims));
        forge(&object(&header), whole.unwrap_or(&object(&claims)))
    })
}

/// A token of which bytes were changed, cut or added before or after it was signed.
fn damaged() -> impl Strategy<Value = String> {
    let edit = (any::<prop::sample::Index>(), 0..5_u8, any::<char>(), select(&b"AZaz09-_=+/. \n"[..]));
    (vec(edit, 1..4), any::<bool>()).prop_map(|(edits, before_signing)| {
        let good = forge(&object(&header()), &object(&claims()));
        let text = if before_signing { good.rsplit_once('.').unwrap().0 } else { &good };
        let mut characters: Vec<char> = text.chars().collect();
        for (at, kind, any, likely) in edits {
            let at = at.index(characters.len().max(1));
            match kind {
                _ if characters.is_empty() => {}
                0 => drop(characters.remove(at)),
                1 => characters.insert(at, char::from(likely)),
                2 => characters.truncate(at),
                3 => characters[at] = any,
                _ => characters[at] = char::from(likely),
            }
        }
        let text: String = characters.into_iter().collect();
        if before_signing { sign(&text) } else { text }
    })
}

/// A token whose claims are any bytes at all.
fn noise() -> impl Strategy<Value = String> {
    (any::<Vec<u8>>(), any::<Vec<u8>>(), any::<bool>()).prop_map(|(header_bytes, claims_bytes, good_header)| {
        let header = if good_header { object(&header()).into_bytes() } else { header_bytes };
        sign(&format!("{}.{}", base64url(&header), base64url(&claims_bytes)))
    })
}

fn theirs(token: &str) -> Result<Map<String, Value>, jsonwebtoken::errors::Error> {
    let mut validation = Validation::new(jsonwebtoken::Algorithm::HS256);
    validation.leeway = 0;
    validation.validate_nbf = true;
    validation.set_issuer(&["us"]);
    validation.set_required_spec_claims(&["exp", "iss", "sub"]);
    jsonwebtoken::decode(token, &DecodingKey::from_secret(SECRET), &validation).map(|data| data.claims)
}

fn ours(token: &str) -> Result<Claims, TokenError> {
    let key = VerifyingKey::from_secret(Algorithm::HS256, SECRET).unwrap();
    let rules = Rules::new(Issuer::new("us").unwrap()).with_skew(std::time::Duration::ZERO).unwrap();
    let decoder = Decoder::new(rules, KeySet::new([key]).unwrap());
    let now = SystemClock.now();
    let result = decoder.decode(token, now);
    match decoder.decode_ignoring_expiry(token, now) {
        Ok((_, Expiry::Expired)) => assert_eq!(result, Err(TokenError::Expired)),
        Ok((_, Expiry::NotYetValid)) => assert_eq!(result, Err(TokenError::NotYetValid)),
        Ok((claims, Expiry::Live)) => assert_eq!(result.as_ref(), Ok(&claims)),
        Err(refusal) => assert_eq!(result, Err(refusal)),
    }
    result
}

/// Returns the rule that only this crate has, if that is why it rejects what `jsonwebtoken` accepts.
fn rule_of_ours(refusal: &TokenError) -> Option<&'static str> {
    match refusal {
        TokenError::Malformed("a name appears twice") => Some("names are unique, those of others too"),
        TokenError::Malformed("the header brings its own key") => Some("a token does not bring its key"),
        TokenError::Malformed("the header is that of an encrypted token") => {
            Some("an encrypted token is another thing")
        }
        TokenError::Malformed("a header parameter has the wrong type") => Some("null is not the same as nothing"),
        TokenError::UnsupportedCritical => Some("no extension is understood"),
        TokenError::UnknownKey => Some("a key that is named is a key that is known"),
        TokenError::UnknownType => Some("the header says what kind of token it is"),
        TokenError::MissingClaim("jti") => Some("a token has a name, to be revoked by"),
        TokenError::InvalidClaim("iss") => Some("there is one issuer, not a list"),
        TokenError::InvalidClaim("aud") => Some("an audience is a text or a list of texts"),
        TokenError::InvalidClaim("sub" | "jti" | "sid") => Some("an id is a text between 1 and 512 bytes"),
        TokenError::InvalidClaim("type" | "token_type" | "token_use" | "typ") => {
            Some("a claim names no other type than the header")
        }
        TokenError::InvalidClaim("fresh") => Some("fresh is yes, no, or until when"),
        TokenError::InvalidClaim("exp" | "nbf" | "iat") => Some("a date is a number between 1970 and 9999"),
        TokenError::NotYetValid => Some("a token is not from the future"),
        _ => None,
    }
}

fn compare(token: &str) -> Result<(), TestCaseError> {
    match (theirs(token), ours(token)) {
        (Err(_), Err(_)) => Ok(()),
        (Err(error), Ok(claims)) => {
            Err(TestCaseError::fail(format!("{token}\nis refused by jsonwebtoken ({error}), but not here: {claims:?}")))
        }
        // "On or after" `exp` is too late (RFC 7519 §4.1.4); `jsonwebtoken` accepts that second. The clock may have advanced between the
        // two checks.
        (Ok(theirs), Err(TokenError::Expired)) => {
            let expired_at = theirs["exp"].as_f64().unwrap().floor() as u64;
            let now = SystemClock.now().as_unix();
            prop_assert!((expired_at..=expired_at + 1).contains(&now), "{token}\nexpired before {now} for us alone");
            Ok(())
        }
        (Ok(_), Err(refusal)) => {
            prop_assert!(rule_of_ours(&refusal).is_some(), "{token}\nis refused without a rule: {refusal:?}");
            Ok(())
        }
        (Ok(theirs), Ok(ours)) => {
            prop_assert_eq!(theirs["sub"].as_str(), Some(ours.subject.as_str()));
            prop_assert_eq!(theirs["jti"].as_str(), Some(ours.token_id.as_str()));
            prop_assert_eq!(theirs.get("sid").and_then(Value::as_str), ours.session.as_ref().map(|id| id.as_str()));
            prop_assert_eq!(theirs["exp"].as_f64().unwrap().floor() as u64, ours.expires_at.as_unix());
            for (name, value) in &ours.custom {
                prop_assert_eq!(theirs.get(name), Some(value));
            }
            Ok(())
        }
    }
}

fn config() -> ProptestConfig {
    let mut config = ProptestConfig::default();
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = 4_000;
    }
    config.failure_persistence = None;
    config
}

#[test]
fn the_second_of_its_expiry_is_the_only_one_in_which_they_differ() {
    for offset in [-2, -1, 0, 1] {
        let now = SystemClock.now().as_unix();
        let mut claims = claims();
        claims[2].1 = now.saturating_add_signed(offset).to_string();
        compare(&forge(&object(&header()), &object(&claims))).unwrap();
    }
}

#[test]
fn the_unchanged_token_is_accepted_by_both() {
    let token = forge(&object(&header()), &object(&claims()));
    assert!(theirs(&token).is_ok());
    assert!(ours(&token).is_ok());
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn tokens_that_were_changed_before_they_were_signed(token in signed()) {
        compare(&token)?;
    }

    #[test]
    fn tokens_that_were_damaged(token in damaged()) {
        compare(&token)?;
    }

    #[test]
    fn tokens_of_noise(token in noise()) {
        compare(&token)?;
    }
}
