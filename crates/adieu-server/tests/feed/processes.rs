//! The running binary: a node, and relays that follow it or each other.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use adieu_server::{
    clients::{Capability, Client, ClientName},
    config::{Flags, Settings},
    store::Stores,
};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use reqwest::Method;
use rustix::process::{Pid, Signal, kill_process};
use secrecy::SecretString;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    process::{Child, Command},
};

/// Longer than anything here takes on the slowest machine; only a test that hangs reaches it.
pub(crate) const TEST_TIMEOUT: Duration = Duration::from_secs(60);
const PASSWORD: &str = "correct horse battery staple";

/// The credentials of a client: its name and its secret.
#[derive(Debug, Clone)]
pub(crate) struct Credentials {
    name: String,
    secret: String,
}

impl Credentials {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn secret(&self) -> SecretString {
        self.secret.clone().into()
    }

    /// Returns the value of the `Authorization` header.
    pub(crate) fn basic(&self) -> String {
        format!("Basic {}", BASE64_STANDARD.encode(format!("{}:{}", self.name, self.secret)))
    }

    fn of(client: &str, secret: &str) -> Self {
        Self { name: client.to_owned(), secret: secret.to_owned() }
    }
}

pub(crate) struct Server {
    process: Child,
    pub(crate) address: String,
    folder: TempDir,
    environment: Vec<(&'static str, String)>,
    http: reqwest::Client,
}

impl Server {
    /// Starts a node, with clients that have every capability.
    pub(crate) async fn node(clients: &[&str]) -> (Self, Vec<Credentials>) {
        Self::start(clients, vec![]).await
    }

    /// Starts a relay that follows another server with these credentials.
    pub(crate) async fn relay(above: &Self, credentials: &Credentials, clients: &[&str]) -> (Self, Vec<Credentials>) {
        let Credentials { name, secret } = credentials;
        let follow = vec![
            ("ADIEU_FOLLOW", above.url("")),
            ("ADIEU_FOLLOW_CLIENT", name.clone()),
            ("ADIEU_FOLLOW_SECRET", secret.clone()),
        ];
        Self::start(clients, follow).await
    }

    /// Starts a node with more settings, given as environment variables.
    pub(crate) async fn start(clients: &[&str], environment: Vec<(&'static str, String)>) -> (Self, Vec<Credentials>) {
        let (server, credentials) = Self::start_unready(clients, environment).await;
        server.becomes("ready", async || server.get("/readyz", None).await == 200).await;
        (server, credentials)
    }

    /// Like [`start`](Self::start), without waiting until the server is ready.
    pub(crate) async fn start_unready(
        clients: &[&str],
        environment: Vec<(&'static str, String)>,
    ) -> (Self, Vec<Credentials>) {
        let folder = tempfile::tempdir().unwrap();
        let store = Stores::open(&settings_of(&folder, &environment)).await.unwrap().clients();
        let mut credentials = Vec::new();
        for name in clients {
            let (client, secret) =
                Client::new(ClientName::new(name).unwrap(), &Capability::ALL, Default::default()).unwrap();
            assert!(store.add_client(client).await.unwrap());
            credentials.push(Credentials::of(name, secret.expose()));
        }
        drop(store);
        let (process, address) = serve(&folder, &environment).await;
        let http = reqwest::Client::builder().timeout(TEST_TIMEOUT).build().unwrap();
        (Self { process, address, folder, environment, http }, credentials)
    }

    /// Kills it, changes its data, and starts it again on the same data, at another address.
    pub(crate) async fn start_again(&mut self, change: impl FnOnce(&Path)) {
        self.process.kill().await.unwrap();
        change(&self.data());
        (self.process, self.address) = serve(&self.folder, &self.environment).await;
        self.becomes("ready", async || self.get("/readyz", None).await == 200).await;
    }

    /// Returns its peak memory so far, in bytes.
    pub(crate) fn peak_memory(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id().unwrap())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
    }

    /// Returns its data folder.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Waits until a condition holds.
    pub(crate) async fn becomes(&self, what: &str, is_so: impl AsyncFn() -> bool) {
        let started = Instant::now();
        while !is_so().await {
            assert!(started.elapsed() < TEST_TIMEOUT, "{} does not become {what}", self.address);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Option<Value>,
    ) -> (u16, Value) {
        self.try_ask(method, path, token, body).await.expect("the server answers")
    }

    /// Sends a request; `None` if the server ended before it answered.
    pub(crate) async fn try_ask(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Option<Value>,
    ) -> Option<(u16, Value)> {
        let mut request = self.http.request(method, self.url(path));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.ok()?;
        let status = response.status().as_u16();
        Some((status, serde_json::from_slice(&response.bytes().await.ok()?).unwrap_or(Value::Null)))
    }

    pub(crate) async fn get(&self, path: &str, token: Option<&str>) -> u16 {
        self.ask(Method::GET, path, token, None).await.0
    }

    /// Returns the status of `/verify`, and the reason.
    pub(crate) async fn verify(&self, token: &str) -> (u16, String) {
        let (status, body) = self.ask(Method::GET, "/verify", Some(token), None).await;
        (status, body["error"].as_str().unwrap_or_default().to_owned())
    }

    /// Requests the feed as a client.
    pub(crate) async fn read_feed(&self, client: &Credentials, query: &str) -> (u16, Value) {
        let request = self.http.get(self.url(&format!("/revocations?{query}")));
        let response = request.basic_auth(&client.name, Some(&client.secret)).send().await.unwrap();
        let status = response.status().as_u16();
        (status, serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or(Value::Null))
    }

    /// Revokes as a client.
    pub(crate) async fn revoke(&self, client: &Credentials, query: &str, body: Value) -> (u16, Value) {
        let request = self.http.post(self.url(&format!("/revocations{query}")));
        let response = request.basic_auth(&client.name, Some(&client.secret)).json(&body).send().await.unwrap();
        let status = response.status().as_u16();
        (status, serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or(Value::Null))
    }

    pub(crate) async fn register(&self, username: &str) {
        let body = json!({ "username": username, "password": PASSWORD });
        assert_eq!(self.ask(Method::POST, "/register", None, Some(body)).await.0, 201);
    }

    /// Returns the access token of a new session.
    pub(crate) async fn log_in(&self, username: &str) -> String {
        self.log_in_for_both(username).await.0
    }

    /// Returns the access token and the refresh token of a new session.
    pub(crate) async fn log_in_for_both(&self, username: &str) -> (String, String) {
        let body = json!({ "username": username, "password": PASSWORD });
        let (status, tokens) = self.ask(Method::POST, "/login", None, Some(body)).await;
        assert_eq!(status, 200, "{tokens}");
        both(&tokens)
    }

    /// Like [`log_in_for_both`](Self::log_in_for_both); `None` if the login fails.
    pub(crate) async fn try_log_in(&self, username: &str) -> Option<(String, String)> {
        let body = json!({ "username": username, "password": PASSWORD });
        let (status, tokens) = self.try_ask(Method::POST, "/login", None, Some(body)).await?;
        (status == 200).then(|| both(&tokens))
    }

    /// Exchanges a refresh token; returns the new tokens or the status of the rejection.
    pub(crate) async fn refresh(&self, refresh: &str) -> Result<(String, String), u16> {
        let (status, tokens) = self.ask(Method::POST, "/refresh", Some(refresh), None).await;
        if status == 200 { Ok(both(&tokens)) } else { Err(status) }
    }

    /// Runs a command of the same binary on the same store, and returns its output.
    pub(crate) async fn command(&self, words: &[&str]) -> String {
        let output = Command::new(env!("CARGO_BIN_EXE_adieu"))
            .args(words)
            .env("ADIEU_DATA", self.data())
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .output()
            .await
            .unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Logs out and waits until that holds everywhere; returns the counts of followers, and how long it took.
    pub(crate) async fn log_out_everywhere(&self, token: &str) -> (Value, Duration) {
        let started = Instant::now();
        let (status, body) = self.ask(Method::POST, "/logout?wait=everywhere", Some(token), None).await;
        assert_eq!(status, 200, "{body}");
        (body["everywhere"].clone(), started.elapsed())
    }

    /// Removes a client, as `adieu client remove` does.
    pub(crate) async fn remove_client(&self, client: &Credentials) {
        let store = Stores::open(&settings_of(&self.folder, &self.environment)).await.unwrap().clients();
        assert!(store.remove_client(&ClientName::new(client.name.as_str()).unwrap()).await.unwrap());
    }

    /// Opens a connection and sends a request to `/verify` on it, without waiting for the response.
    pub(crate) async fn ask_to_verify(&self, token: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).await.unwrap();
        let request = format!(
            "GET /verify HTTP/1.1\r\nHost: adieu\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }

    /// Kills it at once, as the kernel does.
    pub(crate) fn kill(&self) {
        self.signal(Signal::KILL);
    }

    /// Sends the stop signal, and waits until the process has ended.
    pub(crate) async fn stop(mut self) {
        self.signal(Signal::TERM);
        let ended = tokio::time::timeout(TEST_TIMEOUT, self.process.wait()).await;
        assert!(ended.expect("it ends when it is asked to").unwrap().success());
    }

    /// Stops the process completely, as a debugger or an overloaded machine would.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    pub(crate) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.process.id().unwrap()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }
}

fn both(tokens: &Value) -> (String, String) {
    let token = |name: &str| tokens[name].as_str().unwrap().to_owned();
    (token("access_token"), token("refresh_token"))
}

/// Reads the status of the response on this connection.
pub(crate) async fn status(mut stream: TcpStream) -> u16 {
    let mut answer = String::new();
    tokio::time::timeout(TEST_TIMEOUT, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

fn settings_of(folder: &TempDir, environment: &[(&'static str, String)]) -> Settings {
    let flags = Flags { data: Some(folder.path().join("data").to_str().unwrap().to_owned()), ..Flags::default() };
    let environment = environment.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
    Settings::load(&flags, environment).unwrap()
}

/// Starts the process; returns it with its address.
async fn serve(folder: &TempDir, environment: &[(&'static str, String)]) -> (Child, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_adieu"));
    command
        .arg("serve")
        .env("ADIEU_LISTEN", "127.0.0.1:0")
        .env("ADIEU_DATA", folder.path().join("data"))
        .env("ADIEU_LOG_LEVEL", "error")
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    let mut process = command.spawn().unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let address = tokio::time::timeout(TEST_TIMEOUT, async {
        loop {
            let line = lines.next_line().await.unwrap().expect("the server says where it listens");
            if let Some((_, address)) = line.split_once("listens on http://") {
                return address.to_owned();
            }
        }
    })
    .await
    .unwrap();
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    (process, address)
}
