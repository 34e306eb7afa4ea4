//! A proxy between a service and a node: it can be cut and delayed.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

/// A proxy whose connections lead to a server. While it is cut, nothing gets through, and neither side notices.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    way: Way,
    #[expect(dead_code, reason = "works for as long as this is there")]
    tasks: JoinSet<()>,
}

#[derive(Clone)]
struct Way {
    open: watch::Sender<bool>,
    delay: Arc<Mutex<Duration>>,
    to: Arc<str>,
}

impl Proxy {
    pub(crate) async fn start(to: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let way = Way { open: watch::Sender::new(true), delay: Arc::default(), to: to.into() };
        let accepting = way.clone();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                let way = accepting.clone();
                connections.spawn(async move {
                    let Ok(far) = TcpStream::connect(&*way.to).await else { return };
                    let (from_near, to_near) = near.into_split();
                    let (from_far, to_far) = far.into_split();
                    tokio::select! {
                        () = way.carry(from_near, to_far) => {}
                        () = way.carry(from_far, to_near) => {}
                    }
                });
            }
        });
        Self { address, way, tasks }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Lets nothing through from now on.
    pub(crate) fn cut(&self) {
        self.way.open.send_replace(false);
    }

    /// Delivers the data that was held back.
    pub(crate) fn heal(&self) {
        self.way.open.send_replace(true);
    }

    pub(crate) fn delay(&self, delay: Duration) {
        *self.way.delay.lock().unwrap() = delay;
    }
}

impl Way {
    async fn carry(&self, mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) {
        let mut buffer = vec![0; 16 << 10];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            let delay = *self.delay.lock().unwrap();
            tokio::time::sleep(delay).await;
            let _ = self.open.subscribe().wait_for(|open| *open).await;
            if to.write_all(&buffer[..length]).await.is_err() {
                break;
            }
        }
    }
}
