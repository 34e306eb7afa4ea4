//! The engine goes away and comes back: nothing that was acknowledged is lost, nothing is accepted for longer than the bound, and no
//! process needs a restart.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use reqwest::Method;
use test_servers::{
    TEST_TIMEOUT,
    adieu::{Adieu, Tokens},
};
use tokio::task::JoinSet;

use crate::{
    adieu,
    three_nodes::{BOUND, nodes_on},
};

/// A write that can't be done gets its response within this time.
const WRITE_TIMEOUT: Duration = Duration::from_secs(8);

#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    Stopped,
    Killed,
    Frozen,
}

/// The server of an engine, used only by this test.
pub(crate) enum Engine {
    Postgres(test_servers::Postgres),
    Redis(test_servers::Redis),
}

impl Engine {
    pub(crate) fn settings(&self) -> (&'static str, String) {
        match self {
            Self::Postgres(server) => ("ADIEU_STORE", server.url()),
            Self::Redis(server) => ("ADIEU_REVOCATIONS", server.url()),
        }
    }

    pub(crate) async fn fail(&mut self, fault: Fault) {
        match (self, fault) {
            (Self::Postgres(server), Fault::Stopped) => server.stop().await,
            (Self::Postgres(server), Fault::Killed) => server.kill(),
            (Self::Postgres(server), Fault::Frozen) => server.freeze(),
            (Self::Redis(server), Fault::Stopped) => server.stop().await,
            (Self::Redis(server), Fault::Killed) => server.kill(),
            (Self::Redis(server), Fault::Frozen) => server.freeze(),
        }
    }

    pub(crate) async fn recover(&mut self, fault: Fault) {
        match (self, fault) {
            (Self::Postgres(server), Fault::Frozen) => server.thaw(),
            (Self::Redis(server), Fault::Frozen) => server.thaw(),
            (Self::Postgres(server), _) => server.start_again().await,
            (Self::Redis(server), _) => server.start_again().await,
        }
    }
}

/// A user logs in and out repeatedly. Returns the tokens whose logout was acknowledged.
fn load(node: &Arc<Adieu>) -> JoinSet<Vec<String>> {
    let mut load = JoinSet::new();
    let node = Arc::clone(node);
    load.spawn(async move {
        let mut acknowledged = Vec::new();
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(12) {
            let Some(Ok(Tokens { access, .. })) = node.try_log_in("jose").await else { continue };
            if let Some((200, _)) = node.try_ask(Method::POST, "/logout", Some(&access), None).await {
                acknowledged.push(access);
            }
        }
        acknowledged
    });
    load
}

async fn it_is_survived(mut engine: Engine) {
    let node = Arc::new(nodes_on(engine.settings(), 1, &[]).await.pop().unwrap());
    // With revocations in Redis, each node has its own accounts, which does not matter here.
    let (setting, url) = engine.settings();
    let lenient = adieu().with(setting, url).with("ADIEU_STALE_POLICY", "accept").start().await;
    let live = node.log_in("jose").await;
    let ended = node.log_in("jose").await;
    assert_eq!(node.ask(Method::POST, "/logout", Some(&ended), None).await.0, 200);

    for fault in [Fault::Stopped, Fault::Killed, Fault::Frozen] {
        node.becomes("settled", async || lenient.verify(&ended).await.0 == 401).await;
        let spare = node.log_in("jose").await;
        let mut load = load(&node);
        tokio::time::sleep(Duration::from_millis(500)).await;
        let failing_at = Instant::now();
        engine.fail(fault).await;
        let failed_at = Instant::now();

        // The node accepts tokens until it is too stale, and then rejects them; a node with `stale_policy = accept` accepts them.
        let (status, _) = node.verify(&live).await;
        assert!(status == 204 || failing_at.elapsed() > BOUND / 2, "{fault:?}: {status}");
        loop {
            let asked_at = failed_at.elapsed();
            let (status, _) = node.verify(&live).await;
            if status == 503 {
                break;
            }
            assert_eq!(status, 204);
            assert!(asked_at <= BOUND + Duration::from_millis(500), "{fault:?}: still accepted after {asked_at:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(node.verify(&ended).await.0, 401, "a token that is known to be revoked is rejected with 401");
        assert_eq!(lenient.verify(&live).await.0, 204);
        assert_eq!(node.get("/readyz", None).await, 503);
        let asked_at = Instant::now();
        // The outcome is unknown: a server that is only frozen may do it later.
        assert_eq!(node.ask(Method::POST, "/logout", Some(&spare), None).await.0, 503, "{fault:?}");
        assert!(asked_at.elapsed() < WRITE_TIMEOUT, "{fault:?}: {:?}", asked_at.elapsed());

        engine.recover(fault).await;
        let back_at = Instant::now();
        node.becomes("ready again", async || node.get("/readyz", None).await == 200).await;
        println!("{fault:?}: ready again {:?} after the engine was", back_at.elapsed());
        let acknowledged = tokio::time::timeout(TEST_TIMEOUT, load.join_next()).await.unwrap().unwrap().unwrap();
        assert!(!acknowledged.is_empty());
        assert_eq!(node.verify(&live).await.0, 204);
        for token in acknowledged.iter().chain([&ended]) {
            assert_eq!(node.verify(token).await, (401, "token_revoked".to_owned()), "{fault:?}");
        }
        let late = node.log_in("jose").await;
        assert_eq!(node.ask(Method::POST, "/logout", Some(&late), None).await.0, 200);
        lenient.becomes("informed", async || lenient.verify(&late).await.0 == 401).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_postgres() {
    it_is_survived(Engine::Postgres(test_servers::Postgres::start().await)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_redis() {
    it_is_survived(Engine::Redis(test_servers::Redis::start().await)).await;
}

/// Accounts are in one engine and revocations in another, and the first goes away: calls that need no accounts still succeed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accounts_out_of_reach_stop_no_follower() {
    let mut accounts = Engine::Postgres(test_servers::Postgres::start().await);
    let revocations = Engine::Redis(test_servers::Redis::start().await);
    let node = [accounts.settings(), revocations.settings()];
    let node = node.into_iter().fold(adieu(), |node, (setting, url)| node.with(setting, url));
    let (node, [shop]) = node.start_with_clients(["shop"]).await;
    node.register("jose").await;
    let live = node.log_in("jose").await;
    let (status, page) = node.read_feed(&shop, "").await;
    assert_eq!(status, 200, "{page}");
    let readiness = async || {
        let (status, body) = node.ask(Method::GET, "/readyz", None, None).await;
        (status, body["accounts_available"].as_bool().unwrap())
    };
    assert_eq!(readiness().await, (200, true));

    for (number, fault) in [Fault::Stopped, Fault::Killed, Fault::Frozen].into_iter().enumerate() {
        accounts.fail(fault).await;
        let failed_at = Instant::now();
        node.becomes("without accounts", async || !readiness().await.1).await;
        // For longer than anything is cached in memory: the feed, a revocation, a token, and the readiness.
        while failed_at.elapsed() < 2 * BOUND {
            let asked_at = Instant::now();
            assert_eq!(node.read_feed(&shop, "").await.0, 200, "{fault:?}");
            assert!(asked_at.elapsed() < BOUND, "{fault:?}: no follower becomes stale by it");
            let body = serde_json::json!({ "token_id": format!("of {number}") });
            assert_eq!(node.revoke(&shop, "", body).await.0, 200, "{fault:?}");
            assert_eq!(node.verify(&live).await.0, 204, "{fault:?}");
            assert_eq!(readiness().await, (200, false), "{fault:?}");
        }
        assert!(!matches!(node.try_log_in("jose").await, Some(Ok(_))), "{fault:?}: that needs an account");
        accounts.recover(fault).await;
        node.becomes("whole again", async || readiness().await == (200, true)).await;
        node.log_in("jose").await;
    }
}

/// All processes start at the same time, and the database takes longer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_waits_for_its_engine_at_the_start() {
    for mut engine in
        [Engine::Postgres(test_servers::Postgres::start().await), Engine::Redis(test_servers::Redis::start().await)]
    {
        engine.fail(Fault::Stopped).await;
        let (setting, url) = engine.settings();
        let start = |start_timeout: &str| {
            let mut server =
                adieu().with(setting, &url).with("ADIEU_START_TIMEOUT", start_timeout).with("ADIEU_LOG_LEVEL", "warn");
            server.spawn();
            server
        };
        let mut waiting = start("1h");
        let warning = "the store can't be reached yet; trying again";
        waiting.becomes("patient", async || waiting.log().contains(warning)).await;
        let log = waiting.log();
        let line = log.lines().find(|line| line.contains(warning)).unwrap();
        assert!(line.contains("WARN"), "{line}");

        // A node with a shorter timeout reports why it exits.
        let mut ended = start("600ms");
        assert_eq!(ended.ready_or_ended().await.unwrap_err().code(), Some(1));
        let said = ended.log();
        assert!(said.lines().last().unwrap().starts_with("error: cannot open "), "{said}");

        engine.recover(Fault::Stopped).await;
        waiting.ready().await;
    }
}
