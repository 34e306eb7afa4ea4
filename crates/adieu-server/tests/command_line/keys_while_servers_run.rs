//! Keys are changed by commands while servers run on the same store, and a relay follows one of them.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::Value;

use crate::{
    server::{Server, TEST_TIMEOUT, becomes},
    support::Place,
};

/// The status of `/verify` for a valid token.
const GOOD: u16 = 204;
const MAX_STALENESS: Duration = Duration::from_secs(2);

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
    let (one, other) = (Server::start(&place, &[]).await, Server::start(&place, &[]).await);
    let before = one.log_in().await;
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
            latest = here.refresh(&latest.refresh).await;
            assert_eq!(there.verify(&latest.access).await, GOOD);
            assert_eq!(here.verify(&latest.access).await, GOOD);
            match key_of(&latest.access) {
                key if key == new => {
                    assert_eq!(here.published().await, sorted(&[&old, &new]));
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
        assert_eq!(server.published().await, sorted(&[&old, &new]));
        becomes("told", async || server.has_written("key_added", &new)).await;
        becomes("told", async || server.has_written("key_signs", &new)).await;
    }
    let listed = place.run(&["key", "list", "--json"]).succeeded().objects();
    let signing: Vec<_> = listed.iter().map(|key| key["signs"].as_bool().unwrap()).collect();
    assert_eq!(signing, [false, true]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_removed_key_has_signed_is_refused_by_every_node_within_the_bound() {
    let place = Place::with_user("jose");
    let (one, other) = (Server::start(&place, &[]).await, Server::start(&place, &[]).await);
    let stolen = one.log_in().await;
    let old = key_of(&stolen.access);
    for server in [&one, &other] {
        assert_eq!(server.verify(&stolen.access).await, GOOD);
    }

    let removed = place.run(&["key", "remove", &old, "--json"]).succeeded().object();
    let answered_at = Instant::now();
    let new = removed["successor"].as_str().unwrap().to_owned();
    for server in [&one, &other] {
        loop {
            let asked_at = Instant::now();
            match server.verify(&stolen.access).await {
                401 => break,
                GOOD => assert!(asked_at <= answered_at + MAX_STALENESS, "accepted {:?} later", answered_at.elapsed()),
                status => assert_eq!(status, 503),
            }
            assert!(answered_at.elapsed() < TEST_TIMEOUT, "it does not hear of it");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        println!("a node refused it {:?} after the command", answered_at.elapsed());
        assert_eq!(server.ask(Method::POST, "/refresh", Some(&stolen.refresh), None).await.0, 401);
        assert_eq!(server.published().await, std::slice::from_ref(&new));
        for event in ["key_added", "key_signs"] {
            becomes(event, async || server.has_written(event, &new)).await;
        }
        becomes("key_removed", async || server.has_written("key_removed", &old)).await;
    }
    let tokens = other.log_in().await;
    assert_eq!((key_of(&tokens.access), one.verify(&tokens.access).await), (new, GOOD));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_learns_of_a_new_key_when_it_sees_one() {
    let place = Place::with_user("jose");
    let node = Server::start(&place, &[]).await;
    let added = place.run(&["client", "add", "relay", "--can", "follow,revoke,introspect", "--json"]).succeeded();
    let secret = added.object()["secret"].as_str().unwrap().to_owned();
    let url = format!("http://{}", node.address);
    let follow = [
        ("ADIEU_FOLLOW", url.as_str()),
        ("ADIEU_FOLLOW_CLIENT", "relay"),
        ("ADIEU_FOLLOW_SECRET", secret.as_str()),
        ("ADIEU_DATA", "relay"),
    ];
    let relay = Server::start(&place, &follow).await;
    let before = node.log_in().await;
    let old = key_of(&before.access);
    assert_eq!((relay.verify(&before.access).await, relay.published().await), (GOOD, vec![old.clone()]));

    let new = place.run(&["key", "rotate", "--after", "0s", "--json"]).succeeded().object();
    let new = new["id"].as_str().unwrap();
    becomes("signed with the new key", async || key_of(&node.log_in().await.access) == new).await;
    let tokens = node.log_in().await;
    becomes("known to the relay", async || relay.verify(&tokens.access).await == GOOD).await;
    assert_eq!(relay.published().await, sorted(&[&old, new]));

    // The relay's cache lifetime is no longer than the node's.
    let url = format!("http://{}/.well-known/jwks.json", relay.address);
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let answer = reqwest::get(url).await.unwrap();
    let lasts =
        answer.headers()["cache-control"].to_str().unwrap().strip_prefix("public, max-age=").unwrap().to_owned();
    assert!((1..299).contains(&lasts.parse::<u64>().unwrap()), "{lasts}");
}
