//! The binary forms: version 1 with whole entries, and version 2 with hashed ones. Both begin with the same head.
//!
//! ```text
//! page   = "ADRV" version flags age_ms pruned_through max_staleness_ms issuer log position count …
//! ```
//!
//! Integers are LEB128, in as few bytes as possible; differences are zigzag-encoded first. A text is its length and its
//! UTF-8.

mod code;
mod hashed;
mod head;
mod reader;
mod whole;
mod writer;

pub use hashed::{from_hashed, to_hashed};
pub use whole::{from_binary, to_binary};
