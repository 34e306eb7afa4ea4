//! One verifier for tokens of several issuers: each token is verified with the keys and the rules of the issuer that it names, and a
//! revocation for one issuer does not apply to another.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../support/forge.rs"]
mod forge;
mod newer_keys;
mod revocations;

use std::{sync::Arc, time::Duration};

use adieu::{
    Error, Issuer, Node, SessionId, Subject, TokenId,
    revocation::{RevokedBy, Target},
    session::{Origin, RevocationRequest, RevocationTarget, Scope, SessionError, TokenOptions, VerifiedToken},
    store::Memory,
    time::{Clock, ManualClock, Timestamp},
    token::{
        Algorithm, CacheLimits, Claims, DEFAULT_SKEW, Decoder, Fresh, KeyId, KeySet, Rules, SigningKey, TokenError,
        TokenType, VerifyingKey, encode,
    },
};
use forge::{SECRET, base64url, forge, sign};
use serde_json::json;

const NOON: Timestamp = Timestamp::from_unix(1_800_000_000);
const HOUR: Duration = Duration::from_secs(3600);
const FLASK_SKEW: Duration = Duration::from_secs(7);

fn issuer(name: &str) -> Issuer {
    Issuer::new(name).unwrap()
}

fn claims(of: &str) -> Claims {
    Claims::new(issuer(of), Subject::new("jose").unwrap(), TokenType::Access, NOON, HOUR)
}

fn decoder(rules: Rules, key: &VerifyingKey) -> Decoder {
    Decoder::new(rules, KeySet::new([key.clone()]).unwrap()).with_cache(CacheLimits::default())
}

fn secret() -> VerifyingKey {
    VerifyingKey::from_secret(Algorithm::HS256, SECRET).unwrap()
}

/// The node's own issuer, and two others that sign with Ed25519 and with a secret.
struct Setup {
    node: Node,
    clock: ManualClock,
    theirs: SigningKey,
}

impl Setup {
    async fn start() -> Self {
        Self::with_skew(DEFAULT_SKEW).await
    }

    async fn with_skew(skew: Duration) -> Self {
        let clock = ManualClock::at(NOON);
        let theirs = SigningKey::generate(Algorithm::EdDSA).unwrap();
        let them = Rules::new(issuer("them")).with_max_lifetime(HOUR * 24).with_skew(skew).unwrap();
        let flask = Rules::new(issuer("flask")).accept_generic_type().accept_missing_issuer().accept_missing_token_id();
        let flask = flask.with_skew(FLASK_SKEW).unwrap();
        let node = Node::builder(issuer("us"))
            .with_clock(std::sync::Arc::new(clock.clone()))
            .with_issuer(decoder(them, theirs.verifying_key()))
            .with_issuer(decoder(flask, &secret()))
            .start(Memory::new())
            .await
            .unwrap();
        Self { node, clock, theirs }
    }

    /// Checks that the log has this many cut-offs, and that none of them applies to tokens issued now.
    async fn has_cut_off_until_before_now(&self, count: usize) {
        let entries = self.node.log().read(None, Duration::ZERO).await.unwrap().entries;
        let cut_offs = entries.iter().filter_map(|entry| match entry.target {
            Target::Subject { issued_until, .. } => Some(issued_until),
            _ => None,
        });
        let (cut_offs, now) = (Vec::from_iter(cut_offs), self.clock.now());
        assert_eq!(cut_offs.len(), count);
        assert!(cut_offs.iter().all(|until| *until < now), "{cut_offs:?}, and it is {now:?}");
    }

    fn ours(&self) -> SigningKey {
        self.node.signing_key()
    }

    fn verify(&self, token: &str) -> Result<Arc<Claims>, TokenError> {
        let first = self.node.verifier().verify(token);
        assert_eq!(first, self.node.verifier().verify(token), "remembered or not");
        first
    }

    async fn log_out(&self, token: &str, scope: Scope) -> Result<usize, TokenError> {
        self.node.sessions().log_out(token, scope).await.map(|ended| ended.sessions).map_err(|error| match error {
            SessionError::InvalidToken(refusal) => refusal,
            other => panic!("{other}"),
        })
    }
}

fn flask(claims: &str) -> String {
    forge(r#"{"alg":"HS256","typ":"JWT"}"#, claims)
}

#[tokio::test]
async fn each_issuer_signs_for_itself_and_for_nobody_else() {
    let setup = Setup::start().await;
    let secret = SigningKey::from_secret(Algorithm::HS256, SECRET).unwrap();
    let ours = setup.ours();
    let keys = [("us", &ours), ("them", &setup.theirs), ("flask", &secret)];
    for (signer, key) in keys {
        for (named, its_key) in keys {
            let claims = claims(named);
            let result = setup.verify(&encode(key, &claims).unwrap());
            if signer == named {
                assert_eq!(result.as_deref(), Ok(&claims));
            } else {
                assert!(result.is_err(), "{signer} signed for {named}");
            }
            // Also when it names the other issuer's key.
            if signer != named
                && let Some(id) = its_key.key_id()
            {
                let disguised = key.clone().with_key_id(id.clone());
                assert!(setup.verify(&encode(&disguised, &claims).unwrap()).is_err(), "{signer} as {named}");
            }
        }
        let unknown = encode(key, &claims("unknown")).unwrap();
        assert_eq!(setup.verify(&unknown), Err(TokenError::WrongIssuer));
        assert_eq!(setup.log_out(&unknown, Scope::This).await, Err(TokenError::WrongIssuer));
    }
}

#[tokio::test]
async fn issuers_are_replaced_while_the_node_runs() {
    let setup = Setup::start().await;
    let verifier = setup.node.verifier();
    let [ours, theirs] = [("us", &setup.ours()), ("them", &setup.theirs)]
        .map(|(name, key)| [claims(name), claims(name)].map(|claims| encode(key, &claims).unwrap()));
    assert_eq!(setup.log_out(&theirs[1], Scope::This).await, Ok(0), "a token without a session");
    let them = verifier.decoder_for(&issuer("them")).unwrap();
    assert!(setup.verify(&theirs[0]).is_ok(), "it is cached now");

    verifier.replace_issuers([]).unwrap();
    assert!(setup.verify(&theirs[0]).is_err());
    assert!(setup.verify(&ours[0]).is_ok());
    assert!(setup.log_out(&theirs[0], Scope::This).await.is_err());

    // A set that cannot be used changes nothing.
    let us = decoder(Rules::new(issuer("us")), &secret());
    assert!(matches!(verifier.replace_issuers([Arc::clone(&them), us.into()]), Err(Error::InvalidSetting { .. })));
    assert!(matches!(verifier.replace_issuers([&them, &them].map(Arc::clone)), Err(Error::InvalidSetting { .. })));
    assert!(setup.verify(&theirs[0]).is_err());

    verifier.replace_issuers([them]).unwrap();
    assert!(setup.verify(&theirs[0]).is_ok());
    assert!(matches!(setup.verify(&theirs[1]), Err(TokenError::Revoked(_))), "what was revoked stays revoked");
}

/// The public key of an issuer is not secret: a token signed with it as an HMAC secret must be rejected.
#[tokio::test]
async fn a_public_key_is_no_secret() {
    let setup = Setup::start().await;
    let jwk = setup.theirs.verifying_key().to_jwk().unwrap();
    let jwk = serde_json::to_value(jwk).unwrap();
    let claims = json!({"iss":"them","sub":"jose","exp":NOON.as_unix() + 60,"jti":"1"}).to_string();
    for header in [
        json!({"alg":"HS256","typ":"at+jwt"}),
        json!({"alg":"HS256","typ":"at+jwt","kid":jwk["kid"]}),
        json!({"alg":"none","typ":"at+jwt"}),
    ] {
        let input = format!("{}.{}", base64url(header.to_string().as_bytes()), base64url(claims.as_bytes()));
        for secret in [jwk["x"].as_str().unwrap().as_bytes(), jwk.to_string().as_bytes(), SECRET] {
            let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret);
            let tag = aws_lc_rs::hmac::sign(&key, input.as_bytes());
            let refusal = setup.verify(&format!("{input}.{}", base64url(tag.as_ref())));
            assert_eq!(refusal, Err(TokenError::AlgorithmMismatch), "{header}");
        }
        assert!(setup.verify(&format!("{input}.")).is_err());
    }
}

#[tokio::test]
async fn two_issuers_may_call_their_keys_the_same() {
    let named = |key: SigningKey| key.with_key_id(KeyId::new("1").unwrap());
    let (a, b) = (SigningKey::generate(Algorithm::EdDSA).unwrap(), SigningKey::generate(Algorithm::EdDSA).unwrap());
    let (a, b) = (named(a), named(b));
    let node = Node::builder(issuer("us"))
        .with_clock(std::sync::Arc::new(ManualClock::at(NOON)))
        .with_issuer(decoder(Rules::new(issuer("a")), a.verifying_key()))
        .with_issuer(decoder(Rules::new(issuer("b")), b.verifying_key()))
        .start(Memory::new())
        .await
        .unwrap();
    for _ in 0..2 {
        for (key, name, other) in [(&a, "a", "b"), (&b, "b", "a")] {
            assert!(node.verifier().verify(&encode(key, &claims(name)).unwrap()).is_ok());
            let refusal = node.verifier().verify(&encode(key, &claims(other)).unwrap());
            assert_eq!(refusal, Err(TokenError::BadSignature));
        }
    }
}

#[tokio::test]
async fn what_names_nobody_is_the_issuers_whose_key_signed_it() {
    let setup = Setup::start().await;
    let exp = NOON.as_unix() + 60;
    let token = flask(&json!({"sub":"jose","exp":exp,"jti":"1","type":"access"}).to_string());
    assert_eq!(setup.verify(&token).unwrap().issuer, issuer("flask"));
    // No other issuer may leave `iss` out.
    let header = json!({"alg":"EdDSA","typ":"at+jwt"}).to_string();
    let nameless = json!({"sub":"jose","exp":exp,"jti":"1"}).to_string();
    let input = format!("{}.{}", base64url(header.as_bytes()), base64url(nameless.as_bytes()));
    assert!(setup.verify(&format!("{input}.{}", base64url(&[7; 64]))).is_err());
    // Two issuers count as none.
    let twice = format!(r#"{{"iss":"flask","sub":"jose","exp":{exp},"jti":"1","type":"access","iss":"them"}}"#);
    assert!(matches!(setup.verify(&flask(&twice)), Err(TokenError::Malformed(_))));
    assert_eq!(
        setup.verify(&flask(&json!({"iss":7,"sub":"jose","exp":exp}).to_string())),
        Err(TokenError::InvalidClaim("iss"))
    );
}

/// That the keys of one issuer can't be fetched is no reason to refuse what another has signed.
#[tokio::test]
async fn what_names_nobody_waits_for_no_keys_but_those_of_its_issuer() {
    let exp = NOON.as_unix() + 60;
    let token = flask(&json!({"sub":"jose","exp":exp,"jti":"1","type":"access"}).to_string());
    let waiting = || Decoder::new(Rules::new(issuer("waiting")).accept_missing_issuer(), KeySet::pending());
    let rules = |name| Rules::new(issuer(name)).accept_generic_type().accept_missing_issuer();
    let signer = || decoder(rules("flask"), &secret());
    let another = || decoder(rules("them"), SigningKey::generate(Algorithm::EdDSA).unwrap().verifying_key());
    let verify = async |decoders: [Decoder; 2]| {
        let node = Node::builder(issuer("us")).with_clock(Arc::new(ManualClock::at(NOON)));
        let node = decoders.into_iter().fold(node, |node, decoder| node.with_issuer(decoder));
        let node = node.start(Memory::new()).await.unwrap();
        node.verifier().verify(&token).map(|claims| claims.issuer.clone())
    };
    assert_eq!(verify([waiting(), signer()]).await, Ok(issuer("flask")));
    assert_eq!(verify([signer(), waiting()]).await, Ok(issuer("flask")));
    assert_eq!(verify([waiting(), another()]).await, Err(TokenError::Stale), "it may be of the first");
}

/// Claims of a foreign issuer other than the subject must not count as the node's own.
#[tokio::test]
async fn another_issuer_is_believed_who_somebody_is_and_what_it_is_trusted_with() {
    let theirs = SigningKey::generate(Algorithm::EdDSA).unwrap();
    let mut said = claims("them");
    said.session = Some(SessionId::new("s").unwrap());
    said.audience = vec!["us".to_owned()];
    said.fresh = Fresh::Yes;
    said.custom.insert("is_admin".into(), true.into());
    said.custom.insert("role".into(), "editor".into());
    let token = encode(&theirs, &said).unwrap();
    let rules = || Rules::new(issuer("them")).with_audience("us");
    let mut trusted = vec![(rules(), vec![], Fresh::No)];
    trusted.push((rules().with_trusted_claim("role"), vec!["role"], Fresh::No));
    trusted.push((rules().with_trusted_claim("role").with_trusted_claim("fresh"), vec!["role"], Fresh::Yes));
    for (rules, believed, fresh) in trusted {
        let node = Node::builder(issuer("us"))
            .with_clock(Arc::new(ManualClock::at(NOON)))
            .with_issuer(decoder(rules.clone(), theirs.verifying_key()))
            .start(Memory::new())
            .await
            .unwrap();
        let read = node.verifier().read_claims(&token).unwrap().0;
        for claims in [node.verifier().verify(&token).unwrap(), node.verifier().verify(&token).unwrap(), Arc::new(read)]
        {
            assert_eq!(Vec::from_iter(claims.custom.keys()), believed);
            assert_eq!(claims.fresh, fresh);
            let identity = {
                let mut claims = Claims::clone(&claims);
                claims.custom = said.custom.clone();
                claims.fresh = said.fresh;
                claims
            };
            assert_eq!(identity, said);
        }
        // A process with only this issuer can't confuse it with another.
        assert_eq!(decoder(rules, theirs.verifying_key()).decode(&token, NOON), Ok(said.clone()));
    }
}

/// Two nodes of one process share a decoder, and what it remembers.
#[tokio::test]
async fn what_a_node_remembers_of_its_own_tokens_another_node_does_not_believe() {
    for own_first in [true, false] {
        let node = |name| Node::builder(issuer(name)).with_clock(Arc::new(ManualClock::at(NOON)));
        let ours = node("ours").start(Memory::new()).await.unwrap();
        let decoder = Arc::clone(ours.verifier().decoder());
        let theirs = node("theirs").with_issuer(decoder).start(Memory::new()).await.unwrap();
        let admin = serde_json::Map::from_iter([("is_admin".to_owned(), true.into())]);
        let options = TokenOptions::new().with_access_claims(admin);
        let token =
            ours.sessions().log_in_with(claims("ours").subject, Origin::default(), &options).await.unwrap().access;
        for is_own in [own_first, !own_first, own_first] {
            let verifier = if is_own { ours.verifier() } else { theirs.verifier() };
            let claims = verifier.verify(&token).unwrap();
            assert_eq!((claims.custom.contains_key("is_admin"), claims.fresh == Fresh::Yes), (is_own, is_own));
        }
    }
}

#[tokio::test]
async fn without_an_id_what_is_signed_stands_for_it() {
    let setup = Setup::start().await;
    let claims = |sub: &str| json!({"sub":sub,"exp":NOON.as_unix() + 60,"type":"access"}).to_string();
    let (token, other) = (flask(&claims("jose")), flask(&claims("ana")));
    assert_eq!(setup.log_out(&token, Scope::This).await, Ok(0));
    assert_eq!(setup.verify(&token), Err(TokenError::Revoked(RevokedBy::Token)));
    assert!(setup.verify(&other).is_ok());
}

#[tokio::test]
async fn what_says_nothing_of_its_type_is_for_issuers_that_sign_nothing_else() {
    let token = forge(
        r#"{"alg":"HS256"}"#,
        &json!({"iss":"flask","sub":"jose","exp":NOON.as_unix() + 60,"jti":"1"}).to_string(),
    );
    let refresh =
        flask(&json!({"iss":"flask","sub":"jose","exp":NOON.as_unix() + 60,"jti":"1","type":"refresh"}).to_string());
    let identity = forge(
        r#"{"alg":"HS256","typ":"logout+jwt"}"#,
        &json!({"iss":"flask","sub":"jose","exp":NOON.as_unix() + 60,"jti":"1"}).to_string(),
    );
    let decode =
        |rules: Rules, token: &str| decoder(rules, &secret()).decode(token, NOON).map(|claims| claims.token_type);
    let rules = || Rules::new(issuer("flask"));
    assert_eq!(decode(rules(), &token), Err(TokenError::UnknownType));
    assert_eq!(decode(rules().accept_generic_type(), &token), Err(TokenError::MissingClaim("type")));
    assert_eq!(decode(rules().accept_missing_type(), &token), Ok(TokenType::Access));
    assert_eq!(decode(rules().accept_missing_type(), &refresh), Ok(TokenType::Refresh));
    assert_eq!(decode(rules().accept_missing_type(), &identity), Err(TokenError::UnknownType));
}

#[tokio::test]
async fn what_can_not_be_told_apart_is_refused_when_it_is_built() {
    let build = |names: Vec<Rules>| async {
        let mut builder = Node::builder(issuer("us"));
        for rules in names {
            builder = builder.with_issuer(decoder(rules, &secret()));
        }
        match builder.start(Memory::new()).await {
            Err(Error::InvalidSetting(error)) => error.to_string(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(build(vec![Rules::new(issuer("us"))]).await, "duplicate issuer `us`");
    let a = || Rules::new(issuer("a"));
    assert_eq!(build(vec![a(), a()]).await, "duplicate issuer `a`");
    let nameless = (0..5).map(|number| Rules::new(issuer(&number.to_string())).accept_missing_issuer()).collect();
    assert!(build(nameless).await.starts_with("no more than 4 issuers may"));
}

#[tokio::test]
async fn rubbish_is_refused_as_ever() {
    let setup = Setup::start().await;
    for (token, refusal) in [
        ("", TokenError::Missing),
        ("a", TokenError::Malformed("there are not three parts")),
        ("a.b", TokenError::Malformed("a part is not canonical base64url")),
        ("!.!.!", TokenError::Malformed("a part is not canonical base64url")),
        (&"a".repeat(10_000), TokenError::TooLong),
        (
            &sign(&format!("{}.{}", base64url(b"{}"), base64url(b"[]"))),
            TokenError::Malformed("the claims are not a JSON object"),
        ),
    ] {
        assert_eq!(setup.verify(token), Err(refusal), "{token}");
    }
}
