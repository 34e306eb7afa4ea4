//! All nodes honour what one of them does.

use std::time::{Duration, Instant};

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use reqwest::Method;
use test_servers::adieu::{Adieu, Tokens};

use crate::adieu;

/// The maximum time for which a logout may go unnoticed.
pub(crate) const BOUND: Duration = Duration::from_secs(2);

/// Starts nodes on a store of their own, with a user.
pub(crate) async fn nodes(count: usize, settings: &[(&'static str, String)]) -> Vec<Adieu> {
    nodes_on(("ADIEU_STORE", test_servers::postgres_database().await), count, settings).await
}

pub(crate) async fn nodes_on(
    store: (&'static str, String),
    count: usize,
    settings: &[(&'static str, String)],
) -> Vec<Adieu> {
    let mut nodes = Vec::new();
    for _ in 0..count {
        let node = adieu()
            .with(store.0, &store.1)
            .with("ADIEU_LOGIN_ATTEMPTS_PER_ADDRESS", "100000 per 1s")
            .with("ADIEU_MAX_SESSIONS_PER_USER", "100000");
        let node = settings.iter().fold(node, |node, (name, value)| node.with(name, value));
        nodes.push(node.start().await);
    }
    nodes[0].register("jose").await;
    nodes
}

/// Returns how long after `since` this node rejects the token; fails if the node accepts it for longer than the bound.
pub(crate) async fn refused_after(node: &Adieu, token: &str, since: Instant) -> Duration {
    loop {
        let asked_after = since.elapsed();
        match node.verify(token).await {
            (401, why) => {
                assert_eq!(why, "token_revoked");
                return since.elapsed();
            }
            (200 | 204, _) => assert!(asked_after <= BOUND, "accepted {asked_after:?} after the logout"),
            other => panic!("{other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_logout_on_one_is_soon_refused_by_the_others() {
    const ROUNDS: usize = 100;
    let nodes = nodes(3, &[]).await;
    let [a, b, c] = &nodes[..] else { panic!() };
    let mut delays = Vec::new();
    for _ in 0..ROUNDS {
        let token = a.log_in("jose").await;
        assert_eq!(b.verify(&token).await.0, 204, "a token of one is good at the others at once");
        assert_eq!(c.ask(Method::POST, "/logout", Some(&token), None).await.0, 200);
        let answered_at = Instant::now();
        assert_eq!(c.verify(&token).await, (401, "token_revoked".to_owned()), "it is immediate where it was answered");
        let (on_a, on_b) = tokio::join!(refused_after(a, &token, answered_at), refused_after(b, &token, answered_at));
        delays.extend([on_a, on_b]);
    }
    delays.sort();
    let at = |share: usize| delays[(delays.len() - 1) * share / 100];
    println!(
        "a logout on C is refused by A and B after {:?} (p50), {:?} (p99), {:?} at most, of {} measured",
        at(50),
        at(99),
        at(100),
        delays.len()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_that_race_on_one_refresh_token_give_one_successor() {
    let nodes = nodes(2, &[]).await;
    let [a, b] = &nodes[..] else { panic!() };
    let mut refresh = a.log_in_for_both("jose").await.refresh;
    for _ in 0..20 {
        let (on_a, on_b) = tokio::join!(a.refresh(&refresh), b.refresh(&refresh));
        let (next, other) = (on_a.unwrap(), on_b.unwrap());
        assert_eq!(next.refresh, other.refresh, "the chain of refresh tokens forks");
        assert_eq!(a.verify(&other.access).await.0, 204);
        refresh = next.refresh;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refresh_token_that_is_used_again_at_another_node_ends_the_session() {
    let nodes = nodes(3, &[("ADIEU_ROTATION_GRACE", "0s".to_owned())]).await;
    let [a, b, c] = &nodes[..] else { panic!() };
    let Tokens { access: first_access, refresh: stolen } = a.log_in_for_both("jose").await;
    let Tokens { access, refresh } = a.refresh(&stolen).await.unwrap();
    assert_eq!(b.refresh(&stolen).await, Err(401));
    let ended_at = Instant::now();
    for node in [a, b, c] {
        refused_after(node, &access, ended_at).await;
        refused_after(node, &first_access, ended_at).await;
        assert_eq!(node.refresh(&refresh).await, Err(401));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accounts_and_sessions_are_the_same_everywhere() {
    let nodes = nodes(2, &[]).await;
    let [a, b] = &nodes[..] else { panic!() };
    let token = b.log_in("jose").await;
    let (status, sessions) = a.ask(Method::GET, "/sessions", Some(&token), None).await;
    assert_eq!((status, sessions["sessions"].as_array().map(Vec::len)), (200, Some(1)), "{sessions}");
    assert!(a.command(&["user", "list"]).await.contains("jose"));
    // A command ends the session, and both nodes reject its tokens.
    b.command(&["session", "end", "--user", "jose"]).await;
    let ended_at = Instant::now();
    tokio::join!(refused_after(a, &token, ended_at), refused_after(b, &token, ended_at));
}

/// Returns the `kid` of a token.
fn key_of(token: &str) -> String {
    let header = BASE64_URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
    serde_json::from_slice::<serde_json::Value>(&header).unwrap()["kid"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_rotated_or_removed_at_one_is_so_at_all() {
    let nodes = nodes(3, &[]).await;
    let [a, b, c] = &nodes[..] else { panic!() };
    let old = a.log_in("jose").await;
    a.command(&["key", "rotate", "--after", "3s"]).await;
    let rotated_at = Instant::now();
    // Whichever node signs, and with whichever key: all others know that key.
    let mut signed_by_new = Vec::new();
    for turn in 0.. {
        let token = nodes[turn % 3].log_in("jose").await;
        for node in [a, b, c] {
            assert_eq!(node.verify(&token).await.0, 204);
        }
        if key_of(&token) != key_of(&old) {
            signed_by_new.push(token);
        }
        if signed_by_new.len() == 9 {
            break;
        }
        assert!(rotated_at.elapsed() < Duration::from_secs(60), "it does not come to be used");
    }
    assert_eq!(b.verify(&old).await.0, 204, "what the old one has signed is good until it goes");

    b.command(&["key", "remove", &key_of(&old)]).await;
    let removed_at = Instant::now();
    for node in [a, b, c] {
        loop {
            let asked_after = removed_at.elapsed();
            if node.verify(&old).await.0 != 204 {
                break;
            }
            assert!(asked_after <= BOUND, "accepted {asked_after:?} after the removal");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        for token in &signed_by_new {
            assert_eq!(node.verify(token).await.0, 204);
        }
    }
}
