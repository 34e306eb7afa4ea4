//! Events of other issuers: a logout there ends sessions here.
//!
//! [`adieu_events`] verifies a message and says what it revokes; this module bounds what messages can cost, and makes the revocations durable.
//!
//! 1. **Quotas.** An address and an issuer may send so many messages; more are rejected before they are read.
//! 2. **One signature at a time.** A flood, from however many addresses, takes no more than one core, so that logins have the others.
//! 3. **Durable before the answer.** If the store fails, so does the request, and the issuer sends the event again.
//! 4. **Keys may be newer than those known here.** A message with an unknown key waits until the issuer's keys have been read again.
//!    If they can't be read, the answer says that the message may come again.

mod journal;

use std::{
    collections::{BTreeSet, HashSet},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use adieu::{
    Issuer,
    revocation::{Revocation, Target},
    session::Sessions,
    time::{Clock, Timestamp},
};
use adieu_client::KeyFollower;
use adieu_events::{Effect, Event, EventError, Received, Receiver};
use arc_swap::ArcSwap;
use futures_util::future::join_all;
use tokio::{sync::Semaphore, time::timeout};

pub(crate) use journal::Journal;

use crate::{
    aliases::Aliases,
    audit::{self, Entry},
    config::Rate,
    error::ApiError,
    issuers::Trusted,
    limit::{EventQuotas, RetryAfter},
    metrics::Metrics,
};

/// How long a message waits for newer keys of its issuer: they are read again within five seconds.
const KEYS_TIMEOUT: Duration = Duration::from_secs(8);

/// How many messages wait for newer keys at once.
const MAX_WAITING_FOR_KEYS: usize = 64;

/// Receives the events of other issuers.
#[derive(Debug)]
pub struct Events {
    senders: ArcSwap<Senders>,
    quotas: EventQuotas,
    clock: Arc<dyn Clock>,
    verifying: Semaphore,
    waiting_for_keys: Semaphore,
    journal: Journal,
}

/// Who may send events, and how many.
#[derive(Debug)]
struct Senders {
    receiver: Receiver,
    key_followers: Vec<(Issuer, Arc<KeyFollower>)>,
    /// The issuers whose tokens the events are about.
    issuers: BTreeSet<Issuer>,
    quota: Rate,
}

impl Senders {
    fn new(trusted: &Trusted, quota: Rate) -> Self {
        let senders = trusted.senders();
        let issuers = senders.iter().map(|sender| sender.issuer().clone()).collect();
        Self { receiver: Receiver::new(senders), key_followers: trusted.event_key_followers(), issuers, quota }
    }

    /// Returns the followers of the keys of the issuer that a message names.
    fn followers(&self, named: Option<&Issuer>) -> Vec<&KeyFollower> {
        let named = self.key_followers.iter().filter(|(issuer, _)| Some(issuer) == named);
        named.map(|(_, follower)| &**follower).collect()
    }
}

/// The reason why a message was not accepted.
#[derive(Debug)]
pub(crate) enum Rejection {
    /// The message is wrong, and will be the next time.
    Message(EventError),
    /// Anything else.
    Other(ApiError),
}

impl From<ApiError> for Rejection {
    fn from(error: ApiError) -> Self {
        Self::Other(error)
    }
}

impl Events {
    /// Receives events of the issuers that may send some, and keeps their keys up to date.
    #[must_use]
    pub fn new(trusted: &Trusted, quota: Rate, clock: Arc<dyn Clock>) -> Self {
        let (senders, quotas) =
            (ArcSwap::from_pointee(Senders::new(trusted, quota)), EventQuotas::new(Arc::clone(&clock)));
        let (verifying, waiting_for_keys) = (Semaphore::new(1), Semaphore::new(MAX_WAITING_FOR_KEYS));
        let journal = Journal::new(Arc::clone(&clock));
        Self { senders, quotas, clock, verifying, waiting_for_keys, journal }
    }

    /// Receives from now on the events of these issuers, and no others.
    pub(crate) fn replace(&self, trusted: &Trusted, quota: Rate) {
        self.senders.store(Arc::new(Senders::new(trusted, quota)));
    }

    /// Returns what was received.
    pub(crate) fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Returns the issuers that may send events.
    pub(crate) fn issuers(&self) -> BTreeSet<Issuer> {
        self.senders.load().issuers.clone()
    }

    /// Counts a message from this address, before it is read.
    pub(crate) fn sent_from(&self, address: IpAddr) -> Result<(), ApiError> {
        let quota = self.senders.load().quota;
        self.quotas.sent_from(address, quota).map_err(|RetryAfter(retry_after)| ApiError::TooManyEvents { retry_after })
    }

    /// Verifies a message that was sent as `kind` with `verify`, and keeps why it was rejected. `named` returns the issuer that the message
    /// names, to read its keys again.
    pub(crate) async fn verify(
        &self,
        kind: &'static str,
        named: impl Fn(&Receiver) -> Option<&Issuer>,
        verify: impl Fn(&Receiver, Timestamp) -> Result<Received, EventError>,
    ) -> Result<Received, Rejection> {
        let senders = self.senders.load_full();
        let verified = self.verify_with(&senders, &named, verify).await;
        let reason = match &verified {
            Ok(_) => None,
            Err(Rejection::Message(error)) => Some(error.to_string()),
            Err(Rejection::Other(error)) => Some(error.to_string()),
        };
        if let Some(reason) = reason {
            self.journal.rejected(kind, named(&senders.receiver).cloned(), &reason);
        }
        verified
    }

    async fn verify_with(
        &self,
        senders: &Senders,
        named: impl Fn(&Receiver) -> Option<&Issuer>,
        verify: impl Fn(&Receiver, Timestamp) -> Result<Received, EventError>,
    ) -> Result<Received, Rejection> {
        let receiver = &senders.receiver;
        let mut result = self.verify_once(receiver, &verify).await?;
        let followers = senders.followers(named(receiver));
        if result.as_ref().is_err_and(EventError::needs_keys) && !followers.is_empty() {
            let Ok(_place) = self.waiting_for_keys.try_acquire() else {
                return Err(keys_unknown(named(receiver)));
            };
            let were_read =
                timeout(KEYS_TIMEOUT, join_all(followers.iter().map(|keys| keys.read_again()))).await.is_ok();
            result = self.verify_once(receiver, &verify).await?;
            if !were_read && result.as_ref().is_err_and(EventError::needs_keys) {
                return Err(keys_unknown(named(receiver)));
            }
        }
        let received = result.map_err(|error| match error.is_temporary() {
            true => keys_unknown(named(receiver)),
            false => Rejection::Message(error),
        })?;
        let within = self.quotas.signed_by(&received.issuer, senders.quota);
        within.map_err(|RetryAfter(retry_after)| ApiError::TooManyEvents { retry_after })?;
        Ok(received)
    }

    async fn verify_once(
        &self,
        receiver: &Receiver,
        verify: impl Fn(&Receiver, Timestamp) -> Result<Received, EventError>,
    ) -> Result<Result<Received, EventError>, ApiError> {
        let _turn = self.verifying.acquire().await.map_err(ApiError::internal)?;
        Ok(verify(receiver, self.clock.now()))
    }
}

fn keys_unknown(named: Option<&Issuer>) -> Rejection {
    let issuer = named.map_or("an issuer", Issuer::as_str);
    Rejection::Other(ApiError::Unavailable(format!("the keys of {issuer} for its events can't be read").into()))
}

/// Looks up whom the events of a message name by aliases, makes its revocations durable, and records and counts its events. Returns whether
/// the subject of at least one event is known.
pub(crate) async fn take_effect(
    mut received: Received,
    aliases: &Aliases,
    sessions: &Sessions,
    metrics: &Metrics,
    journal: &Journal,
    address: IpAddr,
) -> Result<bool, ApiError> {
    let count = |issuer: &Issuer, kind, outcome| {
        metrics.event_received(issuer, kind, outcome);
        journal.received(issuer, kind, outcome);
    };
    aliases.resolve(&mut received).await?;
    let revocations = received.revocations();
    if !revocations.is_empty() {
        sessions.append(revocations).await?;
    }
    // A subject that one of several issuers has need not be known to the others.
    let is_known = |event: &&Event| !is_unknown(event) && !event.effect.revocations().is_empty();
    let known: HashSet<_> = received.events.iter().filter(is_known).map(|event| event.kind).collect();
    let is_of_another = |event: &Event| event.effect.revocations().is_empty() && known.contains(event.kind);
    for event in received.events.iter().filter(|event| !(is_unknown(event) && is_of_another(event))) {
        let (kind, outcome) = (event.kind, event.effect.as_str());
        count(&event.issuer, kind, outcome);
        if event.effect == Effect::StreamStopped {
            tracing::warn!(issuer = %received.issuer, "the issuer has stopped its stream of events");
        }
        let entry =
            |outcome| Entry { issuer: Some(event.issuer.clone()), received: Some((kind, outcome)), ..Entry::default() };
        for revocation in event.effect.revocations() {
            with_target(entry(outcome), revocation).note(audit::Event::EventReceived, address);
        }
        if is_unknown(event) {
            let unknown = Effect::UnknownSubject.as_str();
            if outcome != unknown {
                count(&event.issuer, kind, unknown);
            }
            entry(unknown).note(audit::Event::EventReceived, address);
            let why = match event.has_unknown_alias() {
                true => "an event does not end its subject, as the alias is not known",
                false => "an event ends nothing, as its subject is of a form that is not in tokens",
            };
            tracing::warn!(issuer = %event.issuer, kind, "{why}");
        }
    }
    if let Some(Event { kind, .. }) = received.events.first() {
        for (issuer, error) in &received.rejections {
            count(issuer, kind, "rejected");
            tracing::warn!(%issuer, kind, %error, "an event was rejected for the tokens of this issuer, and accepted for those of another");
        }
    }
    audit::durable().await;
    Ok(received.events.iter().any(|event| !is_unknown(event)))
}

fn is_unknown(event: &Event) -> bool {
    event.effect == Effect::UnknownSubject || event.has_unknown_alias()
}

fn with_target(entry: Entry, revocation: &Revocation) -> Entry {
    match &revocation.target {
        Target::Session { id } => Entry { session: Some(id.clone()), scope: Some("session"), ..entry },
        Target::Subject { id, .. } => Entry { subject: Some(id.clone()), scope: Some("subject"), ..entry },
        Target::Token { id, .. } => Entry { token_id: Some(id.clone()), scope: Some("token_id"), ..entry },
        _ => entry,
    }
}
