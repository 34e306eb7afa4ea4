//! The keys in the store, as far as this node knows.
//!
//! 1. **As fresh as the revocations.** The follower of a node reads the log through [`WithKeys`], which says that it is
//!    as old as the keys are if those are older. So an index is fresh only if the keys are, and a verifier that finds
//!    it fresh refuses what a removed key has signed: there is one bound, and nothing more to ask on the way of a
//!    token.
//! 2. **Never backwards.** One read at a time, each taken in before the next is sent: an answer that comes late can't
//!    bring back a key that has been removed.
//! 3. **No hindrance.** What has been revoked is read and taken in also while the keys can't be.
//! 4. **Told.** Which keys came and went, and which one signs, is in the log for auditors, once this node has noticed.

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

/// Where what an auditor wants to know goes.
const AUDIT: &str = "adieu::audit";

/// So often within `max_staleness` are the keys read at the most, however often the log is.
const READS: u32 = 16;

/// What keeps the keys of a decoder, and what signs, up to date with a store.
pub(crate) struct KeptKeys {
    store: Arc<dyn KeyStore>,
    algorithm: Algorithm,
    decoder: Arc<Decoder>,
    signing: SigningKeys,
    clock: Arc<dyn Clock>,
    max_staleness: Duration,
    /// As of when the keys are known.
    freshness: Freshness,
    outage: Outage,
    known: Mutex<Known>,
}

/// The keys that were read last.
struct Known {
    keys: Vec<Listed>,
    signs: Option<KeyId>,
}

/// What is not told by its id is when it signs.
#[derive(PartialEq, Eq)]
struct Listed {
    id: String,
    algorithm: Algorithm,
    signs_from: Timestamp,
}

/// The keys as they were at the start, before there is a decoder for them.
pub(crate) struct FirstKeys {
    pub(crate) signing: SigningKeys,
    pub(crate) set: KeySet,
    kept: Vec<StoredKey>,
    store: Arc<dyn KeyStore>,
    algorithm: Algorithm,
    asked_at: Moment,
}

impl FirstKeys {
    /// Reads the keys of a store; makes one for this algorithm if there is none.
    ///
    /// # Errors
    /// When the store fails, or when a key that is kept can't be used.
    pub(crate) async fn read(store: Arc<dyn KeyStore>, algorithm: Algorithm, clock: &dyn Clock) -> Result<Self, Error> {
        let asked_at = clock.moment();
        let kept = keep_one(&*store, algorithm, clock.now()).await?;
        let (signing, set) = SigningKeys::read(&kept)?;
        Ok(Self { signing, set, kept, store, algorithm, asked_at })
    }

    /// Goes on from there; `decoder` has the set.
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
    /// Where they are kept.
    pub(crate) fn store(&self) -> &Arc<dyn KeyStore> {
        &self.store
    }

    /// Returns when this node goes by the keys that there are now, or by later ones.
    ///
    /// # Errors
    /// When they can't be read or used: then it goes by those that it has.
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
                tracing::info!(target: AUDIT, event = "key_signs", %key, "new tokens are signed with this key");
            }
            known.signs = signs;
        }
        Ok(())
    }

    /// Reads them, unless they have been read a moment ago.
    async fn look(&self, now: Moment) {
        if self.age(now) < self.max_staleness / READS {
            return;
        }
        // A store that does not answer must not keep the revocations of another, or of another table, from being read.
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

    /// How long before `now` they were certainly those of the store.
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
            target: AUDIT, event = "key_removed", key = %key.id,
            "a signing key was removed; what it has signed is refused"
        );
    }
    for key in after.iter().filter(|key| missing_in(before, key)) {
        tracing::info!(
            target: AUDIT, event = "key_added", key = %key.id, algorithm = %key.algorithm,
            signs_from = key.signs_from.as_unix(), "a signing key was added"
        );
    }
}

/// A log that is never fresher than what is known of the keys.
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
        // Zero if they have been read since: what was removed before the call is not there any more.
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
