//! A check finds each kind of violation in a store, and none in one that is used.

use std::time::Duration;

use adieu::{
    Issuer, SessionId, Subject, TokenId,
    revocation::{Revocation, Target},
    session::Session,
};
use serde_json::json;

use crate::support::{Done, Place, log_in};

/// Makes revocations of every kind, as users, administrators and other services do, and sessions.
async fn used(place: &Place) -> Session {
    let node = place.node().await;
    let now = node.clock.now();
    let own = Issuer::new("adieu").unwrap();
    let later = now.plus(Duration::from_secs(600));
    let revocation = |issuer: &Issuer, target| Revocation { issuer: issuer.clone(), target, lapses_at: later };
    let other = Issuer::new("https://issuer.example").unwrap();
    let mut revocations = Vec::new();
    for number in 0..3_000 {
        let id = TokenId::new(format!("token-{number}")).unwrap();
        let expires_at = (number % 3 > 0).then(|| now.plus(Duration::from_secs(number % 7)));
        revocations.push(revocation(if number % 2 == 0 { &own } else { &other }, Target::Token { id, expires_at }));
    }
    let subject = Subject::new("7").unwrap();
    revocations.push(revocation(&other, Target::Subject { id: subject, issued_until: now }));
    revocations.push(revocation(&other, Target::Everything { issued_until: now }));
    revocations.push(revocation(&own, Target::Session { id: SessionId::random() }));
    node.sessions.append(revocations).await.unwrap();
    for _ in 0..3 {
        let tokens = log_in(&node, "jose", "curl").await;
        node.sessions.log_out(&tokens.access, Default::default()).await.unwrap();
    }
    let tokens = log_in(&node, "jose", "curl").await;
    node.sessions.store().session(tokens.claims.session.as_ref().unwrap()).await.unwrap().unwrap()
}

/// Returns what the check says is wrong, and that this is also in what it prints for people.
fn violations(place: &Place) -> Vec<String> {
    let done: Done = place.run(&["store", "check", "--json"]);
    assert_eq!(done.stderr, "");
    let violations: Vec<String> = serde_json::from_value(done.object()["violations"].clone()).unwrap();
    assert_eq!(done.status, i32::from(!violations.is_empty()));
    let people = place.run(&["store", "check"]);
    assert_eq!(people.status, done.status);
    assert!(violations.iter().all(|violation| people.stdout.contains(violation)), "{}", people.stdout);
    violations
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_in_use_is_consistent() {
    let place = Place::with_user("jose");
    let server = place.server().start().await;
    used(&place).await;
    let done = place.run(&["store", "check", "--json"]).succeeded();
    assert_eq!(
        done.object(),
        json!({ "revocations": 3_006, "sessions": 1, "keys": 1, "aliases": 0, "violations": [] })
    );
    let done = place.run(&["store", "check"]).succeeded();
    assert_eq!(done.stdout, "checked 3006 revocations, 1 session, 1 key and 0 aliases: everything is consistent\n");
    place.run(&["revoke", "--everything", "--yes"]).succeeded();
    assert_eq!(violations(&place), [""; 0]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_kind_of_damage_is_named() {
    let place = Place::with_user("jose");
    let session = used(&place).await;

    // As from a backup that was restored table by table.
    let node = place.node().await;
    let tokens = log_in(&node, "jose", "curl").await;
    let id = tokens.claims.session.unwrap();
    let ended = node.sessions.store().session(&id).await.unwrap().unwrap();
    node.sessions.log_out(&tokens.access, Default::default()).await.unwrap();
    node.sessions.store().create(ended).await.unwrap();
    node.close().await;
    drop(node);
    let subject = &session.subject;
    assert_eq!(
        violations(&place),
        [format!("the session {id} of the user {subject} is live, but its session was revoked")]
    );

    let change = |sql: &str| {
        let store = rusqlite::Connection::open(place.path("data/adieu.sqlite")).unwrap();
        assert_eq!(store.execute(sql, []).unwrap(), 1, "{sql}");
    };
    change(&format!("DELETE FROM session WHERE id = '{id}'"));
    assert_eq!(violations(&place), [""; 0]);
    change("UPDATE signing_key SET private_key = x'00'");
    let [violation] = violations(&place).try_into().unwrap();
    assert!(violation.starts_with("the signing key ") && violation.contains(" can't be used: "), "{violation}");
    assert!(!violation.contains("00]"), "{violation}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_went_back_and_a_damaged_index_of_the_file_are_found() {
    let place = Place::with_user("jose");
    let node = place.node().await;
    let tokens = log_in(&node, "jose", "curl").await;
    node.sessions.log_out(&tokens.access, Default::default()).await.unwrap();
    node.close().await;
    drop(node);
    let store = rusqlite::Connection::open(place.path("data/adieu.sqlite")).unwrap();
    store.execute("DELETE FROM revocation", []).unwrap();
    let [violation] = violations(&place).try_into().unwrap();
    assert!(violation.starts_with("the log was rolled back: "), "{violation}");

    // An index with another value than its table: only the complete check of the file compares them.
    let other = Place::with_user("jose");
    let change =
        |sql: &str| rusqlite::Connection::open(other.path("data/adieu.sqlite")).unwrap().execute_batch(sql).unwrap();
    const INDEX: &str = "name = 'known_address_until'";
    change("INSERT INTO known_address VALUES (1, 9999999999)");
    change(&format!(
        "CREATE TABLE aside AS SELECT * FROM sqlite_schema WHERE {INDEX}; PRAGMA writable_schema = 1; \
         DELETE FROM sqlite_schema WHERE {INDEX}"
    ));
    change("UPDATE known_address SET known_until = 9999999998");
    change("PRAGMA writable_schema = 1; INSERT INTO sqlite_schema SELECT * FROM aside; DROP TABLE aside");
    let [violation] = violations(&other).try_into().unwrap();
    assert!(violation.contains("known_address_until"), "{violation}");
}
