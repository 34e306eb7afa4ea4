//! `adieu store copy`

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context as _, anyhow, bail, ensure};
use clap::Args;
use secrecy::ExposeSecret as _;
use serde_json::json;

use crate::{
    audit::{Entry, Event},
    cli::{
        on_store::{audited, settings},
        output::{Output, Reader, counted, counted_as},
        progress::Progress,
        prompt::hidden,
    },
    config::{Flags, StoreAddress},
    high_water::files_of,
    store::{copy::copy, is_current},
};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The source: sqlite:PATH or postgres://USER@HOST/DATABASE, without a password
    #[arg(long, value_name = "STORE", required_unless_present = "from_file", conflicts_with = "from_file")]
    from: Option<StoreAddress>,
    /// A file with the address of the source, which may have a password
    #[arg(long, value_name = "FILE")]
    from_file: Option<PathBuf>,
    /// The target, in the same form
    #[arg(long, value_name = "STORE", required_unless_present = "to_file", conflicts_with = "to_file")]
    to: Option<StoreAddress>,
    /// A file with the address of the target
    #[arg(long, value_name = "FILE")]
    to_file: Option<PathBuf>,
    /// Ask for the password of each database whose address has none
    #[arg(long)]
    ask_password: bool,
    /// Print one JSON object, and no progress
    #[arg(long)]
    json: bool,
    /// The settings file, of which only `audit_log` is used, and the place of the high-water mark (`data`, `high_water_file`)
    /// [env: ADIEU_CONFIG]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Returns the address from the argument or the file. Other users of the machine can see arguments.
fn address(flag: &str, given: Option<StoreAddress>, file: Option<PathBuf>) -> anyhow::Result<StoreAddress> {
    if let Some(file) = file {
        let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let address = text.trim_start_matches('\u{feff}').trim().parse();
        return address.map_err(|wanted| anyhow!("{} has no address of a store: {wanted}", file.display()));
    }
    let Some(address) = given else { bail!("--{flag} or --{flag}-file is needed") };
    ensure!(
        !address.has_password(),
        "a password may not be an argument, which other users of this machine can see; give --{flag}-file a file with the \
         address, say --ask-password, or leave the password to PGPASSWORD or ~/.pgpass"
    );
    Ok(address)
}

/// Returns the address with a password read from a prompt without echo.
fn asked(address: StoreAddress) -> anyhow::Result<StoreAddress> {
    if !matches!(address, StoreAddress::Postgres(_)) || address.has_password() {
        return Ok(address);
    }
    let password = hidden(&format!("Password of {address}: "))?;
    address.with_password(password.expose_secret()).map_err(anyhow::Error::msg)
}

impl Arguments {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let mut from = address("from", self.from, self.from_file)?;
        let mut to = address("to", self.to, self.to_file)?;
        if self.ask_password {
            (from, to) = (asked(from)?, asked(to)?);
        }
        let mut output = Output::new(if self.json { Reader::Machine } else { Reader::Person });
        let settings = settings(&Flags { config: self.config, ..Flags::default() })?;
        audited(&settings)?;
        if is_current(&from, false).await?.is_none() {
            bail!("no store in {from}");
        }
        let mut progress = Progress::new(false, output.reader());
        let marks = files_of(&from, &settings);
        let outcome = copy(&from, &to, &marks, |so_far| {
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
                "copied {}, {}, {}, {}, {}, {} and {} from {from} to {to}",
                counted(copied.accounts, "user"),
                counted(copied.invites, "invitation"),
                counted(copied.clients, "client"),
                counted_as(copied.aliases, "alias", "aliases"),
                counted(copied.sessions, "session"),
                counted(copied.revocations, "revocation"),
                counted(copied.keys, "key"),
            ),
        };
        output.result(
            &sentence,
            &json!({
                "users": copied.accounts,
                "invitations": copied.invites,
                "clients": copied.clients,
                "aliases": copied.aliases,
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
