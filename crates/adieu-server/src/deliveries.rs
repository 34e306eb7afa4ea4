//! Deliveries: sends webhooks about revocations to receivers outside.
//!
//! 1. **The log is the outbox.** A delivery reads the log after the position that is recorded in the store; there is no other queue. What was
//!    answered with success is in the log, and so is delivered, also after a kill -9.
//! 2. **At least once, in order.** The position advances once the receiver has answered 2xx. A message that may have been lost is sent again,
//!    with the same id. A revocation that lapses while its receiver fails is no longer sent: no token that it matches is valid.
//! 3. **Each on its own.** A slow or dead receiver delays no other receiver, and no request.
//! 4. **One node at a time** delivers to a receiver. If two do, because the clocks of the nodes differ by more than half a minute, receivers get
//!    messages twice.

mod destination;
mod message;
mod store;

use std::{sync::Arc, time::Duration};

use adieu::{
    Error,
    retry::Backoff,
    revocation::{Cursor, Page, Revocation, RevocationLog},
    time::{Clock, Timestamp},
};
use anyhow::{Context as _, bail};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
};
use reqwest::{
    Client, Response, Url,
    header::{CONTENT_TYPE, RETRY_AFTER},
};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep},
};
use uuid::Uuid;

pub use store::{Delivery, DeliveryStore, Holder, is_migrated, is_migrated_postgres, migrate, migrate_postgres};

use crate::config::{Settings, Webhook};
use message::Secrets;

/// For how long a node remains the holder of a receiver if it stops without a word.
const LEASE: Duration = Duration::from_secs(30);

/// How long a read of the log waits for news, and how long a wait for the next attempt is at once: well within [`LEASE`], which is
/// renewed before each.
const WAIT: Duration = Duration::from_secs(5);

/// The delays between attempts.
const MIN_DELAY: Duration = Duration::from_secs(1);
const MAX_DELAY: Duration = Duration::from_secs(60);

/// The longest delay that a receiver may ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(600);

/// The id under which the only node of a store holds its receivers, so that it continues at once after a crash.
const ONLY_NODE: &str = "only";

/// A receiver of the settings.
#[derive(Debug)]
pub struct Receiver {
    name: String,
    url: Url,
    types: Vec<String>,
    secrets: Secrets,
    client: Client,
}

impl Receiver {
    /// Prepares the receivers of the settings.
    ///
    /// # Errors
    /// If a URL, a type or a secret is not valid; the error is one line that names the receiver, without the URL.
    pub fn of(settings: &Settings) -> anyhow::Result<Vec<Self>> {
        let prepare = |webhook| Self::new(webhook).with_context(|| format!("webhook {:?}", webhook.name));
        settings.webhook.iter().map(prepare).collect()
    }

    fn new(webhook: &Webhook) -> anyhow::Result<Self> {
        if let Some(other) = webhook.types.iter().find(|name| !message::TYPES.contains(&name.as_str())) {
            bail!("{other:?} is not a type of message: {}", message::TYPES.join(", "));
        }
        Ok(Self {
            name: webhook.name.clone(),
            url: destination::parse(&webhook.url, webhook.allow_private)?,
            types: webhook.types.clone(),
            secrets: Secrets::read(&webhook.secret_file)?,
            client: destination::client(webhook.allow_private)?,
        })
    }

    /// Returns the type of the message that this receiver gets about a revocation, if it gets one.
    fn message_type(&self, revocation: &Revocation) -> Option<&'static str> {
        message::type_of(revocation)
            .filter(|name| self.types.is_empty() || self.types.iter().any(|wanted| wanted == name))
    }

    /// Sends a message once.
    async fn send(&self, id: &str, body: String, now: Timestamp) -> Result<(), Failure> {
        let request = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", now.as_unix())
            .header("webhook-signature", self.secrets.sign(id, now, &body))
            .body(body);
        // Nothing of the body of the answer is read.
        match request.send().await {
            Ok(answer) if answer.status().is_success() => Ok(()),
            Ok(answer) => Err(Failure::status(&answer)),
            Err(error) => {
                let why = format!("{:#}", anyhow::Error::new(error.without_url()));
                Err(Failure { why, retry_after: Duration::ZERO })
            }
        }
    }
}

/// The failure of one attempt.
#[derive(Debug)]
struct Failure {
    why: String,
    /// How long the receiver asks to be left alone.
    retry_after: Duration,
}

impl Failure {
    fn status(answer: &Response) -> Self {
        let seconds = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let retry_after = Duration::from_secs(seconds.unwrap_or(0)).min(MAX_RETRY_AFTER);
        Self { why: format!("status {}", answer.status().as_u16()), retry_after }
    }
}

/// The deliveries of a node. They end when it is dropped.
pub struct Deliveries {
    tasks: JoinSet<()>,
    holder: String,
    store: Arc<dyn DeliveryStore>,
}

/// The attempts to deliver, counted by receiver and outcome. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Attempts(pub(crate) Family<Labels, Counter>);

/// The receiver is one of the settings.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Labels {
    receiver: String,
    outcome: &'static str,
}

impl Attempts {
    fn count(&self, receiver: &str, is_success: bool) {
        let outcome = if is_success { "delivered" } else { "failed" };
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
}

impl Deliveries {
    /// Starts deliveries to these receivers. A new receiver gets revocations from now on.
    #[must_use]
    pub fn start(receivers: Vec<Receiver>, source: &Source) -> Self {
        let id = if source.is_shared { Uuid::new_v4().to_string() } else { ONLY_NODE.to_owned() };
        let mut tasks = JoinSet::new();
        for receiver in receivers {
            let task = Task {
                receiver,
                holder: id.clone(),
                store: Arc::clone(&source.store),
                log: Arc::clone(&source.log),
                clock: Arc::clone(&source.clock),
                attempts: source.attempts.clone(),
            };
            let mut applied = source.applied.clone();
            tasks.spawn(async move {
                // A node has applied the log before it starts to serve.
                if let Ok(Some(start)) = applied.wait_for(Option::is_some).await.map(|cursor| cursor.clone()) {
                    task.run(start).await;
                }
            });
        }
        Self { tasks, holder: id, store: Arc::clone(&source.store) }
    }

    /// Ends the deliveries, so that another node takes over at once. An attempt that is under way may be repeated there.
    pub async fn end(mut self) {
        if self.tasks.is_empty() {
            return;
        }
        self.tasks.shutdown().await;
        if let Err(error) = self.store.release(&self.holder).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "another node takes over the deliveries only after {LEASE:?}"
            );
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
}

impl Task {
    async fn run(self, start: Cursor) {
        let mut backoff = Backoff::new(MIN_DELAY, MAX_DELAY);
        let outage = adieu::retry::Outage::default();
        loop {
            let turn = self.turn(&start, &mut backoff).await;
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
    async fn turn(&self, start: &Cursor, backoff: &mut Backoff) -> Result<(), Error> {
        let name = &self.receiver.name;
        let claim = self.store.claim(name, &self.held_for(LEASE), self.clock.now(), start).await?;
        let Some(mut delivery) = claim else {
            sleep(WAIT).await;
            return Ok(());
        };
        let page = self.log.read(delivery.cursor.as_ref(), WAIT).await?;
        for (id, message_type, revocation) in self.messages(&page, delivery.delivered.as_deref()) {
            let now = self.clock.now();
            let sent = self.receiver.send(&id, message::body(message_type, revocation, now), now).await;
            self.attempts.count(name, sent.is_ok());
            match sent {
                Ok(()) => {
                    if delivery.failures > 0 {
                        tracing::info!(
                            receiver = name,
                            attempts = delivery.failures + 1,
                            "the receiver accepts messages again"
                        );
                    }
                    backoff.reset();
                    delivery = Delivery {
                        delivered: Some(id),
                        delivered_at: Some(now),
                        failures: 0,
                        failing_since: None,
                        error: None,
                        ..delivery
                    };
                    if !self.store.record(&delivery, &self.held_for(LEASE)).await? {
                        return Ok(());
                    }
                }
                Err(Failure { why, retry_after }) => {
                    if delivery.failures == 0 {
                        tracing::warn!(
                            receiver = name,
                            error = why,
                            "a message was not delivered; it will be sent again"
                        );
                    }
                    let delay = backoff.next_delay().max(retry_after);
                    delivery.failures = delivery.failures.saturating_add(1);
                    delivery.failing_since.get_or_insert(now);
                    delivery.error = Some(why);
                    return self.wait(delivery, delay).await;
                }
            }
        }
        if delivery.cursor.as_ref() != Some(&page.cursor) {
            delivery.cursor = Some(page.cursor);
            delivery.delivered = None;
            self.store.record(&delivery, &self.held_for(LEASE)).await?;
        }
        Ok(())
    }

    /// Records a failure, and waits before the next attempt: no longer than until the receiver is this node's no more, or is sent
    /// everything again.
    async fn wait(&self, delivery: Delivery, delay: Duration) -> Result<(), Error> {
        let next = Instant::now() + delay;
        while self.store.record(&delivery, &self.held_for(LEASE)).await? {
            let rest = next.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                break;
            }
            sleep(rest.min(WAIT)).await;
        }
        Ok(())
    }

    /// Returns the messages of a page, without those up to the one that was delivered before.
    fn messages<'p>(
        &'p self,
        page: &'p Page,
        delivered: Option<&str>,
    ) -> impl Iterator<Item = (String, &'static str, &'p Revocation)> + use<'p> {
        let log = &page.cursor.log;
        let ids = page.entries.iter().map(move |revocation| message::id(log, revocation));
        let done =
            delivered.and_then(|delivered| ids.clone().position(|id| id == delivered)).map_or(0, |last| last + 1);
        let all = ids.zip(&page.entries).skip(done);
        all.filter_map(|(id, revocation)| Some((id, self.receiver.message_type(revocation)?, revocation)))
    }

    fn held_for(&self, duration: Duration) -> Holder {
        Holder { id: self.holder.clone(), until: self.clock.now().plus(duration) }
    }
}
