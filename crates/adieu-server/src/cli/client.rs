//! `adieu client`

use std::{process::ExitCode, str::FromStr, time::Duration};

use adieu::time::{Clock as _, SystemClock};
use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{
    on_store::{OnStore, audited, open_stores, open_to_read, require_unless},
    output::{Output, Reader, Table, written},
};
use crate::{
    audit::Operator,
    client_changes,
    clients::{BackchannelLogout, Capability, Client, ClientName, Limits, Secret, parse_horizon},
    config::{Rate, Settings, written_duration},
    deliveries::check_backchannel_logout,
    store::Stores,
};

pub(super) type Arguments = OnStore<Command>;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Add a client and print its secret, which is never shown again
    Add {
        /// The name of the client: letters, digits, `.`, `_` and `-`
        #[arg(allow_hyphen_values = true)]
        name: ClientName,
        /// The actions that the client may use, comma-separated: follow the feed, revoke, introspect tokens, introspect access tokens only, or
        /// issue tokens that reset the passwords of users who are no administrators
        #[arg(
            long,
            required_unless_present = "backchannel_logout_uri",
            value_delimiter = ',',
            value_name = "follow,revoke,introspect,introspect-access,reset-password"
        )]
        capabilities: Vec<Capability>,
        #[command(flatten)]
        limits: OwnLimits,
        /// The URL that gets a logout token whenever a session or a user is logged out (OpenID Connect Back-Channel Logout 1.0)
        #[arg(long, value_name = "URL")]
        backchannel_logout_uri: Option<String>,
        /// Allow a URL with a private address, and HTTP without TLS
        #[arg(long, requires = "backchannel_logout_uri")]
        allow_private: bool,
        /// Create the store if there is none
        #[arg(long)]
        create: bool,
    },
    /// Change the capabilities or the limits of a client; running servers apply them within a second
    Change {
        /// Its name
        #[arg(allow_hyphen_values = true)]
        name: ClientName,
        /// The actions that the client may use from now on, comma-separated; without `revoke`, it has no limits either
        #[arg(long, value_delimiter = ',', value_name = "follow,revoke,introspect,introspect-access,reset-password")]
        capabilities: Vec<Capability>,
        #[command(flatten)]
        limits: OwnLimits,
    },
    /// Give a client a new secret and print it; running servers reject the old one within a second
    RotateSecret {
        /// Its name
        #[arg(allow_hyphen_values = true)]
        name: ClientName,
    },
    /// List the clients, without their secrets
    List,
    /// Remove a client; running servers reject it within a second
    Remove {
        /// Its name
        #[arg(allow_hyphen_values = true)]
        name: ClientName,
    },
}

/// The limits of a client, where they differ from the settings.
#[derive(Debug, Args)]
pub(super) struct OwnLimits {
    /// The number of revocations that the client may append at each node, such as "500 per 1m"; "default" uses the settings
    #[arg(long, value_name = "RATE|default", value_parser = own::<Rate>)]
    revocation_quota: Option<Own<Rate>>,
    /// The maximum time for which its revocations are kept, such as "1d"; "default" uses the settings
    #[arg(long, value_name = "DURATION|default", value_parser = own::<Horizon>)]
    revocation_horizon: Option<Own<Horizon>>,
}

/// A limit of the client's own, or the one from the settings.
#[derive(Debug, Clone, Copy)]
struct Own<T>(Option<T>);

fn own<T: FromStr<Err = String>>(text: &str) -> Result<Own<T>, String> {
    if text == "default" { Ok(Own(None)) } else { text.parse().map(|own| Own(Some(own))) }
}

/// A valid horizon of a client.
#[derive(Debug, Clone, Copy)]
struct Horizon(Duration);

impl FromStr for Horizon {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse_horizon(text).map(Self)
    }
}

impl OwnLimits {
    /// Returns `limits` with these in place of them where they are set.
    fn instead_of(&self, limits: Limits) -> Limits {
        Limits {
            quota: self.revocation_quota.map_or(limits.quota, |Own(quota)| quota),
            horizon: self.revocation_horizon.map_or(limits.horizon, |Own(horizon)| horizon.map(|Horizon(own)| own)),
        }
    }
}

impl Arguments {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let settings = self.common.settings()?;
        let mut output = self.common.output();
        match self.command {
            Command::Add { name, capabilities, limits, backchannel_logout_uri, allow_private, create } => {
                audited(&settings)?;
                let (mut client, secret) = Client::new(name.clone(), &capabilities, SystemClock.now())?;
                client.limits = limits.instead_of(client.limits);
                client.backchannel_logout = backchannel_logout_uri.map(|uri| BackchannelLogout { uri, allow_private });
                if let Some(to) = &client.backchannel_logout {
                    check_backchannel_logout(to).context("--backchannel-logout-uri")?;
                }
                require_unless(create, &settings).await?;
                client_changes::add(&Stores::open(&settings).await?, &client, Operator::default()).await?;
                let sentence = format!("added the client {name}, which {}; its secret:", gets(&client));
                with_secret(&mut output, &sentence, object(&client, &settings), &secret)?;
            }
            Command::List => {
                let mut table =
                    Table::new(["NAME", "CAPABILITIES", "QUOTA", "HORIZON", "CREATED", "BACK-CHANNEL LOGOUT"]);
                for client in open_to_read(&settings).await?.clients().clients().await? {
                    match output.reader() {
                        Reader::Machine => output.object(&object(&client, &settings))?,
                        Reader::Person => {
                            let (quota, horizon) = match client.can(Capability::Revoke) {
                                true => {
                                    let (quota, horizon) = client.limits.or_else(&settings);
                                    (quota.to_string(), written_duration(horizon))
                                }
                                false => (String::new(), String::new()),
                            };
                            let (name, created_at) = (client.name.to_string(), written(client.created_at));
                            let uri = client.backchannel_logout.as_ref().map(|to| to.uri.clone()).unwrap_or_default();
                            let row = [name, what(&client), quota, horizon, created_at, uri];
                            table.row(&mut output, row)?;
                        }
                    }
                }
                if output.reader() == Reader::Person {
                    table.print(&mut output)?;
                }
            }
            Command::Change { name, capabilities, limits } => {
                audited(&settings)?;
                let stores = open_stores(&settings).await?;
                let edit = |client: &mut Client| {
                    if !capabilities.is_empty() {
                        client.can = Capability::ordered(&capabilities);
                    }
                    let before = if client.can(Capability::Revoke) { client.limits } else { Limits::default() };
                    client.limits = limits.instead_of(before);
                };
                let client = client_changes::change(&stores, &name, edit, Operator::default()).await?;
                let mut sentence = format!("the client {name} {}", gets(&client));
                if client.can(Capability::Revoke) {
                    let (quota, horizon) = client.limits.or_else(&settings);
                    let horizon = written_duration(horizon);
                    sentence.push_str(&format!("; it may append {quota} revocations, kept for {horizon} at most"));
                }
                output.result(&sentence, &object(&client, &settings))?;
            }
            Command::RotateSecret { name } => {
                audited(&settings)?;
                let stores = open_stores(&settings).await?;
                let secret = client_changes::rotate_secret(&stores, &name, Operator::default()).await?;
                let object = json!({ "name": name.as_str(), "done": "rotated" });
                with_secret(&mut output, &format!("the new secret of the client {name}:"), object, &secret)?;
            }
            Command::Remove { name } => {
                audited(&settings)?;
                client_changes::remove(&open_stores(&settings).await?, &name, Operator::default()).await?;
                output.result(
                    &format!("removed the client {name}"),
                    &json!({ "name": name.as_str(), "done": "removed" }),
                )?;
            }
        }
        output.finish()?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Prints a result with the secret of a client.
fn with_secret(output: &mut Output, sentence: &str, mut object: Value, secret: &Secret) -> anyhow::Result<()> {
    if let Some(fields) = object.as_object_mut() {
        fields.insert("secret".to_owned(), secret.expose().into());
    }
    output.result(sentence, &object)?;
    if output.reader() == Reader::Person {
        output.text(&format!("{}\n", secret.expose()))?;
    }
    Ok(())
}

/// Says what a client can do and gets.
fn gets(client: &Client) -> String {
    let mut gets = Vec::new();
    if !client.can.is_empty() {
        gets.push(format!("can {}", what(client)));
    }
    if client.backchannel_logout.is_some() {
        gets.push("gets logout tokens".to_owned());
    }
    gets.join(" and ")
}

fn what(client: &Client) -> String {
    client.can.iter().map(|capability| capability.as_str()).collect::<Vec<_>>().join(", ")
}

/// Returns the JSON object of a client, without its secret.
fn object(client: &Client, settings: &Settings) -> Value {
    let capabilities: Vec<_> = client.can.iter().map(|capability| capability.as_str()).collect();
    let (quota, horizon) = client.limits.or_else(settings);
    let (period, horizon) = (quota.per.as_secs(), horizon.as_secs());
    let revocations = json!({ "quota": quota.burst, "quota_period_seconds": period, "horizon_seconds": horizon });
    let mut object =
        json!({ "name": client.name.as_str(), "capabilities": capabilities, "created_at": client.created_at });
    if let Some(fields) = object.as_object_mut().filter(|_| client.can(Capability::Revoke)) {
        fields.insert("revocations".to_owned(), revocations);
    }
    if let (Some(fields), Some(to)) = (object.as_object_mut(), &client.backchannel_logout) {
        fields.insert("backchannel_logout_uri".to_owned(), to.uri.as_str().into());
        fields.insert("allow_private".to_owned(), to.allow_private.into());
    }
    object
}
