//! The shapes of responses. Times are whole seconds since 1970, as in the claims of a token (`NumericDate`, RFC 7519
//! §2).

use std::{fmt, net::IpAddr};

use adieu::{
    SessionId, Subject,
    session::{Session, SessionKey, TokenPair},
    time::Timestamp,
};
use axum::{
    Json,
    http::header,
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    accounts::Account,
    error::ApiError,
    feed::Everywhere,
    input::{Both, Field, Fields, Finish},
    text::TextError,
};

/// That it was done.
#[derive(Serialize, ToSchema)]
pub(super) struct Message {
    pub(super) message: &'static str,
    /// With `?wait=everywhere`: whom that was waited for.
    #[serde(skip_serializing_if = "Option::is_none")]
    everywhere: Option<Everywhere>,
}

impl Message {
    pub(super) const fn new(message: &'static str) -> Json<Self> {
        Json(Self { message, everywhere: None })
    }

    /// Returns the response to a revocation, with the result of the wait if one was requested.
    pub(super) const fn revoked(message: &'static str, everywhere: Option<Everywhere>) -> Json<Self> {
        Json(Self { message, everywhere })
    }
}

/// What a login or a refresh gives.
#[derive(Serialize, ToSchema)]
pub(super) struct Tokens {
    /// To be sent with each request, as `Authorization: Bearer …`.
    #[schema(example = "eyJhbGciOiJFZERTQSIs…")]
    access_token: String,
    /// To be sent to `/refresh`, once; it gives the next one.
    #[schema(example = "eyJhbGciOiJFZERTQSIs…")]
    refresh_token: String,
    /// In how many seconds the access token expires (RFC 6749 §5.1).
    #[schema(example = 900)]
    expires_in: u64,
    /// In how many seconds the refresh token expires, unless it is used before.
    #[schema(example = 2_592_000)]
    refresh_expires_in: u64,
}

impl Tokens {
    /// Returns tokens with their remaining lifetimes as of `now`.
    pub(super) fn new(pair: TokenPair, now: Timestamp) -> Self {
        let left = |until: Timestamp| until.since(now).as_secs();
        let (expires_in, refresh_expires_in) = (left(pair.claims.expires_at), left(pair.refresh_expires_at));
        Self { access_token: pair.access, refresh_token: pair.refresh, expires_in, refresh_expires_in }
    }
}

impl IntoResponse for Tokens {
    fn into_response(self) -> Response {
        // RFC 6749 §5.1.
        ([(header::CACHE_CONTROL, "no-store"), (header::PRAGMA, "no-cache")], Json(self)).into_response()
    }
}

/// A user, as the user itself sees it.
#[derive(Serialize, ToSchema)]
pub(super) struct User {
    #[schema(example = "01930a4e-5b7c-7d2f-9d3a-0c6f0f7f5a11")]
    id: String,
    #[schema(example = "jose")]
    username: String,
}

impl From<&Account> for User {
    fn from(account: &Account) -> Self {
        Self { id: account.id.to_string(), username: account.username.to_string() }
    }
}

/// A user, as an administrator sees it.
#[derive(Serialize, ToSchema)]
pub(super) struct UserDetails {
    #[serde(flatten)]
    user: User,
    /// Whether its access tokens carry `is_admin`.
    is_admin: bool,
    /// Whether it may not log in.
    is_disabled: bool,
    /// When it was made.
    #[schema(example = 1_800_000_000)]
    created_at: u64,
    /// When it last logged in, behind by up to half a minute; null if it has not.
    #[schema(example = 1_800_000_600)]
    last_login_at: Option<u64>,
    /// Whether it must change its password before it can log in.
    must_change_password: bool,
}

impl From<&Account> for UserDetails {
    fn from(account: &Account) -> Self {
        Self {
            user: account.into(),
            is_admin: account.is_admin,
            is_disabled: account.is_disabled,
            created_at: account.created_at.as_unix(),
            last_login_at: account.last_login_at.map(Timestamp::as_unix),
            must_change_password: account.must_change_password,
        }
    }
}

/// A session: one login on one device.
#[derive(Serialize, ToSchema)]
pub(super) struct SessionDetails {
    /// The `sid` of its tokens.
    #[schema(example = "01930a4e-5b7c-7d2f-9d3a-0c6f0f7f5a22")]
    pub(super) id: String,
    /// The id of its user.
    pub(super) user_id: String,
    /// When the user logged in.
    #[schema(example = 1_800_000_000)]
    pub(super) created_at: u64,
    /// When it was last used; behind by up to half a minute.
    #[schema(example = 1_800_000_600)]
    pub(super) last_seen_at: u64,
    /// When it ends if it is not refreshed before.
    #[schema(example = 1_802_592_000)]
    expires_at: u64,
    /// From where the user logged in.
    #[schema(value_type = Option<String>, example = "192.0.2.1")]
    pub(super) address: Option<IpAddr>,
    /// What the client called itself, cut to 256 characters.
    #[schema(example = "curl/8.10.1")]
    pub(super) user_agent: Option<String>,
    /// Whether it is the session of the token that asks.
    pub(super) current: bool,
}

impl SessionDetails {
    pub(super) fn new(session: &Session, asking: Option<&SessionId>) -> Self {
        Self {
            id: session.id.to_string(),
            user_id: session.subject.to_string(),
            created_at: session.created_at.as_unix(),
            last_seen_at: session.last_seen_at.as_unix(),
            expires_at: session.refresh_expires_at.min(session.expires_at).as_unix(),
            address: session.origin.address,
            user_agent: session.origin.user_agent.clone(),
            current: asking == Some(&session.id),
        }
    }
}

/// A part of the users.
#[derive(Serialize, ToSchema)]
pub(super) struct Users {
    pub(super) users: Vec<UserDetails>,
    /// What to send as `after` to get the next ones; null when there are none.
    pub(super) next: Option<String>,
}

/// A part of the sessions, each user's oldest first.
#[derive(Serialize, ToSchema)]
pub(super) struct SessionList {
    pub(super) sessions: Vec<SessionDetails>,
    /// What to send as `after` to get the next ones; null when there are none.
    pub(super) next: Option<String>,
}

/// The position of a session in the list of all sessions, as text for a query: two parts in base64url, joined by a
/// dot.
pub(super) struct SessionCursor(pub(super) SessionKey);

impl SessionCursor {
    /// The error for any other text.
    pub(super) const NOT_ONE: &str = "Must be `next` of the part before.";
}

impl fmt::Display for SessionCursor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [subject, id] = [self.0.subject.as_str(), self.0.id.as_str()].map(|text| URL_SAFE_NO_PAD.encode(text));
        write!(formatter, "{subject}.{id}")
    }
}

impl TryFrom<String> for SessionCursor {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let decode = |text| String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok();
        let key = || {
            let (subject, id) = text.split_once('.')?;
            Some(SessionKey { subject: Subject::new(decode(subject)?).ok()?, id: SessionId::new(decode(id)?).ok()? })
        };
        key().map(Self).ok_or(Self::NOT_ONE)
    }
}

/// How many sessions ended.
#[derive(Serialize, ToSchema)]
pub(super) struct SessionsEnded {
    #[schema(example = "Sessions ended.")]
    pub(super) message: &'static str,
    #[schema(example = 2)]
    pub(super) sessions_ended: usize,
    /// With `?wait=everywhere`: whom that was waited for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) everywhere: Option<Everywhere>,
}

/// The requested part of a list.
pub(super) struct Part<T> {
    pub(super) after: Option<T>,
    pub(super) limit: usize,
}

/// The query fields of a part of a list.
pub(super) struct PartFields<T> {
    after: Field<Option<T>>,
    limit: Field<Option<usize>>,
}

/// Number of items in a part by default.
const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 1000;

impl<T: TryFrom<String, Error: std::fmt::Display>> PartFields<T> {
    /// Takes the fields `after` and `limit`.
    pub(super) fn take(fields: &mut Fields) -> Self {
        Self {
            after: fields.optional("after", id),
            limit: fields.optional("limit", |text| match text.parse() {
                Ok(limit) if (1..=MAX_LIMIT).contains(&limit) => Ok(limit),
                Ok(_) => Err(TextError::new(format!("Must be between 1 and {MAX_LIMIT}."))),
                Err(_) => Err(TextError::new("Not a valid integer.")),
            }),
        }
    }

    /// Returns the part, if the query has no other fields.
    ///
    /// # Errors
    /// All errors in the query.
    pub(super) fn finish(self, fields: Fields) -> Result<Part<T>, ApiError> {
        let (after, limit) = fields.finish((self.after, self.limit))?;
        Ok(Part::new(after, limit))
    }

    /// Returns the part and the values of other fields.
    ///
    /// # Errors
    /// All errors in the query.
    pub(super) fn finish_with<F: Finish>(self, fields: Fields, others: F) -> Result<(Part<T>, F::Values), ApiError> {
        let ((after, limit), others) = fields.finish(Both((self.after, self.limit), others))?;
        Ok((Part::new(after, limit), others))
    }
}

impl<T> Part<T> {
    /// Returns the first part, as long as one may be.
    pub(super) const fn longest() -> Self {
        Self { after: None, limit: MAX_LIMIT }
    }

    fn new(after: Option<T>, limit: Option<usize>) -> Self {
        Self { after, limit: limit.unwrap_or(DEFAULT_LIMIT) }
    }

    /// Returns how many items to fetch: one more than requested, to know whether there are more.
    pub(super) fn fetch(&self) -> usize {
        self.limit + 1
    }

    /// Truncates the fetched items to the requested number. Returns the cursor of the next part, if there is one.
    pub(super) fn cut<I>(&self, fetched: &mut Vec<I>, id: impl Fn(&I) -> String) -> Option<String> {
        let has_more = fetched.len() > self.limit;
        fetched.truncate(self.limit);
        fetched.last().filter(|_| has_more).map(id)
    }
}

/// Parses a time, in whole seconds since 1970.
pub(super) fn time(text: String) -> Result<Timestamp, TextError> {
    let seconds = text.parse().ok().filter(|seconds| *seconds <= Timestamp::MAX.as_unix());
    seconds.map(Timestamp::from_unix).ok_or_else(|| TextError::new("Not a valid integer."))
}

/// Parses a boolean of a query.
pub(super) fn flag(text: String) -> Result<bool, TextError> {
    text.parse().map_err(|_| TextError::new("Not a valid boolean."))
}

/// Parses an id.
pub(super) fn id<T: TryFrom<String, Error: std::fmt::Display>>(text: String) -> Result<T, TextError> {
    T::try_from(text).map_err(|error| TextError::new(error.to_string()))
}
