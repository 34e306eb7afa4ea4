//! What an auditor wants to know: who came and went, who could not come in, and who changed what of whom.
//!
//! 1. Each is one line of the log, at [`AUDIT_LOG_TARGET`], once it is done and durable. Its `event` is one of
//!    [`Event`]'s names; the other fields are ids and an address. With the setting `audit_log` it is a line of that file as well,
//!    and there alone when it was done on the command line ([`Trail`]).
//! 2. No token, password or name is in it. A name that nobody has might be a password in the wrong field, so a failed
//!    login is written with the id of its account, or with none.
//!
//! What the core finds out it writes at the same target: that a refresh token was used again (`refresh_reused`), that a backup
//! was put back and that this was accepted (`backup_put_back`, `restore_accepted`), and what becomes of the signing keys
//! (`key_added`, `key_removed`, and `key_signs` when one begins to sign). Clients and keys are added and removed on the command
//! line alone: a server writes that down too when it finds out, clients within a second, keys within `max_staleness`.

mod trail;

use std::net::IpAddr;

use adieu::{Issuer, SessionId, Subject, TokenId, session::Scope, token::Claims};
use tracing::field;

pub use trail::{Trail, Via, durable};

use crate::client_name::ClientName;

/// The target of these lines.
pub const AUDIT_LOG_TARGET: &str = "adieu::audit";

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A user logged in.
    Login,
    /// A login failed, or a wrong password was given for a password change.
    LoginFailed,
    /// A token was used to log out.
    Logout,
    /// A user changed its password.
    PasswordChanged,
    /// There is a new user.
    AccountAdded,
    /// A user can't log in any more.
    AccountDisabled,
    /// A user can log in again.
    AccountEnabled,
    /// A user is gone.
    AccountDeleted,
    /// Sessions were ended by their ids or their user, not with a token of theirs.
    SessionsEnded,
    /// An administrator or a client revoked something.
    Revoked,
    /// There is a new client.
    ClientAdded,
    /// What a client may revoke has changed.
    ClientChanged,
    /// A client is gone, and cut off.
    ClientRemoved,
    /// There is a new signing key.
    KeyAdded,
    /// What a signing key has signed is refused.
    KeyRemoved,
    /// That a backup was put back is known, and told no more.
    RestoreAccepted,
    /// Everything of a store is in another as well.
    StoreCopied,
}

impl Event {
    /// The name in the log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::LoginFailed => "login_failed",
            Self::Logout => "logout",
            Self::PasswordChanged => "password_changed",
            Self::AccountAdded => "account_added",
            Self::AccountDisabled => "account_disabled",
            Self::AccountEnabled => "account_enabled",
            Self::AccountDeleted => "account_deleted",
            Self::SessionsEnded => "sessions_ended",
            Self::Revoked => "revoked",
            Self::ClientAdded => "client_added",
            Self::ClientChanged => "client_changed",
            Self::ClientRemoved => "client_removed",
            Self::KeyAdded => "key_added",
            Self::KeyRemoved => "key_removed",
            Self::RestoreAccepted => "restore_accepted",
            Self::StoreCopied => "store_copied",
        }
    }
}

/// One line, as far as it is known.
#[derive(Debug, Clone, Default)]
pub struct Entry {
    /// Whom it happened to.
    pub subject: Option<Subject>,
    /// The session that it happened to, or that it was done with when it is the user's own doing.
    pub session: Option<SessionId>,
    /// The token that it happened to.
    pub token_id: Option<TokenId>,
    /// Who did it, when that is not plain.
    pub by: Option<Subject>,
    /// The client that did it, or that it happened to.
    pub client: Option<ClientName>,
    /// The id of the signing key that it happened to.
    pub key: Option<String>,
    /// The store that was copied, and the one that it was copied into; without passwords.
    pub copied: Option<(String, String)>,
    /// Who issued what it happened to, whenever that is another than this server: the same id means somebody else there.
    pub issuer: Option<Issuer>,
    /// How far it went: the scope of a logout, or what was revoked.
    pub scope: Option<&'static str>,
    /// How many sessions ended by it.
    pub sessions_ended: Option<usize>,
}

impl Entry {
    /// Of a subject.
    #[must_use]
    pub fn of(subject: &Subject) -> Self {
        Self { subject: Some(subject.clone()), ..Self::default() }
    }

    /// Of the subject, session and issuer of a token with these claims. The issuer is left out if it is this server.
    #[must_use]
    pub fn of_claims(claims: &Claims, own: &Issuer) -> Self {
        Self {
            subject: Some(claims.subject.clone()),
            session: claims.session.clone(),
            token_id: Some(claims.token_id.clone()),
            issuer: Some(&claims.issuer).filter(|issuer| *issuer != own).cloned(),
            ..Self::default()
        }
    }

    /// Writes it down, with where it was done from, if that is known, and returns when it is durable.
    pub async fn record(&self, event: Event, address: impl Into<Option<IpAddr>>) {
        self.note(event, address);
        durable().await;
    }

    /// Like [`Entry::record`], but returns before it is durable: for several lines in a row, and for what nobody waits for.
    pub fn note(&self, event: Event, address: impl Into<Option<IpAddr>>) {
        tracing::info!(
            target: AUDIT_LOG_TARGET,
            event = event.as_str(),
            subject = self.subject.as_ref().map(field::display),
            session = self.session.as_ref().map(field::display),
            token_id = self.token_id.as_ref().map(field::display),
            by = self.by.as_ref().map(field::display),
            client = self.client.as_ref().map(field::display),
            key = self.key,
            from = self.copied.as_ref().map(|(from, _)| field::display(from)),
            to = self.copied.as_ref().map(|(_, to)| field::display(to)),
            issuer = self.issuer.as_ref().map(field::display),
            scope = self.scope,
            sessions_ended = self.sessions_ended,
            address = address.into().map(field::display),
        );
    }
}

/// The name of a scope in the log, which is that in the query.
#[must_use]
pub const fn scope_name(scope: Scope) -> &'static str {
    match scope {
        Scope::This => "this",
        Scope::Others => "others",
        Scope::All => "all",
    }
}
