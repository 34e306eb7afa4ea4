//! A running node rejects what a command has revoked within `max_staleness`.

use adieu::token::TokenError;
use adieu_server::node::Node;

use crate::support::{Place, log_in, session_of};

/// Verifies until the token is rejected, a bounded number of times; another command in between takes a moment.
fn refusal(place: &Place, node: &Node, token: &str) -> Option<TokenError> {
    const MAX_ATTEMPTS: usize = 200;
    for _ in 0..MAX_ATTEMPTS {
        if let Err(refusal) = node.sessions.verifier().verify(token) {
            return Some(refusal);
        }
        place.run(&["key", "list"]).succeeded();
    }
    None
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_a_command_ends_is_refused() {
    let place = Place::with_user("jose");
    let node = place.node().await;
    let (ends, stays) = (log_in(&node, "jose", "curl").await, log_in(&node, "jose", "curl").await);
    node.sessions.verifier().verify(&ends.access).unwrap();

    place.run(&["session", "end", &session_of(&ends)]).succeeded();
    assert!(matches!(refusal(&place, &node, &ends.access), Some(TokenError::Revoked(_))));
    node.sessions.verifier().verify(&stays.access).unwrap();
    let refresh = node.sessions.inspect(&ends.refresh);
    assert!(matches!(refresh, Err(TokenError::Revoked(_))), "{refresh:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn so_is_whatever_else_a_command_ends() {
    let place = Place::with_user("jose");
    let node = place.node().await;
    for (command, input) in [
        (&["user", "passwd", "jose", "--password-stdin"][..], "5678"),
        (&["token", "revoke"], "TOKEN"),
        (&["token", "revoke", "--id", "JTI"], ""),
        (&["revoke", "--user", "jose", "--yes"], ""),
        (&["revoke", "--everything", "--yes"], ""),
        (&["user", "disable", "jose"], ""),
    ] {
        let pair = log_in(&node, "jose", "curl").await;
        node.sessions.verifier().verify(&pair.access).unwrap();
        let id = pair.claims.token_id.as_str();
        let command: Vec<_> = command.iter().map(|word| if *word == "JTI" { id } else { word }).collect();
        place.run_with(&command, input.replace("TOKEN", &pair.access).as_bytes()).succeeded();
        assert!(matches!(refusal(&place, &node, &pair.access), Some(TokenError::Revoked(_))), "{command:?}");
    }
}

/// It would revoke tokens of another issuer, of which there are none, and report success.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_without_the_issuer_of_the_server_changes_nothing() {
    const ISSUER: &str = "https://login.example";
    let place = Place::with_user("jose");
    let server = place.server().with("ADIEU_ISSUER", ISSUER).start().await;
    let token = server.log_in("jose").await;
    place.run(&["store", "backup", "backup"]).succeeded();
    let elsewhere = Place::empty();
    std::fs::copy(place.path("backup"), elsewhere.path("backup")).unwrap();
    for (place, command) in [
        (&place, &["session", "end", "--user", "jose"][..]),
        (&place, &["token", "revoke", "--id", "x"]),
        (&place, &["revoke", "--user", "jose", "--yes"]),
        (&place, &["revoke", "--everything", "--yes"]),
        (&place, &["user", "passwd", "jose", "--password-stdin"]),
        (&place, &["user", "disable", "jose"]),
        (&place, &["user", "delete", "jose"]),
        (&elsewhere, &["store", "restore", "backup"]),
        (&elsewhere, &["store", "restore", "backup", "--nothing-lost"]),
    ] {
        let error = place.run_with(command, b"5678").failed();
        assert!(error.contains("issue tokens as `https://login.example`"), "{command:?}: {error}");
    }
    assert!(!elsewhere.path("data").join("adieu.sqlite").exists());
    assert_eq!(server.verify(&token).await.0, 204);

    let mut with_issuer = place.command(&["revoke", "--user", "jose", "--yes"]);
    Place::finish(
        {
            with_issuer.env("ADIEU_ISSUER", ISSUER);
            with_issuer
        },
        b"",
    )
    .succeeded();
    server.becomes("refused", async || server.verify(&token).await.0 == 401).await;
    server.stop().await;

    // A server that gets another name tells its commands.
    let server = place.server().start().await;
    place.run(&["revoke", "--user", "jose", "--yes"]).succeeded();
    server.stop().await;
}
