//! `adieu store`

use std::{path::PathBuf, process::ExitCode};

use anyhow::bail;
use clap::{Args, Subcommand};
use serde_json::json;

use super::{
    output::{Output, Reader, counted},
    progress::Progress,
    store::{audited, exists, settings},
};
use crate::{
    audit::{Entry, Event},
    config::{Flags, StoreAddress},
    store::copy::copy,
};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Print one JSON object; nothing is told meanwhile
    #[arg(long, global = true)]
    json: bool,
    /// The file with the settings, of which only `audit_log` is about this [env: ADIEU_CONFIG]
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Copy accounts, clients, sessions, signing keys and live revocations into another, empty store; when it is interrupted,
    /// run it again. Servers on the store that is copied answer 503 to what writes meanwhile: stop them first
    Copy {
        /// The store that is copied: sqlite:PATH or postgres://USER@HOST/DATABASE
        #[arg(long, value_name = "STORE")]
        from: StoreAddress,
        /// The store that it is copied into
        #[arg(long, value_name = "STORE")]
        to: StoreAddress,
    },
}

impl Arguments {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let Command::Copy { from, to } = self.command;
        let mut output = Output::new(if self.json { Reader::Machine } else { Reader::Person });
        let settings = settings(&Flags { config: self.config, ..Flags::default() })?;
        audited(&settings)?;
        if !exists(&from)? {
            bail!("no store in {from}");
        }
        let mut progress = Progress::new(false, output.reader());
        let outcome = copy(&from, &to, |so_far| {
            progress.at(&format!(
                "{} and {} copied",
                counted(so_far.accounts, "user"),
                counted(so_far.sessions, "session")
            ));
        });
        let copied = outcome.await;
        progress.end();
        let copied = copied?;
        if !copied.before {
            let copied = Some((from.to_string(), to.to_string()));
            Entry { copied, ..Entry::default() }.record(Event::StoreCopied, None).await;
        }
        let sentence = match copied.before {
            true => format!("{from} had been copied to {to} before; nothing was done"),
            false => format!(
                "copied {}, {}, {}, {} and {} from {from} to {to}",
                counted(copied.accounts, "user"),
                counted(copied.clients, "client"),
                counted(copied.sessions, "session"),
                counted(copied.revocations, "revocation"),
                counted(copied.keys, "key"),
            ),
        };
        output.result(
            &sentence,
            &json!({
                "users": copied.accounts,
                "clients": copied.clients,
                "sessions": copied.sessions,
                "revocations": copied.revocations,
                "keys": copied.keys,
                "copied_before": copied.before,
            }),
        )?;
        output.finish()?;
        Ok(ExitCode::SUCCESS)
    }
}
