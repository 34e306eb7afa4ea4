//! The engines: one suite that all of them pass, and the further promises of a file.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod broken;
mod engines;
mod files;
mod group_commit;
mod long_reads;
mod lost_files;
