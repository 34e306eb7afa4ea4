//! A node of the previous version beside one of this version, as during an upgrade of one node after the other. `scripts/prove neighbours` builds the
//! previous version; without it, both are of this version.

use std::time::Instant;

use reqwest::Method;
use serde_json::json;
use test_servers::{adieu::Adieu, postgres_database, redis_database};

use crate::{adieu, three_nodes::refused_after};

/// The environment variable with the program of the previous version.
const PREVIOUS: &str = "ADIEU_PREVIOUS_PROGRAM";

fn previous() -> Adieu {
    std::env::var(PREVIOUS).map_or_else(|_| adieu(), |program| Adieu::new(&program))
}

/// Logs in at one node and out at the other, and checks that all of them honour it in time.
async fn logs_out(login: &Adieu, logout: &Adieu, all: &[&Adieu]) {
    let token = login.log_in("jose").await;
    for node in all {
        node.becomes("the token is good", async || node.verify(&token).await.0 == 204).await;
    }
    assert_eq!(logout.ask(Method::POST, "/logout", Some(&token), None).await.0, 200);
    let answered_at = Instant::now();
    for node in all {
        refused_after(node, &token, answered_at).await;
    }
}

async fn run_beside_each_other(store: Vec<(&'static str, String)>) {
    let on_store = |node: Adieu| store.iter().fold(node, |node, (name, value)| node.with(name, value));
    let mut old = on_store(previous()).start().await;
    old.register("jose").await;
    let before = old.log_in_for_both("jose").await;
    let new = on_store(adieu()).start().await;
    assert_eq!(new.verify(&before.access).await.0, 204, "a session from before the upgrade");

    // The commands of the earlier version may find the tables newer. Relays of both versions, each of the node of the other version.
    let client = new.add_client("relay", "follow").await;
    let (of_old, of_new) = (adieu().following(&old.url(""), &client), previous().following(&new.url(""), &client));
    let (of_old, of_new) = tokio::join!(of_old.start(), of_new.start());
    for _ in 0..2 {
        logs_out(&old, &new, &[&old, &new, &of_old, &of_new]).await;
        logs_out(&new, &old, &[&old, &new, &of_old, &of_new]).await;
    }
    for node in [&old, &new] {
        let token = node.log_in("jose").await;
        let (everywhere, _) = node.log_out_everywhere(&token).await;
        assert_eq!(everywhere, json!({"acknowledged": 3, "unbounded": 0, "waited_out": 0}));
        for other in [&old, &new, &of_old, &of_new] {
            assert_eq!(other.verify(&token).await, (401, "token_revoked".to_owned()));
        }
    }
    // A chain of refresh tokens goes on at the other node.
    let at_new = new.refresh(&before.refresh).await.unwrap();
    let at_old = old.refresh(&at_new.refresh).await.unwrap();
    assert_eq!(new.verify(&at_old.access).await.0, 204);

    // An earlier version that starts again works, or says that the tables are newer, and harms nobody.
    old.end();
    old.spawn();
    if old.ready_or_ended().await.is_err() {
        assert!(old.log().contains("was written by a newer version of adieu"), "{}", old.log());
    }
    assert_eq!(new.verify(&at_old.access).await.0, 204);
    logs_out(&new, &new, &[&new, &of_new]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_versions_share_postgres() {
    run_beside_each_other(vec![("ADIEU_STORE", postgres_database().await)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_versions_share_redis() {
    run_beside_each_other(vec![
        ("ADIEU_STORE", postgres_database().await),
        ("ADIEU_REVOCATIONS", redis_database().await),
    ])
    .await;
}
