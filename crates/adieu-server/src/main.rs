//! The adieu server.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    adieu_server::cli::Arguments::parse().run()
}
