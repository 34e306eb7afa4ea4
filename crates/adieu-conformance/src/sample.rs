//! Sample values for the suite's tests, and for an engine's own tests.

use std::time::{Duration, Instant};

use adieu::{
    Issuer, MAX_ID_BYTES, SessionId, Subject, TokenId,
    revocation::{Cursor, Page, Revocation, RevocationLog, Target},
    session::{EndSessions, Origin, Selection, Session},
    time::Timestamp,
    token::{Algorithm, SigningKey, StoredKey},
};

/// The current time in the tests. An engine reads no clock, so it need not be near the real time; but see
/// [`Storage::noon`](super::Storage::noon).
pub const NOON: Timestamp = Timestamp::from_unix(1_800_000_000);

/// Returns the time this many seconds after [`NOON`].
#[must_use]
pub fn after(seconds: u64) -> Timestamp {
    NOON.plus(Duration::from_secs(seconds))
}

/// Returns the issuer of all tokens.
#[must_use]
pub fn issuer() -> Issuer {
    Issuer::new("https://adieu.test").unwrap()
}

/// Returns the subject with this name.
#[must_use]
pub fn subject(name: &str) -> Subject {
    Subject::new(name).unwrap()
}

/// Returns the revocation of a token with this name, which lapses in an hour.
#[must_use]
pub fn token(name: impl AsRef<str>) -> Revocation {
    lapsing(name, after(3_600))
}

/// Returns the revocation of a token with this name, which lapses at this time: the token expires earlier, by the time for
/// which a revocation is kept on.
#[must_use]
pub fn lapsing(name: impl AsRef<str>, lapses_at: Timestamp) -> Revocation {
    let kept_on = Revocation::lapse_for(Timestamp::ZERO).since(Timestamp::ZERO);
    let expires_at = Some(lapses_at.minus(kept_on));
    Revocation { issuer: issuer(), target: Target::Token { id: TokenId::new(name).unwrap(), expires_at }, lapses_at }
}

/// Returns the operation that ends these sessions.
#[must_use]
pub fn ending(selection: Selection) -> EndSessions {
    EndSessions { issuer: issuer(), selection, only_if: None, extra_revocations: vec![] }
}

/// Returns a session that has just begun; its access token lives for a quarter of an hour, the session for a day.
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

/// Returns a new key that signs from this time on.
#[must_use]
pub fn key(signs_from: Timestamp) -> StoredKey {
    let key = SigningKey::generate(Algorithm::EdDSA).unwrap();
    StoredKey { signs_from, ..StoredKey::of(&key, NOON).unwrap() }
}

/// Returns ids with unusual content, none of which has a meaning.
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

/// Returns everything after the cursor, page by page, and the final cursor; see [`whole`].
pub async fn read_all(log: &impl RevocationLog, after: Option<&Cursor>) -> (Vec<Revocation>, Cursor) {
    let page = whole(log, after).await;
    (page.entries, page.cursor)
}

/// Returns everything after the cursor as one page. It is complete: if pages have an [age](Page::age), it reads on until
/// everything that was acknowledged before the call must be visible.
pub async fn whole(log: &impl RevocationLog, after: Option<&Cursor>) -> Page {
    /// The delay between two reads.
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
