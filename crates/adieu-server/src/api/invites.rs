//! Invitations to register.

use std::time::Duration;

use adieu::time::Timestamp;
use adieu_axum::AfterBody;
use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Api,
    client::{Admin, Client, Id},
    docs,
    view::Message,
};
use crate::{
    accounts::{INVITE_VALID_FOR, Invite, MAX_INVITE_VALID_FOR},
    audit::{Entry, Event},
    error::{ApiError, FieldErrors},
    input::Fields,
};

/// What an invitation is to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only describes the schema")]
pub(super) struct NewInvite {
    /// In how many seconds it expires; 7 days by default, and at most 90 days.
    #[schema(nullable = false, example = 604_800, minimum = 1, maximum = 7_776_000)]
    expires_in: Option<u64>,
}

/// A new invitation.
#[derive(Serialize, ToSchema)]
pub(super) struct InviteCode {
    #[serde(flatten)]
    invite: InviteDetails,
    /// For `/register`, once. It is shown here only.
    #[schema(example = "pZ3hVbZ0kq…")]
    invite_code: String,
}

/// An invitation that has not been used.
#[derive(Serialize, ToSchema)]
pub(super) struct InviteDetails {
    #[schema(example = "0198f3a2-5b1e-7c3d-9a4f-1d2e3f4a5b6c")]
    id: String,
    /// When it was made.
    #[schema(value_type = u64, example = 1_800_000_000)]
    created_at: Timestamp,
    /// When it expires.
    #[schema(value_type = u64, example = 1_800_604_800)]
    expires_at: Timestamp,
}

impl From<Invite> for InviteDetails {
    fn from(invite: Invite) -> Self {
        Self { id: invite.id, created_at: invite.created_at, expires_at: invite.expires_at }
    }
}

/// The invitations that are valid.
#[derive(Serialize, ToSchema)]
pub(super) struct Invites {
    invites: Vec<InviteDetails>,
}

/// Makes an invitation, with which one user can register while the server's `registration` is `invite`.
///
/// At most 1,000 invitations are valid at the same time.
#[utoipa::path(post, path = "/invites", tag = "Administration", request_body = NewInvite, security(("access" = [])), responses(
    (status = 200, description = "The invitation. Not to be cached.", body = InviteCode),
    docs::BadRequest, docs::Refusals, docs::AdminOnly, docs::TooManyInvites, docs::TooLarge, docs::NotJson, docs::Invalid,
    docs::Unavailable,
))]
pub(super) async fn invite(
    State(api): State<Api>,
    AfterBody((admin, client), mut fields): AfterBody<(Admin, Client), Fields>,
) -> Result<Json<InviteCode>, ApiError> {
    let Admin(token) = admin;
    let expires_in = fields.optional_number("expires_in");
    let (expires_in,) = fields.finish((expires_in,))?;
    let valid_for = expires_in.map_or(INVITE_VALID_FOR, Duration::from_secs);
    if valid_for.is_zero() || valid_for > MAX_INVITE_VALID_FOR {
        return Err(FieldErrors::one("expires_in", "Must be between 1 and 7776000.").into());
    }
    let (invite, invite_code) = api.node.accounts.invite(valid_for).await?;
    Entry::of_invite(&invite.id).by(token.subject()).record(Event::InviteIssued, client.address).await;
    Ok(Json(InviteCode { invite: invite.into(), invite_code }))
}

/// Lists the invitations that are valid, oldest first. Their codes are not known any more.
#[utoipa::path(get, path = "/invites", tag = "Administration", security(("access" = [])), responses(
    (status = 200, description = "The invitations.", body = Invites),
    docs::TwoTokens, docs::Refusals, docs::AdminOnly, docs::Unavailable,
))]
pub(super) async fn list_invites(State(api): State<Api>, _: Admin) -> Result<Json<Invites>, ApiError> {
    let invites = api.node.accounts.invites().await?;
    Ok(Json(Invites { invites: invites.into_iter().map(InviteDetails::from).collect() }))
}

/// Revokes an invitation.
#[utoipa::path(delete, path = "/invites/{id}", tag = "Administration", security(("access" = [])),
    params(("id" = String, Path, description = "The invitation's id.")), responses(
    (status = 200, description = "Revoked.", body = Message, example = json!({"message": "Invitation revoked."})),
    docs::TwoTokens, docs::Refusals, docs::AdminOnly, docs::NotFound, docs::Unavailable,
))]
pub(super) async fn revoke_invite(
    State(api): State<Api>,
    Admin(token): Admin,
    client: Client,
    Id(id): Id<String>,
) -> Result<Json<Message>, ApiError> {
    api.node.accounts.revoke_invite(&id).await?;
    Entry::of_invite(&id).by(token.subject()).record(Event::InviteRevoked, client.address).await;
    Ok(Message::new("Invitation revoked."))
}
