//! The audit trail of this server.

use adieu::time::Timestamp;
use axum::{
    extract::State,
    http::header,
    response::{IntoResponse as _, Response},
};
use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use super::{Answer, Names, Operator, Pages, answer, notice, url};
use crate::{
    audit::{Event, Search, Sought},
    calendar,
    error::ApiError,
    pages::{AuditPage, AuditRow, Section},
};

/// Events on one page, and in one export.
const PAGE: usize = 100;
const EXPORTED: usize = 10_000;

/// How many times as much of the file an export reads as a page.
const MAX_EXPORT_READS: usize = 16;

/// The fields of an event that say whom it is about; the first that is there is shown as that.
const CONCERNED: [&str; 5] = ["subject", "session", "token_id", "key_id", "receiver"];
/// The fields that say who did it.
const ACTORS: [&str; 3] = ["actor", "client", "uid"];

/// `GET /console/audit`, with `find`, `event`, `until` and `before`; with `export`, as lines of JSON.
pub(super) async fn search(State(pages): State<Pages>, operator: Operator) -> Response {
    let query = &operator.query;
    let is_export = query.get("export").is_some();
    match found(&pages, &operator, is_export).await {
        Ok((Some(lines), _)) if is_export => {
            let headers = [
                (header::CONTENT_TYPE, "application/x-ndjson"),
                (header::CACHE_CONTROL, "no-store"),
                (header::CONTENT_DISPOSITION, "attachment; filename=\"audit.jsonl\""),
            ];
            (headers, lines).into_response()
        }
        Ok((_, page)) => answer(&operator.visit, Ok(page)),
        Err(error) => notice(&operator.visit, error),
    }
}

async fn found(pages: &Pages, operator: &Operator, is_export: bool) -> Answer<(Option<String>, AuditPage)> {
    let (page, mut frame) = operator.frame(pages, Section::Audit).await?;
    let query = &operator.query;
    let [find, event, until] = ["find", "event", "until"].map(|name| query.text(name));
    let not_after = calendar::parse(&until);
    if !until.is_empty() && not_after.is_none() {
        frame.problem = Some(page.messages().console.not_a_time.to_owned());
    }
    let sought = Sought {
        text: find.clone(),
        event: event.clone(),
        not_after,
        before: query.text("before").parse().ok(),
        limit: if is_export { EXPORTED } else { PAGE },
        ..Sought::default()
    };
    let file = pages.api.settings.audit_log.clone();
    let is_kept = file.is_some();
    let found = match file {
        Some(file) => {
            let searching = spawn_blocking(move || match is_export {
                true => sought.search_on(&file, MAX_EXPORT_READS),
                false => sought.search(&file),
            });
            searching.await.map_err(ApiError::internal)?.map_err(ApiError::internal)?
        }
        None => Search::default(),
    };
    let parameters = [("find", &*find), ("event", &*event), ("until", &*until)];
    let link = |more: (&'static str, &str)| url(Section::Audit.path(), &[&parameters[..], &[more]].concat());
    let next = found.before.map(|before| link(("before", &before.to_string())));
    let export = link(("export", "jsonl"));
    // An export that is only a part says so.
    let rest = next.as_ref().map(|next| json!({ "older": format!("{next}&export=jsonl") }));
    let lines = is_export.then(|| found.events.iter().chain(&rest).map(|line| format!("{line}\n")).collect());
    let mut rows = Vec::new();
    if !is_export {
        let fields = |name| found.events.iter().filter_map(move |event| event.get(name)?.as_str());
        let names = pages.api.names(fields("subject").chain(fields("actor")).collect()).await?;
        rows = found.events.iter().map(|event| row(event, &names)).collect();
    }
    let events = Event::ALL.iter().map(|event| event.as_str()).collect();
    Ok((lines, AuditPage { page, frame, is_kept, find, event, until, events, rows, next, export }))
}

fn row(event: &Value, names: &Names) -> AuditRow {
    let text = |name: &str| event.get(name).map(shown).unwrap_or_default();
    let first = |fields: &[&'static str]| fields.iter().copied().find(|name| event.get(name).is_some());
    let (concerned, actor) = (first(&CONCERNED), first(&ACTORS));
    let party = |field: Option<&str>| {
        let id = field.map(text).unwrap_or_default();
        let name = match field {
            Some("subject" | "actor") => names.get(&id).cloned(),
            Some("uid") => Some(format!("uid {id}")),
            _ => None,
        };
        (name.unwrap_or_else(|| id.clone()), id)
    };
    let rest = event.as_object().into_iter().flatten().filter(|(name, _)| {
        let name = Some(name.as_str());
        ![Some("at"), Some("event"), Some("address"), Some("via"), Some("message"), concerned, actor].contains(&name)
    });
    let at = event.get("at").and_then(Value::as_u64).map(Timestamp::from_unix);
    AuditRow {
        time: at.map(calendar::written).unwrap_or_default(),
        event: text("event"),
        whom: party(concerned),
        by: party(actor),
        address: text("address"),
        details: rest.map(|(name, value)| format!("{name}={}", shown(value))).collect::<Vec<_>>().join(" "),
    }
}

fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
