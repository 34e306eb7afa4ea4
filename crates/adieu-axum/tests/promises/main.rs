//! The promises to applications, each in its own file.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;
#[path = "../../../../tests/verdicts.rs"]
#[expect(dead_code, reason = "shared with the tests of other crates")]
mod verdicts;

mod a_browser_is_never_stuck;
mod a_handler_that_takes_a_token_is_protected;
mod a_layer_protects_a_whole_router;
mod a_renewed_cookie_can_not_undo_a_logout;
mod a_request_is_judged_when_its_body_has_come;
mod an_application_has_its_own_users_and_claims;
mod an_application_logs_in_and_out_without_the_server;
mod an_application_tests_its_own_handlers;
mod another_site_can_not_act_with_a_cookie;
mod in_a_real_browser;
mod one_verdict_per_token;
mod refresh_tokens_are_judged_by_the_store;
mod refusals_are_answered_as_the_application_likes;
mod the_first_page_is_a_whole_application;
mod tokens_are_found_where_the_guard_looks;
mod what_goes_on_after_a_logout_can_be_ended;
