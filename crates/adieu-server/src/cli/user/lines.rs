//! Reads the users of other software, line by line.
//!
//! 1. Each line is one record, in JSON or CSV: an invalid line affects no other line.
//! 2. At most [`MAX_LINE_BYTES`] of a line are kept in memory; a longer line is skipped.
//! 3. Errors repeat no value, since it might be a password.

use std::{
    collections::BTreeSet,
    io::{self, BufRead, Read as _},
};

use serde_json::{Map, Value};

use super::super::prompt::phrase;
use crate::{
    password::{HashError, PasswordHash},
    text::Username,
};

/// The longest line that is read.
pub(super) const MAX_LINE_BYTES: usize = 16 * 1024;

/// How many names of unknown members or columns are reported; a file may have any number.
const MAX_IGNORED: usize = 32;

const USERNAME: &str = "username";
/// Names of the member with the hash; tables of users mostly call it `password`.
const HASH: [&str; 3] = ["password_hash", "password", "hash"];
const IS_ADMIN: &str = "is_admin";
const DISABLED: [&str; 2] = ["disabled", "is_disabled"];

/// The format of the lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// A JSON object a line
    Jsonl,
    /// Comma-separated values (RFC 4180) under a line with the names of the columns
    Csv,
}

/// A user to add.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) username: Username,
    pub(super) password: PasswordHash,
    pub(super) is_admin: bool,
    pub(super) is_disabled: bool,
}

/// An error in a line.
#[derive(Debug, thiserror::Error)]
pub(super) enum LineError {
    #[error("longer than {MAX_LINE_BYTES} bytes")]
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
    #[error("both {0} and {1}, of which one is needed")]
    Twice(&'static str, &'static str),
    #[error("username: {0}")]
    Username(String),
    #[error("password_hash: {0}")]
    Hash(#[from] HashError),
}

/// Reads records with the numbers of their lines, the first being 1.
pub(super) struct Lines<R> {
    input: R,
    format: Option<Format>,
    columns: Option<Vec<String>>,
    number: usize,
    ignored: BTreeSet<String>,
    newly_ignored: Vec<String>,
}

/// The reason why reading has to stop.
#[derive(Debug, thiserror::Error)]
pub(super) enum InputError {
    #[error("cannot read the input")]
    Unreadable(#[from] io::Error),
    #[error("invalid header line: {0}")]
    Header(LineError),
}

type Numbered = (usize, Result<Record, LineError>);

impl<R: BufRead> Lines<R> {
    /// Returns the lines in this format; by default, the first line determines it.
    pub(super) fn new(input: R, format: Option<Format>) -> Self {
        Self { input, format, columns: None, number: 0, ignored: BTreeSet::new(), newly_ignored: Vec::new() }
    }

    /// Returns the unknown names found since the last call, each once.
    pub(super) fn take_ignored(&mut self) -> Vec<String> {
        std::mem::take(&mut self.newly_ignored)
    }

    /// Returns the next record; `None` at the end. Skips empty lines.
    pub(super) fn next(&mut self) -> Result<Option<Numbered>, InputError> {
        loop {
            let Some(line) = self.line()? else { return Ok(None) };
            let line = match line {
                Ok(line) if line.trim().is_empty() => continue,
                Ok(line) => line,
                Err(error) if self.format == Some(Format::Csv) && self.columns.is_none() => {
                    return Err(InputError::Header(error));
                }
                Err(error) => return Ok(Some((self.number, Err(error)))),
            };
            let guess = || if line.trim_start().starts_with('{') { Format::Jsonl } else { Format::Csv };
            let record = match (*self.format.get_or_insert_with(guess), &self.columns) {
                (Format::Jsonl, _) => self.json(&line),
                (Format::Csv, Some(columns)) => from_csv(&line, columns),
                (Format::Csv, None) => {
                    self.columns = Some(self.header(&line).map_err(InputError::Header)?);
                    continue;
                }
            };
            return Ok(Some((self.number, record)));
        }
    }

    /// Returns one line without its line break, or why it is invalid.
    fn line(&mut self) -> Result<Option<Result<String, LineError>>, io::Error> {
        let mut bytes = Vec::new();
        let read = (&mut self.input).take(MAX_LINE_BYTES as u64 + 1).read_until(b'\n', &mut bytes)?;
        if read == 0 {
            return Ok(None);
        }
        self.number += 1;
        if bytes.last() != Some(&b'\n') && read > MAX_LINE_BYTES {
            self.input.skip_until(b'\n')?;
            return Ok(Some(Err(LineError::TooLong)));
        }
        let Ok(line) = String::from_utf8(bytes) else { return Ok(Some(Err(LineError::NotUtf8))) };
        let line = line.strip_suffix('\n').unwrap_or(&line);
        let line = line.strip_suffix('\r').unwrap_or(line);
        // The byte order mark that some programs put in front of UTF-8.
        let line = if self.number == 1 { line.strip_prefix('\u{feff}').unwrap_or(line) } else { line };
        Ok(Some(Ok(line.to_owned())))
    }

    fn header(&mut self, line: &str) -> Result<Vec<String>, LineError> {
        let columns = values(line)?;
        let has = |names: &[&str]| columns.iter().any(|column| names.contains(&column.as_str()));
        if !has(&[USERNAME]) {
            return Err(LineError::Missing(USERNAME));
        }
        if !has(&HASH) {
            return Err(LineError::Missing("password_hash"));
        }
        columns.iter().for_each(|column| self.note(column));
        Ok(columns)
    }

    fn json(&mut self, line: &str) -> Result<Record, LineError> {
        let members: Map<String, Value> =
            serde_json::from_str(line).map_err(|error| LineError::NotJson(error.column()))?;
        members.keys().for_each(|name| self.note(name));
        record(|name| members.get(name).filter(|value| !value.is_null()).cloned())
    }

    fn note(&mut self, name: &str) {
        let known = name == USERNAME || name == IS_ADMIN || HASH.contains(&name) || DISABLED.contains(&name);
        if !known && self.ignored.len() < MAX_IGNORED && self.ignored.insert(name.to_owned()) {
            self.newly_ignored.push(name.to_owned());
        }
    }
}

fn from_csv(line: &str, columns: &[String]) -> Result<Record, LineError> {
    let values = values(line)?;
    if values.len() != columns.len() {
        return Err(LineError::Columns { found: values.len(), expected: columns.len() });
    }
    record(|name| {
        let (_, value) = columns.iter().zip(&values).find(|(column, value)| *column == name && !value.is_empty())?;
        Some(Value::String(value.clone()))
    })
}

/// Splits a line into its values.
fn values(line: &str) -> Result<Vec<String>, LineError> {
    // A quoted value doubles the quotation marks inside it (RFC 4180 §2), so their number is even.
    if line.matches('"').count() % 2 == 1 {
        return Err(LineError::Quote);
    }
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(line.as_bytes());
    let record = reader.records().next().and_then(Result::ok).unwrap_or_default();
    Ok(record.iter().map(|value| value.trim().to_owned()).collect())
}

fn record(value: impl Fn(&str) -> Option<Value>) -> Result<Record, LineError> {
    let username = text(USERNAME, value(USERNAME))?;
    let hash = text("password_hash", either(&HASH, &value)?)?;
    Ok(Record {
        username: Username::chosen(&username).map_err(|refusal| LineError::Username(phrase(&refusal)))?,
        password: PasswordHash::parse(&hash)?,
        is_admin: boolean(IS_ADMIN, value(IS_ADMIN))?,
        is_disabled: boolean("disabled", either(&DISABLED, &value)?)?,
    })
}

/// Returns the value that has one of these names.
fn either(names: &[&'static str], value: impl Fn(&str) -> Option<Value>) -> Result<Option<Value>, LineError> {
    let mut found: Option<(&'static str, Value)> = None;
    for name in names {
        match (value(name), &found) {
            (Some(_), Some((earlier, _))) => return Err(LineError::Twice(earlier, name)),
            (Some(value), None) => found = Some((name, value)),
            (None, _) => {}
        }
    }
    Ok(found.map(|(_, value)| value))
}

fn text(name: &'static str, value: Option<Value>) -> Result<String, LineError> {
    match value {
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(LineError::NotText(name)),
        None => Err(LineError::Missing(name)),
    }
}

/// Parses a boolean as databases export it: SQLite writes 1, PostgreSQL t, Python True. A missing value is false.
fn boolean(name: &'static str, value: Option<Value>) -> Result<bool, LineError> {
    let answer = match &value {
        None => Some(false),
        Some(Value::Bool(answer)) => Some(*answer),
        Some(Value::Number(number)) if number.as_u64() == Some(1) => Some(true),
        Some(Value::Number(number)) if number.as_u64() == Some(0) => Some(false),
        Some(Value::String(text)) => match text.to_ascii_lowercase().as_str() {
            "true" | "t" | "1" | "yes" => Some(true),
            "false" | "f" | "0" | "no" => Some(false),
            _ => None,
        },
        Some(_) => None,
    };
    answer.ok_or(LineError::NotBoolean(name))
}
