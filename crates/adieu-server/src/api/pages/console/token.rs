//! A token that was pasted, explained.

use adieu::{time::Timestamp, token::TokenError};
use axum::{extract::State, response::Response};
use serde_json::Value;

use super::{Answer, Fields, Operator, Pages, answer, input};
use crate::{
    calendar,
    error::ApiError,
    inspection::{self, Findings, SessionState, Signature, TIMES, Verdict},
    pages::{ConsoleMessages, Found, Health, Section, Step, TokenPage},
};

/// `GET /console/token`
pub(super) async fn form(State(pages): State<Pages>, operator: Operator) -> Response {
    answer(&operator.visit, page(&pages, &operator, None).await)
}

/// `POST /console/token`, with `token`.
pub(super) async fn explain(
    State(pages): State<Pages>,
    operator: Operator,
    input::Form(form): input::Form,
) -> Response {
    let explained = async {
        let token = Fields(form).text("token")?;
        let token = token.trim().trim_start_matches("Bearer ").trim();
        let findings = inspection::judge(token, &pages.api.node).await?;
        let found = found(&findings, operator.visit.language.messages().console);
        page(&pages, &operator, Some(found)).await
    };
    answer(&operator.visit, explained.await)
}

async fn page(pages: &Pages, operator: &Operator, found: Option<Found>) -> Answer<TokenPage> {
    let (page, frame) = operator.frame(pages, Section::Token).await?;
    Ok::<_, ApiError>(TokenPage { page, frame, found })
}

fn found(findings: &Findings, c: &ConsoleMessages) -> Found {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let reason = findings.reason.clone().unwrap_or_default();
    let has_form = findings.header.is_some() && findings.claims.is_some();
    let is_revoked = findings.code == Some(TokenError::Revoked(adieu::revocation::RevokedBy::Token).code());
    let is_signed = findings.signature == Signature::Good;
    let ok = |name, text: String| Step { name, health: Health::Fresh, text };
    let bad = |name, text: String| Step { name, health: Health::Stale, text };
    let skipped = |name| Step { name, health: Health::Lagging, text: c.step_not_reached.to_owned() };
    let key = findings.header.as_ref().and_then(|header| header.get("kid")).map(text).unwrap_or_default();
    let signature = match findings.signature {
        Signature::Good => ok(c.step_signature, format!("{} {key}", c.signature_good).trim_end().to_owned()),
        Signature::Wrong => bad(c.step_signature, c.signature_wrong.to_owned()),
        Signature::NotChecked if has_form => bad(c.step_signature, reason.clone()),
        Signature::NotChecked => skipped(c.step_signature),
    };
    let (claims, revocation) = match (is_signed, findings.verdict) {
        (false, _) => (skipped(c.step_claims), skipped(c.step_revocation)),
        (true, Verdict::Good) => {
            (ok(c.step_claims, c.claims_good.to_owned()), ok(c.step_revocation, c.revocation_none.to_owned()))
        }
        (true, Verdict::Refused) if is_revoked => {
            let applies = format!("{} {reason}", c.revocation_applies);
            (ok(c.step_claims, c.claims_good.to_owned()), bad(c.step_revocation, applies))
        }
        (true, Verdict::Refused) => (bad(c.step_claims, reason.clone()), skipped(c.step_revocation)),
    };
    let session = match findings.session {
        SessionState::Live => ok(c.step_session, c.session_live.to_owned()),
        SessionState::Ended => bad(c.step_session, c.session_ended.to_owned()),
        SessionState::None => Step { name: c.step_session, health: Health::Lagging, text: c.session_none.to_owned() },
    };
    let form = if has_form { ok(c.step_form, c.form_good.to_owned()) } else { bad(c.step_form, reason) };
    let members = findings.header.iter().flatten().chain(findings.claims.iter().flatten());
    let members = members.map(|(name, value)| {
        let time = value.as_u64().filter(|_| TIMES.contains(&name.as_str())).map(Timestamp::from_unix);
        (name.clone(), time.map_or_else(|| text(value), |time| format!("{value} ({})", calendar::written(time))))
    });
    Found {
        is_accepted: findings.verdict == Verdict::Good,
        steps: vec![form, signature, claims, revocation, session],
        members: members.collect(),
    }
}
