//! The keys in the store, as this node knows them.
//!
//! 1. **As fresh as the revocations.** The follower of a node reads the log through [`WithKeys`], which reports the age
//!    of the keys if they are older than the log. So an index is fresh only if the keys are, and a verifier with a
//!    fresh index rejects what a removed key has signed. There is one bound, and no extra check per token.
//! 2. **Never backwards.** Reads are sequential, and each is applied before the next is sent: a late answer cannot
//!    bring back a removed key.
//! 3. **Independent of the log.** Revocations are read and applied even while the keys cannot be read.
//! 4. **Audited.** When this node notices that a key was added or removed, or which key signs, it writes that to the
//!    audit log.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::{sync::Mutex, time::timeout};

use crate::{
    Error,
    retry::Outage,
    revocation::{Cursor, Freshness, Page, Position, Pruned, Revocation, RevocationLog},
    time::{Clock, Moment, Timestamp},
    token::{Algorithm, Decoder, KeyId, KeySet, KeyStore, SigningKeys, StoredKey, keep_one},
};

/// The log target for auditors.
const AUDIT: &str = "adieu::audit";

/// The maximum number of reads of the keys within `max_staleness`, however often the log is read.
const READS: u32 = 16;

/// Keeps the keys of a decoder, and the signing key, in sync with a store.
pub(crate) struct KeptKeys {
    store: Arc<dyn KeyStore>,
    algorithm: Algorithm,
    decoder: Arc<Decoder>,
    signing: SigningKeys,
    clock: Arc<dyn Clock>,
    max_staleness: Duration,
    /// The moment as of which the keys are known.
    freshness: Freshness,
    outage: Outage,
    known: Mutex<Known>,
}

/// The keys that were read last.
struct Known {
    keys: Vec<Listed>,
    signs: Option<KeyId>,
}

/// A key as last listed; its id does not say when it signs.
#[derive(PartialEq, Eq)]
struct Listed {
    id: String,
    algorithm: Algorithm,
    signs_from: Timestamp,
}

/// The keys at the start, before there is a decoder for them.
pub(crate) struct FirstKeys {
    pub(crate) signing: SigningKeys,
    pub(crate) set: KeySet,
    kept: Vec<StoredKey>,
    store: Arc<dyn KeyStore>,
    algorithm: Algorithm,
    asked_at: Moment,
}

impl FirstKeys {
    /// Reads the keys of a store, and generates one of this algorithm if there is none.
    ///
    /// # Errors
    /// If the store fails, or a stored key cannot be used.
    pub(crate) async fn read(store: Arc<dyn KeyStore>, algorithm: Algorithm, clock: &dyn Clock) -> Result<Self, Error> {
        let asked_at = clock.moment();
        let kept = keep_one(&*store, algorithm, clock.now()).await?;
        let (signing, set) = SigningKeys::read(&kept)?;
        Ok(Self { signing, set, kept, store, algorithm, asked_at })
    }

    /// Keeps `decoder`, which has these keys, in sync from here on.
    pub(crate) fn follow(self, decoder: Arc<Decoder>, clock: Arc<dyn Clock>, max_staleness: Duration) -> KeptKeys {
        let freshness = Freshness::never();
        freshness.complete_at(self.asked_at);
        let known = Known { keys: list(&self.kept), signs: self.signing.id_at(clock.now()) };
        KeptKeys {
            store: self.store,
            algorithm: self.algorithm,
            decoder,
            signing: self.signing,
            clock,
            max_staleness,
            freshness,
            outage: Outage::default(),
            known: Mutex::new(known),
        }
    }
}

impl KeptKeys {
    /// Returns the store of the keys.
    pub(crate) fn store(&self) -> &Arc<dyn KeyStore> {
        &self.store
    }

    /// Reads the keys. When this returns, this node uses the keys that were in the store at the call, or later ones.
    ///
    /// # Errors
    /// If the keys cannot be read or used. The node then continues with those that it has.
    pub(crate) async fn refresh(&self) -> Result<(), Error> {
        let mut known = self.known.lock().await;
        let asked_at = self.clock.moment();
        let kept = keep_one(&*self.store, self.algorithm, self.clock.now()).await?;
        self.apply(&mut known, &kept)?;
        self.freshness.complete_at(asked_at);
        Ok(())
    }

    fn apply(&self, known: &mut Known, kept: &[StoredKey]) -> Result<(), Error> {
        let keys = list(kept);
        if keys != known.keys {
            self.signing.replace(kept, |set| self.decoder.replace_keys(set))?;
            tell_changes(&known.keys, &keys);
            known.keys = keys;
        }
        let signs = self.signing.id_at(self.clock.now());
        if signs != known.signs {
            if let Some(key) = &signs {
                tracing::info!(target: AUDIT, event = "key_activated", key_id = %key, "new tokens are signed with this key");
            }
            known.signs = signs;
        }
        Ok(())
    }

    /// Reads the keys, unless they have just been read.
    async fn look(&self, now: Moment) {
        if self.age(now) < self.max_staleness / READS {
            return;
        }
        // An unresponsive store must not block reading the revocations of another store, or of another table.
        let read = timeout(self.max_staleness, self.refresh()).await;
        match read.unwrap_or_else(|_| Err(Error::unavailable("the store does not answer"))) {
            Ok(()) => {
                if self.outage.ends() {
                    tracing::info!("the signing keys can be read again");
                }
            }
            Err(error) => {
                if self.outage.begins() {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "the signing keys can't be read; whether one was removed is not known");
                }
            }
        }
    }

    /// Returns how long before `now` the keys were certainly those of the store.
    fn age(&self, now: Moment) -> Duration {
        self.freshness.age(now).unwrap_or(Duration::MAX)
    }
}

fn list(kept: &[StoredKey]) -> Vec<Listed> {
    let listed = |key: &StoredKey| Listed { id: key.id.clone(), algorithm: key.algorithm, signs_from: key.signs_from };
    kept.iter().map(listed).collect()
}

fn tell_changes(before: &[Listed], after: &[Listed]) {
    let missing_in = |others: &[Listed], key: &Listed| others.iter().all(|other| other.id != key.id);
    for key in before.iter().filter(|key| missing_in(after, key)) {
        tracing::info!(
            target: AUDIT, event = "key_removed", key_id = %key.id,
            "a signing key was removed; its tokens are rejected"
        );
    }
    for key in after.iter().filter(|key| missing_in(before, key)) {
        tracing::info!(
            target: AUDIT, event = "key_added", key_id = %key.id, algorithm = %key.algorithm,
            signs_from = key.signs_from.as_unix(), "a signing key was added"
        );
    }
}

/// A log that is never fresher than the keys.
pub(crate) struct WithKeys {
    pub(crate) log: Arc<dyn RevocationLog>,
    pub(crate) keys: Arc<KeptKeys>,
}

#[async_trait]
impl RevocationLog for WithKeys {
    async fn append(&self, revocations: Vec<Revocation>) -> Result<Position, Error> {
        self.log.append(revocations).await
    }

    async fn read(&self, after: Option<&Cursor>, wait: Duration) -> Result<Page, Error> {
        let arrived = self.keys.clock.moment();
        let ((), page) = tokio::join!(biased; self.keys.look(arrived), self.log.read(after, wait));
        let mut page = page?;
        // Zero if the keys have been read since the call: a key that was removed before it is gone.
        page.age = page.age.max(self.keys.age(arrived));
        Ok(page)
    }

    async fn prune(&self, now: Timestamp) -> Result<Pruned, Error> {
        self.log.prune(now).await
    }

    fn acknowledge(&self, cursor: &Cursor) {
        self.log.acknowledge(cursor);
    }
}
