//! `adieu user`

mod import;
mod list;

use std::{process::ExitCode, time::Duration};

use adieu::time::{Clock as _, SystemClock};
use anyhow::anyhow;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{
    on_store::{OnStore, audited, find, open, open_to_read, plain},
    output::{Output, Reader, Table, written},
    prompt::{PasswordSource, confirm, phrase},
};
use crate::{
    accounts::{
        Account, Invite, LastAdmin, MAX_INVITE_VALID_FOR, MAX_INVITES, NextLogin, RESET_VALID_FOR, Role, Whose,
    },
    audit::{Entry, Event},
    config::parse_duration,
    error::ApiError,
    node::Node,
    text::Username,
};

/// Accounts that are read at once.
const PAGE: usize = 500;

pub(super) type Arguments = OnStore<Command>;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Add a user; creates the store if there is none
    Add {
        /// The name for logging in
        #[arg(allow_hyphen_values = true)]
        name: String,
        /// Add an administrator
        #[arg(long)]
        admin: bool,
        #[command(flatten)]
        password: PasswordSource,
    },
    /// List the users who meet every condition, oldest first
    List(list::Conditions),
    /// Write the users who meet every condition, oldest first, for other programs and for `adieu user import`
    Export(list::Export),
    /// Disable a user, and end the user's sessions
    Disable(Who),
    /// Enable a disabled user
    Enable(Who),
    /// Make a user an administrator
    Promote(Who),
    /// Make an administrator an ordinary user, and end the user's sessions
    Demote(Who),
    /// Require that a user changes the password before the next login
    RequirePasswordChange(Who),
    /// Print a token with which a user sets a new password, once and within an hour, by `POST /password/reset`
    ResetToken(Who),
    /// Print a code with which someone registers once, by `POST /register`, if `registration` is "invite"
    Invite {
        /// How long it is valid, at most 90d
        #[arg(long, value_name = "DURATION", default_value = "7d", value_parser = parse_duration)]
        expires: Duration,
    },
    /// List the invitations that are valid, oldest first
    Invites,
    /// Revoke an invitation
    RevokeInvite {
        /// The id of the invitation
        #[arg(allow_hyphen_values = true)]
        id: String,
    },
    /// Delete a user, and end the user's sessions
    Delete {
        #[command(flatten)]
        who: Who,
        /// Skip the confirmation
        #[arg(long)]
        yes: bool,
    },
    /// Set a new password for a user, and end the user's sessions
    Passwd {
        #[command(flatten)]
        who: Who,
        #[command(flatten)]
        password: PasswordSource,
        /// Require that the user changes it before the next login
        #[arg(long)]
        must_change: bool,
    },
    /// Add users with their password hashes from other software
    ///
    /// Each line is one user: a JSON object, or comma-separated values with a header line. `username` and
    /// `password_hash` (or `password`, or `hash`) are required: a hash of argon2, bcrypt, PBKDF2 or scrypt as Werkzeug,
    /// Django and passlib write it, never a password. `is_admin`, `disabled` and `must_change_password` are optional; other
    /// fields are ignored.
    /// Exports of Django, Keycloak, Firebase and Auth0 are read as they are; see --format.
    ///
    /// Every row is checked first. If one is invalid, or its name is taken, it is reported by its line and no user is
    /// added; the exit status is then 1. Users without a password are skipped.
    Import(import::Arguments),
}

#[derive(Debug, Args)]
pub(super) struct Who {
    /// The name or id of the user
    #[arg(value_name = "NAME|ID", allow_hyphen_values = true)]
    user: String,
}

impl Arguments {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let settings = self.common.settings()?;
        let mut output = self.common.output();
        match self.command {
            Command::Import(arguments) => return arguments.run(&settings, output).await,
            Command::List(conditions) => {
                conditions.list(&*open_to_read(&settings).await?.accounts(), &mut output).await?;
            }
            Command::Export(export) => export.run(&*open_to_read(&settings).await?.accounts(), &mut output).await?,
            Command::Add { name, admin, password } => {
                audited(&settings)?;
                let username =
                    Username::chosen(&name).map_err(|refusal| anyhow!("the name is refused: {}", phrase(&refusal)))?;
                let password = password.read(&settings)?;
                let role = if admin { Role::Admin } else { Role::User };
                let node = Node::open_for_command(&settings).await?;
                let account =
                    node.accounts.add(username, &password, role, None).await.map_err(|error| match error {
                        ApiError::Conflict(_) => anyhow!("a user with the name {name} already exists"),
                        other => other.into(),
                    })?;
                Entry::of(&account.id).record(Event::AccountAdded, None).await;
                let what = if admin { "administrator" } else { "user" };
                output.result(&format!("added the {what} {name} ({})", account.id), &object(&account))?;
            }
            Command::Disable(who) => {
                let (node, account) = who.find(&settings).await?;
                let disabled = node.accounts.disable(&account.id, LastAdmin::MayGo).await;
                disabled.map_err(|error| plain(error, &account))?;
                Entry::of(&account.id).record(Event::AccountDisabled, None).await;
                done("disabled", &account, &mut output)?;
            }
            Command::Enable(who) => {
                let (node, account) = who.find(&settings).await?;
                node.accounts.enable(&account.id).await.map_err(|error| plain(error, &account))?;
                Entry::of(&account.id).record(Event::AccountEnabled, None).await;
                done("enabled", &account, &mut output)?;
            }
            Command::Promote(who) => {
                let (node, account) = who.find(&settings).await?;
                node.accounts.promote(&account.id).await.map_err(|error| plain(error, &account))?;
                Entry::of(&account.id).record(Event::AccountPromoted, None).await;
                done("promoted", &account, &mut output)?;
            }
            Command::Demote(who) => {
                let (node, account) = who.find(&settings).await?;
                let demoted = node.accounts.demote(&account.id, LastAdmin::MayGo).await;
                demoted.map_err(|error| plain(error, &account))?;
                Entry::of(&account.id).record(Event::AccountDemoted, None).await;
                done("demoted", &account, &mut output)?;
            }
            Command::RequirePasswordChange(who) => {
                let (node, account) = who.find(&settings).await?;
                let required = node.accounts.require_password_change(&account.id).await;
                required.map_err(|error| plain(error, &account))?;
                Entry::of(&account.id).record(Event::PasswordChangeRequired, None).await;
                done("required a new password of", &account, &mut output)?;
            }
            Command::ResetToken(who) => {
                let (node, account) = who.find(&settings).await?;
                anyhow::ensure!(!account.is_disabled, "the user {} is disabled", account.username);
                let token = node
                    .accounts
                    .issue_reset(&account.id, Whose::Anyone)
                    .await
                    .map_err(|error| plain(error, &account))?;
                Entry::of(&account.id).record(Event::ResetIssued, None).await;
                let object = json!({ "id": account.id, "reset_token": token, "expires_in": RESET_VALID_FOR.as_secs() });
                output.result(&token, &object)?;
            }
            Command::Invite { expires } => {
                let allowed = Duration::from_secs(1)..=MAX_INVITE_VALID_FOR;
                anyhow::ensure!(allowed.contains(&expires), "--expires must be between 1s and 90d");
                audited(&settings)?;
                let (invite, code) =
                    open(&settings).await?.accounts.invite(expires).await.map_err(|error| match error {
                        ApiError::Conflict(message) => anyhow!("{}", message.trim_end_matches('.')),
                        other => other.into(),
                    })?;
                Entry::of_invite(&invite.id).record(Event::InviteIssued, None).await;
                let object = json!({ "id": invite.id, "invite_code": code, "expires_at": invite.expires_at });
                output.result(&code, &object)?;
            }
            Command::Invites => {
                let accounts = open_to_read(&settings).await?.accounts();
                let invites = accounts.invites(SystemClock.now(), MAX_INVITES).await?;
                let mut table = Table::new(["ID", "CREATED", "EXPIRES"]);
                for Invite { id, created_at, expires_at, .. } in invites {
                    match output.reader() {
                        Reader::Machine => {
                            output.object(&json!({ "id": id, "created_at": created_at, "expires_at": expires_at }))?;
                        }
                        Reader::Person => table.row(&mut output, [id, written(created_at), written(expires_at)])?,
                    }
                }
                if output.reader() == Reader::Person {
                    table.print(&mut output)?;
                }
            }
            Command::RevokeInvite { id } => {
                audited(&settings)?;
                open(&settings).await?.accounts.revoke_invite(&id).await.map_err(|error| match error {
                    ApiError::NotFound => anyhow!("there is no invitation {id}"),
                    other => other.into(),
                })?;
                Entry::of_invite(&id).record(Event::InviteRevoked, None).await;
                output.result(&format!("revoked the invitation {id}"), &json!({ "id": id, "done": "revoked" }))?;
            }
            Command::Delete { who, yes } => {
                let (node, account) = who.find(&settings).await?;
                confirm(&format!("delete the user {} ({})", account.username, account.id), yes)?;
                let deleted = node.accounts.delete(&account.id, LastAdmin::MayGo).await;
                deleted.map_err(|error| plain(error, &account))?;
                Entry::of(&account.id).record(Event::AccountDeleted, None).await;
                done("deleted", &account, &mut output)?;
            }
            Command::Passwd { who, password, must_change } => {
                let (node, account) = who.find(&settings).await?;
                let password = password.read(&settings)?;
                let next = if must_change { NextLogin::NeedsNewPassword } else { NextLogin::Allowed };
                let changed = node.accounts.set_password(&account.id, &password, next).await;
                changed.map_err(|error| plain(error, &account))?;
                Entry::of(&account.id).record(Event::PasswordChanged, None).await;
                done("changed the password of", &account, &mut output)?;
            }
        }
        output.finish()?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Who {
    /// Returns the account to change.
    async fn find(&self, settings: &crate::config::Settings) -> anyhow::Result<(Node, Account)> {
        audited(settings)?;
        let node = open(settings).await?;
        let account = find(node.accounts.store(), &self.user).await?;
        Ok((node, account))
    }
}

fn done(what: &str, account: &Account, output: &mut Output) -> anyhow::Result<()> {
    let sentence = format!("{what} {} ({})", account.username, account.id);
    output.result(&sentence, &json!({ "id": account.id, "username": account.username.as_str(), "done": what }))
}

/// Returns the JSON object of an account, without its password.
fn object(account: &Account) -> Value {
    json!({
        "id": account.id,
        "username": account.username.as_str(),
        "is_admin": account.is_admin,
        "is_disabled": account.is_disabled,
        "created_at": account.created_at,
        "last_login_at": account.last_login_at,
        "must_change_password": account.must_change_password,
    })
}
