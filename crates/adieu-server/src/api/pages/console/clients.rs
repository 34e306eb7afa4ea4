//! Clients and their followers.

use std::collections::HashMap;

use axum::{extract::State, response::Response};

use super::{Operator, Pages, answer};
use crate::{
    clients::Capability,
    config::written_duration,
    pages::{ClientRow, ClientsPage, FollowerRow, Health, Section, short},
};

/// How many followers are shown.
const FOLLOWERS: usize = 100;

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
        let (followers, has_more) = node.feed.most_silent(own.as_ref(), FOLLOWERS);
        let followers = followers.into_iter().map(|follower| FollowerRow {
            client: follower.client,
            agent: follower.agent,
            health: Health::of(Some(follower.silence), bound),
            silence: short(follower.silence),
            behind: position.saturating_sub(follower.applied.get()).to_string(),
        });
        let followers = followers.collect();
        Ok(ClientsPage { page, frame, clients, followers, has_more })
    };
    answer(&operator.visit, found.await)
}
