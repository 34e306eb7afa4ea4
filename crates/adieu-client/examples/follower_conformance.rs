//! Answers the questions of `adieu-follower-conformance`: `Remote`, `Follower` and `Verifier`, as a service uses them.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::{io::BufRead as _, sync::Arc, time::Duration};

use adieu::{
    Issuer,
    revocation::{Follower, Index},
    time::{Clock, SystemClock},
    token::{Algorithm, Decoder, KeyId, KeySet, Rules, StalePolicy, TokenError, Verifier, VerifyingKey},
};
use adieu_client::Remote;
use jsonwebtoken::{EncodingKey, Header};
use serde_json::Value;

/// The `kid`s that questions have. Each is that of a key of its own, and so is none.
const KEY_IDS: [&str; 4] = ["kid-1", "kid-2", "Kid-1", "01930a4e-5b7c-7d2f-9d3a-0c6f0f7f5a22"];

/// Returns the key that signs the tokens with this `kid`: the claims and the `kid` are what matters.
fn secret(kid: &str) -> Vec<u8> {
    format!("{kid:.<32}").into_bytes()
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let setting = |name: &str| std::env::var(name).map_err(|error| format!("{name}: {error}"));
    let max_staleness = Duration::from_millis(setting("ADIEU_MAX_STALENESS_MS")?.parse()?);
    let remote = Remote::builder(setting("ADIEU_URL")?, setting("ADIEU_CLIENT")?, setting("ADIEU_SECRET")?.into())
        .with_max_staleness(max_staleness)
        .build()?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let index = Arc::new(Index::new(clock.now()));
    let follower = Follower::start(Arc::new(remote), Arc::clone(&index), Arc::clone(&clock), max_staleness);
    let freshness = follower.freshness();
    let verifier = Verifier::new(decoder("adieu")?, index, freshness, clock, max_staleness, StalePolicy::Reject)
        .with_issuer(decoder("https://other.example")?)?;
    tokio::task::spawn_blocking(move || answer(&verifier)).await??;
    drop(follower);
    Ok(())
}

fn decoder(issuer: &str) -> Result<Decoder, Failure> {
    let rules = Rules::new(Issuer::new(issuer)?).accept_missing_type();
    let mut keys = vec![VerifyingKey::from_secret(Algorithm::HS256, &secret(""))?];
    for kid in KEY_IDS {
        keys.push(VerifyingKey::from_secret(Algorithm::HS256, &secret(kid))?.with_key_id(KeyId::new(kid)?));
    }
    Ok(Decoder::new(rules, KeySet::new(keys)?))
}

fn answer(verifier: &Verifier) -> Result<(), Failure> {
    for line in std::io::stdin().lock().lines() {
        let question: Value = serde_json::from_str(&line?).map_err(|error| error.to_string())?;
        let claims = question.get("claims").ok_or("a question has `claims`")?;
        let kid = question.get("kid").and_then(Value::as_str);
        let header = Header { kid: kid.map(str::to_owned), ..Header::default() };
        let key = EncodingKey::from_secret(&secret(kid.unwrap_or_default()));
        let token = jsonwebtoken::encode(&header, claims, &key)?;
        let verdict = match verifier.verify(&token) {
            Ok(_) => "accepted",
            Err(TokenError::Revoked(_)) => "revoked",
            Err(TokenError::Stale) => "stale",
            Err(error) => {
                eprintln!("{error}");
                "invalid"
            }
        };
        println!("{verdict:?}");
    }
    Ok(())
}
