//! One suite of tests that every engine passes, for those who write another one.
//!
//! An engine keeps revocations ([`RevocationLog`]), and if it is for a server also sessions ([`SessionStore`]) and signing
//! keys ([`KeyStore`]). What it has to promise stands with those traits; here it is tried:
//!
//! 1. **Each promise is a test of its own**, with a name that says it, so that a test runner shows which one is broken.
//! 2. **Each test has a place of its own** ([`Place`]): all of them can run at once.
//! 3. **Several at once.** Much of what an engine can get wrong shows only between processes. The suite opens a place
//!    several times, and nothing that is opened knows of the others but by what is kept there.
//! 4. **No clock decides.** Times are handed in, and nothing is slept for. That something waits for ever is
//!    [noticed](TEST_TIMEOUT).
//!
//! # An engine of one's own
//!
//! ```toml
//! [dev-dependencies]
//! adieu-conformance = "0.1"
//! ```
//!
//! A file in `tests/` of the engine's crate, here with the engine that forgets everything in the place of one's own:
//!
//! ```
//! use adieu::store::Memory;
//! use adieu_conformance::Place;
//!
//! /// Where it keeps things: a folder, a database of a server, or as here this process. What has to be cleaned up is, when
//! /// this is dropped.
//! struct InMemory(Memory);
//!
//! impl Place for InMemory {
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
//! An engine that keeps revocations only asks for `log` alone; one of which an older copy may be put back
//! ([`Restorable`](adieu::restore::Restorable)) for `restore` as well.
//!
//! # What it can't try
//!
//! That what was acknowledged survives a loss of power; and an engine's own dangers, as what a damaged file does. Those need
//! tests of their own, for which [`sample`] may be of use.
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

/// How long a test may take before it is taken for one that waits for ever.
pub const TEST_TIMEOUT: Duration = Duration::from_secs(90);

/// Where an engine keeps things.
#[expect(async_fn_in_trait, reason = "tests await it where they are, and an engine may do in it whatever it likes")]
pub trait Place: Sized + 'static {
    /// The engine. It implements the traits of those parts of the [`suite`] that it is asked for.
    type Store: Send + Sync + 'static;

    /// Whose the log is.
    const LOG: LogOwnership = LogOwnership::Own;

    /// What becomes of the log's identity in a [crash](Self::crash).
    const IDENTITY: Identity = Identity::Stays;

    /// What time it is there. It matters only where there is a clock of its own behind the engine, as with one whose log is
    /// [another's](LogOwnership::Remote): then it is about now, and the same whenever it is asked for.
    #[must_use]
    fn noon() -> Timestamp {
        sample::NOON
    }

    /// A place where nothing has been kept yet, and that no other test knows. It may start a server or make a database, and
    /// lives until the end of the test: what is to be cleaned up is to be cleaned up when it is dropped.
    async fn empty() -> Self;

    /// What is kept there, as another process would open it, or this one after a restart: what it learns of others that are
    /// open it learns from the place.
    async fn open(&self) -> Self::Store;

    /// Stops what keeps things, without warning, as a crash would, and starts it again; returns when it takes part again.
    /// Nothing, for an engine that is all in this process.
    async fn crash(&self) {}
}

/// What becomes of a log's identity when what keeps it has crashed and was started again, with nothing lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// It is the same log, and a cursor from before reads on.
    Stays,
    /// It counts as another one, since the engine could not tell it from one that has lost something: whoever has read it before
    /// reads it from the beginning, once. Positions go on all the same.
    Changes,
}

/// Whose the log is that an engine gives access to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogOwnership {
    /// The engine keeps it, and promises everything.
    Own,
    /// Another process keeps it and has a will of its own, as the node that `Remote` of `adieu-client` asks. What such
    /// an engine does not promise is tried to be just that, and nothing else:
    ///
    /// * an append tells no position: it answers [`Position::START`](adieu::revocation::Position::START);
    /// * `prune` removes nothing and says that it is complete: what has lapsed is the other process's business;
    /// * after a cursor some of what was before it may come once more, in its order: the other process need not remember where
    ///   each of its readers was;
    /// * of facts only those about single tokens are taken for certain;
    /// * pages may be as old as they [say](adieu::revocation::Page::age): before it reads, the suite waits until
    ///   nothing that was acknowledged can be missing.
    Remote,
}

/// Makes a module of tests for an engine: `suite!(name: Place, part, part…)`, where the parts are `log`, `sessions`,
/// `keys` and `restore`, those of the modules [here](crate). An attribute before it, as `#[cfg(…)]`, is for all of them.
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
/// When what it tries is not so, or when that can't be said within [`TEST_TIMEOUT`].
pub fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let outcome = runtime.block_on(async { tokio::time::timeout(TEST_TIMEOUT, test).await });
    // What a store still does in the background is not waited for.
    runtime.shutdown_background();
    assert!(outcome.is_ok(), "it waits for something that does not come");
}

/// What is kept at a place, opened once more, to be shared by what runs at once.
async fn open<P: Place>(place: &P) -> Arc<P::Store> {
    Arc::new(place.open().await)
}
