//! The recent events of a user, from the audit trail of this server.
//!
//! 1. Only events about the user that is logged in. Of others who acted, the page says what they are, not who.
//! 2. A row has no text of the file: only a text for the kind of the event, an address that is one, and the time.
//! 3. A search reads [`MAX_READ`] bytes of the file, and at most [`SEARCHES`] run at once.

use std::{io::ErrorKind, net::IpAddr, sync::Arc, time::Duration};

use adieu::{Subject, time::Timestamp};
use serde_json::Value;
use tokio::{task::spawn_blocking, time::timeout};

use super::Pages;
use crate::{
    audit::{Event, Sought},
    pages::{EventMessages, EventRow, Events, Page},
};

/// How many searches run at once.
pub(in super::super) const SEARCHES: usize = 2;

/// How long a page waits for its turn.
const WAIT: Duration = Duration::from_secs(1);

/// How much of the file is read.
const MAX_READ: u64 = 8 * 1024 * 1024;

/// How many events are read, and how many rows are shown: equal ones in a row share one.
const READ: usize = 200;
const ROWS: usize = 10;

/// Returns the last events of a user.
pub(super) async fn recent(pages: &Pages, page: &Page, user: &Subject) -> Events {
    let Some(file) = pages.api.settings.audit_log.clone() else { return Events::Absent };
    let turn = timeout(WAIT, Arc::clone(&pages.searches).acquire_owned()).await;
    let Ok(Ok(permit)) = turn else { return Events::Unreadable };
    let sought = Sought { user: Some(user.clone()), limit: READ, max_read: MAX_READ, ..Sought::default() };
    let searching = spawn_blocking(move || {
        let _permit = permit;
        sought.search(&file)
    });
    match searching.await.map_err(std::io::Error::other).flatten() {
        Ok(found) => Events::Shown(rows(&found.events, user, page, pages.api.node.clock.now())),
        // A pipe or a terminal keeps nothing.
        Err(error) if error.kind() == ErrorKind::InvalidInput => Events::Absent,
        Err(error) => {
            tracing::warn!(%error, "the audit trail can't be read");
            Events::Unreadable
        }
    }
}

fn rows(events: &[Value], user: &Subject, page: &Page, now: Timestamp) -> Vec<EventRow> {
    let mut rows: Vec<EventRow> = Vec::new();
    for event in events {
        let by = Actor::of(event, user);
        let Some(text) = text(event, by, page.messages().events) else { continue };
        let Some(at) = event.get("at").and_then(Value::as_u64) else { continue };
        let address: Option<IpAddr> = event.get("address").and_then(Value::as_str).and_then(|text| text.parse().ok());
        let address = address.filter(|_| by == Actor::User).map(|address| address.to_string()).unwrap_or_default();
        if let Some(last) = rows.last_mut().filter(|last| last.text == text && last.address == address) {
            last.count = last.count.saturating_add(1);
            continue;
        }
        if rows.len() == ROWS {
            break;
        }
        let (time, is_warning) = (page.ago(Timestamp::from_unix(at), now), name(event) == REFRESH_REUSED);
        rows.push(EventRow { text, address, time, count: 1, is_warning });
    }
    rows
}

/// Who caused an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Actor {
    /// The user, or an attacker who uses the name of the user.
    User,
    Service,
    Admin,
}

impl Actor {
    fn of(event: &Value, user: &Subject) -> Self {
        let text = |name| event.get(name).and_then(Value::as_str);
        match (text("client"), text("actor")) {
            (Some(_), _) => Self::Service,
            (None, Some(actor)) if actor != user.as_str() => Self::Admin,
            _ if text("via") == Some("command_line") => Self::Admin,
            _ => Self::User,
        }
    }
}

/// What the core records when an old refresh token comes again.
const REFRESH_REUSED: &str = "refresh_reused";

fn name(event: &Value) -> &str {
    event.get("event").and_then(Value::as_str).unwrap_or_default()
}

/// Returns what to call an event; `None` for those that users are not told of.
fn text(event: &Value, by: Actor, t: &'static EventMessages) -> Option<&'static str> {
    let name = name(event);
    if name == REFRESH_REUSED {
        return Some(t.refresh_reused);
    }
    let event_kind = Event::ALL.into_iter().find(|event| event.as_str() == name)?;
    Some(match event_kind {
        Event::Login => t.login,
        Event::LoginFailed => t.wrong_password,
        Event::Logout => match event.get("scope").and_then(Value::as_str) {
            Some("others") => t.logout_others,
            Some("all") => t.logout_all,
            _ => t.logout,
        },
        Event::SessionsEnded | Event::Revoked => match by {
            Actor::User => t.session_ended,
            Actor::Service => t.ended_by_service,
            Actor::Admin => t.ended_by_admin,
        },
        Event::PasswordChanged if by == Actor::User => t.password_changed,
        Event::PasswordChanged => t.password_set,
        Event::PasswordReset => t.password_reset,
        Event::ResetIssued => t.reset_issued,
        Event::PasswordChangeRequired => t.change_required,
        Event::AccountAdded => t.added,
        Event::AccountPromoted => t.promoted,
        Event::AccountDemoted => t.demoted,
        Event::AccountDisabled => t.disabled,
        Event::AccountEnabled => t.enabled,
        Event::InviteIssued
        | Event::InviteRevoked
        | Event::AccountDeleted
        | Event::EventReceived
        | Event::ClientAdded
        | Event::ClientChanged
        | Event::ClientSecretChanged
        | Event::ClientRemoved
        | Event::AliasAdded
        | Event::AliasesRemoved
        | Event::StreamCreated
        | Event::StreamEnabled
        | Event::StreamDeleted
        | Event::KeyAdded
        | Event::KeyRemoved
        | Event::DeliveriesReplayed
        | Event::DeliverySkipped
        | Event::RestoreAccepted
        | Event::StoreBackedUp
        | Event::StoreRestored
        | Event::StoreCopied
        | Event::SettingsReloaded => return None,
    })
}
