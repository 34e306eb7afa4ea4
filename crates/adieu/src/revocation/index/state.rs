//! A snapshot of all revocations, as a check sees it.

use std::sync::Arc;

use super::{
    TokenFacts,
    fingerprint::IssuerSecret,
    hashed::{HashedRevocation, Kind},
    leaf::{Crowded, CutOff, CutOffs, Ids, Tag, TaggedIds},
    shelf::Shelf,
    slots::{Calendar, Dates, Size},
    tree::Rubble,
};
use crate::{
    MAX_ID_BYTES,
    revocation::{ClaimName, RevokedBy, id_of_claim},
    time::Timestamp,
};

/// The tables, one or more for each kind of revocation. A clone shares the entries; only tables that grow or are
/// dropped are replaced.
#[derive(Clone)]
pub(super) struct State {
    tokens: Calendar,
    undated_tokens: Shelf<TaggedIds>,
    sessions: Shelf<TaggedIds>,
    subjects: Shelf<CutOffs>,
    issuers: Shelf<CutOffs>,
    keys: Shelf<TaggedIds>,
    claims: Shelf<CutOffs>,
    /// The names of the claims in `claims`, of all issuers: no other claims of a token are looked up.
    claim_names: Arc<[ClaimName]>,
}

/// Returns a function that creates the stored form of a cut-off from its tag.
fn cut_off(issued_until: Timestamp) -> impl Fn(Tag) -> CutOff {
    move |tag| CutOff { tag, issued_until }
}

impl State {
    pub(super) fn new() -> Self {
        Self {
            tokens: Calendar::new(),
            undated_tokens: Shelf::new(),
            sessions: Shelf::new(),
            subjects: Shelf::new(),
            issuers: Shelf::new(),
            keys: Shelf::new(),
            claims: Shelf::new(),
            claim_names: Arc::default(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tokens.is_empty()
            && self.undated_tokens.is_empty()
            && self.sessions.is_empty()
            && self.subjects.is_empty()
            && self.issuers.is_empty()
            && self.keys.is_empty()
            && self.claims.is_empty()
    }

    #[inline]
    pub(super) fn check(&self, issuer: &IssuerSecret<'_>, token: &TokenFacts<'_>) -> Option<RevokedBy> {
        // A text that is too long for an id was never inserted.
        let wanted = |id: &str, empty: bool| {
            if empty || id.len() > MAX_ID_BYTES { None } else { Some(issuer.fingerprint(id)) }
        };
        // Hash all ids first: the look-ups that follow are then short enough for the processor to overlap their memory
        // accesses. Otherwise each look-up would wait for its own cache line.
        let id = wanted(token.token_id, self.tokens.is_empty() && self.undated_tokens.is_empty());
        let session = token.session.and_then(|session| wanted(session, self.sessions.is_empty()));
        let subject = wanted(token.subject, self.subjects.is_empty());
        let own = if self.issuers.is_empty() { None } else { Some(issuer.own()) };
        let key = token.key_id.and_then(|key| wanted(key, self.keys.is_empty()));

        // A token without `iat` could be older than any cut-off.
        let cut_off_by = |cut_off: CutOff| token.issued_at.is_none_or(|issued_at| issued_at <= cut_off.issued_until);
        if id.is_some_and(|id| self.tokens.contains(token.expires_at, id) || self.undated_tokens.find(id).is_some()) {
            return Some(RevokedBy::Token);
        }
        if session.is_some_and(|session| self.sessions.find(session).is_some()) {
            return Some(RevokedBy::Session);
        }
        if subject.is_some_and(|subject| self.subjects.find(subject).is_some_and(cut_off_by)) {
            return Some(RevokedBy::Subject);
        }
        let has_revoked_claim = |name: &ClaimName| {
            let name = name.as_str();
            let is_revoked = |claim: &str| self.claims.find(issuer.fingerprint(claim)).is_some_and(cut_off_by);
            token.claims.is_some_and(|claims| {
                claims.has(name, &mut |value| id_of_claim(name, value, is_revoked).unwrap_or(false))
            })
        };
        if self.claim_names.iter().any(has_revoked_claim) {
            return Some(RevokedBy::Claim);
        }
        if key.is_some_and(|key| self.keys.find(key).is_some()) {
            return Some(RevokedBy::Key);
        }
        if own.is_some_and(|own| self.issuers.find(own).is_some_and(cut_off_by)) {
            return Some(RevokedBy::Everything);
        }
        None
    }

    /// Inserts the entry in place, if there is room.
    pub(super) fn insert(&self, now: Timestamp, entry: &HashedRevocation) -> Result<(), Crowded> {
        let &HashedRevocation { fingerprint, ref kind, lapses_at } = entry;
        match *kind {
            Kind::Token { expires_at } => self.tokens.insert(Dates { now, expires_at, lapses_at }, fingerprint),
            Kind::UndatedToken => self.undated_tokens.insert(now, lapses_at, fingerprint, |tag| tag),
            Kind::Session => self.sessions.insert(now, lapses_at, fingerprint, |tag| tag),
            Kind::Subject { issued_until } => self.subjects.insert(now, lapses_at, fingerprint, cut_off(issued_until)),
            Kind::Everything { issued_until } => {
                self.issuers.insert(now, lapses_at, fingerprint, cut_off(issued_until))
            }
            Kind::Key => self.keys.insert(now, lapses_at, fingerprint, |tag| tag),
            Kind::Claim { ref name, issued_until } => {
                // A check that starts later must also look for the name.
                if !self.claim_names.contains(name) {
                    return Err(Crowded);
                }
                self.claims.insert(now, lapses_at, fingerprint, cut_off(issued_until))
            }
        }
    }

    /// Returns the next state, with more room and with the entry inserted.
    pub(super) fn grown(&self, now: Timestamp, entry: &HashedRevocation) -> Self {
        let mut next = self.clone();
        let &HashedRevocation { fingerprint, ref kind, lapses_at } = entry;
        match *kind {
            Kind::Token { expires_at } => next.tokens.insert_growing(Dates { now, expires_at, lapses_at }, fingerprint),
            Kind::UndatedToken => next.undated_tokens.insert_growing(now, lapses_at, fingerprint, |tag| tag),
            Kind::Session => next.sessions.insert_growing(now, lapses_at, fingerprint, |tag| tag),
            Kind::Subject { issued_until } => {
                next.subjects.insert_growing(now, lapses_at, fingerprint, cut_off(issued_until))
            }
            Kind::Everything { issued_until } => {
                next.issuers.insert_growing(now, lapses_at, fingerprint, cut_off(issued_until))
            }
            Kind::Key => next.keys.insert_growing(now, lapses_at, fingerprint, |tag| tag),
            Kind::Claim { ref name, issued_until } => {
                if !next.claim_names.contains(name) {
                    next.claim_names = next.claim_names.iter().chain([name]).cloned().collect();
                }
                next.claims.insert_growing(now, lapses_at, fingerprint, cut_off(issued_until))
            }
        }
        next
    }

    /// Returns when the last of the groups that have lapsed by `now` lapsed, or `None` if no group has.
    pub(super) fn last_lapsed(&self, now: Timestamp) -> Option<Timestamp> {
        let ids = [&self.undated_tokens, &self.sessions, &self.keys].map(|ids| ids.last_lapsed(now));
        let cut_offs = [&self.subjects, &self.issuers, &self.claims].map(|cut_offs| cut_offs.last_lapsed(now));
        ids.into_iter().chain(cut_offs).fold(self.tokens.last_lapsed(now), Option::max)
    }

    /// Returns the next state, without the slots that have lapsed by `now`. Other lapsed entries remain until they are swept
    /// out.
    pub(super) fn without_lapsed(&self, now: Timestamp, lapsed: &mut Lapsed) -> Self {
        let mut next = self.clone();
        next.tokens.drop_lapsed(now, &mut lapsed.ids);
        next.undated_tokens.drop_lapsed(now, &mut lapsed.tagged_ids);
        next.sessions.drop_lapsed(now, &mut lapsed.tagged_ids);
        next.subjects.drop_lapsed(now, &mut lapsed.cut_offs);
        next.issuers.drop_lapsed(now, &mut lapsed.cut_offs);
        next.keys.drop_lapsed(now, &mut lapsed.tagged_ids);
        next.claims.drop_lapsed(now, &mut lapsed.cut_offs);
        if next.claims.is_empty() {
            next.claim_names = Arc::default();
        }
        next
    }

    /// Returns whether some tables contain lapsed revocations that are to be swept out.
    pub(super) fn is_littered(&self) -> bool {
        self.undated_tokens.is_littered()
            || self.sessions.is_littered()
            || self.subjects.is_littered()
            || self.issuers.is_littered()
            || self.keys.is_littered()
            || self.claims.is_littered()
    }

    /// Returns the next state, with lapsed entries swept out of up to `most` leaves.
    pub(super) fn swept(&self, most: usize) -> Self {
        let mut next = self.clone();
        let left = next.undated_tokens.sweep(most);
        let left = next.sessions.sweep(left);
        let left = next.subjects.sweep(left);
        let left = next.issuers.sweep(left);
        let left = next.keys.sweep(left);
        next.claims.sweep(left);
        next
    }

    pub(super) fn size(&self) -> Size {
        let mut size = Size { bytes: size_of::<Self>(), ..Size::default() };
        self.tokens.add_to(&mut size);
        self.undated_tokens.add_to(&mut size);
        self.sessions.add_to(&mut size);
        self.subjects.add_to(&mut size);
        self.issuers.add_to(&mut size);
        self.keys.add_to(&mut size);
        self.claims.add_to(&mut size);
        size.bytes += self.claim_names.iter().map(|name| size_of_val(name) + name.as_str().len()).sum::<usize>();
        size
    }
}

/// Tables that were dropped and are not freed yet.
#[derive(Default)]
pub(super) struct Lapsed {
    ids: Rubble<Ids>,
    tagged_ids: Rubble<TaggedIds>,
    cut_offs: Rubble<CutOffs>,
}

impl Lapsed {
    /// Removes about `bytes` bytes of each kind of table, and returns them.
    pub(super) fn take(&mut self, bytes: usize) -> Self {
        Self { ids: self.ids.take(bytes), tagged_ids: self.tagged_ids.take(bytes), cut_offs: self.cut_offs.take(bytes) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ids.is_empty() && self.tagged_ids.is_empty() && self.cut_offs.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.ids.bytes() + self.tagged_ids.bytes() + self.cut_offs.bytes()
    }
}
