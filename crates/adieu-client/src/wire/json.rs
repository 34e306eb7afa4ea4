//! The JSON form.

use std::{borrow::Cow, fmt, time::Duration};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error as _, SeqAccess, Visitor},
};

use super::{FeedPage, MAX_PAGE_BYTES, MAX_PAGE_ENTRIES, UNKNOWN_KIND, WireError, milliseconds_down};
use adieu::{
    Issuer,
    revocation::{Page, Revocation, RevokedClaim, Target, TargetKind},
    time::{Timestamp, ceil_millis},
};

/// The members beside the entries, in the order in which they are written.
#[derive(Serialize)]
struct Written<'a> {
    cursor: String,
    complete: bool,
    from_start: bool,
    age_ms: u64,
    pruned_through: Timestamp,
    issuer: &'a Issuer,
    max_staleness_ms: u64,
    entries: &'a [Revocation],
}

#[derive(Deserialize)]
struct Read {
    cursor: String,
    complete: bool,
    from_start: bool,
    age_ms: u64,
    pruned_through: Time,
    issuer: Issuer,
    max_staleness_ms: u64,
    #[serde(deserialize_with = "entries")]
    entries: Vec<Revocation>,
}

/// A revocation, read member by member: unknown members are skipped, and not kept until the kind has been read.
#[derive(Deserialize)]
struct Entry {
    issuer: Issuer,
    #[serde(deserialize_with = "kind")]
    kind: TargetKind,
    id: Option<String>,
    name: Option<String>,
    value: Option<String>,
    expires_at: Option<Time>,
    issued_until: Option<Time>,
    lapses_at: Time,
}

/// A time of a page. Unlike a [`Timestamp`] elsewhere, one after the year 9999 is invalid, as in the binary form.
#[derive(Deserialize)]
#[serde(try_from = "u64")]
struct Time(Timestamp);

impl TryFrom<u64> for Time {
    type Error = &'static str;

    fn try_from(seconds: u64) -> Result<Self, Self::Error> {
        let time = Timestamp::from_unix(seconds);
        if time.as_unix() == seconds { Ok(Self(time)) } else { Err("a time is out of its bounds") }
    }
}

/// The longest name of an unknown kind that an error repeats, in bytes.
const MAX_KIND_BYTES: usize = 32;

fn kind<'de, D: Deserializer<'de>>(from: D) -> Result<TargetKind, D::Error> {
    let name = Cow::<str>::deserialize(from)?;
    TargetKind::from_name(&name).ok_or_else(|| {
        let shown = if name.len() > MAX_KIND_BYTES { "…" } else { &*name };
        D::Error::custom(WireError::unknown_kind(format_args!("{shown:?}")).0)
    })
}

impl Entry {
    fn into_revocation<E: serde::de::Error>(self) -> Result<Revocation, E> {
        let Self { issuer, kind, id, name, value, expires_at, issued_until, lapses_at } = self;
        let id = || id.ok_or_else(|| E::missing_field("id"));
        let issued_until = || issued_until.map(|Time(time)| time).ok_or_else(|| E::missing_field("issued_until"));
        let (expires_at, Time(lapses_at)) = (expires_at.map(|Time(time)| time), lapses_at);
        let target = match kind {
            TargetKind::Token => Target::Token { id: id()?.try_into().map_err(E::custom)?, expires_at },
            TargetKind::Session => Target::Session { id: id()?.try_into().map_err(E::custom)? },
            TargetKind::Subject => {
                Target::Subject { id: id()?.try_into().map_err(E::custom)?, issued_until: issued_until()? }
            }
            TargetKind::Everything => Target::Everything { issued_until: issued_until()? },
            TargetKind::Key => Target::Key { id: id()?.try_into().map_err(E::custom)? },
            TargetKind::Claim => {
                let name = name.ok_or_else(|| E::missing_field("name"))?;
                let value = value.ok_or_else(|| E::missing_field("value"))?;
                let claim = RevokedClaim::new(&name, &value).map_err(E::custom)?;
                Target::Claim { claim, issued_until: issued_until()? }
            }
            _ => return Err(E::custom("a kind that is not known here")),
        };
        Ok(Revocation { issuer, target, lapses_at })
    }
}

fn entries<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Revocation>, D::Error> {
    struct Entries;

    impl<'de> Visitor<'de> for Entries {
        type Value = Vec<Revocation>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(formatter, "at most {MAX_PAGE_ENTRIES} revocations")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Self::Value, A::Error> {
            let mut entries = Vec::new();
            while let Some(entry) = from.next_element::<Entry>()? {
                if entries.len() == MAX_PAGE_ENTRIES {
                    return Err(A::Error::invalid_length(MAX_PAGE_ENTRIES + 1, &self));
                }
                entries.push(entry.into_revocation()?);
            }
            Ok(entries)
        }
    }

    from.deserialize_seq(Entries)
}

/// Encodes a page as JSON.
#[must_use]
pub fn to_json(answer: &FeedPage) -> Vec<u8> {
    let page = &answer.page;
    let written = Written {
        cursor: page.cursor.to_string(),
        complete: page.complete,
        from_start: page.from_start,
        age_ms: ceil_millis(page.age),
        pruned_through: page.pruned_through,
        issuer: &answer.issuer,
        max_staleness_ms: milliseconds_down(answer.max_staleness),
        entries: &page.entries,
    };
    // Texts, numbers and flags in memory: JSON can represent all of them.
    serde_json::to_vec(&written).unwrap_or_default()
}

/// Decodes a page from JSON. Unknown members are skipped; unknown kinds of revocations are an error.
///
/// # Errors
/// If the bytes are not exactly a page, or exceed [`MAX_PAGE_BYTES`] or [`MAX_PAGE_ENTRIES`].
pub fn from_json(bytes: &[u8]) -> Result<FeedPage, WireError> {
    if bytes.len() > MAX_PAGE_BYTES {
        return Err(WireError::new("it is too long"));
    }
    // Reports only where the error is: the content may come from anyone.
    let read: Read = serde_json::from_slice(bytes).map_err(|error| {
        let text = error.to_string();
        let place = format!(" at line {} column {}", error.line(), error.column());
        match text.strip_suffix(&place).filter(|text| text.starts_with(UNKNOWN_KIND)) {
            Some(unknown_kind) => WireError::new(unknown_kind),
            None => WireError::new(format!("wrong JSON at line {}, column {}", error.line(), error.column())),
        }
    })?;
    Ok(FeedPage {
        issuer: read.issuer,
        max_staleness: Duration::from_millis(read.max_staleness_ms),
        page: Page {
            entries: read.entries,
            cursor: read.cursor.parse().map_err(|_| WireError::new("invalid cursor"))?,
            complete: read.complete,
            from_start: read.from_start,
            age: Duration::from_millis(read.age_ms),
            pruned_through: read.pruned_through.0,
        },
    })
}
