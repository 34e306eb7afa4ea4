//! Services authenticate with their own credentials, and are limited to their capabilities while they are clients.

use std::{sync::Arc, time::Duration};

use adieu::time::{ManualClock, Timestamp};
use adieu_server::clients::{Capability, Client, ClientError, ClientName, ClientStore as _, Clients, MAX_AGE, migrate};
use adieu_sqlite::Sqlite;
use insta::assert_snapshot;

use crate::support::{Credentials, TestApp};

#[tokio::test]
async fn a_client_needs_its_secret_and_the_capability() {
    let app = TestApp::start().await.with_user("jose").await;
    let shop = app.client("shop", &[Capability::Introspect]).await;
    let feed = app.client("feed", &[Capability::Follow, Capability::Revoke]).await;
    let ask = || app.post("/introspect").form("token=x");
    assert_snapshot!(ask().by(&shop).send().await, @r#"200 {"active":false}"#);
    assert_snapshot!(ask().by(&feed).send().await, @r#"403 {"error":"unauthorized_client","error_description":"This client may not introspect."}"#);

    let jose = app.log_in("jose").await;
    let wrong = |name: &str, secret: &str| Credentials { name: name.into(), secret: secret.into() };
    for refused in [
        ask(),
        ask().token(&jose.access),
        ask().header("authorization", "Basic"),
        ask().by(&wrong("shop", "")),
        ask().by(&wrong("shop", &feed.secret)),
        ask().by(&wrong("shop", &shop.secret[1..])),
        ask().by(&wrong("Shop", &shop.secret)),
        ask().by(&wrong("unknown", &shop.secret)),
        ask().by(&wrong("", "")),
    ] {
        let refused = refused.send().await;
        refused.reads(r#"401 {"error":"invalid_client","error_description":"Invalid client credentials."}"#);
        assert_eq!(refused.header("www-authenticate"), Some(r#"Basic realm="adieu""#));
    }
    let twice = ask().by(&shop).header("authorization", "Basic YTpi").send().await;
    assert_snapshot!(twice, @r#"400 {"error":"invalid_request","error_description":"Send one Authorization header only."}"#);
}

/// A store with one client, and the clients of a server on it with a stopped clock.
struct Fixture {
    clock: ManualClock,
    clients: Clients,
    store: Sqlite,
    secret: String,
    file: rusqlite::Connection,
    _folder: tempfile::TempDir,
}

impl Fixture {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        let store = Sqlite::open(&path).await.unwrap();
        migrate(&store).await.unwrap();
        let (client, secret) = Client::new(shop(), &Capability::ALL, Timestamp::from_unix(1)).unwrap();
        store.add_client(client).await.unwrap();
        let clock = ManualClock::at(Timestamp::from_unix(1_800_000_000));
        clock.advance(MAX_AGE * 10);
        let clients = Clients::new(Arc::new(store.clone()), Arc::new(clock.clone()));
        let file = rusqlite::Connection::open(&path).unwrap();
        Self { clock, clients, store, secret: secret.expose().to_owned(), file, _folder: folder }
    }

    async fn ask(&self) -> Result<Arc<Client>, ClientError> {
        self.clients.authenticate("shop", &self.secret).await
    }
}

fn shop() -> ClientName {
    ClientName::new("shop").unwrap()
}

#[tokio::test]
async fn a_client_that_was_removed_is_cut_off_within_a_second() {
    let server = Fixture::new().await;
    server.ask().await.unwrap();
    assert!(server.store.remove_client(&shop()).await.unwrap());

    const { assert!(MAX_AGE.as_millis() < 1_000) };
    server.clock.advance(MAX_AGE + Duration::from_nanos(1));
    assert!(matches!(server.ask().await, Err(ClientError::Wrong)));
}

#[tokio::test]
async fn a_client_that_was_added_need_not_wait() {
    let app = TestApp::start().await;
    let first = app.client("first", &[Capability::Introspect]).await;
    app.post("/introspect").form("token=x").by(&first).send().await.is(200);
    let second = app.client("second", &[Capability::Introspect]).await;
    app.post("/introspect").form("token=x").by(&second).send().await.is(200);
}

#[tokio::test]
async fn while_the_store_can_not_be_read_a_client_stays_one_and_nobody_else_is_let_in() {
    let server = Fixture::new().await;
    server.ask().await.unwrap();
    server.file.execute_batch("ALTER TABLE client RENAME TO client_out_of_reach").unwrap();
    for _ in 0..10 {
        server.clock.advance(Duration::from_secs(3600));
        server.ask().await.expect("it has not been removed, as far as is known");
        for (name, secret) in [("shop", "x"), ("other", &server.secret)] {
            let refused = server.clients.authenticate(name, secret).await;
            assert!(matches!(refused, Err(ClientError::Failed(_))), "{name} {secret}");
        }
    }
    let fresh = Clients::new(Arc::new(server.store.clone()), Arc::new(server.clock.clone()));
    assert!(matches!(fresh.authenticate("shop", &server.secret).await, Err(ClientError::Failed(_))), "never read");

    server.file.execute_batch("ALTER TABLE client_out_of_reach RENAME TO client").unwrap();
    server.ask().await.unwrap();
    assert!(server.store.remove_client(&shop()).await.unwrap());
    // Background reads have no caller.
    while server.ask().await.is_ok() {
        server.clock.advance(MAX_AGE + Duration::from_nanos(1));
        tokio::task::yield_now().await;
    }
    assert!(matches!(server.ask().await, Err(ClientError::Wrong)));
}

/// Many followers poll, so asking the store for each would be slow.
#[tokio::test]
async fn a_crowd_of_clients_does_not_ask_the_store_each_time() {
    let server = Fixture::new().await;
    server.ask().await.unwrap();
    server.file.execute_batch("ALTER TABLE client RENAME TO client_out_of_reach").unwrap();
    for _ in 0..10_000 {
        server.ask().await.unwrap();
    }
}
