//! SIGHUP: a server reads its settings again, and applies what can change while it runs. Nothing is applied by halves, and no request fails.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    fs,
    io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
        mpsc::{Receiver, channel},
    },
    thread,
    time::{Duration, Instant},
};

use adieu::{
    Issuer, Subject,
    time::{Clock as _, SystemClock},
    token::{Algorithm, Claims, SigningKey, TokenType, encode},
};
use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use reqwest::{Certificate, Client};
use rustix::{
    fs::{CWD, FileType, Mode, mknodat},
    process::{Pid, Signal, kill_process},
};
use serde_json::Value;
use tempfile::TempDir;
use test_servers::{TEST_TIMEOUT, make_certificate};

/// The key of the issuer "shop".
const SECRET: &[u8] = &[7; 32];

/// The table of the issuer "shop" in the file.
const SHOP: &str = "trusted_issuer = [{ name = \"shop\", secret_file = \"shop.secret\" }]\n";

/// A server with its settings in a file.
struct Server {
    process: Child,
    address: SocketAddr,
    log: Receiver<String>,
    folder: TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ended_already = self.process.kill();
        let _status = self.process.wait();
    }
}

impl Server {
    fn start(settings: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("shop.secret"), SECRET).unwrap();
        Self::start_in(folder, settings)
    }

    fn start_in(folder: TempDir, settings: &str) -> Self {
        fs::write(folder.path().join("adieu.toml"), with_address(settings)).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_adieu"));
        command.args(["--config", "adieu.toml"]).current_dir(folder.path()).env_clear();
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (line, log) = channel();
        let errors = BufReader::new(process.stderr.take().unwrap());
        thread::spawn(move || errors.lines().map_while(Result::ok).try_for_each(|text| line.send(text)));
        let mut first = String::new();
        BufReader::new(process.stdout.as_mut().unwrap()).read_line(&mut first).unwrap();
        let address = first.trim_end().rsplit_once("://").expect(&first).1.parse().unwrap();
        Self { process, address, log, folder }
    }

    /// Replaces the file, sends the signal, and waits for a line of the log.
    fn reload(&self, settings: &str, line: &str) -> String {
        fs::write(self.folder.path().join("adieu.toml"), with_address(settings)).unwrap();
        kill_process(Pid::from_child(&self.process), Signal::HUP).unwrap();
        self.logs(line)
    }

    fn logs(&self, text: &str) -> String {
        let mut seen = String::new();
        loop {
            match self.log.recv_timeout(TEST_TIMEOUT) {
                Ok(line) if line.contains(text) => return line,
                Ok(line) => seen += &format!("{line}\n"),
                Err(error) => panic!("no line with {text:?} ({error}):\n{seen}"),
            }
        }
    }

    fn connect(&self) -> Connection {
        Connection::open(self.address)
    }
}

fn with_address(settings: &str) -> String {
    let address = if settings.contains("listen = ") { "" } else { "listen = \"127.0.0.1:0\"\n" };
    format!("{address}{settings}")
}

/// A connection that stays open.
struct Connection(BufReader<TcpStream>);

impl Connection {
    fn open(address: SocketAddr) -> Self {
        Self(BufReader::new(TcpStream::connect(address).unwrap()))
    }

    fn ask(&mut self, method: &str, path: &str, token: Option<&str>, body: &str) -> u16 {
        self.exchange(method, path, token, body).0
    }

    fn exchange(&mut self, method: &str, path: &str, token: Option<&str>, body: &str) -> (u16, Vec<u8>) {
        let authorization = token.map_or_else(String::new, |token| format!("authorization: Bearer {token}\r\n"));
        let head =
            format!("{method} {path} HTTP/1.1\r\nhost: adieu\r\ncontent-type: application/json\r\n{authorization}");
        let request = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
        // A head that is too long is answered before it has been read.
        let _cut_off = self.0.get_mut().write_all(request.as_bytes());
        let (mut status, mut length) = (0, 0);
        loop {
            let mut line = String::new();
            assert_ne!(self.0.read_line(&mut line).unwrap(), 0, "the server closed the connection");
            if let Some(found) = line.strip_prefix("HTTP/1.1 ") {
                status = found[..3].parse().unwrap();
            } else if let Some(found) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
                length = found.trim_end().parse().unwrap();
            } else if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).unwrap();
        (status, body)
    }

    /// Logs "anna" in, and returns her tokens.
    fn log_in(&mut self) -> Value {
        let (status, body) = self.exchange("POST", "/login", None, r#"{"username":"anna","password":"1234"}"#);
        assert_eq!(status, 200);
        serde_json::from_slice(&body).unwrap()
    }

    fn verify(&mut self, token: &str) -> u16 {
        self.ask("GET", "/verify", Some(token), "")
    }

    fn register(&mut self, username: &str) -> u16 {
        self.ask("POST", "/register", None, &format!(r#"{{"username":"{username}","password":"1234"}}"#))
    }
}

/// A token of the issuer "shop".
fn token_of_shop() -> String {
    let (issuer, jose) = (Issuer::new("shop").unwrap(), Subject::new("jose").unwrap());
    let claims = Claims::new(issuer, jose, TokenType::Access, SystemClock.now(), Duration::from_secs(600));
    encode(&SigningKey::from_secret(Algorithm::HS256, SECRET).unwrap(), &claims).unwrap()
}

#[test]
fn a_change_takes_effect_for_the_next_request_of_an_open_connection() {
    let server = Server::start(SHOP);
    let (mut connection, good, left) = (server.connect(), token_of_shop(), token_of_shop());
    assert_eq!(connection.register("anna"), 201);
    assert_eq!(connection.ask("GET", "/livez", None, ""), 200);
    assert_eq!(connection.ask("POST", "/logout", Some(&left), ""), 200);
    assert_eq!((connection.verify(&good), connection.verify(&left)), (204, 401));

    // No issuer is trusted any more.
    let changes = "min_password_length = 12\nlog_level = \"debug\"\nlogin_attempts_per_address = \"2 per 1h\"\n";
    server.reload(changes, "changed: trusted_issuer, min_password_length, login_attempts_per_address, log_level");
    assert_eq!(connection.verify(&good), 401);
    assert_eq!(connection.register("bert"), 422);
    assert_eq!(connection.ask("GET", "/livez", None, ""), 200);
    server.logs("/livez");
    let log_in = r#"{"username":"anna","password":"no"}"#;
    let statuses = [(); 3].map(|()| connection.ask("POST", "/login", None, log_in));
    assert_eq!(statuses, [401, 401, 429]);

    server.reload(&format!("{SHOP}registration = \"closed\"\n"), "changed: trusted_issuer, registration, ");
    assert_eq!((connection.verify(&good), connection.verify(&left)), (204, 401), "what was revoked stays revoked");
    assert_eq!(connection.register("carl"), 403);
}

/// Returns an address at which nothing listens.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[test]
fn the_console_appears_at_its_own_address() {
    let console_address = free_address();
    let settings = |is_on: bool| format!("console = {is_on}\nconsole_listen = \"{console_address}\"\n");
    let server = Server::start(&settings(false));
    let console = || Connection::open(console_address).exchange("GET", "/console", None, "").0;
    assert_eq!(console(), 404);
    server.reload(&settings(true), "changed: console");
    assert_eq!(console(), 200);
    assert_eq!(server.connect().ask("GET", "/console", None, ""), 404);
}

#[test]
fn limits_hold_at_the_address_of_the_console_too() {
    let console_address = free_address();
    let settings = |bytes: u32| format!("max_token_bytes = {bytes}\nconsole_listen = \"{console_address}\"\n");
    let server = Server::start(&settings(8_192));
    let token = "x".repeat(40_000);
    let verify = |address| Connection::open(address).exchange("GET", "/verify", Some(&token), "").0;
    assert_eq!([verify(server.address), verify(console_address)], [431, 431]);
    server.reload(&settings(65_536), "changed: max_token_bytes");
    assert_eq!([verify(server.address), verify(console_address)], [401, 401]);
}

#[test]
fn a_key_in_a_file_is_read_again() {
    let server = Server::start(SHOP);
    let (mut connection, token) = (server.connect(), token_of_shop());
    assert_eq!(connection.verify(&token), 204);
    fs::write(server.folder.path().join("shop.secret"), [8; 32]).unwrap();
    server.reload(SHOP, "none has changed, and files of keys and certificates were read again");
    assert_eq!(connection.verify(&token), 401);
}

#[test]
fn settings_that_cannot_be_used_change_nothing() {
    let server = Server::start(SHOP);
    let (mut connection, token) = (server.connect(), token_of_shop());
    for (invalid, why) in [
        ("min_password_length = 0", "min_password_length"),
        ("min_password_length = 12\nno_such_setting = 1", "no_such_setting"),
        ("min_password_length = 12\n[", "is not TOML"),
        ("min_password_length = 12\ntrusted_issuer = [{ name = \"bank\", pem_file = \"nowhere\" }]", "nowhere"),
        ("min_password_length = 12\ntls_certificate = \"nowhere\"", "tls_key is needed too"),
        (
            "min_password_length = 12\nissuer = \"us\"\ntrusted_issuer = [{ name = \"adieu\", secret_file = \"shop.secret\" }]",
            "duplicate issuer",
        ),
        (
            "min_password_length = 12\nwebhook = [{ name = \"a\", url = \"https://a.example\", secret_file = \"nowhere\" }]",
            "nowhere",
        ),
    ] {
        let line = server.reload(invalid, "the settings were not reloaded, and the old ones stay in effect: ");
        assert!(line.contains(why) && line.contains("ERROR"), "{line}");
        assert_eq!(connection.verify(&token), 204, "{invalid}");
        assert_eq!(connection.register(&format!("u{}", invalid.len())), 201, "{invalid}");
    }
    server.reload("min_password_length = 12", "changed: trusted_issuer, min_password_length");
}

#[test]
fn what_needs_a_restart_is_named_until_it_is_restarted() {
    let server = Server::start("");
    let mut connection = server.connect();
    let changed = "listen = \"127.0.0.1:1\"\nissuer = \"us\"\nmin_password_length = 12\n";
    for _ in 0..2 {
        let line = server.reload(changed, "needs a restart: ");
        assert!(line.ends_with("needs a restart: listen, issuer") && line.contains("WARN"), "{line}");
    }
    assert_eq!(connection.register("anna"), 422, "what can change has changed");
    // It is still that of the address of the start.
    server.reload("listen = \"0.0.0.0:1\"", "needs a restart: listen");
    assert_eq!(connection.register("anna"), 201);
    server.reload("", "none has changed");
}

#[test]
fn no_request_fails_while_settings_are_reloaded() {
    let server = Server::start(SHOP);
    let (address, token) = (server.address, token_of_shop());
    let (stop, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut connection = Connection::open(address);
                while !stop.load(Relaxed) {
                    assert_eq!(connection.verify(&token), 204);
                    assert_eq!(connection.ask("GET", "/livez", None, ""), 200);
                    assert_eq!(Connection::open(address).ask("GET", "/readyz", None, ""), 200);
                    answered.fetch_add(1, Relaxed);
                }
            });
        }
        for number in 0..10 {
            let before = answered.load(Relaxed);
            let changed = format!("{SHOP}min_password_length = {}\n", number + 2);
            server.reload(&changed, "changed: min_password_length");
            let since = Instant::now();
            while answered.load(Relaxed) < before + 3 && since.elapsed() < TEST_TIMEOUT {
                thread::yield_now();
            }
        }
        stop.store(true, Relaxed);
    });
    assert!(answered.load(Relaxed) >= 30);
}

#[tokio::test]
async fn another_certificate_is_used_for_the_next_connection() {
    let folder = tempfile::tempdir().unwrap();
    let settings = |name: &str| format!("tls_certificate = \"{name}/certificate.pem\"\ntls_key = \"{name}/key.pem\"\n");
    for name in ["one", "two"] {
        fs::create_dir(folder.path().join(name)).unwrap();
        make_certificate(&folder.path().join(name), "127.0.0.1");
    }
    let server = Server::start_in(folder, &settings("one"));
    let ask = async |trusted: &str| {
        let trusted = fs::read(server.folder.path().join(trusted).join("certificate.pem")).unwrap();
        let client = Client::builder().no_proxy().tls_certs_only([Certificate::from_pem(&trusted).unwrap()]);
        client.build().unwrap().get(format!("https://{}/livez", server.address)).send().await.is_ok()
    };
    assert_eq!((ask("one").await, ask("two").await), (true, false));
    server.reload(&settings("two"), "changed: tls_certificate, tls_key");
    assert_eq!((ask("one").await, ask("two").await), (false, true));
    // A server speaks TLS from its start on, or not.
    server.reload("", "needs a restart: tls_certificate, tls_key");
    assert_eq!((ask("one").await, ask("two").await), (false, true));
    // It asks for certificates from its start on, or not.
    let asking = settings("two") + "tls_client_ca = \"two/certificate.pem\"\n";
    server.reload(&asking, "needs a restart: tls_client_ca");
    let trusted = Certificate::from_pem(&fs::read(server.folder.path().join("two/certificate.pem")).unwrap()).unwrap();
    let client = Client::builder().no_proxy().tls_certs_only([trusted]).build().unwrap();
    let feed = client.get(format!("https://{}/revocations", server.address)).basic_auth("shop", Some("wrong"));
    assert_eq!(feed.send().await.unwrap().status(), 401);
}

#[test]
fn a_reload_that_changes_something_is_in_the_audit_trail() {
    let server = Server::start("audit_log = \"audit.jsonl\"\n");
    server.reload("audit_log = \"audit.jsonl\"\nconsole = false\n", "changed: console");
    // The next reload begins when the line of the first is on stable storage.
    server.reload("audit_log = \"audit.jsonl\"\nconsole = false\n", "none has changed");
    let trail = fs::read_to_string(server.folder.path().join("audit.jsonl")).unwrap();
    let lines: Vec<&str> = trail.lines().collect();
    assert_eq!(lines.len(), 1, "{trail}");
    assert!(
        lines[0].contains(r#""event":"settings_reloaded""#) && lines[0].contains(r#""settings":"console""#),
        "{trail}"
    );
}

#[test]
fn aliases_are_recorded_from_the_claims_that_a_reload_names() {
    let with = |claims: &str| {
        SHOP.replace(
            " }]",
            &format!(", events = [\"session-revoked\"], event_audience = [\"x\"], alias_claims = [{claims}] }}]"),
        )
    };
    let server = Server::start(&with(""));
    let token_of = |subject: &str| {
        let (issuer, subject) = (Issuer::new("shop").unwrap(), Subject::new(subject).unwrap());
        let mut claims =
            Claims::new(issuer, subject.clone(), TokenType::Access, SystemClock.now(), Duration::from_secs(600));
        claims.custom.insert("email".to_owned(), format!("{subject}@example.com").into());
        claims.custom.insert("email_verified".to_owned(), true.into());
        encode(&SigningKey::from_secret(Algorithm::HS256, SECRET).unwrap(), &claims).unwrap()
    };
    let mut connection = server.connect();
    assert_eq!(connection.verify(&token_of("anna")), 204);
    server.reload(&with("\"email\""), "changed: trusted_issuer");
    assert_eq!(connection.verify(&token_of("jose")), 204);
    let started = Instant::now();
    let listed = loop {
        let mut list = Command::new(env!("CARGO_BIN_EXE_adieu"));
        list.args(["alias", "list", "--json", "--config", "adieu.toml"]).current_dir(server.folder.path()).env_clear();
        let listed = String::from_utf8(list.output().unwrap().stdout).unwrap();
        if !listed.is_empty() {
            break listed;
        }
        assert!(started.elapsed() < TEST_TIMEOUT, "no alias is recorded");
    };
    assert!(listed.lines().count() == 1 && listed.contains("jose@example.com"), "{listed}");
}

/// The lifetimes of a pair of tokens, in seconds.
fn lifetimes(pair: &Value) -> [u64; 2] {
    ["access_token", "refresh_token"].map(|name| {
        let claims = adieu::token::dangerous::unverified_claims(pair[name].as_str().unwrap()).unwrap();
        claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap()
    })
}

#[test]
fn lifetimes_hold_from_the_next_login_and_refresh_on() {
    let server = Server::start("access_lifetime = \"15m\"\nrefresh_lifetime = \"1d\"\n");
    let mut connection = server.connect();
    assert_eq!(connection.register("anna"), 201);
    let before = connection.log_in();
    assert_eq!(lifetimes(&before), [900, 86_400]);
    let shorter =
        "access_lifetime = \"5m\"\nrefresh_lifetime = \"1h\"\nsession_lifetime = \"2h\"\nmax_sessions_per_user = 2\n";
    server.reload(shorter, "changed: access_lifetime, refresh_lifetime, session_lifetime, max_sessions_per_user");
    assert_eq!(lifetimes(&connection.log_in()), [300, 3_600]);
    let used = before["refresh_token"].as_str();
    let (status, refreshed) = connection.exchange("POST", "/refresh", used, "");
    assert_eq!(status, 200);
    assert_eq!(lifetimes(&serde_json::from_slice(&refreshed).unwrap()), [300, 3_600]);
    // The third session ends the oldest, all of whose tokens are rejected.
    connection.log_in();
    assert_eq!(connection.verify(before["access_token"].as_str().unwrap()), 401);
    // Together with the old ones, these would contradict each other.
    let line = server.reload("access_lifetime = \"2h\"\nrefresh_lifetime = \"1h\"\n", "were not reloaded");
    assert!(line.contains("must not be longer than refresh_lifetime"), "{line}");
    assert_eq!(lifetimes(&connection.log_in()), [300, 3_600]);
}

#[test]
fn longer_tokens_are_accepted_after_a_reload() {
    let server = Server::start(SHOP);
    let now = SystemClock.now().as_unix();
    let groups = "x".repeat(8_000);
    let claims = serde_json::json!({
        "iss": "shop", "sub": "jose", "jti": "1", "iat": now, "exp": now + 600, "groups": groups
    });
    // The core issues no token of this length.
    let text = [serde_json::json!({"alg": "HS256", "typ": "at+jwt"}), claims];
    let text = text.map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), text.as_bytes());
    let long = format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature));
    assert_eq!(server.connect().verify(&long), 401);
    server.reload(&format!("{SHOP}max_token_bytes = 16384\n"), "changed: max_token_bytes");
    assert_eq!(server.connect().verify(&long), 204);
    server.reload(SHOP, "changed: max_token_bytes");
    assert_eq!(server.connect().verify(&long), 401, "also one that was accepted before");
}

/// Accepts one message, and returns it.
fn received(listener: &TcpListener) -> String {
    let (mut stream, _) = listener.accept().unwrap();
    let mut message = String::new();
    let mut part = [0; 4096];
    while !message.contains("session.ended") {
        let length = stream.read(&mut part).unwrap();
        assert_ne!(length, 0, "{message}");
        message += str::from_utf8(&part[..length]).unwrap();
    }
    stream.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").unwrap();
    message
}

#[test]
fn webhooks_are_added_changed_and_removed() {
    let (one, two) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let webhook = |listener: &TcpListener| {
        let address = listener.local_addr().unwrap();
        format!(
            "webhook = [{{ name = \"shop\", url = \"http://{address}/\", secret_file = \"whsec\", allow_private = true }}]\n"
        )
    };
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("whsec"), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").unwrap();
    let server = Server::start_in(folder, "");
    let mut connection = server.connect();
    assert_eq!(connection.register("anna"), 201);
    let mut log_out = || {
        let token = connection.log_in()["access_token"].as_str().unwrap().to_owned();
        assert_eq!(connection.ask("POST", "/logout", Some(&token), ""), 200);
        adieu::token::dangerous::unverified_claims(&token).unwrap()["sid"].as_str().unwrap().to_owned()
    };
    log_out();
    server.reload(&webhook(&one), "changed: webhook");
    let session = log_out();
    assert!(received(&one).contains(&session), "only what was revoked since the receiver was added");
    server.reload(&webhook(&two), "changed: webhook");
    let session = log_out();
    assert!(received(&two).contains(&session), "a receiver that moved continues where it was");
    server.reload("", "changed: webhook");
    log_out();
    thread::sleep(Duration::from_millis(300));
    two.set_nonblocking(true).unwrap();
    assert_eq!(two.accept().unwrap_err().kind(), ErrorKind::WouldBlock, "no message is sent");
    two.set_nonblocking(false).unwrap();
    server.reload(&webhook(&two), "changed: webhook");
    received(&two);
    one.set_nonblocking(true).unwrap();
    assert_eq!(one.accept().unwrap_err().kind(), ErrorKind::WouldBlock, "nothing goes to the old place");
}

#[test]
fn the_audit_trail_moves_to_another_file() {
    let server = Server::start("audit_log = \"one.jsonl\"\n");
    let mut connection = server.connect();
    let events = |file: &str| -> Vec<String> {
        let text = fs::read_to_string(server.folder.path().join(file)).unwrap();
        let event = |line: &str| serde_json::from_str::<Value>(line).unwrap()["event"].as_str().unwrap().to_owned();
        text.lines().map(event).collect()
    };
    assert_eq!(connection.register("anna"), 201);
    let line = server.reload("audit_log = \"missing/two.jsonl\"\n", "were not reloaded");
    assert!(line.contains("the audit trail in missing/two.jsonl can't be written"), "{line}");
    assert_eq!(connection.register("bert"), 201);
    server.reload("audit_log = \"two.jsonl\"\n", "changed: audit_log");
    // The next reload begins after the move.
    server.reload("audit_log = \"two.jsonl\"\n", "none has changed");
    assert_eq!(connection.register("carl"), 201);
    assert_eq!(events("one.jsonl"), ["account_added", "account_added", "settings_reloaded"]);
    assert_eq!(events("two.jsonl"), ["settings_reloaded", "account_added"]);
    server.reload("", "changed: audit_log");
    server.reload("", "none has changed");
    assert_eq!(connection.register("dora"), 201);
    assert_eq!(events("two.jsonl"), ["settings_reloaded", "account_added", "settings_reloaded"]);
}

fn make_pipe(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
}

/// Ends the server as systemd does, and returns how it ended; fails if it does not.
fn terminate(mut server: Server) -> ExitStatus {
    kill_process(Pid::from_child(&server.process), Signal::TERM).unwrap();
    let since = Instant::now();
    loop {
        if let Some(status) = server.process.try_wait().unwrap() {
            return status;
        }
        assert!(since.elapsed() < TEST_TIMEOUT, "the server does not end");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_pipe_in_place_of_a_file_holds_nothing_up() {
    let server = Server::start("");
    make_pipe(&server.folder.path().join("pipe"));
    fs::write(server.folder.path().join("long"), vec![b'\n'; 1024 * 1024 + 1]).unwrap();
    let relay = |ca: &str| {
        format!(
            "follow = \"http://127.0.0.1:1\"\nfollow_client = \"a\"\nfollow_secret_file = \"shop.secret\"\nfollow_ca = \"{ca}\""
        )
    };
    for (settings, why) in [
        (SHOP.replace("shop.secret", "pipe"), "secret_file pipe: not a regular file"),
        (
            "webhook = [{ name = \"a\", url = \"https://a.example\", secret_file = \"pipe\" }]".to_owned(),
            "secret_file pipe: not a regular file",
        ),
        ("audit_log = \"pipe\"".to_owned(), "pipe can't be written: no process reads this named pipe"),
        ("tls_certificate = \"pipe\"\ntls_key = \"pipe\"".to_owned(), "pipe (tls_certificate): not a regular file"),
        ("high_water_file = \"pipe\"".to_owned(), "high_water_file pipe is not a regular file"),
        (relay("pipe"), "pipe: not a regular file"),
        (relay("long"), "long: not a regular file of at most 1 MiB"),
    ] {
        let line = server.reload(&settings, "were not reloaded");
        assert!(line.contains(why), "{line}");
    }
    fs::remove_file(server.folder.path().join("adieu.toml")).unwrap();
    make_pipe(&server.folder.path().join("adieu.toml"));
    kill_process(Pid::from_child(&server.process), Signal::HUP).unwrap();
    server.logs("the settings in adieu.toml can't be read: not a regular file");
    assert!(terminate(server).success());
}

#[test]
fn a_server_starts_and_ends_though_nobody_reads_its_audit_log() {
    let folder = tempfile::tempdir().unwrap();
    make_pipe(&folder.path().join("pipe"));
    let server = Server::start_in(folder, "audit_log = \"pipe\"\n");
    server.logs("the audit trail in pipe can't be written: no process reads this named pipe");
    assert_eq!(server.connect().register("anna"), 201);
    assert!(terminate(server).success());
}

#[test]
fn what_only_a_start_uses_is_checked_too() {
    let server = Server::start("");
    fs::write(server.folder.path().join("file"), "").unwrap();
    for (settings, why) in [
        ("unix_socket_owner = \"nobody-has-this-name\"", "there is no owner \"nobody-has-this-name\" on this system"),
        ("unix_socket_group = \"nobody-has-this-name\"", "there is no group \"nobody-has-this-name\" on this system"),
        ("high_water_file = \".\"", "high_water_file . is not a regular file"),
        ("high_water_file = \"file/mark\"", "high_water_file file/mark"),
    ] {
        let line = server.reload(settings, "were not reloaded");
        assert!(line.contains(why), "{line}");
    }
    // A start makes the folder.
    server.reload("high_water_file = \"folder/mark\"", "needs a restart: high_water_file");
    assert!(!server.folder.path().join("folder").exists());
}
