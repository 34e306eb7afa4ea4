//! Receivers: what each gets about a revocation, and one attempt to send it.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use adieu::{
    Error, Issuer,
    revocation::{Revocation, Target},
    session::Sessions,
    time::Timestamp,
    token::{LogoutClaims, LogoutTarget, encode_logout},
};
use adieu_events::WebhookSecrets;
use anyhow::{Context as _, bail, ensure};
use reqwest::{
    Client, Method, RequestBuilder, Response, StatusCode, Url,
    header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER},
};

use super::{destination, message};
use crate::{
    clients::{self, BackchannelLogout, ClientName},
    config::{Settings, Webhook},
    secret_file,
    traces::Traces,
};

/// The longest delay that a receiver may ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(600);

/// A receiver of messages about revocations.
#[derive(Debug)]
pub struct Receiver {
    pub(super) name: String,
    url: Url,
    client: Client,
    form: Form,
}

/// The form of the messages of a receiver.
#[derive(Debug)]
enum Form {
    /// Standard Webhooks.
    Webhook { types: Vec<String>, secrets: WebhookSecrets },
    /// Logout tokens of OpenID Connect Back-Channel Logout 1.0.
    LogoutToken { audience: String, issuer: Issuer, sessions: Arc<Sessions> },
}

/// Returns the name under which the progress of the deliveries to a relying party is stored. No webhook has such a name.
#[must_use]
pub fn name_of_client(client: &ClientName) -> String {
    format!("client:{client}")
}

/// Checks where a relying party wants to get logout tokens.
///
/// # Errors
/// If it is not an absolute URL without a fragment (OpenID Connect Back-Channel Logout 1.0 §2.2), or one to which nothing may be sent.
pub fn check_backchannel_logout(to: &BackchannelLogout) -> anyhow::Result<()> {
    logout_url(to).map(drop)
}

fn logout_url(to: &BackchannelLogout) -> anyhow::Result<Url> {
    let url = destination::parse(&to.uri, to.allow_private)?;
    ensure!(url.fragment().is_none(), "the url must not have a fragment");
    Ok(url)
}

impl Receiver {
    /// Prepares the webhooks of the settings.
    ///
    /// # Errors
    /// If a URL, a type or a secret is not valid; the error is one line that names the receiver, without the URL.
    pub fn of(settings: &Settings) -> anyhow::Result<Vec<Self>> {
        let prepare = |webhook| Self::webhook(webhook).with_context(|| format!("webhook {:?}", webhook.name));
        settings.webhook.iter().map(prepare).collect()
    }

    fn webhook(webhook: &Webhook) -> anyhow::Result<Self> {
        if let Some(other) = webhook.types.iter().find(|name| !message::TYPES.contains(&name.as_str())) {
            bail!("{other:?} is not a type of message: {}", message::TYPES.join(", "));
        }
        Ok(Self {
            name: webhook.name.clone(),
            url: destination::parse(&webhook.url, webhook.allow_private)?,
            client: destination::client(webhook.allow_private)?,
            form: Form::Webhook {
                types: webhook.types.clone(),
                secrets: secret_file::read(&webhook.secret_file, WebhookSecrets::parse)?,
            },
        })
    }

    /// Prepares a relying party, which gets logout tokens of the issuer of these sessions; `None` if the client is none.
    ///
    /// # Errors
    /// If its URL is not valid.
    pub(super) fn relying_party(client: &clients::Client, sessions: &Arc<Sessions>) -> anyhow::Result<Option<Self>> {
        let Some(to) = &client.backchannel_logout else { return Ok(None) };
        Ok(Some(Self {
            name: name_of_client(&client.name),
            url: logout_url(to)?,
            client: destination::client(to.allow_private)?,
            form: Form::LogoutToken {
                audience: client.name.to_string(),
                issuer: sessions.issuer().clone(),
                sessions: Arc::clone(sessions),
            },
        }))
    }

    /// Returns whether the receiver gets a message about a revocation.
    pub(super) fn wants(&self, revocation: &Revocation) -> bool {
        match &self.form {
            Form::Webhook { types, .. } => message::type_of(revocation)
                .is_some_and(|name| types.is_empty() || types.iter().any(|wanted| wanted == name)),
            Form::LogoutToken { issuer, .. } => revocation.issuer == *issuer && logged_out(revocation).is_some(),
        }
    }

    /// Sends the message about a revocation once. The message is new for each attempt, but for its id.
    pub(super) async fn send(
        &self,
        id: &str,
        revocation: &Revocation,
        now: Timestamp,
        traces: &Traces,
    ) -> Result<(), Failure> {
        let mut request = self.request(id, revocation, now).map_err(|error| Failure::because(error.into()))?;
        let span = traces.to_another();
        if let Some(span) = &span {
            let mut headers = HeaderMap::new();
            span.context().put(&mut headers);
            request = request.headers(headers);
        }
        // Nothing of the body of the answer is read.
        let sent = request.send().await;
        if let Some(span) = span {
            let status = sent.as_ref().ok().map(|answer| answer.status().as_u16());
            span.of_answer(&Method::POST, self.url.host_str().unwrap_or_default(), status);
        }
        match sent {
            Ok(answer) if self.is_success(answer.status()) => Ok(()),
            Ok(answer) => Err(self.failure(&answer, now)),
            Err(error) => Err(Failure::because(error.without_url().into())),
        }
    }

    fn request(&self, id: &str, revocation: &Revocation, now: Timestamp) -> Result<RequestBuilder, Error> {
        let request = self.client.post(self.url.clone());
        Ok(match &self.form {
            Form::Webhook { secrets, .. } => {
                let body = message::body(message::type_of(revocation).unwrap_or_default(), revocation, now);
                request
                    .header(CONTENT_TYPE, "application/json")
                    .header("webhook-id", id)
                    .header("webhook-timestamp", now.as_unix())
                    .header("webhook-signature", secrets.sign(id, now, body.as_bytes()))
                    .body(body)
            }
            Form::LogoutToken { audience, issuer, sessions } => {
                let target = logged_out(revocation)
                    .ok_or_else(|| Error::Claims("a logout token names a session or a subject".to_owned()))?;
                let claims = LogoutClaims::new(issuer.clone(), audience, target, now);
                let token = encode_logout(&sessions.signing_key(), &claims)?;
                // No character of a token is escaped in a form.
                request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(format!("logout_token={token}"))
            }
        })
    }

    fn is_success(&self, status: StatusCode) -> bool {
        match self.form {
            Form::Webhook { .. } => status.is_success(),
            // §2.8.
            Form::LogoutToken { .. } => matches!(status, StatusCode::OK | StatusCode::NO_CONTENT),
        }
    }

    fn failure(&self, answer: &Response, now: Timestamp) -> Failure {
        Failure {
            why: format!("status {}", answer.status().as_u16()),
            retry_after: retry_after(answer.headers(), now),
            // §2.8: the token is not valid, or the logout has failed.
            is_refusal: matches!(self.form, Form::LogoutToken { .. }) && answer.status() == StatusCode::BAD_REQUEST,
        }
    }
}

/// Returns how long the receiver asks to be left alone: for a number of seconds, or until a date (RFC 9110 §10.2.3).
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Duration {
    let value = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let until = || {
        let date = httpdate::parse_http_date(value).ok()?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        Some(Timestamp::from_unix(date.as_secs()).since(now))
    };
    let asked = match !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        true => Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX))),
        false => until(),
    };
    asked.unwrap_or_default().min(MAX_RETRY_AFTER)
}

/// Returns who has logged out by a revocation, if a logout token can say that.
fn logged_out(revocation: &Revocation) -> Option<LogoutTarget> {
    match &revocation.target {
        Target::Session { id } => Some(LogoutTarget::Session(id.clone())),
        Target::Subject { id, .. } => Some(LogoutTarget::Subject(id.clone())),
        _ => None,
    }
}

/// The failure of one attempt.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) why: String,
    /// How long the receiver asks to be left alone.
    pub(super) retry_after: Duration,
    /// Whether the receiver refuses this message, and may refuse it for ever.
    pub(super) is_refusal: bool,
}

impl Failure {
    fn because(error: anyhow::Error) -> Self {
        Self { why: format!("{error:#}"), retry_after: Duration::ZERO, is_refusal: false }
    }
}
