//! Models of the protocol: small programs that do what one part of the code does, in every order in which it can happen.
//!
//! A test runs a few schedules of the real code, the simulation a few thousand. A model has little state and no input or output, so
//! that *all* its schedules can be tried, up to its bounds: every crash, delay, loss and failover between any two steps. [stateright]
//! does that, breadth first, and gives the shortest way to a state that breaks a promise.
//!
//! Each model says in its documentation which modules and types it is faithful to, what it leaves out (its *abstractions*), how far it
//! goes (its *bounds*), and which promises its properties are part of: "3 no gaps" belongs to promise 3 in ARCHITECTURE.md.
//!
//! A model that holds proves little by itself: it may hold since it does too little. So each has
//!
//! - properties that say what must be *possible*, and
//! - *mutants*: the same protocol with one thing changed, among them the code as it was before a violation was found with its model.
//!   Each mutant must be found to break the property that is named beside it, or the test fails.
//!
//! ```text
//! cargo test --manifest-path models/Cargo.toml                    # all models, small: part of scripts/test
//! cargo run --manifest-path models/Cargo.toml                     # the table in ARCHITECTURE.md
//! cargo run --manifest-path models/Cargo.toml -- failover --large
//! scripts/prove models                                            # all models, large
//! ```
//!
//! Whoever changes the protocol changes its model first; whoever finds a violation adds the code as it was as a mutant.
//!
//! [stateright]: https://docs.rs/stateright

// Indices are those of a model's own vectors.
#![allow(clippy::indexing_slicing)]

mod check;
mod report;

pub mod everywhere;
pub mod failover;
pub mod freshness;
pub mod keys;
pub mod members;
pub mod processes;
pub mod pruning;
pub mod relays;
pub mod sessions;
pub mod staged_restore;
pub mod tail;

pub use check::{Case, Expected, Explorable, Found, Size};
pub use report::{Row, explore, grouped};

/// A model with its mutants.
#[derive(Debug, Clone, Copy)]
pub struct Suite {
    /// The name of its module.
    pub name: &'static str,
    /// The promises and invariants that its properties are part of, by their numbers in ARCHITECTURE.md.
    pub keeps: &'static str,
    /// The protocol with some bounds, and its mutants.
    pub cases: fn(Size) -> Vec<Case>,
}

/// All models.
pub const SUITES: [Suite; 11] = [
    Suite { name: "freshness", keeps: "promise 3, invariant 4", cases: freshness::cases },
    Suite { name: "everywhere", keeps: "promise 4, invariant 14", cases: everywhere::cases },
    Suite { name: "relays", keeps: "promise 4, invariant 14", cases: relays::cases },
    Suite { name: "members", keeps: "promise 4, invariant 14", cases: members::cases },
    Suite { name: "tail", keeps: "promise 3, invariant 4", cases: tail::cases },
    Suite { name: "failover", keeps: "promises 3 and 7, invariant 10", cases: failover::cases },
    Suite { name: "processes", keeps: "promises 3 and 7, invariant 10", cases: processes::cases },
    Suite { name: "staged_restore", keeps: "promise 7, invariant 10", cases: staged_restore::cases },
    Suite { name: "pruning", keeps: "promise 7, invariant 5", cases: pruning::cases },
    Suite { name: "keys", keeps: "promise 3, invariant 11", cases: keys::cases },
    Suite { name: "sessions", keeps: "promises 5 and 7, invariants 2, 8 and 15", cases: sessions::cases },
];
