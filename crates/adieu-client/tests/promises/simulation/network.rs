//! The network between two processes: delay, loss, duplication, reordering, partition, and a paused process.

use std::{
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use adieu::Error;
use adieu_client::transport::Transport;
use async_trait::async_trait;
use http::{Request, Response};
use tokio::{sync::oneshot, task::JoinSet};

use super::{Dice, Signal, node::Node};

/// A process that can be paused, while its clock continues.
#[derive(Debug, Clone)]
pub(crate) struct Process(Signal<bool>);

impl Process {
    pub(crate) fn new() -> Self {
        Self(Signal::new(true))
    }

    pub(crate) fn set_running(&self, running: bool) {
        self.0.set(running);
    }

    pub(crate) fn is_running(&self) -> bool {
        self.0.get()
    }

    /// Returns when the process is running.
    pub(crate) async fn run(&self) {
        self.0.until(|running| running).await;
    }
}

/// The faults of the network.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Weather {
    /// Nothing gets through.
    pub(crate) cut: bool,
    /// One message in this many is lost; `0` disables loss.
    pub(crate) loses: u32,
    /// Maximum delay of most messages, in milliseconds.
    pub(crate) delay: u64,
    /// Maximum delay of one message in eight, in milliseconds.
    pub(crate) long_delay: u64,
}

impl Weather {
    pub(crate) const FAIR: Self = Self { cut: false, loses: 0, delay: 5, long_delay: 5 };
}

/// The connection from one process to a node, and back.
#[derive(Clone)]
pub(crate) struct Link {
    pub(crate) from: Process,
    pub(crate) to: Arc<dyn Node>,
    pub(crate) weather: Arc<Mutex<Weather>>,
    pub(crate) dice: Dice,
    pub(crate) messages: Messages,
}

/// Messages in flight.
pub(crate) type Messages = Arc<Mutex<JoinSet<()>>>;

impl fmt::Debug for Link {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Link").finish_non_exhaustive()
    }
}

impl Link {
    fn weather(&self) -> Weather {
        *self.weather.lock().unwrap()
    }

    /// Delivers one message to the other side, at some time or never.
    async fn carry(&self) -> Result<(), Lost> {
        let weather = self.weather();
        if weather.cut || weather.loses > 0 && self.dice.once_in(weather.loses) {
            return Err(Lost);
        }
        let most = if self.dice.once_in(8) { weather.long_delay } else { weather.delay };
        tokio::time::sleep(self.dice.milliseconds(0..most.max(1))).await;
        // A partition drops messages in flight.
        if self.weather().cut { Err(Lost) } else { Ok(()) }
    }
}

#[derive(Debug)]
struct Lost;

#[async_trait]
impl Transport for Link {
    async fn send(&self, request: Request<Vec<u8>>, _: usize) -> Result<Response<Vec<u8>>, Error> {
        // The process may be paused between reading the clock and sending.
        self.from.run().await;
        // A network that duplicates: the node answers twice, and the first response counts.
        let copies = if self.dice.once_in(10) { 2 } else { 1 };
        let (first, answer) = oneshot::channel();
        let first = Arc::new(Mutex::new(Some(first)));
        for _ in 0..copies {
            let (link, request, first) = (self.clone(), request.clone(), Arc::clone(&first));
            // A sent message is delivered even if the caller no longer waits for the response.
            self.messages.lock().unwrap().spawn(async move {
                if link.carry().await.is_ok()
                    && let Some(response) = link.to.answer(request).await
                    && link.carry().await.is_ok()
                    && let Some(first) = first.lock().unwrap().take()
                {
                    let _ = first.send(response);
                }
            });
        }
        drop(first);
        let answer = match answer.await {
            Ok(answer) => Ok(answer),
            // The caller may or may not notice that a connection broke.
            Err(_) if self.dice.once_in(2) => Err(Error::unavailable("the connection broke")),
            Err(_) => std::future::pending().await,
        };
        // The process may be paused between receiving the response and applying it.
        self.from.run().await;
        if self.dice.once_in(6) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        answer
    }
}
