//! `adieu store`

mod backup;
mod check;
mod copy;
mod restore;

use std::process::ExitCode;

use clap::{Args, Subcommand};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write a backup of the embedded store, also while servers run on it
    Backup(backup::Arguments),
    /// Restore a backup where there is no store. Every token that was issued before is rejected then, and users log in again,
    /// unless --nothing-lost says that the backup is complete
    Restore(restore::Arguments),
    /// Check the file, the revocation log, the index that nodes make of it, sessions and keys; changes nothing. Status 1 if
    /// something is wrong
    Check(check::Arguments),
    /// Copy accounts, invitations, aliases, clients, sessions, signing keys and live revocations into an empty store; if it
    /// is interrupted, run it again. Stop the servers of the source first: they answer writes with 503 during the copy
    Copy(copy::Arguments),
}

impl Arguments {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Backup(arguments) => arguments.run().await,
            Command::Restore(arguments) => arguments.run().await,
            Command::Check(arguments) => arguments.run().await,
            Command::Copy(arguments) => arguments.run().await,
        }
    }
}
