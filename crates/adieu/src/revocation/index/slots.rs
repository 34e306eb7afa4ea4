//! Revoked tokens grouped by their `exp`, so that a group is dropped as a whole, without a search for lapsed entries.
//!
//! 1. A look-up depends on the token and on the stored entries, never on the clock. If the clock jumps, an entry goes
//!    into a slot of another width: that costs one more look-up, and the entry is still found.
//! 2. A slot is dropped when the last of its entries has lapsed. Entries that lapse soon go into narrower slots:
//!    [`Calendar`] documents how much longer than necessary an entry can stay.
//! 3. The number of slots is bounded, whatever times are revoked: 256 of each of nine widths. An entry that does not fit
//!    goes into a wider slot.

use super::{
    fingerprint::Fingerprint,
    leaf::{Crowded, Ids, Kind},
    sync::{AtomicU64, Ordering},
    tree::{Rubble, Tree},
};
use crate::time::Timestamp;

/// The narrowest slot, as a power of two in seconds: about a minute.
const NARROWEST: u32 = 6;
/// The widest slot, as a power of two in seconds: one slot holds every time.
pub(super) const WIDEST: u32 = 38;
const _: () = assert!(Timestamp::MAX.as_unix() >> WIDEST == 0, "the widest slot holds every time");

/// The entries of one range of time.
struct Slot {
    tree: Tree<Ids>,
    /// When the last entry lapses. Only the writer reads it.
    lapses_at: AtomicU64,
}

impl Clone for Slot {
    fn clone(&self) -> Self {
        Self { tree: self.tree.clone(), lapses_at: AtomicU64::new(self.lapses_at.load(Ordering::Relaxed)) }
    }
}

impl Slot {
    fn new() -> Self {
        Self { tree: Tree::new(), lapses_at: AtomicU64::new(0) }
    }

    fn insert(&self, fingerprint: Fingerprint, lapses_at: Timestamp) -> Result<(), Crowded> {
        self.lapses_at.store(self.lapses_at().max(lapses_at).as_unix(), Ordering::Relaxed);
        self.tree.insert(fingerprint, ())
    }

    fn insert_growing(&mut self, fingerprint: Fingerprint, lapses_at: Timestamp) {
        while self.insert(fingerprint, lapses_at) == Err(Crowded) {
            self.tree.grow(fingerprint);
        }
    }

    fn lapses_at(&self) -> Timestamp {
        Timestamp::from_unix(self.lapses_at.load(Ordering::Relaxed))
    }
}

/// The size of a set of slots.
#[derive(Default)]
pub(super) struct Size {
    pub(super) entries: usize,
    pub(super) bytes: usize,
    pub(super) slots: usize,
}

impl Size {
    pub(super) fn add<K: Kind>(&mut self, tree: &Tree<K>) {
        let (entries, bytes) = tree.size();
        self.entries += entries;
        self.bytes += bytes;
    }
}

/// Revoked tokens by their `exp`. A look-up reads, for each width, the one slot that contains the `exp` of the token.
///
/// Slots up to 68 minutes ahead are 64 s wide; slots further ahead are at most a quarter of the time until the entry
/// lapses. An entry stays at most one slot width longer than necessary if all revocations are kept equally long after
/// the `exp` of the token, and up to five times as long if not.
#[derive(Clone)]
pub(super) struct Calendar(Vec<Page>);

/// Contiguous slots of one width.
#[derive(Clone)]
struct Page {
    width: u32,
    first: u64,
    slots: Vec<Option<Slot>>,
}

/// The dates of an entry: the current time, the `exp` that look-ups use, and when the entry lapses.
#[derive(Clone, Copy)]
pub(super) struct Dates {
    pub(super) now: Timestamp,
    pub(super) expires_at: Timestamp,
    pub(super) lapses_at: Timestamp,
}

impl Calendar {
    const WIDTHS: [u32; 9] = [NARROWEST, 10, 14, 18, 22, 26, 30, 34, WIDEST];
    /// The maximum number of slots of one width, counted from the first to the last.
    const MAX_PAGE: u64 = 256;

    pub(super) fn new() -> Self {
        Self(Vec::new())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    #[inline]
    pub(super) fn contains(&self, expires_at: Timestamp, fingerprint: Fingerprint) -> bool {
        self.0.iter().any(|page| {
            page.slot(expires_at.as_unix() >> page.width).is_some_and(|slot| slot.tree.find(fingerprint).is_some())
        })
    }

    pub(super) fn insert(&self, dates: Dates, fingerprint: Fingerprint) -> Result<(), Crowded> {
        let width = self.width_for(dates);
        let page = self.0.iter().find(|page| page.width == width).ok_or(Crowded)?;
        let slot = page.slot(dates.expires_at.as_unix() >> width).ok_or(Crowded)?;
        slot.insert(fingerprint, dates.lapses_at)
    }

    pub(super) fn insert_growing(&mut self, dates: Dates, fingerprint: Fingerprint) {
        let width = self.width_for(dates);
        let number = dates.expires_at.as_unix() >> width;
        let place = self.0.iter().position(|page| page.width == width).unwrap_or_else(|| {
            self.0.push(Page { width, first: number, slots: Vec::new() });
            self.0.len() - 1
        });
        if let Some(page) = self.0.get_mut(place) {
            page.slot_or_new(number).insert_growing(fingerprint, dates.lapses_at);
        }
    }

    /// Returns the narrowest width that suits how far ahead the dates are and has room for the slot.
    fn width_for(&self, dates: Dates) -> u32 {
        let expires_at = dates.expires_at.as_unix();
        let ahead = expires_at.abs_diff(dates.now.as_unix()).max(dates.lapses_at.since(dates.now).as_secs());
        let kept_after = dates.lapses_at.since(dates.expires_at).as_secs();
        let fits = |width: u32| {
            let page = self.0.iter().find(|page| page.width == width);
            ahead >> width <= 64
                && kept_after >> width < 4
                && page.is_none_or(|page| page.can_reach(expires_at >> width))
        };
        Self::WIDTHS.into_iter().find(|&width| fits(width)).unwrap_or(WIDEST)
    }

    /// Moves the slots that have lapsed by `now` to `rubble`.
    pub(super) fn drop_lapsed(&mut self, now: Timestamp, rubble: &mut Rubble<Ids>) {
        for page in &mut self.0 {
            for slot in &mut page.slots {
                if let Some(lapsed) = slot.take_if(|slot| slot.lapses_at() <= now) {
                    rubble.add(lapsed.tree);
                }
            }
            page.trim();
        }
        self.0.retain(|page| !page.slots.is_empty());
    }

    /// Returns when the last of the slots that have lapsed by `now` lapsed.
    pub(super) fn last_lapsed(&self, now: Timestamp) -> Option<Timestamp> {
        self.slots().map(Slot::lapses_at).filter(|&lapses_at| lapses_at <= now).max()
    }

    pub(super) fn add_to(&self, size: &mut Size) {
        for slot in self.slots() {
            size.add(&slot.tree);
            size.slots += 1;
        }
        size.bytes += self.0.capacity() * size_of::<Page>();
        size.bytes += self.0.iter().map(|page| page.slots.capacity() * size_of::<Option<Slot>>()).sum::<usize>();
    }

    fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.0.iter().flat_map(|page| page.slots.iter().flatten())
    }
}

impl Page {
    #[inline]
    fn slot(&self, number: u64) -> Option<&Slot> {
        let place = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.slots.get(place)?.as_ref()
    }

    fn can_reach(&self, number: u64) -> bool {
        let last = self.first + self.slots.len().saturating_sub(1) as u64;
        number.max(last) - number.min(self.first) < Calendar::MAX_PAGE
    }

    fn slot_or_new(&mut self, number: u64) -> &mut Slot {
        let before = self.first.saturating_sub(number) as usize;
        self.slots.splice(0..0, (0..before).map(|_| None));
        self.first = self.first.min(number);
        let place = (number - self.first) as usize;
        if self.slots.len() <= place {
            self.slots.resize_with(place + 1, || None);
        }
        #[expect(clippy::indexing_slicing, reason = "made so long in the line above")]
        self.slots[place].get_or_insert_with(Slot::new)
    }

    /// Removes empty places at both ends.
    fn trim(&mut self) {
        let before = self.slots.iter().take_while(|slot| slot.is_none()).count();
        self.slots.drain(..before);
        self.first += before as u64;
        let kept = self.slots.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        self.slots.truncate(kept);
    }
}
