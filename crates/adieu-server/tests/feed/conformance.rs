//! The log of a node as a service has it, with the suite that every engine passes: a node in a process of its own, its HTTP
//! and its file, and each follower with connections of its own.

use std::sync::LazyLock;

use adieu::time::{Clock as _, SystemClock, Timestamp};
use adieu_client::Remote;
use adieu_conformance::{LogOwnership, Place, suite};
use tokio::sync::Mutex;

use super::processes::{Credentials, Server};

suite!(remote: Node, log);

/// A running node, and a client that may do everything.
struct Node {
    server: Mutex<Server>,
    client: Credentials,
}

impl Place for Node {
    type Store = Remote;

    /// The node prunes when it is time, and takes revocations of single tokens as they are; see [`Remote::append`] for the rest.
    ///
    /// [`Remote::append`]: adieu::revocation::RevocationLog::append
    const LOG: LogOwnership = LogOwnership::Remote;

    /// The node has a clock, and forgets by it.
    fn noon() -> Timestamp {
        static STARTED: LazyLock<Timestamp> = LazyLock::new(|| SystemClock.now());
        *STARTED
    }

    async fn empty() -> Self {
        let (server, mut clients) = Server::node(&["suite"]).await;
        Self { server: Mutex::new(server), client: clients.remove(0) }
    }

    async fn open(&self) -> Remote {
        let url = self.server.lock().await.url("");
        Remote::builder(url, self.client.name(), self.client.secret()).build().unwrap()
    }

    async fn crash(&self) {
        self.server.lock().await.start_again(|_| ()).await;
    }
}
