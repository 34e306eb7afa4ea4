//! Ending things by name.

use adieu::{
    SessionId, Subject, TokenId,
    session::{Selection, SessionError},
    time::Timestamp,
    token::Refusal,
};
use adieu_axum::BearerToken;
use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Api,
    client::{Admin, Client},
    docs,
    feed::{Wait, WaitParameters},
    view::id,
};
use crate::{
    audit::{self, Event},
    config::LONGEST_SESSION,
    error::{ApiError, FieldErrors},
    feed::Everywhere,
    input::Fields,
};

/// What to revoke: exactly one of `token`, `token_id`, `session`, `subject` and `everything`.
#[derive(Deserialize, ToSchema)]
#[schema(example = json!({"session": "01930a4e-5b7c-7d2f-9d3a-0c6f0f7f5a22"}))]
#[expect(dead_code, reason = "only describes what is read field by field")]
pub(super) struct RevocationRequest {
    /// A token of this server: an access token alone, or a refresh token with its whole session. It may have expired.
    token: Option<String>,
    /// The `jti` of a token.
    token_id: Option<String>,
    /// Beside `token_id`: the `exp` of that token, exactly. With a wrong one nothing is revoked; when in doubt leave it
    /// out, and the revocation is kept as long as any token lives.
    expires_at: Option<u64>,
    /// The `sid` of a session.
    session: Option<String>,
    /// The `sub` of somebody: all sessions, and whatever was issued until now.
    subject: Option<String>,
    /// `true`: all sessions of everybody, and whatever was issued until now, the caller's own token included.
    everything: Option<bool>,
}

/// What was revoked.
#[derive(Serialize, ToSchema)]
pub(super) struct Revoked {
    #[schema(example = "Revoked.")]
    message: &'static str,
    /// How many sessions ended by it.
    #[schema(example = 1)]
    sessions_ended: usize,
    /// Whether the caller's own token has been revoked by it: then log in again.
    own_token_revoked: bool,
    /// With `?wait=everywhere`: whom that was waited for.
    #[serde(skip_serializing_if = "Option::is_none")]
    everywhere: Option<Everywhere>,
}

enum Request {
    Token(String),
    TokenId(TokenId, Option<Timestamp>),
    Session(SessionId),
    Subject(Subject),
    Everything,
}

impl Request {
    /// What there is to write down of it once it is done.
    fn entry(&self) -> audit::Entry {
        let scope = |scope| audit::Entry { scope: Some(scope), ..audit::Entry::default() };
        match self {
            Self::Token(token) => audit::Entry { scope: Some("token"), ..audit::Entry::of_token(token) },
            Self::TokenId(id, _) => audit::Entry { token_id: Some(id.clone()), ..scope("token_id") },
            Self::Session(id) => audit::Entry { session: Some(id.clone()), ..scope("session") },
            Self::Subject(id) => audit::Entry { subject: Some(id.clone()), ..scope("subject") },
            Self::Everything => scope("everything"),
        }
    }
}

/// Revokes a token, a session, everything of somebody, or everything.
///
/// What has been revoked before, or is not there, is no error: in the end it is refused.
#[utoipa::path(post, path = "/revocations", tag = "Administration", security(("access" = [])),
    params(WaitParameters), request_body = RevocationRequest, responses(
    (status = 200, description = "Revoked, on stable storage.", body = Revoked),
    docs::BadRequest, docs::Refusals, docs::AdminOnly, docs::TooLarge, docs::NotJson, docs::Invalid, docs::Unavailable,
))]
pub(super) async fn revoke(
    State(api): State<Api>,
    Admin(admin): Admin,
    client: Client,
    own_token: BearerToken,
    wait: Wait,
    fields: Fields,
) -> Result<Json<Revoked>, ApiError> {
    let request = read(fields, api.node.clock.now())?;
    let sessions = &api.node.sessions;
    let entry = request.entry();
    let sessions_ended = match request {
        Request::Token(token) => match sessions.revoke_token(&token).await {
            Ok(ended) => ended,
            Err(SessionError::Refused(_)) => return Err(wrong("token", "Not a token of this server.")),
            Err(error) => return Err(error.into()),
        },
        Request::TokenId(id, expires_at) => {
            sessions.revoke_token_id(id, expires_at).await?;
            0
        }
        Request::Session(id) => sessions.end_sessions(Selection::One(id)).await?,
        Request::Subject(id) => sessions.revoke_subject(id).await?,
        Request::Everything => sessions.revoke_everything().await?,
    };
    audit::Entry { by: Some(admin.subject().clone()), sessions_ended: Some(sessions_ended), ..entry }
        .record(Event::Revoked, client.address);
    let own_token_revoked = matches!(sessions.verifier().verify(own_token.as_str()), Err(Refusal::Revoked(_)));
    let everywhere = wait.until_everywhere(&api.node.feed).await;
    Ok(Json(Revoked { message: "Revoked.", sessions_ended, own_token_revoked, everywhere }))
}

fn read(mut fields: Fields, now: Timestamp) -> Result<Request, ApiError> {
    let token = fields.optional("token", Ok);
    let token_id = fields.optional("token_id", id::<TokenId>);
    let expires_at = fields.optional_number("expires_at");
    let session = fields.optional("session", id::<SessionId>);
    let subject = fields.optional("subject", id::<Subject>);
    let everything = fields.optional_flag("everything");
    let (token, token_id, expires_at, session, subject, everything) =
        fields.finish((token, token_id, expires_at, session, subject, everything))?;
    let expires_at = expires_at.map(Timestamp::from_unix);

    if expires_at.is_some() && token_id.is_none() {
        return Err(wrong("expires_at", "Goes with token_id only."));
    }
    // Not by today's settings: the token may be from when tokens lived longer.
    if expires_at.is_some_and(|expires_at| expires_at > now.plus(LONGEST_SESSION)) {
        return Err(wrong("expires_at", "Later than any token of this server."));
    }
    match (token, token_id, session, subject, everything) {
        (Some(token), None, None, None, None) => Ok(Request::Token(token)),
        (None, Some(id), None, None, None) => Ok(Request::TokenId(id, expires_at)),
        (None, None, Some(id), None, None) => Ok(Request::Session(id)),
        (None, None, None, Some(id), None) => Ok(Request::Subject(id)),
        (None, None, None, None, Some(true)) => Ok(Request::Everything),
        (None, None, None, None, Some(false)) => Err(wrong("everything", "Must be true.")),
        _ => Err(wrong("_schema", "Give exactly one of token, token_id, session, subject and everything.")),
    }
}

fn wrong(field: &'static str, message: &'static str) -> ApiError {
    FieldErrors::one(field, message).into()
}
