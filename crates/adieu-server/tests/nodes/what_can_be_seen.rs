//! The metrics of a node about its engine.

use std::ffi::OsString;

use adieu::Subject;
use adieu_server::{
    config::{Flags, Settings},
    node::Node,
};
use test_servers::TEST_TIMEOUT;

async fn node(folder: &tempfile::TempDir, setting: &str, url: &str) -> Node {
    let flags = Flags { data: Some(folder.path().join("data").to_str().unwrap().to_owned()), ..Flags::default() };
    let settings = Settings::load(&flags, [(OsString::from(setting), OsString::from(url))]).unwrap();
    Node::open(&settings).await.unwrap()
}

fn value(node: &Node, name: &str) -> Option<f64> {
    let text = node.metrics.render().unwrap();
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

/// Waits until this metric has a suitable value.
async fn becomes(node: &Node, name: &str, will_do: impl Fn(f64) -> bool) {
    let waiting = async {
        while !value(node, name).is_some_and(&will_do) {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    assert!(tokio::time::timeout(TEST_TIMEOUT, waiting).await.is_ok(), "{name} is {:?}", value(node, name));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn how_full_redis_is_can_be_seen() {
    let server = test_servers::Redis::start().await;
    assert_eq!(server.command(&["CONFIG", "SET", "maxmemory", "1gb"]).await, "+OK");
    let folder = tempfile::tempdir().unwrap();
    let node = node(&folder, "ADIEU_REVOCATIONS", &server.url()).await;
    // As housekeeping does from time to time.
    node.core.log().prune(node.clock.now()).await.unwrap();
    becomes(&node, "adieu_redis_memory_limit_bytes", |bytes| bytes == 1_073_741_824.0).await;
    becomes(&node, "adieu_redis_memory_used_bytes", |bytes| bytes > 0.0).await;
}

/// The notification queue can be full; readers poll in any case.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn notifications_that_failed_can_be_seen() {
    let server = test_servers::Postgres::start().await;
    let folder = tempfile::tempdir().unwrap();
    let node = node(&folder, "ADIEU_STORE", &server.url()).await;
    becomes(&node, "adieu_postgres_notifications_failed_total", |count| count == 0.0).await;
    server.sql("ALTER FUNCTION pg_notify(text, text) RENAME TO pg_notify_elsewhere").await;
    let tokens = node.sessions.log_in(Subject::new("jose").unwrap()).await.unwrap();
    node.sessions.log_out(&tokens.access, Default::default()).await.unwrap();
    becomes(&node, "adieu_postgres_notifications_failed_total", |count| count > 0.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn how_many_logouts_share_a_commit_can_be_seen() {
    const LOGOUTS: usize = 50;
    for (setting, url) in [
        ("ADIEU_STORE", test_servers::postgres_database().await),
        ("ADIEU_REVOCATIONS", test_servers::redis_database().await),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let node = node(&folder, setting, &url).await;
        let mut tokens = Vec::new();
        for _ in 0..LOGOUTS {
            tokens.push(node.sessions.log_in(Subject::new("jose").unwrap()).await.unwrap());
        }
        let measured = || {
            ["log_append_duration_seconds_count", "store_commit_operations_count", "store_commit_operations_sum"]
                .map(|name| value(&node, &format!("adieu_{name}")).unwrap())
        };
        let before = measured();
        let log_out = |tokens| async {
            let tokens: adieu::session::TokenPair = tokens;
            node.sessions.log_out(&tokens.access, Default::default()).await.unwrap();
        };
        futures_util::future::join_all(tokens.into_iter().map(log_out)).await;
        let after = measured();
        let [appends, commits, operations] = std::array::from_fn(|place| after[place] - before[place]);
        assert_eq!((appends, operations), (LOGOUTS as f64, LOGOUTS as f64), "{setting}");
        assert!((1.0..LOGOUTS as f64).contains(&commits), "{setting}: {commits} commits");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_connections_to_redis_can_be_seen() {
    const OPENED: &str = "adieu_redis_connections_opened_total";
    const FAILED: &str = "adieu_redis_failed_requests_total";
    let server = test_servers::Redis::start().await;
    let folder = tempfile::tempdir().unwrap();
    let node = node(&folder, "ADIEU_REVOCATIONS", &server.url()).await;
    assert_eq!((value(&node, OPENED), value(&node, FAILED)), (Some(2.0), Some(0.0)), "one to read and one to write");
    server.command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await;
    becomes(&node, OPENED, |opened| opened > 2.0).await;
    drop(server);
    becomes(&node, FAILED, |failed| failed > 0.0).await;
}
