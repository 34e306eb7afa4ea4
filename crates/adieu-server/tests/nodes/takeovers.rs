//! Another server replaces the store while users log in and out at two nodes: a standby or a replica, with everything that was acknowledged
//! or without the last writes, or a restored dump.

use std::{sync::Arc, time::Instant};

use test_servers::{Engine, PostgresEngine, RedisEngine, Server, adieu::Adieu};

use crate::{
    adieu,
    load::{Load, LoggedOut, Loss, refuses_all},
    three_nodes::nodes_on,
};

/// Logouts that each node acknowledges between two events.
const SOME: usize = 6;

struct Story {
    nodes: Vec<Arc<Adieu>>,
    load: Load,
    settings: (&'static str, String),
    /// Sessions that are never ended.
    stay: Vec<String>,
}

impl Story {
    async fn begin(settings: (&'static str, String)) -> Self {
        // While a dump is put back there may be no accounts: every login fails, and none of them is one too many.
        let limit = ("ADIEU_LOGIN_ATTEMPTS_PER_ACCOUNT", "100000 per 1s".to_owned());
        let nodes = nodes_on(settings.clone(), 2, &[limit]).await;
        if settings.0 == "ADIEU_REVOCATIONS" {
            // Each node has its own accounts then.
            nodes[1].register("jose").await;
        }
        let nodes: Vec<Arc<Adieu>> = nodes.into_iter().map(Arc::new).collect();
        let mut stay = Vec::new();
        for node in &nodes {
            stay.push(node.log_in("jose").await);
        }
        let load = Load::start(&nodes);
        load.goes_on(nodes.len(), SOME).await;
        Self { nodes, load, settings, stay }
    }

    async fn goes_on(&self) {
        self.load.goes_on(self.nodes.len(), SOME).await;
    }

    /// Acknowledged writes were lost: every node notices, and everything from before is rejected everywhere.
    async fn ends_with_a_loss(self, happened_at: Instant) {
        let Self { nodes, load, settings, stay } = self;
        let has_noticed = async |node: &Adieu| node.verify(&stay[0]).await == (401, "token_revoked".to_owned());
        nodes[0].becomes("aware", async || has_noticed(&nodes[0]).await || has_noticed(&nodes[1]).await).await;
        let noticed_at = Instant::now();
        for node in &nodes {
            node.becomes("aware", async || has_noticed(node).await).await;
            assert!(node.command(&["log", "status"]).await.contains("backup"), "`adieu log status` reports it");
        }
        load.goes_on(nodes.len(), SOME).await;
        let logged_out = load.stop(Some(Loss { happened_at, noticed_at })).await;
        let (late, new) = all_agree(&nodes, settings, &logged_out, &stay, (401, "token_revoked")).await;
        // Accepting the restore revives nothing, and ends nothing.
        nodes[1].command(&["log", "accept-restore"]).await;
        for node in nodes.iter().map(|node| &**node).chain([&late]) {
            assert_eq!(node.verify(&new).await.0, 204);
            refuses_all(node, &logged_out).await;
        }
    }

    /// Nothing was lost: no user is logged out.
    async fn ends_without_a_loss(self) {
        let Self { nodes, load, settings, stay } = self;
        load.goes_on(nodes.len(), SOME).await;
        let logged_out = load.stop(None).await;
        all_agree(&nodes, settings, &logged_out, &stay, (204, "")).await;
    }
}

/// Starts a node that knows only the store's current content. Each node accepts a new token, which is returned with that node, rejects what
/// was logged out, and gives this verdict on the sessions that were not.
async fn all_agree(
    nodes: &[Arc<Adieu>],
    (setting, url): (&'static str, String),
    logged_out: &[LoggedOut],
    stay: &[String],
    verdict: (u16, &str),
) -> (Adieu, String) {
    let late = adieu().with(setting, url).start().await;
    let new = nodes[0].log_in("jose").await;
    for node in nodes.iter().map(|node| &**node).chain([&late]) {
        node.becomes("fresh", async || node.verify(&new).await.0 == 204).await;
        refuses_all(node, logged_out).await;
        for token in stay {
            assert_eq!(node.verify(token).await, (verdict.0, verdict.1.to_owned()));
        }
    }
    (late, new)
}

async fn a_standby_lacks_the_last_logouts<E: Engine>(setting: &'static str) {
    let mut primary = Server::<E>::start().await;
    let story = Story::begin((setting, primary.url())).await;
    let mut standby = primary.standby().await;
    story.goes_on().await;
    standby.cut_off().await;
    story.goes_on().await;
    primary.kill();
    let happened_at = Instant::now();
    primary.fail_over_to(standby).await;
    story.ends_with_a_loss(happened_at).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_asynchronous_standby_of_postgres_lacks_the_last_logouts() {
    a_standby_lacks_the_last_logouts::<PostgresEngine>("ADIEU_STORE").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_synchronous_standby_of_postgres_has_every_logout() {
    let mut primary = test_servers::Postgres::start().await;
    let story = Story::begin(("ADIEU_STORE", primary.url())).await;
    let standby = primary.standby().await;
    primary.sql("ALTER SYSTEM SET synchronous_standby_names = 'standby'").await;
    primary.sql("SELECT pg_reload_conf()").await;
    primary.caught_up().await;
    story.goes_on().await;
    primary.fail_over_to(standby).await;
    story.ends_without_a_loss().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_of_redis_lacks_the_last_logouts() {
    a_standby_lacks_the_last_logouts::<RedisEngine>("ADIEU_REVOCATIONS").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dump_is_put_back_in_one_transaction() {
    a_dump_is_put_back(&["--clean", "--single-transaction"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dump_is_put_back_table_by_table() {
    a_dump_is_put_back(&["--clean"]).await;
}

async fn a_dump_is_put_back(options: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let dump = folder.path().join("dump");
    let server = test_servers::Postgres::start().await;
    let story = Story::begin(("ADIEU_STORE", server.url())).await;
    server.dump("adieu", &dump).await;
    story.goes_on().await;
    // The restore fails if a node uses a table that it drops; then it is retried, as an operator would.
    while !server.try_restore(&dump, options).await {}
    story.ends_with_a_loss(Instant::now()).await;
}
