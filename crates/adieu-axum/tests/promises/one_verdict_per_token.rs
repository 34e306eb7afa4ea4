//! A handler gives the verdict that every other implementation gives: the table is in `tests/verdicts.json`.

use std::sync::Arc;

use adieu::{
    Issuer, Node,
    session::{Scope, SessionError},
    store::Memory,
    time::{Clock, SystemClock},
    token::Decoder,
};
use adieu_axum::{AccessToken, Guard};
use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Request, StatusCode, header},
    routing::get,
};
use tower::ServiceExt as _;

use crate::verdicts::{GOOD, Table};

async fn verdict(router: &Router, token: &str) -> String {
    let request = Request::get("/").header(header::AUTHORIZATION, format!("Bearer {token}"));
    let response = router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    if response.status() == StatusCode::OK {
        return GOOD.to_owned();
    }
    let body = to_bytes(response.into_body(), 10_000).await.unwrap();
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    body["error"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn every_row_of_the_table_is_judged_as_it_says() {
    let table = Table::read();
    let builder = table.issuers.iter().fold(Node::builder(Issuer::new("own").unwrap()), |builder, (name, issuer)| {
        builder.with_issuer(Decoder::new(issuer.rules(name), issuer.keys()))
    });
    let node = builder.start(Memory::new()).await.unwrap();
    let sessions = node.sessions();
    let router = Router::new()
        .route("/", get(|_: AccessToken| async {}))
        .with_state(Guard::from_sessions(&Arc::clone(sessions)));

    let rows = table.tokens(SystemClock.now().as_unix());
    for (row, token) in &rows {
        sessions.revoke(row.named(token, sessions)).await.unwrap();
    }
    for (row, token) in &rows {
        assert_eq!(verdict(&router, token).await, row.verify, "{}: {token}", row.name);
    }
    for (row, token) in &rows {
        let logged_out = match sessions.log_out(token, Scope::This).await {
            Ok(_) => GOOD,
            Err(SessionError::InvalidToken(refusal)) => refusal.code(),
            Err(error) => panic!("{}: {error}", row.name),
        };
        assert_eq!(logged_out, row.log_out, "{}: {token}", row.name);
        assert_ne!(verdict(&router, token).await, GOOD, "{}: {token}", row.name);
    }
}
