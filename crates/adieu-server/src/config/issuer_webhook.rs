//! Settings of the webhooks that a trusted issuer sends.

use std::path::PathBuf;

use adieu_events::{JsonPointer, WebhookTarget};
use serde::{
    Deserialize,
    de::{self, Deserializer},
};

use crate::client_name::ClientName;

/// The webhooks that a trusted issuer sends.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssuerWebhook {
    /// The name in the path of the endpoint, `/webhooks/{name}`.
    pub name: String,
    /// The provider, which says how messages are signed and what their events end. Not set: they are signed as in Standard Webhooks.
    #[serde(default)]
    pub preset: Option<WebhookPreset>,
    /// The file with the secrets that messages are signed with, one a line.
    #[serde(default)]
    pub secret_file: Option<PathBuf>,
    /// Where the name of the event is in a message.
    #[serde(default, deserialize_with = "pointer")]
    pub event_pointer: Option<JsonPointer>,
    /// Where the time of the event is in a message.
    #[serde(default, deserialize_with = "pointer")]
    pub time_pointer: Option<JsonPointer>,
    /// What events end, in place of what the preset says.
    #[serde(default, deserialize_with = "targets")]
    pub targets: Vec<WebhookTarget>,
}

/// A provider whose webhooks are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WebhookPreset {
    /// Clerk.
    Clerk,
    /// WorkOS.
    WorkOs,
    /// Hanko.
    Hanko,
}

impl IssuerWebhook {
    /// Returns the error in these settings, if there is one.
    pub(super) fn contradiction(&self) -> Option<&'static str> {
        if ClientName::new(&self.name).is_err() {
            return Some("the name of webhook must have 1 to 64 letters, digits, `.`, `_` and `-`");
        }
        if self.is_signed_by_issuer() == self.secret_file.is_some() {
            return Some("webhook needs secret_file; only those of Hanko are signed with the keys of the issuer");
        }
        if self.preset.is_none() && self.targets.is_empty() {
            return Some("webhook needs preset or targets");
        }
        if self.targets.iter().any(|target| target.session.is_none() && target.subject.is_none()) {
            return Some("a target of webhook needs session or subject");
        }
        None
    }

    /// Returns whether messages have a token of the issuer, and so an audience.
    pub(super) fn is_signed_by_issuer(&self) -> bool {
        self.preset == Some(WebhookPreset::Hanko)
    }
}

fn pointer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<JsonPointer>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| JsonPointer::new(&text).map_err(|error| de::Error::custom(format_args!("{text:?} is {error}"))))
        .transpose()
}

fn targets<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<WebhookTarget>, D::Error> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Target {
        event: String,
        #[serde(default, deserialize_with = "pointer")]
        session: Option<JsonPointer>,
        #[serde(default, deserialize_with = "pointer")]
        subject: Option<JsonPointer>,
    }
    let targets = Vec::<Target>::deserialize(deserializer)?;
    Ok(targets
        .into_iter()
        .map(|Target { event, session, subject }| WebhookTarget { event, session, subject })
        .collect())
}
