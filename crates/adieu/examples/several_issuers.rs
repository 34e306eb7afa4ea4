//! Accepts the tokens of an identity provider beside its own, and revokes them.
//!
//!     cargo run --package adieu --example several_issuers
//!
//! A service that follows the keys of its identity provider over HTTP uses `adieu_client::KeyFollower` instead of the key
//! that is generated here.

#![allow(clippy::print_stdout, reason = "an example prints")]

use std::time::Duration;

use adieu::{
    Issuer, Node, Subject,
    session::Scope,
    store::Memory,
    time::{Clock, SystemClock},
    token::{Algorithm, Claims, Decoder, KeySet, Rules, SigningKey, TokenError, TokenType, encode},
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // The identity provider: its key, and a token for one of its users.
    let provider = Issuer::new("https://login.example")?;
    let key = SigningKey::generate(Algorithm::ES256)?;
    let lifetime = Duration::from_secs(3600);
    let claims = Claims::new(provider.clone(), Subject::new("7")?, TokenType::Access, SystemClock.now(), lifetime);
    let token = encode(&key, &claims)?;

    // This node accepts its access tokens for at most a day, so it knows how long a revocation of all of them must be kept.
    let rules = Rules::new(provider.clone()).with_max_lifetime(Duration::from_secs(24 * 3600));
    let decoder = Decoder::new(rules, KeySet::new([key.verifying_key().clone()])?);
    let node = Node::builder(Issuer::new("https://shop.example")?).with_issuer(decoder).start(Memory::new()).await?;

    // The subject `7` of the provider is not the subject `7` of this node: always look at the issuer as well.
    let verified = node.verifier().verify(&token)?;
    assert_eq!((verified.issuer.as_str(), verified.subject.as_str()), (provider.as_str(), "7"));

    // The holder of a token can end its session, whichever issuer it comes from.
    node.sessions().log_out(&token, Scope::This).await?;
    assert!(matches!(node.verifier().verify(&token), Err(TokenError::Revoked(_))));
    println!("a token of {provider} was accepted and then revoked");
    Ok(())
}
