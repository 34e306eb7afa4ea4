//! A set of entries that grows in small steps: one leaf, then a tree of leaves once one leaf would be too large.
//!
//! 1. A look-up passes one fork for every 128-fold of ten thousand entries, then reads one word, seldom more.
//! 2. Growing builds a new tree that shares everything but one leaf and the path to it. Readers of the old tree are not
//!    affected.
//! 3. Neither growing nor sweeping copies more than one leaf in a step.
//! 4. Leaves are split in two, so in all but the smallest trees leaves have between half and all of the maximum size, and
//!    the memory for the path to them is negligible.

use std::{ops::Range, sync::Arc};

use super::{
    fingerprint::Fingerprint,
    leaf::{ARC_HEADER, Crowded, Kind, Leaf},
};

/// The maximum number of bits that distinguish the children of a fork.
const MAX_BITS: u32 = 7;

/// The maximum depth in bits. A leaf chooses a bucket by the lower half of a word, and the forks above it use the upper 24
/// bits; the bits in between are for tags.
const DEEPEST: u32 = 24;

/// A tree. Clones share all entries, including those added to either one later, until one of them grows.
pub(super) struct Tree<K>(Node<K>);

enum Node<K> {
    Leaf(Leaf<K>),
    /// Children, as many as a power of two. A leaf that needs fewer bits than its fork uses appears several times, in
    /// adjacent places.
    Fork(Arc<[Node<K>]>),
}

impl<K> Clone for Tree<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K> Clone for Node<K> {
    fn clone(&self) -> Self {
        match self {
            Self::Leaf(leaf) => Self::Leaf(leaf.clone()),
            Self::Fork(children) => Self::Fork(Arc::clone(children)),
        }
    }
}

impl<K: Kind> Tree<K> {
    /// Creates a tree of one bucket.
    pub(super) fn new() -> Self {
        Self(Node::Leaf(Leaf::for_entries(0, 0)))
    }

    /// Returns the value stored with this fingerprint, if there is an entry.
    #[inline]
    pub(super) fn find(&self, fingerprint: Fingerprint) -> Option<K::Value> {
        self.leaf(fingerprint)?.find(fingerprint)
    }

    /// Adds an entry in place. Every look-up that starts later in this tree or in a clone of it finds the entry.
    pub(super) fn insert(&self, fingerprint: Fingerprint, value: K::Value) -> Result<(), Crowded> {
        self.leaf(fingerprint).ok_or(Crowded)?.insert(fingerprint, value)
    }

    /// Makes room for this entry.
    pub(super) fn grow(&mut self, fingerprint: Fingerprint) {
        self.0 = self.0.grown(fingerprint.word, 0);
    }

    /// Removes the entries for which `keep` returns `false` from the leaf that contains the word `from`. Returns the first
    /// word of the next leaf, or `None` after the last one.
    pub(super) fn sweep(&mut self, from: u64, keep: impl Fn(K::Value) -> bool) -> Option<u64> {
        let (next, node) = self.0.swept(from, 0, &keep);
        if let Some(node) = node {
            self.0 = node;
        }
        next
    }

    /// Returns the number of entries and the allocated bytes of this tree.
    pub(super) fn size(&self) -> (usize, usize) {
        self.0.size(0)
    }

    #[inline]
    fn leaf(&self, fingerprint: Fingerprint) -> Option<&Leaf<K>> {
        let mut node = &self.0;
        let mut rest = fingerprint.word;
        loop {
            match node {
                Node::Leaf(leaf) => return Some(leaf),
                Node::Fork(children) => {
                    // The product holds the upper bits of the word, which choose the child, and the remaining bits.
                    let product = u128::from(rest) * children.len() as u128;
                    node = children.get((product >> u64::BITS) as usize)?;
                    rest = product as u64;
                }
            }
        }
    }
}

impl<K: Kind> Node<K> {
    /// Returns this node with more room in the leaf that contains `word`. `depth` is the number of bits already used.
    fn grown(&self, word: u64, depth: u32) -> Self {
        match self {
            Self::Leaf(leaf) => match larger(leaf) {
                Larger::One(leaf) => Self::Leaf(leaf),
                Larger::Two(halves) => Self::Fork(Arc::new(halves.map(Self::Leaf))),
            },
            Self::Fork(children) => Self::Fork(grown_below(children, word, depth)),
        }
    }

    /// Returns where the next leaf begins, and this node with one leaf swept, if an entry was removed from it.
    fn swept(&self, from: u64, depth: u32, keep: &impl Fn(K::Value) -> bool) -> (Option<u64>, Option<Self>) {
        match self {
            Self::Leaf(leaf) => (after(from, leaf.depth()), leaf.without(keep).map(Self::Leaf)),
            Self::Fork(children) => {
                let below = depth + bits(children);
                let chosen = branch(from, depth, children);
                let Some(child) = children.get(chosen) else { return (None, None) };
                let (next, child) = child.swept(from, below, keep);
                let node = child.map(|child| {
                    let children = with(children, child.places(chosen, below), |_| child.clone());
                    Self::joined(&children, depth).unwrap_or(Self::Fork(children))
                });
                (next, node)
            }
        }
    }

    /// Returns one leaf in place of several nearly empty ones.
    fn joined(children: &[Self], depth: u32) -> Option<Self> {
        let leaves = distinct(children, depth).map(|child| match child {
            Self::Leaf(leaf) => Some(leaf),
            Self::Fork(_) => None,
        });
        let entries = leaves.clone().try_fold(0, |sum, leaf| Some(sum + leaf?.len()))?;
        // Join only if the new leaf is far from its next split.
        (entries <= Leaf::<K>::MAX_BUCKETS).then(|| Self::Leaf(Leaf::joined(leaves.flatten(), depth)))
    }

    /// Returns all places of its fork that this node, found in place `chosen`, occupies. `below` is the depth of the children.
    fn places(&self, chosen: usize, below: u32) -> Range<usize> {
        let count = match self {
            Self::Leaf(leaf) => 1 << below.saturating_sub(leaf.depth()),
            Self::Fork(_) => 1,
        };
        let first = chosen & !(count - 1);
        first..first + count
    }

    fn size(&self, depth: u32) -> (usize, usize) {
        match self {
            Self::Leaf(leaf) => (leaf.len(), leaf.bytes()),
            Self::Fork(children) => {
                let own = (0, ARC_HEADER + size_of_val(&**children));
                let sizes = distinct(children, depth).map(|child| child.size(depth + bits(children)));
                sizes.fold(own, |sum, size| (sum.0 + size.0, sum.1 + size.1))
            }
        }
    }
}

/// The replacement of a leaf that must grow.
enum Larger<K> {
    One(Leaf<K>),
    Two([Leaf<K>; 2]),
}

fn larger<K: Kind>(leaf: &Leaf<K>) -> Larger<K> {
    if leaf.larger() > Leaf::<K>::MAX_BUCKETS && leaf.depth() < DEEPEST {
        Larger::Two(leaf.split())
    } else {
        Larger::One(leaf.grown())
    }
}

fn grown_below<K: Kind>(children: &Arc<[Node<K>]>, word: u64, depth: u32) -> Arc<[Node<K>]> {
    let below = depth + bits(children);
    let chosen = branch(word, depth, children);
    let Some(child) = children.get(chosen) else { return Arc::clone(children) };
    let places = child.places(chosen, below);
    let leaf = match child {
        Node::Leaf(leaf) => leaf,
        Node::Fork(_) => return with(children, places, |_| child.grown(word, below)),
    };
    match larger(leaf) {
        Larger::One(leaf) => with(children, places, |_| Node::Leaf(leaf.clone())),
        // The leaf appears several times: each half takes half of its places.
        Larger::Two([left, right]) if places.len() > 1 => {
            let middle = places.start + places.len() / 2;
            with(children, places, |place| Node::Leaf(if place < middle { left.clone() } else { right.clone() }))
        }
        Larger::Two(halves) if bits(children) == MAX_BITS => {
            let fork = Node::Fork(Arc::new(halves.map(Node::Leaf)));
            with(children, places, |_| fork.clone())
        }
        // A fork with room for more children has only leaves, so any of them can appear twice.
        Larger::Two([left, right]) => {
            let twice = |(place, child): (usize, &Node<K>)| match child {
                Node::Leaf(_) if place == chosen => [Node::Leaf(left.clone()), Node::Leaf(right.clone())],
                child => [child.clone(), child.clone()],
            };
            children.iter().enumerate().flat_map(twice).collect()
        }
    }
}

/// Returns a copy of the children in which those in `places` are replaced.
fn with<K>(children: &[Node<K>], places: Range<usize>, other: impl Fn(usize) -> Node<K>) -> Arc<[Node<K>]> {
    let child = |(place, child): (usize, &Node<K>)| if places.contains(&place) { other(place) } else { child.clone() };
    children.iter().enumerate().map(child).collect()
}

/// Iterates over the children, each one once.
fn distinct<K: Kind>(children: &[Node<K>], depth: u32) -> impl Iterator<Item = &Node<K>> + Clone {
    let below = depth + bits(children);
    let is_first = move |(place, child): &(usize, &Node<K>)| child.places(*place, below).start == *place;
    children.iter().enumerate().filter(is_first).map(|(_, child)| child)
}

/// Returns how many bits of a word choose among these children.
fn bits<K>(children: &[Node<K>]) -> u32 {
    children.len().trailing_zeros()
}

/// Returns which child of a fork at this depth contains the word. Uses the bits from the top down, like [`Tree::leaf`].
fn branch<K>(word: u64, depth: u32, children: &[Node<K>]) -> usize {
    ((u128::from(word << depth) * children.len() as u128) >> u64::BITS) as usize
}

/// Returns the first word of the leaf that follows the one at this depth, or `None` after the last leaf.
fn after(word: u64, depth: u32) -> Option<u64> {
    let shift = u64::BITS.checked_sub(depth).filter(|&shift| shift < u64::BITS)?;
    ((word >> shift) + 1).checked_shl(shift).filter(|&next| next != 0)
}

/// The minimum cost of freeing a leaf: a small leaf takes as long as this many bytes of a large one.
const MIN_COST: usize = 4096;

/// Trees without readers, freed a few leaves at a time: unmapping a gigabyte at once takes tens of milliseconds.
pub(super) struct Rubble<K>(Vec<(u32, Node<K>)>);

impl<K> Default for Rubble<K> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: Kind> Rubble<K> {
    pub(super) fn add(&mut self, tree: Tree<K>) {
        self.0.push((0, tree.0));
    }

    /// Removes leaves of up to about `bytes` bytes, and returns them for the caller to drop outside the lock.
    pub(super) fn take(&mut self, bytes: usize) -> Self {
        let mut leaves = Vec::new();
        let mut taken = 0;
        while taken < bytes {
            match self.0.pop() {
                None => break,
                Some((depth, Node::Fork(children))) => {
                    let below = depth + bits(&children);
                    self.0.extend(distinct(&children, depth).map(|child| (below, child.clone())));
                }
                Some((depth, leaf)) => {
                    taken += leaf.size(depth).1.max(MIN_COST);
                    leaves.push((depth, leaf));
                }
            }
        }
        Self(leaves)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.0.iter().map(|(depth, node)| node.size(*depth).1).sum()
    }
}
