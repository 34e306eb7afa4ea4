//! A node, a relay that follows it, a relay that follows that one, and a service at the end: real processes.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::{Value, json};
use test_servers::adieu::{Adieu, Credentials, status};
use tokio::task::JoinHandle;

use crate::adieu;

/// The staleness bound of all processes, which is the default.
const BOUND: Duration = Duration::from_secs(2);
const MARGIN: Duration = Duration::from_secs(1);

struct Chain {
    node: Adieu,
    near: Adieu,
    far: Adieu,
    service: Credentials,
    near_at_node: Credentials,
    far_at_near: Credentials,
}

impl Chain {
    /// Starts all processes, and waits until no follower from before the last start can be live.
    async fn start() -> Self {
        let (node, [near_at_node]) = adieu().start_with_clients(["near"]).await;
        let (near, [far_at_near]) = adieu().following(&node.url(""), &near_at_node).start_with_clients(["far"]).await;
        let (far, [service]) = adieu().following(&near.url(""), &far_at_near).start_with_clients(["service"]).await;
        node.register("jose").await;
        tokio::time::sleep(BOUND).await;
        Self { node, near, far, service, near_at_node, far_at_near }
    }

    async fn is_accepted_everywhere(&self, token: &str) {
        for server in [&self.node, &self.near, &self.far] {
            let is_good = async || server.verify(token).await.0 == 204;
            server.becomes("willing to accept a good token", is_good).await;
        }
    }
}

/// A following service, and the sessions that it knows to have ended.
struct Service {
    known: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Drop for Service {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Service {
    async fn start(server: Arc<Chain>) -> Self {
        let known: Arc<Mutex<Vec<String>>> = Arc::default();
        let lease = "follower=service&max_staleness=2000";
        let (status, first) = server.far.read_feed(&server.service, lease).await;
        assert_eq!(status, 200, "{first}");
        let ended = Arc::clone(&known);
        let task = tokio::spawn(async move {
            let mut page = first;
            loop {
                let cursor = page["cursor"].as_str().unwrap().to_owned();
                let entries = page["entries"].as_array().unwrap();
                ended.lock().unwrap().extend(entries.iter().map(|entry| entry["id"].as_str().unwrap().to_owned()));
                page = server.far.read_feed(&server.service, &format!("{lease}&after={cursor}&wait=500")).await.1;
            }
        });
        Self { known, task }
    }

    fn knows(&self, token: &str) -> bool {
        let session = session_of(token);
        self.known.lock().unwrap().contains(&session)
    }
}

pub(super) fn session_of(token: &str) -> String {
    use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
    let claims: Value =
        serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap()).unwrap();
    claims["sid"].as_str().unwrap().to_owned()
}

fn counts(acknowledged: usize, waited_out: usize) -> Value {
    json!({ "acknowledged": acknowledged, "waited_out": waited_out, "unbounded": 0 })
}

#[tokio::test]
async fn a_logout_that_waited_is_known_at_the_far_end() {
    let chain = Arc::new(Chain::start().await);
    let service = Service::start(Arc::clone(&chain)).await;
    for _ in 0..3 {
        let token = chain.node.log_in("jose").await;
        chain.is_accepted_everywhere(&token).await;
        let (everywhere, took) = chain.node.log_out_everywhere(&token).await;
        // The node knows one follower, which reports for all followers behind it.
        assert_eq!(everywhere, counts(1, 0), "after {took:?}");
        assert!(service.knows(&token), "the service was not waited for");
        for server in [&chain.node, &chain.near, &chain.far] {
            assert_eq!(server.verify(&token).await, (401, "token_revoked".to_owned()));
        }
    }
}

#[tokio::test]
async fn a_frozen_follower_is_waited_out_and_refuses_as_soon_as_it_thaws() {
    let chain = Chain::start().await;
    for frozen in [&chain.far, &chain.near] {
        let token = chain.node.log_in("jose").await;
        chain.is_accepted_everywhere(&token).await;
        frozen.freeze();
        let (everywhere, took) = chain.node.log_out_everywhere(&token).await;
        assert!(took <= BOUND + MARGIN, "{took:?}");
        assert!(took >= BOUND / 2, "{took:?}: it was not waited for");
        if frozen.address() == chain.near.address() {
            assert_eq!(everywhere, counts(0, 1));
        } else {
            // Either a relay in between has waited for the lease to expire, or the node has waited for the relay's lease to expire.
            assert!([counts(1, 0), counts(0, 1)].contains(&everywhere), "{everywhere}");
        }
        // The first verdicts after it continues.
        let mut asked = Vec::new();
        for _ in 0..20 {
            asked.push(frozen.ask_to_verify(&token).await);
        }
        frozen.thaw();
        for stream in asked {
            let status = status(stream).await;
            assert!([401, 503].contains(&status), "{status}");
        }
        frozen.becomes("as good as before", async || frozen.verify(&token).await.0 == 401).await;
    }
}

#[tokio::test]
async fn a_follower_whose_client_was_removed_is_cut_off() {
    let chain = Chain::start().await;
    let token = chain.node.log_in("jose").await;
    chain.is_accepted_everywhere(&token).await;
    chain.near.command(&["client", "remove", &chain.far_at_near.name]).await;
    let is_cut_off = async || chain.far.verify(&token).await.0 == 503;
    chain.far.becomes("refusing", is_cut_off).await;
    assert_eq!(chain.far.get("/readyz", None).await, 503);
    assert_eq!(chain.near.verify(&token).await.0, 204);
    // No server waits for it any more.
    let (everywhere, took) = chain.node.log_out_everywhere(&token).await;
    assert_eq!(everywhere, counts(1, 0));
    assert!(took < BOUND, "{took:?}");

    chain.node.command(&["client", "remove", &chain.near_at_node.name]).await;
    chain.near.becomes("refusing", async || chain.near.get("/readyz", None).await == 503).await;
}

#[tokio::test]
async fn what_is_revoked_at_a_relay_is_revoked_at_the_node() {
    let chain = Chain::start().await;
    let token = chain.node.log_in("jose").await;
    chain.is_accepted_everywhere(&token).await;
    let (status, body) =
        chain.far.revoke(&chain.service, "?wait=everywhere", json!({ "session": session_of(&token) })).await;
    assert_eq!((status, &body["message"]), (200, &json!("Revoked.")), "{body}");
    assert_eq!(body["everywhere"], counts(1, 0));
    for server in [&chain.node, &chain.near, &chain.far] {
        assert_eq!(server.verify(&token).await, (401, "token_revoked".to_owned()));
    }
    let (status, body) = chain.far.revoke(&chain.service, "", json!({ "sessions": 1 })).await;
    assert_eq!(status, 422, "{body}");
    let nobody = chain.near_at_node.clone();
    assert_eq!(chain.far.revoke(&nobody, "", json!({})).await.0, 401);
}
