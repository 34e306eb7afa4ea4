//! The REST API over a real socket: the course's table to the letter, and the additions to it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod administration;
mod aliases;
mod audit;
mod backchannel_logout;
mod bad_input;
mod clients;
mod concurrent_changes;
mod console_clients;
mod console_pages;
mod console_token;
mod cookies;
mod documentation;
mod events_of_another_issuer;
mod every_path_asks_the_same_evaluator;
mod everywhere;
mod feed;
mod foreign_tokens;
mod global_token_revocation;
mod heads;
mod holes_are_closed;
mod identity_providers;
mod introspection;
mod limits;
mod logout;
mod newer_keys;
mod one_verdict_per_token;
mod other_origins;
mod page_in_a_browser;
mod pages;
mod passwords;
mod provider;
mod refusals;
mod revocations_by_key_and_claim;
mod revocations_by_services;
mod secrets_never_reach_the_disk;
mod security_events;
mod session_events;
mod sessions;
mod settings_have_effect;
mod standards;
mod store_that_can_not_write;
mod subject_claim;
mod support;
mod the_course;
mod token_sources;
#[path = "../../../../tests/verdicts.rs"]
#[expect(dead_code, reason = "shared with the tests of other crates")]
mod verdicts;
mod verify;
mod webhooks_of_providers;
mod what_can_be_seen;
mod withheld_bodies;
