//! The adieu server.

use std::process::ExitCode;

/// The allocator of musl has one lock for all threads.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match adieu_server::cli::Arguments::read() {
        Ok(arguments) => arguments.run(),
        Err(status) => status,
    }
}
