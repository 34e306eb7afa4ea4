//! Keys are changed by commands while servers run on the same store, and a relay follows one of them.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::Value;
use test_servers::{TEST_TIMEOUT, adieu::Adieu, until};

use crate::support::Place;

/// The status of `/verify` for a valid token.
const GOOD: u16 = 204;
const MAX_STALENESS: Duration = Duration::from_secs(2);

const JWKS: &str = "/.well-known/jwks.json";

/// Returns the ids of the keys that a server publishes, in order of their names.
async fn published(server: &Adieu) -> Vec<String> {
    let (status, set) = server.ask(Method::GET, JWKS, None, None).await;
    assert_eq!(status, 200);
    let mut ids: Vec<String> =
        set["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect();
    ids.sort();
    ids
}

fn has_written(server: &Adieu, event: &str, key: &str) -> bool {
    let log = server.log();
    log.lines().any(|line| line.contains("adieu::audit") && line.contains(event) && line.contains(key))
}

fn key_of(token: &str) -> String {
    use base64::Engine as _;
    let header = base64::prelude::BASE64_URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
    serde_json::from_slice::<Value>(&header).unwrap()["kid"].as_str().unwrap().to_owned()
}

fn sorted(ids: &[&str]) -> Vec<String> {
    let mut ids: Vec<String> = ids.iter().map(|id| (*id).to_owned()).collect();
    ids.sort();
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_refuses_nobody_on_any_node() {
    let place = Place::with_user("jose");
    let (one, other) = (place.server().start().await, place.server().start().await);
    let before = one.log_in_for_both("jose").await;
    let old = key_of(&before.access);

    let rotated = place.run(&["key", "rotate", "--after", "4s", "--json"]).succeeded().object();
    let new = rotated["id"].as_str().unwrap().to_owned();
    let started = Instant::now();
    // A token from a login or refresh at any time during the change is accepted everywhere at once.
    let (mut by_old, mut by_new) = (0, 0);
    let mut latest = before;
    while by_new < 5 {
        assert!(started.elapsed() < TEST_TIMEOUT, "it never signs: {by_old}");
        for (here, there) in [(&one, &other), (&other, &one)] {
            latest = here.refresh(&latest.refresh).await.unwrap();
            assert_eq!(there.verify(&latest.access).await.0, GOOD);
            assert_eq!(here.verify(&latest.access).await.0, GOOD);
            match key_of(&latest.access) {
                key if key == new => {
                    assert_eq!(published(here).await, sorted(&[&old, &new]));
                    by_new += 1;
                }
                key => {
                    assert_eq!(key, old);
                    by_old += 1;
                }
            }
        }
    }
    // Times in tokens and keys are whole seconds, and the command took a while.
    assert!(by_old > 0 && started.elapsed() > Duration::from_secs(2));
    for server in [&one, &other] {
        assert_eq!(published(server).await, sorted(&[&old, &new]));
        until("told", async || has_written(server, "key_added", &new)).await;
        until("told", async || has_written(server, "key_activated", &new)).await;
    }
    let listed = place.run(&["key", "list", "--json"]).succeeded().objects();
    let signing: Vec<_> = listed.iter().map(|key| key["signs"].as_bool().unwrap()).collect();
    assert_eq!(signing, [false, true]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_removed_key_has_signed_is_refused_by_every_node_within_the_bound() {
    let place = Place::with_user("jose");
    let (one, other) = (place.server().start().await, place.server().start().await);
    let stolen = one.log_in_for_both("jose").await;
    let old = key_of(&stolen.access);
    for server in [&one, &other] {
        assert_eq!(server.verify(&stolen.access).await.0, GOOD);
    }

    let removed = place.run(&["key", "remove", &old, "--json"]).succeeded().object();
    let answered_at = Instant::now();
    let new = removed["successor"].as_str().unwrap().to_owned();
    for server in [&one, &other] {
        loop {
            let asked_at = Instant::now();
            match server.verify(&stolen.access).await.0 {
                401 => break,
                GOOD => assert!(asked_at <= answered_at + MAX_STALENESS, "accepted {:?} later", answered_at.elapsed()),
                status => assert_eq!(status, 503),
            }
            assert!(answered_at.elapsed() < TEST_TIMEOUT, "the key did not arrive");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        println!("a node refused it {:?} after the command", answered_at.elapsed());
        assert_eq!(server.refresh(&stolen.refresh).await, Err(401));
        // The revocation of the key arrives before its removal, or together with it.
        until("published", async || published(server).await == std::slice::from_ref(&new)).await;
        for event in ["key_added", "key_activated"] {
            until(event, async || has_written(server, event, &new)).await;
        }
        until("key_removed", async || has_written(server, "key_removed", &old)).await;
    }
    let tokens = other.log_in_for_both("jose").await;
    assert_eq!((key_of(&tokens.access), one.verify(&tokens.access).await.0), (new, GOOD));
}

/// A relay reads the keys from a URL, and believes them for minutes; the revocation of the key reaches it by the feed.
#[tokio::test(flavor = "multi_thread")]
async fn a_follower_refuses_it_within_the_bound_too() {
    let place = Place::with_user("jose");
    let node = place.server().start().await;
    let relay = node.add_client("relay", "follow,revoke,introspect").await;
    let relay = place.server().with_data(&place.path("relay")).following(&node.url(""), &relay).start().await;
    let stolen = node.log_in("jose").await;
    let old = key_of(&stolen);
    until("known to the relay", async || relay.verify(&stolen).await.0 == GOOD).await;

    place.run(&["key", "remove", &old]).succeeded();
    let answered_at = Instant::now();
    loop {
        let asked_at = Instant::now();
        match relay.verify(&stolen).await.0 {
            401 => break,
            GOOD => assert!(asked_at <= answered_at + MAX_STALENESS, "accepted {:?} later", answered_at.elapsed()),
            status => assert_eq!(status, 503),
        }
        assert!(answered_at.elapsed() < TEST_TIMEOUT, "the revocation did not arrive");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(published(&relay).await, [old], "the relay still has the key itself");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_learns_of_a_new_key_when_it_sees_one() {
    let place = Place::with_user("jose");
    let node = place.server().start().await;
    let relay = node.add_client("relay", "follow,revoke,introspect").await;
    let relay = place.server().with_data(&place.path("relay")).following(&node.url(""), &relay).start().await;
    let before = node.log_in_for_both("jose").await;
    let old = key_of(&before.access);
    assert_eq!((relay.verify(&before.access).await.0, published(&relay).await), (GOOD, vec![old.clone()]));

    let new = place.run(&["key", "rotate", "--after", "0s", "--json"]).succeeded().object();
    let new = new["id"].as_str().unwrap();
    until("signed with the new key", async || key_of(&node.log_in("jose").await) == new).await;
    let tokens = node.log_in_for_both("jose").await;
    until("known to the relay", async || relay.verify(&tokens.access).await.0 == GOOD).await;
    assert_eq!(published(&relay).await, sorted(&[&old, new]));

    // The relay's cache lifetime is no longer than the node's.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let answer = reqwest::get(relay.url(JWKS)).await.unwrap();
    let lasts =
        answer.headers()["cache-control"].to_str().unwrap().strip_prefix("public, max-age=").unwrap().to_owned();
    assert!((1..299).contains(&lasts.parse::<u64>().unwrap()), "{lasts}");
}
