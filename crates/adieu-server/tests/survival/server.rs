//! The running binary.

use std::{
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

/// Longer than anything here takes on the slowest machine; only a test that hangs reaches it.
const TEST_TIMEOUT: Duration = Duration::from_secs(60);
pub(crate) const PASSWORD: &str = "correct horse battery staple";

pub(crate) struct Server {
    process: Child,
    address: String,
    client: Client,
    /// From the start of the process until it reports that it is ready.
    pub(crate) ready_after: Duration,
}

/// The tokens of a login or a refresh.
#[derive(Debug, Clone)]
pub(crate) struct Tokens {
    pub(crate) access: String,
    pub(crate) refresh: String,
}

impl Server {
    /// Starts the binary on a data folder and waits until it is ready.
    pub(crate) async fn start(data: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_adieu"));
        command.arg("serve");
        Self::start_with(command, data).await
    }

    /// Like [`start`](Self::start); `None` if the server does not start.
    pub(crate) async fn try_start(data: &Path) -> Option<Self> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_adieu"));
        command.arg("serve");
        Self::try_start_with(command, data).await
    }

    /// Starts it with a command that finally executes `adieu serve`.
    pub(crate) async fn start_with(command: Command, data: &Path) -> Self {
        Self::try_start_with(command, data).await.expect("the server says where it listens")
    }

    async fn try_start_with(mut command: Command, data: &Path) -> Option<Self> {
        let started = Instant::now();
        let mut process = command
            .env("ADIEU_LISTEN", "127.0.0.1:0")
            .env("ADIEU_DATA", data)
            .env("ADIEU_LOG_LEVEL", "error")
            .env("ADIEU_LOGIN_ATTEMPTS_PER_ADDRESS", "100000 per 1s")
            // A refresh whose response was lost is retried after the restart, however slow that is.
            .env("ADIEU_ROTATION_GRACE", "5m")
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let address = tokio::time::timeout(TEST_TIMEOUT, async {
            loop {
                let line = lines.next_line().await.unwrap()?;
                if let Some((_, url)) = line.split_once("http://127.0.0.1:") {
                    let port: String = url.chars().take_while(char::is_ascii_digit).collect();
                    return Some(format!("http://127.0.0.1:{port}"));
                }
            }
        })
        .await
        .unwrap()?;
        // Keep reading, so that the server never blocks on a full pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let client = Client::builder().timeout(TEST_TIMEOUT).build().unwrap();
        let mut server = Self { process, address, client, ready_after: Duration::ZERO };
        loop {
            if server.get("/readyz", None).await == Some(StatusCode::OK) {
                server.ready_after = started.elapsed();
                return Some(server);
            }
            assert!(started.elapsed() < TEST_TIMEOUT, "the server is not ready");
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id().unwrap()
    }

    /// Sends the stop signal, and waits until the process has ended.
    pub(crate) async fn stop(mut self) {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.pid()).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert!(self.process.wait().await.unwrap().success());
    }

    /// Returns the status of a response, and whether it has a `Retry-After`.
    pub(crate) async fn retry_after(&self, method: Method, path: &str, token: &str) -> (StatusCode, bool) {
        let request = self.client.request(method, format!("{}{path}", self.address)).bearer_auth(token);
        let response = request.send().await.unwrap();
        (response.status(), response.headers().contains_key("retry-after"))
    }

    /// Sends a request and returns status and body; `None` if the server ended before it answered.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Option<Value>,
    ) -> Option<(StatusCode, Value)> {
        let mut request = self.client.request(method, format!("{}{path}", self.address));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.ok()?;
        let status = response.status();
        let body = response.bytes().await.ok()?;
        Some((status, serde_json::from_slice(&body).unwrap_or(Value::Null)))
    }

    pub(crate) async fn get(&self, path: &str, token: Option<&str>) -> Option<StatusCode> {
        Some(self.ask(Method::GET, path, token, None).await?.0)
    }

    pub(crate) async fn post(&self, path: &str, token: Option<&str>) -> Option<(StatusCode, Value)> {
        self.ask(Method::POST, path, token, None).await
    }

    pub(crate) async fn register(&self, username: &str) {
        let body = json!({ "username": username, "password": PASSWORD });
        let (status, _) = self.ask(Method::POST, "/register", None, Some(body)).await.unwrap();
        assert_eq!(status, StatusCode::CREATED);
    }

    pub(crate) async fn log_in(&self, username: &str) -> Option<(StatusCode, Option<Tokens>)> {
        let body = json!({ "username": username, "password": PASSWORD });
        let (status, body) = self.ask(Method::POST, "/login", None, Some(body)).await?;
        Some((status, Tokens::from(&body)))
    }

    pub(crate) async fn refresh(&self, token: &str) -> Option<(StatusCode, Option<Tokens>)> {
        let (status, body) = self.post("/refresh", Some(token)).await?;
        Some((status, Tokens::from(&body)))
    }
}

impl Tokens {
    fn from(body: &Value) -> Option<Self> {
        let text = |name: &str| body.get(name)?.as_str().map(str::to_owned);
        Some(Self { access: text("access_token")?, refresh: text("refresh_token")? })
    }
}
