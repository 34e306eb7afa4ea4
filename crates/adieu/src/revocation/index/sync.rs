//! Everything that the index shares between threads. `tests/index_under_every_schedule.rs` replaces this file with
//! shuttle's types and smaller sizes, and runs the same code under thousands of schedules.

pub(super) use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU64, Ordering},
};
use std::{ops::Deref, sync::Arc};

use arc_swap::ArcSwap;

/// The size at which a leaf is split. Copying this much takes a fraction of a millisecond.
pub(super) const LEAF_BYTES: usize = 128 * 1024;

/// A state that a writer replaces atomically. Readers see the old or the new state, and never wait.
pub(super) struct Published<T>(ArcSwap<T>);

impl<T> Published<T> {
    pub(super) fn new(first: Arc<T>) -> Self {
        Self(ArcSwap::new(first))
    }

    pub(super) fn load(&self) -> impl Deref<Target = Arc<T>> + '_ {
        self.0.load()
    }

    /// Publishes `next` and returns the previous state. From then on its `strong_count` includes all readers that still
    /// use it: `ArcSwap` lends uncounted references only until the next swap, which turns each into a counted one.
    pub(super) fn swap(&self, next: Arc<T>) -> Arc<T> {
        self.0.swap(next)
    }
}
