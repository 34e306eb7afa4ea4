//! `adieu token inspect`

use std::process::ExitCode;

use adieu::{
    SessionId,
    session::{Session, Sessions},
    token::{Refusal, TokenType},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Serialize;
use serde_json::{Map, Value};

use super::super::{
    output::{Output, Reader, Table, written},
    store::open,
};
use crate::config::Settings;
use adieu::time::Timestamp;

/// Claims that are times.
const TIMES: [&str; 3] = ["exp", "iat", "nbf"];

/// What is known about a token.
#[derive(Serialize)]
struct Findings {
    verdict: Verdict,
    /// What the API would answer.
    code: Option<&'static str>,
    reason: Option<String>,
    signature: Signature,
    session: SessionState,
    /// As the token has them: worth nothing unless the signature is good.
    header: Option<Map<String, Value>>,
    claims: Option<Map<String, Value>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Good,
    Refused,
}

#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
enum Signature {
    Good,
    Wrong,
    /// Something else was wrong first.
    NotChecked,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum SessionState {
    Live,
    Ended,
    /// The token names none, or nobody can know.
    None,
}

pub(super) async fn run(token: &str, settings: &Settings, mut output: Output) -> anyhow::Result<ExitCode> {
    let node = open(settings).await?;
    let findings = judge(token, &node.sessions).await?;
    match output.reader() {
        Reader::Machine => output.object(&findings)?,
        Reader::Person => show(&findings, &mut output)?,
    }
    output.finish()?;
    Ok(if findings.verdict == Verdict::Good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn judge(token: &str, sessions: &Sessions) -> anyhow::Result<Findings> {
    // Either type is asked what it would be asked by the server.
    let outcome = match sessions.verifier().verify(token) {
        Err(Refusal::WrongTokenType { expected: TokenType::Access }) => sessions.inspect(token).map(drop),
        other => other.map(drop),
    };
    let signature = signature(&outcome);
    let mut parts = token.split('.');
    let [header, claims] = [parts.next(), parts.next()].map(|part| part.and_then(decode));
    let session = match (signature, claim(&claims, "sid").map(SessionId::new)) {
        (Signature::Good, Some(Ok(id))) => Some(sessions.store().session(&id).await?),
        _ => None,
    };
    let state = match &session {
        Some(Some(_)) => SessionState::Live,
        Some(None) => SessionState::Ended,
        None => SessionState::None,
    };
    let mut reason = outcome.as_ref().err().map(ToString::to_string);
    let mut code = outcome.err().map(|refusal| refusal.code());
    if reason.is_none()
        && claim(&claims, "type") == Some(TokenType::Refresh.as_str())
        && let Some(refused) = refused_by_session(session.flatten().as_ref(), claim(&claims, "jti"))
    {
        reason = Some(refused.to_owned());
        code = Some(SESSION_ENDED);
    }
    let verdict = if reason.is_none() { Verdict::Good } else { Verdict::Refused };
    Ok(Findings { verdict, code, reason, signature, session: state, header, claims })
}

const SESSION_ENDED: &str = "token_revoked";

/// Whether a refresh token is the one that its session waits for.
fn refused_by_session(session: Option<&Session>, token_id: Option<&str>) -> Option<&'static str> {
    match session {
        None => Some("its session has ended"),
        Some(session) if Some(session.refresh_id.as_str()) == token_id => None,
        Some(_) => Some("the refresh token has been used already"),
    }
}

/// Everything that is looked at after the signature means that it was good.
fn signature(outcome: &Result<(), Refusal>) -> Signature {
    match outcome {
        Ok(())
        | Err(
            Refusal::WrongIssuer
            | Refusal::WrongAudience
            | Refusal::UnknownType
            | Refusal::MissingClaim(_)
            | Refusal::InvalidClaim(_)
            | Refusal::WrongTokenType { .. }
            | Refusal::NotYetValid
            | Refusal::Expired
            | Refusal::Revoked(_)
            | Refusal::Stale,
        ) => Signature::Good,
        Err(Refusal::BadSignature) => Signature::Wrong,
        Err(_) => Signature::NotChecked,
    }
}

fn decode(part: &str) -> Option<Map<String, Value>> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

fn claim<'a>(claims: &'a Option<Map<String, Value>>, name: &str) -> Option<&'a str> {
    claims.as_ref()?.get(name)?.as_str()
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
        Signature::Wrong => "wrong: nothing below can be believed",
        Signature::NotChecked => "not checked: nothing below can be believed",
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
