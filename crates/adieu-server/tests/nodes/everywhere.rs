//! `?wait=everywhere` covers the nodes of a store and their followers.

use std::time::Duration;

use adieu::{Issuer, token::TokenError};
use adieu_client::Service;
use serde_json::json;
use test_servers::adieu::Adieu;

use crate::{
    adieu,
    three_nodes::{BOUND, nodes, nodes_on},
};

/// Waits: until then, a node that has just started does not know its earlier followers.
async fn settle_down(nodes: &[Adieu]) {
    tokio::time::sleep(BOUND).await;
    for node in nodes {
        node.becomes("ready", async || node.get("/readyz", None).await == 200).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_has_it_when_it_is_answered() {
    let nodes = nodes(3, &[]).await;
    let [a, b, c] = &nodes[..] else { panic!() };
    settle_down(&nodes).await;
    let mut took = Vec::new();
    for _ in 0..20 {
        let token = b.log_in("jose").await;
        let (everywhere, elapsed) = a.log_out_everywhere(&token).await;
        assert_eq!(everywhere, json!({ "acknowledged": 2, "waited_out": 0, "unbounded": 0 }));
        for node in [a, b, c] {
            assert_eq!(node.verify(&token).await, (401, "token_revoked".to_owned()));
        }
        took.push(elapsed);
    }
    took.sort();
    println!("a logout held on three nodes after {:?} (p50), {:?} at most", took[took.len() / 2], took[took.len() - 1]);
    assert!(took[took.len() / 2] < BOUND, "it was answered by what they said, and not by waiting");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_of_another_node_is_waited_for() {
    let nodes = nodes(2, &[]).await;
    let [a, b] = &nodes[..] else { panic!() };
    let shop = b.add_client("shop", "follow").await;
    let issuer = Issuer::new("adieu").unwrap();
    let service = Service::builder(issuer, b.url(""), shop.name, shop.secret.into()).start().unwrap();
    service.ready().await.unwrap();
    settle_down(&nodes).await;

    for _ in 0..10 {
        let token = a.log_in("jose").await;
        assert_eq!(service.verifier().verify(&token).err(), None);
        let (everywhere, _) = a.log_out_everywhere(&token).await;
        assert_eq!(
            everywhere,
            json!({ "acknowledged": 2, "waited_out": 0, "unbounded": 0 }),
            "a node, and its follower"
        );
        assert!(matches!(service.verifier().verify(&token), Err(TokenError::Revoked(_))));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_frozen_is_waited_for_until_it_must_refuse() {
    let nodes = nodes(2, &[]).await;
    let [a, b] = &nodes[..] else { panic!() };
    settle_down(&nodes).await;
    let token = a.log_in("jose").await;
    assert_eq!(b.verify(&token).await.0, 204);
    b.freeze();
    let (everywhere, took) = a.log_out_everywhere(&token).await;
    assert_eq!(everywhere, json!({ "acknowledged": 0, "waited_out": 1, "unbounded": 0 }));
    assert!(took >= BOUND - Duration::from_millis(100), "{took:?}");
    b.thaw();
    assert_ne!(b.verify(&token).await.0, 204, "the first thing that it says after that");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_a_greater_bound_is_waited_for_as_long_as_that() {
    const GREATER: Duration = Duration::from_secs(5);
    let store = ("ADIEU_STORE", test_servers::postgres_database().await);
    let a = nodes_on(store.clone(), 1, &[("ADIEU_MAX_STALENESS", "500ms".to_owned())]).await.remove(0);
    let b = adieu().with(store.0, store.1).with("ADIEU_MAX_STALENESS", "5s").start().await;
    tokio::time::sleep(GREATER).await;
    let token = a.log_in("jose").await;
    b.becomes("willing to accept a good token", async || b.verify(&token).await.0 == 204).await;
    b.freeze();
    let (everywhere, took) = a.log_out_everywhere(&token).await;
    b.thaw();
    assert_ne!(b.verify(&token).await.0, 204, "answered after {took:?}, and the other node accepts the token");
    assert_eq!(everywhere, json!({ "acknowledged": 0, "waited_out": 1, "unbounded": 0 }));
}

/// The report of a node was lost with the primary's last writes, and the node has read nothing since.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_a_failover_has_lost_is_waited_for() {
    let mut primary = test_servers::Postgres::start().await;
    let store = ("ADIEU_STORE", primary.url());
    let a = nodes_on(store.clone(), 1, &[("ADIEU_MAX_STALENESS", "500ms".to_owned())]).await.remove(0);
    let (ended, token) = (a.log_in("jose").await, a.log_in("jose").await);
    a.log_out_everywhere(&ended).await;
    let mut standby = primary.standby().await;
    standby.stop().await;
    let b = adieu().with(store.0, store.1).with("ADIEU_MAX_STALENESS", "12s").start().await;
    // The session had already ended, so nothing is written, but the call still waits for the other node.
    assert_eq!(a.post("/logout?wait=everywhere", &ended).await.0, 401);
    assert_eq!(b.verify(&token).await.0, 204);
    b.freeze();
    primary.fail_over_to(standby).await;
    a.becomes("able to log out", async || {
        let (status, answer) = a.post("/logout?wait=everywhere", &token).await;
        assert_ne!((status, &answer["everywhere"]["acknowledged"]), (200, &json!(1)), "it is frozen");
        status == 200 || (status, answer["error"].as_str()) == (401, Some("token_revoked"))
    })
    .await;
    b.thaw();
    assert_ne!(b.verify(&token).await.0, 204, "it holds everywhere, and another node accepts the token");
    b.becomes("fresh again", async || b.verify(&a.log_in("jose").await).await.0 == 204).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_stops_is_not_waited_for() {
    let mut nodes = nodes(3, &[]).await;
    settle_down(&nodes).await;
    nodes.pop().unwrap().stop().await;
    let token = nodes[1].log_in("jose").await;
    let (everywhere, _) = nodes[0].log_out_everywhere(&token).await;
    assert_eq!(everywhere, json!({ "acknowledged": 1, "waited_out": 0, "unbounded": 0 }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_with_their_revocations_in_redis_wait_for_each_other() {
    let nodes = nodes_on(("ADIEU_REVOCATIONS", test_servers::redis_database().await), 2, &[]).await;
    let [a, b] = &nodes[..] else { panic!() };
    settle_down(&nodes).await;
    let token = a.log_in("jose").await;
    assert_eq!(b.verify(&token).await.0, 204);
    let (everywhere, _) = a.log_out_everywhere(&token).await;
    assert_eq!(everywhere, json!({ "acknowledged": 1, "waited_out": 0, "unbounded": 0 }));
    assert_eq!(b.verify(&token).await, (401, "token_revoked".to_owned()));
}
