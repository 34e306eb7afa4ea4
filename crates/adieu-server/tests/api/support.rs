//! A server for each test. Every response in every test is checked against the OpenAPI document: an undocumented status fails the test.

use std::{
    collections::BTreeMap,
    fmt,
    net::SocketAddr,
    sync::{Arc, LazyLock},
};

use adieu::token::{Claims, encode};
use adieu_server::{
    accounts::Role,
    api,
    clients::{Capability, Client, ClientName},
    config::{Flags, Settings},
    listen::{Bounds, serve},
    node::Node,
    text::{Password, Username},
};
use arc_swap::ArcSwap;
use reqwest::{Method, header::HeaderMap};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// The password of every user.
pub(crate) const PASSWORD: &str = "1234";

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| serde_json::to_value(api::document()).unwrap());

pub(crate) struct TestApp {
    pub(crate) node: Arc<Node>,
    pub(crate) folder: TempDir,
    address: SocketAddr,
    client: reqwest::Client,
    server: JoinHandle<()>,
}

impl Drop for TestApp {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// The tokens of a login or a refresh.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tokens {
    pub(crate) access: String,
    pub(crate) refresh: String,
}

/// The credentials of a client.
#[derive(Clone, Debug)]
pub(crate) struct Credentials {
    pub(crate) name: String,
    pub(crate) secret: String,
}

impl TestApp {
    pub(crate) async fn start() -> Self {
        Self::with(&[]).await
    }

    /// Starts a server with these settings, by name.
    pub(crate) async fn with(settings: &[(&str, &str)]) -> Self {
        Self::in_folder(tempfile::tempdir().unwrap(), settings).await
    }

    async fn in_folder(folder: TempDir, settings: &[(&str, &str)]) -> Self {
        let flags = Flags { data: Some(folder.path().join("data").to_str().unwrap().into()), ..Flags::default() };
        let variable = |(name, value): &(&str, &str)| (format!("ADIEU_{}", name.to_uppercase()).into(), value.into());
        let settings = Settings::load(&flags, settings.iter().map(variable)).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let node = Arc::new(Node::open(&settings).await.unwrap());
        let router = api::router(Arc::clone(&node), settings.clone()).unwrap();
        let server = tokio::spawn(async move {
            let bounds = Arc::new(ArcSwap::from_pointee(Bounds::from(&settings)));
            serve(listener, router, bounds, std::future::pending()).await;
        });
        Self { node, folder, address, client: reqwest::Client::new(), server }
    }

    /// Stops it, and starts another on the same store.
    pub(crate) async fn start_again(mut self, settings: &[(&str, &str)]) -> Self {
        self.node.close().await;
        let folder = std::mem::replace(&mut self.folder, tempfile::tempdir().unwrap());
        drop(self);
        Self::in_folder(folder, settings).await
    }

    /// Registers a user.
    pub(crate) async fn with_user(self, username: &str) -> Self {
        let answer = self.post("/register").json(credentials(username, PASSWORD)).send().await;
        assert_eq!(answer.status, 201, "{answer}");
        self
    }

    /// Adds an administrator, as the command line does.
    pub(crate) async fn with_admin(self, username: &str) -> Self {
        let password = Password::typed(PASSWORD.into()).unwrap();
        self.node.accounts.add(Username::new(username).unwrap(), &password, Role::Admin, None).await.unwrap();
        self
    }

    /// Adds a client, as the command line does.
    pub(crate) async fn client(&self, name: &str, can: &[Capability]) -> Credentials {
        let (client, secret) = Client::new(ClientName::new(name).unwrap(), can, self.node.clock.now()).unwrap();
        assert!(self.node.clients.store().add_client(client).await.unwrap());
        Credentials { name: name.to_owned(), secret: secret.expose().to_owned() }
    }

    pub(crate) async fn log_in(&self, username: &str) -> Tokens {
        self.post("/login").json(credentials(username, PASSWORD)).send().await.tokens()
    }

    pub(crate) fn get(&self, path: &str) -> Call {
        self.call(Method::GET, path)
    }

    pub(crate) fn post(&self, path: &str) -> Call {
        self.call(Method::POST, path)
    }

    pub(crate) fn delete(&self, path: &str) -> Call {
        self.call(Method::DELETE, path)
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn call(&self, method: Method, path: &str) -> Call {
        let request = self.client.request(method.clone(), self.url(path));
        Call { method, path: path.split('?').next().unwrap().to_owned(), request }
    }

    /// Opens a connection and sends this text unchanged.
    pub(crate) async fn send(&self, text: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }

    /// Returns the claims of a valid access token.
    pub(crate) fn claims(&self, tokens: &Tokens) -> Claims {
        Arc::unwrap_or_clone(self.node.sessions.verifier().verify(&tokens.access).unwrap())
    }

    /// Signs a token as this server would.
    pub(crate) fn sign(&self, claims: &Claims) -> String {
        encode(&self.node.core.signing_key(), claims).unwrap()
    }

    /// Returns the same access token with an expiry in the past.
    pub(crate) fn expired(&self, tokens: &Tokens) -> String {
        let mut claims = self.claims(tokens);
        let hour = std::time::Duration::from_secs(3600);
        claims.issued_at = claims.issued_at.map(|at| at.minus(hour));
        claims.not_before = claims.issued_at;
        claims.expires_at = self.node.clock.now().minus(std::time::Duration::from_secs(1));
        self.sign(&claims)
    }

    pub(crate) fn user_id(&self, tokens: &Tokens) -> String {
        self.claims(tokens).subject.to_string()
    }

    /// Makes every append to the log and every read of it fail, as a full or broken disk would.
    pub(crate) fn break_log(&self) {
        self.execute("ALTER TABLE revocation RENAME TO revocation_out_of_reach");
    }

    pub(crate) fn mend_log(&self) {
        self.execute("ALTER TABLE revocation_out_of_reach RENAME TO revocation");
    }

    /// Locks the store for other writers until the returned connection is dropped.
    pub(crate) fn lock_store(&self) -> rusqlite::Connection {
        let connection = rusqlite::Connection::open(self.folder.path().join("data/adieu.sqlite")).unwrap();
        connection.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        connection
    }

    /// Runs a statement on the store without the server's knowledge.
    pub(crate) fn execute(&self, statement: &str) {
        let file = self.folder.path().join("data/adieu.sqlite");
        let connection = rusqlite::Connection::open(file).unwrap();
        connection.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
        connection.execute_batch(statement).unwrap();
    }

    /// Sends a token to `/verify`.
    pub(crate) async fn verify(&self, token: &str) -> Answer {
        self.get("/verify").token(token).send().await
    }
}

pub(crate) fn credentials(username: &str, password: &str) -> Value {
    json!({ "username": username, "password": password })
}

/// Reads the first line of a response.
pub(crate) async fn first_line(stream: &mut TcpStream) -> String {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        line.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(line).unwrap().trim_end().to_owned()
}

/// A request that has not been sent yet.
pub(crate) struct Call {
    method: Method,
    path: String,
    request: reqwest::RequestBuilder,
}

impl Call {
    pub(crate) fn token(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    /// Authenticates as a client.
    pub(crate) fn by(mut self, client: &Credentials) -> Self {
        self.request = self.request.basic_auth(&client.name, Some(&client.secret));
        self
    }

    pub(crate) fn form(mut self, body: impl Into<reqwest::Body>) -> Self {
        self.request = self.request.header("content-type", "application/x-www-form-urlencoded").body(body);
        self
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    pub(crate) fn json(self, body: Value) -> Self {
        self.text(body.to_string())
    }

    pub(crate) fn text(mut self, body: impl Into<reqwest::Body>) -> Self {
        self.request = self.request.header("content-type", "application/json").body(body);
        self
    }

    /// Sets a body without a content type.
    pub(crate) fn unlabelled(self, body: &'static str) -> Self {
        self.body(body)
    }

    /// Sets a body; its content types have been set before.
    pub(crate) fn body(mut self, body: impl Into<reqwest::Body>) -> Self {
        self.request = self.request.body(body);
        self
    }

    pub(crate) async fn send(self) -> Answer {
        let response = self.request.send().await.unwrap();
        let status = response.status().as_u16();
        hold_to_document(&self.method, &self.path, status);
        Answer { status, headers: response.headers().clone(), body: response.text().await.unwrap() }
    }
}

/// Returns the documented operations of a path, by the template that fits it best.
pub(crate) fn documented(path: &str) -> Option<(&'static str, &'static Value)> {
    let fits = |template: &str| {
        let (template, path) = (template.split('/'), path.split('/'));
        template.clone().count() == path.clone().count()
            && template.zip(path).all(|(wanted, part)| wanted == part || wanted.starts_with('{'))
    };
    let paths = DOCUMENT["paths"].as_object().unwrap();
    paths
        .iter()
        .filter(|(template, _)| fits(template))
        .min_by_key(|(template, _)| template.matches('{').count())
        .map(|(template, operations)| (template.as_str(), operations))
}

/// Returns each documented operation, as method and path, with its documented statuses.
pub(crate) fn operations() -> BTreeMap<(String, String), Vec<u16>> {
    let paths = DOCUMENT["paths"].as_object().unwrap();
    let operations = paths.iter().flat_map(|(path, operations)| {
        operations.as_object().unwrap().iter().map(move |(method, operation)| {
            let statuses = operation["responses"].as_object().unwrap().keys();
            ((method.to_uppercase(), path.clone()), statuses.map(|status| status.parse().unwrap()).collect())
        })
    });
    operations.collect()
}

fn hold_to_document(method: &Method, path: &str, status: u16) {
    let Some((template, _)) = documented(path) else { return };
    if let Some(statuses) = operations().get(&(method.to_string(), template.to_owned())) {
        assert!(statuses.contains(&status), "{method} {template} was answered {status}, which is not documented");
    }
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("not JSON: {self}"))
    }

    pub(crate) fn tokens(&self) -> Tokens {
        assert_eq!(self.status, 200, "{self}");
        let body = self.json();
        let token = |name: &str| body[name].as_str().unwrap().to_owned();
        Tokens { access: token("access_token"), refresh: token("refresh_token") }
    }

    #[track_caller]
    pub(crate) fn is_revoked(&self) {
        self.reads(r#"401 {"description":"The token has been revoked.","error":"token_revoked"}"#);
    }

    /// For loops, which can't use inline snapshots.
    #[track_caller]
    pub(crate) fn reads(&self, expected: &str) {
        assert_eq!(self.to_string(), expected);
    }

    #[track_caller]
    pub(crate) fn is(&self, status: u16) {
        assert_eq!(self.status, status, "{self}");
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.status, self.body)
    }
}
