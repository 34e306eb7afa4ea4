//! `adieu completions`

use clap::{Args, CommandFactory as _};
use clap_complete::{Shell, generate};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The shell; for bash: `adieu completions bash > ~/.local/share/bash-completion/completions/adieu`
    shell: Shell,
}

impl Arguments {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let mut script = Vec::new();
        generate(self.shell, &mut super::Arguments::command(), "adieu", &mut script);
        super::print(&String::from_utf8_lossy(&script))
    }
}
