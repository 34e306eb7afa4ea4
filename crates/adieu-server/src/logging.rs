//! Where log lines go: to standard error, so that standard output stays for what was asked for.

use std::io;

use tracing::Level;
use tracing_subscriber::fmt;

use crate::config::LogFormat;

/// Starts logging for the whole process. Only the first call has an effect.
pub fn start(format: LogFormat, level: Level) {
    let lines = fmt().with_max_level(level).with_writer(io::stderr);
    let _first = match format {
        LogFormat::Text => lines.with_ansi(io::IsTerminal::is_terminal(&io::stderr())).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
}
