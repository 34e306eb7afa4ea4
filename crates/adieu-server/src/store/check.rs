//! Checks that a store is consistent: its file, its revocation log, the index that nodes make of it, its sessions, its keys
//! and its aliases.

use std::{path::Path, time::Duration};

use adieu::{
    Error, Issuer,
    restore::{HighWater, Verdict},
    revocation::{Index, Page, Position, Revocation, RevokedBy, Target, TokenClaims, TokenFacts},
    session::Session,
    store::Store,
    time::{Clock as _, SystemClock, Timestamp},
    token::SigningKey,
};
use serde_json::Map;

use super::{Main, Stores};
use crate::aliases::{AliasFilter, AliasStore};

/// The sessions that are read at once.
const PAGE: usize = 1_000;
/// The violations of each kind that are named.
const NAMED: usize = 10;
/// An id that no revocation can have.
const NO_ID: &str = "";

/// What a check found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The revocations in the log.
    pub revocations: usize,
    /// The sessions.
    pub sessions: usize,
    /// The signing keys.
    pub keys: usize,
    /// The aliases.
    pub aliases: usize,
    /// One sentence for each violation, at most ten of each kind.
    pub violations: Vec<String>,
}

impl Found {
    fn violation(&mut self, count: &mut usize, sentence: impl FnOnce() -> String) {
        *count += 1;
        if *count <= NAMED {
            self.violations.push(sentence());
        }
    }
}

/// Checks a store, also while servers use it. `issuer` is that of its sessions; `high_water` is the file with its mark.
///
/// # Errors
/// Fails if the store can't be read. A violation is not an error.
pub async fn check(stores: &Stores, issuer: &Issuer, high_water: &Path) -> Result<Found, Error> {
    let mut found = Found::default();
    if let Main::Sqlite(store) = &stores.main {
        found.violations.extend(store.check_integrity().await?);
    }
    let core = stores.core();
    check_mark(&*core, high_water, &mut found).await?;
    let index = check_log(&*core, &mut found).await?;
    check_sessions(&*core, &index, issuer, &mut found).await?;
    check_keys(&*core, &mut found).await?;
    check_aliases(&*stores.aliases(), &mut found).await?;
    Ok(found)
}

/// Like [`check`], without what takes longer for a larger store: checks the mark and the keys.
///
/// # Errors
/// As [`check`].
pub async fn check_quickly(stores: &Stores, high_water: &Path) -> Result<Found, Error> {
    let mut found = Found::default();
    let core = stores.core();
    check_mark(&*core, high_water, &mut found).await?;
    check_keys(&*core, &mut found).await?;
    Ok(found)
}

async fn check_mark(store: &dyn Store, file: &Path, found: &mut Found) -> Result<(), Error> {
    // First the mark, then the log, which other processes may be appending to.
    let (Some(mark), Some(restorable)) = (HighWater::inspect(file)?, store.restorable()) else { return Ok(()) };
    let state = restorable.inspect(mark.anchor()).await?;
    if let Verdict::RolledBack(why) = mark.compare(&state) {
        found.violations.push(format!("the log was rolled back: {why}; the next start will detect it"));
    }
    Ok(())
}

/// Reads the log into an index as a node does, then reads it again and asks the index for each entry.
async fn check_log(store: &dyn Store, found: &mut Found) -> Result<Index, Error> {
    let index = Index::new(SystemClock.now());
    let mut end = Position::START;
    read_log(store, |page| {
        index.raise_pruned_through(page.pruned_through);
        index.extend(&page.entries);
        found.revocations += page.entries.len();
        end = page.cursor.position;
    })
    .await?;
    let (now, mut count) = (SystemClock.now(), 0);
    read_log(store, |page| {
        // Entries that were appended since, and all after them, are not in the index.
        for revocation in page.entries.iter().filter(|_| page.cursor.position <= end) {
            if revocation.lapses_at > now && !is_known(&index, revocation) {
                found.violation(&mut count, || format!("the index does not have {:?}", revocation.target));
            }
        }
    })
    .await?;
    Ok(index)
}

async fn read_log(store: &dyn Store, mut each: impl FnMut(&Page)) -> Result<(), Error> {
    let mut page = store.read(None, Duration::ZERO).await?;
    loop {
        each(&page);
        if page.complete {
            return Ok(());
        }
        let next = store.read(Some(&page.cursor), Duration::ZERO).await?;
        if next.cursor == page.cursor && !next.complete {
            return Err(Error::unavailable("a page of the log that is not the last leads nowhere"));
        }
        page = next;
    }
}

/// Returns whether a token that only this revocation is about is rejected.
fn is_known(index: &Index, revocation: &Revocation) -> bool {
    let token = TokenFacts {
        issuer: revocation.issuer.as_str(),
        token_id: NO_ID,
        session: None,
        subject: NO_ID,
        // Later than every cut-off.
        issued_at: Some(Timestamp::from_unix(u64::MAX)),
        expires_at: revocation.lapses_at,
        key_id: None,
        claims: None,
    };
    let mut claims = Map::new();
    let (token, expected) = match &revocation.target {
        Target::Token { id, expires_at } => {
            let expires_at = expires_at.unwrap_or(revocation.lapses_at);
            (TokenFacts { token_id: id.as_str(), expires_at, ..token }, RevokedBy::Token)
        }
        Target::Session { id } => (TokenFacts { session: Some(id.as_str()), ..token }, RevokedBy::Session),
        Target::Subject { id, issued_until } => {
            (TokenFacts { subject: id.as_str(), issued_at: Some(*issued_until), ..token }, RevokedBy::Subject)
        }
        Target::Everything { issued_until } => {
            (TokenFacts { issued_at: Some(*issued_until), ..token }, RevokedBy::Everything)
        }
        Target::Key { id } => (TokenFacts { key_id: Some(id.as_str()), ..token }, RevokedBy::Key),
        Target::Claim { claim, issued_until } => {
            claims.insert(claim.name().to_string(), claim.value().into());
            let (issued_at, claims) = (Some(*issued_until), Some(&claims as &dyn TokenClaims));
            (TokenFacts { issued_at, claims, ..token }, RevokedBy::Claim)
        }
        _ => return false,
    };
    index.check(&token) == Some(expected)
}

/// A session that has been revoked must not be live: its refresh token would give new tokens.
async fn check_sessions(store: &dyn Store, index: &Index, issuer: &Issuer, found: &mut Found) -> Result<(), Error> {
    let (mut after, mut count) = (None, 0);
    loop {
        let page = store.sessions(after.as_ref(), PAGE).await?;
        for session in &page {
            let token = TokenFacts {
                issuer: issuer.as_str(),
                token_id: NO_ID,
                session: Some(session.id.as_str()),
                subject: session.subject.as_str(),
                issued_at: Some(session.refreshed_at),
                expires_at: session.access_expires_at,
                key_id: None,
                claims: None,
            };
            if let Some(revoked_by) = index.check(&token) {
                found.violation(&mut count, || {
                    format!(
                        "the session {} of the user {} is live, but {revoked_by} was revoked",
                        session.id, session.subject
                    )
                });
            }
        }
        found.sessions += page.len();
        after = page.last().map(Session::key);
        if page.len() < PAGE {
            return Ok(());
        }
    }
}

async fn check_keys(store: &dyn Store, found: &mut Found) -> Result<(), Error> {
    let keys = store.keys().await?;
    found.keys = keys.len();
    for key in &keys {
        if let Err(error) = SigningKey::try_from(key) {
            found.violations.push(format!("the signing key {} can't be used: {error}", key.id));
        }
    }
    Ok(())
}

/// Reads all aliases: one that can't be read, or is not in its canonical form, fails the check.
async fn check_aliases(store: &dyn AliasStore, found: &mut Found) -> Result<(), Error> {
    let mut after = None;
    loop {
        let page = store.aliases(&AliasFilter::default(), after.as_ref(), PAGE).await?;
        found.aliases += page.len();
        let Some(last) = page.last() else { return Ok(()) };
        after = Some(last.named.clone());
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use adieu::{SessionId, Subject, TokenId, revocation::RevokedClaim, token::KeyId};

    use super::*;

    #[test]
    fn an_index_knows_what_was_inserted_and_nothing_else() {
        let now = SystemClock.now();
        let lapses_at = now.plus(Duration::from_secs(60));
        let targets = [
            Target::Token { id: TokenId::random(), expires_at: Some(now) },
            Target::Token { id: TokenId::random(), expires_at: None },
            Target::Session { id: SessionId::random() },
            Target::Subject { id: Subject::new("7").unwrap(), issued_until: now },
            Target::Everything { issued_until: now },
            Target::Key { id: KeyId::new("kid").unwrap() },
            Target::Claim { claim: RevokedClaim::new("tenant", "acme").unwrap(), issued_until: now },
        ];
        let all = targets.map(|target| Revocation { issuer: Issuer::new("adieu").unwrap(), target, lapses_at });
        for inserted in &all {
            let index = Index::new(now);
            index.insert(inserted);
            for revocation in &all {
                assert_eq!(is_known(&index, revocation), revocation == inserted, "{inserted:?} {revocation:?}");
            }
        }
    }
}
