//! Users as JSON objects or comma-separated values, one in each line: an invalid line affects no other line.

use std::collections::BTreeSet;

use adieu::token::unambiguous_json;
use serde_json::{Map, Value};

use super::record::{Record, RowError};

/// How many names of unknown members or columns are reported; a file may have any number.
const MAX_IGNORED: usize = 32;

const USERNAME: &str = "username";
/// Names of the member with the hash; tables of users mostly call it `password`.
const HASH: [&str; 3] = ["password_hash", "password", "hash"];
const IS_ADMIN: &str = "is_admin";
const DISABLED: [&str; 2] = ["disabled", "is_disabled"];
const MUST_CHANGE: &str = "must_change_password";

/// The format of the lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Jsonl,
    Csv,
}

/// Converts lines to records.
pub(super) struct Plain {
    /// Unset until the first line determines it.
    format: Option<Format>,
    columns: Option<Vec<String>>,
    ignored: BTreeSet<String>,
    newly_ignored: Vec<String>,
}

impl Plain {
    pub(super) fn new(format: Option<Format>) -> Self {
        Self { format, columns: None, ignored: BTreeSet::new(), newly_ignored: Vec::new() }
    }

    /// Returns the unknown names found since the last call, each once.
    pub(super) fn take_ignored(&mut self) -> Vec<String> {
        std::mem::take(&mut self.newly_ignored)
    }

    /// Returns whether the next line has the names of the columns.
    pub(super) fn expects_header(&self) -> bool {
        self.format == Some(Format::Csv) && self.columns.is_none()
    }

    /// Converts a line; `None` if it has the names of the columns. After an error in those, no line can be converted.
    pub(super) fn record(&mut self, line: &str) -> Result<Option<Record>, RowError> {
        let guess = || if line.trim_start().starts_with('{') { Format::Jsonl } else { Format::Csv };
        match (*self.format.get_or_insert_with(guess), &self.columns) {
            (Format::Jsonl, _) => self.json(line).map(Some),
            (Format::Csv, Some(columns)) => from_csv(line, columns).map(Some),
            (Format::Csv, None) => {
                self.columns = Some(self.header(line)?);
                Ok(None)
            }
        }
    }

    fn header(&mut self, line: &str) -> Result<Vec<String>, RowError> {
        let columns = values(line)?;
        let has = |names: &[&str]| columns.iter().any(|column| names.contains(&column.as_str()));
        if !has(&[USERNAME]) {
            return Err(RowError::Missing(USERNAME));
        }
        if !has(&HASH) {
            return Err(RowError::Missing("password_hash"));
        }
        if columns.iter().collect::<BTreeSet<_>>().len() < columns.len() {
            return Err(RowError::Duplicate("column"));
        }
        columns.iter().for_each(|column| self.note(column));
        Ok(columns)
    }

    fn json(&mut self, line: &str) -> Result<Record, RowError> {
        let members: Map<String, Value> =
            serde_json::from_str(line).map_err(|error| RowError::NotJson(error.column()))?;
        // Two parsers could choose different values of a duplicate member.
        unambiguous_json(line.as_bytes()).map_err(|_| RowError::Duplicate("member"))?;
        members.keys().for_each(|name| self.note(name));
        record(|name| members.get(name).filter(|value| !value.is_null()).cloned())
    }

    fn note(&mut self, name: &str) {
        let known =
            [USERNAME, IS_ADMIN, MUST_CHANGE].contains(&name) || HASH.contains(&name) || DISABLED.contains(&name);
        if !known && self.ignored.len() < MAX_IGNORED && self.ignored.insert(name.to_owned()) {
            self.newly_ignored.push(name.to_owned());
        }
    }
}

fn from_csv(line: &str, columns: &[String]) -> Result<Record, RowError> {
    let values = values(line)?;
    if values.len() != columns.len() {
        return Err(RowError::Columns { found: values.len(), expected: columns.len() });
    }
    record(|name| {
        let (_, value) = columns.iter().zip(&values).find(|(column, value)| *column == name && !value.is_empty())?;
        Some(Value::String(value.clone()))
    })
}

/// Splits a line into its values.
fn values(line: &str) -> Result<Vec<String>, RowError> {
    // A quoted value doubles the quotation marks inside it (RFC 4180 §2), so their number is even.
    if line.matches('"').count() % 2 == 1 {
        return Err(RowError::Quote);
    }
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(line.as_bytes());
    let record = reader.records().next().and_then(Result::ok).unwrap_or_default();
    Ok(record.iter().map(|value| value.trim().to_owned()).collect())
}

fn record(value: impl Fn(&str) -> Option<Value>) -> Result<Record, RowError> {
    let username = text(USERNAME, value(USERNAME))?;
    let hash = text("password_hash", either(&HASH, &value)?)?;
    let is_disabled = boolean("disabled", either(&DISABLED, &value)?)?;
    let is_admin = boolean(IS_ADMIN, value(IS_ADMIN))?;
    let must_change_password = boolean(MUST_CHANGE, value(MUST_CHANGE))?;
    Ok(Record { is_admin, must_change_password, ..Record::new(&username, &hash, is_disabled)? })
}

/// Returns the value that has one of these names.
fn either(names: &[&'static str], value: impl Fn(&str) -> Option<Value>) -> Result<Option<Value>, RowError> {
    let mut found: Option<(&'static str, Value)> = None;
    for name in names {
        match (value(name), &found) {
            (Some(_), Some((earlier, _))) => return Err(RowError::Twice(earlier, name)),
            (Some(value), None) => found = Some((name, value)),
            (None, _) => {}
        }
    }
    Ok(found.map(|(_, value)| value))
}

fn text(name: &'static str, value: Option<Value>) -> Result<String, RowError> {
    match value {
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(RowError::NotText(name)),
        None => Err(RowError::Missing(name)),
    }
}

/// Parses a boolean as databases export it: SQLite writes 1, PostgreSQL t, Python True. A missing value is false.
fn boolean(name: &'static str, value: Option<Value>) -> Result<bool, RowError> {
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
    answer.ok_or(RowError::NotBoolean(name))
}
