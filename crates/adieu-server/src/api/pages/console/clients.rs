//! Clients, their followers, and the receivers of deliveries.

use std::collections::HashMap;

use axum::{extract::State, response::Response};

use super::{Answer, Fields, Operator, Pages, answer, conclude, done, encoded, input, quoted};
use crate::{
    calendar,
    clients::Capability,
    config::written_duration,
    deliveries,
    error::ApiError,
    pages::{ClientRow, ClientsPage, Confirm, DeliveriesPage, DeliveryRow, Health, Section, short},
};

/// `GET /console/clients`
pub(super) async fn list(State(pages): State<Pages>, operator: Operator) -> Response {
    let found = async {
        let (page, frame) = operator.frame(&pages, Section::Clients).await?;
        let node = &pages.api.node;
        let own = node.core.applied().borrow().clone();
        let position = own.as_ref().map_or(0, |own| own.position.get());
        let following: HashMap<_, _> = node.feed.followers(own.as_ref()).into_iter().collect();
        let (bound, now) = (node.feed.leases.bound(), operator.now(&pages));
        let row = |client: &crate::clients::Client| {
            let group = following.get(client.name.as_str());
            let (quota, horizon) = client.limits.or_else(&pages.api.settings);
            ClientRow {
                name: client.name.to_string(),
                may: client.can.iter().map(|capability| capability.as_str()).collect::<Vec<_>>().join(", "),
                followers: group.map(|group| group.followers.to_string()).unwrap_or_default(),
                health: match group {
                    Some(group) => Some(Health::of(Some(group.silence), bound)),
                    None => client.can(Capability::Follow).then_some(Health::Absent),
                },
                silence: group.map(|group| short(group.silence)).unwrap_or_default(),
                behind: group.map(|group| position.saturating_sub(group.applied.get()).to_string()).unwrap_or_default(),
                quota: match client.can(Capability::Revoke) {
                    true => format!("{}/{}, ≤ {}", quota.burst, written_duration(quota.per), written_duration(horizon)),
                    false => String::new(),
                },
                created: page.ago(client.created_at, now),
            }
        };
        let clients = node.clients.store().clients().await?.iter().map(row).collect();
        Ok(ClientsPage { page, frame, clients })
    };
    answer(&operator.visit, found.await)
}

/// `GET /console/deliveries`, with `replay` for a receiver to confirm.
pub(super) async fn list_deliveries(State(pages): State<Pages>, operator: Operator) -> Response {
    let receiver = operator.query.get("replay");
    answer(&operator.visit, page(&pages, &operator, receiver).await)
}

async fn page(pages: &Pages, operator: &Operator, receiver: Option<String>) -> Answer<DeliveriesPage> {
    let (page, frame) = operator.frame(pages, Section::Deliveries).await?;
    let c = page.messages().console;
    let node = &pages.api.node;
    let head = node.core.applied().borrow().as_ref().map_or(0, |own| own.position.get());
    let stored = node.stores().deliveries().deliveries().await?;
    let is_known = |name: &String| stored.iter().any(|delivery| delivery.receiver == *name);
    let confirm = receiver.filter(is_known).map(|receiver| Confirm {
        title: format!("{} {receiver}", c.replay),
        effects: vec![c.effect_replay.to_owned()],
        command: format!("adieu delivery replay {}", quoted(&receiver)),
        action: Section::Deliveries.path().to_owned(),
        fields: vec![("receiver", receiver)],
        back: Section::Deliveries.path().to_owned(),
        ..Confirm::default()
    });
    let rows = stored.into_iter().map(|delivery| {
        let position = delivery.cursor.as_ref().map_or(0, |cursor| cursor.position.get());
        DeliveryRow {
            path: encoded(&delivery.receiver),
            failing: delivery.failing_since.map(calendar::written),
            behind: head.saturating_sub(position).to_string(),
            delivered: delivery.delivered_at.map(calendar::written).unwrap_or_default(),
            error: delivery.error.unwrap_or_default(),
            receiver: delivery.receiver,
        }
    });
    let deliveries = rows.collect();
    Ok(DeliveriesPage { page, frame, confirm, deliveries })
}

/// `POST /console/deliveries`, with `receiver`: sends it everything again.
pub(super) async fn replay(State(pages): State<Pages>, operator: Operator, input::Form(form): input::Form) -> Response {
    let mut form = Fields(form);
    let replayed = async {
        let receiver = form.text("receiver")?;
        let store = pages.api.node.stores().deliveries();
        match deliveries::replay(&*store, &receiver, Some(operator.subject())).await? {
            true => Ok(done(Section::Deliveries.path())),
            false => Err(ApiError::NotFound.into()),
        }
    };
    let replayed = replayed.await;
    conclude(&operator.visit, replayed, page(&pages, &operator, None)).await
}
