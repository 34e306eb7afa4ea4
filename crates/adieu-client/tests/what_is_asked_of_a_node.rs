//! The requests of the remote engine, and its handling of responses.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use adieu::{
    Error, Issuer, SessionId, Subject, TokenId,
    revocation::{
        Cursor, Index, LogId, Page, Position, Revocation, RevocationHasher, RevocationLog, RevokedClaim, Target,
    },
    time::{ManualClock, Timestamp},
    token::KeyId,
};
use adieu_client::{
    Remote,
    transport::{Http, Transport},
    wire::{self, FeedPage},
};
use async_trait::async_trait;
use http::{Method, Request, Response, header};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

const NOON: Timestamp = Timestamp::from_unix(1_800_000_000);

/// A node that waits and then answers with empty pages, and records the requests.
#[derive(Debug, Default)]
struct Recorder {
    /// The entries of each page.
    entries: Mutex<Vec<Revocation>>,
    /// The key with which it hashes them.
    hashes_with: Mutex<Option<[u8; RevocationHasher::KEY_BYTES]>>,
    asked: Mutex<Vec<Request<Vec<u8>>>>,
    from_start: Mutex<bool>,
    /// The cursor of each page, in place of the one of the request.
    leads_to: Mutex<Option<Cursor>>,
    refuses_with: Mutex<Option<(u16, Value)>>,
}

impl Recorder {
    fn queries(&self) -> Vec<HashMap<String, String>> {
        let query = |request: &Request<Vec<u8>>| {
            let url = reqwest::Url::parse(&request.uri().to_string()).unwrap();
            url.query_pairs().into_owned().collect()
        };
        self.asked.lock().unwrap().iter().map(query).collect()
    }

    fn posted(&self) -> Vec<Value> {
        let asked = self.asked.lock().unwrap();
        let posts = asked.iter().filter(|request| request.method() == Method::POST);
        posts.map(|request| serde_json::from_slice(request.body()).unwrap()).collect()
    }
}

#[async_trait]
impl Transport for Recorder {
    async fn send(&self, request: Request<Vec<u8>>, _: usize) -> Result<Response<Vec<u8>>, Error> {
        let url = reqwest::Url::parse(&request.uri().to_string()).unwrap();
        let query: HashMap<String, String> = url.query_pairs().into_owned().collect();
        let is_read = request.method() == Method::GET;
        self.asked.lock().unwrap().push(request);
        if let Some((status, body)) = &*self.refuses_with.lock().unwrap() {
            return Ok(Response::builder().status(*status).body(body.to_string().into_bytes()).unwrap());
        }
        if !is_read {
            return Ok(Response::new(b"{}".to_vec()));
        }
        tokio::time::sleep(Duration::from_millis(query["wait"].parse().unwrap())).await;
        let page = Page {
            entries: self.entries.lock().unwrap().clone(),
            cursor: match (&*self.leads_to.lock().unwrap(), query.get("after")) {
                (Some(cursor), _) => cursor.clone(),
                (None, Some(after)) => after.parse().unwrap(),
                (None, None) => cursor(0),
            },
            complete: true,
            from_start: *self.from_start.lock().unwrap() || !query.contains_key("after"),
            age: Duration::ZERO,
            pruned_through: Timestamp::ZERO,
        };
        let answer = FeedPage { issuer: Issuer::new("adieu").unwrap(), max_staleness: Duration::from_secs(2), page };
        let (media_type, body) = match *self.hashes_with.lock().unwrap() {
            Some(key) => (wire::HASHED, wire::to_hashed(&answer, &RevocationHasher::from_key(key))),
            None => (wire::BINARY, wire::to_binary(&answer)),
        };
        Ok(Response::builder().header(header::CONTENT_TYPE, media_type).body(body).unwrap())
    }
}

fn cursor(position: u64) -> Cursor {
    Cursor { log: LogId::new("a log").unwrap(), position: Position::new(position) }
}

fn remote(recorder: &Arc<Recorder>) -> Remote {
    Remote::builder("https://node.example/adieu", "orders", "secret".into())
        .with_transport(recorder.clone())
        .with_clock(Arc::new(ManualClock::at(NOON)))
        .build()
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_read_says_who_asks_and_what_has_been_taken_in() {
    let recorder = Arc::new(Recorder::default());
    let remote = remote(&recorder);
    remote.read(None, Duration::ZERO).await.unwrap();
    remote.acknowledge(&cursor(7));
    remote.read(Some(&cursor(9)), Duration::from_millis(500)).await.unwrap();

    let asked = recorder.asked.lock().unwrap();
    assert_eq!(asked[0].uri().path(), "/adieu/revocations");
    // "orders:secret"
    assert_eq!(asked[0].headers()[header::AUTHORIZATION], "Basic b3JkZXJzOnNlY3JldA==");
    assert!(asked[0].headers()[header::AUTHORIZATION].is_sensitive());
    drop(asked);
    let queries = recorder.queries();
    assert!(!queries[0].contains_key("after"));
    assert_eq!((queries[0]["wait"].as_str(), queries[0]["applied"].as_str()), ("0", "0"));
    assert_eq!(queries[0]["follower"], queries[1]["follower"]);
    assert_eq!(queries[1]["after"], "a log.9");
    assert_eq!((queries[1]["wait"].as_str(), queries[1]["applied"].as_str()), ("500", "7"));
    assert_eq!(queries[1]["max_staleness"], "2000");
    assert!(!format!("{remote:?}").contains("secret"));
}

#[tokio::test(start_paused = true)]
async fn for_an_index_entries_may_be_hashed_and_need_not_be() {
    let recorder = Arc::new(Recorder::default());
    let remote = remote(&recorder);
    let entry = revocation("adieu", Target::Session { id: SessionId::new("sid").unwrap() });
    recorder.entries.lock().unwrap().push(entry.clone());
    let index = Index::new(NOON);
    let key = *index.hasher().key();

    // A node that does not hash, perhaps because it is older.
    let read = remote.read_hashed(index.hasher(), None, Duration::ZERO).await.unwrap();
    assert_eq!((read.page.entries, read.hashed.len()), (vec![entry.clone()], 0));
    *recorder.hashes_with.lock().unwrap() = Some(key);
    let read = remote.read_hashed(index.hasher(), None, Duration::ZERO).await.unwrap();
    assert_eq!((read.page.entries.len(), read.hashed), (0, index.hasher().hash_all([&entry]).collect()));

    // With another key, and without being asked to.
    *recorder.hashes_with.lock().unwrap() = Some([7; 32]);
    assert!(matches!(remote.read_hashed(index.hasher(), None, Duration::ZERO).await, Err(Error::Unavailable(_))));
    assert!(matches!(remote.read(None, Duration::ZERO).await, Err(Error::Unavailable(_))));

    let asked = recorder.asked.lock().unwrap();
    assert_eq!(asked[0].headers()[header::ACCEPT], format!("{}, {}", wire::HASHED, wire::BINARY));
    assert!(asked[0].headers()[wire::INDEX_KEY].is_sensitive());
    let last = asked.last().unwrap();
    assert_eq!(last.headers()[header::ACCEPT], wire::BINARY);
    assert!(!last.headers().contains_key(wire::INDEX_KEY));
}

#[tokio::test(start_paused = true)]
async fn what_is_acknowledged_while_a_read_waits_is_told_at_once() {
    let recorder = Arc::new(Recorder::default());
    let remote = remote(&recorder);
    let (after, wait) = (cursor(9), Duration::from_millis(500));
    tokio::join!(async { remote.read(Some(&after), wait).await.unwrap() }, async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        remote.acknowledge(&cursor(9));
        tokio::time::sleep(Duration::from_millis(10)).await;
        let queries = recorder.queries();
        assert_eq!(queries.len(), 2);
        assert_eq!((queries[1]["wait"].as_str(), queries[1]["applied"].as_str()), ("0", "9"));
    });
}

#[tokio::test(start_paused = true)]
async fn of_a_log_that_went_back_nothing_is_acknowledged() {
    let recorder = Arc::new(Recorder::default());
    let remote = remote(&recorder);
    remote.acknowledge(&cursor(9));
    *recorder.from_start.lock().unwrap() = true;
    // If the caller asked for a read from the beginning, the flag stays.
    remote.read(None, Duration::ZERO).await.unwrap();
    remote.read(Some(&cursor(9)), Duration::ZERO).await.unwrap();
    remote.read(Some(&cursor(5)), Duration::ZERO).await.unwrap();
    let applied: Vec<_> = recorder.queries().iter().map(|query| query["applied"].clone()).collect();
    assert_eq!(applied, ["0", "9", "0"]);
}

#[tokio::test(start_paused = true)]
async fn a_page_before_which_something_may_be_missing_is_refused() {
    let recorder = Arc::new(Recorder::default());
    let remote = remote(&recorder);
    let other = Cursor { log: LogId::new("another log").unwrap(), position: Position::new(9) };
    for (leads_to, from_start, is_read) in [
        (cursor(9), false, true),
        (cursor(10), false, true),
        (cursor(8), false, false),
        (cursor(8), true, true),
        (other.clone(), false, false),
        (other, true, true),
    ] {
        *recorder.leads_to.lock().unwrap() = Some(leads_to.clone());
        *recorder.from_start.lock().unwrap() = from_start;
        let read = remote.read(Some(&cursor(9)), Duration::ZERO).await;
        assert_eq!(read.is_ok(), is_read, "{leads_to} {from_start} {read:?}");
    }
}

fn revocation(issuer: &str, target: Target) -> Revocation {
    Revocation { issuer: Issuer::new(issuer).unwrap(), target, lapses_at: NOON.plus(Duration::from_secs(3_720)) }
}

fn tenant() -> RevokedClaim {
    RevokedClaim::new("tenant", "acme").unwrap()
}

#[tokio::test(start_paused = true)]
async fn revocations_are_sent_in_the_words_of_the_node() {
    let recorder = Arc::new(Recorder::default());
    let remote = remote(&recorder);
    remote.read(None, Duration::ZERO).await.unwrap();
    let expires_at = Some(NOON);
    let sent = vec![
        revocation("other", Target::Token { id: TokenId::new("jti").unwrap(), expires_at }),
        revocation("other", Target::Token { id: TokenId::new("jti").unwrap(), expires_at: None }),
        revocation("adieu", Target::Session { id: SessionId::new("sid").unwrap() }),
        revocation("adieu", Target::Subject { id: Subject::new("jose").unwrap(), issued_until: NOON }),
        revocation("other", Target::Subject { id: Subject::new("jose").unwrap(), issued_until: NOON }),
        revocation("adieu", Target::Claim { claim: tenant(), issued_until: NOON }),
        revocation("other", Target::Claim { claim: tenant(), issued_until: NOON }),
    ];
    remote.append(sent).await.unwrap();
    let keep_until = NOON.as_unix() + 3_600;
    assert_eq!(
        recorder.posted(),
        [json!({ "revocations": [
            { "issuer": "other", "token_id": "jti", "expires_at": NOON },
            { "issuer": "other", "token_id": "jti", "keep_until": keep_until },
            { "session": "sid" },
            { "issuer": "adieu", "subject": "jose" },
            { "issuer": "other", "subject": "jose", "keep_until": keep_until },
            { "issuer": "adieu", "claim": { "name": "tenant", "value": "acme" } },
            { "issuer": "other", "claim": { "name": "tenant", "value": "acme" }, "keep_until": keep_until },
        ]})]
    );
}

#[tokio::test(start_paused = true)]
async fn what_a_node_has_no_words_for_is_not_sent() {
    let recorder = Arc::new(Recorder::default());
    let remote = remote(&recorder);
    remote.read(None, Duration::ZERO).await.unwrap();
    let jose = || Subject::new("jose").unwrap();
    for target in [
        Target::Everything { issued_until: NOON },
        Target::Session { id: SessionId::new("sid").unwrap() },
        Target::Subject { id: jose(), issued_until: NOON.minus(Duration::from_secs(3_600)) },
        Target::Subject { id: jose(), issued_until: NOON.plus(Duration::from_secs(1)) },
        Target::Claim { claim: tenant(), issued_until: NOON.plus(Duration::from_secs(1)) },
        Target::Key { id: KeyId::new("kid-1").unwrap() },
    ] {
        let result = remote.append(vec![revocation("other", target.clone())]).await;
        assert!(matches!(result, Err(Error::Unsupported(_))), "{target:?}");
    }
    assert_eq!(recorder.posted(), [] as [Value; 0]);
}

#[tokio::test(start_paused = true)]
async fn many_go_in_batches_and_what_was_not_answered_is_sent_again() {
    let recorder = Arc::new(Recorder::default());
    let remote = remote(&recorder);
    let one = revocation("other", Target::Token { id: TokenId::new("jti").unwrap(), expires_at: Some(NOON) });
    remote.append(vec![one.clone(); 1_200]).await.unwrap();
    let sizes: Vec<_> = recorder.posted().iter().map(|body| body["revocations"].as_array().unwrap().len()).collect();
    assert_eq!(sizes, [500, 500, 200]);

    *recorder.refuses_with.lock().unwrap() = Some((503, json!({})));
    assert!(matches!(remote.append(vec![one]).await, Err(Error::Unavailable(_))));
    assert_eq!(recorder.posted().len(), 3 + 3);
}

#[tokio::test(start_paused = true)]
async fn why_a_node_refuses_is_said() {
    let recorder = Arc::new(Recorder::default());
    let remote = remote(&recorder);
    let refuse = |status, body| *recorder.refuses_with.lock().unwrap() = Some((status, body));
    for (status, body, expected) in [
        (401, json!({}), "the node does not know the client `orders` with this secret"),
        (403, json!({}), "the node does not let the client `orders` do this"),
        (403, json!({"message": "Never."}), "the node does not let the client `orders` do this: Never."),
        (
            422,
            json!({"errors": {"max_staleness": ["Must not be greater than 2000.\n"]}}),
            "the node rejects the request: {\"max_staleness\":[\"Must not be greater than 2000.\\n\"]}",
        ),
        (400, json!({"message": "No."}), "the node rejects the request: No."),
        (302, json!({}), "the store is unavailable"),
        (500, json!({}), "the store is unavailable"),
    ] {
        refuse(status, body);
        assert_eq!(remote.read(None, Duration::ZERO).await.unwrap_err().to_string(), expected);
    }
    // Whatever answers so, it is not known to have stored anything.
    for status in [202, 204, 206] {
        refuse(status, json!({}));
        let token = Target::Token { id: TokenId::new("jti").unwrap(), expires_at: Some(NOON) };
        let result = remote.append(vec![revocation("other", token)]).await;
        assert!(matches!(result, Err(Error::Unavailable(_))), "{status}: {result:?}");
    }
}

#[test]
fn a_node_that_can_not_be_asked_is_found_out_at_once() {
    for url in ["", "node", "ftp://node", "https://name:secret@node.example", "unix:/node"] {
        assert!(Remote::builder(url, "orders", "secret".into()).build().is_err(), "{url}");
    }
    for name in ["", "a:b", "a b", "ä"] {
        assert!(Remote::builder("https://node.example", name, "secret".into()).build().is_err(), "{name}");
    }
}

/// Answers every connection with these bytes.
async fn server(answer: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let answer = answer.clone();
            tokio::spawn(async move {
                let _ = stream.read(&mut [0; 4_096]).await;
                let _ = stream.write_all(&answer).await;
            });
        }
    });
    format!("http://{address}/")
}

async fn get(url: &str, max_body: usize) -> Result<Response<Vec<u8>>, Error> {
    let request = Request::builder().uri(url).body(Vec::new()).unwrap();
    Http::new().unwrap().send(request, max_body).await
}

#[tokio::test]
async fn an_answer_that_is_too_long_is_not_taken_in() {
    let answer = [b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n".to_vec(), vec![b'x'; 100_000]].concat();
    let url = server(answer).await;
    assert_eq!(get(&url, 100_000).await.unwrap().body().len(), 100_000);
    assert!(get(&url, 99_999).await.is_err());
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = server(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec()).await;
    let url = server(format!("HTTP/1.1 302 Found\r\nLocation: {elsewhere}\r\nContent-Length: 0\r\n\r\n").into()).await;
    assert_eq!(get(&url, 1_000).await.unwrap().status(), 302);
}
