//! The rules for rejection, one line for each rule and its error.
//!
//! Every token here is signed with the right key, unless the line is about the signature.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/forge.rs"]
mod forge;

use std::time::Duration;

use adieu::{
    Issuer, Subject,
    time::Timestamp,
    token::{
        Algorithm, Claims, DEFAULT_MAX_TOKEN_BYTES, Decoder, Expiry, Fresh, KeyId, KeySet, MAX_KEYS_TRIED,
        ParsedClaims, Rules, Scratch, SigningKey, TokenError, TokenType, VerifyingKey, encode,
    },
};
use forge::{SECRET, base64url, forge, sign};

const NOW: Timestamp = Timestamp::from_unix(1_000);
const HEADER: &str = r#"{"alg":"HS256","typ":"at+jwt"}"#;
const CLAIMS: &str =
    r#"{"iss":"us","sub":"jose","exp":2000,"jti":"1","iat":1000,"nbf":1000,"type":"access","fresh":true,"sid":"s"}"#;

/// To the second.
fn rules() -> Rules {
    Rules::new(Issuer::new("us").unwrap()).with_skew(Duration::ZERO).unwrap()
}

fn key() -> VerifyingKey {
    VerifyingKey::from_secret(Algorithm::HS256, SECRET).unwrap()
}

fn decoder(rules: Rules) -> Decoder {
    Decoder::new(rules, KeySet::new([key()]).unwrap())
}

/// Decodes in every way there is, and checks that they agree.
fn decode_with(decoder: &Decoder, token: &str) -> Result<Claims, TokenError> {
    let result = decoder.decode(token, NOW);
    let borrowed = decoder.decode_in(token, NOW, &mut Scratch::default()).and_then(ParsedClaims::into_claims);
    assert_eq!(result, borrowed);
    match decoder.decode_ignoring_expiry(token, NOW) {
        Ok((_, Expiry::Expired)) => assert_eq!(result, Err(TokenError::Expired)),
        Ok((_, Expiry::NotYetValid)) => assert_eq!(result, Err(TokenError::NotYetValid)),
        Ok((claims, Expiry::Live)) => assert_eq!(result, Ok(claims)),
        Err(refusal) => assert_eq!(result, Err(refusal)),
    }
    result
}

fn decode(token: &str) -> Result<Claims, TokenError> {
    decode_with(&decoder(rules()), token)
}

/// Returns the valid claims with one part of their text replaced.
fn claims_with(from: &str, to: &str) -> String {
    assert!(CLAIMS.contains(from), "{from} is not in {CLAIMS}");
    forge(HEADER, &CLAIMS.replacen(from, to, 1))
}

#[test]
fn an_integer_subject_is_a_whole_number() {
    let decoder = decoder(rules().accept_integer_subject());
    for (sub, subject) in [
        ("7", Some("7")),
        ("7.0", Some("7")),
        ("7.5", None),
        // Next to a whole number.
        ("0.99999999999999994", None),
        ("1.0000000000000002", None),
        ("9007199254740991.4", Some("9007199254740991")),
    ] {
        let token = forge(HEADER, &CLAIMS.replacen(r#""jose""#, sub, 1));
        let decoded = decode_with(&decoder, &token).map(|claims| claims.subject.as_str().to_owned());
        assert_eq!(decoded.ok().as_deref(), subject, "{sub}");
    }
}

#[test]
fn a_good_token_is_accepted() {
    let claims = decode(&forge(HEADER, CLAIMS)).unwrap();
    assert_eq!(claims.subject.as_str(), "jose");
    assert_eq!(claims.token_id.as_str(), "1");
    assert_eq!(claims.session.unwrap().as_str(), "s");
    assert_eq!(claims.expires_at, Timestamp::from_unix(2000));
    assert_eq!(claims.issued_at, Some(NOW));
    assert_eq!(claims.token_type, TokenType::Access);
    assert_eq!(claims.fresh, Fresh::Yes);
    assert!(claims.custom.is_empty());
}

#[test]
fn the_compact_serialisation_has_one_spelling() {
    // One more space, where it is needed for a length with unused bits at the end.
    let good = forge(HEADER, &format!("{CLAIMS}{}", if CLAIMS.len().is_multiple_of(3) { " " } else { "" }));
    assert!(decode(&good).is_ok());
    let (signing_input, signature) = good.rsplit_once('.').unwrap();
    let (header, claims) = signing_input.split_once('.').unwrap();
    for (what, token) in [
        ("no dot", "abc".to_owned()),
        ("one dot", signing_input.to_owned()),
        ("three dots", format!("{good}.")),
        ("five parts", format!("{good}.a.b")),
        ("padding", format!("{header}=.{claims}.{signature}")),
        ("padding that is signed", sign(&format!("{header}==.{claims}"))),
        ("standard base64", sign(&format!("{header}.{}", base64url(b"\xFB\xFF").replace('-', "+")))),
        ("a bit that says nothing", sign(&format!("{header}.{}", other_spelling(claims)))),
        ("a bit that says nothing in the signature", format!("{signing_input}.{}", other_spelling(signature))),
        ("white space", format!(" {good}")),
        ("a line break", format!("{good}\n")),
        ("a line break inside", sign(&format!("{header}.{claims}\n"))),
        ("not ASCII", format!("{good}é")),
        ("a nul", format!("{good}\0")),
    ] {
        let refusal = decode(&token).unwrap_err();
        let reasons = ["there are not three parts", "a part is not canonical base64url"];
        let malformed = reasons.map(TokenError::Malformed);
        assert!(malformed.contains(&refusal), "{what}: {refusal:?}");
    }
    assert_eq!(decode(""), Err(TokenError::Missing));
}

/// Returns a text with the same bytes for a decoder that ignores the unused bits at the end.
fn other_spelling(text: &str) -> String {
    assert!(!text.len().is_multiple_of(4), "no bits are left over");
    const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (rest, last) = text.split_at(text.len() - 1);
    let next = ALPHABET.find(last).unwrap() + 1;
    format!("{rest}{}", &ALPHABET[next..=next])
}

#[test]
fn a_signature_has_the_length_of_its_algorithm() {
    let good = forge(HEADER, CLAIMS);
    let (signing_input, signature) = good.rsplit_once('.').unwrap();
    for signature in ["", &signature[..40], &format!("{signature}AAAA"), &"A".repeat(2000)] {
        assert_eq!(decode(&format!("{signing_input}.{signature}")), Err(TokenError::BadSignature));
    }
}

#[test]
fn the_header_chooses_a_key_and_nothing_else() {
    let malformed = |_| TokenError::Malformed("");
    let unsupported = |_| TokenError::UnsupportedCritical;
    let mismatch = |_| TokenError::AlgorithmMismatch;
    type Kind = fn(()) -> TokenError;
    for (header, kind) in [
        (r#"{"alg":"none","typ":"at+jwt"}"#, mismatch as Kind),
        (r#"{"alg":"None","typ":"at+jwt"}"#, mismatch),
        (r#"{"alg":"","typ":"at+jwt"}"#, mismatch),
        (r#"{"alg":"hs256","typ":"at+jwt"}"#, mismatch),
        (r#"{"alg":"HS384","typ":"at+jwt"}"#, mismatch),
        (r#"{"alg":"RS256","typ":"at+jwt"}"#, mismatch),
        (r#"{"typ":"at+jwt"}"#, malformed as Kind),
        (r#"{"alg":null,"typ":"at+jwt"}"#, malformed),
        (r#"{"alg":["HS256"],"typ":"at+jwt"}"#, malformed),
        (r#"{"alg":"HS256","typ":1}"#, malformed),
        (r#"{"alg":"HS256","alg":"HS256","typ":"at+jwt"}"#, malformed),
        (r#"{"alg":"HS256","\u0061lg":"HS256","typ":"at+jwt"}"#, malformed),
        (r#"{"alg":"HS256","typ":"at+jwt","x":1,"x":1}"#, malformed),
        (r#"{"alg":"HS256","typ":"at+jwt","x":1,"\u0078":1}"#, malformed),
        (r#"{"alg":"HS256","typ":"at+jwt","kid":7}"#, malformed),
        (r#"{"alg":"HS256","typ":"at+jwt","kid":"theirs"}"#, |_| TokenError::UnknownKey),
        (r#"{"alg":"HS256","typ":"at+jwt","kid":"../../etc/passwd"}"#, |_| TokenError::UnknownKey),
        (r#"{"alg":"HS256","typ":"at+jwt","crit":[]}"#, unsupported as Kind),
        (r#"{"alg":"HS256","typ":"at+jwt","crit":["exp"],"exp":1}"#, unsupported),
        (r#"{"alg":"HS256","typ":"at+jwt","b64":true}"#, unsupported),
        (r#"{"alg":"HS256","typ":"at+jwt","jwk":{"kty":"oct","k":"AA"}}"#, malformed),
        (r#"{"alg":"HS256","typ":"at+jwt","enc":"A128GCM"}"#, malformed),
        (r#"{"alg":"HS256","typ":"at+jwt","zip":"DEF"}"#, malformed),
        (r#"{"alg":"HS256","typ":"at+jwt","x5c":"MII"}"#, malformed),
        (r#"{"alg":"HS256","typ":"at+jwt","jku":1}"#, malformed),
        (r#"{"alg":"HS256","typ":"at+jwt"} "x""#, malformed),
        (r#"["HS256"]"#, malformed),
        ("", malformed),
        ("{", malformed),
        ("\u{FEFF}{\"alg\":\"HS256\",\"typ\":\"at+jwt\"}", malformed),
    ] {
        let refusal = decode(&forge(header, CLAIMS)).unwrap_err();
        let same_kind = std::mem::discriminant(&refusal) == std::mem::discriminant(&kind(()));
        assert!(same_kind, "{header}: {refusal:?}");
    }

    let long_key_id = format!(r#"{{"alg":"HS256","typ":"at+jwt","kid":"{}"}}"#, "k".repeat(257));
    assert_eq!(decode(&forge(&long_key_id, CLAIMS)), Err(TokenError::UnknownKey));
    let elsewhere = r#"{"typ":"at+jwt","jku":"https://evil.example/jwks","x5c":["MII"],"alg":"HS256"}"#;
    assert!(decode(&forge(elsewhere, CLAIMS)).is_ok(), "where to find a key is not followed");
}

#[test]
fn claims_are_there_and_have_their_type() {
    for (from, to, refusal) in [
        (r#""iss":"us","#, "", TokenError::MissingClaim("iss")),
        (r#""sub":"jose","#, "", TokenError::MissingClaim("sub")),
        (r#""exp":2000,"#, "", TokenError::MissingClaim("exp")),
        (r#""jti":"1","#, "", TokenError::MissingClaim("jti")),
        (r#""us""#, r#""them""#, TokenError::WrongIssuer),
        (r#""us""#, r#""US""#, TokenError::WrongIssuer),
        (r#""us""#, r#"["us"]"#, TokenError::InvalidClaim("iss")),
        (r#""us""#, "null", TokenError::InvalidClaim("iss")),
        (r#""jose""#, "1", TokenError::InvalidClaim("sub")),
        (r#""jose""#, r#""""#, TokenError::InvalidClaim("sub")),
        (r#""jti":"1""#, r#""jti":1"#, TokenError::InvalidClaim("jti")),
        (r#""jti":"1""#, r#""jti":"""#, TokenError::InvalidClaim("jti")),
        (r#""sid":"s""#, r#""sid":{}"#, TokenError::InvalidClaim("sid")),
        ("2000", r#""2000""#, TokenError::InvalidClaim("exp")),
        ("2000", "-2000", TokenError::InvalidClaim("exp")),
        ("2000", "-0.5", TokenError::InvalidClaim("exp")),
        ("2000", "null", TokenError::InvalidClaim("exp")),
        ("2000", "true", TokenError::InvalidClaim("exp")),
        ("2000", "253402300800", TokenError::InvalidClaim("exp")),
        ("2000", "1e300", TokenError::InvalidClaim("exp")),
        ("2000", "18446744073709551616", TokenError::InvalidClaim("exp")),
        (r#""nbf":1000"#, r#""nbf":"now""#, TokenError::InvalidClaim("nbf")),
        (r#""iat":1000"#, r#""iat":[]"#, TokenError::InvalidClaim("iat")),
        (r#""access""#, r#""admin""#, TokenError::InvalidClaim("type")),
        (r#""access""#, r#""refresh""#, TokenError::InvalidClaim("type")),
        (r#""access""#, "1", TokenError::InvalidClaim("type")),
        (r#""fresh":true"#, r#""fresh":"yes""#, TokenError::InvalidClaim("fresh")),
        (r#""fresh":true"#, r#""fresh":null"#, TokenError::InvalidClaim("fresh")),
        ("2000", "1e400", TokenError::Malformed("the claims are not a JSON object")),
        (r#""jose""#, r#""\ud800""#, TokenError::Malformed("the claims are not a JSON object")),
        (r#""sid":"s""#, r#""x":"\ud800""#, TokenError::Malformed("the claims are not a JSON object")),
        (r#""sid":"s""#, r#""x":1e400"#, TokenError::Malformed("the claims are not a JSON object")),
        (r#""sid":"s""#, r#""sub":"eve""#, TokenError::Malformed("a name appears twice")),
        (r#""sid":"s""#, r#""s\u0075b":"eve""#, TokenError::Malformed("a name appears twice")),
        (r#""sid":"s""#, r#""admin":0,"admin":1"#, TokenError::Malformed("a name appears twice")),
        (r#""sid":"s""#, r#""admin":0,"\u0061dmin":1"#, TokenError::Malformed("a name appears twice")),
        (r#""s"}"#, r#""s"}}"#, TokenError::Malformed("the claims are not a JSON object")),
        (r#""s"}"#, r#""s",}"#, TokenError::Malformed("the claims are not a JSON object")),
    ] {
        assert_eq!(decode(&claims_with(from, to)), Err(refusal), "{from} -> {to}");
    }
    let long_id = claims_with(r#""jose""#, &format!(r#""{}""#, "j".repeat(513)));
    assert_eq!(decode(&long_id), Err(TokenError::InvalidClaim("sub")));
    let deep = claims_with(r#""sid":"s""#, &format!(r#""x":{}{}"#, "[".repeat(1000), "]".repeat(1000)));
    assert_eq!(decode(&deep), Err(TokenError::Malformed("the claims are not a JSON object")));
    let many: String = (0..200).map(|number| format!(r#""{number}":0,"#)).collect();
    assert_eq!(
        decode(&claims_with(r#""sid""#, &format!(r#"{many}"sid""#))),
        Err(TokenError::Malformed("there are too many members"))
    );
}

#[test]
fn time_is_to_the_second_and_a_fraction_never_lengthens_a_life() {
    for (from, to, expected) in [
        ("2000", "1001", None),
        ("2000", "1000", Some(TokenError::Expired)),
        ("2000", "1000.9", Some(TokenError::Expired)),
        ("2000", "1001.0", None),
        ("2000", "1.001e3", None),
        (r#""nbf":1000"#, r#""nbf":1001"#, Some(TokenError::NotYetValid)),
        // It may have passed: the time that it is compared with has no fraction.
        (r#""nbf":1000"#, r#""nbf":1000.9"#, None),
        (r#""nbf":1000"#, r#""nbf":1001.1"#, Some(TokenError::NotYetValid)),
        (r#""iat":1000"#, r#""iat":1000.9"#, None),
        (r#""iat":1000"#, r#""iat":1001"#, Some(TokenError::NotYetValid)),
        (r#""iat":1000"#, r#""iat":9999999999"#, Some(TokenError::NotYetValid)),
    ] {
        assert_eq!(decode(&claims_with(from, to)).err(), expected, "{from} -> {to}");
    }

    let lenient = decoder(rules().with_leeway(Duration::from_secs(10)).unwrap());
    for (from, to, expected) in [
        ("2000", "991", None),
        ("2000", "990", Some(TokenError::Expired)),
        (r#""nbf":1000"#, r#""nbf":1010"#, None),
        (r#""nbf":1000"#, r#""nbf":1011"#, Some(TokenError::NotYetValid)),
        (r#""iat":1000"#, r#""iat":1010"#, None),
        (r#""iat":1000"#, r#""iat":1011"#, Some(TokenError::NotYetValid)),
    ] {
        assert_eq!(decode_with(&lenient, &claims_with(from, to)).err(), expected, "{from} -> {to} with leeway");
    }
    assert!(rules().with_leeway(Duration::from_secs(61)).is_err());
}

#[test]
fn the_clock_of_an_issuer_may_be_a_few_seconds_ahead() {
    let usual = decoder(Rules::new(Issuer::new("us").unwrap()));
    for (from, to, expected) in [
        (r#""nbf":1000"#, r#""nbf":1003.9"#, None),
        (r#""nbf":1000"#, r#""nbf":1004"#, Some(TokenError::NotYetValid)),
        (r#""iat":1000"#, r#""iat":1003"#, None),
        (r#""iat":1000"#, r#""iat":1004"#, Some(TokenError::NotYetValid)),
        ("2000", "1000", Some(TokenError::Expired)),
    ] {
        assert_eq!(decode_with(&usual, &claims_with(from, to)).err(), expected, "{from} -> {to}");
    }
    assert_eq!(TokenError::NotYetValid.code(), "token_not_yet_valid", "nothing is wrong with its signature");
    assert!(rules().with_skew(Duration::from_secs(61)).is_err());
}

#[test]
fn what_is_wrong_for_ever_is_told_before_what_is_wrong_for_now() {
    let expired_and_foreign = forge(HEADER, &CLAIMS.replace("2000", "1").replace(r#""us""#, r#""them""#));
    assert_eq!(decode(&expired_and_foreign), Err(TokenError::WrongIssuer));
    let token = claims_with("2000", "1");
    let forged = format!("{}A", &token[..token.len() - 1]);
    assert_eq!(decode(&forged), Err(TokenError::BadSignature));
}

#[test]
fn the_audience_is_ours() {
    let with_audience = |aud: &str| claims_with(r#""sid":"s""#, &format!(r#""aud":{aud}"#));
    let ours = decoder(rules().with_audience("api").with_audience("admin"));

    assert_eq!(decode_with(&ours, &forge(HEADER, CLAIMS)), Err(TokenError::MissingClaim("aud")));
    for aud in [r#""api""#, r#"["api"]"#, r#"["x","admin"]"#] {
        assert!(decode_with(&ours, &with_audience(aud)).is_ok(), "{aud}");
        assert_eq!(decode(&with_audience(aud)), Err(TokenError::WrongAudience), "{aud} while no audience is set");
    }
    for aud in [r#""API""#, r#""""#, "[]", r#"["x"]"#] {
        assert_eq!(decode_with(&ours, &with_audience(aud)), Err(TokenError::WrongAudience), "{aud}");
    }
    for aud in ["null", "1", "{}", r#"["api",1]"#, r#"[["api"]]"#] {
        assert_eq!(decode_with(&ours, &with_audience(aud)), Err(TokenError::InvalidClaim("aud")), "{aud}");
    }
}

#[test]
fn each_kind_of_token_says_what_it_is() {
    let of_type = |typ: &str, claim: &str| {
        forge(&format!(r#"{{"alg":"HS256"{typ}}}"#), &CLAIMS.replace(r#","type":"access""#, claim))
    };
    const ACCESS: &str = r#","type":"access""#;
    const REFRESH: &str = r#","type":"refresh""#;
    let strict = decoder(rules());
    let generic = decoder(rules().accept_generic_type());
    for (typ, claim, in_strict, in_generic) in [
        (r#","typ":"at+jwt""#, ACCESS, Ok(TokenType::Access), Ok(TokenType::Access)),
        (r#","typ":"AT+JWT""#, ACCESS, Ok(TokenType::Access), Ok(TokenType::Access)),
        (r#","typ":"application/at+jwt""#, "", Ok(TokenType::Access), Ok(TokenType::Access)),
        (r#","typ":"rt+jwt""#, REFRESH, Ok(TokenType::Refresh), Ok(TokenType::Refresh)),
        (r#","typ":"rt+jwt""#, ACCESS, Err(TokenError::InvalidClaim("type")), Err(TokenError::InvalidClaim("type"))),
        (r#","typ":"at+jwt""#, REFRESH, Err(TokenError::InvalidClaim("type")), Err(TokenError::InvalidClaim("type"))),
        (r#","typ":"JWT""#, ACCESS, Err(TokenError::UnknownType), Ok(TokenType::Access)),
        (r#","typ":"JWT""#, REFRESH, Err(TokenError::UnknownType), Ok(TokenType::Refresh)),
        (r#","typ":"JWT""#, "", Err(TokenError::UnknownType), Err(TokenError::MissingClaim("type"))),
        ("", ACCESS, Err(TokenError::UnknownType), Ok(TokenType::Access)),
        (r#","typ":"logout+jwt""#, ACCESS, Err(TokenError::UnknownType), Err(TokenError::UnknownType)),
        (r#","typ":"""#, ACCESS, Err(TokenError::UnknownType), Err(TokenError::UnknownType)),
    ] {
        let token = of_type(typ, claim);
        let token_type = |decoder| decode_with(decoder, &token).map(|claims| claims.token_type);
        assert_eq!(token_type(&strict), in_strict, "{typ} {claim}");
        assert_eq!(token_type(&generic), in_generic, "{typ} {claim} where generic types are accepted");
    }

    let refresh = decode(&of_type(r#","typ":"rt+jwt""#, REFRESH)).unwrap();
    assert_eq!(
        refresh.require_type(TokenType::Access),
        Err(TokenError::WrongTokenType { expected: TokenType::Access })
    );
    assert_eq!(refresh.require_type(TokenType::Refresh), Ok(()));
}

#[test]
fn freshness_ends() {
    for (fresh, expected) in
        [("false", Fresh::No), ("true", Fresh::Yes), ("1001", Fresh::Until(Timestamp::from_unix(1001)))]
    {
        let claims = decode(&claims_with(r#""fresh":true"#, &format!(r#""fresh":{fresh}"#))).unwrap();
        assert_eq!(claims.fresh, expected);
    }
    assert_eq!(decode(&claims_with(r#","fresh":true"#, "")).unwrap().fresh, Fresh::No);
    assert!(!Fresh::Until(NOW).is_fresh(NOW));
    let claims = decode(&claims_with("true", "false")).unwrap();
    assert_eq!(claims.require_fresh(NOW), Err(TokenError::NotFresh));
}

/// As Flask-JWT-Extended 4.7 makes them: `typ` JWT, no issuer, no session.
#[test]
fn a_flask_token_is_accepted_where_the_rules_say_so() {
    let token = forge(
        r#"{"alg":"HS256","typ":"JWT"}"#,
        r#"{"fresh":false,"iat":1000,"jti":"3cfe2b4c-3d0b-4f8e-9d43-0d6c9f5d1b0e","type":"access","sub":"1","nbf":1000,"csrf":"x","exp":1900}"#,
    );
    let flask = decoder(rules().accept_generic_type().accept_missing_issuer());
    let claims = decode_with(&flask, &token).unwrap();
    assert_eq!(claims.issuer.as_str(), "us");
    assert_eq!(claims.session, None);
    assert_eq!(claims.custom["csrf"], "x");

    assert_eq!(decode(&token), Err(TokenError::MissingClaim("iss")));
    assert_eq!(decode_with(&decoder(rules().accept_missing_issuer()), &token), Err(TokenError::UnknownType));
    let foreign = forge(r#"{"alg":"HS256","typ":"JWT"}"#, &CLAIMS.replace(r#""us""#, r#""them""#));
    assert_eq!(decode_with(&flask, &foreign), Err(TokenError::WrongIssuer));
}

#[test]
fn a_token_without_an_id_is_known_by_what_is_signed() {
    let accepting = decoder(rules().accept_missing_token_id());
    let id = |claims: &str| decode_with(&accepting, &forge(HEADER, claims)).unwrap().token_id;
    let without = CLAIMS.replace(r#""jti":"1","#, "");
    assert_eq!(id(&without), id(&without));
    assert_ne!(id(&without), id(&without.replace("2000", "2001")));
    assert_eq!(id(&without).as_str().len(), 43);
    assert_eq!(id(CLAIMS).as_str(), "1");
}

#[test]
fn a_token_has_a_length() {
    let padded = |bytes: usize| claims_with(r#""sid":"s""#, &format!(r#""x":"{}""#, "x".repeat(bytes)));
    assert!(decode(&padded(5_000)).is_ok());
    assert!(padded(6_100).len() > DEFAULT_MAX_TOKEN_BYTES);
    assert_eq!(decode(&padded(6_100)), Err(TokenError::TooLong));
    assert_eq!(decode(&"a".repeat(1 << 20)), Err(TokenError::TooLong));
    let small = decoder(rules().with_max_token_bytes(100));
    assert_eq!(decode_with(&small, &forge(HEADER, CLAIMS)), Err(TokenError::TooLong));

    let key = SigningKey::from_secret(Algorithm::HS256, SECRET).unwrap();
    let mut claims = decode(&forge(HEADER, CLAIMS)).unwrap();
    claims.custom.insert("x".to_owned(), "x".repeat(7_000).into());
    assert!(encode(&key, &claims).is_err(), "a token that no verifier accepts is not issued");
}

/// Few simple claims are kept as read, others are parsed again: that must make no difference.
#[test]
fn custom_claims_are_what_the_token_says() {
    let simple = [r#""x":"y""#, r#""x":true"#, r#""x":0"#, r#""x":18446744073709551615"#];
    let others = [
        r#""x":-1"#,
        r#""x":1.5"#,
        r#""x":null"#,
        r#""x":"\u0041""#,
        r#""\u0078":1"#,
        r#""x":[]"#,
        r#""x":["a",{"b":1}]"#,
        r#""x":{"y":{"z":""}}"#,
        r#""a":1,"b":2,"c":3,"d":4,"e":5,"f":"\n""#,
        r#""a":1,"b":[2],"c":3"#,
    ];
    for members in simple.into_iter().chain(others) {
        let claims = decode(&claims_with("}", &format!(",{members}}}"))).unwrap();
        let expected: serde_json::Value = serde_json::from_str(&format!("{{{members}}}")).unwrap();
        assert_eq!(serde_json::Value::Object(claims.custom), expected);
    }
    for twice in [r#""x":1,"x":1"#, r#""a":1,"b":2,"c":3,"d":4,"e":5,"e":6"#, r#""x":1,"\u0078":1"#] {
        let refusal = decode(&claims_with("}", &format!(",{twice}}}")));
        assert_eq!(refusal, Err(TokenError::Malformed("a name appears twice")), "{twice}");
    }
}

#[test]
fn a_custom_claim_can_not_pose_as_a_registered_one() {
    let key = SigningKey::from_secret(Algorithm::HS256, SECRET).unwrap();
    let subject = Subject::new("jose").unwrap();
    for name in ["iss", "sub", "aud", "exp", "nbf", "iat", "jti", "sid", "type", "fresh"] {
        let mut claims =
            Claims::new(Issuer::new("us").unwrap(), subject.clone(), TokenType::Access, NOW, Duration::from_secs(60));
        claims.custom.insert(name.to_owned(), "eve".into());
        assert!(encode(&key, &claims).is_err(), "{name}");
    }
}

#[test]
fn a_key_that_was_removed_is_unknown_at_once() {
    let (old, new) = (SigningKey::generate(Algorithm::EdDSA).unwrap(), SigningKey::generate(Algorithm::ES256).unwrap());
    let decoder = Decoder::new(rules(), KeySet::new([old.verifying_key().clone()]).unwrap());
    let claims = Claims::new(
        Issuer::new("us").unwrap(),
        Subject::new("jose").unwrap(),
        TokenType::Refresh,
        NOW,
        Duration::from_secs(60),
    );
    let token = encode(&old, &claims).unwrap();
    assert_eq!(decode_with(&decoder, &token), Ok(claims.clone()));

    decoder.replace_keys(KeySet::new([old.verifying_key().clone(), new.verifying_key().clone()]).unwrap());
    assert_eq!(decode_with(&decoder, &token), Ok(claims.clone()));
    assert_eq!(decode_with(&decoder, &encode(&new, &claims).unwrap()), Ok(claims));

    decoder.replace_keys(KeySet::new([new.verifying_key().clone()]).unwrap());
    assert_eq!(decode_with(&decoder, &token), Err(TokenError::UnknownKey));
}

#[test]
fn a_token_without_a_key_id_is_tried_against_few_keys_of_its_algorithm() {
    let secrets: Vec<Vec<u8>> = (0..=MAX_KEYS_TRIED as u8).map(|byte| vec![byte; 32]).collect();
    let named = |index: usize| {
        let id = KeyId::new(format!("{index}")).unwrap();
        VerifyingKey::from_secret(Algorithm::HS256, &secrets[index]).unwrap().with_key_id(id)
    };
    let decoder = Decoder::new(rules(), KeySet::new((0..=MAX_KEYS_TRIED).map(named)).unwrap());
    let claims = decode(&forge(HEADER, CLAIMS)).unwrap();
    for (index, secret) in secrets.iter().enumerate() {
        let unnamed = SigningKey::from_secret(Algorithm::HS256, secret).unwrap();
        let result = decode_with(&decoder, &encode(&unnamed, &claims).unwrap());
        assert_eq!(result.is_ok(), index < MAX_KEYS_TRIED, "key {index}");
        let named = unnamed.with_key_id(KeyId::new(format!("{index}")).unwrap());
        assert!(decode_with(&decoder, &encode(&named, &claims).unwrap()).is_ok());
    }

    // Two secrets without a name, as in a rotation: the header says nothing about which one it was.
    let signing = |index: usize| SigningKey::from_secret(Algorithm::HS256, &secrets[index]).unwrap();
    let both = KeySet::new([0, 1].map(|index| signing(index).verifying_key().clone())).unwrap();
    decoder.replace_keys(both);
    for (index, accepted) in [(0, true), (1, true), (2, false)] {
        assert_eq!(decode_with(&decoder, &encode(&signing(index), &claims).unwrap()).is_ok(), accepted, "key {index}");
    }

    let unnamed = secrets.iter().map(|secret| VerifyingKey::from_secret(Algorithm::HS256, secret).unwrap());
    assert!(KeySet::new(unnamed).is_err(), "more than are ever tried");
    assert!(KeySet::new([named(0), named(0)]).is_err(), "two keys with one name");
}

#[test]
fn a_public_key_is_not_a_secret() {
    // The oldest attack: the public key, which everyone has, as the secret of an HMAC.
    let pair = SigningKey::generate(Algorithm::RS256).unwrap();
    let public = serde_json::to_vec(&pair.verifying_key().to_jwk().unwrap()).unwrap();
    let forger = SigningKey::from_secret(Algorithm::HS256, &public).unwrap();
    let forger = forger.with_key_id(pair.key_id().unwrap().clone());
    let claims = decode(&forge(HEADER, CLAIMS)).unwrap();

    let decoder = Decoder::new(rules(), KeySet::new([pair.verifying_key().clone()]).unwrap());
    assert_eq!(decode_with(&decoder, &encode(&forger, &claims).unwrap()), Err(TokenError::AlgorithmMismatch));
}

#[test]
fn refusals_have_the_codes_of_the_api() {
    for (refusal, code) in [
        (TokenError::Missing, "authorization_required"),
        (TokenError::Expired, "token_expired"),
        (TokenError::NotFresh, "fresh_token_required"),
        (TokenError::Revoked(adieu::revocation::RevokedBy::Session), "token_revoked"),
        (TokenError::Stale, "revocation_state_stale"),
        (TokenError::BadSignature, "invalid_token"),
        (TokenError::WrongTokenType { expected: TokenType::Access }, "invalid_token"),
    ] {
        assert_eq!(refusal.code(), code);
    }
}

#[test]
fn the_subject_can_be_in_another_claim() {
    let entra = decoder(rules().with_subject_claim(["oid"]));
    let nested = decoder(rules().with_subject_claim(["user", "the.id"]));
    let found = |decoder: &Decoder, more: &str| {
        let claims = CLAIMS.replacen(r#""sub":"jose""#, more, 1);
        decode_with(decoder, &forge(HEADER, &claims)).map(|claims| claims.subject.to_string())
    };
    let missing = |claim: &str| Err::<String, _>(TokenError::MissingSubject(claim.into()));
    let invalid = |claim: &str| Err::<String, _>(TokenError::InvalidSubject(claim.into()));
    let long = format!(r#""oid":"{}""#, "x".repeat(adieu::MAX_ID_BYTES + 1));
    for (decoder, claims, expected) in [
        (&entra, r#""sub":"pairwise","oid":"jose""#, Ok("jose".to_owned())),
        (&entra, r#""oid":"jose""#, Ok("jose".to_owned())),
        (&entra, r#""sub":7,"o\u0069d":"jos\u00e9""#, Ok("josé".to_owned())),
        (&entra, r#""sub":"jose""#, missing("oid")),
        (&entra, r#""a":{"oid":"jose"}"#, missing("oid")),
        (&entra, r#""sub":"jose","oid":null"#, invalid("oid")),
        (&entra, r#""oid":7"#, invalid("oid")),
        (&entra, r#""oid":["jose"]"#, invalid("oid")),
        (&entra, r#""oid":"""#, invalid("oid")),
        (&entra, &long, invalid("oid")),
        (&nested, r#""user":{"the.id":"jose","more":[1]}"#, Ok("jose".to_owned())),
        (&nested, r#""user":{"id":"jose"}"#, missing("user.the.id")),
        (&nested, r#""user":"jose""#, missing("user.the.id")),
        (&nested, r#""user":{"the.id":{}}"#, invalid("user.the.id")),
        (&nested, r#""sub":"jose""#, missing("user.the.id")),
    ] {
        assert_eq!(found(decoder, claims), expected, "{claims}");
    }
    for twice in [r#""oid":"jose","oid":"ana""#, r#""oid":"jose","a":{"b":1,"b":2}"#] {
        assert!(matches!(found(&entra, twice), Err(TokenError::Malformed(_))), "{twice}");
    }
    assert!(matches!(found(&nested, r#""user":{"the.id":"a","the.id":"b"}"#), Err(TokenError::Malformed(_))));
    assert_eq!(missing("oid").unwrap_err().code(), "invalid_token");
    assert_eq!(missing("oid").unwrap_err().to_string(), "the token lacks the claim `oid`, which is to be its subject");
}
