//! Django's `dumpdata`, as JSON or JSON lines.

use serde::Deserialize;
use serde_json::Value;

use super::{Record, RowError, typed};

/// How the hash of an account begins that has no password.
const UNUSABLE: char = '!';

#[derive(Deserialize)]
struct Fields {
    /// Missing in a model whose users log in with their address.
    username: Option<String>,
    email: Option<String>,
    password: String,
    is_active: Option<bool>,
}

pub(super) fn record(mut object: Value) -> Option<Result<Record, RowError>> {
    let Some(fields) = object.get_mut("fields") else { return Some(Err(RowError::Export("Django"))) };
    // A dump may also have other models.
    fields.get("password")?;
    Some(typed(fields.take(), "Django").and_then(convert))
}

fn convert(fields: Fields) -> Result<Record, RowError> {
    if fields.password.is_empty() || fields.password.starts_with(UNUSABLE) {
        return Err(RowError::NoPassword);
    }
    let username = fields.username.or(fields.email).ok_or(RowError::Missing("username"))?;
    Record::new(&username, &fields.password, !fields.is_active.unwrap_or(true))
}
