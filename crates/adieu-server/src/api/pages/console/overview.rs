//! What an operator puts on a wall.

use std::time::Duration;

use axum::{extract::State, response::Response};
use serde_json::json;

use super::{Answer, Operator, Pages, answer};
use crate::{
    audit, calendar,
    clients::Capability,
    pages::{Health, OverviewPage, Party, Section, Warning, short},
    store::address,
};

/// `GET /console`: the page renews its parts from here, so each text is in one place.
pub(super) async fn show(State(pages): State<Pages>, operator: Operator) -> Response {
    answer(&operator.visit, page(&pages, &operator).await)
}

async fn page(pages: &Pages, operator: &Operator) -> Answer<OverviewPage> {
    let (page, frame) = operator.frame(pages, Section::Overview).await?;
    let c = page.messages().console;
    let (node, settings, now) = (&pages.api.node, &pages.api.settings, operator.now(pages));
    let verifier = node.core.verifier();
    let bound = verifier.max_staleness();
    let own = node.core.applied().borrow().clone();
    let position = own.as_ref().map_or(0, |own| own.position.get());
    let index = verifier.index().stats();

    let own_party = party(c.this_server.to_owned(), String::new(), verifier.staleness(), bound, "0".to_owned());
    let (mut parties, mut warnings) = (vec![own_party], Vec::new());
    if verifier.staleness().is_none_or(|staleness| staleness > bound) {
        warnings.push(serious(c.warn_stale.to_owned(), c.warn_stale_remedy));
    }
    match node.feed.other_nodes().await {
        Ok(others) => parties.extend(others.into_iter().map(|other| {
            let applied = other.applied.filter(|applied| own.as_ref().is_some_and(|own| own.log == applied.log));
            let behind = applied.map(|applied| position.saturating_sub(applied.position.get()));
            let behind = behind.map_or_else(|| "?".to_owned(), |behind| behind.to_string());
            Party {
                // A node that is suspected to be gone.
                health: if other.heartbeat == 0 { Health::Absent } else { Health::Fresh },
                seconds: -1.0,
                staleness: String::new(),
                ..party(other.node, c.other_server.to_owned(), None, other.max_staleness, behind)
            }
        })),
        Err(_) => warnings.push(serious(c.warn_nodes.to_owned(), c.warn_stale_remedy)),
    }
    let following = node.feed.followers(own.as_ref());
    let bound_of_followers = node.feed.leases.bound();
    for (client, group) in &following {
        let kind = format!("{} × {}", c.follower, group.followers);
        let behind = position.saturating_sub(group.applied.get()).to_string();
        parties.push(party(client.clone(), kind, Some(group.silence), bound_of_followers, behind));
    }
    for client in node.clients.known() {
        let name = client.name.as_str();
        if client.can(Capability::Follow) && !following.iter().any(|(following, _)| following == name) {
            parties.push(Party {
                health: Health::Absent,
                ..party(name.to_owned(), c.follower.to_owned(), None, bound_of_followers, String::new())
            });
        }
    }
    let silent: Vec<_> = parties.iter().skip(1).filter(|party| party.health != Health::Fresh).collect();
    if !silent.is_empty() {
        let names = silent.iter().map(|party| party.name.as_str()).collect::<Vec<_>>().join(", ");
        let is_serious = silent.iter().any(|party| party.health != Health::Lagging);
        let what = format!("{} {names}.", c.warn_follower);
        warnings.push(Warning { what, remedy: c.warn_follower_remedy, is_serious });
    }
    if node.core.restored_at().is_some() {
        warnings.push(serious(c.warn_restore.to_owned(), c.warn_restore_remedy));
    }
    let deliveries = node.stores().deliveries().deliveries().await?;
    let failing: Vec<_> = deliveries.iter().filter(|delivery| delivery.failing_since.is_some()).collect();
    if !failing.is_empty() {
        let names = failing.iter().map(|delivery| delivery.receiver.as_str()).collect::<Vec<_>>().join(", ");
        warnings.push(serious(format!("{} {names}.", c.warn_delivery), c.warn_delivery_remedy));
    }
    if audit::failures() > 0 {
        warnings.push(serious(c.warn_audit.to_owned(), c.warn_audit_remedy));
    }

    let stalest = parties.iter().max_by(|a, b| (a.seconds / a.bound).total_cmp(&(b.seconds / b.bound))).cloned();
    let stalest = stalest.unwrap_or_else(|| party(String::new(), String::new(), None, bound, String::new()));
    let totals = node.metrics.totals();
    let stalenesses = parties.iter().filter(|party| party.seconds >= 0.0 || party.health == Health::Absent);
    let stalenesses = stalenesses.map(|party| json!([party.name, (party.seconds >= 0.0).then_some(party.seconds)]));
    let sample = json!({
        "logouts": totals.logouts,
        "rejected": totals.rejected,
        "bound": bound.as_secs_f64(),
        "staleness": stalenesses.collect::<Vec<_>>(),
    });
    let signing = node.core.signing_key();
    let key = signing.verifying_key().key_id().map(ToString::to_string).unwrap_or_default();
    let (pending, places) = node.accounts.hashing();
    let mut facts = vec![
        (c.fact_version, env!("CARGO_PKG_VERSION").to_owned()),
        (c.fact_issuer, settings.issuer.to_string()),
        (c.fact_store, address(settings).to_string()),
        (c.fact_key, key),
        (c.fact_hashing, format!("{pending} / {places}")),
    ];
    facts.extend(node.core.restored_at().map(|restored_at| (c.fact_restored, calendar::written(restored_at))));
    Ok(OverviewPage {
        as_of: calendar::written(now),
        warnings,
        sample: sample.to_string(),
        logins: totals.logins,
        failed_logins: totals.failed_logins,
        logouts: totals.logouts,
        rejected: totals.rejected,
        revoked: totals.revoked,
        bound: short(Duration::from_secs_f64(stalest.bound)),
        bound_seconds: stalest.bound,
        stalest,
        entries: index.entries,
        memory: memory(index.bytes),
        position,
        parties,
        facts,
        page,
        frame,
    })
}

const fn serious(what: String, remedy: &'static str) -> Warning {
    Warning { what, remedy, is_serious: true }
}

/// Describes a server or followers; without a staleness it is not known to be complete.
fn party(name: String, kind: String, staleness: Option<Duration>, bound: Duration, behind: String) -> Party {
    let bound = bound.as_secs_f64();
    let seconds = staleness.map_or(-1.0, |staleness| staleness.as_secs_f64());
    Party {
        name,
        kind,
        health: if staleness.is_some() { Health::of(seconds, bound) } else { Health::Stale },
        seconds,
        staleness: staleness.map(short).unwrap_or_default(),
        bound,
        behind,
    }
}

fn memory(bytes: usize) -> String {
    match bytes {
        0..1_048_576 => format!("{} KiB", bytes.div_ceil(1024)),
        bytes => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}
