//! Every route below the layer needs a token, except the named ones and preflights.

use std::time::Duration;

use adieu::session::Scope;
use adieu_axum::{AccessToken, Cookies, Location};
use axum::{
    BoxError, Router,
    body::Body,
    error_handling::HandleErrorLayer,
    http::{Method, StatusCode},
    routing::{any, get},
};
use http_body_util::BodyExt as _;
use tower::{ServiceBuilder, timeout::TimeoutLayer};
use tower_http::{limit::RequestBodyLimitLayer, map_response_body::MapResponseBodyLayer, trace::TraceLayer};

use crate::support::{App, send, send_with};

fn router(app: &App) -> Router {
    let guard = app.guard();
    let layer = guard.protect().except("/login").except("/api/items/{id}").except_method(Method::GET, "/news");
    let api = Router::new().route("/items/{id}", any(async || "item")).route("/users", any(async || "users"));
    Router::new()
        .route("/login", any(async || "log in"))
        .route("/news", any(async || "news"))
        .route("/echo", any(async |body: String| body))
        .route("/profile", any(async |token: AccessToken| token.subject().to_string()))
        .nest("/api", api)
        .fallback(async || "nothing here")
        .layer(layer)
        .route("/added-later", get(async || "open"))
        .with_state(app.state(guard))
}

#[tokio::test]
async fn every_route_needs_a_token_also_one_that_is_not_there() {
    let app = App::new();
    let router = router(&app);
    let pair = app.log_in().await;
    for (line, says) in [
        ("GET /profile", "200 jose"),
        ("POST /news", "200 news"),
        ("GET /api/users", "200 users"),
        ("GET /nowhere", "200 nothing here"),
    ] {
        assert_eq!(send(&router, line, &[], "").await.status, 401, "{line}");
        assert_eq!(send_with(&router, line, &pair.access).await.text(), says);
        assert_eq!(send_with(&router, line, &pair.refresh).await.status, 401, "{line}");
    }
    app.sessions.log_out(&pair.access, Scope::This).await.unwrap();
    assert!(send_with(&router, "GET /api/users", &pair.access).await.body.contains("token_revoked"));
}

#[tokio::test]
async fn a_route_can_be_left_open_as_the_router_calls_it() {
    let app = App::new();
    let router = router(&app);
    for line in
        ["GET /login", "POST /login", "GET /news", "GET /api/items/7", "DELETE /api/items/x", "GET /added-later"]
    {
        assert_eq!(send(&router, line, &[], "").await.status, 200, "{line}");
    }
    for line in ["GET /login/", "GET //login", "GET /x/../login", "GET /LOGIN", "GET /api/items/7/x", "HEAD /news"] {
        assert_eq!(send(&router, line, &[], "").await.status, 401, "{line}");
    }
}

#[tokio::test]
async fn a_preflight_needs_no_token_and_every_other_options_request_does() {
    let app = App::new();
    let router = router(&app);
    let (origin, method) = (("origin", "https://shop.example"), ("access-control-request-method", "PUT"));
    for line in ["OPTIONS /news", "OPTIONS /api/users", "OPTIONS /nowhere"] {
        assert_eq!(send(&router, line, &[origin, method], "").await.status, 200, "{line}");
        for headers in [&[][..], &[origin], &[method]] {
            assert_eq!(send(&router, line, headers, "").await.status, 401, "{line} {headers:?}");
        }
        assert_eq!(send(&router, line, &[origin, method, ("content-length", "0")], "").await.status, 200, "{line}");
        for body in [("content-length", "1"), ("transfer-encoding", "chunked")] {
            assert_eq!(send(&router, line, &[origin, method, body], "x").await.status, 401, "{line}");
        }
    }
    // A request that HTTP/2 allows: no handler gets a body that came without a token.
    let unannounced = send(&router, "OPTIONS /echo", &[origin, method], "x").await;
    assert_eq!((unannounced.text(), send(&router, "OPTIONS /echo", &[], "x").await.status), ("200 ".to_owned(), 401));
    for line in ["GET /api/users", "POST /api/users", "HEAD /api/users"] {
        assert_eq!(send(&router, line, &[origin, method], "").await.status, 401, "{line}");
    }
    let token = app.log_in().await.access;
    assert_eq!(send_with(&router, "OPTIONS /api/users", &token).await.text(), "200 users");
}

/// Between layers that change the types of bodies and errors, as axum's own do.
#[tokio::test]
async fn it_can_be_anywhere_among_other_layers() {
    let app = App::new();
    let guard = app.guard().with_cookies(Cookies::new()).unwrap();
    let with_new_body = || MapResponseBodyLayer::new(|body: Body| body.map_err(|error| error.to_string()));
    let router = Router::new().route("/", any(async |token: AccessToken| token.subject().to_string())).layer(
        ServiceBuilder::new()
            .layer(TraceLayer::new_for_http())
            .layer(RequestBodyLimitLayer::new(1024))
            .layer(HandleErrorLayer::new(async |_: BoxError| StatusCode::REQUEST_TIMEOUT))
            .layer(guard.read_bodies())
            .layer(guard.protect())
            .layer(guard.renew_cookies(&app.sessions, Duration::from_secs(60)))
            .layer(TimeoutLayer::new(Duration::from_secs(60)))
            .layer(TraceLayer::new_for_http())
            .layer(with_new_body()),
    );
    let router = router.layer(guard.protect()).with_state(app.state(guard));
    assert_eq!(send(&router, "POST /", &[], "").await.status, 401);
    assert_eq!(send_with(&router, "POST /", &app.log_in().await.access).await.text(), "200 jose");
}

#[tokio::test]
async fn a_token_in_a_body_is_found_by_the_layer_and_by_the_handler() {
    let app = App::new();
    let guard = app.guard().with_locations([Location::json_body()]);
    let router = Router::new()
        .route("/", any(async |token: AccessToken, body: String| format!("{} {}", token.subject(), body.len())))
        .layer(guard.protect().with_max_body_bytes(2048))
        .with_state(app.state(guard));
    let body = format!(r#"{{"access_token":"{}"}}"#, app.log_in().await.access);
    let json = [("content-type", "application/json")];
    assert_eq!(send(&router, "POST /", &json, &body).await.text(), format!("200 jose {}", body.len()));
    assert_eq!(send(&router, "POST /", &json, "{}").await.status, 401);
    assert_eq!(send(&router, "POST /", &json, &"x".repeat(4000)).await.status, 413);
}
