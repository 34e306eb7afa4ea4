//! The pages of `/account`.

use adieu::time::Timestamp;
use askama::Template;

use super::{
    Ago, Page,
    device::{Device, Kind},
};
use crate::{calendar, config::Registration};

/// A session as its user sees it.
#[derive(Debug)]
pub(crate) struct SessionRow {
    id: String,
    device: String,
    kind: Kind,
    address: String,
    /// How long ago the login was, and when.
    logged_in: (String, String),
    /// How long ago the last use was, and when.
    last_used: (String, String),
    is_current: bool,
}

impl SessionRow {
    /// Returns the row of a session, with times relative to `now`.
    pub(crate) fn new(
        page: &Page,
        id: String,
        user_agent: Option<&str>,
        address: Option<String>,
        (created_at, last_seen_at): (Timestamp, Timestamp),
        is_current: bool,
        now: Timestamp,
    ) -> Self {
        let (kind, device) = named_device(page, user_agent);
        let time = |time: Timestamp| (page.t.ago(now.since(time)), calendar::written(time));
        Self {
            id,
            device,
            kind,
            address: address.unwrap_or_default(),
            logged_in: time(created_at),
            last_used: time(last_seen_at),
            is_current,
        }
    }
}

/// Returns the kind and the name of a device.
pub(super) fn named_device(page: &Page, user_agent: Option<&str>) -> (Kind, String) {
    let Device { kind, program, system } = Device::of(user_agent.unwrap_or_default());
    let name = match (&*program, system) {
        ("", _) => page.t.unknown_device.to_owned(),
        (_, "") => program,
        (program, system) => format!("{program} {} {system}", page.t.on),
    };
    (kind, name)
}

/// An event as its user sees it.
#[derive(Debug)]
pub(crate) struct EventRow {
    pub(crate) text: &'static str,
    /// Where the user was; empty if unknown, or if another acted.
    pub(crate) address: String,
    pub(crate) time: Ago,
    /// How many times in a row.
    pub(crate) count: usize,
    pub(crate) is_warning: bool,
}

/// The recent events of a user.
#[derive(Debug)]
pub(crate) enum Events {
    /// There is no record of events, or it was not asked for.
    Absent,
    Unreadable,
    /// The newest first.
    Shown(Vec<EventRow>),
}

/// A form of the account page that is open from the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Password,
    LogOutAll,
}

/// The sessions of a user who is logged in.
#[derive(Debug, Template)]
#[template(path = "account.html")]
pub(crate) struct AccountPage {
    pub(crate) page: Page,
    pub(crate) username: String,
    pub(crate) csrf: String,
    /// In how many seconds the access token expires.
    pub(crate) expires_in: u64,
    /// This one first.
    pub(crate) sessions: Vec<SessionRow>,
    pub(crate) events: Events,
    pub(crate) notice: Option<&'static str>,
    /// What went wrong, and in which form, if in one.
    pub(crate) problem: Option<String>,
    pub(crate) open: Option<Form>,
}

/// Where a person is, and comes back to after a login or a refresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Area {
    Account,
    Console,
}

impl Area {
    /// Returns the area with this name, or the account.
    pub(crate) fn named(name: &str) -> Self {
        if name == Self::Console.name() { Self::Console } else { Self::Account }
    }

    /// Returns its name in forms.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Console => "console",
        }
    }

    /// Returns the URL of its first page with a query.
    pub(crate) fn to(self, query: &str) -> String {
        format!("{}?{query}", self.path())
    }

    /// Returns the path of its first page.
    pub(crate) const fn path(self) -> &'static str {
        match self {
            Self::Account => "/account",
            Self::Console => "/console",
        }
    }
}

/// The forms for users who are not logged in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    LogIn,
    Register,
    /// For a user who must change the password before the login.
    NewPassword,
}

/// The page of users who are not logged in.
#[derive(Debug, Template)]
#[template(path = "entry.html")]
pub(crate) struct EntryPage {
    pub(crate) page: Page,
    pub(crate) area: Area,
    pub(crate) entry: Entry,
    pub(crate) username: String,
    pub(crate) registration: Registration,
    pub(crate) notice: Option<&'static str>,
    pub(crate) problem: Option<String>,
}

/// The page of a browser whose access token has expired, and which has a refresh token.
#[derive(Debug, Template)]
#[template(path = "resume.html")]
pub(crate) struct ResumePage {
    pub(crate) page: Page,
    pub(crate) area: Area,
    pub(crate) csrf: String,
}

/// The page that says that something did not work.
#[derive(Debug, Template)]
#[template(path = "notice.html")]
pub(crate) struct NoticePage {
    pub(crate) page: Page,
    pub(crate) problem: String,
}

render!(AccountPage EntryPage ResumePage NoticePage);
