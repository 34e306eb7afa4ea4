use serde_json::json;

use crate::{
    revoked,
    server::{Server, Tokens},
};

#[tokio::test]
async fn a_logout_survives_a_crash_and_so_does_everything_else() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start_on(&folder.path().join("data")).await;
    let (jose, anna) = (server.user("jose").await, server.user("anna").await);
    assert_eq!(server.log_out(&jose.access).await.0, 200);
    server.kill().await;

    let server = Server::start_on(&folder.path().join("data")).await;
    assert_eq!(server.get("/item", &jose.access).await, revoked());
    assert_eq!(server.refresh(&jose.refresh).await, revoked());
    assert_eq!(server.get("/item", &anna.access).await, (200, json!([])));
    Tokens::of(server.refresh(&anna.refresh).await);
    server.log_in("jose").await;
}
