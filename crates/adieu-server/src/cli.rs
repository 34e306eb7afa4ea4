//! The command line.

use std::{
    io::{self, Write as _},
    net::SocketAddr,
    process::ExitCode,
    sync::Arc,
};

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use tokio::net::TcpListener;

use crate::{
    api,
    config::{self, Flags, Registration, Settings},
    listen::{Bounds, asked_to_stop, outlive_file_size_limit, raise_descriptor_limit, serve},
    logging,
    node::Node,
};

/// Logout for JSON Web Tokens: a server that issues tokens and means it when it ends them.
#[derive(Debug, Parser)]
#[command(name = "adieu", version, args_conflicts_with_subcommands = true)]
pub struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    flags: Flags,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the server; this is also what `adieu` does by itself
    Serve(Flags),
    /// Print a sample of the file with the settings
    Config,
}

impl Arguments {
    /// Does what was asked for. What goes wrong is one line on standard error, and the process ends with status 1.
    #[must_use]
    pub fn run(self) -> ExitCode {
        match self.command.unwrap_or(Command::Serve(self.flags)).run() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                // There is nobody left to tell when standard error is gone.
                let _told = writeln!(io::stderr(), "error: {error:#}");
                ExitCode::FAILURE
            }
        }
    }
}

impl Command {
    fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Serve(flags) => {
                let settings = Settings::load(&flags, std::env::vars_os())?;
                logging::start(settings.log_format, settings.log_level);
                raise_descriptor_limit();
                tokio::runtime::Builder::new_multi_thread()
                    .enable_all()
                    .build()
                    .context("the runtime could not be started")?
                    .block_on(start(settings))
            }
            Self::Config => print(&config::sample()),
        }
    }
}

async fn start(settings: Settings) -> anyhow::Result<()> {
    let listener =
        TcpListener::bind(settings.listen).await.with_context(|| format!("cannot listen on {}", settings.listen))?;
    let stop = asked_to_stop().context("signals can't be received")?;
    outlive_file_size_limit().context("signals can't be received")?;
    let address = listener.local_addr().context("the address is unknown")?;
    let node = Arc::new(Node::open(&settings).await?);
    let router = api::router(Arc::clone(&node), settings.clone())?;
    print(&banner(address, &settings))?;

    let housekeeping = node.start_housekeeping();
    let drained = serve(listener, router, Bounds::from(&settings), stop).await;
    drop(housekeeping);
    if let Err(error) = node.sessions.write_last_seen().await {
        tracing::warn!(error = &error as &dyn std::error::Error, "when sessions were last used is not written down");
    }
    tracing::info!(abandoned = drained.abandoned, "stopped");
    Ok(())
}

/// What a start prints: all that is needed to log in for the first time.
fn banner(address: SocketAddr, settings: &Settings) -> String {
    let (version, data) = (env!("CARGO_PKG_VERSION"), settings.data.display());
    let curl = |route: &str| {
        let body = r#"'{"username":"jose","password":"1234"}'"#;
        format!("curl http://{address}{route} -H 'Content-Type: application/json' -d {body}")
    };
    let mut text = format!(
        "adieu {version} listens on http://{address}\ndata is in {data}, documentation at http://{address}/docs\n"
    );
    match settings.registration {
        Registration::Open => text += &format!("register: {}\n", curl("/register")),
        Registration::Closed => text += "add a user with: adieu user add\n",
    }
    text + &format!("log in:   {}\n", curl("/login"))
}

/// Prints to standard output. That the reader has seen enough (`adieu config | head`) is no error.
fn print(text: &str) -> anyhow::Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error).context("cannot print"),
        _ => Ok(()),
    }
}
