//! `pg_restore` restores a dump while a node runs, in one transaction or table by table.

use std::{path::Path, time::Duration};

use adieu::{
    Issuer, Node,
    revocation::RevokedBy,
    session::{Scope, SessionStore as _, TokenPair},
    time::{Clock as _, SystemClock},
    token::{Algorithm, KeyStore as _, SigningKey, TokenError, encode},
};
use adieu_postgres::Postgres;
use test_servers::{
    Postgres as Server,
    story::{self, log_in, log_in_times, try_log_in},
    until,
};

async fn start(server: &Server, mark: &Path) -> Node {
    story::start(Postgres::connect(&server.url()).await.unwrap(), Some(mark)).await
}

#[derive(Debug, Clone, Copy)]
enum How {
    OneTransaction,
    TableByTable,
    /// So slowly that the node has done all that it can do before the last tables are restored.
    Slowly,
}

async fn put_back(server: &Server, dump: &Path, node: &Node, how: How) {
    match how {
        How::OneTransaction => server.restore(dump, &["--clean", "--single-transaction"]).await,
        How::TableByTable => server.restore(dump, &["--clean"]).await,
        How::Slowly => {
            server.restore(dump, &["--clean", "--section=pre-data"]).await;
            let first = ["component", "member", "revocation", "revocation_log_state"];
            let options: Vec<&str> = first.iter().flat_map(|table| ["--table", table]).collect();
            server.restore(dump, &[&["--data-only"], options.as_slice()].concat()).await;
            until("it is noticed", async || node.restored_at().is_some()).await;
            server.restore(dump, &["--data-only", "--table", "session", "--table", "signing_key"]).await;
            server.restore(dump, &["--section=post-data"]).await;
        }
    }
}

/// Signs a token now, as a holder of the key could.
fn forged(key: &SigningKey, like: &TokenPair) -> String {
    let now = SystemClock.now();
    let claims = {
        let mut claims = like.claims.clone();
        claims.issued_at = Some(now);
        claims.not_before = Some(now);
        claims.expires_at = now.plus(Duration::from_secs(600));
        claims.session = None;
        claims
    };
    encode(key, &claims).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_key_and_no_session_comes_back_with_it() {
    for how in [How::OneTransaction, How::TableByTable, How::Slowly] {
        let folder = tempfile::tempdir().unwrap();
        let (mark, dump) = (folder.path().join("mark"), folder.path().join("dump"));
        let server = Server::start().await;
        let node = start(&server, &mark).await;
        let store = Postgres::connect(&server.url()).await.unwrap();
        let stolen = store.keys().await.unwrap().remove(0);
        let key = SigningKey::try_from(&stolen).unwrap();
        let mut tokens = log_in_times(&node, 20).await;
        let first = tokens.pop().unwrap();
        node.sessions().log_out(&first.access, Scope::This).await.unwrap();
        server.dump("adieu", &dump).await;
        assert!(node.verifier().verify(&forged(&key, &first)).is_ok(), "it is a good key");

        node.remove_key(&stolen.id).await.unwrap().unwrap();
        let left = log_in(&node).await;
        node.sessions().log_out(&left.access, Scope::This).await.unwrap();
        put_back(&server, &dump, &node, how).await;

        let is_over = async || {
            let keys = store.keys().await.unwrap_or_default();
            let sessions = store.sessions(None, 100).await.ok();
            node.restored_at().is_some()
                && !keys.is_empty()
                && keys.iter().all(|key| key.id != stolen.id)
                && sessions.is_some_and(|sessions| sessions.is_empty())
        };
        until("key and sessions are gone again", is_over).await;
        until("users can log in", async || {
            try_log_in(&node).await.is_ok_and(|new| node.verifier().verify(&new.access).is_ok())
        })
        .await;
        let later = start(&server, &mark).await;
        for node in [&node, &later] {
            assert!(
                node.signing_keys().iter().all(|key| key.key_id().is_none_or(|id| id.as_str() != stolen.id)),
                "{how:?}: it is published"
            );
            assert!(node.verifier().verify(&forged(&key, &first)).is_err(), "{how:?}: it is believed");
            for tokens in tokens.iter().chain([&first, &left]) {
                assert!(node.verifier().verify(&tokens.access).is_err());
                assert!(node.sessions().inspect(&tokens.refresh).is_err());
            }
        }
    }
}

/// An empty database at the same address, or one whose tables were emptied: the revocations are lost, so everything from before is
/// rejected.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_database_forgets_no_logout() {
    for statement in [
        "DROP SCHEMA adieu CASCADE",
        "TRUNCATE adieu.revocation, adieu.session",
        "TRUNCATE adieu.revocation, adieu.session; \
         UPDATE adieu.revocation_log_state SET log_id = 'another', pruned_through = 0, restored_at = NULL",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mark = folder.path().join("mark");
        let server = Server::start().await;
        let start = async |mark: Option<&Path>| {
            let key = SigningKey::from_secret(Algorithm::HS256, &[9; 32]).unwrap();
            let builder = Node::builder(Issuer::new("https://adieu.test").unwrap()).with_signing_key(key);
            let builder = match mark {
                Some(mark) => builder.with_high_water(mark),
                None => builder,
            };
            builder.start(Postgres::connect(&server.url()).await.unwrap()).await.unwrap()
        };
        let node = start(Some(&mark)).await;
        let left = log_in(&node).await;
        node.sessions().log_out(&left.access, Scope::This).await.unwrap();
        server.sql(statement).await;
        if statement.starts_with("DROP") {
            // A node creates its tables when it starts.
            drop(node);
        } else {
            until("it is noticed", async || node.restored_at().is_some()).await;
        }
        let (same, late) = (start(Some(&mark)).await, start(None).await);
        for node in [&same, &late] {
            let refusal = node.verifier().verify(&left.access).unwrap_err();
            assert_eq!(refusal, TokenError::Revoked(RevokedBy::Everything), "{statement}");
        }
        let new = log_in(&same).await;
        assert!(same.verifier().verify(&new.access).is_ok());
        assert!(same.accept_restore().await.unwrap().is_some());
    }
}
