//! The end of a session, told to the page that is open when it ends: server-sent events.

use std::{convert::Infallible, future::ready, time::Duration};

use adieu::{Subject, token::TokenError};
use adieu_axum::TokenEnd;
use axum::{
    extract::State,
    http::{HeaderName, HeaderValue},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures_util::{StreamExt as _, stream};
use serde_json::json;

use super::{Api, client::AccessToken, docs};
use crate::error::ApiError;

/// How often an open stream sends a comment, so that proxies do not take it for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// How long a browser waits before it opens the stream again.
const RETRY: Duration = Duration::from_secs(1);

/// Tells the page of a user when its session ends, as server-sent events.
///
/// The stream begins with a comment, and has one event, `ended`, sent within a quarter of a second after this node would reject a
/// request with the token. Its data has the `error` of that rejection: `token_revoked` if the session has ended, and `token_expired` if
/// the client must refresh and open the stream again. Then the stream closes. It closes without an event if the server stops, or
/// can't know whether the token is good: open it again. Only this server's own tokens have a stream, and a user has 16 at most. The
/// `EventSource` of browsers sends no `Authorization` header: read the stream with `fetch`.
#[utoipa::path(get, path = "/sessions/events", tag = "Session", security(("access" = [])), responses(
    (status = 200, description = "The stream.", body = String, content_type = "text/event-stream",
        example = "event: ended\ndata: {\"error\":\"token_revoked\"}\n\n"),
    docs::TwoTokens, docs::Refusals, docs::TooManyStreams, docs::Unavailable,
))]
pub(super) async fn events(State(api): State<Api>, token: AccessToken, end: TokenEnd) -> Result<Response, ApiError> {
    open(&api, token.subject(), end)
}

/// Returns the stream of a user's token.
///
/// # Errors
/// [`ApiError::TooManyStreams`] if the user has too many.
pub(super) fn open(api: &Api, subject: &Subject, end: TokenEnd) -> Result<Response, ApiError> {
    let share = api.node.streams.take(subject.clone()).ok_or(ApiError::TooManyStreams)?;
    let opened = Event::default().retry(RETRY).comment("open");
    let mut leaving = api.node.is_leaving.subscribe();
    let ended = async move {
        let _share = share;
        tokio::select! {
            refusal = end.wait() => ended(&refusal),
            _ = leaving.wait_for(|is_leaving| *is_leaving) => None,
        }
    };
    let events = stream::once(ready(Some(opened))).chain(stream::once(ended)).filter_map(ready);
    // nginx would otherwise keep the event until its buffer is full.
    let unbuffered = [(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"))];
    let events = Sse::new(events.map(Ok::<_, Infallible>)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    Ok((unbuffered, events).into_response())
}

/// Returns the event about the end of a token; `None` if it may be good, which is not known here.
fn ended(refusal: &TokenError) -> Option<Event> {
    let error = match refusal {
        TokenError::Stale => return None,
        TokenError::Revoked(_) => "token_revoked",
        TokenError::Expired => "token_expired",
        _ => "invalid_token",
    };
    Some(Event::default().event("ended").data(json!({ "error": error }).to_string()))
}
