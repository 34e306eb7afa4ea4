//! Revocations in the form in which an index stores them, and the hasher that creates them.

use std::fmt;

use sha2::{Digest, Sha256};

use super::fingerprint::{Fingerprint, IssuerSecret, IssuerSum, Secret};
use crate::{
    Issuer,
    revocation::{ClaimName, Revocation, Target, TargetKind},
    time::Timestamp,
};

/// Hashes revocations for one index. With its key they can be hashed elsewhere: a node does so for an index that follows
/// it, which then receives nine bytes in place of an id.
///
/// Keep the key secret: with it, ids that collide can be found.
pub struct RevocationHasher {
    key: [u8; Self::KEY_BYTES],
    secret: Secret,
}

/// A revocation with the fingerprint of its id in place of issuer and id. Only the index whose [`RevocationHasher`] created it
/// can use it.
#[derive(Clone, PartialEq, Eq)]
pub struct HashedRevocation {
    pub(super) fingerprint: Fingerprint,
    pub(super) kind: Kind,
    pub(super) lapses_at: Timestamp,
}

/// The parts of a [`HashedRevocation`], for an encoding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashedParts {
    /// The kind of the target.
    pub kind: TargetKind,
    /// The name of the claim, for [`TargetKind::Claim`]. An index looks up only the claims for whose names it has entries.
    pub claim: Option<ClaimName>,
    /// The fingerprint of issuer and id.
    pub fingerprint: [u8; HashedRevocation::FINGERPRINT_BYTES],
    /// The `exp` of a token, or the last `iat` that a cut-off revokes.
    pub time: Option<Timestamp>,
    /// When the revocation may be deleted.
    pub lapses_at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Token { expires_at: Timestamp },
    UndatedToken,
    Session,
    Subject { issued_until: Timestamp },
    Everything { issued_until: Timestamp },
    Key,
    Claim { name: ClaimName, issued_until: Timestamp },
}

impl RevocationHasher {
    /// The length of a key.
    pub const KEY_BYTES: usize = 32;

    /// Creates a hasher with a random key from the operating system.
    pub(super) fn random() -> Self {
        let mut key = [0; Self::KEY_BYTES];
        #[expect(
            clippy::expect_used,
            reason = "without randomness there is no signing key either, and nothing to check"
        )]
        getrandom::fill(&mut key).expect("the operating system has randomness");
        Self::from_key(key)
    }

    /// Creates the hasher with this key, which must be random.
    ///
    /// The numbers of the secret are the hashes of the key and a counter.
    #[must_use]
    pub fn from_key(key: [u8; Self::KEY_BYTES]) -> Self {
        let block = |number: u32| {
            <[u8; 32]>::from(Sha256::new().chain_update(key).chain_update(number.to_le_bytes()).finalize())
        };
        let mut numbers = (0..).map(block).flat_map(|block| {
            let (halves, _) = block.as_chunks();
            [halves.first(), halves.last()].map(|half| half.map_or(0, |half| u128::from_le_bytes(*half)))
        });
        Self { key, secret: Secret::drawn_from(|| numbers.next().unwrap_or_default()) }
    }

    /// Returns the key, for [`from_key`](Self::from_key).
    #[must_use]
    pub fn key(&self) -> &[u8; Self::KEY_BYTES] {
        &self.key
    }

    /// Hashes revocations, in order.
    pub fn hash_all<'a>(
        &self,
        revocations: impl IntoIterator<Item = &'a Revocation>,
    ) -> impl Iterator<Item = HashedRevocation> {
        let mut last: Option<(&Issuer, IssuerSum)> = None;
        revocations.into_iter().map(move |revocation| {
            // Neighbours mostly have the same issuer.
            let sum = match last {
                Some((issuer, sum)) if *issuer == revocation.issuer => sum,
                _ => self.secret.issuer_sum(revocation.issuer.as_str()),
            };
            last = Some((&revocation.issuer, sum));
            HashedRevocation::new(&self.secret.of_issuer(sum), revocation)
        })
    }

    #[inline]
    pub(super) fn secret(&self) -> &Secret {
        &self.secret
    }
}

impl fmt::Debug for RevocationHasher {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("RevocationHasher").finish_non_exhaustive()
    }
}

impl HashedRevocation {
    /// The length of a fingerprint.
    pub const FINGERPRINT_BYTES: usize = 9;

    pub(super) fn new(issuer: &IssuerSecret<'_>, revocation: &Revocation) -> Self {
        let (fingerprint, kind) = match &revocation.target {
            Target::Token { id, expires_at: Some(expires_at) } => {
                (issuer.fingerprint(id.as_str()), Kind::Token { expires_at: *expires_at })
            }
            Target::Token { id, expires_at: None } => (issuer.fingerprint(id.as_str()), Kind::UndatedToken),
            Target::Session { id } => (issuer.fingerprint(id.as_str()), Kind::Session),
            Target::Subject { id, issued_until } => {
                (issuer.fingerprint(id.as_str()), Kind::Subject { issued_until: *issued_until })
            }
            Target::Everything { issued_until } => (issuer.own(), Kind::Everything { issued_until: *issued_until }),
            Target::Key { id } => (issuer.fingerprint(id.as_str()), Kind::Key),
            Target::Claim { claim, issued_until } => {
                let kind = Kind::Claim { name: claim.name().clone(), issued_until: *issued_until };
                (issuer.fingerprint(claim.id()), kind)
            }
        };
        Self { fingerprint, kind, lapses_at: revocation.lapses_at }
    }

    /// Returns the parts of this revocation.
    #[must_use]
    pub fn parts(&self) -> HashedParts {
        let (kind, claim, time) = match &self.kind {
            Kind::Token { expires_at } => (TargetKind::Token, None, Some(*expires_at)),
            Kind::UndatedToken => (TargetKind::Token, None, None),
            Kind::Session => (TargetKind::Session, None, None),
            Kind::Subject { issued_until } => (TargetKind::Subject, None, Some(*issued_until)),
            Kind::Everything { issued_until } => (TargetKind::Everything, None, Some(*issued_until)),
            Kind::Key => (TargetKind::Key, None, None),
            Kind::Claim { name, issued_until } => (TargetKind::Claim, Some(name.clone()), Some(*issued_until)),
        };
        HashedParts { kind, claim, fingerprint: self.fingerprint.to_bytes(), time, lapses_at: self.lapses_at }
    }

    /// Creates a revocation from its parts. Returns `None` if no hasher creates this fingerprint, or if the kind must have a
    /// time or the name of a claim and there is none, or the reverse.
    #[must_use]
    pub fn from_parts(parts: HashedParts) -> Option<Self> {
        let kind = match (parts.kind, parts.claim, parts.time) {
            (TargetKind::Token, None, Some(expires_at)) => Kind::Token { expires_at },
            (TargetKind::Token, None, None) => Kind::UndatedToken,
            (TargetKind::Session, None, None) => Kind::Session,
            (TargetKind::Subject, None, Some(issued_until)) => Kind::Subject { issued_until },
            (TargetKind::Everything, None, Some(issued_until)) => Kind::Everything { issued_until },
            (TargetKind::Key, None, None) => Kind::Key,
            (TargetKind::Claim, Some(name), Some(issued_until)) => Kind::Claim { name, issued_until },
            _ => return None,
        };
        Some(Self { fingerprint: Fingerprint::from_bytes(parts.fingerprint)?, kind, lapses_at: parts.lapses_at })
    }
}

impl fmt::Debug for HashedRevocation {
    /// Omits the fingerprint, because the secret can be computed from many of them.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { fingerprint: _, kind, lapses_at } = self;
        formatter
            .debug_struct("HashedRevocation")
            .field("kind", kind)
            .field("lapses_at", lapses_at)
            .finish_non_exhaustive()
    }
}
