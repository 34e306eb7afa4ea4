//! Starts the binary and sends requests to it.

use std::{path::Path, process::Stdio, time::Duration};

use reqwest::{Client, Method};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    time::timeout,
};

/// Longer than any request takes on the slowest machine; only a test that hangs reaches it.
const TEST_TIMEOUT: Duration = Duration::from_secs(60);

pub(crate) struct Server {
    process: Child,
    address: String,
    client: Client,
}

/// A response: status and body.
pub(crate) type Answer = (u16, Value);

impl Server {
    pub(crate) async fn start() -> Self {
        Self::start_on(Path::new(":memory:")).await
    }

    pub(crate) async fn start_on(data: &Path) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_stores"))
            .args(["--listen", "127.0.0.1:0", "--data"])
            .arg(data)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let line = timeout(TEST_TIMEOUT, lines.next_line()).await.unwrap().unwrap().expect("it says where it listens");
        let address = line.strip_prefix("listening on ").unwrap().to_owned();
        Self { process, address, client: Client::builder().timeout(TEST_TIMEOUT).build().unwrap() }
    }

    /// Kills the server, as a crash would.
    pub(crate) async fn kill(mut self) {
        self.process.kill().await.unwrap();
    }

    pub(crate) async fn ask(&self, method: Method, path: &str, token: &str, body: Option<&str>) -> Answer {
        let mut request = self.client.request(method, format!("{}{path}", self.address));
        if !token.is_empty() {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.header("Content-Type", "application/json").body(body.to_owned());
        }
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    pub(crate) async fn get(&self, path: &str, token: &str) -> Answer {
        self.ask(Method::GET, path, token, None).await
    }

    pub(crate) async fn post(&self, path: &str, token: &str, body: Value) -> Answer {
        self.ask(Method::POST, path, token, Some(&body.to_string())).await
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Answer {
        self.ask(Method::PUT, path, "", Some(&body.to_string())).await
    }

    pub(crate) async fn delete(&self, path: &str, token: &str) -> Answer {
        self.ask(Method::DELETE, path, token, None).await
    }

    /// Registers a user and logs the user in.
    pub(crate) async fn user(&self, name: &str) -> Tokens {
        assert_eq!(self.post("/register", "", credentials(name)).await.0, 201);
        self.log_in(name).await
    }

    pub(crate) async fn log_in(&self, name: &str) -> Tokens {
        Tokens::of(self.post("/login", "", credentials(name)).await)
    }

    pub(crate) async fn refresh(&self, token: &str) -> Answer {
        self.ask(Method::POST, "/refresh", token, None).await
    }

    pub(crate) async fn log_out(&self, token: &str) -> Answer {
        self.ask(Method::POST, "/logout", token, None).await
    }
}

pub(crate) fn credentials(name: &str) -> Value {
    json!({ "username": name, "password": "1234" })
}

#[derive(Clone)]
pub(crate) struct Tokens {
    pub(crate) access: String,
    pub(crate) refresh: String,
}

impl Tokens {
    pub(crate) fn of((status, body): Answer) -> Self {
        assert_eq!(status, 200, "{body}");
        let names: Vec<_> = body.as_object().unwrap().keys().collect();
        assert_eq!(names, ["access_token", "expires_in", "refresh_expires_in", "refresh_token"]);
        let text = |name: &str| body[name].as_str().unwrap().to_owned();
        Self { access: text("access_token"), refresh: text("refresh_token") }
    }
}
