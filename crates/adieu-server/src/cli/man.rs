//! `adieu man`

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, CommandFactory as _};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// An existing folder
    folder: PathBuf,
}

impl Arguments {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        clap_mangen::generate_to(super::Arguments::command(), &self.folder)
            .with_context(|| format!("cannot write the man pages to {}", self.folder.display()))
    }
}
