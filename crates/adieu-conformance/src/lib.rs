//! The test suite that every engine passes, for authors of another engine.
//!
//! An engine keeps revocations ([`RevocationLog`]), and for a server also sessions ([`SessionStore`]) and signing keys
//! ([`KeyStore`]). Those traits state its guarantees; this suite tests them:
//!
//! 1. **Each guarantee is a test of its own**, named after it, so that a test runner shows which one is broken.
//! 2. **Each test has its own [`Storage`]**, so that all of them can run at once.
//! 3. **Several processes.** Many mistakes of an engine show only between processes. The suite opens a place several times,
//!    and the openings share nothing but the place.
//! 4. **No dependence on a clock.** Times are arguments, and tests wait for events. A test that hangs [fails](TEST_TIMEOUT).
//!
//! # Testing an engine
//!
//! ```toml
//! [dev-dependencies]
//! adieu-conformance = "0.1"
//! ```
//!
//! Add a file to `tests/` of the engine's crate. This one tests the memory engine:
//!
//! ```
//! use adieu::store::Memory;
//! use adieu_conformance::Storage;
//!
//! /// Where it keeps things: a folder, a database of a server, or as here this process. What has to be cleaned up is, when
//! /// this is dropped.
//! struct InMemory(Memory);
//!
//! impl Storage for InMemory {
//!     type Store = Memory;
//!
//!     async fn empty() -> Self {
//!         Self(Memory::new())
//!     }
//!
//!     async fn open(&self) -> Memory {
//!         self.0.clone()
//!     }
//! }
//!
//! // `#[test] fn memory::log::entries_come_in_the_order_of_their_appends()`, and so on.
//! adieu_conformance::suite!(memory: InMemory, log, sessions, keys);
//! # fn main() {
//! #     use adieu_conformance::{log, run};
//! #     run(log::entries_come_in_the_order_of_their_appends::<InMemory>());
//! # }
//! ```
//!
//! An engine that only keeps revocations needs `log` alone; an engine whose older copy may be restored
//! ([`Restorable`](adieu::restore::Restorable)) needs `restore` as well.
//!
//! # What it cannot test
//!
//! The suite cannot test that acknowledged data survives a power failure, or risks of a single engine, such as a damaged
//! file. An engine needs its own tests for them; [`sample`] has values for those.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "these are tests: to panic is how they fail"
)]

pub mod keys;
pub mod log;
pub mod membership;
pub mod restore;
pub mod sample;
pub mod sessions;

use std::{sync::Arc, time::Duration};

use adieu::time::Timestamp;
#[cfg(doc)]
use adieu::{revocation::RevocationLog, session::SessionStore, token::KeyStore};

#[doc(inline)]
pub use crate::conformance_suite as suite;

/// The time after which a test counts as hanging.
pub const TEST_TIMEOUT: Duration = Duration::from_secs(90);

/// A place where an engine keeps its data.
#[expect(async_fn_in_trait, reason = "tests await it where they are, and an engine may do in it whatever it likes")]
pub trait Storage: Sized + 'static {
    /// The engine. It implements the traits of the [`suite`]'s parts that it is tested with.
    type Store: Send + Sync + 'static;

    /// Which process keeps the log.
    const LOG: LogOwnership = LogOwnership::Own;

    /// Whether the log's identity survives a [crash](Self::crash).
    const IDENTITY: Identity = Identity::Stable;

    /// Returns the current time at the place. It matters only if the engine is backed by a process with its own clock, as in
    /// [`LogOwnership::Remote`]: then it is close to the real time, and the same on every call.
    #[must_use]
    fn noon() -> Timestamp {
        sample::NOON
    }

    /// Creates an empty place that no other test uses. It may start a server or create a database. It lives until the end of
    /// the test, and cleans up when it is dropped.
    async fn empty() -> Self;

    /// Opens the place, as another process would, or this one after a restart: the opening learns of others only through the
    /// place.
    async fn open(&self) -> Self::Store;

    /// Stops the storage without warning, as a crash would, and starts it again; returns when it is available again. Does
    /// nothing for an engine that lives in this process.
    async fn crash(&self) {}
}

/// Whether a log keeps its identity when its storage has crashed and restarted without loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// It is the same log, and an earlier cursor stays valid.
    Stable,
    /// It counts as another log, since the engine could not distinguish it from one that has lost data: an earlier reader
    /// reads it once from the beginning. Positions continue nevertheless.
    Changes,
}

/// Which process keeps the log that an engine gives access to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogOwnership {
    /// The engine keeps the log, and gives every guarantee.
    Own,
    /// Another process keeps the log, as the node that `Remote` of `adieu-client` asks. The suite tests that such an
    /// engine differs in exactly these ways:
    ///
    /// * an append returns no position: the result is [`Position::START`](adieu::revocation::Position::START);
    /// * `prune` removes nothing and reports that it is complete: the other process prunes;
    /// * after a cursor, earlier entries may be repeated in order: the other process need not remember the position of each
    ///   reader;
    /// * only facts about single tokens are guaranteed to be accepted;
    /// * pages may be as old as they [say](adieu::revocation::Page::age): before it reads, the suite waits until every
    ///   acknowledged entry must be visible.
    Remote,
}

/// Creates a module of tests for an engine: `suite!(name: Storage, part, part…)`, where the parts are `log`, `sessions`, `keys`
/// and `restore`, after the modules of [this crate](crate). An attribute before it, such as `#[cfg(…)]`, applies to all of
/// them.
#[macro_export]
#[doc(hidden)]
macro_rules! conformance_suite {
    ($name:ident: $place:ty, $($part:ident),+ $(,)?) => {
        mod $name {
            #[allow(unused_imports, reason = "the place may be named by its whole path")]
            use super::*;

            type PlaceOfThisSuite = $place;
            $($crate::__conformance_part!($part);)+
        }
    };
}

#[macro_export]
#[doc(hidden)]
macro_rules! __conformance_part {
    (log) => {
        $crate::__conformance_log!();
    };
    (sessions) => {
        $crate::__conformance_sessions!();
    };
    (keys) => {
        $crate::__conformance_keys!();
    };
    (restore) => {
        $crate::__conformance_restore!();
    };
    (membership) => {
        $crate::__conformance_membership!();
    };
}

#[macro_export]
#[doc(hidden)]
macro_rules! __conformance_tests {
    ($part:ident: $($test:ident)*) => {
        mod $part {
            $(
                #[test]
                fn $test() {
                    $crate::run($crate::$part::$test::<super::PlaceOfThisSuite>());
                }
            )*
        }
    };
}

/// Runs a test of the suite to its end.
///
/// # Panics
/// If the test fails, or does not end within [`TEST_TIMEOUT`].
pub fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let outcome = runtime.block_on(async { tokio::time::timeout(TEST_TIMEOUT, test).await });
    // Does not wait for background work of a store.
    runtime.shutdown_background();
    assert!(outcome.is_ok(), "it waits for something that does not come");
}

/// Opens a place once more, to be shared by concurrent tasks.
async fn open<P: Storage>(place: &P) -> Arc<P::Store> {
    Arc::new(place.open().await)
}
