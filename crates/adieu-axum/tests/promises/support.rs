//! An application with a manual clock.

use std::{sync::Arc, time::Duration};

use adieu::{
    Issuer, Subject,
    session::{SessionSettings, SessionStore, Sessions, TokenPair},
    store::Memory,
    time::{ManualClock, Timestamp},
    token::Verifier,
};
use adieu_axum::{AuthRejection, Guard, LoggedOut, PresentedToken, RefreshToken, Tokens, testing::TestNode};
use axum::{
    Router,
    body::{Body, to_bytes},
    extract::FromRef,
    http::{HeaderMap, Request, header},
};
use tower::ServiceExt as _;

/// The state of the routers in these tests.
#[derive(Clone, FromRef)]
pub(crate) struct State {
    pub(crate) guard: Guard,
    pub(crate) sessions: Arc<Sessions>,
}

pub(crate) struct App {
    pub(crate) node: TestNode,
    pub(crate) clock: ManualClock,
    pub(crate) sessions: Arc<Sessions>,
}

impl App {
    pub(crate) fn new() -> Self {
        Self::on(Memory::new())
    }

    pub(crate) fn on(store: impl SessionStore) -> Self {
        let settings = SessionSettings::new(Issuer::new("https://adieu.test").unwrap());
        let node = TestNode::on(store, settings, Timestamp::from_unix(1_800_000_000));
        Self { clock: node.clock().clone(), sessions: Arc::clone(node.sessions()), node }
    }

    pub(crate) fn verifier(&self) -> &Verifier {
        self.sessions.verifier()
    }

    pub(crate) fn guard(&self) -> Guard {
        Guard::from_sessions(&self.sessions)
    }

    pub(crate) fn state(&self, guard: Guard) -> State {
        State { guard, sessions: Arc::clone(&self.sessions) }
    }

    /// Advances time, while this node keeps up with every logout.
    pub(crate) fn pass(&self, time: Duration) {
        self.node.advance(time);
    }

    pub(crate) async fn log_in(&self) -> TokenPair {
        self.node.login_as("jose").await
    }
}

pub(crate) fn subject(name: &str) -> Subject {
    Subject::new(name).unwrap()
}

/// Logs a user in; most tests need this handler.
pub(crate) async fn log_in(auth: adieu_axum::Auth) -> Result<Tokens, AuthRejection> {
    auth.log_in(subject("jose")).await
}

pub(crate) async fn refresh(auth: adieu_axum::Auth, token: RefreshToken) -> Result<Tokens, AuthRejection> {
    auth.refresh(&token).await
}

pub(crate) async fn log_out(auth: adieu_axum::Auth, token: PresentedToken) -> Result<LoggedOut, AuthRejection> {
    auth.log_out(&token, adieu::session::Scope::This).await
}

/// A response.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    /// Returns status and body.
    pub(crate) fn text(&self) -> String {
        format!("{} {}", self.status, self.body)
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// Returns the cookies that it sets, as written.
    pub(crate) fn set_cookies(&self) -> Vec<String> {
        self.headers.get_all(header::SET_COOKIE).iter().map(|value| value.to_str().unwrap().to_owned()).collect()
    }

    /// Returns the value of a cookie that it sets.
    pub(crate) fn cookie(&self, name: &str) -> Option<String> {
        let start = format!("{name}=");
        let cookies = self.set_cookies();
        let cookie = cookies.iter().find_map(|cookie| cookie.strip_prefix(&start))?;
        Some(cookie.split(';').next().unwrap().to_owned())
    }
}

/// Sends a request such as `GET /path`, with headers and a body.
pub(crate) async fn send(router: &Router, line: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let (method, path) = line.split_once(' ').unwrap();
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    receive(router.clone(), request.body(Body::from(body.to_owned())).unwrap()).await
}

/// Like [`send`], with one header whose value need not be text.
pub(crate) async fn send_bytes(router: &Router, line: &str, name: &str, value: &[u8]) -> Answer {
    let (method, path) = line.split_once(' ').unwrap();
    let request = Request::builder().method(method).uri(path).header(name, value);
    receive(router.clone(), request.body(Body::empty()).unwrap()).await
}

/// Sends a request.
pub(crate) async fn receive(router: Router, request: Request<Body>) -> Answer {
    let (parts, body) = router.oneshot(request).await.unwrap().into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap();
    Answer { status: parts.status.as_u16(), headers: parts.headers, body: String::from_utf8(body.to_vec()).unwrap() }
}

/// Like [`send`], with a bearer token.
pub(crate) async fn send_with(router: &Router, line: &str, token: &str) -> Answer {
    send(router, line, &[("authorization", &format!("Bearer {token}"))], "").await
}
