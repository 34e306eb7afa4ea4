//! The deliveries to receivers of webhooks and logout tokens, for administrators.

use std::sync::Arc;

use adieu::revocation::Position;
use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Api,
    client::{Admin, Client, Id},
    docs,
    view::Message,
};
use crate::{
    audit::Operator,
    deliveries::{self, DeliveryState, DeliveryStore, Skipped},
    error::ApiError,
    input::Query,
};

/// The deliveries to all receivers.
#[derive(Serialize, ToSchema)]
pub(super) struct DeliveryStates {
    /// By the names of the receivers.
    deliveries: Vec<DeliveryState>,
}

impl Api {
    /// Returns the deliveries to all receivers that there ever were.
    ///
    /// # Errors
    /// Fails if the store can't be read.
    pub(super) async fn deliveries(&self) -> Result<Vec<DeliveryState>, ApiError> {
        let head = self.node.core.applied().borrow().as_ref().map_or(Position::START, |own| own.position);
        let stored = self.delivery_store().deliveries().await?;
        Ok(stored.into_iter().map(|delivery| DeliveryState::new(delivery, head)).collect())
    }

    /// Sends a receiver everything that is revoked now again.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if there is no such receiver.
    pub(super) async fn replay(&self, receiver: &str, by: Operator<'_>) -> Result<(), ApiError> {
        match deliveries::replay(&*self.delivery_store(), receiver, by).await? {
            true => Ok(()),
            false => Err(ApiError::NotFound),
        }
    }

    /// Passes over the message that blocks a receiver.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if there is no such receiver; [`ApiError::Conflict`] if this is not the message that blocks it.
    pub(super) async fn skip(&self, receiver: &str, message_id: &str, by: Operator<'_>) -> Result<(), ApiError> {
        match deliveries::skip(&*self.delivery_store(), receiver, message_id, by).await? {
            Skipped::Done => Ok(()),
            Skipped::NotBlocking => Err(ApiError::Conflict("This message does not block the receiver.".into())),
            Skipped::UnknownReceiver => Err(ApiError::NotFound),
        }
    }

    fn delivery_store(&self) -> Arc<dyn DeliveryStore> {
        self.node.stores().deliveries()
    }
}

/// Lists the receivers of webhooks and logout tokens: how far each is, since when it fails and why, and which message blocks it.
#[utoipa::path(get, path = "/deliveries", tag = "Administration", security(("access" = [])), responses(
    (status = 200, description = "The receivers that there ever were.", body = DeliveryStates),
    docs::TwoTokens, docs::Refusals, docs::AdminOnly, docs::Unavailable,
))]
pub(super) async fn list_deliveries(State(api): State<Api>, _: Admin) -> Result<Json<DeliveryStates>, ApiError> {
    Ok(Json(DeliveryStates { deliveries: api.deliveries().await? }))
}

/// Sends a receiver everything that is revoked now again, from the beginning of the log.
#[utoipa::path(post, path = "/deliveries/{receiver}/replay", tag = "Administration", security(("access" = [])),
    params(("receiver" = String, Path, description = "The name of the receiver.")), responses(
    (status = 200, description = "It begins now.", body = Message, example = json!({"message": "Deliveries replayed."})),
    docs::TwoTokens, docs::Refusals, docs::AdminOnly, docs::NotFound, docs::Unavailable,
))]
pub(super) async fn replay_deliveries(
    State(api): State<Api>,
    Admin(token): Admin,
    client: Client,
    Id(receiver): Id<String>,
) -> Result<Json<Message>, ApiError> {
    api.replay(&receiver, Operator { subject: Some(&token.subject), address: Some(client.address) }).await?;
    Ok(Message::new("Deliveries replayed."))
}

/// Passes over the message that blocks a receiver. It is lost to that receiver, which gets those after it.
///
/// The message is named, so that a call that comes twice or late skips no other one.
#[utoipa::path(post, path = "/deliveries/{receiver}/skip", tag = "Administration", security(("access" = [])),
    params(
        ("receiver" = String, Path, description = "The name of the receiver."),
        ("message_id" = String, Query, description = "The id of the message, as `GET /deliveries` shows it."),
    ), responses(
    (status = 200, description = "Skipped.", body = Message, example = json!({"message": "Message skipped."})),
    docs::TwoTokens, docs::Refusals, docs::AdminOnly, docs::NotFound, docs::NotBlocking, docs::InvalidQuery,
    docs::Unavailable,
))]
pub(super) async fn skip_delivery(
    State(api): State<Api>,
    Admin(token): Admin,
    client: Client,
    Id(receiver): Id<String>,
    Query(mut fields): Query,
) -> Result<Json<Message>, ApiError> {
    let message_id = fields.required("message_id", Ok);
    let (message_id,) = fields.finish((message_id,))?;
    let by = Operator { subject: Some(&token.subject), address: Some(client.address) };
    api.skip(&receiver, &message_id, by).await?;
    Ok(Message::new("Message skipped."))
}
