//! Audit events: logins and logouts, failed logins, events of other issuers, and changes to accounts, clients, aliases, streams of events, keys and
//! revocations.
//!
//! 1. Each event is one line of the log, at [`AUDIT_LOG_TARGET`], once the action is done and durable. Its `event` is
//!    one of [`Event`]'s names; the other fields are ids, an address, and the claim whose tokens were revoked. With the setting `audit_log`, it is also a
//!    line of that file; an event of the command line is in that file only ([`Trail`]).
//! 2. No event has a token, password or name. An unknown name might be a password in the wrong field, so a failed
//!    login is recorded with the id of its account, or without one.
//!
//! The core records its events at the same target: a reused refresh token (`refresh_reused`), a restored backup and
//! its acceptance (`restore_detected`, `restore_accepted`), and changes of the signing keys (`key_added`,
//! `key_removed`, and `key_activated` when a key starts to sign). Clients and keys are also changed on the command line and at other
//! servers of the store; a server records that when it detects the change, its own ones too: clients within a second, keys within
//! `max_staleness`.

mod search;
mod trail;

use std::net::IpAddr;

use adieu::{Issuer, SessionId, Subject, TokenId, revocation::RevokedClaim, session::Scope, token::Claims};
use tracing::field;

pub(crate) use search::{Search, Sought};
pub use trail::{Trail, Via, durable, failures};

use crate::client_name::ClientName;

/// The target of these lines.
pub const AUDIT_LOG_TARGET: &str = "adieu::audit";

/// The kind of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A user logged in.
    Login,
    /// A login failed, or a wrong password was given for a password change.
    LoginFailed,
    /// A token was used to log out.
    Logout,
    /// The password of a user was changed.
    PasswordChanged,
    /// A user was added.
    AccountAdded,
    /// A user must change its password before the next login.
    PasswordChangeRequired,
    /// A token that resets the password of a user was issued.
    ResetIssued,
    /// The password of a user was reset with a token.
    PasswordReset,
    /// An invitation to register was made.
    InviteIssued,
    /// An invitation was revoked.
    InviteRevoked,
    /// A user became an administrator.
    AccountPromoted,
    /// An administrator became an ordinary user.
    AccountDemoted,
    /// A user was disabled and can no longer log in.
    AccountDisabled,
    /// A user was enabled and can log in again.
    AccountEnabled,
    /// A user was deleted.
    AccountDeleted,
    /// Sessions were ended by their ids or their user, not with one of their tokens.
    SessionsEnded,
    /// An administrator or a client revoked something.
    Revoked,
    /// Another issuer sent an event that ends sessions, or should have.
    EventReceived,
    /// A client was added.
    ClientAdded,
    /// The capabilities or the limits of a client changed.
    ClientChanged,
    /// A client got a new secret, and the old one is rejected.
    ClientSecretChanged,
    /// A client was removed and is rejected.
    ClientRemoved,
    /// An alias of a user of a trusted issuer was added.
    AliasAdded,
    /// Aliases of users of a trusted issuer were removed.
    AliasesRemoved,
    /// A stream of events was created at a trusted issuer.
    StreamCreated,
    /// A stream of events was enabled again at a trusted issuer.
    StreamEnabled,
    /// A stream of events was deleted at a trusted issuer, whose events no longer arrive.
    StreamDeleted,
    /// A signing key was added.
    KeyAdded,
    /// A signing key was removed, and its tokens are rejected.
    KeyRemoved,
    /// A receiver of webhooks is sent everything again.
    DeliveriesReplayed,
    /// A message is not sent to a receiver of webhooks, which it has blocked.
    DeliverySkipped,
    /// The operator accepted that a backup was restored.
    RestoreAccepted,
    /// A backup of the store was written.
    StoreBackedUp,
    /// A backup was restored in the place of the store.
    StoreRestored,
    /// A store was copied into another.
    StoreCopied,
    /// Settings of the running server changed.
    SettingsReloaded,
}

impl Event {
    /// All kinds.
    pub const ALL: [Self; 36] = [
        Self::Login,
        Self::LoginFailed,
        Self::Logout,
        Self::PasswordChanged,
        Self::AccountAdded,
        Self::PasswordChangeRequired,
        Self::ResetIssued,
        Self::PasswordReset,
        Self::InviteIssued,
        Self::InviteRevoked,
        Self::AccountPromoted,
        Self::AccountDemoted,
        Self::AccountDisabled,
        Self::AccountEnabled,
        Self::AccountDeleted,
        Self::SessionsEnded,
        Self::Revoked,
        Self::EventReceived,
        Self::ClientAdded,
        Self::ClientChanged,
        Self::ClientSecretChanged,
        Self::ClientRemoved,
        Self::AliasAdded,
        Self::AliasesRemoved,
        Self::StreamCreated,
        Self::StreamEnabled,
        Self::StreamDeleted,
        Self::KeyAdded,
        Self::KeyRemoved,
        Self::DeliveriesReplayed,
        Self::DeliverySkipped,
        Self::RestoreAccepted,
        Self::StoreBackedUp,
        Self::StoreRestored,
        Self::StoreCopied,
        Self::SettingsReloaded,
    ];

    /// Returns the name in the log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::LoginFailed => "login_failed",
            Self::Logout => "logout",
            Self::PasswordChanged => "password_changed",
            Self::AccountAdded => "account_added",
            Self::PasswordChangeRequired => "password_change_required",
            Self::ResetIssued => "reset_issued",
            Self::PasswordReset => "password_reset",
            Self::InviteIssued => "invite_issued",
            Self::InviteRevoked => "invite_revoked",
            Self::AccountPromoted => "account_promoted",
            Self::AccountDemoted => "account_demoted",
            Self::AccountDisabled => "account_disabled",
            Self::AccountEnabled => "account_enabled",
            Self::AccountDeleted => "account_deleted",
            Self::SessionsEnded => "sessions_ended",
            Self::Revoked => "revoked",
            Self::EventReceived => "event_received",
            Self::ClientAdded => "client_added",
            Self::ClientChanged => "client_changed",
            Self::ClientSecretChanged => "client_secret_changed",
            Self::ClientRemoved => "client_removed",
            Self::AliasAdded => "alias_added",
            Self::AliasesRemoved => "aliases_removed",
            Self::StreamCreated => "stream_created",
            Self::StreamEnabled => "stream_enabled",
            Self::StreamDeleted => "stream_deleted",
            Self::KeyAdded => "key_added",
            Self::KeyRemoved => "key_removed",
            Self::DeliveriesReplayed => "deliveries_replayed",
            Self::DeliverySkipped => "delivery_skipped",
            Self::RestoreAccepted => "restore_accepted",
            Self::StoreBackedUp => "store_backed_up",
            Self::StoreRestored => "store_restored",
            Self::StoreCopied => "store_copied",
            Self::SettingsReloaded => "settings_reloaded",
        }
    }
}

/// The fields of an event. Unknown ones are empty.
#[derive(Debug, Clone, Default)]
pub struct Entry {
    /// The user concerned.
    pub subject: Option<Subject>,
    /// The session concerned, or the one that the user acted with.
    pub session: Option<SessionId>,
    /// The token concerned.
    pub token_id: Option<TokenId>,
    /// The user who acted, unless that is clear from the event.
    pub actor: Option<Subject>,
    /// The client that acted, or the client concerned.
    pub client: Option<ClientName>,
    /// The id of the invitation concerned, or that was used.
    pub invite: Option<String>,
    /// The receiver of webhooks concerned.
    pub receiver: Option<String>,
    /// The id of the message concerned.
    pub message_id: Option<String>,
    /// The id of the signing key concerned.
    pub key_id: Option<String>,
    /// The claim whose tokens were revoked.
    pub claim: Option<RevokedClaim>,
    /// The source and the target of a copy, without passwords.
    pub copied: Option<(String, String)>,
    /// The names of the settings that changed.
    pub settings: Option<String>,
    /// The issuer of the subject, session or token, if it is not this server: the same id is another user there.
    pub issuer: Option<Issuer>,
    /// The scope of a logout, the target of a revocation, or the format of an alias, never its value.
    pub scope: Option<&'static str>,
    /// The kind of an event of another issuer, and what followed from it.
    pub received: Option<(&'static str, &'static str)>,
    /// The number of sessions that ended.
    pub sessions_ended: Option<usize>,
}

impl Entry {
    /// Returns an entry for a subject.
    #[must_use]
    pub fn of(subject: &Subject) -> Self {
        Self { subject: Some(subject.clone()), ..Self::default() }
    }

    /// Returns an entry for an invitation.
    #[must_use]
    pub fn of_invite(id: &str) -> Self {
        Self { invite: Some(id.to_owned()), ..Self::default() }
    }

    /// Adds who did it, if that is another than the subject.
    #[must_use]
    pub fn by(self, actor: &Subject) -> Self {
        Self { actor: Some(actor.clone()), ..self }
    }

    /// Returns an entry with the subject, session and issuer of a token. The issuer is left out if it is this server.
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

    /// Records the event with the address it was requested from, if known, and returns when it is durable.
    pub async fn record(&self, event: Event, address: impl Into<Option<IpAddr>>) {
        self.note(event, address);
        durable().await;
    }

    /// Like [`Entry::record`], but returns before the event is durable: for several events in a row, and for those
    /// that no request waits for.
    pub fn note(&self, event: Event, address: impl Into<Option<IpAddr>>) {
        tracing::info!(
            target: AUDIT_LOG_TARGET,
            event = event.as_str(),
            subject = self.subject.as_ref().map(field::display),
            session = self.session.as_ref().map(field::display),
            token_id = self.token_id.as_ref().map(field::display),
            actor = self.actor.as_ref().map(field::display),
            client = self.client.as_ref().map(field::display),
            invite = self.invite,
            receiver = self.receiver,
            message_id = self.message_id,
            key_id = self.key_id,
            claim = self.claim.as_ref().map(|claim| field::display(claim.name())),
            claim_value = self.claim.as_ref().map(|claim| field::display(claim.value())),
            from = self.copied.as_ref().map(|(from, _)| field::display(from)),
            to = self.copied.as_ref().map(|(_, to)| field::display(to)),
            settings = self.settings,
            issuer = self.issuer.as_ref().map(field::display),
            scope = self.scope,
            kind = self.received.map(|(kind, _)| kind),
            outcome = self.received.map(|(_, outcome)| outcome),
            sessions_ended = self.sessions_ended,
            address = address.into().map(field::display),
        );
    }
}

/// Who changes something, and from where; both are unknown on the command line.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Operator<'o> {
    pub(crate) subject: Option<&'o Subject>,
    pub(crate) address: Option<IpAddr>,
}

impl Operator<'_> {
    /// Records what the operator did, and returns when it is durable.
    pub(crate) async fn record(self, event: Event, entry: Entry) {
        Entry { actor: self.subject.cloned(), ..entry }.record(event, self.address).await;
    }
}

/// Returns the name of a scope in the log, which equals its name in the query.
#[must_use]
pub const fn scope_name(scope: Scope) -> &'static str {
    match scope {
        Scope::This => "this",
        Scope::Others => "others",
        Scope::All => "all",
    }
}
