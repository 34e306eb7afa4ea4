//! Revocations of tokens with any `exp`, in one table, each with a tag for when it lapses.
//!
//! A look-up can't know the group of a revocation, so all groups share one table. A look-up reads one cache line,
//! whatever the number of groups.
//!
//! 1. Revocations that lapse at about the same time have the same tag and form a group. A group spans between a third
//!    and two thirds of the lifetime of its revocations (256 s at least): they stay at most that much longer than necessary.
//! 2. When the last revocation of a group has lapsed, the table is swept, a few leaves at each call. The tag is reused
//!    only after all its entries are gone. Until then a look-up may still find lapsed revocations, which is harmless.
//! 3. Two revocations with the same fingerprint share one entry, with the tag of the one that lapses later.
//! 4. There are 32 tags, whatever times are revoked. If none is free, a revocation joins an existing group, which then
//!    lapses as late as necessary.

use super::{
    fingerprint::Fingerprint,
    leaf::{Crowded, Kind, Tag, Tagged},
    slots::{Size, WIDEST},
    sync::{AtomicU64, Ordering},
    tree::{Rubble, Tree},
};
use crate::time::Timestamp;

/// A table and its groups. Readers use only the table; the other fields are for the writer.
pub(super) struct Shelf<K> {
    tree: Tree<K>,
    groups: Vec<Group>,
    /// The tags of groups that have lapsed and may still be in the table, as a set.
    lapsed: u32,
    /// The tags that the current pass sweeps out, as a set.
    sweeping: u32,
    /// The word up to which the current pass has swept the table.
    swept_to: u64,
}

/// Revocations that lapse at about the same time.
struct Group {
    tag: Tag,
    width: u32,
    number: u64,
    /// When the last revocation of the group lapses. Raised in place, even in a shared state.
    lapses_at: AtomicU64,
}

impl Group {
    fn lapses_at(&self) -> Timestamp {
        Timestamp::from_unix(self.lapses_at.load(Ordering::Relaxed))
    }

    fn raise(&self, lapses_at: Timestamp) {
        self.lapses_at.store(self.lapses_at().max(lapses_at).as_unix(), Ordering::Relaxed);
    }
}

impl<K> Clone for Shelf<K> {
    fn clone(&self) -> Self {
        let copy = |group: &Group| Group { lapses_at: AtomicU64::new(group.lapses_at().as_unix()), ..*group };
        Self {
            tree: self.tree.clone(),
            groups: self.groups.iter().map(copy).collect(),
            lapsed: self.lapsed,
            sweeping: self.sweeping,
            swept_to: self.swept_to,
        }
    }
}

impl<K: Kind<Value: Tagged>> Shelf<K> {
    /// The narrowest group, as a power of two in seconds: about four minutes.
    const NARROWEST: u32 = 8;

    pub(super) fn new() -> Self {
        Self { tree: Tree::new(), groups: Vec::new(), lapsed: 0, sweeping: 0, swept_to: 0 }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_empty() && self.lapsed == 0
    }

    /// Returns the value stored with this fingerprint, if there is an entry.
    #[inline]
    pub(super) fn find(&self, fingerprint: Fingerprint) -> Option<K::Value> {
        self.tree.find(fingerprint)
    }

    /// Inserts a revocation in place, if there are a group and room for it. `value` creates the stored value from a tag.
    pub(super) fn insert(
        &self,
        now: Timestamp,
        lapses_at: Timestamp,
        fingerprint: Fingerprint,
        value: impl Fn(Tag) -> K::Value,
    ) -> Result<(), Crowded> {
        let known = self.tree.find(fingerprint).and_then(|known| self.group_of(known.tag()));
        let group = match known.filter(|group| group.lapses_at() >= lapses_at) {
            Some(later) => later,
            None => self.group_for(now, lapses_at).ok_or(Crowded)?,
        };
        self.tree.insert(fingerprint, value(group.tag))?;
        group.raise(lapses_at);
        Ok(())
    }

    /// Like [`insert`](Self::insert), but creates a missing group and makes room if necessary.
    pub(super) fn insert_growing(
        &mut self,
        now: Timestamp,
        lapses_at: Timestamp,
        fingerprint: Fingerprint,
        value: impl Fn(Tag) -> K::Value,
    ) {
        if self.group_for(now, lapses_at).is_none()
            && let Some(tag) = self.free_tag()
        {
            let width = Self::width_for(now, lapses_at);
            let number = lapses_at.as_unix() >> width;
            self.groups.push(Group { tag, width, number, lapses_at: AtomicU64::new(lapses_at.as_unix()) });
        }
        while self.insert(now, lapses_at, fingerprint, &value) == Err(Crowded) {
            self.tree.grow(fingerprint);
        }
    }

    /// Returns the narrowest width of which three groups span the remaining lifetime of the revocation.
    fn width_for(now: Timestamp, lapses_at: Timestamp) -> u32 {
        let ahead = lapses_at.since(now).as_secs();
        (Self::NARROWEST..WIDEST).find(|&width| ahead <= 3 << width).unwrap_or(WIDEST)
    }

    /// Returns the group of a revocation, or `None` if a group for it can still be created.
    fn group_for(&self, now: Timestamp, lapses_at: Timestamp) -> Option<&Group> {
        let width = Self::width_for(now, lapses_at);
        let number = lapses_at.as_unix() >> width;
        let its_own = self.groups.iter().find(|group| (group.width, group.number) == (width, number));
        if its_own.is_some() || self.free_tag().is_some() {
            return its_own;
        }
        // Choose the group that keeps the revocation, or is itself kept, the least time longer than necessary.
        let later =
            self.groups.iter().filter(|group| group.lapses_at() >= lapses_at).min_by_key(|group| group.lapses_at());
        later.or_else(|| self.groups.iter().max_by_key(|group| group.lapses_at()))
    }

    fn group_of(&self, tag: Tag) -> Option<&Group> {
        self.groups.iter().find(|group| group.tag == tag)
    }

    fn free_tag(&self) -> Option<Tag> {
        let taken = self.groups.iter().fold(self.lapsed, |taken, group| taken | group.tag.bit());
        Tag::all().find(|tag| tag.bit() & taken == 0)
    }

    /// Removes the groups that have lapsed by `now`, so that their entries will be swept out.
    pub(super) fn drop_lapsed(&mut self, now: Timestamp, rubble: &mut Rubble<K>) {
        for group in self.groups.extract_if(.., |group| group.lapses_at() <= now) {
            self.lapsed |= group.tag.bit();
        }
        // No group is left, so the whole table can be dropped without sweeping.
        if self.groups.is_empty() && self.lapsed != 0 {
            let Self { tree, .. } = std::mem::replace(self, Self::new());
            rubble.add(tree);
        }
    }

    /// Returns when the last of the groups that have lapsed by `now` lapsed.
    pub(super) fn last_lapsed(&self, now: Timestamp) -> Option<Timestamp> {
        self.groups.iter().map(Group::lapses_at).filter(|&lapses_at| lapses_at <= now).max()
    }

    /// Sweeps up to `most` leaves; returns how many of them were not used.
    pub(super) fn sweep(&mut self, most: usize) -> usize {
        for left in (0..most).rev() {
            if self.sweeping == 0 {
                if self.lapsed == 0 {
                    return left + 1;
                }
                // A pass sweeps out the groups that had lapsed when it began.
                (self.sweeping, self.swept_to) = (self.lapsed, 0);
            }
            let sweeping = self.sweeping;
            match self.tree.sweep(self.swept_to, |value| value.tag().bit() & sweeping == 0) {
                Some(next) => self.swept_to = next,
                None => {
                    self.lapsed &= !sweeping;
                    self.sweeping = 0;
                }
            }
        }
        0
    }

    /// Returns whether lapsed entries remain to be swept out.
    pub(super) fn is_littered(&self) -> bool {
        self.lapsed != 0
    }

    pub(super) fn add_to(&self, size: &mut Size) {
        size.add(&self.tree);
        size.slots += self.groups.len();
        size.bytes += self.groups.capacity() * size_of::<Group>();
    }
}
