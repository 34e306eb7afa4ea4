//! The adieu server.

use std::process::ExitCode;

fn main() -> ExitCode {
    match adieu_server::cli::Arguments::read() {
        Ok(arguments) => arguments.run(),
        Err(status) => status,
    }
}
