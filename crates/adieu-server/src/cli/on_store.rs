//! Opens the store of the settings for a command. Never creates one by mistake.

use std::{
    io::{self, Write as _},
    path::PathBuf,
};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};

use super::output::{Output, Reader};
use crate::{
    accounts::{self, Account, AccountStore},
    audit::{Trail, Via},
    config::{Flags, Settings},
    error::ApiError,
    logging,
    node::Node,
    store::{self, Stores},
};

/// Above these options in every help.
const EVERYWHERE: &str = "Store and output";

/// What every command on a store can be told.
#[derive(Debug, Args)]
pub(super) struct Common {
    /// The folder of the store [default: ./adieu-data]
    #[arg(long, value_name = "FOLDER", global = true, help_heading = EVERYWHERE)]
    data: Option<String>,
    /// The settings file; `adieu config` prints a sample [env: ADIEU_CONFIG]
    #[arg(long, value_name = "FILE", global = true, help_heading = EVERYWHERE)]
    config: Option<PathBuf>,
    /// Print one JSON object per line; times are seconds since 1970
    #[arg(long, global = true, help_heading = EVERYWHERE)]
    json: bool,
}

// One of the commands `C` on a store. No documentation comment, which clap would show as their help.
#[derive(Debug, Args)]
pub(super) struct OnStore<C: Subcommand> {
    #[command(flatten)]
    pub(super) common: Common,
    #[command(subcommand)]
    pub(super) command: C,
}

impl Common {
    /// The settings, found as `adieu serve` finds them.
    pub(super) fn settings(&self) -> anyhow::Result<Settings> {
        settings(&self.flags())
    }

    pub(super) fn flags(&self) -> Flags {
        Flags { data: self.data.clone(), config: self.config.clone(), ..Flags::default() }
    }

    pub(super) fn output(&self) -> Output {
        Output::new(if self.json { Reader::Machine } else { Reader::Person })
    }
}

/// The settings of a command; what it writes down goes into their audit trail from now on.
pub(super) fn settings(flags: &Flags) -> anyhow::Result<Settings> {
    let settings = Settings::load(flags, std::env::vars_os())?;
    if let Some(file) = &settings.audit_log {
        logging::start_for_command(Trail::new(Some(file.clone()), Via::CommandLine));
    }
    Ok(settings)
}

/// Checks, before anything is changed, that the audit trail can be written.
pub(super) fn audited(settings: &Settings) -> anyhow::Result<()> {
    Trail::new(settings.audit_log.clone(), Via::CommandLine).check().map_err(anyhow::Error::msg)
}

/// Opens a store without reading its revocations, for a command that only needs the engines.
pub(super) async fn open_stores(settings: &Settings) -> anyhow::Result<Stores> {
    require(settings).await?;
    Stores::open(settings).await
}

/// Opens a store for a command that only reads: migrates nothing.
pub(super) async fn open_to_read(settings: &Settings) -> anyhow::Result<Stores> {
    require(settings).await?;
    Stores::open_unchanged(settings).await?.with_context(|| is_older(settings))
}

/// Returns the sentence about a store of an older version.
pub(super) fn is_older(settings: &Settings) -> String {
    format!("{} is of an older version; back it up, then `adieu serve` migrates it", store::address(settings))
}

/// Opens a store with all that is needed to end sessions in it.
pub(super) async fn open(settings: &Settings) -> anyhow::Result<Node> {
    require(settings).await?;
    let node = Node::open_for_command(settings).await?;
    if node.core.restored_at().is_some() {
        // Without standard error there is no place to report this.
        let _told = writeln!(
            io::stderr(),
            "warning: this store was restored from a backup; see `adieu log status`, and then \
             `adieu log accept-restore`"
        );
    }
    Ok(node)
}

/// Like [`open`], for a command about a restored store, which reports that itself.
pub(super) async fn open_restored(settings: &Settings) -> anyhow::Result<Node> {
    require(settings).await?;
    Node::open_for_command(settings).await
}

/// Checks that the store exists, unless it may be created.
pub(super) async fn require_unless(create: bool, settings: &Settings) -> anyhow::Result<()> {
    if create {
        return Ok(());
    }
    require(settings).await.map_err(|error| anyhow::anyhow!("{error}, and so does --create"))
}

/// Checks that the store exists. A mistyped folder must not look like a store without users, or become one.
pub(super) async fn require(settings: &Settings) -> anyhow::Result<()> {
    match exists(settings).await? {
        true => Ok(()),
        false if settings.store.is_some() => {
            bail!("no store in {}; `adieu serve` makes one", store::address(settings))
        }
        false => bail!("no store in {}; `adieu serve` makes one", settings.data.display()),
    }
}

/// Returns whether the store exists.
pub(super) async fn exists(settings: &Settings) -> anyhow::Result<bool> {
    Ok(store::is_current(&store::address(settings), settings.allow_weaker_durability).await?.is_some())
}

/// Returns the account with this id or name; see [`accounts::find`].
pub(super) async fn find(accounts: &dyn AccountStore, name_or_id: &str) -> anyhow::Result<Account> {
    let found = accounts::find(accounts, name_or_id).await?;
    found.with_context(|| format!("no user with the name or id {name_or_id}"))
}

/// Converts an API error into one for the command line.
pub(super) fn plain(error: ApiError, account: &Account) -> anyhow::Error {
    match error {
        // Another process has deleted it meanwhile.
        ApiError::NotFound => anyhow::anyhow!("no user with the name or id {}", account.id),
        other => other.into(),
    }
}
