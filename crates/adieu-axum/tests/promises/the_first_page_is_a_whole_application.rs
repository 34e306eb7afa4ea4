//! The first page of the documentation is an application of at most 40 lines; its doctest shows that it runs. The guide has a line for
//! each topic.

const PAGE: &str = include_str!("../../src/lib.rs");
const GUIDE: &str = include_str!("../../docs/coming-from-flask-jwt-extended.md");

#[test]
fn it_has_at_most_40_lines() {
    let code = PAGE.split("//! ```\n").nth(1).unwrap();
    let shown = code.lines().filter(|line| !line.starts_with("//! # ") && *line != "//! #").count();
    assert!((20..=40).contains(&shown), "{shown}");
    for step in ["/login", "/profile", "/logout", "Sqlite", "AccessToken"] {
        assert!(code.contains(step), "{step}");
    }
}

#[test]
fn the_guide_names_every_setting_and_every_callback() {
    let settings = [
        "TOKEN_LOCATION SECRET_KEY PRIVATE_KEY PUBLIC_KEY ALGORITHM DECODE_ALGORITHMS ACCESS_TOKEN_EXPIRES",
        "REFRESH_TOKEN_EXPIRES DECODE_LEEWAY ENCODE_ISSUER DECODE_ISSUER ENCODE_AUDIENCE DECODE_AUDIENCE ENCODE_NBF",
        "IDENTITY_CLAIM VERIFY_SUB ERROR_MESSAGE_KEY HEADER_NAME HEADER_TYPE QUERY_STRING_NAME",
        "QUERY_STRING_VALUE_PREFIX JSON_KEY REFRESH_JSON_KEY ACCESS_COOKIE_NAME REFRESH_COOKIE_NAME ACCESS_COOKIE_PATH",
        "REFRESH_COOKIE_PATH COOKIE_DOMAIN COOKIE_SAMESITE COOKIE_SECURE SESSION_COOKIE COOKIE_CSRF_PROTECT",
        "CSRF_IN_COOKIES CSRF_METHODS CSRF_CHECK_FORM ACCESS_CSRF_COOKIE_NAME REFRESH_CSRF_COOKIE_NAME",
        "ACCESS_CSRF_COOKIE_PATH REFRESH_CSRF_COOKIE_PATH ACCESS_CSRF_HEADER_NAME REFRESH_CSRF_HEADER_NAME",
        "ACCESS_CSRF_FIELD_NAME REFRESH_CSRF_FIELD_NAME",
    ];
    for setting in settings.iter().flat_map(|line| line.split(' ')) {
        assert!(GUIDE.contains(&format!("`JWT_{setting}`")), "{setting}");
    }
    let callbacks = [
        "token_in_blocklist additional_claims additional_headers user_identity user_lookup user_lookup_error",
        "token_verification token_verification_failed expired_token invalid_token revoked_token unauthorized",
        "needs_fresh_token encode_key decode_key",
    ];
    for callback in callbacks.iter().flat_map(|line| line.split(' ')) {
        assert!(GUIDE.contains(&format!("`{callback}_loader`")), "{callback}");
    }
}
