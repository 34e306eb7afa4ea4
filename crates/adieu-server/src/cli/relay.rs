//! `adieu relay`

use std::path::PathBuf;

use anyhow::ensure;
use clap::Args;

use crate::config::{Flags, Settings};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The URL of the node to follow [setting: follow]
    url: Option<String>,
    /// The name of the relay's client at the node [setting: `follow_client`]
    #[arg(long, value_name = "NAME")]
    client: Option<String>,
    /// The file with the secret of that client [setting: `follow_secret_file`; or env: `ADIEU_FOLLOW_SECRET`]
    #[arg(long, value_name = "FILE")]
    secret_file: Option<String>,
    /// The address and port to listen on, or unix:PATH; comma-separated if several [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// The settings file; `adieu config` prints a sample [env: ADIEU_CONFIG]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Arguments {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let flags = Flags {
            listen: self.listen,
            config: self.config,
            follow: self.url,
            follow_client: self.client,
            follow_secret_file: self.secret_file,
            data: None,
        };
        let settings = Settings::load(&flags, std::env::vars_os())?;
        ensure!(settings.follow.is_some(), "a relay needs the URL of the node that it follows");
        super::serve_until_stopped(flags, settings)
    }
}
