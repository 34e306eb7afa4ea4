//! The API of both applications: they respond to the same requests.

use reqwest::{Client, Method};
use serde_json::Value;
use test_servers::{TEST_TIMEOUT, adieu::Tokens};

pub(crate) struct Api {
    pub(crate) name: &'static str,
    address: String,
    client: Client,
}

impl Api {
    pub(crate) fn new(name: &'static str, address: String) -> Self {
        Self { name, address, client: Client::builder().timeout(TEST_TIMEOUT).build().unwrap() }
    }

    async fn ask(&self, method: Method, path: &str, token: &str) -> (u16, Value) {
        let request = self.client.request(method, format!("{}{path}", self.address));
        let request = if token.is_empty() { request } else { request.bearer_auth(token) };
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    pub(crate) async fn get(&self, path: &str, token: &str) -> (u16, Value) {
        self.ask(Method::GET, path, token).await
    }

    /// Logs the user "1" in.
    pub(crate) async fn log_in(&self) -> Tokens {
        let (status, body) = self.ask(Method::POST, "/login", "").await;
        assert_eq!(status, 200, "{}: {body}", self.name);
        let text = |name: &str| body[name].as_str().unwrap().to_owned();
        Tokens { access: text("access_token"), refresh: text("refresh_token") }
    }

    /// Returns a new access token.
    pub(crate) async fn refresh(&self, token: &str) -> String {
        let (status, body) = self.ask(Method::POST, "/refresh", token).await;
        assert_eq!(status, 200, "{}: {body}", self.name);
        body["access_token"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn log_out(&self, token: &str) {
        let (status, body) = self.ask(Method::POST, "/logout", token).await;
        assert_eq!(status, 200, "{}: {body}", self.name);
    }
}
