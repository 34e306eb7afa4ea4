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
