//! Commands work on the store of a server, also while the server runs, and report results to people and to programs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

mod aliases;
mod audit_trail;
mod backup;
mod clients;
mod doctor;
mod health;
mod import;
mod keys_and_completions;
mod keys_while_servers_run;
mod log;
mod older_stores;
mod on_a_terminal;
mod printing;
mod revocations_by_key_and_claim;
mod sessions;
mod store_check;
mod store_copy;
mod stream;
mod support;
mod tokens;
mod usage;
mod users;
mod while_a_node_runs;
