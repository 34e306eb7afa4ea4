//! Answers the questions of `adieu-follower-conformance`: `Remote`, `Follower` and `Verifier`, as a service uses them.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::{io::BufRead as _, sync::Arc, time::Duration};

use adieu::{
    Issuer,
    revocation::{Follower, Index},
    time::{Clock, SystemClock},
    token::{Algorithm, Decoder, KeySet, Rules, StalePolicy, TokenError, Verifier, VerifyingKey},
};
use adieu_client::Remote;
use jsonwebtoken::{EncodingKey, Header};
use serde_json::Value;

/// Signs the tokens in question: the claims are what matters.
const KEY: [u8; 32] = [7; 32];

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
    Ok(Decoder::new(rules, KeySet::new([VerifyingKey::from_secret(Algorithm::HS256, &KEY)?])?))
}

fn answer(verifier: &Verifier) -> Result<(), Failure> {
    for line in std::io::stdin().lock().lines() {
        let question: Value = serde_json::from_str(&line?).map_err(|error| error.to_string())?;
        let claims = question.get("claims").ok_or("a question has `claims`")?;
        let key = EncodingKey::from_secret(&KEY);
        let token = jsonwebtoken::encode(&Header::default(), claims, &key)?;
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
