//! The users in the console.

use askama::Template;

use super::{Ago, Confirm, Frame, Section};
use crate::pages::{ConsoleMessages, Page};

/// Which users to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UserFilter {
    All,
    Admins,
    Disabled,
}

impl UserFilter {
    const ALL: [Self; 3] = [Self::All, Self::Admins, Self::Disabled];

    /// Returns the filter with this value, or the one for all.
    pub(crate) fn with_value(value: &str) -> Self {
        Self::ALL.into_iter().find(|filter| filter.value() == value).unwrap_or(Self::All)
    }

    /// Returns its value in a query.
    pub(crate) const fn value(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Admins => "admins",
            Self::Disabled => "disabled",
        }
    }

    const fn name(self, c: &ConsoleMessages) -> &'static str {
        match self {
            Self::All => c.all,
            Self::Admins => c.admins,
            Self::Disabled => c.disabled_users,
        }
    }
}

/// What the users can be sorted by, in the order of the columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UserSort {
    Name,
    Created,
    LastLogin,
}

impl UserSort {
    pub(crate) const ALL: [Self; 3] = [Self::Name, Self::Created, Self::LastLogin];

    /// Returns what has this value, or when they were created.
    pub(crate) fn with_value(value: &str) -> Self {
        Self::ALL.into_iter().find(|sort| sort.value() == value).unwrap_or(Self::Created)
    }

    /// Returns its value in a query.
    pub(crate) const fn value(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Created => "created",
            Self::LastLogin => "login",
        }
    }

    /// Returns the title of the column.
    pub(crate) const fn name(self, c: &ConsoleMessages) -> &'static str {
        match self {
            Self::Name => c.name,
            Self::Created => c.created,
            Self::LastLogin => c.last_login,
        }
    }
}

/// The title of a column by which a table can be sorted.
#[derive(Debug)]
pub(crate) struct SortLink {
    pub(crate) name: &'static str,
    pub(crate) url: String,
    /// Whether the table is sorted by it, and how.
    pub(crate) is_ascending: Option<bool>,
}

/// A user as an administrator sees it.
#[derive(Debug)]
pub(crate) struct UserRow {
    pub(crate) id: String,
    /// The id in a URL.
    pub(crate) path: String,
    pub(crate) name: String,
    pub(crate) is_admin: bool,
    pub(crate) is_disabled: bool,
    pub(crate) must_change: bool,
    pub(crate) created: Ago,
    pub(crate) last_login: Option<Ago>,
}

/// The users.
#[derive(Debug, Template)]
#[template(path = "console/users.html")]
pub(crate) struct UsersPage {
    pub(crate) page: Page,
    pub(crate) frame: Frame,
    pub(crate) name: String,
    pub(crate) which: UserFilter,
    pub(crate) sort: &'static str,
    pub(crate) order: &'static str,
    pub(crate) columns: [SortLink; 3],
    pub(crate) users: Vec<UserRow>,
    pub(crate) next: Option<String>,
}

/// A session as an administrator sees it.
#[derive(Debug)]
pub(crate) struct SessionOfUser {
    /// The id in a URL.
    pub(crate) path: String,
    /// The name of the user, and the id in a URL.
    pub(crate) user: (String, String),
    pub(crate) device: String,
    pub(crate) address: String,
    pub(crate) logged_in: Ago,
    pub(crate) last_used: Ago,
    pub(crate) is_current: bool,
}

/// A user.
#[derive(Debug, Template)]
#[template(path = "console/user.html")]
pub(crate) struct UserPage {
    pub(crate) page: Page,
    pub(crate) frame: Frame,
    pub(crate) user: UserRow,
    pub(crate) confirm: Option<Confirm>,
    /// A token that resets the password, which is shown once.
    pub(crate) reset_token: Option<String>,
    /// The name of each action in a URL, and its label.
    pub(crate) actions: Vec<(&'static str, &'static str)>,
    pub(crate) sessions: Vec<SessionOfUser>,
    pub(crate) with_users: bool,
    pub(crate) labelled_by: &'static str,
}
