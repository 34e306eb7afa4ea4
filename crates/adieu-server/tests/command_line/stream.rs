//! `adieu stream`, at a transmitter as in the Shared Signals Framework 1.0, which pushes signed events to a server.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{
    Json, Router,
    extract::{Query, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use insta::assert_snapshot;
use jsonwebtoken::{EncodingKey, Header, encode};
use serde::Deserialize;
use serde_json::{Value, json};
use test_servers::adieu::Adieu;
use tokio::time::sleep;

use crate::support::{Done, Place};

const SECRET: &str = "a secret of at least 256 bits......";
const ACCESS_TOKEN: &str = "mF_9.B5f-4.1JqM";
const STREAM: &str = "f67e39a0a4d34d56b3aa1bc4cff0069f";
const CLIENT: &str = "s6BhdRkqt3";
const CAEP: &str = "https://schemas.openid.net/secevent/caep/event-type/";
const RISC: &str = "https://schemas.openid.net/secevent/risc/event-type/";
const CREATE: [&str; 3] = ["create", "--endpoint", "https://adieu.example/events"];
const VERIFICATION: &str = "https://schemas.openid.net/secevent/ssf/event-type/verification";

/// A transmitter with at most one stream.
#[derive(Clone)]
struct Transmitter {
    issuer: String,
    stream: Arc<Mutex<Option<Value>>>,
    status: Arc<Mutex<Value>>,
    /// The statuses with which its pushes were answered.
    answers: Arc<Mutex<Vec<u16>>>,
}

#[derive(Deserialize)]
struct Which {
    stream_id: Option<String>,
}

type Answer = Result<Response, StatusCode>;

impl Transmitter {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = format!("http://{}", listener.local_addr().unwrap());
        let (issuer, status) = (format!("{host}/tenant"), json!({ "stream_id": STREAM, "status": "enabled" }));
        let this = Self { issuer, stream: Arc::default(), status: Arc::new(status.into()), answers: Arc::default() };
        let metadata = metadata(&host);
        let router = Router::new()
            .route("/.well-known/ssf-configuration/tenant", get(async move || metadata.to_string()))
            .route("/ssf/stream", post(Self::create).get(Self::read).delete(Self::delete))
            .route("/ssf/status", get(Self::status).post(Self::set_status))
            .route("/ssf/verification", post(Self::verify))
            .with_state(this.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        this
    }

    async fn create(State(this): State<Self>, headers: HeaderMap, Json(wanted): Json<Value>) -> Answer {
        is_allowed(&headers)?;
        let mut stream = this.stream.lock().unwrap();
        if stream.is_some() {
            return Err(StatusCode::CONFLICT);
        }
        let supported = [format!("{CAEP}session-revoked"), format!("{RISC}account-disabled")];
        let requested = wanted["events_requested"].as_array().unwrap();
        let delivered: Vec<_> = requested.iter().filter(|uri| supported.iter().any(|known| *uri == known)).collect();
        let created = json!({
            "stream_id": STREAM, "iss": this.issuer, "aud": [CLIENT], "delivery": wanted["delivery"],
            "events_supported": supported, "events_requested": requested, "events_delivered": delivered,
            "min_verification_interval": 60, "inactivity_timeout": 2_592_000,
        });
        *stream = Some(created.clone());
        Ok((StatusCode::CREATED, Json(created)).into_response())
    }

    async fn read(State(this): State<Self>, headers: HeaderMap, Query(which): Query<Which>) -> Answer {
        is_allowed(&headers)?;
        let stream = this.stream.lock().unwrap().clone();
        Ok(match which.stream_id {
            None => Json(Vec::from_iter(stream)).into_response(),
            Some(id) => Json(stream.filter(|_| id == STREAM).ok_or(StatusCode::NOT_FOUND)?).into_response(),
        })
    }

    async fn delete(State(this): State<Self>, headers: HeaderMap, Query(which): Query<Which>) -> Answer {
        is_allowed(&headers)?;
        let mut stream = this.stream.lock().unwrap();
        stream.take_if(|_| which.stream_id.as_deref() == Some(STREAM)).ok_or(StatusCode::NOT_FOUND)?;
        Ok(StatusCode::NO_CONTENT.into_response())
    }

    async fn status(State(this): State<Self>, headers: HeaderMap, Query(which): Query<Which>) -> Answer {
        is_allowed(&headers)?;
        if which.stream_id.as_deref() != Some(STREAM) {
            return Err(StatusCode::NOT_FOUND);
        }
        Ok(Json(this.status.lock().unwrap().clone()).into_response())
    }

    async fn set_status(State(this): State<Self>, headers: HeaderMap, Json(wanted): Json<Value>) -> Answer {
        is_allowed(&headers)?;
        if wanted["stream_id"] != STREAM {
            return Err(StatusCode::NOT_FOUND);
        }
        this.status.lock().unwrap().clone_from(&wanted);
        Ok(Json(wanted).into_response())
    }

    /// Answers at once, and pushes the event a moment later.
    async fn verify(State(this): State<Self>, headers: HeaderMap, Json(request): Json<Value>) -> Answer {
        is_allowed(&headers)?;
        let stream = this.stream.lock().unwrap().clone();
        let stream = stream.filter(|_| request["stream_id"] == STREAM).ok_or(StatusCode::NOT_FOUND)?;
        let issued_at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let claims = json!({
            "iss": this.issuer, "aud": stream["aud"], "iat": issued_at, "jti": "756E69717565206964656E746966696572",
            "sub_id": { "format": "opaque", "id": STREAM },
            "events": { VERIFICATION: { "state": request["state"].as_str().unwrap() } },
        });
        let head = Header { typ: Some("secevent+jwt".to_owned()), ..Header::default() };
        let event = encode(&head, &claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap();
        let push = reqwest::Client::new()
            .post(stream["delivery"]["endpoint_url"].as_str().unwrap())
            .header(header::CONTENT_TYPE, "application/secevent+jwt")
            .header(header::ACCEPT, "application/json")
            .body(event);
        tokio::spawn(async move {
            sleep(Duration::from_millis(300)).await;
            let answer = push.send().await.unwrap().status().as_u16();
            this.answers.lock().unwrap().push(answer);
        });
        Ok(StatusCode::NO_CONTENT.into_response())
    }
}

fn is_allowed(headers: &HeaderMap) -> Result<(), StatusCode> {
    let is_known = headers.get(header::AUTHORIZATION).is_some_and(|given| *given == format!("Bearer {ACCESS_TOKEN}"));
    if is_known { Ok(()) } else { Err(StatusCode::UNAUTHORIZED) }
}

fn metadata(host: &str) -> Value {
    json!({
        "spec_version": "1_0",
        "issuer": format!("{host}/tenant"),
        "jwks_uri": format!("{host}/jwks"),
        "delivery_methods_supported": ["urn:ietf:rfc:8935", "urn:ietf:rfc:8936"],
        "configuration_endpoint": format!("{host}/ssf/stream"),
        "status_endpoint": format!("{host}/ssf/status"),
        "verification_endpoint": format!("{host}/ssf/verification"),
        "authorization_schemes": [{ "spec_urn": "urn:ietf:rfc:6749" }],
        "default_subjects": "ALL",
    })
}

/// A folder with the settings of a server that trusts the issuer, and with a file that has the access token.
fn place(issuer: &str) -> Place {
    let place = Place::empty();
    place.write("secret", SECRET);
    place.write("token", format!("{ACCESS_TOKEN}\n"));
    let (secret, trail) = (place.path("secret"), place.path("audit.jsonl"));
    place.write(
        "adieu.toml",
        format!(
            "audit_log = {trail:?}\n[[trusted_issuer]]\nname = '{issuer}'\nsecret_file = {secret:?}\n\
             events = ['backchannel-logout', 'session-revoked', 'token-claims-change', 'account-disabled']\n\
             event_audience = ['{CLIENT}']\n"
        ),
    );
    place
}

impl Place {
    /// Runs a command about the stream of the issuer.
    fn stream(&self, issuer: &str, server: Option<&Adieu>, words: &[&str]) -> Done {
        let at = ["--issuer", issuer, "--token-file", "token", "--allow-private", "--config", "adieu.toml"];
        let mut command = self.command(&[&["stream"], words, &at].concat());
        if let Some(server) = server {
            command.env("ADIEU_METRICS_LISTEN", server.metrics_url().trim_start_matches("http://"));
        }
        let done = Self::finish(command, b"");
        assert!(!format!("{}{}", done.stdout, done.stderr).contains(ACCESS_TOKEN));
        done
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_created_verified_watched_and_deleted() {
    let transmitter = Transmitter::start().await;
    let place = place(&transmitter.issuer);
    let server = place.server().with_metrics().with("ADIEU_CONFIG", place.path("adieu.toml").display().to_string());
    let server = server.start().await;
    let run = |words: &[&str]| place.stream(&transmitter.issuer, Some(&server), words);
    let shown = |text: &str| text.replace(&server.url(""), "SERVER").replace(&transmitter.issuer, "ISSUER");
    let endpoint = server.url("/events");

    assert_eq!(run(&["status"]).failed(), "there is no stream; `adieu stream create` creates one");
    assert_snapshot!(shown(&run(&["create", "--endpoint", &endpoint]).succeeded().stdout), @"
    stream         f67e39a0a4d34d56b3aa1bc4cff0069f
    endpoint       SERVER/events
    audience       s6BhdRkqt3
    delivered      session-revoked, account-disabled
    not delivered  token-claims-change
    idle           the transmitter may end the stream if it is not asked about it for 30d
    ");
    assert_snapshot!(run(&["create", "--endpoint", &endpoint]).failed(), @"there is a stream already, and the transmitter allows no other: `adieu stream status` shows it, and after `adieu stream delete` another can be created");
    assert_snapshot!(shown(&run(&["status"]).succeeded().stdout), @"
    stream         f67e39a0a4d34d56b3aa1bc4cff0069f
    status         enabled
    endpoint       SERVER/events
    audience       s6BhdRkqt3
    delivered      session-revoked, account-disabled
    not delivered  token-claims-change
    idle           the transmitter may end the stream if it is not asked about it for 30d
    ");
    assert_snapshot!(shown(&run(&["status", "--stream", STREAM, "--json"]).succeeded().stdout), @r#"{"audience":["s6BhdRkqt3"],"delivered":["session-revoked","account-disabled"],"endpoint":"SERVER/events","inactivity_timeout":2592000,"method":"urn:ietf:rfc:8935","not_delivered":["token-claims-change"],"problems":[],"reason":null,"status":"enabled","stream_id":"f67e39a0a4d34d56b3aa1bc4cff0069f"}"#);

    assert_snapshot!(shown(&run(&["verify"]).succeeded().stdout), @"a verification event of ISSUER has arrived");
    assert_eq!(*transmitter.answers.lock().unwrap(), [202]);
    let verified = run(&["verify", "--stream", STREAM, "--json"]).succeeded().object();
    assert_eq!((&verified["has_arrived"], verified["state"].as_str().unwrap().len()), (&json!(true), 32));
    let counted =
        format!(r#"adieu_events_total{{issuer="{}",kind="verification",outcome="nothing"}} 2"#, transmitter.issuer);
    assert!(server.metrics().await.contains(&counted));

    // Events for another audience are rejected.
    transmitter.stream.lock().unwrap().as_mut().unwrap()["aud"] = json!("other");
    assert_snapshot!(run(&["verify", "--timeout", "1s"]).failed(), @"the transmitter has accepted the request, but no verification event has arrived at this server within 1s; meanwhile it has rejected 1 security event; check the endpoint and the audience of the stream, and that the keys of the issuer can be read");
    assert_eq!(*transmitter.answers.lock().unwrap(), [202, 202, 400]);
    *transmitter.status.lock().unwrap() = json!({ "stream_id": STREAM, "status": "paused", "reason": "idle\u{1b}[2J" });
    let status = run(&["status"]);
    assert_eq!((status.status, status.stderr.as_str()), (1, ""));
    assert_snapshot!(shown(&status.stdout), @r"
    stream         f67e39a0a4d34d56b3aa1bc4cff0069f
    status         paused: idle\u{1b}[2J
    endpoint       SERVER/events
    audience       other
    delivered      session-revoked, account-disabled
    not delivered  token-claims-change
    idle           the transmitter may end the stream if it is not asked about it for 30d
    problem        no events arrive until the stream is enabled: `adieu stream enable`
    problem        the events are rejected: add the audience to event_audience of the issuer, and reload
    ");

    // Without the metrics, the command does not say that an event has arrived.
    let unseen = place.stream(&transmitter.issuer, None, &["verify", "--json"]).succeeded().object();
    assert_eq!(unseen["has_arrived"], Value::Null);

    assert_snapshot!(shown(&run(&["enable", "--stream", STREAM]).succeeded().stdout), @"enabled the stream f67e39a0a4d34d56b3aa1bc4cff0069f of ISSUER");
    transmitter.stream.lock().unwrap().as_mut().unwrap()["aud"] = json!(["other", CLIENT]);
    run(&["status"]).succeeded();

    assert_snapshot!(run(&["delete", "--stream", "other"]).failed(), @"the request to delete the stream: status 404; check the issuer, and the id of the stream if you gave one");
    assert_snapshot!(shown(&run(&["delete", "--stream", STREAM]).succeeded().stdout), @"deleted the stream f67e39a0a4d34d56b3aa1bc4cff0069f of ISSUER");
    run(&["status"]).failed();

    // A transmitter that signs the events of another issuer.
    let issuer = "https://login.example";
    let other = self::place(issuer);
    let settings = std::fs::read_to_string(other.path("adieu.toml")).unwrap();
    let signer = &transmitter.issuer;
    let signer = format!("event_issuer = {{ name = '{signer}', jwks_url = '{signer}/jwks' }}");
    other.write("adieu.toml", format!("{settings}{signer}\n"));
    other.stream(issuer, None, &["create", "--endpoint", &endpoint]).succeeded();
    other.stream(issuer, None, &["status"]).succeeded();

    let trail = std::fs::read_to_string(place.path("audit.jsonl")).unwrap();
    let events: Vec<Value> = trail.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let events = events.iter().filter(|event| event["issuer"] == *transmitter.issuer);
    assert_eq!(
        events.map(|event| &event["event"]).collect::<Vec<_>>(),
        ["stream_created", "stream_enabled", "stream_deleted"]
    );
}

/// Starts a transmitter whose metadata has these changes, and which answers every other request in the same way. Returns its issuer.
async fn answering(changes: Value, status: u16, body: impl FnOnce(&str) -> String) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = format!("http://{}", listener.local_addr().unwrap());
    let (metadata, body) = (changed(metadata(&host), changes).to_string(), body(&host));
    let answer = (StatusCode::from_u16(status).unwrap(), [(header::LOCATION, "/ssf/other")], body);
    let router = Router::new()
        .route("/.well-known/ssf-configuration/tenant", get(async move || metadata))
        .fallback(async move || answer);
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    format!("{host}/tenant")
}

/// Starts a transmitter that answers with a stream, which is its status too, and has these changes.
async fn answering_with_stream(changes: Value) -> String {
    let stream = |host: &str| {
        json!({
            "stream_id": STREAM, "iss": format!("{host}/tenant"), "aud": CLIENT, "events_delivered": [],
            "delivery": { "method": "urn:ietf:rfc:8935", "endpoint_url": "https://adieu.example/events" },
            "status": "enabled",
        })
    };
    answering(json!({}), 200, |host| changed(stream(host), changes).to_string()).await
}

fn changed(mut object: Value, changes: Value) -> Value {
    object.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    object
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_transmitter_gets_an_error_of_one_short_line() {
    let hostile = "\u{1b}]0;owned\u{7}\n".repeat(5_000);
    let said = |name: &str, text: &str| json!({ name: text }).to_string();
    let mut cases = Vec::new();
    for (expected, metadata) in [
        ("of another issuer", json!({ "issuer": hostile })),
        ("the answer is not valid", json!({ "issuer": 1 })),
        ("the answer is not valid", json!({ "delivery_methods_supported": hostile })),
        ("does not push", json!({ "delivery_methods_supported": [hostile] })),
        ("no configuration_endpoint", json!({ "configuration_endpoint": null })),
        ("at the host of the issuer", json!({ "configuration_endpoint": "http://127.0.0.1:1/" })),
        ("must begin with https", json!({ "configuration_endpoint": "file:///etc/passwd" })),
        ("longer than 256 KiB", json!({ "more": "a".repeat(256 << 10) })),
    ] {
        cases.push((expected, &CREATE[..], answering(metadata, 201, |_| String::new()).await));
    }
    for (expected, status, body) in [
        ("longer than 256 KiB", 201, "a".repeat(9 << 20)),
        ("status 307; redirects are not followed", 307, String::new()),
        ("status 401, \"expired\"; give a valid access token", 401, said("error_description", "expired")),
        ("status 403", 403, said("description", &hostile)),
        ("repeats the access token", 400, said("error", ACCESS_TOKEN)),
        ("the answer is not valid", 201, "<html>".to_owned()),
        ("the answer is not valid", 201, "[".repeat(200_000)),
    ] {
        cases.push((expected, &CREATE, answering(json!({}), status, |_| body).await));
    }
    for (expected, stream) in [
        ("a stream may have been created", json!({ "iss": "https://other.example" })),
        ("a stream_id must be", json!({ "stream_id": hostile })),
        ("the answer is not valid", json!({ "stream_id": 7 })),
        ("the aud of a stream must be", json!({ "aud": vec!["a"; 17] })),
        ("the answer is not valid", json!({ "aud": { "a": hostile } })),
        ("the answer is not valid", json!({ "events_delivered": hostile })),
        ("the answer is not valid", json!({ "delivery": hostile })),
        ("the answer is not valid", json!({ "inactivity_timeout": -1 })),
    ] {
        cases.push((expected, &CREATE, answering_with_stream(stream).await));
    }
    let status = ["status", "--stream", STREAM];
    for (expected, stream) in
        [("another stream", json!({ "stream_id": "other" })), ("the answer is not valid", json!({ "status": hostile }))]
    {
        cases.push((expected, &status, answering_with_stream(stream).await));
    }
    let mut wrong = Vec::new();
    for (expected, words, issuer) in cases {
        let done = place(&issuer).stream(&issuer, None, words);
        let is_short = done.stderr.len() < 4_000 && !done.stderr.trim_end().contains(char::is_control);
        if (done.status, done.stdout.len()) != (1, 0) || !done.stderr.contains(expected) || !is_short {
            wrong.push((expected, done.status, done.stderr));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");

    // What it may say, within limits.
    let issuer = answering_with_stream(json!({
        "stream_id": "\u{1b}[2J", "aud": "\u{202e}", "inactivity_timeout": u64::MAX,
        "delivery": { "method": hostile, "endpoint_url": hostile },
    }));
    let reason = answering_with_stream(json!({ "status": "disabled", "reason": hostile }));
    for (issuer, words, status, problems) in [(issuer.await, &CREATE, 0, 3), (reason.await, &status, 1, 2)] {
        let done = place(&issuer).stream(&issuer, None, words);
        assert_eq!((done.status, done.stderr.as_str()), (status, ""));
        let shown = done.stdout.replace('\n', "");
        assert!(shown.len() < 8_000 && !shown.contains(char::is_control), "{shown}");
        assert_eq!(done.stdout.matches("\nproblem ").count(), problems, "{}", done.stdout);
    }
}

#[test]
fn a_transmitter_that_hangs_or_dawdles_is_given_up() {
    let give_up = |dawdle: fn(TcpStream)| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let issuer = format!("http://{}/tenant", listener.local_addr().unwrap());
        thread::spawn(move || dawdle(listener.accept().unwrap().0));
        thread::spawn(move || {
            let error = place(&issuer).stream(&issuer, None, &["status"]).failed();
            assert!(error.ends_with(": no answer within 10s"), "{error}");
        })
    };
    let hang = |mut stream: TcpStream| while stream.read(&mut [0; 1024]).is_ok_and(|length| length > 0) {};
    let dawdle = |mut stream: TcpStream| {
        let _request = stream.read(&mut [0; 1024]);
        let _head = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
        while stream.write_all(b" ").is_ok() {
            thread::sleep(Duration::from_millis(500));
        }
    };
    for given_up in [give_up(hang), give_up(dawdle)] {
        given_up.join().unwrap();
    }
}

#[test]
fn what_cannot_be_used_is_named_before_anything_is_sent() {
    let issuer = "https://login.example";
    let place = place(issuer);
    let run = |words: &[&str]| place.run(&[words, &["--config", "adieu.toml"]].concat()).failed();
    let create = ["stream", "create", "--issuer", issuer, "--endpoint"];
    assert_snapshot!(run(&[&create[..], &["http://adieu.example/events"]].concat()), @"--endpoint: the url must begin with https:// (or, with allow_private = true, http://)");
    let status = |issuer: &str, words: &[&str]| run(&[&["stream", "status", "--issuer", issuer], words].concat());
    assert_snapshot!(status("https://other.example", &[]), @"https://other.example is not a trusted_issuer of the settings");
    assert_snapshot!(status(issuer, &["--token-file", "missing"]), @"--token-file missing: No such file or directory (os error 2)");
    place.write("empty", "\n");
    assert_snapshot!(status(issuer, &["--token-file", "empty"]), @"--token-file empty: the file must contain one access token, and nothing else");
    place.write("two", format!("{ACCESS_TOKEN} {ACCESS_TOKEN}"));
    assert_snapshot!(status(issuer, &["--token-file", "two"]), @"--token-file two: the file must contain one access token, and nothing else");
    let private = "https://127.0.0.1";
    let place = self::place(private);
    let error = place.run(&["stream", "status", "--issuer", private, "--config", "adieu.toml"]).failed();
    assert_snapshot!(error, @"the issuer https://127.0.0.1: the address of the url is not global; see allow_private");
}
