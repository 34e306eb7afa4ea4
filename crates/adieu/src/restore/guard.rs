//! Holds the log against the mark, and acts when it went back.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use tokio::{sync::Mutex, task::JoinHandle};

use crate::{
    Error, Issuer,
    restore::{HighWater, LogState, Mark, Renewal, Restorable, Verdict, WentBack},
    revocation::{Cursor, LogId, Page, Position, Pruned, Revocation, RevocationLog, Target},
    session::{Ending, Selection, SessionSettings, SessionStore},
    store::Store,
    time::{Clock, Timestamp},
    token::{Algorithm, Decoder, KeyStore, SigningKey, StoredKey},
};

/// Where an operator reads of it.
const LOG_TARGET: &str = "adieu::restore";
const AUDIT_LOG_TARGET: &str = "adieu::audit";

/// How often it is looked whether the log has something new, whose last entry is then remembered.
const INTERVAL: Duration = Duration::from_millis(200);
/// After how many of these the mark is forced to the disk, and it is looked whether somebody has accepted a restored backup.
const SECOND: u32 = 5;
/// After how many it is looked which signing keys there are.
const KEYS: u32 = 25;
/// How often in a row others may be faster.
const TRIES: u32 = 10;

/// What is needed to say until when tokens from before a restore could be good.
#[derive(Debug)]
struct CutOffs {
    /// Whose tokens these sessions' are.
    issuer: Issuer,
    /// The longest that a session of ours lives.
    session_lifetime: Duration,
    /// The other issuers whose tokens are accepted, and how long those live.
    others: Vec<(Issuer, Duration)>,
    /// Of a key that is made when no other is left.
    algorithm: Algorithm,
}

impl CutOffs {
    /// Ends everything. `latest_expiry` is that of the sessions in the backup; later ones are not known, but they began before
    /// now.
    fn ending(&self, now: Timestamp, latest_expiry: Timestamp) -> Ending {
        let cut_off = |issuer: &Issuer, last_expiry| Revocation {
            issuer: issuer.clone(),
            target: Target::Everything { issued_until: now },
            lapses_at: Revocation::lapse_for(last_expiry),
        };
        let own = cut_off(&self.issuer, latest_expiry.max(now.plus(self.session_lifetime)));
        let others = self.others.iter().map(|(issuer, lifetime)| cut_off(issuer, now.plus(*lifetime)));
        Ending {
            issuer: self.issuer.clone(),
            selection: Selection::All { issued_until: now },
            provided: None,
            also: std::iter::once(own).chain(others).collect(),
        }
    }
}

/// Watches over one store, for as long as it is there.
pub(crate) struct Guard {
    high_water: Arc<HighWater>,
    store: Arc<dyn Restorable>,
    sessions: Arc<dyn SessionStore>,
    keys: Arc<dyn KeyStore>,
    cut_offs: CutOffs,
    clock: Arc<dyn Clock>,
    /// One at a time, so that what is seen last is noted last.
    checking: Mutex<()>,
}

impl Guard {
    /// Holds the log of a store against the mark in a file, before a node reads its keys and its log. `None` for an engine
    /// that notices by itself.
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
        let others = issuers.iter().map(|other| other.rules());
        let this = Self {
            high_water: Arc::new(opening.await.map_err(Error::unavailable)??),
            store: restorable,
            sessions: Arc::clone(store) as _,
            keys: Arc::clone(store) as _,
            cut_offs: CutOffs {
                issuer: settings.issuer.clone(),
                session_lifetime: settings.session_lifetime,
                others: others.map(|rules| (rules.issuer().clone(), rules.longest_lifetime())).collect(),
                algorithm,
            },
            clock: Arc::clone(clock),
            checking: Mutex::default(),
        };
        this.check().await?;
        Ok(Some(Arc::new(this)))
    }

    pub(crate) fn high_water(&self) -> &Arc<HighWater> {
        &self.high_water
    }

    /// When a restored backup was noticed, until that is accepted.
    pub(crate) fn restored_at(&self) -> Option<Timestamp> {
        self.high_water.restored_at()
    }

    pub(crate) async fn accept_restore(&self) -> Result<Option<Timestamp>, Error> {
        let _one = self.checking.lock().await;
        let accepted = self.store.accept_restore().await?;
        if accepted.is_some() {
            self.note(None);
        }
        Ok(accepted)
    }

    /// Holds the log against the mark. When this returns, the log has not gone back, or everything from before has been
    /// revoked in it.
    ///
    /// # Errors
    /// When the store could not be read, or not be written when that was necessary.
    pub(crate) async fn check(&self) -> Result<(), Error> {
        let _one = self.checking.lock().await;
        let mut acted = false;
        for _ in 0..TRIES {
            // First the mark, then the log: others go on appending, and raising it.
            let mark = self.high_water.mark();
            let found = self.store.look(mark.as_ref().map_or(Position::START, Mark::anchor)).await?;
            match mark.as_ref().map(|mark| (mark, mark.judge(&found))) {
                Some((mark, Verdict::WentBack(why))) => {
                    acted |= self.begin_anew(mark, &found, why).await?;
                    continue;
                }
                Some((mark, Verdict::Another)) if !acted => tracing::warn!(
                    target: LOG_TARGET, known = mark.log(), found = found.log.as_str(),
                    "the revocation log is another one than before; the high-water mark begins anew"
                ),
                None => tracing::info!(
                    target: LOG_TARGET, file = %self.high_water.path().display(),
                    "there is no high-water mark yet; it begins here"
                ),
                _ => {}
            }
            self.high_water.see(&found);
            self.note(found.restored_at);
            return Ok(());
        }
        Err(Error::unavailable("the revocation log went back again and again"))
    }

    /// Does what has to be done once; whether it was done here, and not by another node.
    async fn begin_anew(&self, mark: &Mark, found: &LogState, why: WentBack) -> Result<bool, Error> {
        // The keys come first: done again after a crash, that does no harm, and after the other step nobody would do it.
        let removed_keys = self.remove_keys_again(mark).await?;
        let latest_expiry = self.sessions.latest_expiry().await?;
        let now = self.clock.now();
        let renewal = Renewal {
            seen: found.log.clone(),
            log: LogId::random(),
            after: mark.position().max(found.head),
            at: now,
            ending: self.cut_offs.ending(now, latest_expiry),
        };
        let log = renewal.log.clone();
        let Some(ended) = self.store.begin_anew(renewal).await? else { return Ok(false) };
        self.high_water.raise(&Cursor { log: log.clone(), position: Position::START });
        tracing::error!(
            target: LOG_TARGET, cause = %why, seen_up_to = mark.position().get(), ends_at = found.head.get(),
            removed_keys, sessions_ended = ended.sessions, log = log.as_str(),
            "a backup was put back: {why}. What was revoked after it was made is forgotten, so every token that was issued \
             until now is revoked, and every session has ended: users log in again. Accounts and clients are as they were \
             in the backup: look for those that were disabled or removed since, and for passwords and secrets that were \
             changed. Then say so: `adieu log accept-restore`"
        );
        // Told just now.
        self.high_water.note_restored(Some(now));
        tracing::error!(
            target: AUDIT_LOG_TARGET, event = "backup_put_back", noticed_at = now.as_unix(),
            sessions_ended = ended.sessions, removed_keys, cause = %why
        );
        Ok(true)
    }

    /// Removes the keys that the backup has brought back; how many.
    async fn remove_keys_again(&self, mark: &Mark) -> Result<usize, Error> {
        let keys = self.keys.keys().await?;
        let back: Vec<String> = keys.iter().map(|key| key.id.clone()).filter(|id| mark.has_removed(id)).collect();
        if back.is_empty() {
            return Ok(0);
        }
        let replacement = match back.len() == keys.len() {
            // Without a key the next start would make one, but nodes that run need it now.
            true => Some(StoredKey::of(&SigningKey::generate(self.cut_offs.algorithm)?, self.clock.now())?),
            false => None,
        };
        let count = back.len();
        self.keys.replace_keys(replacement, back).await?;
        Ok(count)
    }

    /// Remembers which keys there are: those that go are not to come back. To be called once there are some.
    pub(crate) async fn look_at_keys(&self) -> Result<(), Error> {
        let keys = self.keys.keys().await?;
        self.high_water.see_keys(keys.into_iter().map(|key| key.id).collect());
        Ok(())
    }

    /// Keeps what the store says of a restored backup, and tells whoever has not been told.
    fn note(&self, restored_at: Option<Timestamp>) {
        let before = self.high_water.note_restored(restored_at);
        match (before, restored_at) {
            (before, Some(at)) if before != restored_at => tracing::error!(
                target: LOG_TARGET, noticed_at = at.as_unix(),
                "a backup was put back in the place of this store, and nobody has accepted that yet. Look for accounts and \
                 clients that were disabled, removed or changed after it was made; then run `adieu log accept-restore`"
            ),
            (Some(noticed_at), None) => tracing::info!(
                target: AUDIT_LOG_TARGET, event = "restore_accepted", noticed_at = noticed_at.as_unix()
            ),
            _ => {}
        }
    }

    async fn watch(self: Arc<Self>) {
        let mut failing = false;
        let mut ticks: u32 = 0;
        loop {
            tokio::time::sleep(INTERVAL).await;
            ticks = ticks.wrapping_add(1);
            let is_second = ticks.is_multiple_of(SECOND);
            let mut outcome = Ok(());
            if self.high_water.has_news() || (is_second && self.restored_at().is_some()) {
                outcome = self.check().await;
            }
            if ticks.is_multiple_of(KEYS) {
                outcome = outcome.and(self.look_at_keys().await);
            }
            if let Err(error) = &outcome
                && !failing
            {
                let error = error as &dyn std::error::Error;
                tracing::warn!(target: LOG_TARGET, error, "the revocation log can't be held against the high-water mark");
            }
            failing = outcome.is_err();
            if is_second && self.high_water.is_unsynced() {
                let high_water = Arc::clone(&self.high_water);
                let _ = tokio::task::spawn_blocking(move || high_water.sync()).await;
            }
        }
    }
}

/// A guarded log: whoever reads it raises the mark, and is given nothing of a log that went back before that has been acted upon.
pub(crate) struct Watched {
    log: Arc<dyn RevocationLog>,
    guard: Arc<Guard>,
    /// Whether the last read failed. What answers after that may be an older copy that others have gone on with.
    failed: AtomicBool,
    task: JoinHandle<()>,
}

impl Watched {
    pub(crate) fn new(log: Arc<dyn RevocationLog>, guard: Arc<Guard>) -> Self {
        let task = tokio::spawn(Arc::clone(&guard).watch());
        Self { log, guard, failed: AtomicBool::default(), task }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[async_trait]
impl RevocationLog for Watched {
    async fn append(&self, revocations: Vec<Revocation>) -> Result<Position, Error> {
        let position = self.log.append(revocations).await?;
        self.guard.high_water.raise_position(position);
        Ok(position)
    }

    async fn read(&self, after: Option<&Cursor>, wait: Duration) -> Result<Page, Error> {
        let page = match self.log.read(after, wait).await {
            Ok(page) => page,
            Err(error) => {
                self.failed.store(true, Ordering::Relaxed);
                return Err(error);
            }
        };
        let failed = self.failed.load(Ordering::Relaxed);
        let went_back = page.from_start
            && after
                .is_some_and(|after| after.log == page.cursor.log || self.guard.high_water.has_left(&page.cursor.log));
        if failed || went_back {
            self.guard.check().await?;
            self.failed.store(false, Ordering::Relaxed);
            // Of the log as it is after that.
            return self.log.read(after, Duration::ZERO).await;
        }
        Ok(page)
    }

    async fn prune(&self, now: Timestamp) -> Result<Pruned, Error> {
        self.log.prune(now).await
    }

    fn acknowledge(&self, cursor: &Cursor) {
        self.guard.high_water.raise(cursor);
        self.log.acknowledge(cursor);
    }

    fn restorable(&self) -> Option<Arc<dyn Restorable>> {
        self.log.restorable()
    }
}
