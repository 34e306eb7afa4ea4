//! Runs the suite that every engine passes on the log that a service follows: a node in its own process, its HTTP API and its file, and
//! followers with their own connections.

use std::sync::LazyLock;

use adieu::time::{Clock as _, SystemClock, Timestamp};
use adieu_client::Remote;
use adieu_conformance::{LogOwnership, Storage, suite};
use test_servers::adieu::{Adieu, Credentials};
use tokio::sync::Mutex;

use crate::adieu;

suite!(remote: Node, log);

/// A running node, and a client that may do everything.
struct Node {
    server: Mutex<Adieu>,
    client: Credentials,
}

impl Storage for Node {
    type Store = Remote;

    /// The node prunes on its own schedule, and accepts revocations of single tokens unchanged; see [`Remote::append`] for the rest.
    ///
    /// [`Remote::append`]: adieu::revocation::RevocationLog::append
    const LOG: LogOwnership = LogOwnership::Remote;

    /// The current time, because the node prunes by its own clock.
    fn noon() -> Timestamp {
        static STARTED: LazyLock<Timestamp> = LazyLock::new(|| SystemClock.now());
        *STARTED
    }

    async fn empty() -> Self {
        let (server, [client]) = adieu().start_with_clients(["suite"]).await;
        Self { server: Mutex::new(server), client }
    }

    async fn open(&self) -> Remote {
        let url = self.server.lock().await.url("");
        Remote::builder(url, &self.client.name, self.client.secret.as_str().into()).build().unwrap()
    }

    async fn crash(&self) {
        self.server.lock().await.start_again(|_| ()).await;
    }
}
