//! A set of entries that grows in small steps: a leaf of buckets, and a tree of leaves once one leaf would be too
//! large.
//!
//! 1. A look-up passes one node for every 64-fold of five thousand entries (two up to 20 million) and then reads one
//!    cache line, seldom the next one.
//! 2. To grow is to build a new tree that shares everything but one leaf and the path to it. Nobody who reads the old
//!    tree notices.
//! 3. No step copies more than one leaf, neither of growing nor of sweeping out what has lapsed. A leaf has 5½ entries a bucket when it must grow and 4¾ when it has just
//!    grown, so an id costs between 11.6 and 13.7 bytes (a cut-off, which is an id and a time, twice that), and the
//!    path to it nearly nothing. Fuller buckets would save a byte more and push a quarter of the look-ups on.

use std::sync::Arc;

use super::{
    bucket::{Bucket, Found, Put},
    fingerprint::Fingerprint,
    sync::{AtomicU32, Ordering, most_buckets},
};

const FAN_OUT_BITS: u32 = 6;
const FAN_OUT: usize = 1 << FAN_OUT_BITS;

/// A leaf takes the lower half of a word to choose a bucket, the nodes above it the upper 24 bits: what lies between is
/// for tags.
const DEEPEST: u32 = 24 / FAN_OUT_BITS;

/// How many entries two buckets have on average when their leaf must grow; fourteen find room.
const FILL_OF_TWO: usize = 11;

/// The counts beside a shared allocation's content, padded to where a cache line begins.
const ARC_HEADER: usize = 64;

/// The entry did not go in: the tree must grow first.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Crowded;

/// One tree. A clone shares all entries, also those that are added to either one later, until one of them grows.
pub(super) struct Tree<B>(Node<B>);

enum Node<B> {
    Leaf(Leaf<B>),
    Fork(Arc<[Node<B>; FAN_OUT]>),
}

struct Leaf<B> {
    buckets: Arc<[B]>,
    /// How many entries there are. Only the writer reads it; it is an atomic because the node around it is shared.
    entries: AtomicU32,
}

impl<B> Clone for Tree<B> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<B> Clone for Node<B> {
    fn clone(&self) -> Self {
        match self {
            Self::Leaf(leaf) => Self::Leaf(Leaf {
                buckets: Arc::clone(&leaf.buckets),
                entries: AtomicU32::new(leaf.entries.load(Ordering::Relaxed)),
            }),
            Self::Fork(children) => Self::Fork(Arc::clone(children)),
        }
    }
}

impl<B: Bucket> Tree<B> {
    /// One bucket: 64 bytes and their header.
    pub(super) fn new() -> Self {
        Self(Node::Leaf(Leaf::with_buckets(1)))
    }

    /// What is kept with an entry, if it is in.
    ///
    /// For one that is not, which is nearly every look-up, this is one load from the table and one branch that goes
    /// the same way every time: so the processor looks into the next tree before this one's line has come.
    #[inline]
    pub(super) fn find(&self, fingerprint: Fingerprint) -> Option<B::Value> {
        let leaf = self.leaf(fingerprint)?;
        let first = leaf.buckets.get(leaf.first(fingerprint))?;
        if first.glance(fingerprint) == 0 { None } else { leaf.find(fingerprint) }
    }

    /// Adds an entry in place, seen by every look-up that starts later in this tree or in a clone of it.
    pub(super) fn insert(&self, fingerprint: Fingerprint, value: B::Value) -> Result<(), Crowded> {
        self.leaf(fingerprint).ok_or(Crowded)?.insert(fingerprint, value)
    }

    /// Makes room where this entry belongs.
    pub(super) fn grow(&mut self, fingerprint: Fingerprint) {
        self.0 = self.0.grown(fingerprint, 0);
    }

    /// Removes what is not to be kept from the leaf where the word `from` belongs. Gives the first word of the next leaf;
    /// nothing after the last one.
    pub(super) fn sweep(&mut self, from: u64, keep: impl Fn(B::Value) -> bool) -> Option<u64> {
        let (next, node) = self.0.swept(from, 0, &keep);
        if let Some(node) = node {
            self.0 = node;
        }
        next
    }

    /// Entries, and the bytes of everything behind this tree.
    pub(super) fn size(&self) -> (usize, usize) {
        self.0.size()
    }

    #[inline]
    fn leaf(&self, fingerprint: Fingerprint) -> Option<&Leaf<B>> {
        let mut node = &self.0;
        let mut depth = 0;
        loop {
            match node {
                Node::Leaf(leaf) => return Some(leaf),
                Node::Fork(children) => node = children.get(branch(fingerprint, depth))?,
            }
            depth += 1;
        }
    }
}

impl<B: Bucket> Node<B> {
    fn grown(&self, fingerprint: Fingerprint, depth: u32) -> Self {
        match self {
            Self::Leaf(leaf) if leaf.larger() > most_buckets(size_of::<B>()) && depth < DEEPEST => {
                Self::Fork(Arc::new(leaf.split(depth).map(Self::Leaf)))
            }
            Self::Leaf(leaf) => Self::Leaf(leaf.copied_to(leaf.larger())),
            Self::Fork(children) => {
                let chosen = branch(fingerprint, depth);
                let mut place = 0;
                Self::Fork(Arc::new(children.each_ref().map(|child| {
                    let here = place == chosen;
                    place += 1;
                    if here { child.grown(fingerprint, depth + 1) } else { child.clone() }
                })))
            }
        }
    }

    /// Where the next leaf begins, and this node without what is not to be kept in one of its leaves, if there was any.
    fn swept(&self, from: u64, depth: u32, keep: &impl Fn(B::Value) -> bool) -> (Option<u64>, Option<Self>) {
        match self {
            Self::Leaf(leaf) => (after(from, depth), leaf.without(keep).map(Self::Leaf)),
            Self::Fork(children) => {
                let chosen = branch_of(from, depth);
                let Some(child) = children.get(chosen) else { return (None, None) };
                let (next, child) = child.swept(from, depth + 1, keep);
                let node = child.map(|child| {
                    let mut child = Some(child);
                    let mut place = 0;
                    let children = children.each_ref().map(|other| {
                        let here = place == chosen;
                        place += 1;
                        child.take_if(|_| here).unwrap_or_else(|| other.clone())
                    });
                    Self::joined(&children).unwrap_or_else(|| Self::Fork(Arc::new(children)))
                });
                (next, node)
            }
        }
    }

    /// One leaf in the place of many that are nearly empty.
    fn joined(children: &[Self; FAN_OUT]) -> Option<Self> {
        let entries = children.iter().try_fold(0, |sum, child| match child {
            Self::Leaf(leaf) => Some(sum + leaf.len()),
            Self::Fork(_) => None,
        })?;
        // Far from where it would split again.
        let joined = (entries <= most_buckets(size_of::<B>())).then(|| Leaf::for_entries(entries))?;
        for child in children {
            if let Self::Leaf(leaf) = child {
                leaf.all().for_each(|(fingerprint, value)| joined.take_in(fingerprint, value));
            }
        }
        Some(Self::Leaf(joined))
    }

    fn size(&self) -> (usize, usize) {
        match self {
            Self::Leaf(leaf) => (leaf.len(), ARC_HEADER + size_of_val(&*leaf.buckets)),
            Self::Fork(children) => {
                let own = (0, size_of_val(&**children) + ARC_HEADER);
                children.iter().map(Self::size).fold(own, |sum, size| (sum.0 + size.0, sum.1 + size.1))
            }
        }
    }
}

impl<B: Bucket> Leaf<B> {
    fn with_buckets(count: usize) -> Self {
        Self { buckets: (0..count).map(|_| B::default()).collect(), entries: AtomicU32::new(0) }
    }

    /// As if it had just grown.
    fn for_entries(entries: usize) -> Self {
        Self::with_buckets((entries * 2 * 7).div_ceil(FILL_OF_TWO * 6).max(1))
    }

    fn len(&self) -> usize {
        self.entries.load(Ordering::Relaxed) as usize
    }

    fn larger(&self) -> usize {
        (self.buckets.len() * 7).div_ceil(6)
    }

    /// The bucket where an entry belongs, unless that one is full.
    #[inline]
    fn first(&self, fingerprint: Fingerprint) -> usize {
        // The lower half of the word as a fraction of the buckets: as even as a remainder, without the division.
        let fraction = fingerprint.word & u64::from(u32::MAX);
        ((fraction * self.buckets.len() as u64) >> 32) as usize
    }

    /// The buckets where an entry may be, in order, each of them once.
    fn way(&self, fingerprint: Fingerprint) -> impl Iterator<Item = &B> {
        let first = self.first(fingerprint);
        let (before, after) = self.buckets.split_at_checked(first).unwrap_or((&[], &self.buckets));
        after.iter().chain(before)
    }

    #[cold]
    fn find(&self, fingerprint: Fingerprint) -> Option<B::Value> {
        let first = self.first(fingerprint);
        let mut place = first;
        loop {
            match self.buckets.get(place)?.find(fingerprint) {
                Found::Here(value) => return Some(value),
                Found::Nowhere => return None,
                Found::Further => place = if place + 1 == self.buckets.len() { 0 } else { place + 1 },
            }
            if place == first {
                return None;
            }
        }
    }

    fn insert(&self, fingerprint: Fingerprint, value: B::Value) -> Result<(), Crowded> {
        let crowded = self.len() >= self.buckets.len() * FILL_OF_TWO / 2;
        if crowded && self.find(fingerprint).is_none() {
            return Err(Crowded);
        }
        for bucket in self.way(fingerprint) {
            match bucket.put(fingerprint, value) {
                Put::Added => {
                    self.entries.store(self.entries.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
                    return Ok(());
                }
                Put::Known => return Ok(()),
                Put::Full => {}
            }
        }
        Err(Crowded)
    }

    fn copied_to(&self, buckets: usize) -> Self {
        let copy = Self::with_buckets(buckets);
        for (fingerprint, value) in self.all() {
            copy.take_in(fingerprint, value);
        }
        copy
    }

    /// Nothing if all of it is to be kept.
    fn without(&self, keep: &impl Fn(B::Value) -> bool) -> Option<Self> {
        let kept = self.all().filter(|&(_, value)| keep(value)).count();
        if kept == self.all().count() {
            return None;
        }
        let rest = Self::for_entries(kept);
        for (fingerprint, value) in self.all().filter(|&(_, value)| keep(value)) {
            rest.take_in(fingerprint, value);
        }
        Some(rest)
    }

    fn split(&self, depth: u32) -> [Self; FAN_OUT] {
        let mut counts = [0_usize; FAN_OUT];
        for (fingerprint, _) in self.all() {
            if let Some(count) = counts.get_mut(branch(fingerprint, depth)) {
                *count += 1;
            }
        }
        let parts = counts.map(Self::for_entries);
        for (fingerprint, value) in self.all() {
            if let Some(part) = parts.get(branch(fingerprint, depth)) {
                part.take_in(fingerprint, value);
            }
        }
        parts
    }

    /// Of a leaf made large enough for it.
    fn take_in(&self, fingerprint: Fingerprint, value: B::Value) {
        let taken = self.insert(fingerprint, value);
        debug_assert_eq!(taken, Ok(()), "a grown leaf has room for all that it copies");
    }

    fn all(&self) -> impl Iterator<Item = (Fingerprint, B::Value)> {
        self.buckets.iter().flat_map(B::entries)
    }
}

/// Which child of a fork at this depth: six bits, from the top of the word down.
#[inline]
fn branch(fingerprint: Fingerprint, depth: u32) -> usize {
    branch_of(fingerprint.word, depth)
}

#[inline]
fn branch_of(word: u64, depth: u32) -> usize {
    let shift = u64::BITS - FAN_OUT_BITS * (depth + 1);
    (word >> shift) as usize % FAN_OUT
}

/// The first word that belongs into the next leaf after one at this depth.
fn after(word: u64, depth: u32) -> Option<u64> {
    let shift = u64::BITS.checked_sub(FAN_OUT_BITS * depth).filter(|&shift| shift < u64::BITS)?;
    ((word >> shift) + 1).checked_shl(shift).filter(|&next| next != 0)
}

/// To give back a small leaf takes as long as so many bytes of a large one.
const LEAST_COST: usize = 4096;

/// Trees that nobody looks into any more, given back a few leaves at a time: to unmap a gigabyte at once takes tens of
/// milliseconds.
pub(super) struct Rubble<B>(Vec<Node<B>>);

impl<B> Default for Rubble<B> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<B: Bucket> Rubble<B> {
    pub(super) fn add(&mut self, tree: Tree<B>) {
        self.0.push(tree.0);
    }

    /// Takes out leaves of up to about so many bytes, to be dropped where nobody waits for it.
    pub(super) fn take(&mut self, bytes: usize) -> Self {
        let mut leaves = Vec::new();
        let mut taken = 0;
        while taken < bytes {
            match self.0.pop() {
                None => break,
                Some(Node::Fork(children)) => self.0.extend(Arc::into_inner(children).into_iter().flatten()),
                Some(leaf) => {
                    taken += leaf.size().1.max(LEAST_COST);
                    leaves.push(leaf);
                }
            }
        }
        Self(leaves)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.0.iter().map(|node| node.size().1).sum()
    }
}
