//! Deliveries: sends webhooks about revocations to receivers outside, and logout tokens to relying parties.
//!
//! 1. **The log is the outbox.** A delivery reads the log after the position that is recorded in the store; there is no other queue. What was
//!    answered with success is in the log, and so is delivered, also after a kill -9.
//! 2. **At least once, in order.** The position advances once the receiver has accepted the message. A message that may have been lost is sent again,
//!    with the same id. A revocation that lapses while its receiver fails is no longer sent: no token that it matches is valid. A logout
//!    token that its receiver refuses again and again is passed over, and so is a message that an operator skips.
//! 3. **Each on its own.** A slow or dead receiver delays no other receiver, and no request.
//! 4. **One node at a time** delivers to a receiver. If two do, because the clocks of the nodes differ by more than half a minute, receivers get
//!    messages twice.

mod administration;
pub(crate) mod destination;
mod message;
mod receiver;
mod store;

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};

use adieu::{
    Error,
    retry::Backoff,
    revocation::{Cursor, Page, Revocation, RevocationLog},
    session::Sessions,
    time::Clock,
};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
};
use tokio::{
    sync::{mpsc, watch},
    task::{AbortHandle, JoinHandle, JoinSet},
    time::{Instant, sleep, timeout},
};
use uuid::Uuid;

pub(crate) use administration::{DeliveryState, Skipped, replay, skip};
pub use receiver::{Receiver, check_backchannel_logout, name_of_client};
pub use store::{Delivery, DeliveryStore, Holder, is_migrated, is_migrated_postgres, migrate, migrate_postgres};

use crate::{
    clients::{BackchannelLogout, ClientName, Clients, MAX_AGE},
    traces::Traces,
};
use receiver::Failure;

/// For how long a node remains the holder of a receiver if it stops without a word.
const LEASE: Duration = Duration::from_secs(30);

/// How long a read of the log waits for news, and how long a wait for the next attempt is at once: well within [`LEASE`], which is
/// renewed before each.
const WAIT: Duration = Duration::from_secs(5);

/// The delays between attempts.
const MIN_DELAY: Duration = Duration::from_secs(1);
const MAX_DELAY: Duration = Duration::from_secs(60);

/// How many attempts in a row a receiver must refuse a message before it is passed over.
const MAX_REFUSALS: u32 = 6;

/// The id under which the only node of a store holds its receivers, so that it continues at once after a crash.
const ONLY_NODE: &str = "only";

/// The deliveries of a node. They end soon after it is dropped.
pub struct Deliveries {
    running: JoinHandle<()>,
    /// Closed for the deliveries to end.
    replacing: mpsc::UnboundedSender<Replacement>,
    applied: watch::Receiver<Option<Cursor>>,
}

/// The receivers of the settings, and the end of the log, as far as it is known.
struct Replacement {
    receivers: Vec<Receiver>,
    start: Option<Cursor>,
}

/// Replaces the receivers of running deliveries, and does not keep them running.
#[derive(Debug, Clone)]
pub struct Receivers {
    replacing: mpsc::WeakUnboundedSender<Replacement>,
    applied: watch::Receiver<Option<Cursor>>,
}

impl Receivers {
    /// Delivers to these receivers from now on, besides the relying parties. One that stays continues where it was; an attempt that is under
    /// way may be repeated. A new one gets revocations from now on.
    pub fn replace(&self, receivers: Vec<Receiver>) {
        let start = self.applied.borrow().clone();
        if let Some(replacing) = self.replacing.upgrade() {
            // Fails only while the deliveries end.
            let _ended = replacing.send(Replacement { receivers, start });
        }
    }
}

/// The attempts to deliver, counted by receiver and outcome. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Attempts(pub(crate) Family<Labels, Counter>);

/// The receiver is one of the settings, or a client that was added.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Labels {
    receiver: String,
    outcome: &'static str,
}

impl Attempts {
    fn count(&self, receiver: &str, outcome: &'static str) {
        self.0.get_or_create(&Labels { receiver: receiver.to_owned(), outcome }).inc();
    }
}

/// The parts of a node that deliveries need.
pub struct Source {
    /// The log to read.
    pub log: Arc<dyn RevocationLog>,
    /// How far the node has applied the log.
    pub applied: watch::Receiver<Option<Cursor>>,
    /// Where the progress is recorded.
    pub store: Arc<dyn DeliveryStore>,
    /// Whether other nodes may use the store.
    pub is_shared: bool,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Counts the attempts.
    pub attempts: Attempts,
    /// The spans of the attempts.
    pub(crate) traces: Traces,
    /// The clients, of which those with a [`backchannel_logout`](crate::clients::Client::backchannel_logout) are receivers.
    pub clients: Clients,
    /// The sessions whose keys sign logout tokens.
    pub sessions: Arc<Sessions>,
}

impl Deliveries {
    /// Starts deliveries to these receivers, and to the clients of the node that are relying parties: those that are added later too, within
    /// [`MAX_AGE`] of the moment when the node knows them. A new receiver gets revocations from now on.
    #[must_use]
    pub fn start(receivers: Vec<Receiver>, source: Source) -> Self {
        let (replacing, replaced) = mpsc::unbounded_channel();
        let applied = source.applied.clone();
        let id = if source.is_shared { Uuid::new_v4().to_string() } else { ONLY_NODE.to_owned() };
        let this = Self { running: tokio::spawn(run(source, id, replaced)), replacing, applied };
        this.receivers().replace(receivers);
        this
    }

    /// Returns what replaces the receivers of the settings.
    #[must_use]
    pub fn receivers(&self) -> Receivers {
        Receivers { replacing: self.replacing.downgrade(), applied: self.applied.clone() }
    }

    /// Ends the deliveries, so that another node takes over at once. An attempt that is under way may be repeated there.
    pub async fn end(self) {
        let Self { running, replacing, .. } = self;
        drop(replacing);
        if let Err(error) = running.await {
            tracing::error!(error = &error as &dyn std::error::Error, "the deliveries have failed");
        }
    }
}

/// Runs the deliveries until the channel is closed.
async fn run(source: Source, holder: String, mut replaced: mpsc::UnboundedReceiver<Replacement>) {
    let (mut webhooks, mut tasks) = (JoinSet::new(), JoinSet::new());
    let mut parties = BTreeMap::new();
    loop {
        source.follow_clients(&mut parties, &mut tasks, &holder);
        match timeout(MAX_AGE, replaced.recv()).await {
            Ok(Some(Replacement { receivers, start })) => {
                // One task for a receiver at a time: messages are in order.
                webhooks.shutdown().await;
                for receiver in receivers {
                    webhooks.spawn(source.deliver_to(receiver, start.clone(), &holder));
                }
            }
            Ok(None) => break,
            Err(_elapsed) => {}
        }
        while tasks.try_join_next().is_some() {}
    }
    if webhooks.is_empty() && tasks.is_empty() {
        return;
    }
    webhooks.shutdown().await;
    tasks.shutdown().await;
    if let Err(error) = source.store.release(&holder).await {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "another node takes over the deliveries only after {LEASE:?}"
        );
    }
}

/// The relying parties that have a task. One whose URL is not valid has none, so that it is reported once.
type Parties = BTreeMap<ClientName, (BackchannelLogout, Option<AbortHandle>)>;

impl Source {
    /// Ends the tasks of relying parties that were removed or changed, and starts those of new ones.
    fn follow_clients(&self, parties: &mut Parties, tasks: &mut JoinSet<()>, holder: &str) {
        let known = self.clients.known();
        parties.retain(|name, (at, task)| {
            let is_there =
                known.iter().any(|client| client.name == *name && client.backchannel_logout.as_ref() == Some(at));
            if let Some(task) = task.as_ref().filter(|_| !is_there) {
                task.abort();
            }
            is_there
        });
        for client in known {
            let Some(to) = client.backchannel_logout.as_ref().filter(|_| !parties.contains_key(&client.name)) else {
                continue;
            };
            let task = match Receiver::relying_party(&client, &self.sessions) {
                Ok(receiver) => receiver.map(|receiver| tasks.spawn(self.deliver_to(receiver, None, holder))),
                Err(error) => {
                    tracing::error!(client = %client.name, error = format!("{error:#}"), "the client gets no logout tokens");
                    None
                }
            };
            parties.insert(client.name.clone(), (to.clone(), task));
        }
    }

    /// Returns the task that delivers to a receiver: to a new one from `start` on, by default from the position that the node has applied
    /// when the task begins.
    fn deliver_to(
        &self,
        receiver: Receiver,
        start: Option<Cursor>,
        holder: &str,
    ) -> impl Future<Output = ()> + Send + use<> {
        let task = Task {
            receiver,
            holder: holder.to_owned(),
            store: Arc::clone(&self.store),
            log: Arc::clone(&self.log),
            clock: Arc::clone(&self.clock),
            attempts: self.attempts.clone(),
            traces: self.traces.clone(),
        };
        let mut applied = self.applied.clone();
        async move {
            // A node has applied the log before it starts to serve.
            let start = match start {
                Some(start) => Some(start),
                None => applied.wait_for(Option::is_some).await.ok().and_then(|cursor| cursor.clone()),
            };
            if let Some(start) = start {
                task.run(start).await;
            }
        }
    }
}

/// The deliveries to one receiver.
struct Task {
    receiver: Receiver,
    holder: String,
    store: Arc<dyn DeliveryStore>,
    log: Arc<dyn RevocationLog>,
    clock: Arc<dyn Clock>,
    attempts: Attempts,
    traces: Traces,
}

/// The attempts at the next message of a receiver.
struct Attempt {
    backoff: Backoff,
    /// The message that the receiver refuses, and how often in a row.
    refused: Option<(String, u32)>,
}

impl Attempt {
    /// Returns whether the message has been refused for the last time.
    fn is_refused(&mut self, id: &str, failure: &Failure) -> bool {
        let before = self.refused.take().filter(|(refused, _)| refused == id).map_or(0, |(_, times)| times);
        if !failure.is_refusal {
            return false;
        }
        self.refused = Some((id.to_owned(), before + 1));
        before + 1 >= MAX_REFUSALS
    }
}

impl Task {
    async fn run(self, start: Cursor) {
        let mut attempt = Attempt { backoff: Backoff::new(MIN_DELAY, MAX_DELAY), refused: None };
        let outage = adieu::retry::Outage::default();
        loop {
            let turn = self.turn(&start, &mut attempt).await;
            if let Some(error) = outage.begins_with(&turn) {
                let error = error as &dyn std::error::Error;
                tracing::warn!(
                    receiver = self.receiver.name,
                    error,
                    "the progress of deliveries can't be read or recorded"
                );
            }
            if turn.is_err() {
                sleep(MIN_DELAY).await;
            }
        }
    }

    /// Delivers one page of the log, up to the first failure.
    async fn turn(&self, start: &Cursor, attempt: &mut Attempt) -> Result<(), Error> {
        let name = &self.receiver.name;
        let claim = self.store.claim(name, &self.held_for(LEASE), self.clock.now(), start).await?;
        let Some(mut delivery) = claim else {
            sleep(WAIT).await;
            return Ok(());
        };
        let page = self.log.read(delivery.cursor.as_ref(), WAIT).await?;
        for (id, revocation) in self.messages(&page, delivery.delivered.as_deref()) {
            let now = self.clock.now();
            let sent = self.receiver.send(&id, revocation, now, &self.traces).await;
            self.attempts.count(name, if sent.is_ok() { "delivered" } else { "failed" });
            match sent {
                Ok(()) => {
                    if delivery.failures > 0 {
                        tracing::info!(
                            receiver = name,
                            attempts = delivery.failures + 1,
                            "the receiver accepts messages again"
                        );
                    }
                    attempt.backoff.reset();
                    delivery = Delivery { delivered_at: Some(now), ..delivery.after(id, None) };
                    if !self.store.record(&delivery, &self.held_for(LEASE)).await? {
                        return Ok(());
                    }
                }
                Err(failure) if attempt.is_refused(&id, &failure) => {
                    tracing::error!(
                        receiver = name,
                        error = failure.why,
                        "a message was refused; it will not be sent again"
                    );
                    self.attempts.count(name, "refused");
                    attempt.backoff.reset();
                    delivery = delivery.after(id, Some(format!("{}, refused", failure.why)));
                    if !self.store.record(&delivery, &self.held_for(LEASE)).await? {
                        return Ok(());
                    }
                }
                Err(Failure { why, retry_after, .. }) => {
                    if delivery.failures == 0 {
                        tracing::warn!(
                            receiver = name,
                            error = why,
                            "a message was not delivered; it will be sent again"
                        );
                    }
                    let delay = attempt.backoff.next_delay().max(retry_after);
                    delivery.failures = delivery.failures.saturating_add(1);
                    delivery.failing_since.get_or_insert(now);
                    delivery.error = Some(why);
                    delivery.message_id = Some(id);
                    if !self.wait(delivery, delay).await? {
                        attempt.backoff.reset();
                    }
                    return Ok(());
                }
            }
        }
        if delivery.cursor.as_ref() != Some(&page.cursor) {
            // If a message fails that is not in the page any more, it has lapsed.
            delivery = Delivery { cursor: Some(page.cursor), delivered: None, ..delivery.unblocked() };
            self.store.record(&delivery, &self.held_for(LEASE)).await?;
        }
        Ok(())
    }

    /// Records a failure, and waits before the next attempt: no longer than until the receiver is this node's no more, or is sent
    /// everything again, or is to skip the message.
    async fn wait(&self, mut delivery: Delivery, delay: Duration) -> Result<bool, Error> {
        let next = Instant::now() + delay;
        delivery.next_attempt_at = Some(self.clock.now().plus(delay));
        while self.store.record(&delivery, &self.held_for(LEASE)).await? {
            let rest = next.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                return Ok(true);
            }
            sleep(rest.min(WAIT)).await;
        }
        Ok(false)
    }

    /// Returns the messages of a page, each once, without those up to the one that was delivered or skipped before.
    fn messages<'p>(
        &'p self,
        page: &'p Page,
        delivered: Option<&str>,
    ) -> impl Iterator<Item = (String, &'p Revocation)> + use<'p> {
        let log = &page.cursor.log;
        let mut seen = HashSet::new();
        let all = page.entries.iter().map(|revocation| (message::id(log, revocation), revocation));
        let each: Vec<_> = all.filter(|(id, _)| seen.insert(id.clone())).collect();
        let last = delivered.and_then(|delivered| each.iter().position(|(id, _)| id == delivered));
        each.into_iter().skip(last.map_or(0, |last| last + 1)).filter(|(_, revocation)| self.receiver.wants(revocation))
    }

    fn held_for(&self, duration: Duration) -> Holder {
        Holder { id: self.holder.clone(), until: self.clock.now().plus(duration) }
    }
}
