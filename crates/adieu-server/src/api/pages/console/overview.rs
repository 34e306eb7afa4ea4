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

    let own_health = Health::of(verifier.staleness(), bound);
    let this = party(c.this_server, "", own_health, verifier.staleness(), bound, "0");
    let (mut parties, mut warnings) = (vec![this], Vec::new());
    if own_health == Health::Stale {
        warnings.push(serious(c.warn_stale.to_owned(), c.warn_stale_remedy));
    }
    match node.feed.other_nodes().await {
        Ok(others) => parties.extend(others.iter().map(|other| {
            let applied =
                other.applied.as_ref().filter(|applied| own.as_ref().is_some_and(|own| own.log == applied.log));
            let behind = applied.map(|applied| position.saturating_sub(applied.position.get()));
            let behind = behind.map_or_else(|| "?".to_owned(), |behind| behind.to_string());
            // A node that is suspected to be gone.
            let health = if other.heartbeat == 0 { Health::Absent } else { Health::Fresh };
            party(&other.node, c.other_server, health, None, other.max_staleness, &behind)
        })),
        Err(_) => warnings.push(serious(c.warn_nodes.to_owned(), c.warn_stale_remedy)),
    }
    let following = node.feed.followers(own.as_ref());
    let bound_of_followers = node.feed.leases.bound();
    for (client, group) in &following {
        let kind = format!("{} × {}", c.follower, group.followers);
        let behind = position.saturating_sub(group.applied.get()).to_string();
        let (health, silence) = (Health::of(Some(group.silence), bound_of_followers), Some(group.silence));
        parties.push(party(client, &kind, health, silence, bound_of_followers, &behind));
    }
    for client in node.clients.known() {
        let name = client.name.as_str();
        if client.can(Capability::Follow) && !following.iter().any(|(following, _)| following == name) {
            parties.push(party(name, c.follower, Health::Absent, None, bound_of_followers, ""));
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

    let share = |party: &&Party| party.seconds.map_or(-1.0, |seconds| seconds / party.bound);
    let stalest = parties.iter().max_by(|a, b| share(a).total_cmp(&share(b))).cloned();
    let totals = node.metrics.totals();
    let stalenesses = parties.iter().filter(|party| party.seconds.is_some() || party.health == Health::Absent);
    let stalenesses = stalenesses.map(|party| json!([party.name, party.seconds]));
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

/// Describes a server or the followers of a client.
fn party(name: &str, kind: &str, health: Health, staleness: Option<Duration>, bound: Duration, behind: &str) -> Party {
    Party {
        name: name.to_owned(),
        kind: kind.to_owned(),
        health,
        seconds: staleness.map(|staleness| staleness.as_secs_f64()),
        staleness: staleness.map(short).unwrap_or_default(),
        bound: bound.as_secs_f64(),
        behind: behind.to_owned(),
    }
}

fn memory(bytes: usize) -> String {
    match bytes {
        0..1_048_576 => format!("{} KiB", bytes.div_ceil(1024)),
        bytes => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}
