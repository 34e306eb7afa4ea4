//! A backup replaces a node's store, with real processes: every token from before is rejected, by the node and by its followers.

use std::{
    fs,
    path::{Path, PathBuf},
};

use adieu::{Issuer, token::TokenError};
use adieu_client::Service;
use reqwest::Method;
use tempfile::TempDir;
use test_servers::{
    adieu::{Adieu, Credentials},
    until,
};

use crate::{adieu, proxy::Proxy};

/// Copies the store in its current state, while the node runs.
fn copy(node: &Adieu) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("backup");
    let store = rusqlite::Connection::open(node.data().join("adieu.sqlite")).unwrap();
    store.execute("VACUUM INTO $1", [copy.to_str().unwrap()]).unwrap();
    (folder, copy)
}

fn put_back(copy: &Path, data: &Path) {
    for file in ["adieu.sqlite-wal", "adieu.sqlite-shm"] {
        let _ = fs::remove_file(data.join(file));
    }
    fs::remove_file(data.join("adieu.sqlite")).unwrap();
    fs::copy(copy, data.join("adieu.sqlite")).unwrap();
}

async fn service(proxy: &Proxy, client: &Credentials) -> Service {
    let issuer = Issuer::new("adieu").unwrap();
    let service = Service::builder(issuer, proxy.url(), &client.name, client.secret.as_str().into()).start().unwrap();
    service.ready().await.unwrap();
    service
}

fn is_revoked(service: &Service, token: &str) -> bool {
    matches!(service.verifier().verify(token), Err(TokenError::Revoked(_)))
}

#[tokio::test]
async fn every_token_from_before_is_refused_here_and_by_those_who_follow() {
    let (mut node, [client]) = adieu().start_with_clients(["orders"]).await;
    node.register("jose").await;
    let proxy = Proxy::start(node.address()).await;
    let early = service(&proxy, &client).await;
    for round in 0..5 {
        let (left, stayed) = (node.log_in("jose").await, node.log_in("jose").await);
        until("the service accepts", async || early.verifier().verify(&left).is_ok()).await;
        let (_folder, copy) = copy(&node);
        assert_eq!(node.ask(Method::POST, "/logout", Some(&left), None).await.0, 200);
        // Killed at once: the mark contains what was acknowledged.
        node.start_again(|data| put_back(&copy, data)).await;

        for token in [&left, &stayed] {
            assert_eq!(node.verify(token).await.0, 401, "round {round}");
        }
        until("the service refuses", async || is_revoked(&early, &left) && is_revoked(&early, &stayed)).await;
        // A service that knows only the node's current state.
        let late = service(&proxy, &client).await;
        assert!(is_revoked(&late, &left) && is_revoked(&late, &stayed));

        let new = node.log_in("jose").await;
        assert_eq!(node.verify(&new).await.0, 204);
        let all_accept = async || [&early, &late].iter().all(|service| service.verifier().verify(&new).is_ok());
        until("they accept who logs in again", all_accept).await;

        // The next start changes nothing more.
        node.start_again(|_| ()).await;
        assert_eq!(node.verify(&new).await.0, 204);
        assert_eq!(node.verify(&left).await.0, 401);
    }
}
