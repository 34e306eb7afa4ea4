//! Logout tokens reach relying parties at least once, in order, and also when a server or a relying party is killed in between (OpenID Connect
//! Back-Channel Logout 1.0).

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use test_servers::adieu::Adieu;
use tokio::time::sleep;

use crate::receiver::{Receiver, SILENT, claims_of, listed, log_in_and_out, part_of, run_script};

fn adieu() -> Adieu {
    Adieu::new(env!("CARGO_BIN_EXE_adieu"))
}

/// Adds a relying party; the server may be running or not.
async fn add(server: &Adieu, name: &str, receiver: &Receiver) {
    let uri = format!("http://{}/logged-out", receiver.address);
    let arguments = ["client", "add", name, "--backchannel-logout-uri", &uri, "--allow-private", "--create"];
    server.command(&arguments).await;
}

/// The token in the body of a message.
fn token(body: &str) -> String {
    body.strip_prefix("logout_token=").unwrap().to_owned()
}

impl Receiver {
    /// The accepted logout tokens.
    fn tokens(&self) -> Vec<String> {
        self.messages().iter().map(|(_, body)| token(body)).collect()
    }

    /// The ids of the sessions that accepted tokens name.
    fn ended(&self) -> Vec<String> {
        let session = |token: &String| claims_of(token)["sid"].as_str().map(str::to_owned);
        self.tokens().iter().filter_map(session).collect()
    }
}

async fn row(server: &Adieu, receiver: &str) -> Value {
    listed(server).await.into_iter().find(|row| row["receiver"] == receiver).unwrap_or_default()
}

#[tokio::test]
async fn a_relying_party_is_told_who_has_logged_out_and_jose_verifies_it() {
    let shop = Receiver::start(200).await;
    let trusted = r#"[{ name = "other", jwks_url = "http://127.0.0.1:1/" }]"#;
    let server = adieu().with("ADIEU_TRUSTED_ISSUER", trusted).with_metrics().start().await;
    let service = server.add_client("service", "revoke").await;
    add(&server, "shop", &shop).await;
    server.register("jose").await;
    let mut ended = Vec::new();
    for _ in 0..5 {
        ended.push(log_in_and_out(&server).await);
    }
    for (what, status) in [
        // Neither can a logout token say this, nor is the node the issuer of that.
        (json!({ "token_id": "t1" }), 200),
        (json!({ "issuer": "other", "subject": "ana" }), 200),
        (json!({ "subject": "maria <&\"é" }), 200),
    ] {
        let (answer, body) = server.revoke(&service, "", what).await;
        assert_eq!(answer, status, "{body}");
    }
    server.becomes("everything is delivered", async || shop.messages().len() >= 6).await;

    assert_eq!(shop.ended(), ended);
    assert_eq!(shop.messages().len(), 6);
    let (headers, _) = &shop.messages()[0];
    assert_eq!(headers["content-type"], "application/x-www-form-urlencoded");
    let tokens = shop.tokens();
    let header = part_of(&tokens[0], 0);
    assert_eq!(header["typ"], "logout+jwt");
    assert!(header["kid"].is_string() && header["alg"] != "none", "{header}");
    let mut claims = claims_of(&tokens[5]);
    let issued_at = claims["iat"].as_u64().unwrap();
    assert_eq!(claims["exp"].as_u64(), Some(issued_at + 120));
    assert!(claims["jti"].is_string());
    for name in ["iat", "exp", "jti"] {
        claims.as_object_mut().unwrap().remove(name);
    }
    let events = json!({ "http://schemas.openid.net/event/backchannel-logout": {} });
    assert_eq!(claims, json!({ "iss": "adieu", "sub": "maria <&\"é", "aud": "shop", "events": events }));

    let verify = async |client| {
        let keys = server.url("/.well-known/jwks.json");
        run_script("logout-tokens.mjs", &[&keys, "adieu", client], tokens.join("\n")).await
    };
    assert_eq!(verify("shop").await.as_deref(), Ok("6"));
    assert!(verify("bank").await.is_err_and(|error| error.contains("aud")));
    // It is no access token.
    assert_eq!(server.verify(&tokens[0]).await.0, 401);
    let metrics = server.metrics().await;
    assert!(metrics.contains(r#"adieu_deliveries_total{receiver="client:shop",outcome="delivered"} 6"#), "{metrics}");
}

#[tokio::test]
async fn another_adieu_accepts_what_it_is_sent() {
    let issuer = adieu().with("ADIEU_ISSUER", "https://first.example").start().await;
    let trusted = format!(
        r#"[{{ name = "https://first.example", jwks_url = "{}", events = ["backchannel-logout"], event_audience = ["second"] }}]"#,
        issuer.url("/.well-known/jwks.json")
    );
    let second = adieu().with("ADIEU_TRUSTED_ISSUER", trusted).start().await;
    let uri = second.url("/backchannel-logout");
    issuer.command(&["client", "add", "second", "--backchannel-logout-uri", &uri, "--allow-private"]).await;
    issuer.register("jose").await;
    let (token, other) = (issuer.log_in("jose").await, issuer.log_in("jose").await);
    second.becomes("the key is known", async || second.verify(&token).await.0 == 204).await;
    assert_eq!(issuer.post("/logout", &token).await.0, 200);
    second.becomes("the session has ended", async || second.verify(&token).await.0 == 401).await;
    assert_eq!(second.verify(&other).await.0, 204);
}

#[tokio::test]
async fn a_relying_party_that_fails_delays_no_other_and_each_attempt_has_a_token_of_its_own() {
    let [failing, silent, good] = [503, SILENT, 204].map(Receiver::start);
    let (failing, silent, good) = (failing.await, silent.await, good.await);
    let server = adieu().start().await;
    for (name, receiver) in [("failing", &failing), ("silent", &silent), ("good", &good)] {
        add(&server, name, receiver).await;
    }
    server.register("jose").await;
    let mut ended = vec![log_in_and_out(&server).await];
    server.becomes("two attempts have failed", async || failing.refused().len() >= 2).await;
    for _ in 0..20 {
        ended.push(log_in_and_out(&server).await);
    }
    let started = Instant::now();
    server.becomes("the good one has everything", async || good.messages().len() == ended.len()).await;
    assert!(started.elapsed() < Duration::from_secs(15), "the timeout of an attempt");
    assert_eq!(good.ended(), ended);
    let failed = row(&server, "client:failing").await;
    assert!(failed["failures"].as_u64() >= Some(2) && failed["failing_since"].is_u64(), "{failed}");
    assert_eq!(failed["error"], "status 503");

    failing.answer_with(200);
    server.becomes("the failing one has everything", async || failing.messages().len() >= ended.len()).await;
    assert_eq!(failing.ended(), ended);
    let attempts: Vec<_> = failing.refused().iter().map(|body| claims_of(&token(body))).collect();
    let first = claims_of(&failing.tokens()[0]);
    let ids: HashSet<_> = attempts.iter().chain([&first]).map(|claims| claims["jti"].to_string()).collect();
    assert_eq!(ids.len(), attempts.len() + 1);
    assert!(attempts.iter().all(|claims| claims["sid"] == first["sid"]));
    assert!(attempts[0]["exp"].as_u64() < first["exp"].as_u64(), "{attempts:?}, {first}");
}

#[tokio::test]
async fn nothing_is_lost_when_the_server_is_killed() {
    let shop = Receiver::start(200).await;
    let mut server = adieu().start().await;
    add(&server, "shop", &shop).await;
    server.register("jose").await;
    let mut ended = Vec::new();
    for round in 0..6 {
        // In every other round the relying party is down until after the restart. In the first, the server may not know it yet.
        shop.answer_with(if round % 2 == 0 { 200 } else { 500 });
        for _ in 0..5 {
            ended.push(log_in_and_out(&server).await);
        }
        sleep(Duration::from_millis(round * 7)).await;
        server.kill();
        shop.answer_with(200);
        server.start_again(|_| ()).await;
    }
    server.becomes("everything is delivered", async || ended.iter().all(|id| shop.ended().contains(id))).await;
    // At least once: the first deliveries are in order.
    let mut firsts = shop.ended();
    let mut seen = HashSet::new();
    firsts.retain(|session| seen.insert(session.clone()));
    assert_eq!(firsts, ended);
}

#[tokio::test]
async fn a_client_that_was_removed_gets_nothing_more_and_one_that_is_added_again_nothing_from_before() {
    let (shop, other) = (Receiver::start(200).await, Receiver::start(200).await);
    let server = adieu().start().await;
    server.register("jose").await;
    log_in_and_out(&server).await;
    add(&server, "shop", &shop).await;
    add(&server, "other", &other).await;
    let first = log_in_and_out(&server).await;
    server.becomes("the first is delivered", async || shop.ended() == [first.clone()]).await;
    server.command(&["client", "remove", "shop"]).await;
    // The server looks for changes every 500 ms, twice.
    sleep(Duration::from_millis(1500)).await;
    let second = log_in_and_out(&server).await;
    server.becomes("the other one has the second", async || other.ended() == [first.clone(), second.clone()]).await;
    assert_eq!(shop.ended(), std::slice::from_ref(&first));
    // The same name at another place, as soon as the command has returned.
    add(&server, "shop", &shop).await;
    let third = log_in_and_out(&server).await;
    server.becomes("the third is delivered", async || shop.ended().len() >= 2).await;
    assert_eq!(shop.ended(), [first, third]);
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_a_private_address_not_asked() {
    let [moved, accepted] = [307, 202].map(Receiver::start);
    let (moved, accepted) = (moved.await, accepted.await);
    let server = adieu().start().await;
    add(&server, "moved", &moved).await;
    add(&server, "accepted", &accepted).await;
    let uri = format!("https://localhost:{}/", moved.address.rsplit(':').next().unwrap());
    server.command(&["client", "add", "private", "--backchannel-logout-uri", &uri]).await;
    server.register("jose").await;
    log_in_and_out(&server).await;
    for (name, error) in [
        ("client:moved", "status 307"),
        ("client:private", "no global address"),
        // Not a success by the specification: the logout may not have happened.
        ("client:accepted", "status 202"),
    ] {
        let fails = async || row(&server, name).await["error"].as_str().is_some_and(|text| text.contains(error));
        server.becomes(error, fails).await;
    }
    assert!(moved.messages().is_empty());
}

#[tokio::test]
async fn a_token_that_is_refused_again_and_again_is_passed_over() {
    let shop = Receiver::start(400).await;
    let server = adieu().with_metrics().start().await;
    add(&server, "shop", &shop).await;
    server.register("jose").await;
    let refused = log_in_and_out(&server).await;
    let next = log_in_and_out(&server).await;
    let of = |session: &str| shop.refused().iter().filter(|body| claims_of(&token(body))["sid"] == session).count();
    server.becomes("the next token is sent", async || of(&next) > 0).await;
    assert_eq!(of(&refused), 6);
    let metrics = server.metrics().await;
    assert!(metrics.contains(r#"adieu_deliveries_total{receiver="client:shop",outcome="refused"} 1"#), "{metrics}");
    assert!(server.log().contains("will not be sent again"), "{}", server.log());
    shop.answer_with(200);
    server.becomes("the next is delivered", async || shop.ended() == [next.clone()]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_several_nodes_delivers_and_another_takes_over() {
    let shop = Receiver::start(200).await;
    let database = test_servers::postgres_database().await;
    let node = async || adieu().with("ADIEU_STORE", &database).start().await;
    let (first, second) = (node().await, node().await);
    add(&first, "shop", &shop).await;
    first.register("jose").await;
    let mut ended = Vec::new();
    for _ in 0..5 {
        ended.push(log_in_and_out(&first).await);
        ended.push(log_in_and_out(&second).await);
    }
    second.becomes("everything is delivered", async || shop.ended().len() >= ended.len()).await;
    assert_eq!(shop.ended(), ended, "each by one node");
    // Otherwise the second would repeat the last one.
    second.becomes("everything is recorded", async || row(&second, "client:shop").await["behind"] == 0).await;
    first.stop().await;
    ended.push(log_in_and_out(&second).await);
    second.becomes("the other node delivers", async || shop.ended().len() >= ended.len()).await;
    assert_eq!(shop.ended(), ended);
    second.command(&["client", "remove", "shop"]).await;
    sleep(Duration::from_millis(1500)).await;
    let later = Receiver::start(200).await;
    add(&second, "later", &later).await;
    let last = log_in_and_out(&second).await;
    second.becomes("a client that is still there has a token", async || later.ended() == [last.clone()]).await;
    assert_eq!(shop.ended(), ended);
}
