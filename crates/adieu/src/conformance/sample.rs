//! What the suite's tests are made of; also of use to the tests of an engine beyond it.

use std::time::Duration;

use crate::{
    Issuer, SessionId, Subject, TokenId,
    revocation::{Cursor, Revocation, RevocationLog, Target},
    session::{Origin, Session},
    time::Timestamp,
    token::{Algorithm, SigningKey, StoredKey},
};

/// What time it is in every test. No engine asks a clock, so it need not be near.
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

/// Everything after the cursor, page by page, and where it ends.
pub async fn read_all(log: &impl RevocationLog, after: Option<&Cursor>) -> (Vec<Revocation>, Cursor) {
    let mut entries = Vec::new();
    let mut page = log.read(after, Duration::ZERO).await.unwrap();
    loop {
        entries.extend(page.entries);
        if page.complete {
            return (entries, page.cursor);
        }
        page = log.read(Some(&page.cursor), Duration::ZERO).await.unwrap();
    }
}
