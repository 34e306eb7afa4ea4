//! The API as its clients see it: every row of its tables of requests, over HTTP, against the binary.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod durable;
mod items;
mod server;
mod stores;
mod tags;
mod tokens;
mod users;

use serde_json::{Value, json};

use server::Answer;

fn revoked() -> Answer {
    (401, json!({ "description": "The token has been revoked.", "error": "token_revoked" }))
}

fn expired() -> Answer {
    (401, json!({ "message": "The token has expired.", "error": "token_expired" }))
}

fn invalid_token() -> Answer {
    (401, json!({ "message": "Signature verification failed.", "error": "invalid_token" }))
}

fn no_token() -> Answer {
    (401, json!({ "description": "Request does not contain an access token.", "error": "authorization_required" }))
}

fn not_fresh() -> Answer {
    (401, json!({ "description": "The token is not fresh.", "error": "fresh_token_required" }))
}

fn not_found() -> Answer {
    (404, json!({ "code": 404, "status": "Not Found" }))
}

fn admin_required() -> Answer {
    (401, json!({ "code": 401, "message": "Admin privilege required.", "status": "Unauthorized" }))
}

fn bad_request(message: &str) -> Answer {
    (400, json!({ "code": 400, "message": message, "status": "Bad Request" }))
}

fn invalid(fields: Value) -> Answer {
    (422, json!({ "code": 422, "errors": { "json": fields }, "status": "Unprocessable Entity" }))
}

fn message(status: u16, text: &str) -> Answer {
    (status, json!({ "message": text }))
}

const MISSING: &str = "Missing data for required field.";
