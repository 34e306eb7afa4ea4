//! `adieu store backup`

use std::{
    fs,
    io::{self, BufWriter, IsTerminal as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use serde_json::json;

use crate::{
    audit::{Entry, Event},
    cli::on_store::{Common, audited, require},
    config::Settings,
    store::{
        self, Stores,
        backup::{self, Manifest},
        create_private, store_file, sync_name,
    },
};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    common: Common,
    /// The file, which replaces an older backup; or `-` for standard output
    #[arg(value_name = "FILE")]
    to: PathBuf,
}

impl Arguments {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let settings = self.common.settings()?;
        audited(&settings)?;
        require(&settings).await?;
        // A backup of a store that a new version has not migrated yet is one for the version before.
        let Some(stores) = Stores::open_unmigrated(&settings).await? else {
            bail!(
                "{} is of a version whose tables this one can't back up; `adieu serve` copies the file, then migrates it",
                store::address(&settings)
            );
        };
        if self.to == Path::new("-") {
            ensure!(!io::stdout().is_terminal(), "a backup is not for a terminal: name a file, or redirect the output");
            to_stdout(&settings, &stores).await?;
            Entry::default().record(Event::StoreBackedUp, None).await;
            return Ok(ExitCode::SUCCESS);
        }
        let manifest = to_file(&stores, &self.to).await?;
        Entry::default().record(Event::StoreBackedUp, None).await;
        let mut output = self.common.output();
        let rest = match &settings.revocations {
            Some(address) => format!("; sessions, keys and revocations are in {address}, of which this is no backup"),
            None => String::new(),
        };
        output.result(
            &format!(
                "wrote {}, {} bytes, with the log up to position {}{rest}",
                self.to.display(),
                manifest.bytes,
                manifest.position
            ),
            &json!({ "file": self.to, "manifest": manifest }),
        )?;
        output.finish()?;
        Ok(ExitCode::SUCCESS)
    }
}

async fn to_stdout(settings: &Settings, stores: &Stores) -> anyhow::Result<()> {
    let Some(file) = store_file(settings) else { bail!("PostgreSQL is backed up with its own tools, such as pg_dump") };
    let written = backup::write(stores, &beside(&file, "backup"), BufWriter::new(io::stdout().lock())).await;
    written.map(drop).context("cannot write the backup")
}

async fn to_file(stores: &Stores, to: &Path) -> anyhow::Result<Manifest> {
    match backup::is_backup(to) {
        Ok(true) => {}
        Ok(false) => bail!("{} exists and is not a backup; it was left as it is", to.display()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("cannot write {}", to.display())),
    }
    let partial = beside(to, "partial");
    let write = async {
        let mut file = BufWriter::new(create_private(&partial)?);
        let manifest = backup::write(stores, &beside(to, "copy"), &mut file).await?;
        file.flush()?;
        file.get_ref().sync_all()?;
        fs::rename(&partial, to)?;
        sync_name(to)?;
        anyhow::Ok(manifest)
    };
    let written = write.await.with_context(|| format!("cannot write {}", to.display()));
    if written.is_err() {
        let _ = fs::remove_file(&partial);
    }
    written
}

/// Returns the name of a file of this process beside another one.
pub(super) fn beside(file: &Path, what: &str) -> PathBuf {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{what}-{}", std::process::id()));
    file.with_file_name(name)
}
