//! Where log lines go: to standard error, so that standard output stays for what was asked for; and those for an auditor also
//! to a file of their own, if there is one.

use std::io;

use tracing::{Level, level_filters::LevelFilter};
use tracing_subscriber::{Layer as _, fmt, layer::SubscriberExt as _, registry, util::SubscriberInitExt as _};

use crate::{audit::Trail, config::LogFormat};

/// Starts logging for the whole process. Only the first call has an effect.
pub fn start(format: LogFormat, level: Level, trail: Option<Trail>) {
    let lines = fmt::layer().with_writer(io::stderr);
    let lines = match format {
        LogFormat::Text => lines.with_ansi(io::IsTerminal::is_terminal(&io::stderr())).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let cannot = trail.as_ref().and_then(|trail| trail.check().err());
    // The trail comes last: what it says of itself is an event within an event.
    let lines = registry().with(lines.with_filter(LevelFilter::from_level(level)));
    let _first = lines.with(trail.map(Trail::layer)).try_init();
    if let Some(cannot) = cannot {
        tracing::error!("{cannot}");
    }
}

/// Starts it for a command, which tells what it does by itself: only the trail is written.
pub fn start_for_command(trail: Trail) {
    let _first = registry().with(trail.layer()).try_init();
}
