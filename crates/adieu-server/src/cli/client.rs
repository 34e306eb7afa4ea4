//! `adieu client`

use std::process::ExitCode;

use adieu::time::{Clock as _, SystemClock};
use anyhow::ensure;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{
    output::{Reader, Table, written},
    store::{Common, audited, look_into, require_unless},
};
use crate::{
    audit::{Entry, Event},
    clients::{Capability, Client, ClientName},
    config::{Settings, written_duration},
    store::Stores,
};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Add a client and print its secret, which is never shown again
    Add {
        /// What it calls itself: letters, digits, `.`, `_` and `-`
        name: ClientName,
        /// What it may do, with commas between: follow the feed of revocations, revoke, introspect tokens
        #[arg(long, required = true, value_delimiter = ',', value_name = "follow,revoke,introspect")]
        can: Vec<Capability>,
        /// Make the store if there is none
        #[arg(long)]
        create: bool,
    },
    /// List the clients, never their secrets
    List,
    /// Remove a client: running servers refuse it within a second
    Remove {
        /// Its name
        name: ClientName,
    },
}

impl Arguments {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let settings = self.common.settings()?;
        let mut output = self.common.output();
        match self.command {
            Command::Add { name, can, create } => {
                audited(&settings)?;
                let (client, secret) = Client::new(name.clone(), &can, SystemClock.now())?;
                require_unless(create, &settings)?;
                let added = Stores::open(&settings).await?.clients().add_client(client.clone()).await?;
                ensure!(added, "a client with the name {name} already exists");
                Entry { client: Some(name.clone()), ..Entry::default() }.record(Event::ClientAdded, None).await;
                let sentence = format!("added the client {name}, which can {}; its secret:", what(&client));
                let mut object = object(&client, &settings);
                if let Some(fields) = object.as_object_mut() {
                    fields.insert("secret".to_owned(), secret.expose().into());
                }
                output.result(&sentence, &object)?;
                if output.reader() == Reader::Person {
                    output.text(&format!("{}\n", secret.expose()))?;
                }
            }
            Command::List => {
                let mut table = Table::new(["NAME", "CAN", "REVOKES", "KEPT FOR", "CREATED"]);
                for client in look_into(&settings).await?.clients().clients().await? {
                    match output.reader() {
                        Reader::Machine => output.object(&object(&client, &settings))?,
                        Reader::Person => {
                            let (quota, horizon) = match client.can(Capability::Revoke) {
                                true => (
                                    settings.client_revocation_quota.to_string(),
                                    written_duration(settings.client_horizon()),
                                ),
                                false => (String::new(), String::new()),
                            };
                            let (name, created_at) = (client.name.to_string(), written(client.created_at));
                            let row = [name, what(&client), quota, horizon, created_at];
                            table.row(&mut output, row)?;
                        }
                    }
                }
                if output.reader() == Reader::Person {
                    table.print(&mut output)?;
                }
            }
            Command::Remove { name } => {
                audited(&settings)?;
                let removed = look_into(&settings).await?.clients().remove_client(&name).await?;
                ensure!(removed, "no client with the name {name}");
                Entry { client: Some(name.clone()), ..Entry::default() }.record(Event::ClientRemoved, None).await;
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

fn what(client: &Client) -> String {
    client.can.iter().map(|capability| capability.as_str()).collect::<Vec<_>>().join(", ")
}

/// A client for a machine, without its secret.
fn object(client: &Client, settings: &Settings) -> Value {
    let can: Vec<_> = client.can.iter().map(|capability| capability.as_str()).collect();
    let (quota, kept_for) = (settings.client_revocation_quota, settings.client_horizon().as_secs());
    let revocations = json!({ "at_once": quota.burst, "again_in": quota.per.as_secs(), "kept_for": kept_for });
    let mut object = json!({ "name": client.name.as_str(), "can": can, "created_at": client.created_at });
    if let Some(fields) = object.as_object_mut().filter(|_| client.can(Capability::Revoke)) {
        fields.insert("revocations".to_owned(), revocations);
    }
    object
}
