//! A user to add, and why a row of the input is none.

use std::fmt;

use super::super::super::prompt::phrase;
use crate::{
    password::{HashError, PasswordHash},
    text::Username,
};

/// The longest line or JSON object of one user that is read.
pub(super) const MAX_ROW_BYTES: usize = 64 * 1024;

/// A user to add.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) username: Username,
    pub(super) password: PasswordHash,
    pub(super) is_admin: bool,
    pub(super) is_disabled: bool,
    pub(super) must_change_password: bool,
}

impl Record {
    /// Checks the name and the hash. The user is no administrator.
    pub(super) fn new(username: &str, hash: &str, is_disabled: bool) -> Result<Self, RowError> {
        Ok(Self {
            username: Username::chosen(username).map_err(|refusal| RowError::Username(phrase(&refusal)))?,
            password: PasswordHash::parse(hash)?,
            is_admin: false,
            is_disabled,
            must_change_password: false,
        })
    }
}

/// The reason why a row adds no user. It repeats no value, since that might be a password.
#[derive(Debug, thiserror::Error)]
pub(super) enum RowError {
    /// Not an error: exports also have users that log in otherwise.
    #[error("has no password")]
    NoPassword,
    #[error("longer than {MAX_ROW_BYTES} bytes")]
    TooLong,
    #[error("not UTF-8")]
    NotUtf8,
    #[error("not a JSON object (column {0})")]
    NotJson(usize),
    #[error("a quotation mark is not closed; a value must not contain a line break")]
    Quote,
    #[error("expected {expected} values, found {found}")]
    Columns { found: usize, expected: usize },
    #[error("no {0}")]
    Missing(&'static str),
    #[error("{0} is not text")]
    NotText(&'static str),
    #[error("{0} is neither true nor false")]
    NotBoolean(&'static str),
    #[error("a {0} occurs twice")]
    Duplicate(&'static str),
    #[error("both {0} and {1}, of which one is needed")]
    Twice(&'static str, &'static str),
    #[error("not a user as {0} exports it")]
    Export(&'static str),
    #[error("the password was hashed by an algorithm that is not supported")]
    Algorithm,
    #[error("username: {0}")]
    Username(String),
    #[error("password_hash: {0}")]
    Hash(#[from] HashError),
}

/// The reason why reading has to stop.
#[derive(Debug, thiserror::Error)]
pub(super) enum InputError {
    #[error("cannot read the input")]
    Unreadable(#[from] std::io::Error),
    #[error("invalid header line: {0}")]
    Header(RowError),
    #[error("invalid JSON in line {line}, column {column}")]
    Json { line: usize, column: usize },
    #[error("{0} is longer than {MAX_ROW_BYTES} bytes")]
    TooLong(Place),
    #[error("no array of users in the input")]
    NoUsers,
}

/// Where a row of the input is. Numbers begin with 1.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) line: usize,
    /// In a document, which may be one line: the number of the entry.
    pub(super) entry: Option<usize>,
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.entry {
            None => write!(formatter, "line {}", self.line),
            Some(entry) => write!(formatter, "entry {entry} (line {})", self.line),
        }
    }
}

/// A row of the input.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) place: Place,
    pub(super) record: Result<Record, RowError>,
}
