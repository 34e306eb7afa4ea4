//! `adieu token`

mod inspect;

use std::process::ExitCode;

use adieu::{TokenId, session::SessionError, time::Timestamp, token::dangerous::unverified_claims};
use anyhow::{Context as _, anyhow, ensure};
use clap::{Args, Subcommand};
use serde_json::json;

use super::{
    on_store::{OnStore, audited, open},
    output::counted,
    prompt::first_line,
};
use crate::{
    audit::{Entry, Event},
    config::{MAX_SESSION, Settings, redacted},
    issuers::first_keys,
    node::Node,
};

pub(super) type Arguments = OnStore<Command>;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Print the claims of a token and the verdict; the exit status is 0 if it is accepted, 1 if it is rejected
    Inspect {
        /// The token; without it or with `-`, it is read from standard input, and stays out of the shell's history
        token: Option<String>,
    },
    /// Revoke an access token alone, or a refresh token with its whole session
    Revoke(Revoke),
}

#[derive(Debug, Args)]
pub(super) struct Revoke {
    /// The token, which may have expired; without it or with `-`, it is read from standard input
    token: Option<String>,
    /// Revoke the token with this id (`jti`) instead; it need not exist yet
    #[arg(long, value_name = "JTI", allow_hyphen_values = true, conflicts_with = "token")]
    id: Option<TokenId>,
    /// The `exp` of that token, in seconds since 1970: the revocation is kept until then. Optional
    #[arg(long, value_name = "EXP", requires = "id")]
    expires_at: Option<u64>,
}

impl Arguments {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let settings = self.common.settings()?;
        let output = self.common.output();
        match self.command {
            // The token is read before the store is opened: by the time it is pasted, an open store could be too
            // stale to verify it.
            Command::Inspect { token } => inspect::run(&given(token, &settings)?, &settings, output).await,
            Command::Revoke(arguments) => {
                let mut output = output;
                let (sentence, object) = arguments.run(&settings).await?;
                output.result(&sentence, &object)?;
                output.finish()?;
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

fn given(token: Option<String>, settings: &Settings) -> anyhow::Result<String> {
    match token {
        Some(token) if token != "-" => Ok(token),
        _ => first_line("token", settings.max_token_bytes.get()),
    }
}

/// Waits for the keys with which a token may be signed: until they have been read, the token can't be verified.
async fn keys_for(token: &str, node: &Node) -> anyhow::Result<()> {
    let Ok(claims) = unverified_claims(token) else { return Ok(()) };
    let (named, settings) = (claims.get("iss").and_then(|issuer| issuer.as_str()), node.settings.load());
    for (issuer, keys) in node.trusted.load().key_followers() {
        let may_sign = match named {
            Some(named) => named == issuer.as_str(),
            None => settings.trusted_issuer.iter().any(|it| it.accept_missing_issuer && it.name == issuer.as_str()),
        };
        if may_sign {
            let read = first_keys(&keys).await;
            read.map_err(|why| anyhow!("no keys of the issuer {issuer}: {}", redacted(&why)))?;
        }
    }
    Ok(())
}

impl Revoke {
    async fn run(self, settings: &Settings) -> anyhow::Result<(String, serde_json::Value)> {
        audited(settings)?;
        match self.id {
            Some(id) => revoke_id(id, self.expires_at, settings).await,
            None => revoke_token(&given(self.token, settings)?, settings).await,
        }
    }
}

async fn revoke_token(token: &str, settings: &Settings) -> anyhow::Result<(String, serde_json::Value)> {
    let node = open(settings).await?;
    keys_for(token, &node).await.context("nothing was revoked")?;
    let ended = node.sessions.revoke_token(token).await.map_err(|error| match error {
        SessionError::InvalidToken(refusal) => anyhow!("nothing was revoked: {refusal}"),
        other => other.into(),
    })?;
    Entry {
        scope: Some("token"),
        sessions_ended: Some(ended.sessions),
        ..Entry::of_claims(&ended.claims, node.sessions.issuer())
    }
    .record(Event::Revoked, None)
    .await;
    Ok((
        format!("revoked the token; {} ended", counted(ended.sessions, "session")),
        json!({ "sessions_ended": ended.sessions }),
    ))
}

async fn revoke_id(
    id: TokenId,
    expires_at: Option<u64>,
    settings: &Settings,
) -> anyhow::Result<(String, serde_json::Value)> {
    let node = open(settings).await?;
    let now = node.clock.now();
    let expires_at = expires_at.map(Timestamp::from_unix);
    ensure!(expires_at.is_none_or(|time| time > now), "nothing was revoked: a token with this `exp` has expired");
    // A time in milliseconds would keep the revocation forever.
    ensure!(
        expires_at.is_none_or(|time| time <= now.plus(MAX_SESSION)),
        "nothing was revoked: no token lives that long; `exp` is in seconds since 1970"
    );
    let entry = Entry { token_id: Some(id.clone()), scope: Some("token_id"), ..Entry::default() };
    let done = (format!("revoked the token with the id {id}"), json!({ "id": id, "expires_at": expires_at }));
    node.sessions.revoke_token_id(id, expires_at).await?;
    entry.record(Event::Revoked, None).await;
    Ok(done)
}
