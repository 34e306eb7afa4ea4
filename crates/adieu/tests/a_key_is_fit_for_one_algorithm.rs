//! A key has one algorithm and is checked when it is created: a key that is weak, damaged or of another kind never signs or
//! verifies anything.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/base64url.rs"]
mod base64url;

use std::time::Duration;

use adieu::{
    Error, Issuer, Subject,
    time::Timestamp,
    token::{Algorithm, Claims, Decoder, Jwk, Jwks, KeyId, KeySet, Rules, SigningKey, TokenType, VerifyingKey, encode},
};
use base64url::base64url;
use serde_json::json;

/// RFC 8410 §10.3, §10.1.
const PRIVATE_PEM: &str = "-----BEGIN PRIVATE KEY-----\n\
                           MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
                           -----END PRIVATE KEY-----\n";
const PUBLIC_PEM: &str = "-----BEGIN PUBLIC KEY-----\r\n\
                          MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\r\n\
                          -----END PUBLIC KEY-----\r\n";

fn reason<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    match result.unwrap_err() {
        Error::Key(reason) => reason.to_string(),
        other => panic!("{other:?}"),
    }
}

fn from_jwk(json: serde_json::Value) -> Result<VerifyingKey, Error> {
    VerifyingKey::from_jwk(&serde_json::from_value::<Jwk>(json).unwrap())
}

#[test]
fn a_secret_is_as_long_as_its_hash() {
    for (algorithm, length) in [(Algorithm::HS256, 32), (Algorithm::HS384, 48), (Algorithm::HS512, 64)] {
        assert!(SigningKey::from_secret(algorithm, &vec![7; length]).is_ok());
        assert!(VerifyingKey::from_secret(algorithm, &vec![7; length]).is_ok());
        let least = format!("{length} bytes");
        assert!(reason(SigningKey::from_secret(algorithm, &vec![7; length - 1])).contains(&least));
        assert!(reason(VerifyingKey::from_secret(algorithm, &vec![7; length - 1])).contains(&least));
        assert!(reason(VerifyingKey::from_secret(algorithm, b"secret")).contains(&least));
        assert_eq!(SigningKey::generate(algorithm).unwrap().to_secret_bytes().unwrap().as_slice().len(), length);
    }
}

#[test]
fn a_published_key_is_for_verifying_and_public() {
    let key = SigningKey::from_pem(Algorithm::EdDSA, PRIVATE_PEM).unwrap().verifying_key().to_jwk().unwrap();
    let with = |name: &str, value: serde_json::Value| {
        let mut json = serde_json::to_value(&key).unwrap();
        json[name] = value;
        json
    };
    for operations in [json!(["verify"]), json!(["sign", "verify"])] {
        assert!(from_jwk(with("key_ops", operations)).is_ok());
    }
    for operations in [json!([]), json!(["sign"]), json!(["encrypt", "wrapKey"])] {
        assert!(reason(from_jwk(with("key_ops", operations))).contains("not for signatures"));
    }
    for private in ["d", "p", "q", "dp", "dq", "qi", "oth", "k"] {
        let error = serde_json::from_value::<Jwk>(with(private, json!("AAAA"))).unwrap_err();
        assert!(error.to_string().contains("private part"), "{private}: {error}");
    }
    // RFC 8037, appendix A.1: an issuer that publishes a key with `d` has told everyone how to sign.
    let document = json!({"keys": [key, {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
        "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"}]});
    assert_eq!(Jwks::key_set(document.to_string().as_bytes(), None).unwrap().iter().count(), 1);
}

#[test]
fn a_secret_and_a_key_pair_are_not_mixed_up() {
    let pkcs8 = SigningKey::generate(Algorithm::ES256).unwrap().to_pkcs8_der().unwrap();
    assert!(reason(SigningKey::from_pkcs8_der(Algorithm::HS256, pkcs8.as_slice())).contains("secret"));
    assert!(reason(SigningKey::from_secret(Algorithm::ES256, &[7; 32])).contains("key pair"));
    assert!(reason(VerifyingKey::from_secret(Algorithm::EdDSA, &[7; 32])).contains("key pair"));
    assert!(reason(VerifyingKey::from_pem(Algorithm::HS256, PUBLIC_PEM)).contains("secret"));
}

#[test]
fn a_key_in_pem_form_is_no_secret() {
    // Otherwise whoever has the public key could sign.
    for pem in [PUBLIC_PEM.to_owned(), PRIVATE_PEM.to_owned(), format!("\u{feff}\n the key:\n{PUBLIC_PEM}")] {
        for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
            assert!(reason(VerifyingKey::from_secret(algorithm, pem.as_bytes())).contains("PEM"), "{pem}");
            assert!(reason(SigningKey::from_secret(algorithm, pem.as_bytes())).contains("PEM"), "{pem}");
        }
    }
}

#[test]
fn a_key_of_another_kind_or_curve_is_refused() {
    for made_for in [Algorithm::ES256, Algorithm::ES384, Algorithm::EdDSA] {
        let key = SigningKey::generate(made_for).unwrap();
        let pkcs8 = key.to_pkcs8_der().unwrap();
        for algorithm in Algorithm::ALL {
            let result = SigningKey::from_pkcs8_der(algorithm, pkcs8.as_slice());
            assert_eq!(result.is_ok(), algorithm == made_for, "{made_for} for {algorithm}");
            let jwk = Jwk { alg: Some(algorithm), ..key.verifying_key().to_jwk().unwrap() };
            assert_eq!(VerifyingKey::from_jwk(&jwk).is_ok(), algorithm == made_for, "{made_for} for {algorithm}");
        }
    }
}

#[test]
fn an_rsa_key_has_2048_bits_or_more() {
    let modulus = |bits: usize| {
        let mut bytes = vec![0xFF; bits.div_ceil(8)];
        bytes[0] >>= bytes.len() * 8 - bits;
        base64url(&bytes)
    };
    for (bits, accepted) in [(512, false), (1024, false), (2047, false), (2048, true), (4096, true)] {
        let result = from_jwk(json!({"kty": "RSA", "n": modulus(bits), "e": "AQAB", "alg": "PS256"}));
        assert_eq!(result.is_ok(), accepted, "{bits} bits: {result:?}");
    }
    for exponent in ["", "AA", "AQ", "Ag"] {
        let result = from_jwk(json!({"kty": "RSA", "n": modulus(2048), "e": exponent, "alg": "RS256"}));
        assert!(result.is_err(), "exponent {exponent}");
    }
    assert!(reason(from_jwk(json!({"kty": "RSA", "n": modulus(2048), "e": "AQAB"}))).contains("`alg`"));
}

#[test]
fn a_damaged_public_key_is_refused() {
    let zeros = "A".repeat(43);
    for jwk in [
        json!({"kty": "EC", "crv": "P-256", "x": zeros, "y": zeros}),
        json!({"kty": "EC", "crv": "P-256", "x": "", "y": ""}),
        json!({"kty": "EC", "crv": "P-521", "x": zeros, "y": zeros}),
        json!({"kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "!"}),
        json!({"kty": "OKP", "crv": "Ed25519", "x": "AAAA"}),
        json!({"kty": "OKP", "crv": "Ed448", "x": zeros}),
        json!({"kty": "OKP", "crv": "X25519", "x": zeros}),
        json!({"kty": "OKP", "crv": "Ed25519", "use": "enc", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}),
    ] {
        assert!(from_jwk(jwk.clone()).is_err(), "{jwk}");
    }
    for not_a_key in [&b""[..], b"x", &[0x30; 64]] {
        for algorithm in Algorithm::ALL {
            assert!(SigningKey::from_pkcs8_der(algorithm, not_a_key).is_err());
        }
    }
}

#[test]
fn keys_are_read_from_pem() {
    let signing = SigningKey::from_pem(Algorithm::EdDSA, PRIVATE_PEM).unwrap();
    let verifying = VerifyingKey::from_pem(Algorithm::EdDSA, PUBLIC_PEM).unwrap();
    assert_eq!(signing.key_id(), verifying.key_id());

    let now = Timestamp::from_unix(1_000);
    let issuer = Issuer::new("us").unwrap();
    let claims =
        Claims::new(issuer.clone(), Subject::new("jose").unwrap(), TokenType::Refresh, now, Duration::from_secs(1));
    let decoder = Decoder::new(Rules::new(issuer), KeySet::new([verifying]).unwrap());
    assert_eq!(decoder.decode(&encode(&signing, &claims).unwrap(), now), Ok(claims));

    assert!(reason(SigningKey::from_pem(Algorithm::EdDSA, PUBLIC_PEM)).contains("`PRIVATE KEY`"));
    assert!(reason(VerifyingKey::from_pem(Algorithm::EdDSA, PRIVATE_PEM)).contains("`PUBLIC KEY`"));
    for broken in [
        "".to_owned(),
        "-----BEGIN PUBLIC KEY-----".to_owned(),
        PUBLIC_PEM.replace("-----END PUBLIC KEY-----", ""),
        PUBLIC_PEM.replace("MCow", "MC!w"),
        PUBLIC_PEM.replace("MCow", "MC-w"),
        PUBLIC_PEM.replace("MCow", "MCox"),
        PUBLIC_PEM.replace("ZuE=", "Zu"),
        format!("{PUBLIC_PEM}{PUBLIC_PEM}"),
    ] {
        assert!(VerifyingKey::from_pem(Algorithm::EdDSA, &broken).is_err(), "{broken}");
    }
}

#[test]
fn nothing_secret_is_shown_or_published() {
    let secret = b"correct horse battery staple, 32+";
    let hmac = SigningKey::from_secret(Algorithm::HS256, secret).unwrap();
    assert_eq!(hmac.key_id(), None, "a thumbprint would let everyone guess the secret");
    let named = hmac.clone().with_key_id(KeyId::new("2026-11").unwrap());
    assert_eq!(named.verifying_key().key_id().unwrap().as_str(), "2026-11");

    let pair = SigningKey::from_pem(Algorithm::EdDSA, PRIVATE_PEM).unwrap();
    let keys = KeySet::new([hmac.verifying_key().clone(), named.verifying_key().clone(), pair.verifying_key().clone()]);
    let keys = keys.unwrap();
    let jwks = serde_json::to_value(keys.jwks()).unwrap();
    assert_eq!(jwks["keys"].as_array().unwrap().len(), 1);
    assert_eq!(
        jwks["keys"][0].as_object().unwrap().keys().collect::<Vec<_>>(),
        ["alg", "crv", "kid", "kty", "use", "x"]
    );

    let shown = format!("{hmac:?} {named:?} {pair:?} {keys:?} {:?}", pair.to_pkcs8_der());
    for secret in ["correct", &hex::encode(secret), "d4ee72db", "1O5y2", "212, 238"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}
