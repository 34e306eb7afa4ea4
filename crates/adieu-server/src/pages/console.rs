//! The pages of `/console`.

mod revocations;
mod users;

use std::{fmt, time::Duration};

use adieu::time::Timestamp;
use askama::Template;

pub(crate) use self::{revocations::*, users::*};
use super::{ConsoleMessages, Page, Render, account::named_device};
use crate::calendar;

/// A part of the console.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Section {
    Overview,
    Users,
    Sessions,
    Revocations,
    Token,
    Clients,
    Aliases,
    Keys,
    Deliveries,
    Audit,
}

impl Section {
    const ALL: [Self; 10] = [
        Self::Overview,
        Self::Users,
        Self::Sessions,
        Self::Revocations,
        Self::Token,
        Self::Clients,
        Self::Aliases,
        Self::Keys,
        Self::Deliveries,
        Self::Audit,
    ];

    /// Returns the path of its first page.
    pub(crate) const fn path(self) -> &'static str {
        match self {
            Self::Overview => "/console",
            Self::Users => "/console/users",
            Self::Sessions => "/console/sessions",
            Self::Revocations => "/console/revocations",
            Self::Token => "/console/token",
            Self::Clients => "/console/clients",
            Self::Aliases => "/console/aliases",
            Self::Keys => "/console/keys",
            Self::Deliveries => "/console/deliveries",
            Self::Audit => "/console/audit",
        }
    }

    /// Returns its title.
    pub(crate) const fn name(self, c: &ConsoleMessages) -> &'static str {
        match self {
            Self::Overview => c.overview,
            Self::Users => c.users,
            Self::Sessions => c.sessions,
            Self::Revocations => c.revocations,
            Self::Token => c.inspect,
            Self::Clients => c.clients,
            Self::Aliases => c.aliases,
            Self::Keys => c.keys,
            Self::Deliveries => c.deliveries,
            Self::Audit => c.audit,
        }
    }
}

/// What all pages of the console have around their content.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) section: Section,
    pub(crate) title: String,
    pub(crate) username: String,
    pub(crate) csrf: String,
    /// In how many seconds the access token expires.
    pub(crate) expires_in: u64,
    pub(crate) notice: Option<String>,
    pub(crate) problem: Option<String>,
    /// Where a revocation holds that was just made.
    pub(crate) progress: Option<Progress>,
}

/// Where a revocation holds.
#[derive(Debug)]
pub(crate) struct Progress {
    /// The page that has the same, and waits for the end with `wait=everywhere`.
    pub(crate) url: String,
    /// Set once it holds everywhere.
    pub(crate) everywhere: Option<String>,
    pub(crate) rows: Vec<ProgressRow>,
}

impl Progress {
    fn confirmed(&self) -> usize {
        self.rows.iter().filter(|row| row.has_it).count()
    }
}

/// A server, or the followers of a client.
#[derive(Debug)]
pub(crate) struct ProgressRow {
    pub(crate) name: String,
    pub(crate) kind: String,
    /// Whether it has the revocation, and all that follow it.
    pub(crate) has_it: bool,
}

/// The progress of a revocation, on a page of its own.
#[derive(Debug, Template)]
#[template(path = "console/progress-page.html")]
pub(crate) struct ProgressPage {
    pub(crate) page: Page,
    pub(crate) frame: Frame,
}

/// An action that was chosen and not confirmed yet.
#[derive(Debug, Default)]
pub(crate) struct Confirm {
    /// The name of the action, also on its button.
    pub(crate) title: String,
    /// What follows from it, each in one sentence.
    pub(crate) effects: Vec<String>,
    pub(crate) command: String,
    /// The call of the API; empty if there is none.
    pub(crate) call: String,
    /// Where the form goes.
    pub(crate) action: String,
    pub(crate) fields: Vec<(&'static str, String)>,
    /// The word that must be typed.
    pub(crate) typed: Option<&'static str>,
    pub(crate) needs_password: bool,
    pub(crate) is_dangerous: bool,
    /// Where to go instead.
    pub(crate) back: String,
}

/// How current the data of a server or a follower is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Health {
    Fresh,
    Lagging,
    Stale,
    Absent,
}

impl Health {
    /// Judges a staleness by its bound. Without a staleness, the data was never complete.
    pub(crate) fn of(staleness: Option<Duration>, bound: Duration) -> Self {
        match staleness {
            Some(staleness) if staleness <= bound * 3 / 4 => Self::Fresh,
            Some(staleness) if staleness <= bound => Self::Lagging,
            _ => Self::Stale,
        }
    }

    /// Judges what followed from an event of another issuer, by its name in the metrics.
    pub(crate) fn of_event(outcome: &str) -> Self {
        match outcome {
            "rejected" | "stream_stopped" => Self::Stale,
            "unknown_subject" | "ignored" => Self::Lagging,
            _ => Self::Fresh,
        }
    }

    const fn class(self) -> &'static str {
        match self {
            Self::Fresh => "ok",
            Self::Lagging => "warn",
            Self::Stale | Self::Absent => "bad",
        }
    }

    const fn name(self, c: &ConsoleMessages) -> &'static str {
        match self {
            Self::Fresh => c.fresh,
            Self::Lagging => c.lagging,
            Self::Stale => c.stale,
            Self::Absent => c.absent,
        }
    }
}

/// A server, or the followers of a client.
#[derive(Debug, Clone)]
pub(crate) struct Party {
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) health: Health,
    /// The staleness in seconds, if it is known.
    pub(crate) seconds: Option<f64>,
    /// The staleness for people; empty if unknown.
    pub(crate) staleness: String,
    /// The bound, in seconds.
    pub(crate) bound: f64,
    /// How many entries of the log it has not applied.
    pub(crate) behind: String,
}

/// Something that an operator should do.
#[derive(Debug)]
pub(crate) struct Warning {
    pub(crate) what: String,
    pub(crate) remedy: &'static str,
    pub(crate) is_serious: bool,
}

/// The overview.
#[derive(Debug, Template)]
#[template(path = "console/overview.html")]
pub(crate) struct OverviewPage {
    pub(crate) page: Page,
    pub(crate) frame: Frame,
    pub(crate) as_of: String,
    pub(crate) warnings: Vec<Warning>,
    /// The figures of the plots, in JSON.
    pub(crate) sample: String,
    pub(crate) logins: u64,
    pub(crate) failed_logins: u64,
    pub(crate) logouts: u64,
    pub(crate) rejected: u64,
    pub(crate) revoked: u64,
    pub(crate) stalest: Option<Party>,
    pub(crate) entries: usize,
    pub(crate) memory: String,
    pub(crate) position: u64,
    pub(crate) parties: Vec<Party>,
    pub(crate) facts: Vec<(&'static str, String)>,
}

/// A time for people: how long ago, and when.
pub(crate) type Ago = (String, String);

impl Page {
    /// Says how long ago a time was, and when.
    pub(crate) fn ago(&self, time: Timestamp, now: Timestamp) -> Ago {
        (self.t.ago(now.since(time)), calendar::written(time))
    }

    /// Returns the name of a device.
    pub(crate) fn device(&self, user_agent: Option<&str>) -> String {
        named_device(self, user_agent).1
    }
}

/// Sessions of all users.
#[derive(Debug, Template)]
#[template(path = "console/sessions.html")]
pub(crate) struct SessionsPage {
    pub(crate) page: Page,
    pub(crate) frame: Frame,
    pub(crate) find: String,
    pub(crate) sessions: Vec<SessionOfUser>,
    pub(crate) with_users: bool,
    pub(crate) labelled_by: &'static str,
    pub(crate) next: Option<String>,
}

/// A step of the verdict about a token.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) name: &'static str,
    pub(crate) health: Health,
    pub(crate) text: String,
}

/// What there is to say about a token.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) is_accepted: bool,
    pub(crate) steps: Vec<Step>,
    /// Header and claims.
    pub(crate) members: Vec<(String, String)>,
}

/// A token that was pasted.
#[derive(Debug, Template)]
#[template(path = "console/token.html")]
pub(crate) struct TokenPage {
    pub(crate) page: Page,
    pub(crate) frame: Frame,
    pub(crate) found: Option<Found>,
}

/// A client, and its followers.
#[derive(Debug)]
pub(crate) struct ClientRow {
    pub(crate) name: String,
    pub(crate) may: String,
    pub(crate) followers: String,
    pub(crate) health: Option<Health>,
    pub(crate) silence: String,
    pub(crate) behind: String,
    pub(crate) quota: String,
    pub(crate) created: Ago,
}

/// A follower.
#[derive(Debug)]
pub(crate) struct FollowerRow {
    pub(crate) client: String,
    /// What it calls itself; empty if it does not say.
    pub(crate) agent: String,
    pub(crate) health: Health,
    pub(crate) silence: String,
    pub(crate) behind: String,
}

/// A client that is being added or changed.
#[derive(Debug)]
pub(crate) struct ClientForm {
    pub(crate) title: String,
    pub(crate) action: &'static str,
    pub(crate) is_new: bool,
    pub(crate) name: String,
    /// The names of the capabilities, what they mean, and whether the client has them.
    pub(crate) capabilities: Vec<(&'static str, &'static str, bool)>,
    pub(crate) quota: String,
    pub(crate) horizon: String,
    pub(crate) logout_uri: String,
    /// What the settings say.
    pub(crate) default_quota: String,
    pub(crate) default_horizon: String,
}

/// A secret that was just made, to be shown once.
pub(crate) struct ClientSecret {
    pub(crate) client: String,
    pub(crate) secret: String,
}

impl fmt::Debug for ClientSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ClientSecret").field("client", &self.client).finish_non_exhaustive()
    }
}

/// The clients.
#[derive(Debug, Template)]
#[template(path = "console/clients.html")]
pub(crate) struct ClientsPage {
    pub(crate) page: Page,
    pub(crate) frame: Frame,
    pub(crate) form: Option<ClientForm>,
    pub(crate) confirm: Option<Confirm>,
    pub(crate) secret: Option<ClientSecret>,
    pub(crate) clients: Vec<ClientRow>,
    /// Those that have been silent the longest.
    pub(crate) followers: Vec<FollowerRow>,
    /// Whether there are more followers.
    pub(crate) has_more: bool,
}

/// An alias of a user of a trusted issuer.
#[derive(Debug)]
pub(crate) struct AliasRow {
    /// Names the row in forms.
    pub(crate) which: String,
    pub(crate) issuer: String,
    pub(crate) format: &'static str,
    pub(crate) value: String,
    pub(crate) subject: String,
    pub(crate) seen: Ago,
}

/// The aliases.
#[derive(Debug, Template)]
#[template(path = "console/aliases.html")]
pub(crate) struct AliasesPage {
    pub(crate) page: Page,
    pub(crate) frame: Frame,
    pub(crate) confirm: Option<Confirm>,
    /// The trusted issuers.
    pub(crate) issuers: Vec<String>,
    /// The formats, and whether it is the one that is searched for.
    pub(crate) formats: [(&'static str, bool); 5],
    pub(crate) issuer: String,
    pub(crate) subject: String,
    pub(crate) format: String,
    pub(crate) value: String,
    pub(crate) rows: Vec<AliasRow>,
    /// Where the list goes on.
    pub(crate) next: Option<String>,
}

/// A signing key.
#[derive(Debug)]
pub(crate) struct KeyRow {
    pub(crate) id: String,
    /// The id in a URL.
    pub(crate) path: String,
    pub(crate) algorithm: &'static str,
    pub(crate) created: Ago,
    pub(crate) is_signing: bool,
    pub(crate) signs: String,
    pub(crate) kept_until: String,
}

/// The signing keys.
#[derive(Debug, Template)]
#[template(path = "console/keys.html")]
pub(crate) struct KeysPage {
    pub(crate) page: Page,
    pub(crate) frame: Frame,
    pub(crate) confirm: Option<Confirm>,
    pub(crate) keys: Vec<KeyRow>,
}

/// The deliveries to a receiver.
#[derive(Debug)]
pub(crate) struct DeliveryRow {
    pub(crate) receiver: String,
    /// The name in a URL.
    pub(crate) path: String,
    /// Since when they fail.
    pub(crate) failing: Option<String>,
    pub(crate) behind: String,
    pub(crate) delivered: String,
    pub(crate) error: String,
    pub(crate) next_attempt: String,
    /// Whether a message blocks those after it.
    pub(crate) is_blocked: bool,
}

/// A trusted issuer, and the events of one kind and outcome that it has sent, if it has sent any.
#[derive(Debug)]
pub(crate) struct ReceivedRow {
    pub(crate) issuer: String,
    pub(crate) event: Option<ReceivedEvent>,
}

/// Events of one kind that had the same outcome.
#[derive(Debug)]
pub(crate) struct ReceivedEvent {
    pub(crate) kind: &'static str,
    pub(crate) outcome: &'static str,
    pub(crate) health: Health,
    pub(crate) count: u64,
    pub(crate) last: Ago,
}

/// A message that was rejected.
#[derive(Debug)]
pub(crate) struct RejectedRow {
    pub(crate) at: Ago,
    pub(crate) kind: &'static str,
    /// The issuer that it names.
    pub(crate) named: String,
    pub(crate) reason: String,
}

/// The deliveries.
#[derive(Debug, Template)]
#[template(path = "console/deliveries.html")]
pub(crate) struct DeliveriesPage {
    pub(crate) page: Page,
    pub(crate) frame: Frame,
    pub(crate) confirm: Option<Confirm>,
    pub(crate) deliveries: Vec<DeliveryRow>,
    pub(crate) received: Vec<ReceivedRow>,
    /// Newest first.
    pub(crate) rejected: Vec<RejectedRow>,
}

/// An event of the audit trail.
#[derive(Debug)]
pub(crate) struct AuditRow {
    pub(crate) time: String,
    pub(crate) event: String,
    /// The name and the id.
    pub(crate) whom: (String, String),
    /// The name and the id.
    pub(crate) by: (String, String),
    pub(crate) address: String,
    pub(crate) details: String,
}

/// The audit trail.
#[derive(Debug, Template)]
#[template(path = "console/audit.html")]
pub(crate) struct AuditPage {
    pub(crate) page: Page,
    pub(crate) frame: Frame,
    pub(crate) is_kept: bool,
    pub(crate) find: String,
    pub(crate) event: String,
    pub(crate) until: String,
    pub(crate) events: Vec<&'static str>,
    pub(crate) rows: Vec<AuditRow>,
    pub(crate) next: Option<String>,
    pub(crate) export: String,
}

/// A page with a frame.
pub(crate) trait Framed: Render {
    /// Returns the frame.
    fn frame_mut(&mut self) -> &mut Frame;
}

macro_rules! framed {
    ($($page:ident)+) => {
        render!($($page)+);
        $(impl Framed for $page {
            fn frame_mut(&mut self) -> &mut Frame {
                &mut self.frame
            }
        })+
    };
}

framed!(
    OverviewPage ProgressPage UsersPage UserPage SessionsPage RevocationsPage TokenPage ClientsPage AliasesPage KeysPage DeliveriesPage AuditPage
);
