//! `adieu config`

use clap::Args;

use super::output::visible;
use crate::config::{Flags, Settings, sample};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Print the effective settings instead, each with its source
    #[arg(long)]
    effective: bool,
    #[command(flatten)]
    flags: Flags,
}

impl Arguments {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        if !self.effective {
            return super::print(&sample());
        }
        let (_, found) = Settings::load_with_origins(&self.flags, std::env::vars_os())?;
        let lines: String = found.iter().map(|found| visible(&found.to_string()) + "\n").collect();
        super::print(&lines)
    }
}
