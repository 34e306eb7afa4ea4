//! The requests to a node.

use std::time::Duration;

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use http::HeaderValue;
use reqwest::Url;
use serde_json::{Map, Value, json};

use super::Remote;
use adieu::{
    Error, Issuer,
    revocation::{Cursor, Position, Revocation, RevocationHasher, Target},
    time::{Timestamp, ceil_millis},
};

/// The maximum number and bytes of revocations in one request: a node accepts 64 KiB unless configured otherwise.
const MAX_AT_ONCE: usize = 500;
const MAX_BYTES: usize = 60_000;

/// How old a cut-off may be to count as "now".
const ABOUT_NOW: Duration = Duration::from_secs(60);

/// Adds the query parameters of a request for a page.
pub(super) fn query(url: &mut Url, remote: &Remote, after: Option<&Cursor>, wait: Duration, applied: Option<&Cursor>) {
    let mut query = url.query_pairs_mut();
    if let Some(after) = after {
        query.append_pair("after", &after.to_string());
    }
    query.append_pair("wait", &wait.as_millis().to_string());
    query.append_pair("follower", &remote.follower);
    // Rounded up: the node must not forget this follower while it still accepts tokens.
    query.append_pair("max_staleness", &ceil_millis(remote.max_staleness).to_string());
    if remote.accepts_when_stale {
        query.append_pair("stale_policy", "accept");
    }
    // Always sent: without it, the node assumes that everything before `after` has been applied. A position of another log
    // says nothing about this one, and no position says anything about what has not been read.
    let applied = match (after, applied) {
        (Some(after), Some(applied)) if after.log == applied.log => applied.position.min(after.position),
        _ => Position::START,
    };
    query.append_pair("applied", &applied.get().to_string());
}

/// Returns the header with the key of an index.
pub(super) fn index_key(hasher: &RevocationHasher) -> Result<HeaderValue, Error> {
    let mut key = HeaderValue::try_from(BASE64_URL_SAFE_NO_PAD.encode(hasher.key())).map_err(Error::unavailable)?;
    key.set_sensitive(true);
    Ok(key)
}

/// Returns a revocation in the form of a request.
pub(super) fn body(revocation: &Revocation, own: Option<&Issuer>, now: Timestamp) -> Result<Value, Error> {
    let mut body = Map::new();
    let mut put = |name: &str, value: Value| body.insert(name.to_owned(), value);
    match &revocation.target {
        Target::Token { id, expires_at } => {
            put("issuer", json!(revocation.issuer));
            put("token_id", json!(id));
            match expires_at {
                Some(expires_at) => put("expires_at", json!(expires_at)),
                None => put("keep_until", json!(last_expiry(revocation.lapses_at))),
            };
        }
        Target::Session { id } => {
            if revocation.issuer != *own.ok_or_else(issuer_unknown)? {
                return Err(inexpressible("a session of another issuer than the node's own"));
            }
            put("session", json!(id));
        }
        Target::Subject { issued_until, .. } | Target::Claim { issued_until, .. } => {
            if *issued_until > now || issued_until.plus(ABOUT_NOW) < now {
                return Err(inexpressible("a cut-off that is not now"));
            }
            put("issuer", json!(revocation.issuer));
            match &revocation.target {
                Target::Claim { claim, .. } => put("claim", json!(claim)),
                target => put("subject", json!(target.parts().id)),
            };
            // The node knows how long its own tokens live.
            if revocation.issuer != *own.ok_or_else(issuer_unknown)? {
                put("keep_until", json!(last_expiry(revocation.lapses_at)));
            }
        }
        Target::Key { .. } => return Err(inexpressible("a revocation of a key")),
        _ => return Err(inexpressible("a revocation of everything")),
    }
    Ok(Value::Object(body))
}

/// Splits revocations into requests, in order. One revocation always fits.
pub(super) fn batches(bodies: &[Value]) -> Vec<Vec<&Value>> {
    let mut batches: Vec<Vec<&Value>> = Vec::new();
    let mut bytes = 0;
    for body in bodies {
        let length = body.to_string().len() + 1;
        bytes += length;
        match batches.last_mut().filter(|batch| batch.len() < MAX_AT_ONCE && bytes <= MAX_BYTES) {
            Some(batch) => batch.push(body),
            None => {
                batches.push(vec![body]);
                bytes = length;
            }
        }
    }
    batches
}

/// The inverse of [`Revocation::lapse_for`].
fn last_expiry(lapses_at: Timestamp) -> Timestamp {
    lapses_at.minus(Revocation::lapse_for(Timestamp::ZERO).since(Timestamp::ZERO))
}

fn issuer_unknown() -> Error {
    Error::unavailable("the node has not said yet who its issuer is")
}

fn inexpressible(what: &str) -> Error {
    Error::Unsupported(format!("{what} can't be sent to a node"))
}
