//! A receiver of messages, and the logouts that it is told of.

use std::{
    collections::BTreeMap,
    path::Path,
    process::Stdio,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU16, Ordering::SeqCst},
    },
};

use axum::{
    Router,
    body::Bytes,
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{LOCATION, RETRY_AFTER},
    },
    response::{IntoResponse as _, Response},
    routing::any,
};
use serde_json::Value;
use test_servers::adieu::Adieu;
use tokio::{io::AsyncWriteExt as _, net::TcpListener, task::JoinHandle};

/// Never answers.
pub(crate) const SILENT: u16 = 0;

/// A receiver that keeps what it was sent.
pub(crate) struct Receiver {
    pub(crate) address: String,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    messages: Mutex<Vec<(BTreeMap<String, String>, String)>>,
    refused: Mutex<Vec<String>>,
    unwanted: Mutex<Option<String>>,
    retry_after: Mutex<Option<String>>,
    status: AtomicU16,
}

impl Receiver {
    pub(crate) async fn start(status: u16) -> Self {
        let shared = Arc::new(Shared { status: status.into(), ..Shared::default() });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let of_handler = Arc::clone(&shared);
        let handler = async move |headers: HeaderMap, body: Bytes| receive(&of_handler, &headers, &body).await;
        let task =
            tokio::spawn(
                async move { axum::serve(listener, Router::new().route("/{*path}", any(handler))).await.unwrap() },
            );
        Self { address, shared, task }
    }

    pub(crate) fn answer_with(&self, status: u16) {
        self.shared.status.store(status, SeqCst);
    }

    /// Refuses messages that contain this, with 422, and no others.
    pub(crate) fn refuse(&self, unwanted: Option<&str>) {
        *self.shared.unwanted.lock().unwrap() = unwanted.map(str::to_owned);
    }

    /// Refuses messages with this `Retry-After`.
    pub(crate) fn ask_for_delay(&self, retry_after: &str) {
        *self.shared.retry_after.lock().unwrap() = Some(retry_after.to_owned());
    }

    /// The bodies of the messages that it did not accept.
    pub(crate) fn refused(&self) -> Vec<String> {
        self.shared.refused.lock().unwrap().clone()
    }

    /// The accepted messages, with their headers.
    pub(crate) fn messages(&self) -> Vec<(BTreeMap<String, String>, String)> {
        self.shared.messages.lock().unwrap().clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn receive(shared: &Shared, headers: &HeaderMap, body: &Bytes) -> Response {
    let mut status = shared.status.load(SeqCst);
    if status == SILENT {
        std::future::pending::<()>().await;
    }
    let body = String::from_utf8(body.to_vec()).unwrap();
    if shared.unwanted.lock().unwrap().as_ref().is_some_and(|unwanted| body.contains(unwanted)) {
        status = 422;
    }
    if status >= 300 {
        shared.refused.lock().unwrap().push(body);
        let mut refusal = (StatusCode::from_u16(status).unwrap(), [(LOCATION, "/elsewhere")]).into_response();
        if let Some(retry_after) = &*shared.retry_after.lock().unwrap() {
            refusal.headers_mut().insert(RETRY_AFTER, HeaderValue::from_str(retry_after).unwrap());
        }
        return refusal;
    }
    let text = |(name, value): (&axum::http::HeaderName, &axum::http::HeaderValue)| {
        (name.to_string(), value.to_str().unwrap().to_owned())
    };
    let message = (headers.iter().map(text).collect(), body);
    shared.messages.lock().unwrap().push(message);
    StatusCode::from_u16(status).unwrap().into_response()
}

/// Logs a user in and out. Returns the id of the session.
pub(crate) async fn log_in_and_out(server: &Adieu) -> String {
    let token = server.log_in("jose").await;
    let session = session_of(&token);
    assert_eq!(server.post("/logout", &token).await.0, 200);
    session
}

pub(crate) fn session_of(token: &str) -> String {
    claims_of(token)["sid"].as_str().unwrap().to_owned()
}

pub(crate) fn claims_of(token: &str) -> Value {
    part_of(token, 1)
}

/// A part of a token: 0 is its header, 1 its claims.
pub(crate) fn part_of(token: &str, part: usize) -> Value {
    use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
    let json = BASE64_URL_SAFE_NO_PAD.decode(token.split('.').nth(part).unwrap()).unwrap();
    serde_json::from_slice(&json).unwrap()
}

pub(crate) async fn listed(server: &Adieu) -> Vec<Value> {
    let list = server.command(&["delivery", "list", "--json"]).await;
    list.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Runs a script of this folder with Node beside the packages, where it finds them, and gives it lines. Returns what it prints.
pub(crate) async fn run_script(name: &str, arguments: &[&str], lines: String) -> Result<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let copy =
        tempfile::Builder::new().suffix(".mjs").tempfile_in(root.join("../../clients/node/node_modules")).unwrap();
    std::fs::copy(root.join("tests/deliveries").join(name), copy.path()).unwrap();
    let mut command = tokio::process::Command::new("node");
    command.arg(copy.path()).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).await.unwrap();
    let output = child.wait_with_output().await.unwrap();
    match output.status.success() {
        true => Ok(String::from_utf8(output.stdout).unwrap().trim().to_owned()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}
