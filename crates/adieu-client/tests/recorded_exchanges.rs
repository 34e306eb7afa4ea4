//! Exchanges of the clients for Rust, Python and Node with a node, as they were recorded: `fixtures/exchanges` is never changed.
//! `adieu-server` has the other half, the answers of today's node to these requests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{collections::BTreeMap, time::Duration};

use adieu::revocation::{Index, Revocation, RevocationLog as _};
use adieu_client::Remote;
use reqwest::Url;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    sync::mpsc,
};

/// The first request of a client and the one after it, each with its answer.
type Exchange = [(&'static [u8], &'static [u8]); 2];

macro_rules! exchange {
    ($client:literal) => {
        [
            (
                include_bytes!(concat!("fixtures/exchanges/", $client, ".first.request")).as_slice(),
                include_bytes!(concat!("fixtures/exchanges/", $client, ".first.answer")).as_slice(),
            ),
            (
                include_bytes!(concat!("fixtures/exchanges/", $client, ".next.request")).as_slice(),
                include_bytes!(concat!("fixtures/exchanges/", $client, ".next.answer")).as_slice(),
            ),
        ]
    };
}

const RUST: Exchange = exchange!("rust");
const PYTHON: Exchange = exchange!("python");
const NODE: Exchange = exchange!("node");

/// The entries of the answers, but for the times, which depend on when they were recorded.
const FIRST: [&str; 4] = [
    "adieu token 5d1f0a52-2f3b-4a40-9d0c-1d6f3f9b0e11",
    "adieu session 01930a4e-5b7c-7d2f-9d3a-0c6f0f7f5a22",
    "https://other.example token a-jti",
    "https://other.example subject josé",
];
const NEXT: [&str; 1] = ["adieu session another-session"];

/// Replays the answers. Returns a client and the requests that it sends.
async fn replay(exchange: Exchange) -> (Remote, mpsc::UnboundedReceiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (sender, requests) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let sender = sender.clone();
            tokio::spawn(async move {
                let mut request = Vec::new();
                while stream.read_buf(&mut request).await.is_ok_and(|count| count > 0) {
                    if request.ends_with(b"\r\n\r\n") {
                        let request = std::mem::take(&mut request);
                        let is_next = String::from_utf8_lossy(&request).contains("after=");
                        stream.write_all(exchange[usize::from(is_next)].1).await.unwrap();
                        let _ = sender.send(request);
                    }
                }
            });
        }
    });
    (Remote::builder(url, "shop", "secret".into()).build().unwrap(), requests)
}

fn names(entries: &[Revocation]) -> Vec<String> {
    let name = |entry: &Revocation| {
        let parts = entry.target.parts();
        format!("{} {} {}", entry.issuer, serde_json::to_value(entry).unwrap()["kind"].as_str().unwrap(), parts.id)
    };
    entries.iter().map(name).collect()
}

#[tokio::test]
async fn recorded_answers_are_still_read() {
    for exchange in [RUST, PYTHON, NODE] {
        let (remote, _requests) = replay(exchange).await;
        let first = remote.read(None, Duration::ZERO).await.unwrap();
        assert!(first.complete && first.from_start);
        assert_eq!(names(&first.entries), FIRST);
        let next = remote.read(Some(&first.cursor), Duration::ZERO).await.unwrap();
        assert!(next.complete && !next.from_start);
        assert_eq!(names(&next.entries), NEXT);
        assert_eq!(next.cursor.position.get(), first.cursor.position.get() + 1);
    }
}

/// What a request says to a node: the path, the parameters and the headers. Of values that differ in each process, only that they are there.
fn meaning(request: &[u8]) -> (String, BTreeMap<String, String>, BTreeMap<String, String>) {
    let text = String::from_utf8(request.to_vec()).unwrap();
    let mut lines = text.lines();
    let url = Url::parse("http://node").unwrap().join(lines.next().unwrap().split(' ').nth(1).unwrap()).unwrap();
    let without = |differing: &[&str], name: &str, value: &str| {
        let value = if differing.contains(&name) { "…" } else { value };
        (name.to_owned(), value.to_owned())
    };
    let query = url.query_pairs().map(|(name, value)| without(&["follower", "after", "applied"], &name, &value));
    let headers = lines.filter_map(|line| line.split_once(": ")).map(|(name, value)| {
        let name = name.to_ascii_lowercase();
        without(&["authorization", "adieu-index-key", "host", "user-agent"], &name, value)
    });
    (url.path().to_owned(), query.collect(), headers.collect())
}

#[tokio::test]
async fn requests_still_mean_what_the_recorded_ones_do() {
    let (remote, mut requests) = replay(RUST).await;
    let index = Index::new(adieu::time::Timestamp::ZERO);
    let wait = Duration::from_millis(500);
    let first = remote.read_hashed(index.hasher(), None, wait).await.unwrap();
    remote.acknowledge(&first.page.cursor);
    remote.read_hashed(index.hasher(), Some(&first.page.cursor), wait).await.unwrap();
    for (recorded, _) in RUST {
        let request = requests.recv().await.unwrap();
        assert_eq!(meaning(&request), meaning(recorded));
        let agent = concat!("user-agent: adieu-client/", env!("CARGO_PKG_VERSION"), "\r\n");
        assert!(String::from_utf8_lossy(&request).to_ascii_lowercase().contains(agent));
    }
}
