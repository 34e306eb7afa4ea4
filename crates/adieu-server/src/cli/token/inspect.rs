//! `adieu token inspect`

use std::process::ExitCode;

use adieu::{
    SessionId,
    revocation::RevokedBy,
    session::{RefreshToken, Rotated, VerifiedToken},
    time::Timestamp,
    token::{
        TokenError,
        dangerous::{unverified_claims, unverified_header},
    },
};
use serde::Serialize;
use serde_json::{Map, Value};

use super::super::{
    on_store::open,
    output::{Output, Reader, Table, written},
};
use crate::{config::Settings, node::Node};

/// Claims that hold times.
const TIMES: [&str; 3] = ["exp", "iat", "nbf"];

/// The findings about a token.
#[derive(Serialize)]
struct Findings {
    verdict: Verdict,
    /// The error code of the API.
    code: Option<&'static str>,
    reason: Option<String>,
    signature: Signature,
    session: SessionState,
    /// Header and claims as in the token: meaningless unless the signature is valid.
    header: Option<Map<String, Value>>,
    claims: Option<Map<String, Value>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Good,
    Refused,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Signature {
    Good,
    Wrong,
    /// Another check failed first.
    NotChecked,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum SessionState {
    Live,
    Ended,
    /// The token names no session, or the store cannot tell.
    None,
}

pub(super) async fn run(token: &str, settings: &Settings, mut output: Output) -> anyhow::Result<ExitCode> {
    let node = open(settings).await?;
    let findings = judge(token, &node).await?;
    match output.reader() {
        Reader::Machine => output.object(&findings)?,
        Reader::Person => show(&findings, &mut output)?,
    }
    output.finish()?;
    Ok(if findings.verdict == Verdict::Good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn judge(token: &str, node: &Node) -> anyhow::Result<Findings> {
    let sessions = &node.sessions;
    // Each type of token is verified as the server verifies it.
    let (outcome, refresh) = match sessions.verify_any(token) {
        Ok(VerifiedToken::Access(_)) => (Ok(()), None),
        Ok(VerifiedToken::Refresh(refresh)) => (Ok(()), Some(refresh)),
        Err(error) => (Err(error), None),
    };
    let signature = signature(&outcome);
    let [header, claims] = [unverified_header(token).ok(), unverified_claims(token).ok()];
    let id = claims.as_ref().and_then(|claims| claims.get("sid")?.as_str()).and_then(|id| SessionId::new(id).ok());
    let session = match id {
        Some(id) if signature == Signature::Good => match sessions.store().session(&id).await? {
            Some(_) => SessionState::Live,
            None => SessionState::Ended,
        },
        _ => SessionState::None,
    };
    let (code, reason) = match (outcome, refresh) {
        (Err(refusal), _) => (Some(refusal.code()), Some(refusal.to_string())),
        (Ok(()), Some(refresh)) => {
            let reason = refused_by_session(&refresh, node).await?;
            (reason.map(|_| TokenError::Revoked(RevokedBy::Session).code()), reason.map(str::to_owned))
        }
        (Ok(()), None) => (None, None),
    };
    let verdict = if reason.is_none() { Verdict::Good } else { Verdict::Refused };
    Ok(Findings { verdict, code, reason, signature, session, header, claims })
}

/// Returns why the session would reject a refresh token, without using the token.
async fn refused_by_session(token: &RefreshToken, node: &Node) -> anyhow::Result<Option<&'static str>> {
    Ok(match node.sessions.preview_refresh(token).await? {
        Rotated::Fresh(_) | Rotated::WithinGrace(_) => None,
        Rotated::Reused(..) => Some("the refresh token has been used already; using it again ends its session"),
        Rotated::Ended => Some("its session has ended"),
    })
}

/// Returns the result of the signature check. Every later check implies a valid signature.
fn signature(outcome: &Result<(), TokenError>) -> Signature {
    match outcome {
        Ok(())
        | Err(
            TokenError::WrongIssuer
            | TokenError::WrongAudience
            | TokenError::UnknownType
            | TokenError::MissingClaim(_)
            | TokenError::InvalidClaim(_)
            | TokenError::WrongTokenType { .. }
            | TokenError::NotYetValid
            | TokenError::Expired
            | TokenError::Revoked(_)
            | TokenError::Stale,
        ) => Signature::Good,
        Err(TokenError::BadSignature) => Signature::Wrong,
        Err(_) => Signature::NotChecked,
    }
}

fn show(findings: &Findings, output: &mut Output) -> anyhow::Result<()> {
    let mut table = Table::bare();
    let verdict = match &findings.reason {
        None => "good".to_owned(),
        Some(reason) => format!("refused: {reason}"),
    };
    table.row(output, ["token".to_owned(), verdict])?;
    let signature = match findings.signature {
        Signature::Good => "good",
        Signature::Wrong => "wrong: nothing below can be trusted",
        Signature::NotChecked => "not checked: nothing below can be trusted",
    };
    table.row(output, ["signature".to_owned(), signature.to_owned()])?;
    let session = match findings.session {
        SessionState::Live => "live",
        SessionState::Ended => "ended",
        SessionState::None => "",
    };
    table.row(output, ["session".to_owned(), session.to_owned()])?;
    for (name, value) in findings.header.iter().flatten() {
        table.row(output, [format!("header {name}"), shown(value)])?;
    }
    for (name, value) in findings.claims.iter().flatten() {
        let time = value.as_u64().filter(|_| TIMES.contains(&name.as_str())).map(Timestamp::from_unix);
        let value = match time {
            Some(time) => format!("{value} ({})", written(time)),
            None => shown(value),
        };
        table.row(output, [format!("claim {name}"), value])?;
    }
    table.print(output)
}

fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
