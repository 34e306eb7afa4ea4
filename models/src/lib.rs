//! Models of the protocol: small programs that perform the steps of one part of the code, in every possible order.
//!
//! A test runs a few schedules of the real code, the simulation a few thousand. A model has little state and no input or output, so that
//! *all* its schedules can be explored, up to its bounds: every crash, delay, loss and failover between any two steps. [stateright] does
//! that, breadth first, and returns the shortest path to a state that breaks a promise.
//!
//! The documentation of each model names the modules and types that it is faithful to, what it leaves out (its *abstractions*), its
//! *bounds*, and its properties, with the promises that they belong to: "3 no gaps" belongs to promise 3 in ARCHITECTURE.md.
//!
//! A model that holds proves little by itself: it may hold because it does too little. Each model therefore has
//!
//! - properties that must be *possible*, and
//! - *mutants*: the same protocol with one change, among them the code before a violation was found with the model. The checker must find
//!   that each mutant breaks the property that is named beside it, or the test fails.
//!
//! ```text
//! cargo test --manifest-path models/Cargo.toml                    # all models, small: part of scripts/test
//! cargo run --manifest-path models/Cargo.toml                     # the table in ARCHITECTURE.md
//! cargo run --manifest-path models/Cargo.toml -- failover --large
//! scripts/prove models                                            # all models, large
//! ```
//!
//! To change the protocol, change its model first. To fix a violation, add the earlier code as a mutant.
//!
//! [stateright]: https://docs.rs/stateright

// All indices are into vectors of the model itself.
#![allow(clippy::indexing_slicing)]

mod check;
mod follower;
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
    /// The promises and invariants that its properties belong to, by their numbers in ARCHITECTURE.md.
    pub keeps: &'static str,
    /// The protocol with certain bounds, and its mutants.
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
