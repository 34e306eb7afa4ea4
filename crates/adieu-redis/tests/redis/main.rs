//! The engine for Redis: the suite that all engines pass, and its further promises, with real servers that are stopped, frozen, killed,
//! emptied and replaced.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod a_server_goes_away;
mod a_weaker_server_is_refused;
mod another_log_is_noticed;
mod failover;
mod memory_runs_full;
mod nodes_share_a_server;
mod operations_share_a_batch;
mod sessions_and_their_indexes_agree;
mod support;
mod the_way_there_can_be_encrypted;

use adieu_conformance::suite;

suite!(conformance: support::OnServer, log, sessions, keys, restore, membership);
