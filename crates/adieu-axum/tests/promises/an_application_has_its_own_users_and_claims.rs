//! Claims are read into the application's own type, its users are loaded for their tokens, and it may require more.

use std::{sync::Arc, time::Duration};

use adieu::{
    Error, Issuer, Node,
    session::{Origin, TokenOptions},
    store::Memory,
    time::{Clock as _, SystemClock},
    token::{Algorithm, Claims, Decoder, Fresh, KeySet, Rules, SigningKey, TokenType, encode},
};
use adieu_axum::{AccessToken, Auth, AuthRejection, CurrentUser, FreshAccessToken, Guard, LoadUser, Tokens};
use axum::{
    Router,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Map, Value, json};

use crate::support::{App, State, send, send_with, subject};

#[derive(serde::Deserialize)]
struct Role {
    is_admin: bool,
}

async fn with_claims(app: &App, claims: Value) -> String {
    let Value::Object(claims) = claims else { panic!() };
    app.sessions
        .log_in_with(subject("jose"), Origin::default(), &TokenOptions::new().with_access_claims(claims))
        .await
        .unwrap()
        .access
}

#[tokio::test]
async fn claims_come_as_a_type() {
    let app = App::new();
    let router = Router::new()
        .route("/", get(async |token: AccessToken<Role>| token.typed.is_admin.to_string()))
        .route("/fresh", get(async |token: FreshAccessToken<Role>| token.typed.is_admin.to_string()))
        .route("/optional", get(async |token: Option<AccessToken<Role>>| format!("{}", token.is_some())))
        .route("/untyped", get(async |token: AccessToken| token.custom["is_admin"].to_string()))
        .with_state(app.state(app.guard()));
    let token = with_claims(&app, json!({"is_admin": true, "more": [1, {"a": null}]})).await;
    for line in ["GET /", "GET /fresh", "GET /optional", "GET /untyped"] {
        assert_eq!(send_with(&router, line, &token).await.text(), "200 true");
    }
    assert_eq!(send(&router, "GET /optional", &[], "").await.text(), "200 false");
    for claims in [json!({}), json!({"is_admin": "yes"})] {
        let token = with_claims(&app, claims).await;
        for line in ["GET /", "GET /fresh", "GET /optional"] {
            assert_eq!(
                send_with(&router, line, &token).await.text(),
                r#"400 {"description":"The token's claims are not accepted.","error":"claims_rejected"}"#
            );
        }
    }
}

#[derive(Debug)]
struct User(String);

struct DatabaseIsDown;

impl IntoResponse for DatabaseIsDown {
    fn into_response(self) -> Response {
        StatusCode::BAD_GATEWAY.into_response()
    }
}

impl LoadUser<State> for User {
    type Error = DatabaseIsDown;

    async fn load_user(claims: &Claims, _: &State) -> Result<Option<Self>, DatabaseIsDown> {
        match claims.subject.as_str() {
            "jose" => Ok(Some(Self("José".to_owned()))),
            "down" => Err(DatabaseIsDown),
            _ => Ok(None),
        }
    }
}

#[tokio::test]
async fn a_user_is_loaded_and_who_is_none_is_refused() {
    let app = App::new();
    let router = Router::new()
        .route("/", get(async |CurrentUser(User(name)): CurrentUser<User>| name))
        .route("/optional", get(async |user: Option<CurrentUser<User>>| format!("{}", user.is_some())))
        .with_state(app.state(app.guard()));
    let of = async |name: &str| app.sessions.log_in(subject(name)).await.unwrap().access;
    assert_eq!(send_with(&router, "GET /", &of("jose").await).await.text(), "200 José");
    assert_eq!(send(&router, "GET /optional", &[], "").await.text(), "200 false");
    for line in ["GET /", "GET /optional"] {
        assert_eq!(
            send_with(&router, line, &of("unknown").await).await.text(),
            r#"401 {"description":"There is no such user.","error":"user_not_found"}"#
        );
        assert_eq!(send_with(&router, line, &of("down").await).await.status, 502);
        assert_eq!(send_with(&router, line, "nonsense").await.status, 401);
    }
    assert_eq!(send(&router, "GET /", &[], "").await.status, 401);
}

#[tokio::test]
async fn an_application_may_demand_more_of_claims_at_once_or_later() {
    let app = App::new();
    let guard = app.guard().with_claims_check(|claims| claims.custom.get("tenant").is_some()).with_async_claims_check(
        async |claims: Claims| match claims.custom["tenant"].as_str() {
            Some("down") => Err(Error::unavailable("the table of tenants")),
            tenant => Ok(tenant == Some("shop")),
        },
    );
    let router = Router::new()
        .route("/", get(async |token: AccessToken| token.subject().to_string()))
        .route("/layer", get(async || "in"))
        .layer(guard.protect())
        .with_state(app.state(guard));
    for line in ["GET /", "GET /layer"] {
        for (claims, status) in [
            (json!({"tenant": "shop"}), 200),
            (json!({"tenant": "other"}), 400),
            (json!({}), 400),
            (json!({"tenant": "down"}), 503),
        ] {
            let token = with_claims(&app, claims.clone()).await;
            assert_eq!(send_with(&router, line, &token).await.status, status, "{claims}");
        }
    }
}

async fn log_in(auth: Auth) -> Result<Tokens, AuthRejection> {
    let options = TokenOptions::default()
        .with_access_claims(Map::from_iter([("is_admin".to_owned(), true.into())]))
        .with_access_lifetime(Duration::from_secs(60))
        .with_fresh(Fresh::Until(auth.guard().verifier().now().plus(Duration::from_secs(30))))
        .with_header(Map::from_iter([("tenant".to_owned(), "shop".into())]));
    auth.log_in_with(subject("jose"), options).await
}

#[tokio::test]
async fn a_token_has_the_life_the_claims_and_the_header_that_it_was_given() {
    let app = App::new();
    let guard = app.guard().with_custom_claims(async |subject| {
        let claims = json!({"name": subject.as_str().to_uppercase(), "is_admin": false});
        Ok(serde_json::from_value(claims).unwrap())
    });
    let router = Router::new()
        .route("/login", post(log_in))
        .route("/refresh", post(crate::support::refresh))
        .route("/", get(async |token: AccessToken<Role>| format!("{} {}", token.typed.is_admin, token.custom["name"])))
        .route("/fresh", get(async |_: FreshAccessToken| "fresh"))
        .with_state(app.state(guard));
    let tokens = send(&router, "POST /login", &[], "").await.json();
    let access = tokens["access_token"].as_str().unwrap();
    assert_eq!(send_with(&router, "GET /", access).await.text(), r#"200 true "JOSE""#);
    assert_eq!(adieu::token::dangerous::unverified_header(access).unwrap()["tenant"], "shop");

    app.pass(Duration::from_secs(29));
    assert_eq!(send_with(&router, "GET /fresh", access).await.status, 200);
    app.pass(Duration::from_secs(1));
    assert!(send_with(&router, "GET /fresh", access).await.body.contains("fresh_token_required"));
    app.pass(Duration::from_secs(30));
    assert!(send_with(&router, "GET /", access).await.body.contains("token_expired"));

    let tokens = send_with(&router, "POST /refresh", tokens["refresh_token"].as_str().unwrap()).await.json();
    let access = tokens["access_token"].as_str().unwrap();
    assert_eq!(send_with(&router, "GET /", access).await.text(), r#"200 false "JOSE""#);
}

/// Claims of another issuer do not count here, unless it is trusted with them; and the same subject is not the same user.
#[tokio::test]
async fn what_another_issuer_claims_is_not_ours() {
    let key = SigningKey::generate(Algorithm::EdDSA).unwrap();
    let theirs = Issuer::new("them").unwrap();
    let mut claims =
        Claims::new(theirs.clone(), subject("jose"), TokenType::Access, SystemClock.now(), Duration::from_secs(60));
    claims.custom.insert("is_admin".to_owned(), true.into());
    claims.fresh = Fresh::Yes;
    let token = encode(&key, &claims).unwrap();
    let answers = async |rules: Rules| {
        let keys = KeySet::new([key.verifying_key().clone()]).unwrap();
        let node = Node::builder(Issuer::new("us").unwrap()).with_issuer(Decoder::new(rules, keys));
        let node = node.start(Memory::new()).await.unwrap();
        let sessions = Arc::clone(node.sessions());
        let state = |guard: Guard| State { guard, sessions: Arc::clone(&sessions) };
        let own_only = Router::new()
            .route("/own", get(async |token: AccessToken| token.issuer.to_string()))
            .with_state(state(Guard::from_sessions(&sessions).own_tokens_only()));
        let router = Router::new()
            .route("/", get(async |token: AccessToken| token.issuer.to_string()))
            .route("/role", get(async |token: AccessToken<Role>| token.typed.is_admin.to_string()))
            .route("/fresh", get(async |token: FreshAccessToken| token.issuer.to_string()))
            .route("/user", get(async |CurrentUser(User(name)): CurrentUser<User>| name))
            .with_state(state(Guard::from_sessions(&sessions)))
            .merge(own_only);
        let mut answers = Vec::new();
        for path in ["/", "/role", "/fresh", "/user", "/own"] {
            answers.push(send_with(&router, &format!("GET {path}"), &token).await.status);
        }
        answers
    };
    assert_eq!(answers(Rules::new(theirs.clone())).await, [200, 400, 401, 401, 401]);
    let trusted = Rules::new(theirs).with_trusted_claim("is_admin").with_trusted_claim("fresh");
    assert_eq!(answers(trusted).await, [200, 200, 200, 401, 401]);
}
