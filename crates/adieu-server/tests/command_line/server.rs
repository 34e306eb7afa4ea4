//! A server that runs while commands do.

use std::{
    io::{BufRead as _, BufReader},
    process::Child,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::Place;

pub(crate) const TEST_TIMEOUT: Duration = Duration::from_secs(60);

/// `adieu serve`, running in the folder; killed when it is dropped.
pub(crate) struct Server {
    pub(crate) process: Child,
    pub(crate) address: String,
    pub(crate) log: Arc<Mutex<String>>,
    http: reqwest::Client,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _status = self.process.wait();
    }
}

pub(crate) struct Tokens {
    pub(crate) access: String,
    pub(crate) refresh: String,
}

impl Server {
    pub(crate) async fn start(place: &Place, settings: &[(&str, &str)]) -> Self {
        let mut command = place.command(&["serve"]);
        command.env("ADIEU_LISTEN", "127.0.0.1:0").envs(settings.iter().copied());
        let mut process = command.spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let said = lines.next().unwrap().unwrap();
        let address = said.split_once("listens on http://").unwrap().1.to_owned();
        std::thread::spawn(move || lines.for_each(drop));
        let log = Arc::new(Mutex::new(String::new()));
        let (stderr, written) = (BufReader::new(process.stderr.take().unwrap()), Arc::clone(&log));
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                written.lock().unwrap().push_str(&format!("{line}\n"));
            }
        });
        let http = reqwest::Client::builder().timeout(TEST_TIMEOUT).build().unwrap();
        let server = Self { process, address, log, http };
        becomes("ready", async || server.ask(Method::GET, "/readyz", None, None).await.0 == 200).await;
        server
    }

    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Option<Value>,
    ) -> (u16, Value) {
        let mut request = self.http.request(method, format!("http://{}{path}", self.address));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        (status, serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or(Value::Null))
    }

    pub(crate) async fn tokens(&self, path: &str, token: Option<&str>, body: Option<Value>) -> Tokens {
        let (status, tokens) = self.ask(Method::POST, path, token, body).await;
        assert_eq!(status, 200, "{tokens}");
        let text = |name: &str| tokens[name].as_str().unwrap().to_owned();
        Tokens { access: text("access_token"), refresh: text("refresh_token") }
    }

    pub(crate) async fn log_in(&self) -> Tokens {
        self.tokens("/login", None, Some(json!({ "username": "jose", "password": "1234" }))).await
    }

    pub(crate) async fn refresh(&self, token: &str) -> Tokens {
        self.tokens("/refresh", Some(token), None).await
    }

    pub(crate) async fn verify(&self, token: &str) -> u16 {
        self.ask(Method::GET, "/verify", Some(token), None).await.0
    }

    /// Returns the ids of the keys that it publishes, in order of their names.
    pub(crate) async fn published(&self) -> Vec<String> {
        let (status, set) = self.ask(Method::GET, "/.well-known/jwks.json", None, None).await;
        assert_eq!(status, 200);
        let mut ids: Vec<String> =
            set["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect();
        ids.sort();
        ids
    }

    pub(crate) fn has_written(&self, event: &str, key: &str) -> bool {
        let log = self.log.lock().unwrap();
        log.lines().any(|line| line.contains("adieu::audit") && line.contains(event) && line.contains(key))
    }
}

pub(crate) async fn becomes(what: &str, is_so: impl AsyncFn() -> bool) {
    let started = Instant::now();
    while !is_so().await {
        assert!(started.elapsed() < TEST_TIMEOUT, "it does not become so: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
