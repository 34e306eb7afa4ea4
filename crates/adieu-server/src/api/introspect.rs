//! Token introspection (RFC 7662), for services that cannot verify tokens themselves.

use std::{sync::Arc, time::Duration};

use adieu::{
    session::{RefreshToken, Rotated, VerifiedToken},
    token::{Claims, TokenError, TokenType},
};
use adieu_axum::REJECTION_LOG_TARGET;
use axum::{
    Json,
    extract::{Request, State},
};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::time::timeout;
use utoipa::ToSchema;

use super::{
    Api, docs,
    service::{OAuthError, read_token_form},
};
use crate::{clients::Capability, error::ApiError, text::Username};

/// How long an introspection waits for the account, whose name it could do without.
const USERNAME_TIMEOUT: Duration = Duration::from_millis(250);

/// A token, and the credentials of a client. Whatever else is in the form is ignored, such as `token_type_hint`.
#[derive(Deserialize, ToSchema)]
#[expect(dead_code, reason = "only describes the schema")]
pub(super) struct TokenForm {
    /// An access or a refresh token.
    token: String,
    /// The name of the client, if its credentials are not in the header `Authorization`.
    #[schema(nullable = false)]
    client_id: Option<String>,
    /// Its secret.
    #[schema(nullable = false)]
    client_secret: Option<String>,
}

/// Returns whether a token is active, and its claims (RFC 7662).
///
/// Asks the same evaluator as every other path. A token that is not good, for whatever reason, is `{"active":false}`, with
/// nothing more. A refresh token is good when it could be used now; asking does not use it. A client that may `introspect-access` gets
/// this answer for every refresh token. When the node can't know, it answers 503.
#[utoipa::path(post, path = "/introspect", tag = "Service", security(("client" = [])),
    request_body(content = TokenForm, content_type = "application/x-www-form-urlencoded"), responses(
    (status = 200, description = "What it is worth. Not to be cached.", body = Object, examples(
        ("good" = (value = json!({
            "active": true, "token_type": "Bearer", "type": "access", "iss": "adieu",
            "sub": "01930a4e-5b7c-7d2f-9d3a-0c6f0f7f5a22", "sid": "01930a4e-5b7d-7bd0-8e0e-4d9f9a3cfb41",
            "jti": "4b4c6f3e-0f7b-4a2e-9d0a-0f3b9f1f3c55", "iat": 1800000000, "nbf": 1800000000, "exp": 1800000900,
            "fresh": true, "username": "jose"
        }))),
        ("not good" = (value = json!({"active": false})))
    )),
    docs::BadForm, docs::WrongOAuthClient, docs::MayNotIntrospect, docs::TooLarge, docs::Unavailable,
))]
pub(super) async fn introspect(State(api): State<Api>, request: Request) -> Result<Json<Value>, OAuthError> {
    let needed = [Capability::Introspect, Capability::IntrospectAccess];
    let (client, token) = read_token_form(request, &api, &needed).await?;
    let client = client.ok_or(ApiError::InvalidClient)?;
    let sessions = &api.node.sessions;
    let judged = match sessions.verify_any(&token) {
        // RFC 7662 §2.2: a resource server need not learn that there is such a token.
        Ok(VerifiedToken::Refresh(_)) if !client.can(Capability::Introspect) => {
            Err(TokenError::WrongTokenType { expected: TokenType::Access })
        }
        Ok(VerifiedToken::Access(claims)) => Ok(claims),
        Ok(VerifiedToken::Refresh(token)) => judge(&api, &token).await?.map(|()| Arc::clone(token.claims())),
        Err(error) => Err(error),
    };
    match judged {
        Ok(claims) => {
            if claims.token_type == TokenType::Access {
                sessions.record_use(&claims);
                api.node.aliases.note(&claims);
            }
            let username = api.username(&claims).await;
            Ok(Json(describe(&claims, username.as_ref(), api.node.clock.now())))
        }
        Err(TokenError::Stale) => Err(OAuthError::Other(TokenError::Stale.into())),
        Err(refusal) => {
            tracing::info!(target: REJECTION_LOG_TARGET, client = %client.name, reason = %refusal, "introspected");
            Ok(Json(json!({ "active": false })))
        }
    }
}

/// Returns the verdict that a use of the refresh token would get now.
async fn judge(api: &Api, token: &RefreshToken) -> Result<Result<(), TokenError>, ApiError> {
    Ok(match api.node.sessions.preview_refresh(token).await? {
        Rotated::Fresh(_) | Rotated::WithinGrace(_) => Ok(()),
        Rotated::Reused(..) | Rotated::Ended => Err(TokenError::Revoked(adieu::revocation::RevokedBy::Session)),
    })
}

impl Api {
    /// Returns the name of the user whose token it is; `None` if it is a token of another issuer, or if the account can't be read.
    async fn username(&self, claims: &Claims) -> Option<Username> {
        if claims.issuer != *self.node.sessions.issuer() {
            return None;
        }
        let account = timeout(USERNAME_TIMEOUT, self.node.accounts.store().by_id(&claims.subject)).await;
        account.ok()?.ok()?.map(|account| account.username)
    }
}

fn describe(claims: &Claims, username: Option<&Username>, now: adieu::time::Timestamp) -> Value {
    // Standard members take precedence over an application's own claims.
    let mut members: Map<String, Value> = claims.custom.clone();
    let mut set = |name: &str, value: Value| members.insert(name.to_owned(), value);
    set("active", true.into());
    set("iss", claims.issuer.as_str().into());
    set("sub", claims.subject.as_str().into());
    set("jti", claims.token_id.as_str().into());
    set("exp", claims.expires_at.as_unix().into());
    set("type", claims.token_type.as_str().into());
    set("fresh", claims.fresh.is_fresh(now).into());
    for (name, time) in [("iat", claims.issued_at), ("nbf", claims.not_before)] {
        if let Some(time) = time {
            set(name, time.as_unix().into());
        }
    }
    if let Some(username) = username {
        set("username", username.as_str().into());
    }
    if let Some(session) = &claims.session {
        set("sid", session.as_str().into());
    }
    if !claims.audience.is_empty() {
        set("aud", claims.audience.clone().into());
    }
    if claims.token_type == TokenType::Access {
        set("token_type", "Bearer".into());
    }
    Value::Object(members)
}
