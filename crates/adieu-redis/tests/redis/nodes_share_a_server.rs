//! Nodes that share only a Redis server.

use std::time::{Duration, Instant};

use adieu::{
    Issuer, Node, Subject,
    revocation::RevocationLog,
    session::{Scope, SessionStore},
    token::{KeyStore, TokenError},
};
use adieu_conformance::sample::{after, session, token};
use adieu_redis::Redis;
use test_servers::{recovers, redis_database};

use crate::support::{cursor, shared};

async fn node(url: &str) -> Node {
    let store = Redis::connect(url).await.unwrap();
    Node::builder(Issuer::new("https://adieu.test").unwrap()).start(store).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_logout_on_one_is_known_to_the_others() {
    let url = redis_database().await;
    let (one, other) = tokio::join!(node(&url), node(&url));
    let subject = Subject::new("jose").unwrap();
    let pair = one.sessions().log_in(subject).await.unwrap();
    other.verifier().verify(&pair.access).unwrap();
    other.sessions().log_out(&pair.access, Scope::This).await.unwrap();
    let started = Instant::now();
    recovers(async || match one.verifier().verify(&pair.access) {
        Err(TokenError::Revoked(_)) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    assert_eq!(Redis::connect(&url).await.unwrap().sessions(None, 10).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_is_woken_by_another_process_and_not_by_the_clock() {
    let url = redis_database().await;
    let (here, there) = (Redis::connect(&url).await.unwrap(), Redis::connect(&url).await.unwrap());
    let mut cursor = cursor(&here).await;
    let mut took = Vec::new();
    for number in 0..20 {
        let (page, appended) = tokio::join!(here.read(Some(&cursor), Duration::from_secs(60)), async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            there.append(vec![token(format!("{number}"))]).await.unwrap();
            Instant::now()
        });
        took.push(appended.elapsed());
        let page = page.unwrap();
        assert_eq!(page.entries.len(), 1);
        cursor = page.cursor;
    }
    // The clock alone wakes a reader every 250 ms, so after 230 ms each time.
    assert!(took.iter().min() < Some(&Duration::from_millis(150)), "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prefixes_keep_them_apart() {
    let (one, other) = (shared().await, shared().await);
    one.append(vec![token("one")]).await.unwrap();
    one.create(session("jose")).await.unwrap();
    assert_ne!(cursor(&one).await.log, cursor(&other).await.log);
    assert!(other.read(None, Duration::ZERO).await.unwrap().entries.is_empty());
    assert!(other.sessions(None, 10).await.unwrap().is_empty());
    assert!(other.keys().await.unwrap().is_empty());
    assert_eq!(one.latest_expiry().await.unwrap(), after(86_400));
}
