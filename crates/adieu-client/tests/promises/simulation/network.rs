//! What is between two processes: delay, loss, repetition, reordering, partition, and a process that does not run.

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

/// A process that can be stopped, its clock going on.
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

    /// Returns when it runs.
    pub(crate) async fn run(&self) {
        self.0.until(|running| running).await;
    }
}

/// How bad the network is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Weather {
    /// Nothing gets through.
    pub(crate) cut: bool,
    /// One message in so many is lost; zero for none.
    pub(crate) loses: u32,
    /// Most messages take so long at most, in milliseconds.
    pub(crate) delay: u64,
    /// One in eight takes up to so long.
    pub(crate) long_delay: u64,
}

impl Weather {
    pub(crate) const FAIR: Self = Self { cut: false, loses: 0, delay: 5, long_delay: 5 };
}

/// The way from one process to a node, and back.
#[derive(Clone)]
pub(crate) struct Link {
    pub(crate) from: Process,
    pub(crate) to: Arc<dyn Node>,
    pub(crate) weather: Arc<Mutex<Weather>>,
    pub(crate) dice: Dice,
    pub(crate) messages: Messages,
}

/// What is on its way.
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

    /// Takes one message to the other side, at some time or never.
    async fn carry(&self) -> Result<(), Lost> {
        let weather = self.weather();
        if weather.cut || weather.loses > 0 && self.dice.once_in(weather.loses) {
            return Err(Lost);
        }
        let most = if self.dice.once_in(8) { weather.long_delay } else { weather.delay };
        tokio::time::sleep(self.dice.milliseconds(0..most.max(1))).await;
        // A partition takes what is on its way.
        if self.weather().cut { Err(Lost) } else { Ok(()) }
    }
}

#[derive(Debug)]
struct Lost;

#[async_trait]
impl Transport for Link {
    async fn send(&self, request: Request<Vec<u8>>, _: usize) -> Result<Response<Vec<u8>>, Error> {
        // Stopped between looking at the clock and sending.
        self.from.run().await;
        // A network that repeats: the node answers twice, and whichever comes first counts.
        let copies = if self.dice.once_in(10) { 2 } else { 1 };
        let (first, answer) = oneshot::channel();
        let first = Arc::new(Mutex::new(Some(first)));
        for _ in 0..copies {
            let (link, request, first) = (self.clone(), request.clone(), Arc::clone(&first));
            // What has been sent goes its way, also when nobody waits for the answer any more.
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
            // Somebody may notice that a connection broke, or nobody.
            Err(_) if self.dice.once_in(2) => Err(Error::unavailable("the connection broke")),
            Err(_) => std::future::pending().await,
        };
        // Stopped between the answer and taking it in.
        self.from.run().await;
        if self.dice.once_in(6) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        answer
    }
}
