//! `adieu key`

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use super::{
    output::{Reader, Table, written, yes},
    store::{Common, look_into},
};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the keys, oldest first; never their private parts
    List,
}

impl Arguments {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let Command::List = self.command;
        let keys = look_into(&self.common.settings()?).await?.core().keys().await?;
        let mut output = self.common.output();
        let mut table = Table::new(["ID", "ALGORITHM", "CREATED", "SIGNS"]);
        for (index, key) in keys.iter().enumerate() {
            let signs = index + 1 == keys.len();
            match output.reader() {
                Reader::Machine => output.object(&json!({
                    "id": key.id,
                    "algorithm": key.algorithm.as_str(),
                    "created_at": key.created_at,
                    "signs": signs,
                }))?,
                Reader::Person => {
                    let algorithm = key.algorithm.as_str().to_owned();
                    table.row(&mut output, [key.id.clone(), algorithm, written(key.created_at), yes(signs)])?;
                }
            }
        }
        if output.reader() == Reader::Person {
            table.print(&mut output)?;
        }
        output.finish()?;
        Ok(ExitCode::SUCCESS)
    }
}
