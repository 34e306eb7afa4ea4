//! The promises that ARCHITECTURE.md lists, each in a file named after it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

mod a_mark_survives_a_power_failure;
mod a_removed_key_is_a_revocation;
mod a_restored_backup_is_noticed;
mod every_path_asks_the_same_evaluator;
mod keys_are_published_before_they_sign;
mod keys_of_a_store;
mod logout_ends_the_whole_session;
mod logout_is_durable;
mod logout_is_immediate;
mod nothing_un_revokes;
mod refresh_reuse_ends_the_session;
mod revocations_are_kept_long_enough;
mod staleness_is_bounded;
mod support;
mod what_was_told_is_durable;
