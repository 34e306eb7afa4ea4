//! A server of Adieu, as a process.

use std::{
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use reqwest::{Method, RequestBuilder};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    certificate::make_certificate,
    port::Port,
    process::Process,
    wait::{TEST_TIMEOUT, recovers, until},
};

/// The password of every user.
pub const ADIEU_PASSWORD: &str = "1234";

/// The credentials of a client.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// Its name.
    pub name: String,
    /// Its secret.
    pub secret: String,
}

impl Credentials {
    /// Returns the value of the `Authorization` header.
    #[must_use]
    pub fn basic(&self) -> String {
        format!("Basic {}", BASE64_STANDARD.encode(format!("{}:{}", self.name, self.secret)))
    }
}

/// The tokens of a login or a refresh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    /// The access token.
    pub access: String,
    /// The refresh token.
    pub refresh: String,
}

/// A server of Adieu for one test, which keeps its port when it is started again; stopped when dropped.
#[derive(Debug)]
pub struct Adieu {
    process: Process,
    program: String,
    command: Vec<String>,
    settings: Vec<(String, String)>,
    metrics: Option<Port>,
    /// The certificate of the server, if it speaks TLS.
    certificate: Option<reqwest::Certificate>,
    http: reqwest::Client,
}

impl Adieu {
    /// Prepares a server: `program` is `env!("CARGO_BIN_EXE_adieu")`. It has a data folder of its own, and logs errors only.
    #[must_use]
    pub fn new(program: &str) -> Self {
        let process = Process::new();
        let (listen, data) = (process.address().to_string(), process.folder().join("data").display().to_string());
        let settings = [("LISTEN", listen), ("DATA", data), ("LOG_LEVEL", "error".to_owned())];
        Self {
            process,
            program: program.to_owned(),
            command: vec![program.to_owned(), "serve".to_owned()],
            settings: settings.map(|(name, value)| (format!("ADIEU_{name}"), value)).into(),
            metrics: None,
            certificate: None,
            http: client(None),
        }
    }

    /// Adds or replaces a setting, named as its environment variable.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.settings.retain(|(other, _)| other != name);
        self.settings.push((name.to_owned(), value.into()));
        self
    }

    /// Adds or replaces the data folder.
    #[must_use]
    pub fn with_data(self, data: &Path) -> Self {
        self.with("ADIEU_DATA", data.display().to_string())
    }

    /// Makes it listen on a Unix socket too.
    #[must_use]
    pub fn with_unix_socket(self, path: &Path) -> Self {
        let listen = format!("{},unix:{}", self.address(), path.display());
        self.with("ADIEU_LISTEN", listen)
    }

    /// Makes it serve metrics.
    #[must_use]
    pub fn with_metrics(mut self) -> Self {
        let port = self.metrics.insert(Port::find()).number();
        self.with("ADIEU_METRICS_LISTEN", format!("127.0.0.1:{port}"))
    }

    /// Makes it speak TLS, with a certificate of its own: `certificate.pem` in [`folder`](Self::folder).
    ///
    /// # Panics
    /// As [`make_certificate`].
    #[must_use]
    pub fn with_tls(mut self) -> Self {
        make_certificate(self.folder(), "127.0.0.1");
        let pem = std::fs::read(self.folder().join("certificate.pem")).expect("a certificate");
        self.certificate = Some(reqwest::Certificate::from_pem(&pem).expect("a certificate"));
        self.http = client(self.certificate.as_ref());
        self.with("ADIEU_TLS_CERTIFICATE", "certificate.pem").with("ADIEU_TLS_KEY", "key.pem")
    }

    /// Makes it follow the server at this URL with these credentials.
    #[must_use]
    pub fn following(self, url: &str, credentials: &Credentials) -> Self {
        self.with("ADIEU_FOLLOW", url)
            .with("ADIEU_FOLLOW_CLIENT", &credentials.name)
            .with("ADIEU_FOLLOW_SECRET", &credentials.secret)
    }

    /// Replaces the command that runs it; the last thing that the command does is to execute `adieu serve`.
    #[must_use]
    pub fn with_command(mut self, words: &[&str]) -> Self {
        self.command = words.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// Starts it.
    ///
    /// # Panics
    /// If it does not become ready.
    #[must_use]
    pub async fn start(mut self) -> Self {
        self.spawn();
        self.ready().await;
        self
    }

    /// Adds clients that have every capability, and starts it.
    ///
    /// # Panics
    /// If it does not become ready.
    pub async fn start_with_clients<const COUNT: usize>(self, names: [&str; COUNT]) -> (Self, [Credentials; COUNT]) {
        let mut added = Vec::new();
        for name in names {
            added.push(self.add_client(name, "follow,revoke,introspect").await);
        }
        (self.start().await, added.try_into().expect("as many as there are names"))
    }

    /// Starts it without waiting for anything.
    pub fn spawn(&mut self) {
        let (first, rest) = self.command.split_first().expect("a command");
        let mut command = self.with_environment(Command::new(first));
        command.args(rest).current_dir(self.process.folder());
        self.process.spawn_with(command, Stdio::null());
    }

    /// Waits until it is ready.
    ///
    /// # Panics
    /// If it ends before that.
    pub async fn ready(&mut self) {
        if let Err(status) = self.ready_or_ended().await {
            panic!("the server has ended ({status}): {}", self.log());
        }
    }

    /// Waits until it is ready, or has ended.
    ///
    /// # Errors
    /// Its status, if it has ended.
    pub async fn ready_or_ended(&mut self) -> Result<(), ExitStatus> {
        let (http, url) = (self.http.clone(), self.url("/readyz"));
        let is_ready = async || http.get(&url).send().await.is_ok_and(|response| response.status() == 200);
        self.process.ready_or_ended(is_ready).await.map_or(Ok(()), Err)
    }

    /// Kills it, changes its data, and starts it again on the same data.
    ///
    /// # Panics
    /// If it does not become ready.
    pub async fn start_again(&mut self, change: impl FnOnce(&Path)) {
        self.end();
        change(&self.data());
        self.spawn();
        self.ready().await;
    }

    /// Kills it, and waits until it has ended.
    pub fn end(&mut self) {
        self.process.kill();
        self.http = client(self.certificate.as_ref());
    }

    /// Kills it at once, as the kernel does, whatever it is doing.
    pub fn kill(&self) {
        self.process.signal(Signal::KILL);
    }

    /// Sends the stop signal, and waits until the process has ended.
    ///
    /// # Panics
    /// If it does not end with success.
    pub async fn stop(mut self) {
        let status = self.process.stop(Signal::TERM).await.expect("it is running");
        assert!(status.success(), "{status}: {}", self.log());
    }

    /// Stops the process completely, as a debugger or an overloaded machine would.
    pub fn freeze(&self) {
        self.process.freeze();
    }

    /// Resumes the process.
    pub fn thaw(&self) {
        self.process.thaw();
    }

    /// Returns its process.
    ///
    /// # Panics
    /// If it is not running.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid().expect("it is running")
    }

    /// Returns its log.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Returns its data folder.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.setting("ADIEU_DATA").into()
    }

    /// Returns its working directory.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.process.folder()
    }

    /// Returns its peak memory so far, in bytes.
    #[must_use]
    pub fn peak_memory(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("the state of a child");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("its peak memory");
        line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") * 1024
    }

    /// Returns the address and port that it listens on.
    #[must_use]
    pub fn address(&self) -> &str {
        self.setting("ADIEU_LISTEN").split(',').next().expect("an address")
    }

    /// Returns the URL of a path.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        let scheme = if self.certificate.is_some() { "https" } else { "http" };
        format!("{scheme}://{}{path}", self.address())
    }

    fn setting(&self, name: &str) -> &str {
        &self.settings.iter().find(|(setting, _)| setting == name).expect("a setting").1
    }

    /// Gives a command the settings, and nothing that was meant for the test.
    fn with_environment(&self, mut command: Command) -> Command {
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("ADIEU_") {
                command.env_remove(name);
            }
        }
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs a command of the same program on the same store, and returns its output.
    ///
    /// # Panics
    /// If it fails.
    pub async fn command(&self, words: &[&str]) -> String {
        let mut command = self.with_environment(Command::new(&self.program));
        command.args(words).stdin(Stdio::null());
        let output = tokio::process::Command::from(command).output().await.expect("the program");
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    /// Adds a client; the server may be running or not.
    pub async fn add_client(&self, name: &str, capabilities: &str) -> Credentials {
        let added = self.command(&["client", "add", name, "--capabilities", capabilities, "--create", "--json"]).await;
        let added: Value = serde_json::from_str(&added).expect("JSON");
        Credentials { name: name.to_owned(), secret: text(&added, "secret") }
    }

    /// Sends a request; fails if the server ends before it answers.
    pub async fn ask(&self, method: Method, path: &str, token: Option<&str>, body: Option<Value>) -> (u16, Value) {
        self.try_ask(method, path, token, body).await.expect("the server answers")
    }

    /// Sends a request; `None` if the server ends before it answers.
    pub async fn try_ask(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Option<Value>,
    ) -> Option<(u16, Value)> {
        let mut request = self.request(method, path);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        answer(request).await
    }

    /// Returns a request that has not been sent yet.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, self.url(path))
    }

    /// Returns the status of a page.
    pub async fn get(&self, path: &str, token: Option<&str>) -> u16 {
        self.ask(Method::GET, path, token, None).await.0
    }

    /// Sends a request without a body.
    pub async fn post(&self, path: &str, token: &str) -> (u16, Value) {
        self.ask(Method::POST, path, Some(token), None).await
    }

    /// Returns the status of `/verify`, and the reason.
    pub async fn verify(&self, token: &str) -> (u16, String) {
        let (status, body) = self.ask(Method::GET, "/verify", Some(token), None).await;
        (status, body["error"].as_str().unwrap_or_default().to_owned())
    }

    /// Requests the feed as a client.
    pub async fn read_feed(&self, client: &Credentials, query: &str) -> (u16, Value) {
        let request = self.request(Method::GET, &format!("/revocations?{query}"));
        answer(request.basic_auth(&client.name, Some(&client.secret))).await.expect("the server answers")
    }

    /// Revokes as a client.
    pub async fn revoke(&self, client: &Credentials, query: &str, body: Value) -> (u16, Value) {
        let request = self.request(Method::POST, &format!("/revocations{query}"));
        let request = request.basic_auth(&client.name, Some(&client.secret)).json(&body);
        answer(request).await.expect("the server answers")
    }

    /// Returns the URL at which it serves metrics, without the path.
    ///
    /// # Panics
    /// If it serves none.
    #[must_use]
    pub fn metrics_url(&self) -> String {
        format!("http://{}", self.setting("ADIEU_METRICS_LISTEN"))
    }

    /// Returns its metrics in the text format.
    ///
    /// # Panics
    /// If it serves none.
    pub async fn metrics(&self) -> String {
        let url = format!("{}/metrics", self.metrics_url());
        self.http.get(url).send().await.expect("an answer").text().await.expect("text")
    }

    /// Waits until it serves metrics, and returns them: for a server that is not asked whether it is ready.
    ///
    /// # Panics
    /// If that takes longer than [`TEST_TIMEOUT`].
    pub async fn first_metrics(&self) -> String {
        let url = format!("{}/metrics", self.metrics_url());
        recovers(async || self.http.get(&url).send().await?.text().await).await
    }

    /// Registers a user.
    ///
    /// # Panics
    /// If that fails.
    pub async fn register(&self, username: &str) {
        assert_eq!(self.ask(Method::POST, "/register", None, Some(credentials(username))).await.0, 201);
    }

    /// Returns the access token of a new session.
    ///
    /// # Panics
    /// If the login fails.
    pub async fn log_in(&self, username: &str) -> String {
        self.log_in_for_both(username).await.access
    }

    /// Returns the access token and the refresh token of a new session.
    ///
    /// # Panics
    /// If the login fails.
    pub async fn log_in_for_both(&self, username: &str) -> Tokens {
        self.try_log_in(username).await.expect("the server answers").expect("the login succeeds")
    }

    /// Returns the tokens of a new session, or the status of the rejection; `None` if the server ends before it answers.
    pub async fn try_log_in(&self, username: &str) -> Option<Result<Tokens, u16>> {
        Some(tokens(self.try_ask(Method::POST, "/login", None, Some(credentials(username))).await?))
    }

    /// Exchanges a refresh token.
    ///
    /// # Errors
    /// The status of the rejection.
    pub async fn refresh(&self, refresh: &str) -> Result<Tokens, u16> {
        self.try_refresh(refresh).await.expect("the server answers")
    }

    /// Like [`refresh`](Self::refresh); `None` if the server ends before it answers.
    pub async fn try_refresh(&self, refresh: &str) -> Option<Result<Tokens, u16>> {
        Some(tokens(self.try_ask(Method::POST, "/refresh", Some(refresh), None).await?))
    }

    /// Logs out and waits until that holds everywhere; returns the counts of followers, and how long it took.
    ///
    /// # Panics
    /// If the logout fails.
    pub async fn log_out_everywhere(&self, token: &str) -> (Value, Duration) {
        let started = Instant::now();
        let (status, body) = self.post("/logout?wait=everywhere", token).await;
        assert_eq!(status, 200, "{body}");
        (body["everywhere"].clone(), started.elapsed())
    }

    /// Opens a connection and sends a request to `/verify` on it, without waiting for the response.
    ///
    /// # Panics
    /// If it accepts no connection.
    pub async fn ask_to_verify(&self, token: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address()).await.expect("a connection");
        let request = format!(
            "GET /verify HTTP/1.1\r\nHost: adieu\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.expect("a connection");
        stream
    }

    /// Waits until a condition holds.
    ///
    /// # Panics
    /// If that takes longer than [`TEST_TIMEOUT`].
    pub async fn becomes(&self, what: &str, is_so: impl AsyncFn() -> bool) {
        until(&format!("{} becomes {what}", self.address()), is_so).await;
    }
}

/// Reads the status of the response on this connection.
///
/// # Panics
/// If there is none.
pub async fn status(mut stream: TcpStream) -> u16 {
    let mut answer = String::new();
    let reading = tokio::time::timeout(TEST_TIMEOUT, stream.read_to_string(&mut answer));
    reading.await.expect("an answer in time").expect("an answer");
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status")
}

fn client(trusted: Option<&reqwest::Certificate>) -> reqwest::Client {
    let client = reqwest::Client::builder().timeout(TEST_TIMEOUT);
    let client = match trusted {
        Some(certificate) => client.tls_certs_only([certificate.clone()]),
        None => client,
    };
    client.build().expect("a client")
}

async fn answer(request: RequestBuilder) -> Option<(u16, Value)> {
    let response = request.send().await.ok()?;
    let status = response.status().as_u16();
    Some((status, serde_json::from_slice(&response.bytes().await.ok()?).unwrap_or(Value::Null)))
}

fn credentials(username: &str) -> Value {
    json!({ "username": username, "password": ADIEU_PASSWORD })
}

fn tokens((status, body): (u16, Value)) -> Result<Tokens, u16> {
    if status != 200 {
        return Err(status);
    }
    Ok(Tokens { access: text(&body, "access_token"), refresh: text(&body, "refresh_token") })
}

fn text(object: &Value, name: &str) -> String {
    object[name].as_str().expect("a text").to_owned()
}
