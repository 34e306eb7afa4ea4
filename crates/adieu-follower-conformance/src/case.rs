//! What a case is made of: answers of the node, questions to the follower, and events to wait for.

use std::{
    sync::OnceLock,
    time::{Duration, SystemTime},
};

use serde_json::{Map, Value, json};

use crate::page::{Entry, Form, Kind, Page};

/// The node's own issuer, and another one.
pub(crate) const NODE: &str = "adieu";
pub(crate) const OTHER: &str = "https://other.example";

/// The bound of the follower under test.
pub(crate) const BOUND: Duration = Duration::from_millis(1_000);

/// A script of exchanges.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// The form in which the case exists; `None` for all.
    pub(crate) form: Option<Form>,
    pub(crate) steps: Vec<Step>,
}

#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// The node answers like this from now on. A request that it holds is answered again.
    Serve(Answer),
    /// Entries are appended to the log.
    Append(Vec<Entry>),
    /// The maximum number of entries of a page.
    PageSize(usize),
    /// The staleness of the node itself.
    Age(u64),
    /// The mark up to which the log is pruned, as an absolute time.
    Prune(i128),
    /// Another log takes the place of the log, without entries.
    ReplaceLog,
    /// The log goes back to its beginning, with the same id.
    PutBack,
    /// Waits until the follower has received so many answers since the last `Serve`, and sends another request.
    Answered(u64),
    /// Waits until the follower acknowledges the whole log.
    Acknowledged,
    /// Waits until the bound has passed since the last request to which a good and complete page was sent.
    PastBound,
    /// Asks until the verdict is this one.
    Until(Claims, Verdict),
    /// Asks once. A token with these claims must not be accepted.
    Never(Claims),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Accepted,
    Revoked,
    /// `revoked` or `invalid`.
    Rejected,
    Stale,
}

/// How the node answers a request.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) enum Answer {
    /// As the log is. Held for `wait` if there is nothing new.
    #[default]
    Log,
    /// As the log is, but not earlier than this after the request.
    Late(Duration),
    /// The page that the log would give, changed so that it is still valid.
    Valid(fn(Vec<u8>, Form) -> Vec<u8>),
    /// The page that the log would give, with a new cursor, made wrong before or after it is encoded.
    Wrong(fn(&mut Page, Option<u64>), fn(Vec<u8>, Form) -> Vec<u8>),
    /// Pages that are never the last, each with another cursor.
    Endless,
    /// A valid page that is compressed and takes far more than the limit.
    Bomb,
    Status(u16),
    Redirect(u16),
    /// Nothing at all.
    Silent,
    /// The connection is closed without an answer.
    Closed,
    /// Half of the body that was announced, and then the end of the connection.
    CutOff,
    /// One byte after another of a body that does not end.
    DrippingBody,
    /// One byte after another of a header that does not end.
    DrippingHead,
}

/// The claims of a token about which the follower is asked, and the `kid` of its header.
#[derive(Debug, Clone)]
pub(crate) struct Claims {
    pub(crate) claims: Map<String, Value>,
    pub(crate) kid: Option<&'static str>,
}

impl Claims {
    pub(crate) fn with(mut self, claim: &str, value: impl Into<Value>) -> Self {
        self.claims.insert(claim.to_owned(), value.into());
        self
    }

    pub(crate) fn with_kid(self, kid: &'static str) -> Self {
        Self { kid: Some(kid), ..self }
    }

    pub(crate) fn without(mut self, claim: &str) -> Self {
        self.claims.remove(claim);
        self
    }
}

/// Returns the time of the start of the program, in seconds since 1970. All times of cases are relative to it.
pub(crate) fn now() -> i64 {
    static NOW: OnceLock<i64> = OnceLock::new();
    *NOW.get_or_init(|| {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_secs()).unwrap_or(0)
    })
}

/// The `exp` of the tokens in question, and the time at which their revocations lapse.
pub(crate) fn exp() -> i64 {
    now() + 900
}

pub(crate) fn lapses_at() -> i128 {
    i128::from(exp() + 120)
}

/// Returns the claims of a token of the node that no entry of a case matches, unless it says so.
pub(crate) fn token(id: &str) -> Claims {
    let claims = json!({ "iss": NODE, "jti": id, "sub": "jose", "sid": "a-session", "iat": now() - 10, "exp": exp() });
    Claims { claims: claims.as_object().cloned().unwrap_or_default(), kid: None }
}

pub(crate) fn good() -> Claims {
    token("good")
}

fn entry(kind: Kind, id: &str, time: Option<i64>) -> Entry {
    Entry {
        issuer: NODE.to_owned(),
        kind,
        id: id.to_owned(),
        name: String::new(),
        time: time.map(i128::from),
        lapses_at: lapses_at(),
    }
}

pub(crate) fn token_entry(id: &str) -> Entry {
    entry(Kind::Token, id, Some(exp()))
}

pub(crate) fn session_entry(id: &str) -> Entry {
    entry(Kind::Session, id, None)
}

pub(crate) fn subject_entry(id: &str, issued_until: i64) -> Entry {
    entry(Kind::Subject, id, Some(issued_until))
}

pub(crate) fn everything_entry(issued_until: i64) -> Entry {
    entry(Kind::Everything, "", Some(issued_until))
}

/// The revocation of a key, which never lapses.
pub(crate) fn key_entry(id: &str) -> Entry {
    entry(Kind::Key, id, None).lapsing_at(253_402_300_799)
}

pub(crate) fn claim_entry(name: &str, value: &str, issued_until: i64) -> Entry {
    Entry { name: name.to_owned(), ..entry(Kind::Claim, value, Some(issued_until)) }
}

impl Entry {
    pub(crate) fn of(self, issuer: &str) -> Self {
        Self { issuer: issuer.to_owned(), ..self }
    }

    pub(crate) fn without_time(self) -> Self {
        Self { time: None, ..self }
    }

    pub(crate) fn lapsing_at(self, lapses_at: i128) -> Self {
        Self { lapses_at, ..self }
    }
}
