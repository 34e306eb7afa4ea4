//! Compares the log with the mark, and acts if the log went back.

use std::{
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::{
    sync::Mutex,
    time::{sleep, timeout},
};

use crate::{
    Error, Issuer, RollbackCause,
    restore::{HighWater, LogReset, LogState, Mark, Restorable, Verdict},
    retry::Outage,
    revocation::{LogId, Position, Revocation, Target},
    session::{EndSessions, Selection, Session, SessionSettings, SessionStore, Sessions},
    store::Store,
    time::{Clock, Timestamp},
    token::{Algorithm, Decoder, KeyStore, SigningKey, StoredKey},
};

/// The log target for the operator.
const LOG_TARGET: &str = "adieu::restore";
const AUDIT_LOG_TARGET: &str = "adieu::audit";

/// How often the mark is synced to the disk, and the store is asked whether the operator has accepted a restored
/// backup.
const INTERVAL: Duration = Duration::from_secs(1);
/// The number of intervals between two searches for sessions from before a restored backup.
const SESSIONS: u32 = 5;
/// The number of sessions read, and ended, at once.
const PAGE: usize = 1_000;
/// The delay after a failed check.
const RETRY_DELAY: Duration = Duration::from_millis(100);
/// How often in a row another node may be faster.
const MAX_ATTEMPTS: u32 = 10;

/// The data for computing how long tokens from before a restore may be valid.
#[derive(Debug)]
struct CutOffs {
    /// The issuer of the node's own tokens.
    issuer: Issuer,
    /// The maximum lifetime of the node's own sessions at the start.
    session_lifetime: Duration,
    /// The decoders of the other issuers whose tokens are accepted at the start.
    others: Vec<Arc<Decoder>>,
    /// Know the issuers and the lifetime after that; both can be replaced while the node runs.
    sessions: OnceLock<Arc<Sessions>>,
    /// The algorithm of a key that is generated if no other key is left.
    algorithm: Algorithm,
}

impl CutOffs {
    /// Returns the request that ends everything. `latest_expiry` is that of the sessions in the backup. Later sessions
    /// are not known, but they began before now.
    fn ending(&self, now: Timestamp, latest_expiry: Timestamp) -> EndSessions {
        let cut_off = |issuer: &Issuer, issued_until, last_expiry| Revocation {
            issuer: issuer.clone(),
            target: Target::Everything { issued_until },
            lapses_at: Revocation::lapse_for(last_expiry),
        };
        let sessions = self.sessions.get();
        let lifetime = sessions.map_or(Duration::ZERO, |sessions| sessions.longest_own()).max(self.session_lifetime);
        let own = cut_off(&self.issuer, now, latest_expiry.max(now.plus(lifetime)));
        let others =
            sessions.map_or_else(|| self.others.clone(), |sessions| sessions.verifier().other_issuers().to_vec());
        let others = others.iter().map(|decoder| {
            let rules = decoder.rules();
            let issued_until = now.plus(rules.skew());
            cut_off(rules.issuer(), issued_until, issued_until.plus(rules.max_lifetime()))
        });
        EndSessions {
            issuer: self.issuer.clone(),
            selection: Selection::All { issued_until: now },
            only_if: None,
            extra_revocations: std::iter::once(own).chain(others).collect(),
        }
    }
}

/// The guard of one store.
pub(crate) struct Guard {
    high_water: Arc<HighWater>,
    store: Arc<dyn Restorable>,
    sessions: Arc<dyn SessionStore>,
    keys: Arc<dyn KeyStore>,
    cut_offs: CutOffs,
    clock: Arc<dyn Clock>,
    /// Held during a check, so that states are recorded in the order in which they were read.
    checking: Mutex<()>,
}

impl Guard {
    /// Compares the log of a store with the mark in a file, before the node reads its keys and its log. Returns `None`
    /// for a store that cannot be restored from an older copy.
    pub(crate) async fn start(
        file: PathBuf,
        store: &Arc<dyn Store>,
        settings: &SessionSettings,
        issuers: &[Arc<Decoder>],
        algorithm: Algorithm,
        clock: &Arc<dyn Clock>,
    ) -> Result<Option<Arc<Self>>, Error> {
        let Some(restorable) = store.restorable() else { return Ok(None) };
        let opening = tokio::task::spawn_blocking(|| HighWater::open(file));
        let this = Self {
            high_water: Arc::new(opening.await.map_err(Error::unavailable)??),
            store: restorable,
            sessions: Arc::clone(store) as _,
            keys: Arc::clone(store) as _,
            cut_offs: CutOffs {
                issuer: settings.issuer.clone(),
                session_lifetime: settings.session_lifetime,
                others: issuers.to_vec(),
                sessions: OnceLock::new(),
                algorithm,
            },
            clock: Arc::clone(clock),
            checking: Mutex::default(),
        };
        this.store.witness().keep_to(&this.high_water);
        tracing::info!(target: LOG_TARGET, file = %this.high_water.path().display(), "the high-water mark is kept here");
        this.check().await?;
        if let Some(restored_at) = this.restored_at() {
            this.end_sessions_from_before(restored_at).await?;
        }
        Ok(Some(Arc::new(this)))
    }

    /// Asks these sessions for the other issuers and the lifetime from now on.
    pub(crate) fn follow(&self, sessions: &Arc<Sessions>) {
        let _first = self.cut_offs.sessions.set(Arc::clone(sessions));
    }

    pub(crate) fn high_water(&self) -> &Arc<HighWater> {
        &self.high_water
    }

    /// Returns when a restored backup was detected; `None` once the operator has accepted it.
    pub(crate) fn restored_at(&self) -> Option<Timestamp> {
        self.high_water.restored_at()
    }

    pub(crate) async fn accept_restore(&self) -> Result<Option<Timestamp>, Error> {
        if let Some(restored_at) = self.restored_at() {
            // After the restore has been accepted, these sessions are not searched for any more.
            self.end_sessions_from_before(restored_at).await?;
        }
        let _one = self.checking.lock().await;
        let accepted = self.store.accept_restore().await?;
        if accepted.is_some() {
            self.note(None);
        }
        Ok(accepted)
    }

    /// Compares the log with the mark. When this returns, the log has not gone back, or everything from before has been
    /// revoked in it.
    ///
    /// # Errors
    /// If the store could not be read, or could not be written when that was necessary.
    pub(crate) async fn check(&self) -> Result<(), Error> {
        let _one = self.checking.lock().await;
        let mut acted = false;
        for _ in 0..MAX_ATTEMPTS {
            // First the mark, then the log: other nodes append to the log and raise the mark concurrently.
            let mark = self.high_water.mark();
            let found = self.store.inspect(mark.as_ref().map_or(Position::START, Mark::anchor)).await?;
            match mark.as_ref().map(|mark| (mark, mark.compare(&found))) {
                Some((mark, Verdict::RolledBack(why))) => {
                    acted |= self.reset(mark, &found, why).await?;
                    continue;
                }
                Some((mark, Verdict::Another)) if !acted => tracing::warn!(
                    target: LOG_TARGET, known = mark.log(), found = found.log.as_str(),
                    "the revocation log was replaced; the high-water mark starts at its end"
                ),
                None => tracing::info!(
                    target: LOG_TARGET, file = %self.high_water.path().display(),
                    "no high-water mark yet; it starts at the current position"
                ),
                _ => {}
            }
            self.high_water.record(&found);
            self.note(found.restored_at);
            return Ok(());
        }
        Err(Error::unavailable("the revocation log was rolled back repeatedly"))
    }

    /// Resets the log once. Returns whether this node did it, and not another.
    async fn reset(&self, mark: &Mark, found: &LogState, why: RollbackCause) -> Result<bool, Error> {
        // The keys come first: repeating that after a crash does no harm, but after the reset no node would do it.
        let removed_keys = self.remove_keys_again(mark).await?;
        let latest_expiry = self.sessions.latest_expiry().await?;
        let now = self.clock.now();
        let renewal = LogReset {
            seen: found.log.clone(),
            log: LogId::random(),
            after: mark.position().max(found.head),
            at: now,
            ending: self.cut_offs.ending(now, latest_expiry),
        };
        let log = renewal.log.clone();
        let Some(ended) = self.store.reset(renewal).await? else { return Ok(false) };
        self.high_water.record(&LogState::empty(log.clone()));
        tracing::error!(
            target: LOG_TARGET, cause = %why, mark_position = mark.position().get(), head = found.head.get(),
            removed_keys, sessions_ended = ended.sessions, log = log.as_str(),
            "the store was restored from a backup, or emptied: {why}. Revocations made since the backup are lost, so every \
             token issued until now is revoked and every session has ended: users log in again. Check the accounts and \
             clients that were disabled or removed since the backup, and passwords and secrets that were changed. Then \
             run `adieu log accept-restore`"
        );
        // The lines above have just reported it.
        self.high_water.note_restored(Some(now));
        tracing::error!(
            target: AUDIT_LOG_TARGET, event = "restore_detected", detected_at = now.as_unix(),
            sessions_ended = ended.sessions, removed_keys, cause = %why
        );
        Ok(true)
    }

    /// Removes the keys that the backup has brought back. Returns their number.
    async fn remove_keys_again(&self, mark: &Mark) -> Result<usize, Error> {
        let keys = self.keys.keys().await?;
        let before = keys.len();
        Ok(before.saturating_sub(self.keep_removed(mark, keys).await?.len()))
    }

    /// Returns these keys without those that were removed before; these are removed again, and a new key is generated
    /// if no other is left. The remaining keys are recorded in the mark, so that a key that is removed later is
    /// detected if it comes back.
    pub(super) async fn without_removed(&self, keys: Vec<StoredKey>) -> Result<Vec<StoredKey>, Error> {
        let Some(mark) = self.high_water.known() else { return Ok(keys) };
        let keys = self.keep_removed(&mark, keys).await?;
        // While a backup is being restored there may be no keys for a moment, although none was removed.
        if !keys.is_empty() {
            self.high_water.see_keys(keys.iter().map(|key| key.id.clone()).collect());
        }
        Ok(keys)
    }

    async fn keep_removed(&self, mark: &Mark, keys: Vec<StoredKey>) -> Result<Vec<StoredKey>, Error> {
        let back: Vec<String> = keys.iter().map(|key| key.id.clone()).filter(|id| mark.has_removed(id)).collect();
        if back.is_empty() {
            return Ok(keys);
        }
        let replacement = match back.len() == keys.len() {
            // Without a key the next start would generate one, but running nodes need it now.
            true => Some(StoredKey::of(&SigningKey::generate(self.cut_offs.algorithm)?, self.clock.now())?),
            false => None,
        };
        let left = self.keys.replace_keys(replacement, back.clone()).await?;
        for key in back {
            tracing::error!(
                target: LOG_TARGET, key,
                "a signing key that had been removed was in the store again, as from a backup; it was removed again"
            );
            tracing::error!(target: AUDIT_LOG_TARGET, event = "key_removed_again", key_id = key);
        }
        Ok(left)
    }

    /// Ends the sessions that came back after the log was reset: a backup may be restored table by table. Called
    /// periodically until the operator has accepted the restore.
    async fn end_sessions_from_before(&self, restored_at: Timestamp) -> Result<(), Error> {
        let is_from_before = |session: &Session| session.created_at <= restored_at;
        // Session ids are in the order of creation.
        if !self.sessions.oldest().await?.as_ref().is_some_and(is_from_before) {
            return Ok(());
        }
        let (mut after, mut ended) = (None, 0);
        loop {
            let page = self.sessions.sessions(after.as_ref(), PAGE).await?;
            after = page.last().map(Session::key);
            let endings = page.iter().filter(|session| is_from_before(session)).map(|session| EndSessions {
                issuer: self.cut_offs.issuer.clone(),
                selection: Selection::Owned(session.id.clone(), session.subject.clone()),
                only_if: None,
                extra_revocations: vec![],
            });
            let endings: Vec<EndSessions> = endings.collect();
            if !endings.is_empty() {
                ended +=
                    self.sessions.end_all(endings).await?.iter().flatten().map(|ended| ended.sessions).sum::<usize>();
            }
            if page.len() < PAGE {
                break;
            }
        }
        tracing::error!(
            target: LOG_TARGET, sessions_ended = ended,
            "the store contained sessions from before the restored backup was detected; they have ended"
        );
        Ok(())
    }

    /// Stores when a restored backup was detected, and logs a change.
    fn note(&self, restored_at: Option<Timestamp>) {
        let before = self.high_water.note_restored(restored_at);
        match (before, restored_at) {
            (before, Some(at)) if before != restored_at => tracing::error!(
                target: LOG_TARGET, detected_at = at.as_unix(),
                "this store was restored from a backup, and the operator has not accepted that yet. Check accounts and clients \
                 that were disabled, removed or changed after the backup was made; then run `adieu log accept-restore`"
            ),
            (Some(detected_at), None) => tracing::info!(
                target: AUDIT_LOG_TARGET, event = "restore_accepted", detected_at = detected_at.as_unix()
            ),
            _ => {}
        }
    }

    pub(super) async fn watch(self: Arc<Self>) {
        let outage = Outage::default();
        let mut ticks: u32 = 0;
        loop {
            let mut outcome = Ok(());
            if timeout(INTERVAL, self.high_water.alarmed()).await.is_ok() {
                outcome = self.check().await;
                if outcome.is_err() {
                    // Repeat until it succeeds: there may be no reader to detect it again.
                    self.high_water.raise_alarm();
                    sleep(RETRY_DELAY).await;
                }
            } else {
                ticks = ticks.wrapping_add(1);
                self.high_water.write_pending();
                if let Some(restored_at) = self.restored_at() {
                    outcome = self.check().await;
                    if outcome.is_ok() && ticks.is_multiple_of(SESSIONS) {
                        outcome = self.end_sessions_from_before(restored_at).await;
                    }
                }
                if self.high_water.is_unsynced() {
                    let high_water = Arc::clone(&self.high_water);
                    let _ = tokio::task::spawn_blocking(move || high_water.sync()).await;
                }
            }
            if let Some(error) = outage.begins_with(&outcome) {
                let error = error as &dyn std::error::Error;
                tracing::warn!(target: LOG_TARGET, error, "the revocation log can't be compared with the high-water mark");
            }
        }
    }
}
