//! `adieu store restore`

use std::{
    fs::{self, File},
    io::{self, BufReader},
    path::{Path, PathBuf},
    process::ExitCode,
};

use adieu::{
    Issuer,
    restore::{HighWater, LogState, Mark, Restorable as _, Verdict},
    revocation::Position,
};
use adieu_sqlite::Sqlite;
use anyhow::{Context as _, bail, ensure};
use clap::Args;
use serde_json::json;

use super::backup::beside;
use crate::{
    accounts::{self, AccountStore},
    audit::{Entry, Event},
    cli::on_store::{Common, audited, open_restored},
    config::Settings,
    high_water,
    node::require_issuer,
    store::{backup, prepare_folder, store_file, sync_name},
};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    common: Common,
    /// The backup; or `-` for standard input
    #[arg(value_name = "FILE")]
    from: PathBuf,
    /// State that nothing was revoked after the backup was written, so that users stay logged in
    #[arg(long)]
    nothing_lost: bool,
}

impl Arguments {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let settings = self.common.settings()?;
        audited(&settings)?;
        let Some(store) = store_file(&settings) else {
            bail!("only the embedded store is restored by this command: restore PostgreSQL with its own tools")
        };
        for file in [store.clone(), with_suffix(&store, "-wal"), with_suffix(&store, "-journal")] {
            ensure!(
                !file.exists(),
                "{} exists: a backup is restored where there is no store, so move it away",
                file.display()
            );
        }
        let is_missing = |folder: &&Path| !folder.as_os_str().is_empty() && !folder.exists();
        let new_folders: Vec<_> = store.ancestors().skip(1).take_while(is_missing).collect();
        prepare_folder(&store)?;
        let restored = beside(&store, "restored");
        let outcome = self.restore(&settings, &restored, &store).await;
        if outcome.is_err() {
            let _ = fs::remove_file(&restored);
            for folder in new_folders {
                let _ = fs::remove_dir(folder);
            }
        }
        let manifest = outcome?;
        // The store is in place now. The next start would also do the rest.
        let is_cut_off = settings.revocations.is_none() && !self.nothing_lost;
        if is_cut_off {
            drop(open_restored(&settings).await?);
        }
        Entry::default().record(Event::StoreRestored, None).await;
        let then = match (is_cut_off, &settings.revocations) {
            (true, _) => {
                "every token that was issued before is revoked, and users log in again. Review the accounts and clients, then run \
                 `adieu log accept-restore`"
                    .to_owned()
            }
            (false, Some(address)) => format!("sessions, keys and revocations are in {address}, and were not restored"),
            (false, None) => "users stay logged in".to_owned(),
        };
        let mut output = self.common.output();
        output.result(
            &format!("restored {} with the log up to position {}; {then}", store.display(), manifest.position),
            &json!({ "store": store, "manifest": manifest, "tokens_revoked": is_cut_off }),
        )?;
        output.finish()?;
        Ok(ExitCode::SUCCESS)
    }

    /// Puts the backup in the place of the store.
    async fn restore(&self, settings: &Settings, restored: &Path, store: &Path) -> anyhow::Result<backup::Manifest> {
        let manifest = match self.from == Path::new("-") {
            true => backup::read(io::stdin().lock(), restored),
            false => {
                File::open(&self.from).map_err(Into::into).and_then(|file| backup::read(BufReader::new(file), restored))
            }
        };
        let manifest = manifest.with_context(|| format!("cannot restore {}", self.from.display()))?;
        let high_water = high_water::of(settings, true)?.filter(|_| settings.revocations.is_none());
        let mark = high_water.as_deref().map(HighWater::inspect).transpose()?.flatten();
        let state = complete(restored, mark.as_ref(), &Issuer::new(&settings.issuer)?).await?;
        if let Some(file) = high_water {
            match mark.map(|mark| mark.compare(&state)) {
                Some(Verdict::RolledBack(why)) if self.nothing_lost => bail!(
                    "the high-water mark {} shows that something was lost: {why}. Restore without --nothing-lost",
                    file.display()
                ),
                _ if self.nothing_lost => {}
                // The mark of a log that goes on after the backup: the next process that opens the store finds that it went back.
                _ => {
                    let mark = HighWater::open(file)?;
                    let head = Position::new(state.head.get().saturating_add(1));
                    mark.record(&LogState { head, entry: None, last: None, ..state });
                    mark.sync();
                }
            }
        }
        // Unlike a rename, this fails if a server has made a store meanwhile.
        fs::hard_link(restored, store).with_context(|| format!("cannot make {}", store.display()))?;
        fs::remove_file(restored)?;
        sync_name(store)?;
        Ok(manifest)
    }
}

/// Opens the file as a server would, which checks it for damage, and leaves it complete without other files. Fails if it is
/// of servers with another issuer.
async fn complete(file: &Path, mark: Option<&Mark>, issuer: &Issuer) -> anyhow::Result<LogState> {
    let store = Sqlite::open(file).await?;
    if accounts::is_migrated(&store).await? {
        require_issuer(issuer, AccountStore::issuer(&store).await?)?;
    }
    let state = store.inspect(mark.map_or(Position::START, Mark::anchor)).await?;
    store.checkpoint().await?;
    drop(store);
    ensure!(adieu_sqlite::wait_until_closed(crate::cli::CLOSING), "the file is still open");
    File::open(file)?.sync_all()?;
    Ok(state)
}

fn with_suffix(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
