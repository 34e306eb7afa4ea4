//! What the suite's tests are made of; also of use to the tests of an engine beyond it.

use std::time::{Duration, Instant};

use adieu::{
    Issuer, MAX_ID_BYTES, SessionId, Subject, TokenId,
    revocation::{Cursor, Page, Revocation, RevocationLog, Target},
    session::{Origin, Session},
    time::Timestamp,
    token::{Algorithm, SigningKey, StoredKey},
};

/// What time it is in the tests. An engine asks no clock, so it need not be near; but see [`Place::noon`](super::Place::noon).
pub const NOON: Timestamp = Timestamp::from_unix(1_800_000_000);

/// So many seconds after [`NOON`].
#[must_use]
pub fn after(seconds: u64) -> Timestamp {
    NOON.plus(Duration::from_secs(seconds))
}

/// Whose tokens they all are.
#[must_use]
pub fn issuer() -> Issuer {
    Issuer::new("https://adieu.test").unwrap()
}

/// The subject with this name.
#[must_use]
pub fn subject(name: &str) -> Subject {
    Subject::new(name).unwrap()
}

/// The revocation of a token of this name, which lapses in an hour.
#[must_use]
pub fn token(name: impl AsRef<str>) -> Revocation {
    lapsing(name, after(3_600))
}

/// The revocation of a token of this name, which lapses then, because the token expires as long before as a revocation is
/// kept on.
#[must_use]
pub fn lapsing(name: impl AsRef<str>, lapses_at: Timestamp) -> Revocation {
    let kept_on = Revocation::lapse_for(Timestamp::ZERO).since(Timestamp::ZERO);
    let expires_at = Some(lapses_at.minus(kept_on));
    Revocation { issuer: issuer(), target: Target::Token { id: TokenId::new(name).unwrap(), expires_at }, lapses_at }
}

/// A session that has just begun, whose access token lives for a quarter of an hour and which lives for a day.
#[must_use]
pub fn session(of: &str) -> Session {
    Session {
        id: SessionId::random(),
        subject: subject(of),
        created_at: NOON,
        last_seen_at: NOON,
        origin: Origin::default(),
        refresh_id: TokenId::random(),
        previous_refresh_id: None,
        used_refresh: None,
        refreshed_at: NOON,
        refresh_expires_at: after(86_400),
        expires_at: after(86_400),
        access_expires_at: after(900),
    }
}

/// A new key that signs from then on.
#[must_use]
pub fn key(signs_from: Timestamp) -> StoredKey {
    let key = SigningKey::generate(Algorithm::EdDSA).unwrap();
    StoredKey { signs_from, ..StoredKey::of(&key, NOON).unwrap() }
}

/// Whatever an id may consist of: nothing in them means anything.
#[must_use]
pub fn unusual_texts() -> Vec<String> {
    let texts = [
        " ",
        "\0",
        "a\0b",
        "\u{1}\r\n\t\u{7f}\u{feff}\u{202e}",
        "'; DROP TABLE revocation; --",
        "\"\\\\\\x00\\n{}$1%s*?[a]",
        "42",
        "-1",
        "NULL",
        "true",
        "a:b.c/d?e=f&g#h+%20",
        "A\u{308}",
        "\u{c4}",
        "ß漢字🦀",
        "\u{10ffff}",
    ];
    let long = ["x".repeat(MAX_ID_BYTES), "\u{10ffff}".repeat(MAX_ID_BYTES / 4), "\0".repeat(MAX_ID_BYTES)];
    texts.map(str::to_owned).into_iter().chain(long).collect()
}

/// Everything after the cursor, page by page, and where it ends; see [`whole`].
pub async fn read_all(log: &impl RevocationLog, after: Option<&Cursor>) -> (Vec<Revocation>, Cursor) {
    let page = whole(log, after).await;
    (page.entries, page.cursor)
}

/// Everything after the cursor as one page. It is complete: where pages have an [age](Page::age), it is read on until nothing
/// can be missing that was acknowledged before the call.
pub async fn whole(log: &impl RevocationLog, after: Option<&Cursor>) -> Page {
    /// So that nobody asks without a pause.
    const PAUSE: Duration = Duration::from_millis(5);
    let called_at = Instant::now();
    let mut whole: Option<Page> = None;
    loop {
        let (cursor, wait) = match &whole {
            None => (after, Duration::ZERO),
            Some(whole) if whole.complete => (Some(&whole.cursor), PAUSE),
            Some(whole) => (Some(&whole.cursor), Duration::ZERO),
        };
        let asked_at = Instant::now();
        let mut page = log.read(cursor, wait).await.unwrap();
        if let Some(whole) = whole {
            assert!(!page.from_start, "it is one log all the time");
            page.entries.splice(..0, whole.entries);
            page.from_start = whole.from_start;
        }
        if page.complete && asked_at.duration_since(called_at) >= page.age {
            return page;
        }
        whole = Some(page);
    }
}
