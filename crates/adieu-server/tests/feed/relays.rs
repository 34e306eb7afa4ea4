//! What a node or a relay has acknowledged holds there at once, with real processes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use adieu::{
    Issuer, Subject,
    time::{Clock as _, SystemClock},
    token::{Algorithm, Claims, SigningKey, TokenType, encode},
};
use adieu_client::wire;
use axum::{
    Router,
    body::Bytes,
    extract::Request,
    http::{StatusCode, header},
    routing::{get, post},
};
use serde_json::{Value, json};
use test_servers::adieu::{Credentials, Tokens, status};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::{adieu, hops::session_of};

const ROUNDS: usize = 20;

#[tokio::test]
async fn what_is_revoked_at_a_relay_is_refused_there_at_once() {
    let (node, [at_node]) = adieu().start_with_clients(["near"]).await;
    let (near, [far, at_near]) =
        adieu().following(&node.url(""), &at_node).start_with_clients(["far", "service"]).await;
    let (far, [at_far]) = adieu().following(&near.url(""), &far).start_with_clients(["service"]).await;
    node.register("jose").await;
    for round in 0..ROUNDS {
        let Tokens { access: token, refresh } = node.log_in_for_both("jose").await;
        let (relay, client) = if round % 2 == 0 { (&near, &at_near) } else { (&far, &at_far) };
        relay.becomes("willing to accept a good token", async || relay.verify(&token).await.0 == 204).await;
        let body = match round % 5 {
            0 => json!({ "token": token }),
            1 => json!({ "token": refresh }),
            2 => json!({ "token_id": claims_of(&token)["jti"] }),
            3 => json!({ "session": session_of(&token) }),
            _ => json!({ "subject": claims_of(&token)["sub"] }),
        };
        let (status, answer) = relay.revoke(client, "", body.clone()).await;
        assert_eq!(status, 200, "{answer}");
        assert_eq!(relay.verify(&token).await, (401, "token_revoked".to_owned()), "round {round}: {body}");
    }
}

#[tokio::test]
async fn a_relay_verifies_the_tokens_of_other_issuers_too() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, [7; 32]).unwrap();
    let trusted = format!(r#"[{{ name = "shop", secret_file = "{}" }}]"#, secret.display());
    let (node, [at_node]) = adieu().with("ADIEU_TRUSTED_ISSUER", &trusted).start_with_clients(["relay"]).await;
    let relay = adieu().following(&node.url(""), &at_node).with("ADIEU_TRUSTED_ISSUER", &trusted).start().await;
    let key = SigningKey::from_secret(Algorithm::HS256, &[7; 32]).unwrap();
    let token = || {
        let (issuer, subject) = (Issuer::new("shop").unwrap(), Subject::new("ana").unwrap());
        let (now, hour) = (SystemClock.now(), Duration::from_secs(3600));
        encode(&key, &Claims::new(issuer, subject, TokenType::Access, now, hour)).unwrap()
    };
    let (token, other) = (token(), token());
    relay.becomes("ready", async || relay.get("/readyz", None).await == 200).await;
    assert_eq!(relay.verify(&token).await.0, 204);
    node.log_out_everywhere(&token).await;
    assert_eq!(relay.verify(&token).await, (401, "token_revoked".to_owned()));
    assert_eq!(relay.verify(&other).await.0, 204);
}

fn claims_of(token: &str) -> Value {
    use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap()).unwrap()
}

#[tokio::test]
async fn once_a_logout_holds_everywhere_a_follower_that_was_away_is_told_of_it() {
    let node = adieu().with("ADIEU_MAX_STALENESS", "300ms");
    let (node, [client]) = node.start_with_clients(["service"]).await;
    node.register("jose").await;
    let lease = "follower=service&max_staleness=300";
    let mut cursor = node.read_feed(&client, lease).await.1["cursor"].as_str().unwrap().to_owned();
    for round in 0..ROUNDS {
        let token = node.log_in("jose").await;
        // Until the lease has expired.
        tokio::time::sleep(Duration::from_millis(310)).await;
        node.log_out_everywhere(&token).await;
        let (status, page) = node.read_feed(&client, &format!("{lease}&after={cursor}&wait=0")).await;
        assert_eq!(status, 200, "{page}");
        let knows = page["entries"].as_array().unwrap().iter().any(|entry| entry["id"] == session_of(&token));
        let is_too_old = page["complete"] == false || page["age_ms"].as_u64().unwrap() >= 300;
        assert!(knows || is_too_old, "round {round}: the follower would accept the token by {page}");
        page["cursor"].as_str().unwrap().clone_into(&mut cursor);
    }
}

/// Whatever is wrong with what a client would revoke, it is told the same at a relay.
#[tokio::test]
async fn a_relay_answers_a_revocation_as_its_node_does() {
    let quota = ("ADIEU_CLIENT_REVOCATION_QUOTA", "5 per 1h");
    let (node, [at_node, other]) = adieu().with(quota.0, quota.1).start_with_clients(["relay", "other"]).await;
    let (relay, [at_relay]) = adieu().following(&node.url(""), &at_node).start_with_clients(["service"]).await;
    relay.becomes("ready", async || relay.get("/readyz", None).await == 200).await;
    for (body, status) in [
        (json!({ "everything": true }), 403),
        (json!({ "everything": true, "issuer": "https://other.example" }), 403),
        (json!({ "key": "x", "issuer": "https://other.example" }), 403),
        (json!({ "revocations": [{ "token_id": "a" }, { "key": "x", "issuer": "https://other.example" }] }), 403),
        (json!({}), 422),
        (json!({ "token": "x" }), 422),
        (json!({ "revocations": [{ "token_id": "a" }, {}] }), 422),
        (json!({ "revocations": vec![json!({ "token_id": "a" }); 6] }), 422),
        (json!({ "token_id": "a", "padding": "x".repeat(70_000) }), 413),
        (json!({ "revocations": vec![json!({ "token_id": "a" }); 5] }), 200),
        (json!({ "token_id": "a" }), 429),
    ] {
        let told = node.revoke(&other, "", body.clone()).await;
        assert_eq!(told.0, status, "{told:?}");
        assert_eq!(relay.revoke(&at_relay, "", body).await, told);
    }
    // A body in pieces, whose length is not known before.
    for (server, client) in [(&node, &other), (&relay, &at_relay)] {
        let mut stream = TcpStream::connect(server.address()).await.unwrap();
        let head = format!(
            "POST /revocations HTTP/1.1\r\nHost: adieu\r\nConnection: close\r\nAuthorization: {}\r\n\
             Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
            client.basic()
        );
        let piece = format!("{:x}\r\n{}\r\n", 70_000, " ".repeat(70_000));
        stream.write_all(format!("{head}{piece}").as_bytes()).await.unwrap();
        let mut answer = String::new();
        let _reset = stream.read_to_string(&mut answer).await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
        assert!(answer.ends_with(r#"{"code":413,"status":"Payload Too Large"}"#), "{answer}");
    }
}

/// Any other answer may come from something between the relay and the node.
#[tokio::test]
async fn only_200_means_that_a_revocation_at_a_relay_is_durable() {
    let (node, [at_node]) = adieu().start_with_clients(["relay"]).await;
    for told in [StatusCode::ACCEPTED, StatusCode::NO_CONTENT, StatusCode::PARTIAL_CONTENT, StatusCode::FOUND] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let between = format!("http://{}", listener.local_addr().unwrap());
        let (http, url) = (reqwest::Client::new(), node.url(""));
        // Forwards reads to the node, and answers writes itself.
        let read = async move |request: Request| {
            let target = format!("{url}{}", request.uri());
            let answer = http.get(target).headers(request.headers().clone()).send().await.unwrap();
            (answer.status(), answer.headers().clone(), answer.bytes().await.unwrap())
        };
        let answers =
            Router::new().route("/revocations", post(async move || told).fallback(read.clone())).fallback(read);
        let serving = tokio::spawn(async move { axum::serve(listener, answers).await });
        let (relay, [client]) = adieu().following(&between, &at_node).start_with_clients(["service"]).await;
        let (status, answer) = relay.revoke(&client, "", json!({ "token_id": "x" })).await;
        assert_eq!(status, 503, "{told}: {answer}");
        serving.abort();
    }
}

/// A client decides when it sends its body: its permissions are checked once that has arrived.
#[tokio::test]
async fn a_client_that_was_removed_meanwhile_revokes_nothing_at_a_relay() {
    let (node, [at_node]) = adieu().start_with_clients(["relay"]).await;
    let (relay, [at_relay]) = adieu().following(&node.url(""), &at_node).start_with_clients(["service"]).await;
    node.register("jose").await;
    let token = node.log_in("jose").await;
    relay.becomes("willing to accept a good token", async || relay.verify(&token).await.0 == 204).await;
    let body = json!({ "token": token }).to_string();
    let mut withheld = TcpStream::connect(relay.address()).await.unwrap();
    let head = format!(
        "POST /revocations HTTP/1.1\r\nHost: adieu\r\nConnection: close\r\nAuthorization: {}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\nExpect: 100-continue\r\n\r\n",
        at_relay.basic(),
        body.len()
    );
    withheld.write_all(head.as_bytes()).await.unwrap();
    // Sent when the body is requested, which is after the head has been checked.
    let mut wanted = [0; b"HTTP/1.1 100 Continue\r\n\r\n".len()];
    withheld.read_exact(&mut wanted).await.unwrap();
    relay.command(&["client", "remove", "service"]).await;
    relay.becomes("unknown to the client", async || relay.read_feed(&at_relay, "").await.0 == 401).await;
    withheld.write_all(body.as_bytes()).await.unwrap();
    assert_eq!(status(withheld).await, 401);
    assert_eq!(node.verify(&token).await.0, 204);
}

#[tokio::test]
async fn a_relay_stops_while_requests_are_under_way() {
    let (node, [at_node]) = adieu().start_with_clients(["relay"]).await;
    let (relay, [at_relay]) = adieu().following(&node.url(""), &at_node).start_with_clients(["service"]).await;
    let mut slow = TcpStream::connect(relay.address()).await.unwrap();
    let head = format!(
        "POST /revocations HTTP/1.1\r\nHost: adieu\r\nConnection: close\r\nAuthorization: {}\r\n\
         Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{{",
        at_relay.basic()
    );
    slow.write_all(head.as_bytes()).await.unwrap();
    // The relay has read the head, since it has nothing else to do.
    relay.becomes("ready", async || relay.get("/readyz", None).await == 200).await;
    let rest = async {
        // Meanwhile the relay has received the stop signal, and waits for the rest.
        tokio::time::sleep(Duration::from_millis(500)).await;
        slow.write_all(b"}").await.unwrap();
        assert_eq!(status(slow).await, 422);
    };
    tokio::join!(relay.stop(), rest);
}

/// Returns a page of many entries of a few bytes each, in the compact format.
fn many_small_entries(bytes: usize) -> Vec<u8> {
    let entry = [2, 0, 1, b'x', 0];
    let count = bytes / entry.len();
    let mut page = [b"ADRV\x01\x01\x00\x00".as_slice(), &[0xd0, 0x0f], b"\x05adieu\x03log", &[1]].concat();
    let mut left = count;
    while left >= 0x80 {
        page.push(u8::try_from(left & 0x7f).unwrap() | 0x80);
        left >>= 7;
    }
    page.push(u8::try_from(left).unwrap());
    page.extend(entry.iter().cycle().take(count * entry.len()));
    page
}

/// Returns a page as JSON with an unknown list.
fn a_long_list(bytes: usize) -> Vec<u8> {
    let list = "0,".repeat(bytes / 2);
    let entry = format!(r#"{{"issuer":"adieu","kind":"session","id":"x","lapses_at":0,"new":[{list}0]}}"#);
    let page =
        r#"{"cursor":"log.1","complete":true,"from_start":false,"age_ms":0,"pruned_through":0,"issuer":"adieu","#;
    format!(r#"{page}"max_staleness_ms":2000,"entries":[{entry}]}}"#).into_bytes()
}

#[tokio::test]
async fn a_hostile_node_takes_no_more_memory_of_a_relay_than_a_page_may_have() {
    const MAX_BYTES: usize = 128 << 20;
    // They are valid except for their length.
    wire::from_binary(&many_small_entries(1_000)).unwrap();
    wire::from_json(&a_long_list(1_000)).unwrap();
    for (media_type, page) in [
        (wire::BINARY, many_small_entries(60 << 20)),
        (wire::BINARY, many_small_entries(wire::MAX_PAGE_BYTES - 100)),
        (wire::JSON, a_long_list(wire::MAX_PAGE_BYTES - 300)),
    ] {
        let (sent, page) = (Arc::new(AtomicUsize::new(0)), Bytes::from(page));
        let answer = {
            let sent = Arc::clone(&sent);
            async move || {
                sent.fetch_add(1, Ordering::SeqCst);
                ([(header::CONTENT_TYPE, media_type)], page)
            }
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serving =
            tokio::spawn(async move { axum::serve(listener, Router::new().route("/revocations", get(answer))).await });
        let relay = Credentials { name: "relay".to_owned(), secret: "secret".to_owned() };
        let mut relay = adieu().following(&url, &relay);
        relay.spawn();
        // Each page is requested after the previous one has been rejected.
        relay.becomes("sent some pages", async || sent.load(Ordering::SeqCst) >= 5).await;
        let peak = relay.peak_memory();
        assert!(peak < MAX_BYTES, "{} MiB", peak >> 20);
        relay.stop().await;
        serving.abort();
    }
}
