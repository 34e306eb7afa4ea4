//! The audit trail as a file, for whoever wants it in one place: what servers do and what is done on the command line.
//!
//! 1. Each event at [`AUDIT_LOG_TARGET`] is one line, a JSON object: the fields of the event, `at` (seconds since 1970), and
//!    `via`, which is `server` or `command_line`; of the command line also the `uid` of the process.
//! 2. It is appended with one write, so that several processes can share the file, and is in it before a request is answered
//!    or a command says what it has done. It is not synced: a loss of power may take the last seconds.
//! 3. The file is opened for each line, so that it can be renamed at any time; what is made is for its owner alone. Where it
//!    can't be written a server says so in its log and goes on.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use adieu::time::{Clock as _, SystemClock};
use serde_json::{Map, Value};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{Layer, filter::Targets, layer::Context, registry::LookupSpan};

use super::AUDIT_LOG_TARGET;

/// Who writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// A server, for whoever asks it.
    Server,
    /// A command.
    CommandLine,
}

/// Where the lines go.
#[derive(Debug)]
pub struct Trail {
    path: PathBuf,
    via: Via,
    failing: AtomicBool,
    /// Whether this process wrote a part of a line, when there was no room for more.
    is_torn: AtomicBool,
}

impl Trail {
    /// The trail in this file, which is not opened yet.
    #[must_use]
    pub fn new(path: PathBuf, via: Via) -> Self {
        Self { path, via, failing: AtomicBool::new(false), is_torn: AtomicBool::new(false) }
    }

    /// Makes sure that it can be written; it is made if it is not there.
    ///
    /// # Errors
    /// When it can't, in one phrase.
    pub fn check(&self) -> Result<(), String> {
        self.open().map(drop).map_err(|error| self.cannot(&error))
    }

    /// What writes every event of the target into it, whatever else is logged.
    pub fn layer<S: Subscriber + for<'s> LookupSpan<'s>>(self) -> impl Layer<S> {
        Lines(self).with_filter(Targets::new().with_target(AUDIT_LOG_TARGET, Level::INFO))
    }

    fn cannot(&self, error: &io::Error) -> String {
        format!("the audit trail in {} can't be written: {error}", self.path.display())
    }

    fn open(&self) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.append(true).create(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(&self.path)
    }

    fn append(&self, line: &str) -> io::Result<()> {
        let mut file = self.open()?;
        let line = if self.is_torn.load(Relaxed) { format!("\n{line}\n") } else { format!("{line}\n") };
        let written = file.write(line.as_bytes())?;
        self.is_torn.store(written < line.len(), Relaxed);
        if written < line.len() { Err(io::ErrorKind::WriteZero.into()) } else { Ok(()) }
    }

    /// Says once that it can't be written, and once that it can be again; on the command line each time.
    fn tell(&self, outcome: io::Result<()>) {
        match (outcome, self.via) {
            (Ok(()), _) => {
                if self.failing.swap(false, Relaxed) {
                    tracing::info!("the audit trail can be written again");
                }
            }
            (Err(error), Via::Server) => {
                if !self.failing.swap(true, Relaxed) {
                    tracing::error!("{}; what happens meanwhile is missing from it", self.cannot(&error));
                }
            }
            // There is nobody left to tell when standard error is gone.
            (Err(error), Via::CommandLine) => {
                drop(writeln!(io::stderr(), "warning: this was done, and {}", self.cannot(&error)));
            }
        }
    }
}

struct Lines(Trail);

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields(Map::new());
        fields.0.insert("at".to_owned(), SystemClock.now().as_unix().into());
        event.record(&mut fields);
        match self.0.via {
            Via::Server => drop(fields.0.insert("via".to_owned(), "server".into())),
            Via::CommandLine => {
                fields.0.insert("via".to_owned(), "command_line".into());
                #[cfg(unix)]
                fields.0.insert("uid".to_owned(), rustix::process::getuid().as_raw().into());
            }
        }
        self.0.tell(self.0.append(&Value::Object(fields.0).to_string()));
    }
}

/// The fields of an event, as JSON.
struct Fields(Map<String, Value>);

impl Fields {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }
}
