//! Each application accepts the other's tokens.

use adieu::{store::Memory, token::Algorithm};
use serde_json::json;

use crate::{api::Api, axum_app::AxumApp, flask::FlaskApp, key::SharedKey};

#[tokio::test]
async fn of_hs256() {
    each_takes_the_tokens_of_the_other(Algorithm::HS256).await;
}

#[tokio::test]
async fn of_rs256() {
    each_takes_the_tokens_of_the_other(Algorithm::RS256).await;
}

#[tokio::test]
async fn of_eddsa() {
    each_takes_the_tokens_of_the_other(Algorithm::EdDSA).await;
}

async fn each_takes_the_tokens_of_the_other(algorithm: Algorithm) {
    let key = SharedKey::generate(algorithm);
    let (axum, flask) = (AxumApp::start(&key, Memory::new()).await, FlaskApp::start(&key).await);
    for (home, other) in [(&axum.api, &flask.api), (&flask.api, &axum.api)] {
        let tokens = home.log_in().await;
        let stale = home.refresh(&tokens.refresh).await;
        for api in [home, other] {
            let what = format!("a token of {} at {}", home.name, api.name);
            // The identity, the claims, and the freshness.
            let jose = (200, json!({"identity": "1", "is_admin": true}));
            assert_eq!(api.get("/me", &tokens.access).await, jose, "{what}");
            assert_eq!(api.get("/me", &stale).await, jose, "{what}");
            assert_eq!(api.get("/fresh", &tokens.access).await.0, 200, "{what}");
            assert_eq!(api.get("/fresh", &stale).await.0, 401, "{what}");
            // A refresh token is not an access token.
            is_refused(api, &tokens.refresh).await;
        }
    }
}

#[tokio::test]
async fn with_another_key_neither_takes_the_tokens_of_the_other() {
    for algorithm in [Algorithm::HS256, Algorithm::EdDSA] {
        let (one, another) = (SharedKey::generate(algorithm), SharedKey::generate(algorithm));
        let (axum, flask) = (AxumApp::start(&one, Memory::new()).await, FlaskApp::start(&another).await);
        is_refused(&axum.api, &flask.api.log_in().await.access).await;
        is_refused(&flask.api, &axum.api.log_in().await.access).await;
    }
}

/// Flask-JWT-Extended responds with 422, and Adieu with 401.
async fn is_refused(api: &Api, token: &str) {
    let (status, body) = api.get("/me", token).await;
    assert!([401, 422].contains(&status), "{}: {status} {body}", api.name);
}
