//! The cost of verifying a token: the signature check alone, this crate, and `jsonwebtoken`, on the same tokens.
//!
//! `cargo bench -p adieu --bench verify` prints criterion's figures and, at the end, the table that
//! BENCHMARKS.md quotes; with `-- nothing`, which matches no benchmark, only the table.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use adieu::{
    Issuer, SessionId, Subject,
    time::{Clock, SystemClock},
    token::{Algorithm, Claims, Decoder, KeySet, Rules, Scratch, SigningKey, TokenType, encode},
};
use aws_lc_rs::{
    encoding::{AsDer, PublicKeyX509Der},
    hmac,
    signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair, ParsedPublicKey, RsaKeyPair},
};
use criterion::Criterion;
use jsonwebtoken::{DecodingKey, Validation};
use serde::Deserialize;

const ALGORITHMS: [Algorithm; 4] = [Algorithm::HS256, Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA];
const WAYS: [&str; 4] = ["bare signature", "adieu borrowed", "adieu owned", "jsonwebtoken"];

/// The claims that an application would read with `jsonwebtoken`, so that both sides do the same work.
#[derive(Deserialize)]
#[allow(dead_code, reason = "read to be measured")]
struct TheirClaims {
    iss: String,
    sub: String,
    iat: u64,
    nbf: u64,
    exp: u64,
    jti: String,
    sid: String,
    #[serde(rename = "type")]
    token_type: String,
    fresh: bool,
    is_admin: bool,
}

type Check = Box<dyn Fn(&[u8], &[u8]) -> bool>;

/// Runs the signature check alone, with a parsed key.
fn bare(key: &SigningKey) -> Check {
    let public = |algorithm, bytes: &[u8]| -> Check {
        let key = ParsedPublicKey::new(algorithm, bytes).unwrap();
        Box::new(move |message, signature| key.verify_sig(message, signature).is_ok())
    };
    if let Some(secret) = key.to_secret_bytes() {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_slice());
        return Box::new(move |message, tag| hmac::verify(&key, message, tag).is_ok());
    }
    let pkcs8 = key.to_pkcs8_der().unwrap();
    let pkcs8 = pkcs8.as_slice();
    match key.algorithm() {
        Algorithm::RS256 => {
            let pair = RsaKeyPair::from_pkcs8(pkcs8).unwrap();
            let public_key: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
            public(&signature::RSA_PKCS1_2048_8192_SHA256, public_key.as_ref())
        }
        Algorithm::ES256 => {
            let pair = EcdsaKeyPair::from_pkcs8(&signature::ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8).unwrap();
            public(&signature::ECDSA_P256_SHA256_FIXED, pair.public_key().as_ref())
        }
        Algorithm::EdDSA => {
            let pair = Ed25519KeyPair::from_pkcs8(pkcs8).unwrap();
            public(&signature::ED25519, pair.public_key().as_ref())
        }
        other => panic!("{other} is not measured"),
    }
}

fn their_key(key: &SigningKey) -> DecodingKey {
    match key.verifying_key().to_jwk() {
        Some(jwk) => {
            DecodingKey::from_jwk(&serde_json::from_value(serde_json::to_value(jwk).unwrap()).unwrap()).unwrap()
        }
        None => DecodingKey::from_secret(key.to_secret_bytes().unwrap().as_slice()),
    }
}

fn signing_key(algorithm: Algorithm) -> SigningKey {
    match algorithm {
        // 2048 bits, as most issuers use, rather than the 3072 that this crate generates.
        Algorithm::RS256 => {
            let pair = RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
            let pkcs8: aws_lc_rs::encoding::Pkcs8V1Der<'_> = pair.as_der().unwrap();
            SigningKey::from_pkcs8_der(algorithm, pkcs8.as_ref()).unwrap()
        }
        _ => SigningKey::generate(algorithm).unwrap(),
    }
}

fn measure(criterion: &mut Criterion, algorithm: Algorithm) -> [f64; 4] {
    let now = SystemClock.now();
    let key = signing_key(algorithm);
    let mut claims = Claims::new(
        Issuer::new("https://api.example.com").unwrap(),
        Subject::new("0197f3f2-6d5c-7c43-9c3a-2f1d0f6b7a11").unwrap(),
        TokenType::Access,
        now,
        Duration::from_secs(86_400),
    );
    claims.session = Some(SessionId::random());
    claims.custom.insert("is_admin".to_owned(), false.into());
    let token = encode(&key, &claims).unwrap();

    let decoder = Decoder::new(Rules::new(claims.issuer.clone()), KeySet::new([key.verifying_key().clone()]).unwrap());
    let mut scratch = Scratch::default();
    let check = bare(&key);
    let (signing_input, signature) = token.rsplit_once('.').unwrap();
    let signature = decode_base64url(signature);
    let theirs = their_key(&key);
    let mut validation = Validation::new(algorithm.as_str().parse().unwrap());
    validation.leeway = 0;
    validation.validate_nbf = true;
    validation.set_issuer(&[claims.issuer.as_str()]);
    validation.set_required_spec_claims(&["exp", "iss", "sub"]);

    let mut ways: [Box<dyn FnMut()>; 4] = [
        Box::new(|| assert!(check(black_box(signing_input).as_bytes(), black_box(&signature)))),
        Box::new(|| {
            black_box(decoder.decode_in(black_box(&token), now, &mut scratch).unwrap().expires_at());
        }),
        Box::new(|| drop(black_box(decoder.decode(black_box(&token), now).unwrap()))),
        Box::new(|| {
            drop(black_box(jsonwebtoken::decode::<TheirClaims>(black_box(&token), &theirs, &validation).unwrap()));
        }),
    ];
    let mut group = criterion.benchmark_group(algorithm.as_str());
    for (name, way) in WAYS.iter().zip(&mut ways) {
        group.bench_function(*name, |bencher| bencher.iter(&mut *way));
    }
    group.finish();
    interleaved(&mut ways)
}

/// Returns nanoseconds for each way: the median of many short rounds in which they take turns, so that other load on the machine
/// slows all of them equally.
fn interleaved(ways: &mut [Box<dyn FnMut() + '_>; 4]) -> [f64; 4] {
    const ROUNDS: usize = 501;
    const CALLS: u32 = 50;
    let mut rounds = [const { Vec::new() }; 4];
    for _ in 0..ROUNDS {
        for (way, times) in ways.iter_mut().zip(&mut rounds) {
            let start = Instant::now();
            (0..CALLS).for_each(|_| way());
            times.push(start.elapsed().as_nanos() as f64 / f64::from(CALLS));
        }
    }
    rounds.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[ROUNDS / 2]
    })
}

fn decode_base64url(text: &str) -> Vec<u8> {
    const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let bits: String = text.chars().map(|character| format!("{:06b}", ALPHABET.find(character).unwrap())).collect();
    bits.as_bytes()
        .chunks_exact(8)
        .map(|byte| u8::from_str_radix(std::str::from_utf8(byte).unwrap(), 2).unwrap())
        .collect()
}

fn print_table(rows: &[(Algorithm, [f64; 4])]) {
    println!("\n| ns a token | {} | borrowed / bare | jsonwebtoken / borrowed |", WAYS.join(" | "));
    println!("|---|{}---|---|", "---|".repeat(WAYS.len()));
    for (algorithm, [bare, borrowed, owned, theirs]) in rows {
        println!(
            "| {algorithm} | {bare:.0} | {borrowed:.0} | {owned:.0} | {theirs:.0} | {:.2} | {:.2} |",
            borrowed / bare,
            theirs / borrowed
        );
    }
}

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .without_plots()
        .configure_from_args();
    let rows = ALGORITHMS.map(|algorithm| (algorithm, measure(&mut criterion, algorithm)));
    criterion.final_summary();
    print_table(&rows);
}
