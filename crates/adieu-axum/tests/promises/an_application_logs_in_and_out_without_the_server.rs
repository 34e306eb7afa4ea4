//! The library alone: an application with its own users passes a subject to it.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use adieu::{
    Issuer, Node,
    session::{Scope, Selection},
    store::Memory,
    token::Verifier,
};
use adieu_axum::{AccessToken, Auth, AuthRejection, Guard, LoggedOut, PresentedToken};
use axum::{
    Extension, Router,
    extract::{ConnectInfo, Path},
    routing::{get, post},
};

use crate::support::{App, log_in, refresh, send, send_with, subject};

async fn log_out(auth: Auth, Path(scope): Path<String>, token: PresentedToken) -> Result<LoggedOut, AuthRejection> {
    let scope = match scope.as_str() {
        "this" => Scope::This,
        "others" => Scope::Others,
        _ => Scope::All,
    };
    auth.log_out(&token, scope).await
}

fn router(app: &App) -> Router {
    Router::new()
        .route("/login", post(log_in))
        .route("/refresh", post(refresh))
        .route("/logout/{scope}", post(log_out))
        .route("/me", get(async |token: AccessToken| token.subject().to_string()))
        .with_state(Arc::clone(&app.sessions))
}

struct Device {
    access: String,
    refresh: String,
}

async fn device(router: &Router) -> Device {
    let tokens = send(router, "POST /login", &[("user-agent", "a browser\t")], "").await.json();
    let text = |name: &str| tokens[name].as_str().unwrap().to_owned();
    Device { access: text("access_token"), refresh: text("refresh_token") }
}

#[tokio::test]
async fn this_session_the_others_or_all_end() {
    let app = App::new();
    let router = router(&app);
    let [one, two, three] = [device(&router).await, device(&router).await, device(&router).await];
    let me = async |device: &Device| send_with(&router, "GET /me", &device.access).await.status;

    let out = send_with(&router, "POST /logout/this", &one.refresh).await;
    assert_eq!(out.text(), r#"200 {"message":"Successfully logged out"}"#);
    assert!(out.set_cookies().is_empty());
    assert_eq!([me(&one).await, me(&two).await, me(&three).await], [401, 200, 200]);

    send_with(&router, "POST /logout/others", &two.access).await;
    assert_eq!([me(&two).await, me(&three).await], [200, 401]);

    let four = device(&router).await;
    send_with(&router, "POST /logout/all", &four.access).await;
    assert_eq!([me(&two).await, me(&four).await], [401, 401]);
    for device in [one, two, three, four] {
        assert!(send_with(&router, "POST /refresh", &device.refresh).await.body.contains("token_revoked"));
        assert!(send_with(&router, "POST /logout/this", &device.access).await.body.contains("token_revoked"));
    }
}

#[tokio::test]
async fn a_refresh_rotates_and_reuse_ends_the_session() {
    let app = App::new();
    let router = router(&app);
    let first = device(&router).await;
    let answer = send_with(&router, "POST /refresh", &first.refresh).await;
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!((&answer.json()["expires_in"], &answer.json()["refresh_expires_in"]), (&900.into(), &2_592_000.into()));
    let second = answer.json()["access_token"].as_str().unwrap().to_owned();
    assert_eq!(send_with(&router, "GET /me", &second).await.text(), "200 jose");
    let successor = answer.json()["refresh_token"].as_str().unwrap().to_owned();
    assert_eq!(send_with(&router, "POST /refresh", &successor).await.status, 200);
    app.pass(Duration::from_secs(60));
    assert!(send_with(&router, "POST /refresh", &first.refresh).await.body.contains("token_revoked"));
    for token in [&first.access, &second] {
        assert!(send_with(&router, "GET /me", token).await.body.contains("token_revoked"));
    }
}

#[tokio::test]
async fn an_expired_token_will_do_to_log_out() {
    let app = App::new();
    let router = router(&app);
    let device = device(&router).await;
    app.pass(Duration::from_secs(3600));
    assert!(send_with(&router, "GET /me", &device.access).await.body.contains("token_expired"));
    assert_eq!(send_with(&router, "POST /logout/this", &device.access).await.status, 200);
    assert!(send_with(&router, "POST /refresh", &device.refresh).await.body.contains("token_revoked"));
    assert_eq!(send_with(&router, "POST /logout/this", "nonsense").await.status, 401);
    assert_eq!(send(&router, "POST /logout/this", &[], "").await.status, 401);
}

#[tokio::test]
async fn sessions_are_there_to_be_listed_and_ended() {
    let app = App::new();
    let router = router(&app);
    let device = device(&router).await;
    let sessions = app.sessions.store().sessions_of(&subject("jose"), None, 10).await.unwrap();
    assert_eq!(sessions[0].origin.user_agent.as_deref(), Some("a browser"));
    assert_eq!(sessions[0].origin.address, None);
    app.sessions.end_sessions(Selection::One(sessions[0].id.clone())).await.unwrap();
    assert!(send_with(&router, "GET /me", &device.access).await.body.contains("token_revoked"));
}

/// A socket that listens on `[::]` reports IPv4 clients as mapped addresses.
#[tokio::test]
async fn an_ipv4_address_is_kept_as_such() {
    let app = App::new();
    let peer: SocketAddr = "[::ffff:192.0.2.7]:1234".parse().unwrap();
    let log_in_from =
        post(async |auth: Auth| auth.with_address("::ffff:192.0.2.8".parse().unwrap()).log_in(subject("maria")).await);
    let router = Router::new()
        .route("/login", post(log_in))
        .route("/login/from", log_in_from)
        .layer(Extension(ConnectInfo(peer)))
        .with_state(Arc::clone(&app.sessions));
    for (line, name, address) in [("POST /login", "jose", "192.0.2.7"), ("POST /login/from", "maria", "192.0.2.8")] {
        assert_eq!(send(&router, line, &[], "").await.status, 200);
        let sessions = app.sessions.store().sessions_of(&subject(name), None, 10).await.unwrap();
        assert_eq!(sessions[0].origin.address, Some(address.parse().unwrap()));
    }
}

#[tokio::test]
async fn a_whole_node_or_a_verifier_alone_are_states_too() {
    let node = Arc::new(Node::builder(Issuer::new("shop").unwrap()).start(Memory::new()).await.unwrap());
    let me = get(async |token: AccessToken| token.subject().to_string());
    let of_node: Router = Router::new().route("/me", me).with_state(Arc::clone(&node));
    let me = get(async |token: AccessToken| token.subject().to_string());
    let of_verifier: Router = Router::new().route("/me", me).with_state(Arc::<Verifier>::clone(node.verifier()));
    let me = get(async |token: AccessToken| token.subject().to_string());
    let of_guard: Router = Router::new().route("/me", me).with_state(Guard::from(&*node));

    let pair = node.sessions().log_in(subject("jose")).await.unwrap();
    for router in [&of_node, &of_verifier, &of_guard] {
        assert_eq!(send_with(router, "GET /me", &pair.access).await.text(), "200 jose");
    }
    node.sessions().log_out(&pair.access, Scope::This).await.unwrap();
    for router in [&of_node, &of_verifier, &of_guard] {
        assert!(send_with(router, "GET /me", &pair.access).await.body.contains("token_revoked"));
    }
}
