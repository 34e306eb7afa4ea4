//! What this index shares between threads, in one place: `tests/index_under_every_schedule.rs` puts shuttle's versions
//! and smaller sizes here and runs the same code under thousands of schedules.

pub(super) use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU64, Ordering},
};
use std::{ops::Deref, sync::Arc};

use arc_swap::ArcSwap;

/// How large a leaf is before it is split: so much is copied in a fraction of a millisecond.
pub(super) const LEAF_BYTES: usize = 128 * 1024;

/// A whole state of which readers see one or the next, and never wait.
pub(super) struct Published<T>(ArcSwap<T>);

impl<T> Published<T> {
    pub(super) fn new(first: Arc<T>) -> Self {
        Self(ArcSwap::new(first))
    }

    pub(super) fn load(&self) -> impl Deref<Target = Arc<T>> + '_ {
        self.0.load()
    }

    /// Returns the one before. Whoever still reads it is counted in its `strong_count` from here on: `ArcSwap` lends
    /// without counting only until the next swap, which turns every loan into a counted reference.
    pub(super) fn swap(&self, next: Arc<T>) -> Arc<T> {
        self.0.swap(next)
    }
}
