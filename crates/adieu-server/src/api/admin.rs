//! Administration of users and of other users' sessions.

use adieu::{SessionId, Subject, session::Selection, token::Claims};
use adieu_axum::AfterBody;
use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    Api,
    client::{Admin, Client, Id},
    docs,
    feed::{Wait, WaitParameters},
    service::{Can, ResetPassword},
    view::{Message, Part, PartFields, SessionCursor, SessionList, SessionsEnded, UserDetails, Users, flag, id, time},
};
use crate::{
    accounts::{Account, Filter, LastAdmin, NextLogin, RESET_VALID_FOR, Whose},
    audit::{self, Event},
    error::ApiError,
    input::{Fields, Query},
    limit::RetryAfter,
    text::{NamePart, Password, Username},
};

/// A change of an account by an administrator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AccountChange {
    Disable,
    Enable,
    Promote,
    Demote,
    RequirePasswordChange,
}

impl Api {
    /// Changes an account, and records who did it.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if there is no such account; [`ApiError::Conflict`] if there would be no administrator left, or for
    /// administrators who would disable themselves.
    pub(super) async fn change_account(
        &self,
        change: AccountChange,
        id: &Subject,
        by: &Claims,
        client: &Client,
    ) -> Result<usize, ApiError> {
        let accounts = &self.node.accounts;
        let mut sessions_ended = 0;
        let event = match change {
            AccountChange::Disable if by.subject == *id => {
                return Err(ApiError::Conflict("You can't disable yourself.".into()));
            }
            AccountChange::Disable => {
                sessions_ended = accounts.disable(id, LastAdmin::Stays).await?;
                Event::AccountDisabled
            }
            AccountChange::Enable => {
                accounts.enable(id).await?;
                Event::AccountEnabled
            }
            AccountChange::Promote => {
                accounts.promote(id).await?;
                Event::AccountPromoted
            }
            AccountChange::Demote => {
                sessions_ended = accounts.demote(id, LastAdmin::Stays).await?;
                Event::AccountDemoted
            }
            AccountChange::RequirePasswordChange => {
                accounts.require_password_change(id).await?;
                Event::PasswordChangeRequired
            }
        };
        audit::Entry::of(id).by(&by.subject).record(event, client.address).await;
        Ok(sessions_ended)
    }

    /// Issues a token that resets the password of a user.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if there is no such user, or it is disabled.
    pub(super) async fn issue_reset(&self, id: &Subject, by: &Claims, client: &Client) -> Result<String, ApiError> {
        let reset_token = self.node.accounts.issue_reset(id, Whose::Anyone).await?;
        audit::Entry::of(id).by(&by.subject).record(Event::ResetIssued, client.address).await;
        Ok(reset_token)
    }

    /// Ends all sessions of a user. Returns how many there were.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if there is no such user.
    pub(super) async fn end_sessions_of(&self, id: &Subject, by: &Claims, client: &Client) -> Result<usize, ApiError> {
        let account = self.account(id).await?;
        let sessions_ended = self.node.sessions.end_sessions(Selection::OfSubject(account.id.clone())).await?;
        audit::Entry { sessions_ended: Some(sessions_ended), ..audit::Entry::of(&account.id).by(&by.subject) }
            .record(Event::SessionsEnded, client.address)
            .await;
        Ok(sessions_ended)
    }

    /// Returns a part of the users who meet every condition, by id, and the cursor of the next.
    ///
    /// # Errors
    /// Fails if the store can't be read.
    pub(super) async fn users(
        &self,
        filter: &Filter,
        part: &Part<Subject>,
    ) -> Result<(Vec<Account>, Option<String>), ApiError> {
        let mut accounts = self.node.accounts.store().list(filter, part.after.as_ref(), part.fetch()).await?;
        let next = part.cut(&mut accounts, |account| account.id.to_string());
        Ok((accounts, next))
    }
}

/// Which users to list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only describes the schema")]
pub(super) struct UserParameters {
    /// Only those whose name contains this. ASCII letters match in either case.
    #[param(
        min_length = 1,
        max_length = 80,
        pattern = "^[^\\u0000-\\u001f\\u007f-\\u009f\\u200b\\u200e\\u200f\\u2028-\\u202e\\u2060-\\u2069\\ufeff]*$"
    )]
    name: Option<String>,
    /// Only administrators, or only others.
    admin: Option<bool>,
    /// Only those who may not log in, or only others.
    disabled: Option<bool>,
    /// Only those who last logged in before this time. A user who has never logged in counts by when the account was made.
    #[param(maximum = 253402300799_u64)]
    last_login_before: Option<u64>,
    /// Only those who last logged in at this time or later.
    #[param(maximum = 253402300799_u64)]
    last_login_since: Option<u64>,
}

/// Lists the users who meet every condition, by id, which is by when they were made.
#[utoipa::path(get, path = "/users", tag = "Administration", security(("access" = [])),
    params(UserParameters, docs::PartParameters), responses(
    (status = 200, description = "The users.", body = Users),
    docs::TwoTokens, docs::Refusals, docs::AdminOnly, docs::InvalidQuery, docs::Unavailable,
))]
pub(super) async fn list_users(
    State(api): State<Api>,
    _: Admin,
    Query(mut fields): Query,
) -> Result<Json<Users>, ApiError> {
    let part = PartFields::<Subject>::take(&mut fields);
    let name = fields.optional("name", |text| NamePart::new(&text));
    let [is_admin, is_disabled] = ["admin", "disabled"].map(|name| fields.optional(name, flag));
    let [before, since] = ["last_login_before", "last_login_since"].map(|name| fields.optional(name, time));
    let (part, filter) = part.finish_with(fields, (name, is_admin, is_disabled, before, since))?;
    let (name, is_admin, is_disabled, last_login_before, last_login_since) = filter;
    let filter = Filter { name, is_admin, is_disabled, last_login_before, last_login_since };
    let (accounts, next) = api.users(&filter, &part).await?;
    Ok(Json(Users { users: accounts.iter().map(UserDetails::from).collect(), next }))
}

/// Disables a user: it can't log in any more, and its sessions end.
///
/// An administrator can't disable its own account, nor the last administrator's, so that there is always one.
#[utoipa::path(post, path = "/users/{id}/disable", tag = "Administration", security(("access" = [])),
    params(("id" = String, Path, description = "The user's id."), WaitParameters), responses(
    (status = 200, description = "Disabled.", body = Message, example = json!({"message": "User disabled."})),
    docs::TwoTokens, docs::Refusals, docs::AdminOnly, docs::NotFound, docs::NotDisabled, docs::InvalidQuery,
    docs::Unavailable,
))]
pub(super) async fn disable(
    State(api): State<Api>,
    Admin(token): Admin,
    client: Client,
    Id(id): Id<Subject>,
    wait: Wait,
) -> Result<Json<Message>, ApiError> {
    api.change_account(AccountChange::Disable, &id, &token, &client).await?;
    Ok(Message::revoked("User disabled.", wait.until_everywhere(&api.node.feed).await?))
}

/// Lets a disabled user log in again. Its old sessions stay ended.
#[utoipa::path(post, path = "/users/{id}/enable", tag = "Administration", security(("access" = [])),
    params(("id" = String, Path, description = "The user's id.")), responses(
    (status = 200, description = "Enabled.", body = Message, example = json!({"message": "User enabled."})),
    docs::TwoTokens, docs::Refusals, docs::AdminOnly, docs::NotFound, docs::Unavailable,
))]
pub(super) async fn enable(
    State(api): State<Api>,
    Admin(token): Admin,
    client: Client,
    Id(id): Id<Subject>,
) -> Result<Json<Message>, ApiError> {
    api.change_account(AccountChange::Enable, &id, &token, &client).await?;
    Ok(Message::new("User enabled."))
}

/// Makes a user an administrator. Its tokens say so from the next refresh or login on.
#[utoipa::path(post, path = "/users/{id}/promote", tag = "Administration", security(("access" = [])),
    params(("id" = String, Path, description = "The user's id.")), responses(
    (status = 200, description = "Promoted.", body = Message, example = json!({"message": "User promoted."})),
    docs::TwoTokens, docs::Refusals, docs::AdminOnly, docs::NotFound, docs::Unavailable,
))]
pub(super) async fn promote(
    State(api): State<Api>,
    Admin(token): Admin,
    client: Client,
    Id(id): Id<Subject>,
) -> Result<Json<Message>, ApiError> {
    api.change_account(AccountChange::Promote, &id, &token, &client).await?;
    Ok(Message::new("User promoted."))
}

/// Makes an administrator an ordinary user, and ends its sessions, whose tokens say that it is an administrator.
///
/// The last administrator who is not disabled can't be demoted.
#[utoipa::path(post, path = "/users/{id}/demote", tag = "Administration", security(("access" = [])),
    params(("id" = String, Path, description = "The user's id."), WaitParameters), responses(
    (status = 200, description = "Demoted.", body = Message, example = json!({"message": "User demoted."})),
    docs::TwoTokens, docs::Refusals, docs::AdminOnly, docs::NotFound, docs::NotDemoted, docs::InvalidQuery,
    docs::Unavailable,
))]
pub(super) async fn demote(
    State(api): State<Api>,
    Admin(token): Admin,
    client: Client,
    Id(id): Id<Subject>,
    wait: Wait,
) -> Result<Json<Message>, ApiError> {
    api.change_account(AccountChange::Demote, &id, &token, &client).await?;
    Ok(Message::revoked("User demoted.", wait.until_everywhere(&api.node.feed).await?))
}

/// A new password for a user.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only describes the schema")]
pub(super) struct NewPassword {
    #[schema(example = "tr0ub4dor&3", format = Password, min_length = 1, max_length = 1024, pattern = "^[^\\u0000]*$")]
    password: String,
    /// Whether the user must change it before the next login; false by default.
    #[schema(nullable = false)]
    must_change: Option<bool>,
}

/// Sets the password of a user and ends the user's sessions.
#[utoipa::path(post, path = "/users/{id}/password", tag = "Administration", request_body = NewPassword,
    security(("access" = [])), params(("id" = String, Path, description = "The user's id."), WaitParameters), responses(
    (status = 200, description = "Set.", body = Message, example = json!({"message": "Password set."})),
    docs::BadRequest, docs::Refusals, docs::AdminOnly, docs::NotFound, docs::TooLarge, docs::NotJson, docs::Invalid,
    docs::Unavailable,
))]
pub(super) async fn set_password(
    State(api): State<Api>,
    AfterBody((admin, client, user, wait), mut fields): AfterBody<(Admin, Client, Id<Subject>, Wait), Fields>,
) -> Result<Json<Message>, ApiError> {
    let (Admin(token), Id(id)) = (admin, user);
    let minimum = api.settings.min_password_length.get();
    let password = fields.required("password", |text| Password::chosen(text.into(), minimum));
    let must_change = fields.optional_flag("must_change");
    let (password, must_change) = fields.finish((password, must_change))?;
    let next = if must_change == Some(true) { NextLogin::NeedsNewPassword } else { NextLogin::Allowed };

    api.node.accounts.set_password(&id, &password, next).await?;
    audit::Entry::of(&id).by(token.subject()).record(Event::PasswordChanged, client.address).await;
    Ok(Message::revoked("Password set.", wait.until_everywhere(&api.node.feed).await?))
}

/// Requires that a user changes the password before the next login. Its sessions go on.
#[utoipa::path(post, path = "/users/{id}/require-password-change", tag = "Administration", security(("access" = [])),
    params(("id" = String, Path, description = "The user's id.")), responses(
    (status = 200, description = "Required.", body = Message, example = json!({"message": "Password change required."})),
    docs::TwoTokens, docs::Refusals, docs::AdminOnly, docs::NotFound, docs::Unavailable,
))]
pub(super) async fn require_password_change(
    State(api): State<Api>,
    Admin(token): Admin,
    client: Client,
    Id(id): Id<Subject>,
) -> Result<Json<Message>, ApiError> {
    api.change_account(AccountChange::RequirePasswordChange, &id, &token, &client).await?;
    Ok(Message::new("Password change required."))
}

/// A token that resets a password.
#[derive(Serialize, ToSchema)]
pub(super) struct ResetToken {
    /// For `POST /password/reset`, once.
    #[schema(example = "MDE5MzBhNGU….Kc3hVbZ0…")]
    reset_token: String,
    /// In how many seconds it expires.
    #[schema(example = 3600)]
    expires_in: u64,
}

/// Issues a token with which a user sets a new password, for the application to send to the user.
///
/// It is valid for an hour and once. A newer token, a change of the password, and promoting or disabling the user make it void. A disabled
/// user is not found.
#[utoipa::path(post, path = "/users/{id}/reset-token", tag = "Administration", security(("access" = [])),
    params(("id" = String, Path, description = "The user's id.")), responses(
    (status = 200, description = "The token. Not to be cached.", body = ResetToken),
    docs::TwoTokens, docs::Refusals, docs::AdminOnly, docs::NotFound, docs::Unavailable,
))]
pub(super) async fn issue_reset(
    State(api): State<Api>,
    Admin(token): Admin,
    client: Client,
    Id(id): Id<Subject>,
) -> Result<Json<ResetToken>, ApiError> {
    let reset_token = api.issue_reset(&id, &token, &client).await?;
    Ok(Json(ResetToken { reset_token, expires_in: RESET_VALID_FOR.as_secs() }))
}

/// Whose password is to be reset.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only describes the schema")]
pub(super) struct ResetTokenRequest {
    /// As the user logs in.
    #[schema(example = "jose", min_length = 1)]
    username: String,
}

/// Issues a token with which a user sets a new password, for a client that may `reset-password` to send to the user.
///
/// As `/users/{id}/reset-token` does. An administrator, a disabled user and a name that no user has are not found. The number is limited for each
/// client (`client_reset_quota`).
#[utoipa::path(post, path = "/password/reset-token", tag = "Service", security(("client" = [])),
    request_body = ResetTokenRequest, responses(
    (status = 200, description = "The token. Not to be cached.", body = ResetToken),
    docs::BadRequest, docs::WrongClient, docs::MayNotReset, docs::NotFound, docs::TooLarge, docs::NotJson, docs::Invalid,
    docs::ResetQuotaUsedUp, docs::Unavailable,
))]
pub(super) async fn issue_reset_for_client(
    State(api): State<Api>,
    AfterBody((service, client), mut fields): AfterBody<(Can<ResetPassword>, Client), Fields>,
) -> Result<Json<ResetToken>, ApiError> {
    let service = service.client;
    let username = fields.required("username", |text| Username::new(&text));
    let (username,) = fields.finish((username,))?;
    // Counted whether there is such a user or not: a client must not find out all names.
    let taken = api.node.reset_quotas.take(&service.name, api.settings.client_reset_quota, 1);
    let taken = taken.map_err(|RetryAfter(retry_after)| ApiError::ResetQuotaUsedUp { retry_after })?;
    let accounts = &api.node.accounts;
    let issued = async {
        let account = accounts.store().by_username(&username).await?.ok_or(ApiError::NotFound)?;
        let reset_token = accounts.issue_reset(&account.id, Whose::User).await?;
        Ok((account, reset_token))
    };
    let (account, reset_token) = taken.unless_failed(issued.await)?;
    let entry = audit::Entry { client: Some(service.name.clone()), ..audit::Entry::of(&account.id) };
    entry.record(Event::ResetIssued, client.address).await;
    Ok(Json(ResetToken { reset_token, expires_in: RESET_VALID_FOR.as_secs() }))
}

/// Lists the sessions of a user, oldest first.
#[utoipa::path(get, path = "/users/{id}/sessions", tag = "Administration", security(("access" = [])),
    params(("id" = String, Path, description = "The user's id."), docs::PartParameters), responses(
    (status = 200, description = "The sessions.", body = SessionList),
    docs::TwoTokens, docs::Refusals, docs::AdminOnly, docs::NotFound, docs::InvalidQuery, docs::Unavailable,
))]
pub(super) async fn list_sessions_of_user(
    State(api): State<Api>,
    Admin(token): Admin,
    Id(user): Id<Subject>,
    Query(mut fields): Query,
) -> Result<Json<SessionList>, ApiError> {
    let part = PartFields::<SessionId>::take(&mut fields).finish(fields)?;
    let account = api.account(&user).await?;
    api.sessions_of(&account.id, &part, &token).await.map(Json)
}

/// Ends all sessions of a user, who can log in again.
#[utoipa::path(delete, path = "/users/{id}/sessions", tag = "Administration", security(("access" = [])),
    params(("id" = String, Path, description = "The user's id."), WaitParameters), responses(
    (status = 200, description = "Ended.", body = SessionsEnded),
    docs::TwoTokens, docs::Refusals, docs::AdminOnly, docs::NotFound, docs::InvalidQuery, docs::Unavailable,
))]
pub(super) async fn end_sessions_of_user(
    State(api): State<Api>,
    Admin(token): Admin,
    client: Client,
    Id(user): Id<Subject>,
    wait: Wait,
) -> Result<Json<SessionsEnded>, ApiError> {
    let sessions_ended = api.end_sessions_of(&user, &token, &client).await?;
    let everywhere = wait.until_everywhere(&api.node.feed).await?;
    Ok(Json(SessionsEnded { message: "Sessions ended.", sessions_ended, everywhere }))
}

/// Lists the sessions of all users, or of one user.
///
/// The sessions of a user are together, oldest first. The order of the users is unspecified but stable: a client that reads
/// page after page sees every session that exists all the time exactly once.
#[utoipa::path(get, path = "/admin/sessions", tag = "Administration", security(("access" = [])),
    params(("subject" = Option<String>, Query, description = "Only the sessions of the user with this id."), docs::PartParameters),
    responses(
    (status = 200, description = "The sessions.", body = SessionList),
    docs::TwoTokens, docs::Refusals, docs::AdminOnly, docs::InvalidQuery, docs::Unavailable,
))]
pub(super) async fn list_sessions(
    State(api): State<Api>,
    Admin(token): Admin,
    Query(mut fields): Query,
) -> Result<Json<SessionList>, ApiError> {
    let part = PartFields::<SessionCursor>::take(&mut fields);
    let subject = fields.optional("subject", id::<Subject>);
    let (part, (subject,)) = part.finish_with(fields, (subject,))?;
    api.sessions(subject.as_ref(), &part, &token).await
}
