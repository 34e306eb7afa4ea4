//! The examples of RFC 7515, 7638 and 8037, as they are printed there.
//!
//! Their claims are not those of a login, so each is rejected, but for its claims, which are not checked before the
//! signature is known to be valid. The same token with another signature is rejected for the signature.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use adieu::{
    Issuer,
    time::Timestamp,
    token::{Algorithm, Decoder, Jwk, KeySet, Rules, SigningKey, TokenError, VerifyingKey},
};
use serde_json::json;

const JOES_CLAIMS: &str =
    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
const A2_MODULUS: &str = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL\
                          -yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e\
                          -KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_\
                          h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";
const A2_SIGNATURE: &str = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5juj\
                            Gbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0\
                            GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6Lbg\
                            GY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";

fn jwk(json: serde_json::Value) -> Jwk {
    serde_json::from_value(json).unwrap()
}

fn refusal(key: VerifyingKey, token: &str) -> TokenError {
    let rules = Rules::new(Issuer::new("joe").unwrap()).accept_generic_type();
    let decoder = Decoder::new(rules, KeySet::new([key]).unwrap());
    decoder.decode(token, Timestamp::from_unix(1_300_819_000)).unwrap_err()
}

/// Checks that the token is rejected for `after`, a later check than the signature; and for the signature, if any character of it changes.
fn assert_signed(key: VerifyingKey, token: &str, after: TokenError) {
    assert_eq!(refusal(key.clone(), token), after);

    let start = token.rfind('.').unwrap() + 1;
    // The last character has bits that are not part of the signature.
    for at in (start..token.len() - 1).step_by(7) {
        let other = if &token[at..=at] == "A" { "B" } else { "A" };
        let forged = format!("{}{other}{}", &token[..at], &token[at + 1..]);
        assert_eq!(refusal(key.clone(), &forged), TokenError::BadSignature, "{forged}");
    }
}

#[test]
fn hs256_of_rfc_7515_a_1() {
    let secret = "0323354b2b0fa5bc837e0665777ba68f5ab328e6f054c928a90f84b2d2502ebfd3fb5a92d20647ef968ab4c377623d223d2e21\
                  72052e4f08c0cd9af567d080a3";
    let key = VerifyingKey::from_secret(Algorithm::HS256, &hex::decode(secret).unwrap()).unwrap();
    let token =
        format!("eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.{JOES_CLAIMS}.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
    assert_signed(key, &token, TokenError::MissingClaim("type"));
}

#[test]
fn rs256_of_rfc_7515_a_2() {
    let key =
        VerifyingKey::from_jwk(&jwk(json!({"kty": "RSA", "n": A2_MODULUS, "e": "AQAB", "alg": "RS256"}))).unwrap();
    assert_signed(key, &format!("eyJhbGciOiJSUzI1NiJ9.{JOES_CLAIMS}.{A2_SIGNATURE}"), TokenError::MissingClaim("type"));
}

#[test]
fn es256_of_rfc_7515_a_3() {
    let key = VerifyingKey::from_jwk(&jwk(json!({
        "kty": "EC",
        "crv": "P-256",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    })))
    .unwrap();
    let token = format!(
        "eyJhbGciOiJFUzI1NiJ9.{JOES_CLAIMS}.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqP\
         P3-Kg6NU1Q"
    );
    assert_signed(key, &token, TokenError::MissingClaim("type"));
}

#[test]
fn ed25519_of_rfc_8037_a_4() {
    let key = VerifyingKey::from_jwk(&jwk(json!({
        "kty": "OKP",
        "crv": "Ed25519",
        "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
    })))
    .unwrap();
    let token = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhi\
                 jcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    assert_signed(key, token, TokenError::Malformed("the claims are not a JSON object"));
}

#[test]
fn thumbprints_of_rfc_7638_and_rfc_8037() {
    let modulus = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiF\
                   V4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9\
                   c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1\
                   jF44-csFCur-kEgU8awapJzKnqDKgw";
    let rsa = jwk(json!({"kty": "RSA", "n": modulus, "e": "AQAB", "alg": "RS256", "kid": "2011-04-29"}));
    assert_eq!(rsa.key.thumbprint(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    assert_eq!(VerifyingKey::from_jwk(&rsa).unwrap().key_id().unwrap().as_str(), "2011-04-29");

    // The private key of A.1 in PKCS#8: its public half is that of A.2, its name the thumbprint of A.3.
    let mut pkcs8 = hex::decode("302e020100300506032b657004220420").unwrap();
    pkcs8.extend(hex::decode("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60").unwrap());
    let key = SigningKey::from_pkcs8_der(Algorithm::EdDSA, &pkcs8).unwrap();
    assert_eq!(key.key_id().unwrap().as_str(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    assert_eq!(
        serde_json::to_value(key.verifying_key().to_jwk().unwrap()).unwrap(),
        json!({
            "kty": "OKP",
            "crv": "Ed25519",
            "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
            "alg": "EdDSA",
            "kid": "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
            "use": "sig",
        })
    );
}
