//! What receivers outside are told of logouts: webhooks, and the logout tokens of relying parties.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod operators;
mod receiver;
mod relying_parties;
mod webhooks;
