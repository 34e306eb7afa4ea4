//! `adieu log`

use std::{process::ExitCode, time::Duration};

use adieu::{
    restore::{HighWater, Verdict},
    revocation::{Cursor, Position, RevocationLog},
    time::Timestamp,
};
use anyhow::bail;
use clap::Subcommand;
use serde_json::json;

use super::{
    on_store::{OnStore, audited, open_restored, open_stores, open_to_read},
    output::{Reader, Table, written},
};
use crate::{
    audit::{Entry, Event},
    config::Settings,
    high_water,
};

pub(super) type Arguments = OnStore<Command>;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Print the id of the log, its end, and whether a restored backup was detected; changes nothing
    Status,
    /// Accept that the store was restored from a backup, which ends the reports; revocations stay in force
    AcceptRestore,
}

impl Arguments {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let settings = self.common.settings()?;
        match self.command {
            Command::Status => self.status(&settings).await?,
            Command::AcceptRestore => self.accept(&settings).await?,
        }
        Ok(ExitCode::SUCCESS)
    }

    async fn status(&self, settings: &Settings) -> anyhow::Result<()> {
        let stores = open_to_read(settings).await?;
        let store = stores.core();
        // First the mark, then the log, which other processes may be appending to.
        let file = high_water::file(settings);
        let mark = HighWater::inspect(&file)?;
        let (head, pruned_through, entries) = read(&*store).await?;
        let state = match store.restorable() {
            Some(restorable) => {
                Some(restorable.inspect(mark.as_ref().map_or(Position::START, |mark| mark.anchor())).await?)
            }
            None => None,
        };
        let rolled_back = match (&mark, &state) {
            (Some(mark), Some(state)) => match mark.compare(state) {
                Verdict::RolledBack(why) => Some(why.to_string()),
                _ => None,
            },
            _ => None,
        };
        let restored_at = state.as_ref().and_then(|state| state.restored_at);
        // The id as the mark has it: that of a cursor also depends on the engine's history.
        let log = state.map_or(head.log, |state| state.log);

        let mut output = self.common.output();
        if output.reader() == Reader::Machine {
            output.object(&json!({
                "log": log.as_str(),
                "head": head.position.get(),
                "entries": entries,
                "pruned_through": pruned_through,
                "high_water": mark.as_ref().map(|mark| json!({
                    "file": file, "log": mark.log(), "position": mark.position().get(),
                })),
                "rolled_back": rolled_back,
                "restored_at": restored_at,
            }))?;
        } else {
            let mark = match &mark {
                Some(mark) if mark.log() == log.as_str() => {
                    format!("{} in {}", mark.position().get(), file.display())
                }
                Some(mark) => format!("{} of the log {} in {}", mark.position().get(), mark.log(), file.display()),
                None => format!("none in {}", file.display()),
            };
            let restored = match (&rolled_back, restored_at) {
                (Some(why), _) => format!("yes; the next start will detect it: {why}"),
                (None, Some(at)) => format!("detected at {}, not accepted yet", written(at)),
                (None, None) => "no".to_owned(),
            };
            let mut table = Table::bare();
            for (name, value) in [
                ("log", log.as_str().to_owned()),
                ("head", head.position.get().to_string()),
                ("entries", entries.to_string()),
                (
                    "pruned through",
                    if pruned_through == Timestamp::ZERO { "never".to_owned() } else { written(pruned_through) },
                ),
                ("high-water mark", mark),
                ("restored backup", restored),
            ] {
                table.row(&mut output, [name.to_owned(), value])?;
            }
            table.print(&mut output)?;
        }
        output.finish()
    }

    async fn accept(&self, settings: &Settings) -> anyhow::Result<()> {
        audited(settings)?;
        // Opening detects a restored store that no server has detected yet, and revokes the tokens from before.
        let node = open_restored(settings).await?;
        drop(node);
        let restorable = open_stores(settings).await?.core().restorable();
        let detected_at = match restorable {
            Some(restorable) => restorable.accept_restore().await?,
            None => None,
        };
        let Some(detected_at) = detected_at else {
            bail!("there is nothing to accept: no restored backup was detected")
        };
        Entry::default().record(Event::RestoreAccepted, None).await;
        let mut output = self.common.output();
        output.result(
            &format!(
                "accepted the restored backup that was detected at {}; every token that was issued before stays revoked",
                written(detected_at)
            ),
            &json!({ "accepted": true, "detected_at": detected_at }),
        )?;
        output.finish()
    }
}

/// Returns the end of the log, its pruning mark, and the number of live entries.
async fn read(log: &(impl RevocationLog + ?Sized)) -> Result<(Cursor, Timestamp, usize), adieu::Error> {
    let mut entries = 0;
    let mut page = log.read(None, Duration::ZERO).await?;
    loop {
        entries += page.entries.len();
        if page.complete {
            return Ok((page.cursor, page.pruned_through, entries));
        }
        page = log.read(Some(&page.cursor), Duration::ZERO).await?;
    }
}
