//! Users: registering, and what they do with their own account.

use adieu::{Subject, token::Claims};
use adieu_axum::AfterBody;
use axum::{Json, extract::State, http::StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{
    Api,
    client::{AccessToken, Client, Id, is_admin},
    docs,
    feed::{Wait, WaitParameters},
    view::{Message, User},
};
use crate::{
    accounts::{Account, LastAdmin, Role},
    audit::{self, Event},
    config::Registration,
    error::{ApiError, FieldErrors},
    input::Fields,
    text::{Password, Username},
};

/// A name and a password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Credentials)]
#[expect(dead_code, reason = "only describes the schema")]
pub(super) struct Credentials {
    /// 1 to 80 characters, without control characters and without white space around it; compared in Unicode's form NFC.
    #[schema(
        example = "jose",
        min_length = 1,
        max_length = 80,
        pattern = "^[^\\s\\u0000-\\u001f\\u007f-\\u009f\\u200b\\u200e\\u200f\\u2028-\\u202e\\u2060-\\u2069\\ufeff](?:[^\\u0000-\\u001f\\u007f-\\u009f\\u200b\\u200e\\u200f\\u2028-\\u202e\\u2060-\\u2069\\ufeff]*[^\\s\\u0000-\\u001f\\u007f-\\u009f\\u200b\\u200e\\u200f\\u2028-\\u202e\\u2060-\\u2069\\ufeff])?$"
    )]
    username: String,
    /// At most 1024 bytes.
    #[schema(example = "correct horse battery staple", format = Password, min_length = 1, max_length = 1024, pattern = "^[^\\u0000]*$")]
    password: String,
}

/// A name and a password, both new.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only describes the schema")]
pub(super) struct NewAccount {
    /// 1 to 80 characters that can be seen, without white space around it; kept in Unicode's form NFC.
    #[schema(
        example = "jose",
        min_length = 1,
        max_length = 80,
        pattern = "^[^\\s\\u0000-\\u001f\\u007f-\\u009f\\u00ad\\u034f\\u061c\\u115f\\u1160\\u17b4\\u17b5\\u180b-\\u180f\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u206f\\u3164\\ufe00-\\ufe0f\\ufeff\\uffa0\\ufff0-\\ufff8\u{1bca0}-\u{1bca3}\u{1d173}-\u{1d17a}\u{e0000}-\u{e0fff}](?:[^\\u0000-\\u001f\\u007f-\\u009f\\u00ad\\u034f\\u061c\\u115f\\u1160\\u17b4\\u17b5\\u180b-\\u180f\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u206f\\u3164\\ufe00-\\ufe0f\\ufeff\\uffa0\\ufff0-\\ufff8\u{1bca0}-\u{1bca3}\u{1d173}-\u{1d17a}\u{e0000}-\u{e0fff}]*[^\\s\\u0000-\\u001f\\u007f-\\u009f\\u00ad\\u034f\\u061c\\u115f\\u1160\\u17b4\\u17b5\\u180b-\\u180f\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u206f\\u3164\\ufe00-\\ufe0f\\ufeff\\uffa0\\ufff0-\\ufff8\u{1bca0}-\u{1bca3}\u{1d173}-\u{1d17a}\u{e0000}-\u{e0fff}])?$"
    )]
    username: String,
    /// At most 1024 bytes.
    #[schema(example = "correct horse battery staple", format = Password, min_length = 1, max_length = 1024, pattern = "^[^\\u0000]*$")]
    password: String,
    /// The code of an invitation, if registration is by invitation; it is then used up. Otherwise ignored.
    #[schema(nullable = false, example = "pZ3hVbZ0kq…")]
    invite: Option<String>,
}

/// The password as it is, and as it is to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only describes the schema")]
pub(super) struct PasswordChange {
    /// The password as it is.
    #[schema(example = "correct horse battery staple", format = Password, max_length = 1024, pattern = "^[^\\u0000]*$")]
    password: String,
    /// The password as it is to be.
    #[schema(example = "tr0ub4dor&3", format = Password, min_length = 1, max_length = 1024, pattern = "^[^\\u0000]*$")]
    new_password: String,
}

/// A name, the password as it is, and as it is to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only describes the schema")]
pub(super) struct PasswordReplacement {
    /// As in `/login`.
    #[schema(
        example = "jose",
        min_length = 1,
        max_length = 80,
        pattern = "^[^\\s\\u0000-\\u001f\\u007f-\\u009f\\u200b\\u200e\\u200f\\u2028-\\u202e\\u2060-\\u2069\\ufeff](?:[^\\u0000-\\u001f\\u007f-\\u009f\\u200b\\u200e\\u200f\\u2028-\\u202e\\u2060-\\u2069\\ufeff]*[^\\s\\u0000-\\u001f\\u007f-\\u009f\\u200b\\u200e\\u200f\\u2028-\\u202e\\u2060-\\u2069\\ufeff])?$"
    )]
    username: String,
    /// The password as it is.
    #[schema(example = "correct horse battery staple", format = Password, max_length = 1024, pattern = "^[^\\u0000]*$")]
    password: String,
    /// The password as it is to be: another one.
    #[schema(example = "tr0ub4dor&3", format = Password, min_length = 1, max_length = 1024, pattern = "^[^\\u0000]*$")]
    new_password: String,
}

/// A token and a new password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only describes the schema")]
pub(super) struct PasswordResetRequest {
    /// As `/users/{id}/reset-token` gave it.
    #[schema(example = "MDE5MzBhNGU….Kc3hVbZ0…")]
    token: String,
    /// The new password.
    #[schema(example = "tr0ub4dor&3", format = Password, min_length = 1, max_length = 1024, pattern = "^[^\\u0000]*$")]
    new_password: String,
}

impl Api {
    /// Verifies a name and a password, within the limits on attempts.
    ///
    /// # Errors
    /// Fails if they are wrong, or if there were too many attempts.
    pub(super) async fn authenticate(
        &self,
        username: &Username,
        password: &Password,
        client: &Client,
    ) -> Result<Account, ApiError> {
        let attempt = self.node.limits.attempt((&self.settings).into(), username, client.address)?;
        match self.node.accounts.authenticate(username, password, client.address).await {
            Ok(account) => {
                if let Some(known) = attempt.succeeded() {
                    let kept = self.node.accounts.store().remember_address(known, self.node.clock.now()).await;
                    if let Err(error) = kept {
                        let error = &error as &dyn std::error::Error;
                        tracing::warn!(error, "an address is not known to be the user's after a restart");
                    }
                }
                Ok(account)
            }
            // The attempt remains counted.
            Err(ApiError::InvalidCredentials) => {
                self.note_failed_login(username, client).await;
                Err(ApiError::InvalidCredentials)
            }
            Err(error) => {
                attempt.release();
                Err(error)
            }
        }
    }

    /// Records a failed login, with the id of its account if there is one. The store is queried in either case, so
    /// that the time is the same.
    pub(super) async fn note_failed_login(&self, username: &Username, client: &Client) {
        self.node.metrics.failed_logins.inc();
        let account = self.node.accounts.store().by_username(username).await.ok().flatten();
        audit::Entry { subject: account.map(|account| account.id), ..Default::default() }
            .record(Event::LoginFailed, client.address)
            .await;
    }

    /// Verifies the password of the user whose token this is, as a login does.
    ///
    /// # Errors
    /// [`ApiError::InvalidCredentials`] if it is another one; also if there were too many attempts.
    pub(super) async fn confirm_password(
        &self,
        token: &Claims,
        password: &Password,
        client: &Client,
    ) -> Result<Account, ApiError> {
        let account = self.account(&token.subject).await?;
        let session = token.session.as_ref().map_or(token.subject.as_str(), |session| session.as_str());
        let attempt = self.node.limits.confirmation((&self.settings).into(), session)?;
        let confirmed = self.node.accounts.authenticate(&account.username, password, client.address).await;
        if matches!(confirmed, Err(ApiError::InvalidCredentials)) {
            self.note_failed_login(&account.username, client).await;
        } else {
            attempt.release();
        }
        confirmed
    }

    /// # Errors
    /// [`ApiError::Forbidden`] if strangers may not register.
    pub(super) fn require_registration(&self) -> Result<(), ApiError> {
        match self.settings.registration() {
            Registration::Open | Registration::Invite => Ok(()),
            Registration::Closed => Err(ApiError::Forbidden("Registration is closed.".into())),
        }
    }

    /// Adds a user, within the limit of its address. `invite` is the code of an invitation, if registration is by invitation.
    ///
    /// # Errors
    /// Fails if the name is taken, if the code is not valid, or if there were too many registrations. One that fails for the name or the code
    /// counts, too.
    pub(super) async fn register(
        &self,
        username: Username,
        password: &Password,
        invite: Option<SecretString>,
        client: &Client,
    ) -> Result<(), ApiError> {
        let taken = self.node.limits.registration((&self.settings).into(), client.address)?;
        let (accounts, address) = (&self.node.accounts, client.address);
        let added = async {
            Ok(match self.settings.registration() {
                Registration::Invite => {
                    let code = invite.unwrap_or_default();
                    let (account, invite) =
                        accounts.add_invited(username, password, code.expose_secret(), address).await?;
                    (account, Some(invite.id))
                }
                _ => (accounts.add(username, password, Role::User, Some(address)).await?, None),
            })
        };
        let (account, invite) = taken.unless_failed(added.await)?;
        audit::Entry { invite, ..audit::Entry::of(&account.id) }.record(Event::AccountAdded, address).await;
        Ok(())
    }

    /// Changes the password of the user whose token this is, and ends the user's other sessions.
    ///
    /// # Errors
    /// [`ApiError::InvalidCredentials`] if `current` is not the password.
    pub(super) async fn change_password(
        &self,
        token: &Claims,
        current: &Password,
        chosen: &Password,
        client: &Client,
    ) -> Result<(), ApiError> {
        let account = self.confirm_password(token, current, client).await?;
        if account.must_change_password {
            require_another(current, chosen)?;
        }
        self.node.accounts.change_password(&account, chosen, token.session.clone(), client.address).await?;
        audit::Entry { session: token.session.clone(), ..audit::Entry::of(&account.id) }
            .record(Event::PasswordChanged, client.address)
            .await;
        Ok(())
    }

    /// Changes the password of a user without a token, and ends the user's sessions.
    ///
    /// # Errors
    /// [`ApiError::InvalidCredentials`] if `current` is not the password.
    pub(super) async fn replace_password(
        &self,
        username: &Username,
        current: &Password,
        chosen: &Password,
        client: &Client,
    ) -> Result<(), ApiError> {
        let account = self.authenticate(username, current, client).await?;
        require_another(current, chosen)?;
        self.node.accounts.change_password(&account, chosen, None, client.address).await?;
        audit::Entry::of(&account.id).record(Event::PasswordChanged, client.address).await;
        Ok(())
    }

    /// Returns the account with this id, if it is the caller's own or the caller is an administrator. For other
    /// callers it is not found.
    async fn visible_account(&self, token: &AccessToken, id: &Subject) -> Result<Account, ApiError> {
        if token.subject() != id && !is_admin(token, self.node.sessions.issuer()) {
            return Err(ApiError::NotFound);
        }
        self.account(id).await
    }

    /// Returns the account with this id.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if there is none.
    pub(super) async fn account(&self, id: &Subject) -> Result<Account, ApiError> {
        self.node.accounts.store().by_id(id).await?.ok_or(ApiError::NotFound)
    }
}

/// Registers a user.
///
/// How many one address may register is limited as failed logins are. The server may have been told not to let
/// strangers register, or only with an invitation (`/invites`). A wrong code, a used one and an expired one get the same answer.
#[utoipa::path(post, path = "/register", tag = "Account", request_body = NewAccount, responses(
    (status = 201, description = "Registered.", body = Message, example = json!({"message": "User created successfully."})),
    docs::BadRequest, docs::RegistrationClosed, docs::NameTaken, docs::TooLarge, docs::NotJson, docs::Invalid,
    docs::TooMany, docs::Unavailable,
))]
pub(super) async fn register(
    State(api): State<Api>,
    client: Client,
    mut fields: Fields,
) -> Result<(StatusCode, Json<Message>), ApiError> {
    api.require_registration()?;
    let minimum = api.settings.min_password_length.get();
    let username = fields.required("username", |text| Username::chosen(&text));
    let password = fields.required("password", |text| Password::chosen(text.into(), minimum));
    let invite = fields.optional("invite", |text| Ok(SecretString::from(text)));
    let (username, password, invite) = fields.finish((username, password, invite))?;

    api.register(username, &password, invite, &client).await?;
    Ok((StatusCode::CREATED, Message::new("User created successfully.")))
}

/// Changes the caller's password and ends the caller's other sessions.
///
/// A wrong current password counts as a failed login. It is a wrong field (422), not a refused token (401), since the
/// token is good.
#[utoipa::path(post, path = "/password", tag = "Account", request_body = PasswordChange,
    security(("access" = [])), params(WaitParameters), responses(
    (status = 200, description = "Changed.", body = Message, example = json!({"message": "Password changed."})),
    docs::BadRequest, docs::Refusals, docs::TooLarge, docs::NotJson, docs::Invalid, docs::TooMany, docs::Unavailable,
))]
pub(super) async fn change_password(
    State(api): State<Api>,
    AfterBody((token, client, wait), mut fields): AfterBody<(AccessToken, Client, Wait), Fields>,
) -> Result<Json<Message>, ApiError> {
    let minimum = api.settings.min_password_length.get();
    let current = fields.required("password", |text| Password::typed(text.into()));
    let chosen = fields.required("new_password", |text| Password::chosen(text.into(), minimum));
    let (current, chosen) = fields.finish((current, chosen))?;

    api.change_password(&token, &current, &chosen, &client).await.map_err(|error| match error {
        ApiError::InvalidCredentials => FieldErrors::one("password", "Not the current password.").into(),
        other => other,
    })?;
    Ok(Message::revoked("Password changed.", wait.until_everywhere(&api.node.feed).await?))
}

/// Changes the password of a user without a token, with the old password, and ends the user's sessions.
///
/// This is for a user whose login is answered 403 `password_change_required`. The user then logs in with the new
/// password. Failed attempts are limited and answered like failed logins.
#[utoipa::path(post, path = "/password/change", tag = "Account", request_body = PasswordReplacement,
    params(WaitParameters), responses(
    (status = 200, description = "Changed.", body = Message, example = json!({"message": "Password changed."})),
    docs::BadRequest, docs::WrongCredentials, docs::TooLarge, docs::NotJson, docs::Invalid, docs::TooMany,
    docs::Unavailable,
))]
pub(super) async fn replace_password(
    State(api): State<Api>,
    client: Client,
    wait: Wait,
    mut fields: Fields,
) -> Result<Json<Message>, ApiError> {
    let minimum = api.settings.min_password_length.get();
    let username = fields.required("username", |text| Username::new(&text));
    let current = fields.required("password", |text| Password::typed(text.into()));
    let chosen = fields.required("new_password", |text| Password::chosen(text.into(), minimum));
    let (username, current, chosen) = fields.finish((username, current, chosen))?;

    api.replace_password(&username, &current, &chosen, &client).await?;
    Ok(Message::revoked("Password changed.", wait.until_everywhere(&api.node.feed).await?))
}

/// Sets a new password with a token that resets it, and ends the user's sessions.
///
/// The user then logs in with the new password. Every invalid token is answered alike; attempts are limited per address.
#[utoipa::path(post, path = "/password/reset", tag = "Account", request_body = PasswordResetRequest,
    params(WaitParameters), responses(
    (status = 200, description = "Set.", body = Message, example = json!({"message": "Password changed."})),
    docs::BadRequest, docs::TooLarge, docs::NotJson, docs::Invalid, docs::TooMany, docs::Unavailable,
))]
pub(super) async fn reset_password(
    State(api): State<Api>,
    client: Client,
    wait: Wait,
    mut fields: Fields,
) -> Result<Json<Message>, ApiError> {
    let minimum = api.settings.min_password_length.get();
    let token = fields.required("token", |text| Ok(SecretString::from(text)));
    let chosen = fields.required("new_password", |text| Password::chosen(text.into(), minimum));
    let (token, chosen) = fields.finish((token, chosen))?;

    let taken = api.node.limits.reset((&api.settings).into(), client.address)?;
    let reset = api.node.accounts.reset_password(token.expose_secret(), &chosen, client.address).await;
    let id = taken.unless_failed(reset)?;
    audit::Entry::of(&id).record(Event::PasswordReset, client.address).await;
    Ok(Message::revoked("Password changed.", wait.until_everywhere(&api.node.feed).await?))
}

fn require_another(current: &Password, chosen: &Password) -> Result<(), FieldErrors> {
    match chosen.is_same(current) {
        true => Err(FieldErrors::one("new_password", "Must not be the current password.")),
        false => Ok(()),
    }
}

/// Shows a user: the caller, or, to an administrator, anyone.
///
/// Whatever else is asked for is not found, whether it exists or not.
#[utoipa::path(get, path = "/user/{id}", tag = "Account", security(("access" = [])),
    params(("id" = String, Path, description = "The user's id: `sub` in its tokens.")), responses(
    (status = 200, description = "The user.", body = User),
    docs::TwoTokens, docs::Refusals, docs::NotFound, docs::Unavailable,
))]
pub(super) async fn show(
    State(api): State<Api>,
    token: AccessToken,
    Id(id): Id<Subject>,
) -> Result<Json<User>, ApiError> {
    api.visible_account(&token, &id).await.map(|account| Json(User::from(&account)))
}

/// Deletes a user and ends its sessions: the caller, or, for an administrator, anyone else.
///
/// To delete itself the caller needs a fresh token, one from a login: a stolen one that was refreshed will not do. An
/// administrator can't delete its own account, so that there is always one. Whatever else is asked for is not found,
/// whether it exists or not.
#[utoipa::path(delete, path = "/user/{id}", tag = "Account", security(("access" = [])),
    params(("id" = String, Path, description = "The user's id: `sub` in its tokens."), WaitParameters), responses(
    (status = 200, description = "Deleted.", body = Message, example = json!({"message": "User deleted."})),
    docs::TwoTokens, docs::FreshRefusals, docs::NotFound, docs::NotDeleted, docs::InvalidQuery, docs::Unavailable,
))]
pub(super) async fn delete(
    State(api): State<Api>,
    token: AccessToken,
    client: Client,
    Id(id): Id<Subject>,
    wait: Wait,
) -> Result<Json<Message>, ApiError> {
    let account = api.visible_account(&token, &id).await?;
    if *token.subject() == account.id {
        token.require_fresh(api.node.clock.now())?;
        if account.is_admin {
            return Err(ApiError::Conflict("You can't delete yourself.".into()));
        }
    }
    api.node.accounts.delete(&account.id, LastAdmin::Stays).await?;
    audit::Entry::of(&account.id).by(token.subject()).record(Event::AccountDeleted, client.address).await;
    Ok(Message::revoked("User deleted.", wait.until_everywhere(&api.node.feed).await?))
}
