//! Settings of webhooks.

use std::path::PathBuf;

use serde::Deserialize;

use crate::client_name::ClientName;

/// A receiver of webhooks about revocations (Standard Webhooks).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// The name of the receiver, under which its progress is stored.
    pub name: String,
    /// The URL to send messages to.
    pub url: String,
    /// The file with the secret that messages are signed with, as `whsec_` and base64; with several, one a line, messages have a
    /// signature of each.
    pub secret_file: PathBuf,
    /// The types of messages to send; all of them by default.
    #[serde(default)]
    pub types: Vec<String>,
    /// Allows private, loopback and link-local addresses, and HTTP without TLS.
    #[serde(default)]
    pub allow_private: bool,
}

impl Webhook {
    /// Returns the error in these settings, if there is one.
    pub(super) fn contradiction(&self) -> Option<&'static str> {
        if ClientName::new(&self.name).is_err() {
            return Some("name must have 1 to 64 letters, digits, `.`, `_` and `-`");
        }
        None
    }
}
