//! `adieu delivery`

use std::{process::ExitCode, time::Duration};

use adieu::{
    revocation::{Cursor, Position, RevocationLog},
    time::Timestamp,
};
use anyhow::{bail, ensure};
use clap::Subcommand;
use serde_json::json;

use super::{
    on_store::{OnStore, audited, open_stores, open_to_read},
    output::{Output, Reader, Table, written},
};
use crate::{
    audit::Operator,
    deliveries::{DeliveryState, Skipped, replay, skip},
    store::Stores,
};

const UNKNOWN: &str = "nothing was ever delivered to a receiver";

pub(super) type Arguments = OnStore<Command>;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the receivers of webhooks and logout tokens: what each has got, since when it fails and why, and which message blocks it
    List,
    /// Send a receiver everything that is revoked now, from the beginning of the log
    Replay {
        /// The name of the receiver, as in the settings; client:NAME for a client
        #[arg(allow_hyphen_values = true)]
        receiver: String,
    },
    /// Pass over the message that blocks a receiver, which never gets it
    Skip {
        /// The name of the receiver, as in the settings; client:NAME for a client
        #[arg(allow_hyphen_values = true)]
        receiver: String,
        /// The id of the message, as `adieu delivery list` shows it: if another one blocks the receiver by now, nothing is skipped
        #[arg(value_name = "MESSAGE", allow_hyphen_values = true)]
        message_id: String,
    },
}

impl Arguments {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let settings = self.common.settings()?;
        let mut output = self.common.output();
        match self.command {
            Command::List => list(&open_to_read(&settings).await?, &mut output).await?,
            Command::Replay { receiver } => {
                audited(&settings)?;
                let store = open_stores(&settings).await?.deliveries();
                let is_known = replay(&*store, &receiver, Operator::default()).await?;
                ensure!(is_known, "{UNKNOWN} {receiver}");
                let sentence = format!("{receiver} gets everything that is revoked now");
                output.result(&sentence, &json!({ "receiver": receiver, "done": "replayed" }))?;
            }
            Command::Skip { receiver, message_id } => {
                audited(&settings)?;
                let store = open_stores(&settings).await?.deliveries();
                match skip(&*store, &receiver, &message_id, Operator::default()).await? {
                    Skipped::Done => {}
                    Skipped::NotBlocking => bail!("the message {message_id} does not block {receiver}"),
                    Skipped::UnknownReceiver => bail!("{UNKNOWN} {receiver}"),
                }
                let sentence = format!("{receiver} does not get the message {message_id}");
                let done = json!({ "receiver": receiver, "message_id": message_id, "done": "skipped" });
                output.result(&sentence, &done)?;
            }
        }
        output.finish()?;
        Ok(ExitCode::SUCCESS)
    }
}

async fn list(stores: &Stores, output: &mut Output) -> anyhow::Result<()> {
    let stored = stores.deliveries().deliveries().await?;
    let head = head(&*stores.core(), stored.iter().filter_map(|delivery| delivery.cursor.as_ref())).await?;
    let mut table = Table::new([
        "RECEIVER",
        "POSITION",
        "BEHIND",
        "LAST DELIVERED",
        "FAILURES",
        "FAILING SINCE",
        "NEXT ATTEMPT",
        "MESSAGE",
        "ERROR",
    ]);
    let time = |time: Option<Timestamp>| time.map(written).unwrap_or_default();
    for state in stored.into_iter().map(|delivery| DeliveryState::new(delivery, head)) {
        match output.reader() {
            Reader::Machine => output.object(&serde_json::to_value(state)?)?,
            Reader::Person => {
                let row = [
                    state.receiver,
                    state.position.to_string(),
                    state.behind.to_string(),
                    time(state.delivered_at),
                    state.failures.to_string(),
                    time(state.failing_since),
                    time(state.next_attempt_at),
                    state.message_id.unwrap_or_default(),
                    state.error.unwrap_or_default(),
                ];
                table.row(output, row)?;
            }
        }
    }
    if output.reader() == Reader::Person {
        table.print(output)?;
    }
    Ok(())
}

/// Returns the end of the log, which is read from the last of these cursors on.
async fn head<'c>(
    log: &(impl RevocationLog + ?Sized),
    cursors: impl Iterator<Item = &'c Cursor>,
) -> Result<Position, adieu::Error> {
    let last = cursors.max_by_key(|cursor| cursor.position);
    let mut page = log.read(last, Duration::ZERO).await?;
    while !page.complete {
        page = log.read(Some(&page.cursor), Duration::ZERO).await?;
    }
    Ok(page.cursor.position)
}
