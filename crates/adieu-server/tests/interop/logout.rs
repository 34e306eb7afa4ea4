//! Both applications honour a logout at either of them, whichever issued the token. They share one store: one application opens it, the
//! other follows a node on it.

use std::{path::Path, time::Duration};

use adieu::token::Algorithm;
use adieu_sqlite::Sqlite;
use serde_json::json;
use test_servers::{TEST_TIMEOUT, adieu::Adieu};
use tokio::time::{sleep, timeout};

use crate::{
    api::Api,
    axum_app::{AxumApp, ISSUER},
    flask::FlaskApp,
    key::SharedKey,
};

struct Both {
    axum: AxumApp,
    flask: FlaskApp,
    #[expect(dead_code, reason = "runs for as long as it is there")]
    node: Adieu,
}

impl Both {
    async fn start(key: &SharedKey, data: &Path, service: &str) -> Self {
        let node = Adieu::new(env!("CARGO_BIN_EXE_adieu")).with_data(data).with("ADIEU_ISSUER", ISSUER).start().await;
        let service = node.add_client(service, "follow,revoke").await;
        let service = json!({ "url": node.url(""), "client_id": service.name, "secret": service.secret });
        let flask = FlaskApp::following(key, service).await;
        let store = Sqlite::open(data.join("adieu.sqlite")).await.unwrap();
        Self { axum: AxumApp::start(key, store).await, flask, node }
    }

    fn apis(&self) -> [&Api; 2] {
        [&self.axum.api, &self.flask.api]
    }
}

#[tokio::test]
async fn a_logout_at_either_is_honoured_by_both() {
    let folder = tempfile::tempdir().unwrap();
    let key = SharedKey::generate(Algorithm::EdDSA);
    let both = Both::start(&key, &folder.path().join("data"), "flask").await;

    let (mut ended, mut live) = (Vec::new(), Vec::new());
    for home in both.apis() {
        for door in both.apis() {
            let (tokens, elsewhere) = (home.log_in().await, home.log_in().await);
            for api in both.apis() {
                assert_eq!(api.get("/me", &tokens.access).await.0, 200, "{} at {}", home.name, api.name);
            }
            door.log_out(&tokens.access).await;
            assert_eq!(door.get("/me", &tokens.access).await.0, 401, "at once at {}", door.name);
            for api in both.apis() {
                hears_of_the_end_of(api, &tokens.access).await;
                assert_eq!(api.get("/me", &elsewhere.access).await.0, 200, "{} at {}", home.name, api.name);
            }
            ended.push(tokens.access);
            live.push(elsewhere.access);
        }
    }

    // The logout still holds after a restart.
    drop(both);
    let both = Both::start(&key, &folder.path().join("data"), "flask-again").await;
    for api in both.apis() {
        for token in &ended {
            assert_eq!(api.get("/me", token).await.0, 401, "{}", api.name);
        }
        for token in &live {
            assert_eq!(api.get("/me", token).await.0, 200, "{}", api.name);
        }
    }
}

/// Flask-JWT-Extended alone would revoke only the presented token.
#[tokio::test]
async fn a_session_ends_as_a_whole_also_by_a_logout_at_the_other_application() {
    let folder = tempfile::tempdir().unwrap();
    let key = SharedKey::generate(Algorithm::HS256);
    let both = Both::start(&key, &folder.path().join("data"), "flask").await;
    let (axum, flask) = (&both.axum.api, &both.flask.api);

    let tokens = axum.log_in().await;
    let refreshed = axum.refresh(&tokens.refresh).await;
    flask.log_out(&tokens.access).await;
    for api in both.apis() {
        hears_of_the_end_of(api, &tokens.access).await;
        hears_of_the_end_of(api, &refreshed).await;
    }

    let tokens = axum.log_in().await;
    let refreshed = axum.refresh(&tokens.refresh).await;
    axum.log_out(&refreshed).await;
    for api in both.apis() {
        hears_of_the_end_of(api, &tokens.access).await;
        hears_of_the_end_of(api, &refreshed).await;
    }
}

async fn hears_of_the_end_of(api: &Api, token: &str) {
    let heard = async {
        loop {
            match api.get("/me", token).await {
                (200, _) => sleep(Duration::from_millis(20)).await,
                (status, body) => break assert_eq!(status, 401, "{}: {body}", api.name),
            }
        }
    };
    timeout(TEST_TIMEOUT, heard).await.unwrap_or_else(|_| panic!("{} does not get the revocation", api.name));
}
