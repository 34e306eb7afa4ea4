//! What operators see of deliveries, and change: by the API, in the console and on the command line.

use adieu::{Error, revocation::Position, time::Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Delivery, DeliveryStore};
use crate::audit::{Entry, Event, Operator};

/// The deliveries to one receiver.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeliveryState {
    /// The name of the receiver, as in the settings; `client:NAME` for a client.
    #[schema(example = "shop")]
    pub(crate) receiver: String,
    /// The position in the log up to which everything has been delivered.
    #[schema(example = 41)]
    pub(crate) position: u64,
    /// How many entries the log has after that, whether they are for this receiver or not.
    #[schema(example = 2)]
    pub(crate) behind: u64,
    /// When a message was last delivered.
    #[schema(value_type = Option<u64>, example = 1_800_000_000)]
    pub(crate) delivered_at: Option<Timestamp>,
    /// How many attempts have failed since then.
    #[schema(example = 3)]
    pub(crate) failures: u32,
    /// When the first of them failed.
    #[schema(value_type = Option<u64>, example = 1_800_000_131)]
    pub(crate) failing_since: Option<Timestamp>,
    /// Why the last of them failed, such as `status 503`, or why a message was passed over.
    #[schema(example = "status 503")]
    pub(crate) error: Option<String>,
    /// The id of the message that failed, which blocks those after it.
    #[schema(example = "msg_7Qw0uQ3s9mGZl4bX5D0kq2Rr")]
    pub(crate) message_id: Option<String>,
    /// When it is sent again.
    #[schema(value_type = Option<u64>, example = 1_800_000_138)]
    pub(crate) next_attempt_at: Option<Timestamp>,
}

impl DeliveryState {
    /// Describes deliveries from a log that ends at `head`.
    pub(crate) fn new(delivery: Delivery, head: Position) -> Self {
        let position = delivery.cursor.map_or(Position::START, |cursor| cursor.position).get();
        Self {
            receiver: delivery.receiver,
            position,
            behind: head.get().saturating_sub(position),
            delivered_at: delivery.delivered_at,
            failures: delivery.failures,
            failing_since: delivery.failing_since,
            error: delivery.error,
            message_id: delivery.message_id,
            next_attempt_at: delivery.next_attempt_at,
        }
    }
}

async fn record(by: Operator<'_>, event: Event, receiver: &str, message_id: Option<&str>) {
    let (receiver, message_id) = (Some(receiver.to_owned()), message_id.map(str::to_owned));
    by.record(event, Entry { receiver, message_id, ..Entry::default() }).await;
}

/// Sends a receiver everything that is revoked now again, and records who asked. Returns `false` if there is no such receiver.
///
/// # Errors
/// Fails if the store can't be written.
pub(crate) async fn replay(store: &dyn DeliveryStore, receiver: &str, by: Operator<'_>) -> Result<bool, Error> {
    let is_known = store.replay(receiver).await?;
    if is_known {
        record(by, Event::DeliveriesReplayed, receiver, None).await;
    }
    Ok(is_known)
}

/// What became of a message that was to be skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Skipped {
    /// It is never sent, unless everything is sent again.
    Done,
    /// It does not block the receiver, so nothing was skipped.
    NotBlocking,
    /// There is no such receiver.
    UnknownReceiver,
}

/// Passes over the message that blocks a receiver, and records who asked. A request that comes twice or late changes nothing, because it
/// names the message.
///
/// # Errors
/// Fails if the store can't be read or written.
pub(crate) async fn skip(
    store: &dyn DeliveryStore,
    receiver: &str,
    message_id: &str,
    by: Operator<'_>,
) -> Result<Skipped, Error> {
    if store.skip(receiver, message_id).await? {
        record(by, Event::DeliverySkipped, receiver, Some(message_id)).await;
        return Ok(Skipped::Done);
    }
    let is_known = store.deliveries().await?.iter().any(|delivery| delivery.receiver == receiver);
    Ok(if is_known { Skipped::NotBlocking } else { Skipped::UnknownReceiver })
}
