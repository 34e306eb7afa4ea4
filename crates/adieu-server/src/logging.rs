//! Destination of log lines: standard error, so that standard output contains only the requested output; lines for an auditor also go to
//! a file of their own, if configured.
//!
//! A client that sends an id or a name can't forge log lines: characters that end a line, control a terminal or look like another field
//! are escaped or quoted here, for all fields of all events.
//!
//! A thread of its own writes the lines that any stranger can cause, one for each request or rejection, from a bounded queue. Lines that do
//! not fit are dropped, and a later line says how many. All other lines are written by the thread that logs, and none of them is lost.

mod queue;

use std::{
    fmt::{self, Write as _},
    io, mem,
};

use adieu::Chain;
use adieu_axum::REJECTION_LOG_TARGET;
use tracing::{
    Level, Metadata,
    field::{Field, Visit},
    level_filters::LevelFilter,
};
use tracing_subscriber::{
    Layer as _, Registry,
    field::RecordFields,
    fmt::{FormatFields, MakeWriter, format::Writer, layer},
    layer::SubscriberExt as _,
    registry, reload,
    util::SubscriberInitExt as _,
};

use self::queue::Queue;
use crate::{
    api::REQUEST_LOG_TARGET,
    audit::Trail,
    config::LogFormat,
    text::{Visible, escaped_json},
};

/// The logging of this process. When dropped, all lines have been written.
#[derive(Debug)]
#[must_use]
pub struct Logging {
    level: reload::Handle<LevelFilter, Registry>,
    _writer: Option<queue::Writer>,
}

impl Logging {
    /// Logs lines of this level and above from now on.
    pub(crate) fn set_level(&self, level: Level) {
        // Fails only if the process logs with another subscriber.
        let _set = self.level.reload(LevelFilter::from_level(level));
    }
}

/// Starts logging for the whole process. Only the first call has an effect.
pub fn start(format: LogFormat, level: Level, trail: Option<Trail>) -> Logging {
    let queue = Queue::default();
    let writer = queue.start();
    let destination = Destination { queue: writer.is_ok().then_some(queue), format };
    let lines = match format {
        LogFormat::Text => {
            let is_terminal = io::IsTerminal::is_terminal(&io::stderr());
            layer().with_writer(destination).fmt_fields(PlainFields).with_ansi(is_terminal).boxed()
        }
        LogFormat::Json => layer().with_writer(destination).json().flatten_event(true).boxed(),
    };
    let cannot = trail.as_ref().and_then(|trail| trail.check().err());
    // The trail comes last: its own messages are events within an event.
    let (filter, level) = reload::Layer::new(LevelFilter::from_level(level));
    let lines = registry().with(lines.with_filter(filter));
    let _first = lines.with(trail.map(Trail::layer)).try_init();
    if let Some(cannot) = cannot {
        tracing::error!("{cannot}");
    }
    Logging { level, _writer: writer.ok() }
}

/// Starts logging for a command, which reports its results itself: only the trail is written.
pub fn start_for_command(trail: Trail) {
    let _first = registry().with(trail.layer()).try_init();
}

/// Where lines are written to.
#[derive(Debug)]
struct Destination {
    queue: Option<Queue>,
    format: LogFormat,
}

impl<'writer> MakeWriter<'writer> for Destination {
    type Writer = Box<dyn io::Write + 'writer>;

    fn make_writer(&'writer self) -> Self::Writer {
        self.format.written_to(io::stderr())
    }

    fn make_writer_for(&'writer self, event: &Metadata<'_>) -> Self::Writer {
        let is_about_a_request = [REJECTION_LOG_TARGET, REQUEST_LOG_TARGET].contains(&event.target());
        match &self.queue {
            Some(queue) if is_about_a_request && *event.level() >= Level::INFO => self.format.written_to(queue),
            _ => self.make_writer(),
        }
    }
}

/// Writes fields as `name=value`, each value as one word or as one quoted text.
struct PlainFields;

impl<'writer> FormatFields<'writer> for PlainFields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut written = Written { writer, value: String::new(), is_first: true, outcome: Ok(()) };
        fields.record(&mut written);
        written.outcome
    }
}

struct Written<'writer> {
    writer: Writer<'writer>,
    /// The value being written, kept for its memory.
    value: String,
    is_first: bool,
    outcome: fmt::Result,
}

impl Written<'_> {
    /// Writes a field with `value`, unless an earlier one could not be written.
    fn put(&mut self, field: &Field, value: impl FnOnce(&mut Visible<&mut Writer<'_>>) -> fmt::Result) {
        self.outcome = self.outcome.and_then(|()| {
            if !mem::take(&mut self.is_first) {
                self.writer.write_char(' ')?;
            }
            if field.name() != MESSAGE {
                write!(self.writer, "{}=", field.name().trim_start_matches("r#"))?;
            }
            value(&mut Visible(&mut self.writer))
        });
    }
}

const MESSAGE: &str = "message";

fn is_word(value: &str) -> bool {
    !value.is_empty() && !value.contains(|letter: char| letter.is_whitespace() || "\"=\\".contains(letter))
}

impl Visit for Written<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == MESSAGE {
            return self.put(field, |writer| write!(writer, "{value:?}"));
        }
        let mut text = mem::take(&mut self.value);
        text.clear();
        let _infallible = write!(text, "{value:?}");
        self.put(field, |writer| if is_word(&text) { writer.write_str(&text) } else { write!(writer, "{text:?}") });
        self.value = text;
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        // Always quoted, as is usual.
        self.put(field, |writer| match field.name() {
            MESSAGE => writer.write_str(value),
            _ => write!(writer, "{value:?}"),
        });
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.record_debug(field, &format_args!("{}", Chain(value)));
    }
}

impl LogFormat {
    fn written_to<'writer>(self, destination: impl io::Write + 'writer) -> Box<dyn io::Write + 'writer> {
        match self {
            Self::Text => Box::new(destination),
            Self::Json => Box::new(JsonLines(destination)),
        }
    }
}

/// Escapes characters that `serde_json` leaves in JSON as they are: invisible ones, and those that change the direction of the text.
struct JsonLines<W>(W);

impl<W: io::Write> io::Write for JsonLines<W> {
    /// Receives a whole line at once.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        let line = text.strip_suffix('\n').unwrap_or(&text);
        let end = if line.len() < text.len() { "\n" } else { "" };
        self.0.write_all(format!("{}{end}", escaped_json(line)).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing::subscriber::with_default;

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Sink {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    const FORGED: &str = "x\n2026-01-01T00:00:00Z INFO adieu::audit: event=\"login\"";

    #[test]
    fn nobody_forges_a_line_or_a_field_of_the_log() {
        let sink = Sink::default();
        let writer = sink.clone();
        let lines = layer().with_writer(move || writer.clone()).without_time().with_ansi(false).fmt_fields(PlainFields);
        let cause = io::Error::other(FORGED);
        with_default(registry().with(lines), || {
            tracing::info!(
                target: "t", plain = %"an-id_1", token_id = %FORGED, spaced = %"x by=admin", text = FORGED, empty = %"",
                escape = %"\u{1b}[2J", turned = "a\u{202e}b", filler = %"a\u{3164}b", debugged = ?FORGED, number = 7,
                error = &cause as &dyn std::error::Error, "said {FORGED}"
            );
        });
        let forged = r#""x\n2026-01-01T00:00:00Z INFO adieu::audit: event=\"login\"""#;
        let debugged = format!("{forged:?}");
        assert_eq!(
            sink.text(),
            format!(
                " INFO t: said x\\u{{a}}2026-01-01T00:00:00Z INFO adieu::audit: event=\"login\" plain=an-id_1 \
                 token_id={forged} spaced=\"x by=admin\" text={forged} empty=\"\" escape=\\u{{1b}}[2J \
                 turned=\"a\\u{{202e}}b\" filler=a\\u{{3164}}b debugged={debugged} number=7 error={forged}\n"
            )
        );
    }

    #[test]
    fn what_can_not_be_seen_is_escaped_in_json_too() {
        let sink = Sink::default();
        let writer = sink.clone();
        let lines = layer().with_writer(move || JsonLines(writer.clone())).json().flatten_event(true);
        let text = "a\u{202e}b\u{e0041}\u{1b}\n";
        with_default(registry().with(lines), || tracing::info!(text, "said"));
        let line = sink.text();
        assert_eq!(line.lines().count(), 1);
        assert!(line.contains(r"a\u202eb\udb40\udc41\u001b\n"), "{line}");
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(read["text"], text);
    }
}
