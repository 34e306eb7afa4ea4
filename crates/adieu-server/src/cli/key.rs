//! `adieu key`

use std::{process::ExitCode, time::Duration};

use adieu::{
    session::retained_until,
    time::{Clock as _, SystemClock, Timestamp},
    token::{Algorithm, DEFAULT_PUBLICATION_DELAY, StoredKey, active_key_at},
};
use anyhow::bail;
use clap::Subcommand;
use serde_json::json;

use super::{
    on_store::{OnStore, audited, open, open_stores, open_to_read},
    output::{Output, Reader, Table, written},
};
use crate::{
    config::{Settings, parse_duration, written_duration},
    keys,
};

pub(super) type Arguments = OnStore<Command>;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the keys in the order in which they sign, without their private parts
    List,
    /// Create a key, which is published now and signs later; the old key is kept until the tokens that it has signed
    /// have expired
    Rotate {
        /// The signature algorithm [default: that of the last key]
        #[arg(long, value_parser = publishable)]
        algorithm: Option<Algorithm>,
        /// The time until it starts to sign, such as 1h: services that read /.well-known/jwks.json reject its tokens
        /// until they have read the keys again, some minutes later [default: 1h]
        #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
        after: Option<Duration>,
    },
    /// Remove a key, such as a stolen one, and revoke all that it has signed and ever will: its tokens are rejected from now on, and
    /// another key signs in its place
    Remove {
        /// The id of the key: the `kid` of its tokens
        #[arg(allow_hyphen_values = true)]
        id: String,
    },
}

impl Arguments {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let settings = self.common.settings()?;
        if !matches!(self.command, Command::List) {
            audited(&settings)?;
        }
        let stores = match self.command {
            Command::List => open_to_read(&settings).await?,
            _ => open_stores(&settings).await?,
        };
        let store = stores.core();
        let now = SystemClock.now();
        let mut output = self.common.output();
        match self.command {
            Command::List => list(&store.keys().await?, now, &settings, &mut output)?,
            Command::Rotate { algorithm, after } => {
                let after = after.unwrap_or(DEFAULT_PUBLICATION_DELAY);
                let key = keys::rotate(&stores, algorithm, now, after, None).await?;
                let from = if after.is_zero() { "now".to_owned() } else { written(key.signs_from) };
                output.result(
                    &format!("made the key {} ({}): published now, it signs from {from} on", key.id, key.algorithm),
                    &json!({
                        "id": key.id,
                        "algorithm": key.algorithm.as_str(),
                        "created_at": key.created_at,
                        "signs_from": key.signs_from,
                    }),
                )?;
            }
            Command::Remove { id } => {
                let mut removed = None;
                // A store is opened as a node for a key that is there, and for no other.
                if store.keys().await?.iter().any(|key| key.id == id) {
                    let node = open(&settings).await?;
                    removed = keys::remove(&node, &id, now, None).await?;
                }
                let Some(removed) = removed else {
                    bail!("no key with the id {id}; `adieu key list` shows them");
                };
                let signs = active_key_at(&removed.keys, now).map(|key| key.id.clone());
                let in_its_place = match (&removed.successor, &signs) {
                    (Some(_), Some(signs)) => format!("; the new key {signs} signs from now on"),
                    _ => String::new(),
                };
                let bound = written_duration(settings.max_staleness);
                output.result(
                    &format!(
                        "removed the key {id}: every running node and every follower refuses what it has signed within {bound}, \
                         and services that only take the keys from /.well-known/jwks.json when they read them next{in_its_place}"
                    ),
                    &json!({ "removed": id, "successor": removed.successor.map(|key| key.id), "signs": signs }),
                )?;
            }
        }
        output.finish()?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Parses an algorithm with a public key: services could not be given a secret.
fn publishable(name: &str) -> Result<Algorithm, String> {
    match name.parse::<Algorithm>() {
        Ok(algorithm) if !algorithm.is_symmetric() => Ok(algorithm),
        _ => {
            let fit = Algorithm::ALL.into_iter().filter(|algorithm| !algorithm.is_symmetric());
            Err(format!("not one of {}", fit.map(Algorithm::as_str).collect::<Vec<_>>().join(", ")))
        }
    }
}

fn list(keys: &[StoredKey], now: Timestamp, settings: &Settings, output: &mut Output) -> anyhow::Result<()> {
    let mut table = Table::new(["ID", "ALGORITHM", "CREATED", "SIGNS", "KEPT UNTIL"]);
    let signing = active_key_at(keys, now).map(|key| key.id.as_str());
    let mut is_old = true;
    for key in keys {
        let signs = signing == Some(key.id.as_str());
        is_old &= !signs;
        let until = retained_until(keys, &key.id, settings.session_lifetime);
        match output.reader() {
            Reader::Machine => output.object(&json!({
                "id": key.id,
                "algorithm": key.algorithm.as_str(),
                "created_at": key.created_at,
                "signs": signs,
                "signs_from": key.signs_from,
                "kept_until": until,
            }))?,
            Reader::Person => {
                let signs = match (signs, is_old) {
                    (true, _) => "now".to_owned(),
                    (false, true) => "no more".to_owned(),
                    (false, false) => format!("from {}", written(key.signs_from)),
                };
                let until = until.map(written).unwrap_or_default();
                let algorithm = key.algorithm.as_str().to_owned();
                table.row(output, [key.id.clone(), algorithm, written(key.created_at), signs, until])?;
            }
        }
    }
    if output.reader() == Reader::Person {
        table.print(output)?;
    }
    Ok(())
}
