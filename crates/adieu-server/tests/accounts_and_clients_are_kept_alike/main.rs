//! The contract of the stores of accounts, clients, aliases and deliveries, tested on every engine.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

/// Defines a test of each function for each engine.
macro_rules! every_engine {
    ($($test:ident)*) => {
        every_engine!(sqlite: crate::OnFile, $($test)*);
        every_engine!(postgres: crate::InDatabase, $($test)*);
    };
    ($engine:ident: $place:ty, $($test:ident)*) => {
        mod $engine {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    super::$test::<$place>().await;
                }
            )*
        }
    };
}

mod accounts;
mod aliases;
mod clients;
mod deliveries;

use adieu_postgres::Postgres;
use adieu_server::{
    accounts::{AccountStore, Filter},
    aliases::AliasStore,
    clients::{Capability, Client, ClientStore, SecretHash},
    deliveries::DeliveryStore,
    text::Username,
};
use adieu_sqlite::Sqlite;

use self::{
    accounts::{account, facts},
    clients::client,
};

every_engine! {
    a_store_of_an_earlier_version_is_migrated
    all_of_it_is_there_when_it_is_opened_again
}

/// The database of an engine.
trait Place: Sized {
    type Store: AccountStore + AliasStore + ClientStore + DeliveryStore + Clone;

    async fn empty() -> Self;

    async fn open(&self) -> Self::Store;

    /// Creates a store as earlier versions left it, with one user and one client.
    async fn write_first_version(&self);
}

/// The tables of accounts of that version, for both engines, and a user.
const FIRST_VERSION: &[&str] = &[
    "CREATE TABLE account (
        id TEXT PRIMARY KEY, username TEXT NOT NULL UNIQUE, password TEXT NOT NULL, password_version BIGINT NOT NULL,
        is_admin BOOLEAN NOT NULL, is_disabled BOOLEAN NOT NULL, created_at BIGINT NOT NULL
    );
    INSERT INTO account VALUES ('1', 'jose', '$pbkdf2-sha256$29000$oDQGACCEMEZI6X3vXcsZ4w$Db3pJ3z5tRr1j9iFgW6zfLkoWjZEx7P3Ot9lzjIoLM4',
        1, FALSE, FALSE, 1800000000)",
    "CREATE TABLE known_address (pair BIGINT PRIMARY KEY, known_until BIGINT NOT NULL);
    CREATE INDEX known_address_until ON known_address (known_until)",
];

/// The tables of clients before there were relying parties, for both engines, and a client.
const CLIENTS_BEFORE: &[&str] = &[
    "CREATE TABLE client (name TEXT PRIMARY KEY, secret TEXT NOT NULL, can TEXT NOT NULL, created_at BIGINT NOT NULL);
    INSERT INTO client VALUES ('till', 'n4bQgYhMfWWaL-qgxVrQFaO_TxsrC4Is0V1sFbDwCgg', 'revoke', 1800000000)",
    "ALTER TABLE client ADD COLUMN revocation_quota TEXT;
    ALTER TABLE client ADD COLUMN revocation_horizon BIGINT",
];
const SECRET_HASH: &str = "n4bQgYhMfWWaL-qgxVrQFaO_TxsrC4Is0V1sFbDwCgg";

struct OnFile(tempfile::TempDir);

impl Place for OnFile {
    type Store = Sqlite;

    async fn empty() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    async fn open(&self) -> Sqlite {
        let store = Sqlite::open(self.0.path().join("adieu.sqlite")).await.unwrap();
        adieu_server::accounts::migrate(&store).await.unwrap();
        adieu_server::clients::migrate(&store).await.unwrap();
        adieu_server::deliveries::migrate(&store).await.unwrap();
        adieu_server::aliases::migrate(&store).await.unwrap();
        store
    }

    async fn write_first_version(&self) {
        let store = Sqlite::open(self.0.path().join("adieu.sqlite")).await.unwrap();
        store.migrate("accounts", FIRST_VERSION).await.unwrap();
        store.migrate("clients", CLIENTS_BEFORE).await.unwrap();
    }
}

struct InDatabase(String);

impl Place for InDatabase {
    type Store = Postgres;

    async fn empty() -> Self {
        Self(test_servers::postgres_database().await)
    }

    async fn open(&self) -> Postgres {
        let store = Postgres::connect(&self.0).await.unwrap();
        adieu_server::accounts::migrate_postgres(&store).await.unwrap();
        adieu_server::clients::migrate_postgres(&store).await.unwrap();
        adieu_server::deliveries::migrate_postgres(&store).await.unwrap();
        adieu_server::aliases::migrate_postgres(&store).await.unwrap();
        store
    }

    async fn write_first_version(&self) {
        let store = Postgres::connect(&self.0).await.unwrap();
        store.migrate("accounts", FIRST_VERSION).await.unwrap();
        store.migrate("clients", CLIENTS_BEFORE).await.unwrap();
    }
}

async fn a_store_of_an_earlier_version_is_migrated<P: Place>() {
    let place = P::empty().await;
    place.write_first_version().await;
    let store = place.open().await;
    let known = client("till", &[Capability::Revoke]);
    let secret = SecretHash::from_text(SECRET_HASH).unwrap();
    assert_eq!(store.clients().await.unwrap(), [Client { secret, ..known }]);
    assert!(store.add_client(client("shop", &[])).await.unwrap());
    let jose = store.by_username(&Username::new("jose").unwrap()).await.unwrap().unwrap();
    assert_eq!(facts(&jose), facts(&account("1", "jose")));
    store.add(vec![account("2", "ana")]).await.unwrap();
    assert_eq!(store.list(&Filter::default(), None, 10).await.unwrap().len(), 2);
}

async fn all_of_it_is_there_when_it_is_opened_again<P: Place>() {
    let place = P::empty().await;
    let shop = client("shop", &Capability::ALL);
    {
        let store = place.open().await;
        store.add(vec![account("1", "jose")]).await.unwrap();
        store.add_client(shop.clone()).await.unwrap();
    }
    let store = place.open().await;
    assert_eq!(facts(&store.list(&Filter::default(), None, 10).await.unwrap()[0]), facts(&account("1", "jose")));
    assert_eq!(store.clients().await.unwrap(), [shop]);
}
