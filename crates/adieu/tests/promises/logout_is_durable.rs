//! A logout that was acknowledged is on stable storage.
//!
//! The tests of the server show that it also survives `kill -9`, and that a store that can't write never acknowledges: they end real
//! processes and fill real disks.

use adieu::{revocation::RevokedBy, session::Scope, token::TokenError};
use adieu_sqlite::Sqlite;

use crate::support::{Node, Setup, jose};

#[tokio::test]
async fn a_restarted_node_still_refuses() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("adieu.sqlite");

    let (kept, ended) = {
        let node = Node::on_file(&file, Setup::default()).await;
        let (kept, ended) = (node.log_in(jose()).await, node.log_in(jose()).await);
        node.sessions.log_out(&ended.access, Scope::This).await.unwrap();
        (kept, ended)
    };

    let node = Node::on_file(&file, Setup::default()).await;
    assert_eq!(node.refusal(&ended.access), Some(TokenError::Revoked(RevokedBy::Session)));
    assert!(node.refresh(&ended.refresh).await.is_err());
    assert_eq!(node.refusal(&kept.access), None);
    assert!(node.refresh(&kept.refresh).await.is_ok());
}

#[tokio::test]
async fn a_commit_is_synced_to_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let store = Sqlite::open(folder.path().join("adieu.sqlite")).await.unwrap();
    let pragma = |name: &'static str| {
        store
            .transact(move |connection| connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i64>(0)))
    };
    // 2 is FULL: with a write-ahead log, every commit is followed by a sync.
    assert_eq!(pragma("synchronous").await.unwrap(), 2);
    // Commits do not checkpoint: the writer does, after it has checked the log.
    assert_eq!(pragma("wal_autocheckpoint").await.unwrap(), 0);
}

#[tokio::test]
async fn the_write_ahead_log_does_not_grow_without_bound() {
    const MIB: u64 = 1 << 20;
    let folder = tempfile::tempdir().unwrap();
    let store = Sqlite::open(folder.path().join("adieu.sqlite")).await.unwrap();
    store.transact(|connection| connection.execute_batch("CREATE TABLE filler (content BLOB)")).await.unwrap();
    let length = || std::fs::metadata(folder.path().join("adieu.sqlite-wal")).unwrap().len();
    for _ in 0..48 {
        const FILL: &str = "INSERT INTO filler VALUES (zeroblob(1024 * 1024))";
        store.transact(|connection| connection.execute_batch(FILL)).await.unwrap();
        assert!(length() < 24 * MIB, "{}", length());
    }
}
