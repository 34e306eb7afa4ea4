//! A page of the feed, good or bad, as JSON and in the binary form.
//!
//! Written from `docs/feed.md` and not shared with `adieu-client`, which is among the followers that are judged.

use std::fmt::Write as _;

use serde_json::json;

/// The form of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Json,
    Binary,
}

impl Form {
    /// Returns the form of the answer to a request with this `Accept` header.
    pub(crate) fn accepted_by(accept: Option<&str>) -> Option<Self> {
        let accept = accept.unwrap_or("*/*").to_ascii_lowercase();
        let mut types = accept.split(',').map(|item| item.split(';').next().unwrap_or_default().trim());
        if types.clone().any(|item| matches!(item, "*/*" | "application/*" | "application/json")) {
            return Some(Self::Json);
        }
        types.any(|item| item == Self::Binary.media_type()).then_some(Self::Binary)
    }

    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Binary => "application/vnd.adieu.revocations",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Token,
    Session,
    Subject,
    Everything,
    Key,
    Claim,
    /// One that the page about the feed does not describe.
    Unknown,
}

/// Times are wider than a page allows, so that an entry can be wrong.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) issuer: String,
    pub(crate) kind: Kind,
    /// The id, or the value of a claim.
    pub(crate) id: String,
    /// The name of a claim.
    pub(crate) name: String,
    /// `expires_at` of a token, if it is known, or `issued_until` of a cut-off.
    pub(crate) time: Option<i128>,
    pub(crate) lapses_at: i128,
}

#[derive(Debug, Clone)]
pub(crate) struct Page {
    pub(crate) log: String,
    pub(crate) position: u64,
    pub(crate) complete: bool,
    pub(crate) from_start: bool,
    pub(crate) age_ms: u64,
    pub(crate) pruned_through: i128,
    pub(crate) issuer: String,
    pub(crate) max_staleness_ms: u64,
    pub(crate) entries: Vec<Entry>,
}

impl Page {
    pub(crate) fn cursor(&self) -> String {
        format!("{}.{}", self.log, self.position)
    }

    pub(crate) fn encode(&self, form: Form) -> Vec<u8> {
        match form {
            Form::Json => self.json().into_bytes(),
            Form::Binary => self.binary(),
        }
    }

    /// Written by hand: serde_json has no numbers of more than 64 bits.
    fn json(&self) -> String {
        let mut text = format!(
            r#"{{"cursor":{},"complete":{},"from_start":{},"age_ms":{},"pruned_through":{},"issuer":{},"max_staleness_ms":{},"entries":["#,
            json!(self.cursor()),
            self.complete,
            self.from_start,
            self.age_ms,
            self.pruned_through,
            json!(self.issuer),
            self.max_staleness_ms,
        );
        for (place, entry) in self.entries.iter().enumerate() {
            let (kind, time) = match entry.kind {
                Kind::Token => ("token", "expires_at"),
                Kind::Session => ("session", ""),
                Kind::Subject => ("subject", "issued_until"),
                Kind::Everything => ("everything", "issued_until"),
                Kind::Key => ("key", ""),
                Kind::Claim => ("claim", "issued_until"),
                Kind::Unknown => ("device", ""),
            };
            let comma = if place == 0 { "" } else { "," };
            let _ = write!(text, r#"{comma}{{"issuer":{},"kind":"{kind}""#, json!(entry.issuer));
            if entry.kind == Kind::Claim {
                let _ = write!(text, r#","name":{},"value":{}"#, json!(entry.name), json!(entry.id));
            } else if entry.kind != Kind::Everything {
                let _ = write!(text, r#","id":{}"#, json!(entry.id));
            }
            if !time.is_empty() {
                let value = entry.time.map_or_else(|| "null".to_owned(), |time| time.to_string());
                let _ = write!(text, r#","{time}":{value}"#);
            }
            let _ = write!(text, r#","lapses_at":{}}}"#, entry.lapses_at);
        }
        text + "]}"
    }

    fn binary(&self) -> Vec<u8> {
        let mut out = b"ADRV\x01".to_vec();
        out.push(u8::from(self.complete) | u8::from(self.from_start) << 1);
        number(&mut out, self.age_ms.into());
        number(&mut out, self.pruned_through.unsigned_abs());
        number(&mut out, self.max_staleness_ms.into());
        text(&mut out, &self.issuer);
        text(&mut out, &self.log);
        number(&mut out, self.position.into());
        number(&mut out, self.entries.len() as u128);
        let mut issuers = vec![self.issuer.as_str()];
        let mut before = 0;
        for entry in &self.entries {
            let kind = match (entry.kind, entry.time) {
                (Kind::Token, Some(_)) => 0,
                (Kind::Token, None) => 1,
                (Kind::Session, _) => 2,
                (Kind::Subject, _) => 3,
                (Kind::Everything, _) => 4,
                (Kind::Key, _) => 5,
                (Kind::Claim, _) => 6,
                (Kind::Unknown, _) => 9,
            };
            let uuid = uuid(&entry.id).filter(|_| kind != 4);
            out.push(kind | if uuid.is_some() { 128 } else { 0 });
            let known = issuers.iter().position(|issuer| *issuer == entry.issuer);
            number(&mut out, known.unwrap_or(issuers.len()) as u128);
            if known.is_none() {
                text(&mut out, &entry.issuer);
                issuers.push(&entry.issuer);
            }
            if kind == 6 {
                text(&mut out, &entry.name);
            }
            match uuid {
                Some(bytes) => out.extend(bytes.to_be_bytes()),
                None if kind == 4 => {}
                None => text(&mut out, &entry.id),
            }
            difference(&mut out, entry.lapses_at - before);
            before = entry.lapses_at;
            if let (0 | 3 | 4 | 6, Some(time)) = (kind, entry.time) {
                difference(&mut out, time - entry.lapses_at);
            }
        }
        out
    }
}

fn number(out: &mut Vec<u8>, mut value: u128) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn text(out: &mut Vec<u8>, value: &str) {
    number(out, value.len() as u128);
    out.extend(value.as_bytes());
}

fn difference(out: &mut Vec<u8>, value: i128) {
    let double = value.unsigned_abs() * 2;
    number(out, if value < 0 { double - 1 } else { double });
}

/// Returns the number whose text, as a UUID with lower-case letters and hyphens, is `id`.
fn uuid(id: &str) -> Option<u128> {
    let value = u128::from_str_radix(&id.replace('-', ""), 16).ok()?;
    let digits = format!("{value:032x}");
    let parts = [digits.get(..8)?, digits.get(8..12)?, digits.get(12..16)?, digits.get(16..20)?, digits.get(20..)?];
    (parts.join("-") == id).then_some(value)
}
