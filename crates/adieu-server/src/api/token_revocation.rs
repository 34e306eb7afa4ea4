//! Token revocation (RFC 7009), for OAuth clients that know no other way to log out.

use adieu::{
    session::{Scope, SessionError},
    token::TokenError,
};
use axum::{
    Json,
    extract::{FromRequestParts, Request, State},
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Api,
    client::Client,
    docs,
    feed::{Wait, WaitParameters},
    introspect::TokenForm,
    service::{OAuthError, read_token_form},
};
use crate::{
    audit::{self, Event, scope_name},
    feed::Everywhere,
};

/// With `?wait=everywhere`: how many followers were waited for.
#[derive(Serialize, ToSchema)]
pub(super) struct TokenRevoked {
    everywhere: Everywhere,
}

/// Ends the session of a token, with all its tokens (RFC 7009).
///
/// Does what `/logout` does, for either token, and answers 200 once that is on stable storage; also if the token is not valid, has expired
/// or was revoked before, since nothing is left to do then. Without `wait` the body is empty. Anyone who has a token may revoke it, so a client
/// need not authenticate; credentials that are sent must be right.
#[utoipa::path(post, path = "/revoke", tag = "Session", security((), ("client" = [])),
    params(WaitParameters), request_body(content = TokenForm, content_type = "application/x-www-form-urlencoded"), responses(
    (status = 200, description = "The token is not valid, from now on or as before.", body = TokenRevoked),
    docs::BadForm, docs::WrongOAuthClient, docs::TooLarge, docs::Unavailable,
))]
pub(super) async fn revoke_token(State(api): State<Api>, request: Request) -> Result<Response, OAuthError> {
    let (mut parts, body) = request.into_parts();
    let origin = Client::from_request_parts(&mut parts, &api).await?;
    let wait = Wait::from_request_parts(&mut parts, &api).await;
    let wait = wait.map_err(|_| OAuthError::Request("The query may only be wait=everywhere.".into()))?;
    let (client, token) = read_token_form(Request::from_parts(parts, body), &api, &[]).await?;
    match api.node.sessions.log_out(&token, Scope::This).await {
        Ok(ended) => {
            api.node.metrics.logouts.inc();
            audit::Entry {
                scope: Some(scope_name(Scope::This)),
                sessions_ended: Some(ended.sessions),
                client: client.map(|client| client.name.clone()),
                ..audit::Entry::of_claims(&ended.claims, api.node.sessions.issuer())
            }
            .record(Event::Logout, origin.address)
            .await;
        }
        // Invalid tokens do not cause an error (§2.2). One whose key is not known here may be valid, and one that was revoked before may
        // still be accepted somewhere.
        Err(SessionError::InvalidToken(reason)) if reason != TokenError::Stale => {}
        Err(error) => return Err(OAuthError::Other(error.into())),
    }
    Ok(match wait.until_everywhere(&api.node.feed).await? {
        None => StatusCode::OK.into_response(),
        Some(everywhere) => Json(TokenRevoked { everywhere }).into_response(),
    })
}
