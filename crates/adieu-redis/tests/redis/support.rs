//! Servers for the tests, and helpers.

use std::{future::ready, time::Duration};

use adieu::{
    TokenId,
    revocation::{Cursor, RevocationLog},
    session::{Rotation, Session},
};
use adieu_conformance::{
    Identity, Storage,
    sample::{after, issuer},
};
use adieu_redis::Redis;
use test_servers::Redis as Server;
use tokio::sync::Mutex;

/// A separate server, since the suite makes it crash.
pub(crate) struct OnServer(Mutex<Server>);

impl Storage for OnServer {
    type Store = Redis;

    const IDENTITY: Identity = Identity::Changes;

    async fn empty() -> Self {
        Self(Mutex::new(Server::start().await))
    }

    async fn open(&self) -> Redis {
        Redis::connect(&self.0.lock().await.url()).await.unwrap()
    }

    async fn crash(&self) {
        let mut server = self.0.lock().await;
        server.kill();
        server.start_again().await;
    }
}

/// Returns a server, and a store on it.
pub(crate) async fn with_server() -> (Server, Redis) {
    let server = Server::start().await;
    let store = Redis::connect(&server.url()).await.unwrap();
    (server, store)
}

/// Returns a store on the shared server, for tests that do not harm it.
pub(crate) async fn shared() -> Redis {
    Redis::connect(&test_servers::redis_database().await).await.unwrap()
}

/// Returns the cursor at the end of the log.
pub(crate) async fn cursor(log: &Redis) -> Cursor {
    log.read(None, Duration::ZERO).await.unwrap().cursor
}

/// Polls a future once, and leaves it pending.
pub(crate) async fn poll_once<F: Future + Unpin>(future: &mut F) {
    tokio::select! { biased; _ = future => {}, () = ready(()) => {} }
}

/// Checks that a replica has the data of its primary.
pub(crate) async fn replicated(replica: &Server) -> Result<(), String> {
    let info = replica.command(&["INFO", "replication"]).await;
    if info.contains("master_link_status:up") { Ok(()) } else { Err(info) }
}

/// Returns a rotation of a session's current refresh token; times are seconds after noon.
pub(crate) fn rotation(session: &Session, access_expires_at: u64) -> Rotation {
    Rotation {
        issuer: issuer(),
        subject: session.subject.clone(),
        session: session.id.clone(),
        presented: session.refresh_id.clone().into(),
        successor: TokenId::random(),
        now: after(10),
        forgiven_since: None,
        access_expires_at: after(access_expires_at),
        refresh_expires_at: after(86_000),
    }
}
