//! `adieu store check`

use std::process::ExitCode;

use adieu::Issuer;
use clap::Args;
use serde_json::json;

use crate::{
    cli::{
        on_store::{Common, open_to_read},
        output::{counted, counted_as},
    },
    high_water,
    store::check::check,
};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    common: Common,
}

impl Arguments {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let settings = self.common.settings()?;
        let stores = open_to_read(&settings).await?;
        let found = check(&stores, &Issuer::new(&settings.issuer)?, &high_water::file(&settings)).await?;
        let mut output = self.common.output();
        let checked = format!(
            "checked {}, {}, {} and {}",
            counted(found.revocations, "revocation"),
            counted(found.sessions, "session"),
            counted(found.keys, "key"),
            counted_as(found.aliases, "alias", "aliases")
        );
        let sentence = match found.violations.as_slice() {
            [] => format!("{checked}: everything is consistent"),
            violations => format!("{checked}: {}", violations.join("; ")),
        };
        output.result(
            &sentence,
            &json!({
                "revocations": found.revocations,
                "sessions": found.sessions,
                "keys": found.keys,
                "aliases": found.aliases,
                "violations": found.violations,
            }),
        )?;
        output.finish()?;
        Ok(if found.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
