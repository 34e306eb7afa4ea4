//! A command that only reads leaves the store of an older version as it is, and makes none.

use sqlx::{Connection as _, PgConnection};

use crate::support::{Done, Place};

const READING: [&[&str]; 11] = [
    &["log", "status"],
    &["store", "check"],
    &["user", "list"],
    &["user", "export"],
    &["user", "invites"],
    &["user", "import", "users.jsonl", "--dry-run"],
    &["client", "list"],
    &["key", "list"],
    &["delivery", "list"],
    &["session", "list"],
    &["token", "inspect", "a.b.c"],
];

const VERSION: &str = "SELECT version FROM component WHERE name = 'accounts'";

impl Place {
    /// The number of migrations of the accounts.
    fn version(&self) -> i64 {
        let store = rusqlite::Connection::open(self.path("data/adieu.sqlite")).unwrap();
        store.query_row(VERSION, [], |row| row.get(0)).unwrap()
    }

    /// Runs a command on this store.
    fn run_at(&self, store: &str, arguments: &[&str]) -> Done {
        let mut command = self.command(arguments);
        command.env("ADIEU_STORE", store);
        Self::finish(command, b"")
    }
}

#[test]
fn reading_does_not_migrate_a_file() {
    let place = Place::with_user("jose");
    place.write("users.jsonl", "");
    let store = rusqlite::Connection::open(place.path("data/adieu.sqlite")).unwrap();
    store.execute("UPDATE component SET version = version - 1 WHERE name = 'accounts'", []).unwrap();
    drop(store);
    let before = place.version();
    for arguments in READING.iter().chain(&[&["alias", "list"][..]]) {
        let refused = place.run(arguments).failed();
        assert!(refused.ends_with("is of an older version; back it up, then `adieu serve` migrates it"), "{refused}");
        assert_eq!(place.version(), before, "{arguments:?}");
    }
    place.run(&["store", "backup", "backup"]).succeeded();
    assert_eq!(place.version(), before);
    std::fs::rename(place.path("data"), place.path("migrated-later")).unwrap();
    place.run(&["store", "restore", "backup", "--nothing-lost"]).succeeded();
    assert_eq!(place.version(), before, "it is the store of the older version");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_a_database_and_no_command_makes_a_store_there() {
    let place = Place::empty();
    place.write("users.jsonl", "");
    let url = test_servers::postgres_database().await;
    let mut database = PgConnection::connect(&url).await.unwrap();
    let writing = &["user", "disable", "jose"][..];
    for arguments in READING.iter().chain(&[&["store", "backup", "backup"][..], writing]) {
        let dry_run = arguments.contains(&"--dry-run");
        let refused = place.run_at(&url, arguments).failed();
        let why = if dry_run { "makes one, and so does --create" } else { "`adieu serve` makes one" };
        assert!(refused.starts_with("no store in postgres://") && refused.ends_with(why), "{refused}");
        const SCHEMAS: &str = "SELECT count(*) FROM pg_namespace WHERE nspname = 'adieu'";
        let schemas: i64 = sqlx::query_scalar(SCHEMAS).fetch_one(&mut database).await.unwrap();
        assert_eq!(schemas, 0, "{arguments:?}");
    }
    let found = place.run_at(&url, &["doctor"]);
    assert!(found.stdout.contains("there is none yet in postgres://"), "{}", found.stdout);

    place.run_at(&url, &["client", "add", "gate", "--capabilities", "follow", "--create"]).succeeded();
    sqlx::query("UPDATE adieu.component SET version = version - 1 WHERE name = 'accounts'")
        .execute(&mut database)
        .await
        .unwrap();
    const IN_SCHEMA: &str = "SELECT version FROM adieu.component WHERE name = 'accounts'";
    let before: i64 = sqlx::query_scalar(IN_SCHEMA).fetch_one(&mut database).await.unwrap();
    for arguments in READING {
        let refused = place.run_at(&url, arguments).failed();
        assert!(refused.contains("is of an older version"), "{refused}");
        let version: i64 = sqlx::query_scalar(IN_SCHEMA).fetch_one(&mut database).await.unwrap();
        assert_eq!(version, before, "{arguments:?}");
    }
}
