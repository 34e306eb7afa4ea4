//! `adieu delivery`

use std::process::ExitCode;

use adieu::{revocation::Cursor, time::Timestamp};
use anyhow::ensure;
use clap::Subcommand;
use serde_json::json;

use super::{
    on_store::{OnStore, audited, open_stores},
    output::{Output, Reader, Table, written},
};
use crate::{deliveries::replay, store::Stores};

pub(super) type Arguments = OnStore<Command>;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the receivers of webhooks and logout tokens: what each has got, since when it fails, and why
    List,
    /// Send a receiver everything that is revoked now, from the beginning of the log
    Replay {
        /// The name of the receiver, as in the settings; client:NAME for a client
        receiver: String,
    },
}

impl Arguments {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let settings = self.common.settings()?;
        let mut output = self.common.output();
        match self.command {
            Command::List => list(&open_stores(&settings).await?, &mut output).await?,
            Command::Replay { receiver } => {
                audited(&settings)?;
                let store = open_stores(&settings).await?.deliveries();
                let is_known = replay(&*store, &receiver, None).await?;
                ensure!(is_known, "nothing was ever delivered to a receiver {receiver}");
                let sentence = format!("{receiver} gets everything that is revoked now");
                output.result(&sentence, &json!({ "receiver": receiver, "done": "replayed" }))?;
            }
        }
        output.finish()?;
        Ok(ExitCode::SUCCESS)
    }
}

async fn list(stores: &Stores, output: &mut Output) -> anyhow::Result<()> {
    let mut table = Table::new(["RECEIVER", "POSITION", "LAST DELIVERED", "FAILURES", "FAILING SINCE", "ERROR"]);
    let time = |time: Option<Timestamp>| time.map(written).unwrap_or_default();
    for delivery in stores.deliveries().deliveries().await? {
        let position = delivery.cursor.as_ref().map(|Cursor { position, .. }| position.get());
        match output.reader() {
            Reader::Machine => output.object(&json!({
                "receiver": delivery.receiver,
                "position": position.unwrap_or(0),
                "delivered_at": delivery.delivered_at,
                "failures": delivery.failures,
                "failing_since": delivery.failing_since,
                "error": delivery.error,
            }))?,
            Reader::Person => {
                let failures = delivery.failures.to_string();
                let row = [
                    delivery.receiver,
                    position.unwrap_or(0).to_string(),
                    time(delivery.delivered_at),
                    failures,
                    time(delivery.failing_since),
                    delivery.error.unwrap_or_default(),
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
