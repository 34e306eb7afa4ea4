//! Traces, as a collector receives them.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU16, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use prost::Message;
use reqwest::Method;
use serde_json::{Value, json};
use test_servers::adieu::{ADIEU_PASSWORD, Adieu};
use tokio::net::TcpListener;

use crate::adieu;

/// The parts of `ExportTraceServiceRequest` that the tests look at.
#[derive(Clone, PartialEq, Message)]
struct Export {
    #[prost(message, repeated, tag = "1")]
    resources: Vec<ResourceSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct ResourceSpans {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    scopes: Vec<ScopeSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct Resource {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<Attribute>,
}

#[derive(Clone, PartialEq, Message)]
struct ScopeSpans {
    #[prost(message, repeated, tag = "2")]
    spans: Vec<Span>,
}

#[derive(Clone, PartialEq, Message)]
struct Span {
    #[prost(bytes = "vec", tag = "1")]
    trace: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    id: Vec<u8>,
    #[prost(string, tag = "3")]
    state: String,
    #[prost(bytes = "vec", tag = "4")]
    parent: Vec<u8>,
    #[prost(string, tag = "5")]
    name: String,
    #[prost(int32, tag = "6")]
    kind: i32,
    #[prost(fixed64, tag = "7")]
    start: u64,
    #[prost(fixed64, tag = "8")]
    end: u64,
    #[prost(message, repeated, tag = "9")]
    attributes: Vec<Attribute>,
}

const INTERNAL: i32 = 1;
const SERVER: i32 = 2;
const CLIENT: i32 = 3;

#[derive(Clone, PartialEq, Message)]
struct Attribute {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<AnyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct AnyValue {
    #[prost(string, optional, tag = "1")]
    text: Option<String>,
    #[prost(int64, optional, tag = "3")]
    number: Option<i64>,
}

fn values(attributes: &[Attribute]) -> Vec<(&str, Value)> {
    let value = |attribute: &Attribute| {
        let AnyValue { text, number } = attribute.value.clone().unwrap();
        text.map(Value::from).or(number.map(Value::from)).unwrap()
    };
    let mut values: Vec<_> = attributes.iter().map(|attribute| (attribute.key.as_str(), value(attribute))).collect();
    values.sort_by_key(|(key, _)| *key);
    values
}

type Bodies = Arc<Mutex<Vec<Vec<u8>>>>;

/// A collector, which answers with a status.
struct Collector {
    url: String,
    status: Arc<AtomicU16>,
    bodies: Bodies,
}

impl Collector {
    async fn start() -> Self {
        let (status, bodies) = (Arc::new(AtomicU16::new(200)), Bodies::default());
        let state = (Arc::clone(&status), Arc::clone(&bodies));
        let receive =
            async |State((status, bodies)): State<(Arc<AtomicU16>, Bodies)>, headers: HeaderMap, body: Bytes| {
                assert_eq!(headers["content-type"], "application/x-protobuf");
                let status = StatusCode::from_u16(status.load(SeqCst)).unwrap();
                if status == StatusCode::OK {
                    bodies.lock().unwrap().push(body.to_vec());
                }
                status
            };
        let router = Router::new().route("/v1/traces", post(receive)).with_state(state);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async { axum::serve(listener, router).await });
        Self { url, status, bodies }
    }

    fn exports(&self) -> Vec<ResourceSpans> {
        let bodies = self.bodies.lock().unwrap();
        bodies.iter().flat_map(|body| Export::decode(&body[..]).unwrap().resources).collect()
    }

    fn spans(&self) -> Vec<Span> {
        self.exports().into_iter().flat_map(|export| export.scopes).flat_map(|scope| scope.spans).collect()
    }

    /// Waits for a span.
    async fn span(&self, node: &Adieu, what: &str, is_it: impl Fn(&Span) -> bool) -> Span {
        let found = || self.spans().into_iter().find(|span| is_it(span));
        node.becomes(what, async || found().is_some()).await;
        found().unwrap()
    }

    async fn has_a_commit_below(&self, node: &Adieu, request: &Span) {
        let commit = self.span(node, "traced", |span| span.parent == request.id).await;
        assert_eq!((commit.name.as_str(), commit.kind, &commit.trace), ("store commit", INTERNAL, &request.trace));
    }
}

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn caller(is_sampled: bool) -> String {
    format!("00-{TRACE}-00f067aa0ba902b7-0{}", u8::from(is_sampled))
}

/// Sends a request of a caller with this `traceparent`.
async fn get(node: &Adieu, path: &str, parent: &str) -> u16 {
    let request = node.request(Method::GET, path).header("traceparent", parent).header("tracestate", "shop=1");
    request.send().await.unwrap().status().as_u16()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_is_a_span_in_the_trace_of_its_caller() {
    let collector = Collector::start().await;
    let node = adieu().with("ADIEU_OTLP_ENDPOINT", &collector.url).with_metrics();
    let node = node.with("ADIEU_LOG_LEVEL", "info").with("ADIEU_LOG_FORMAT", "json").start().await;
    assert_eq!(get(&node, "/sessions?secret=42", &caller(true)).await, 401);
    let span = collector.span(&node, "traced", |span| span.name == "GET /sessions").await;
    assert_eq!((hex::encode(&span.trace).as_str(), hex::encode(&span.parent).as_str()), (TRACE, "00f067aa0ba902b7"));
    assert_eq!((span.kind, span.state.as_str()), (SERVER, "shop=1"));
    assert!(span.start <= span.end && span.end - span.start < 60_000_000_000, "{span:?}");
    let expected = [
        ("http.request.method", json!("GET")),
        ("http.response.status_code", json!(401)),
        ("http.route", json!("/sessions")),
        ("url.scheme", json!("http")),
    ];
    assert_eq!(values(&span.attributes), expected);
    let resource = collector.exports().remove(0).resource.unwrap();
    let resource = values(&resource.attributes);
    assert_eq!(resource[1], ("service.name", json!("adieu")));
    assert_eq!(resource[2], ("service.version", json!(env!("CARGO_PKG_VERSION"))));

    // A new trace, with a commit of the store in it. A caller that is not valid is none.
    node.register("jose").await;
    let body = json!({ "username": "jose", "password": ADIEU_PASSWORD });
    let login = node.request(Method::POST, "/login").json(&body).header("traceparent", format!("00-{TRACE}-0-01"));
    let tokens: Value = login.send().await.unwrap().json().await.unwrap();
    let token = tokens["access_token"].as_str().unwrap();
    let login = collector.span(&node, "traced", |span| span.name == "POST /login").await;
    assert!(login.parent.is_empty() && hex::encode(&login.trace) != TRACE);
    collector.has_a_commit_below(&node, &login).await;
    node.becomes("logging the trace", async || node.log().contains(&hex::encode(&login.trace))).await;
    let line = node.log().lines().find(|line| line.contains(&hex::encode(&login.trace))).unwrap().to_owned();
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["trace_id"], hex::encode(&login.trace));
    assert_eq!(line["route"], "/login");

    // What proxies ask is traced only for a caller.
    assert_eq!(node.verify(token).await.0, 204);
    let asked = node.request(Method::GET, "/verify").bearer_auth(token).header("traceparent", caller(true));
    assert_eq!(asked.send().await.unwrap().status(), 204);
    // The path has the id of a session.
    let sessions = node.ask(Method::GET, "/sessions", Some(token), None).await.1;
    let session = sessions["sessions"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(node.ask(Method::DELETE, &format!("/sessions/{session}"), Some(token), None).await.0, 200);
    let logout = collector.span(&node, "traced", |span| span.name == "DELETE /sessions/{sid}").await;
    collector.has_a_commit_below(&node, &logout).await;
    let verified: Vec<_> = collector.spans().into_iter().filter(|span| span.name == "GET /verify").collect();
    assert_eq!(verified.len(), 1, "{verified:?}");
    for body in collector.bodies.lock().unwrap().iter() {
        for secret in [token, &session, "secret", "jose", ADIEU_PASSWORD] {
            let is_there = body.windows(secret.len()).any(|bytes| bytes == secret.as_bytes());
            assert!(!is_there, "a span has {secret}");
        }
    }
    let exported = "adieu_trace_spans_exported_total ";
    let metrics = node.metrics().await;
    let exported = metrics.lines().find_map(|line| line.strip_prefix(exported)).unwrap();
    assert!(exported.parse::<u64>().unwrap() >= 4, "{exported}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_decide_about_their_traces_and_the_ratio_about_others() {
    let collector = Collector::start().await;
    let node = adieu().with("ADIEU_OTLP_ENDPOINT", &collector.url).with("ADIEU_OTLP_SAMPLE_RATIO", "0");
    let node = node.start().await;
    node.register("jose").await;
    assert_eq!(get(&node, "/sessions", &caller(false)).await, 401);
    assert_eq!(get(&node, "/livez", &caller(true)).await, 200);
    collector.span(&node, "traced", |span| span.name == "GET /livez").await;
    node.stop().await;
    assert_eq!(collector.spans().len(), 1, "{:?}", collector.spans());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_servers_send_continues_a_trace() {
    let collector = Collector::start().await;
    let (node, [client]) = adieu().with("ADIEU_OTLP_ENDPOINT", &collector.url).start_with_clients(["relay"]).await;
    let relay = adieu().following(&node.url(""), &client).with("ADIEU_OTLP_ENDPOINT", &collector.url);
    let (relay, [shop]) = relay.start_with_clients(["shop"]).await;
    let revoke = relay.request(Method::POST, "/revocations").basic_auth(&shop.name, Some(&shop.secret));
    let revoke = revoke.header("traceparent", caller(true)).json(&json!({ "token_id": "one" }));
    assert_eq!(revoke.send().await.unwrap().status(), 200);
    let of_caller = |span: &Span| hex::encode(&span.parent) == "00f067aa0ba902b7";
    let at_relay = collector.span(&relay, "traced", of_caller).await;
    assert_eq!((at_relay.kind, hex::encode(&at_relay.trace).as_str()), (SERVER, TRACE));
    let sent = collector.span(&relay, "traced", |span| span.parent == at_relay.id && span.kind == CLIENT).await;
    let at_node = collector.span(&node, "traced", |span| span.parent == sent.id).await;
    assert_eq!((at_node.name.as_str(), at_node.kind), ("POST /revocations", SERVER));
    // A read of the feed begins a trace at the relay.
    let read = collector.span(&node, "traced", |span| span.name == "GET /revocations" && span.kind == SERVER).await;
    assert!(collector.spans().iter().any(|span| span.id == read.parent && span.kind == CLIENT));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_continues_a_trace() {
    let collector = Collector::start().await;
    let received = Arc::<Mutex<Vec<String>>>::default();
    let receive = async |State(received): State<Arc<Mutex<Vec<String>>>>, headers: HeaderMap| {
        received.lock().unwrap().push(headers["traceparent"].to_str().unwrap().to_owned());
    };
    let router = Router::new().route("/", post(receive)).with_state(Arc::clone(&received));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async { axum::serve(listener, router).await });
    let node = adieu().with("ADIEU_OTLP_ENDPOINT", &collector.url);
    let secret = node.data().with_file_name("whsec");
    std::fs::write(&secret, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    let file = secret.display();
    let webhook = format!(r#"[{{ name = "shop", url = "{url}", secret_file = "{file}", allow_private = true }}]"#);
    let (node, [client]) = node.with("ADIEU_WEBHOOK", webhook).start_with_clients(["shop"]).await;
    assert_eq!(node.revoke(&client, "", json!({ "token_id": "one" })).await.0, 200);
    node.becomes("delivering", async || !received.lock().unwrap().is_empty()).await;
    let parent = received.lock().unwrap()[0].clone();
    let is_it = |span: &Span| format!("00-{}-{}-01", hex::encode(&span.trace), hex::encode(&span.id)) == parent;
    let span = collector.span(&node, "traced", is_it).await;
    let address = ("server.address", json!("127.0.0.1"));
    assert!(span.kind == CLIENT && values(&span.attributes).contains(&address), "{span:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_fails_delays_nothing() {
    // It accepts connections, and never answers.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let node = adieu().with("ADIEU_OTLP_ENDPOINT", url).with_metrics().start().await;
    for _ in 0..8 {
        let requests =
            (0..500).map(|_| get(&node, "/livez", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
        assert!(futures_util::future::join_all(requests).await.iter().all(|status| *status == 200));
    }
    let metrics = node.metrics().await;
    let dropped = metrics.lines().find_map(|line| line.strip_prefix("adieu_trace_spans_dropped_total ")).unwrap();
    // 2048 wait, and at most 512 are on their way.
    assert_eq!(dropped.parse::<u64>().unwrap().clamp(4000 - 2048 - 512, 4000 - 2048), dropped.parse::<u64>().unwrap());
    let began = Instant::now();
    node.stop().await;
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());

    // What waits is sent when the server stops, once the collector accepts it.
    let collector = Collector::start().await;
    collector.status.store(503, SeqCst);
    let node = adieu().with("ADIEU_OTLP_ENDPOINT", &collector.url).start().await;
    assert_eq!(get(&node, "/livez", &caller(true)).await, 200);
    collector.status.store(200, SeqCst);
    node.stop().await;
    assert_eq!(collector.spans().len(), 1);
}
