//! The revocations in the console.

use adieu::revocation::TargetKind;
use askama::Template;

use super::{Confirm, Frame, Section};
use crate::pages::{ConsoleMessages, Page};

/// What can be revoked on the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RevocationKind {
    /// A user of this server, by name or id: its sessions, and all tokens of the subject.
    User,
    Of(TargetKind),
}

impl RevocationKind {
    const ALL: [Self; 7] = [
        Self::User,
        Self::Of(TargetKind::Session),
        Self::Of(TargetKind::Token),
        Self::Of(TargetKind::Subject),
        Self::Of(TargetKind::Claim),
        Self::Of(TargetKind::Key),
        Self::Of(TargetKind::Everything),
    ];

    /// Returns the kind with this value.
    pub(crate) fn with_value(value: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.value() == value)
    }

    /// Returns whether it can be about tokens of a trusted issuer.
    pub(crate) const fn can_be_of_another_issuer(self) -> bool {
        !matches!(self, Self::User | Self::Of(TargetKind::Everything))
    }

    /// Returns its value in a query.
    pub(crate) const fn value(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Of(kind) => kind.name(),
        }
    }

    /// Returns its name.
    pub(crate) const fn name(self, c: &ConsoleMessages) -> &'static str {
        match self {
            Self::User => c.kind_user,
            Self::Of(TargetKind::Session) => c.kind_session,
            Self::Of(TargetKind::Token) => c.kind_token,
            Self::Of(TargetKind::Subject) => c.kind_subject,
            Self::Of(TargetKind::Claim) => c.kind_claim,
            Self::Of(TargetKind::Key) => c.kind_key,
            Self::Of(_) => c.kind_everything,
        }
    }
}

/// A revocation in force.
#[derive(Debug)]
pub(crate) struct RevocationRow {
    pub(crate) kind: RevocationKind,
    pub(crate) id: String,
    /// The issuer, if it is another than this server.
    pub(crate) issuer: Option<String>,
    pub(crate) issued_until: String,
    pub(crate) kept_until: String,
}

/// The revocations.
#[derive(Debug, Template)]
#[template(path = "console/revocations.html")]
pub(crate) struct RevocationsPage {
    pub(crate) page: Page,
    pub(crate) frame: Frame,
    pub(crate) confirm: Option<Confirm>,
    pub(crate) kind: RevocationKind,
    pub(crate) value: String,
    /// The issuers of the tokens: this server, and the trusted ones.
    pub(crate) issuers: Vec<String>,
    pub(crate) issuer: String,
    /// The names of the claims of the issuer that can be revoked.
    pub(crate) claims: String,
    pub(crate) find: String,
    pub(crate) rows: Vec<RevocationRow>,
    pub(crate) next: Option<String>,
}
