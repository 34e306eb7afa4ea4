//! The application that uses adieu-axum, in this process.

use std::sync::Arc;

use adieu::{
    Issuer, Node, Subject,
    session::{Origin, Scope, Sessions, TokenOptions},
};
use adieu_axum::{AccessToken, AuthRejection, BearerToken, FreshAccessToken};
use axum::{
    Json, Router,
    extract::State,
    routing::{get, post},
};
use serde_json::{Map, Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

use crate::{api::Api, key::SharedKey};

pub(crate) const ISSUER: &str = "https://adieu.test";

pub(crate) struct AxumApp {
    pub(crate) api: Api,
    serving: JoinHandle<()>,
    #[expect(dead_code, reason = "runs for as long as it is there")]
    node: Node,
}

impl Drop for AxumApp {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl AxumApp {
    pub(crate) async fn start<S>(key: &SharedKey, store: S) -> Self
    where
        S: adieu::store::Store + Clone,
    {
        let node = Node::builder(Issuer::new(ISSUER).unwrap())
            .with_signing_key(key.signing_key())
            .with_rules(|rules| rules.accept_generic_type().accept_missing_issuer());
        let node = node.start(store).await.unwrap();
        let router = Router::new()
            .route("/login", post(log_in))
            .route("/refresh", post(refresh))
            .route("/logout", post(log_out))
            .route("/me", get(me))
            .route("/fresh", get(fresh))
            .with_state(Arc::clone(node.sessions()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let api = Api::new("axum", format!("http://{}", listener.local_addr().unwrap()));
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { api, serving, node }
    }
}

fn claims() -> Map<String, Value> {
    Map::from_iter([("is_admin".to_owned(), true.into())])
}

async fn log_in(State(sessions): State<Arc<Sessions>>) -> Result<Json<Value>, AuthRejection> {
    let tokens = sessions
        .log_in_with(Subject::new("1").unwrap(), Origin::default(), &TokenOptions::new().with_access_claims(claims()))
        .await?;
    Ok(Json(json!({ "access_token": tokens.access, "refresh_token": tokens.refresh })))
}

async fn refresh(State(sessions): State<Arc<Sessions>>, token: BearerToken) -> Result<Json<Value>, AuthRejection> {
    let token = sessions.inspect(token.as_str())?;
    let tokens = sessions.refresh_with(&token, &TokenOptions::new().with_access_claims(claims())).await?;
    Ok(Json(json!({ "access_token": tokens.access, "refresh_token": tokens.refresh })))
}

async fn log_out(State(sessions): State<Arc<Sessions>>, token: BearerToken) -> Result<Json<Value>, AuthRejection> {
    sessions.log_out(token.as_str(), Scope::This).await?;
    Ok(Json(json!({ "message": "Successfully logged out" })))
}

async fn me(token: AccessToken) -> Json<Value> {
    Json(json!({ "identity": token.subject(), "is_admin": token.custom.get("is_admin") }))
}

async fn fresh(token: FreshAccessToken) -> Json<Value> {
    Json(json!({ "identity": token.subject() }))
}
