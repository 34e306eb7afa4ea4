//! Facts about tokens with any `exp`: all in one table, with a tag that says when they lapse.
//!
//! A look-up can't know which group would have the fact, so there is one table for all of them: it reads one line of
//! memory, whatever the number of groups.
//!
//! 1. Facts that lapse at about the same time have the same tag. A group is a stretch of time between a third and two
//!    thirds of the life of its facts wide (256 s at least): that is how much longer a fact stays at most.
//! 2. When the last fact of a group has lapsed, the table is swept leaf by leaf, some at each call, and its tag is used
//!    again only when nothing has it any more. Until then a look-up may still find what has lapsed: it is still true.
//! 3. Of two facts with the same fingerprint there is one entry, which has the tag of the one that lapses later.
//! 4. There are 32 tags, whatever times are revoked. With none left, a fact goes into a group that is there already, and
//!    that group lapses as late as it must.

use super::{
    fingerprint::Fingerprint,
    leaf::{Crowded, Kind, Tag, Tagged},
    slots::{Size, WIDEST},
    sync::{AtomicU64, Ordering},
    tree::{Rubble, Tree},
};
use crate::time::Timestamp;

/// One table and its groups. Only the writer reads anything but the table.
pub(super) struct Shelf<K> {
    tree: Tree<K>,
    groups: Vec<Group>,
    /// The tags of groups that have lapsed and may still be in the table, as a set.
    lapsed: u32,
    /// Those that are swept out in this pass, as a set…
    sweeping: u32,
    /// …and the word from which on they are still in the table.
    swept_to: u64,
}

/// Facts that lapse at about the same time.
struct Group {
    tag: Tag,
    width: u32,
    number: u64,
    /// When the last of them lapses; raised in place in a state that is shared.
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
    /// Four minutes.
    const NARROWEST: u32 = 8;

    pub(super) fn new() -> Self {
        Self { tree: Tree::new(), groups: Vec::new(), lapsed: 0, sweeping: 0, swept_to: 0 }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_empty() && self.lapsed == 0
    }

    /// What is kept with this fingerprint, if it is in.
    #[inline]
    pub(super) fn find(&self, fingerprint: Fingerprint) -> Option<K::Value> {
        self.tree.find(fingerprint)
    }

    /// Puts a fact in in place, if there are a group and room for it. `value` is what is kept of it with a tag.
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

    /// The same, and makes what is missing for it.
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

    /// The narrowest of which three reach as far as the fact lives.
    fn width_for(now: Timestamp, lapses_at: Timestamp) -> u32 {
        let ahead = lapses_at.since(now).as_secs();
        (Self::NARROWEST..WIDEST).find(|&width| ahead <= 3 << width).unwrap_or(WIDEST)
    }

    /// Where a fact belongs; nothing if there could be a group for it and is not.
    fn group_for(&self, now: Timestamp, lapses_at: Timestamp) -> Option<&Group> {
        let width = Self::width_for(now, lapses_at);
        let number = lapses_at.as_unix() >> width;
        let its_own = self.groups.iter().find(|group| (group.width, group.number) == (width, number));
        if its_own.is_some() || self.free_tag().is_some() {
            return its_own;
        }
        // The one that stays the least longer for it, or that it makes stay the least longer.
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

    /// Gives up the groups that have lapsed by `now`: what they hold will be swept out.
    pub(super) fn drop_lapsed(&mut self, now: Timestamp, rubble: &mut Rubble<K>) {
        for group in self.groups.extract_if(.., |group| group.lapses_at() <= now) {
            self.lapsed |= group.tag.bit();
        }
        // Nothing is left to keep: no need to sweep.
        if self.groups.is_empty() && self.lapsed != 0 {
            let Self { tree, .. } = std::mem::replace(self, Self::new());
            rubble.add(tree);
        }
    }

    /// The latest time at which a group lapses that has lapsed by `now`.
    pub(super) fn last_lapsed(&self, now: Timestamp) -> Option<Timestamp> {
        self.groups.iter().map(Group::lapses_at).filter(|&lapses_at| lapses_at <= now).max()
    }

    /// Sweeps up to so many leaves; gives how many of them are left to others.
    pub(super) fn sweep(&mut self, most: usize) -> usize {
        for left in (0..most).rev() {
            if self.sweeping == 0 {
                if self.lapsed == 0 {
                    return left + 1;
                }
                // A pass takes with it what had lapsed when it began.
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

    /// Whether there is something to sweep out.
    pub(super) fn is_littered(&self) -> bool {
        self.lapsed != 0
    }

    pub(super) fn add_to(&self, size: &mut Size) {
        size.add(&self.tree);
        size.slots += self.groups.len();
        size.bytes += self.groups.capacity() * size_of::<Group>();
    }
}
