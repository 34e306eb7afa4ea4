//! The keys that an issuer publishes: fetched, kept while the issuer is unreachable, and requested rarely.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex},
    time::Duration,
};

use adieu::{
    Error, Issuer, Subject,
    time::Timestamp,
    token::{Algorithm, Claims, Decoder, Jwks, KeyId, KeySet, Rules, SigningKey, TokenError, TokenType, encode},
};
use adieu_client::{KeyFollower, KeySource, transport::Transport};
use async_trait::async_trait;
use http::{Request, Response, header};
use serde_json::{Value, json};

const NOON: Timestamp = Timestamp::from_unix(1_800_000_000);

fn issuer() -> Issuer {
    Issuer::new("https://auth.example").unwrap()
}

/// An issuer whose published keys and behaviour the test sets.
#[derive(Debug, Default)]
struct Publisher(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    document: Vec<u8>,
    is_down: bool,
    is_always_unchanged: bool,
    max_age: Option<u64>,
    asked: usize,
    unchanged: usize,
}

impl Publisher {
    fn publish(&self, keys: &[&SigningKey]) {
        let keys = KeySet::new(keys.iter().map(|key| key.verifying_key().clone())).unwrap();
        self.0.lock().unwrap().document = serde_json::to_vec(&keys.jwks()).unwrap();
    }

    fn asked(&self) -> usize {
        self.0.lock().unwrap().asked
    }
}

#[async_trait]
impl Transport for Publisher {
    async fn send(&self, request: Request<Vec<u8>>, _: usize) -> Result<Response<Vec<u8>>, Error> {
        let mut state = self.0.lock().unwrap();
        state.asked += 1;
        if state.is_down {
            return Err(Error::unavailable("down"));
        }
        let mut hasher = DefaultHasher::new();
        state.document.hash(&mut hasher);
        let etag = format!("\"{:x}\"", hasher.finish());
        let mut response = Response::builder().header(header::ETAG, &etag);
        if let Some(age) = state.max_age {
            response = response.header(header::CACHE_CONTROL, format!("public, max-age={age}"));
        }
        let is_known = request.headers().get(header::IF_NONE_MATCH).is_some_and(|known| *known == etag);
        if is_known || state.is_always_unchanged {
            state.unchanged += 1;
            return Ok(response.status(304).body(Vec::new()).unwrap());
        }
        Ok(response.body(state.document.clone()).unwrap())
    }
}

struct Here {
    publisher: Arc<Publisher>,
    decoder: Arc<Decoder>,
    follower: KeyFollower,
}

impl Here {
    fn start(publisher: Publisher) -> Self {
        let publisher = Arc::new(publisher);
        let decoder = Arc::new(Decoder::new(Rules::new(issuer()), KeySet::pending()));
        let follower = KeyFollower::start(Arc::clone(&decoder), source(&publisher)).unwrap();
        Self { publisher, decoder, follower }
    }

    fn restart(&mut self) {
        self.follower = self.follower.restart(Arc::clone(&self.decoder), source(&self.publisher)).unwrap();
    }

    fn accepts(&self, key: &SigningKey) -> Result<(), TokenError> {
        let claims =
            Claims::new(issuer(), Subject::new("jose").unwrap(), TokenType::Access, NOON, Duration::from_secs(900));
        self.decoder.decode(&encode(key, &claims).unwrap(), NOON).map(drop)
    }
}

fn source(publisher: &Arc<Publisher>) -> KeySource {
    KeySource::new("https://auth.example/jwks.json").unwrap().with_transport(publisher.clone())
}

fn key() -> SigningKey {
    SigningKey::generate(Algorithm::ES256).unwrap()
}

#[tokio::test(start_paused = true)]
async fn before_they_are_known_nobody_can_tell() {
    let publisher = Publisher::default();
    publisher.0.lock().unwrap().is_down = true;
    let here = Here::start(publisher);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(here.accepts(&key()), Err(TokenError::Stale));
    assert!(!here.follower.is_ready() && here.follower.failure().is_some());

    let key = key();
    here.publisher.publish(&[&key]);
    here.publisher.0.lock().unwrap().is_down = false;
    here.follower.ready().await;
    assert_eq!(here.accepts(&key), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn an_unknown_key_is_asked_for_and_a_stranger_can_not_make_it_often() {
    let (old, new, forged) = (key(), key(), key());
    let publisher = Publisher::default();
    publisher.publish(&[&old]);
    let here = Here::start(publisher);
    here.follower.ready().await;

    here.publisher.publish(&[&old, &new]);
    assert_eq!(here.accepts(&new), Err(TokenError::UnknownKey));
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(here.accepts(&new), Ok(()));
    assert_eq!(here.publisher.asked(), 2);

    // A minute of unknown key ids.
    for _ in 0..600 {
        assert_eq!(here.accepts(&forged), Err(TokenError::UnknownKey));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(here.publisher.asked() <= 2 + 13, "asked {} times", here.publisher.asked());
}

#[tokio::test(start_paused = true)]
async fn the_last_good_keys_stay_while_the_issuer_is_down_or_publishes_nonsense() {
    let key = key();
    let publisher = Publisher::default();
    publisher.publish(&[&key]);
    let here = Here::start(publisher);
    here.follower.ready().await;

    for nonsense in ["", "[]", "{}", "{\"keys\":{}}", "{\"keys\":null}"] {
        here.publisher.0.lock().unwrap().document = nonsense.into();
        tokio::time::sleep(Duration::from_secs(4_000)).await;
        assert_eq!(here.accepts(&key), Ok(()), "{nonsense}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_publishes_no_key_has_none() {
    for none in [json!({"keys": []}), json!({"keys": [{"kty": "oct", "k": "c2VjcmV0", "alg": "HS256"}]})] {
        let key = key();
        let publisher = Publisher::default();
        publisher.publish(&[&key]);
        let here = Here::start(publisher);
        here.follower.ready().await;
        assert_eq!(here.accepts(&key), Ok(()));

        here.publisher.0.lock().unwrap().document = none.to_string().into();
        tokio::time::sleep(Duration::from_secs(301)).await;
        assert_eq!(here.accepts(&key), Err(TokenError::UnknownKey), "{none}");
        assert!(here.follower.is_ready());

        here.publisher.publish(&[&key]);
        tokio::time::sleep(Duration::from_secs(301)).await;
        assert_eq!(here.accepts(&key), Ok(()));
    }
}

#[tokio::test(start_paused = true)]
async fn keys_that_were_not_confirmed_for_a_day_are_not_believed() {
    let key = key();
    let publisher = Publisher::default();
    publisher.publish(&[&key]);
    let here = Here::start(publisher);
    here.follower.ready().await;
    here.publisher.0.lock().unwrap().is_down = true;
    tokio::time::sleep(Duration::from_secs(24 * 60 * 60 - 60)).await;
    assert_eq!(here.accepts(&key), Ok(()));
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(here.accepts(&key), Err(TokenError::Stale));
    assert!(!here.follower.is_ready() && here.follower.failure().is_some());

    here.publisher.0.lock().unwrap().is_down = false;
    here.follower.ready().await;
    assert_eq!(here.accepts(&key), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn the_day_begins_when_they_were_read_last() {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    let key = key();
    let publisher = Publisher::default();
    publisher.publish(&[&key]);
    let here = Here::start(publisher);
    here.follower.ready().await;
    tokio::time::sleep(DAY * 3).await;
    here.publisher.0.lock().unwrap().is_down = true;
    tokio::time::sleep(DAY - Duration::from_secs(600)).await;
    assert_eq!(here.accepts(&key), Ok(()));
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(here.accepts(&key), Err(TokenError::Stale));
}

#[tokio::test(start_paused = true)]
async fn a_follower_that_restarts_knows_what_was_known_and_since_when() {
    const HALF_A_DAY: Duration = Duration::from_secs(12 * 60 * 60);
    let key = key();
    let publisher = Publisher::default();
    publisher.publish(&[&key]);
    publisher.0.lock().unwrap().is_down = true;
    let mut here = Here::start(publisher);
    here.restart();
    assert!(!here.follower.is_ready());

    here.publisher.0.lock().unwrap().is_down = false;
    here.follower.ready().await;
    here.publisher.0.lock().unwrap().is_down = true;
    tokio::time::sleep(HALF_A_DAY).await;
    here.restart();
    assert!(here.follower.is_ready() && here.follower.failure().is_some());
    assert_eq!(here.accepts(&key), Ok(()));
    tokio::time::sleep(HALF_A_DAY + Duration::from_secs(60)).await;
    assert_eq!(here.accepts(&key), Err(TokenError::Stale));
    assert!(!here.follower.is_ready());

    here.publisher.0.lock().unwrap().is_down = false;
    here.restart();
    here.follower.ready().await;
    assert_eq!(here.accepts(&key), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_known_also_while_the_last_keys_are_used() {
    let publisher = Publisher::default();
    publisher.publish(&[&key()]);
    let here = Here::start(publisher);
    here.follower.ready().await;
    for is_down in [true, false, true, false] {
        here.publisher.0.lock().unwrap().is_down = is_down;
        tokio::time::sleep(Duration::from_secs(400)).await;
        assert!(here.follower.is_ready());
        assert_eq!(here.follower.failure().is_some(), is_down);
    }
}

#[tokio::test(start_paused = true)]
async fn that_nothing_has_changed_is_no_answer_where_nothing_is_known() {
    let publisher = Publisher::default();
    publisher.0.lock().unwrap().is_always_unchanged = true;
    let here = Here::start(publisher);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!here.follower.is_ready() && here.follower.failure().is_some());
    assert_eq!(here.accepts(&key()), Err(TokenError::Stale));
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_taken_back_is_gone_when_the_answer_has_aged() {
    let (old, new) = (key(), key());
    let publisher = Publisher::default();
    publisher.publish(&[&old]);
    publisher.0.lock().unwrap().max_age = Some(120);
    let here = Here::start(publisher);
    here.follower.ready().await;
    here.publisher.publish(&[&new]);
    tokio::time::sleep(Duration::from_secs(119)).await;
    assert_eq!(here.accepts(&old), Ok(()));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(here.accepts(&old), Err(TokenError::UnknownKey));
    assert_eq!(here.accepts(&new), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn how_long_an_answer_lasts_has_limits_and_what_has_not_changed_is_not_sent_again() {
    for (said, least, most) in [(Some(0), 60, 61), (Some(1_000_000), 24, 25), (None, 288, 290)] {
        let publisher = Publisher::default();
        publisher.publish(&[&key()]);
        publisher.0.lock().unwrap().max_age = said;
        let here = Here::start(publisher);
        here.follower.ready().await;
        let span = if said == Some(0) { 3_600 } else { 86_400 };
        tokio::time::sleep(Duration::from_secs(span) - Duration::from_secs(1)).await;
        let state = here.publisher.0.lock().unwrap();
        assert!((least..=most).contains(&state.asked), "{said:?}: asked {} times", state.asked);
        assert_eq!(state.unchanged, state.asked - 1);
    }
}

fn document(change: impl Fn(&mut Vec<Value>)) -> Vec<u8> {
    let keys = KeySet::new([key().verifying_key().clone()]).unwrap();
    let mut document = serde_json::to_value(keys.jwks()).unwrap();
    change(document["keys"].as_array_mut().unwrap());
    serde_json::to_vec(&document).unwrap()
}

fn names(document: &[u8], rsa: Option<Algorithm>) -> usize {
    Jwks::key_set(document, rsa).unwrap().iter().count()
}

#[test]
fn what_is_not_for_us_is_left_out() {
    let with = |key: Value| document(move |keys| keys.push(key.clone()));
    for other in [
        json!({"kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0", "alg": "HS256", "kid": "a"}),
        json!({"kty": "EC", "crv": "secp256k1", "x": "AA", "y": "AA", "kid": "b"}),
        json!({"kty": "OKP", "crv": "X25519", "x": "AA", "use": "enc"}),
        json!({"kty": "new", "alg": "NEW"}),
        json!("nonsense"),
        json!(null),
    ] {
        assert_eq!(names(&with(other.clone()), None), 1, "{other}");
    }
    // If a key id occurs twice, the first key counts.
    assert_eq!(names(&document(|keys| keys.push(keys[0].clone())), None), 1);
    assert_eq!(names(&document(|keys| keys[0]["use"] = json!("enc")), None), 0);
}

/// That of RFC 7517, appendix A.1.
const RSA_MODULUS: &str = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMs\
     tn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn\
     1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";

#[test]
fn an_rsa_key_needs_an_algorithm() {
    // Without its `alg`.
    let rsa = json!({"kty": "RSA", "n": RSA_MODULUS, "e": "AQAB", "kid": "2011-04-29"});
    let document = document(|keys| keys.push(rsa.clone()));
    assert_eq!(names(&document, None), 1);
    let keys = Jwks::key_set(&document, Some(Algorithm::RS256)).unwrap();
    let key = keys.iter().find(|key| key.key_id() == Some(&KeyId::new("2011-04-29").unwrap())).unwrap();
    assert_eq!(key.algorithm(), Algorithm::RS256);
    assert_eq!(names(&document, Some(Algorithm::HS256)), 1);
}

/// A provider whose metadata the test changes. Its keys always have the same `ETag`, and the place where they were read as their id.
#[derive(Debug)]
struct Provider(Mutex<(&'static str, &'static str)>);

#[async_trait]
impl Transport for Provider {
    async fn send(&self, request: Request<Vec<u8>>, _: usize) -> Result<Response<Vec<u8>>, Error> {
        let (keys, algorithm) = *self.0.lock().unwrap();
        if request.uri().path() == "/.well-known/openid-configuration" {
            let metadata = json!({
                "issuer": "https://auth.example", "jwks_uri": keys, "id_token_signing_alg_values_supported": [algorithm]
            });
            return Ok(Response::new(serde_json::to_vec(&metadata).unwrap()));
        }
        let response = Response::builder().header(header::ETAG, "\"1\"");
        match request.headers().contains_key(header::IF_NONE_MATCH) {
            true => Ok(response.status(304).body(Vec::new()).unwrap()),
            false => {
                let rsa = json!({"kty": "RSA", "n": RSA_MODULUS, "e": "AQAB", "kid": request.uri().path()});
                Ok(response.body(serde_json::to_vec(&json!({ "keys": [rsa] })).unwrap()).unwrap())
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_unchanged_is_the_document_at_the_same_place_read_in_the_same_way() {
    let provider = Arc::new(Provider(Mutex::new(("https://auth.example/one", "PS256"))));
    let decoder = Arc::new(Decoder::new(Rules::new(issuer()), KeySet::pending()));
    let source = KeySource::discover(issuer()).unwrap().with_transport(provider.clone());
    let follower = KeyFollower::start(Arc::clone(&decoder), source).unwrap();
    follower.ready().await;
    for (keys, algorithm, read) in [
        ("https://auth.example/one", "PS256", (Algorithm::PS256, "/one")),
        ("https://auth.example/one", "RS256", (Algorithm::RS256, "/one")),
        ("https://auth.example/other", "RS256", (Algorithm::RS256, "/other")),
    ] {
        *provider.0.lock().unwrap() = (keys, algorithm);
        tokio::time::sleep(Duration::from_secs(24 * 3600)).await;
        let known = decoder.keys();
        let known = known.iter().map(|key| (key.algorithm(), key.key_id().unwrap().as_str().to_owned()));
        assert_eq!(known.collect::<Vec<_>>(), [(read.0, read.1.to_owned())]);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_passed_on_lasts_no_longer_than_the_issuer_said() {
    const SAID: Duration = Duration::from_secs(300);
    let publisher = Publisher::default();
    publisher.publish(&[&key()]);
    publisher.0.lock().unwrap().max_age = Some(SAID.as_secs());
    let here = Here::start(publisher);
    assert_eq!(here.follower.keys_valid_for(), Duration::ZERO);
    here.follower.ready().await;
    let at_first = here.follower.keys_valid_for();
    assert!(at_first <= SAID && at_first > SAID - Duration::from_secs(1), "{at_first:?}");
    tokio::time::sleep(SAID / 3).await;
    assert!(here.follower.keys_valid_for() <= at_first - SAID / 3);

    here.publisher.0.lock().unwrap().is_down = true;
    tokio::time::sleep(SAID).await;
    assert_eq!(here.follower.keys_valid_for(), Duration::ZERO);
}
