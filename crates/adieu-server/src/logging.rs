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
    path::PathBuf,
};

use adieu::Chain;
use adieu_axum::REJECTION_LOG_TARGET;
use serde_json::Value;
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
};
use tracing_subscriber::{
    Layer as _, Registry,
    field::RecordFields,
    fmt::{
        FmtContext, FormatEvent, FormatFields, MakeWriter,
        format::Writer,
        layer,
        time::{FormatTime as _, SystemTime},
    },
    layer::SubscriberExt as _,
    registry,
    registry::LookupSpan,
    reload,
    util::SubscriberInitExt as _,
};

use self::queue::Queue;
use crate::{
    api::REQUEST_LOG_TARGET,
    audit::Trail,
    config::LogFormat,
    event_fields::EventFields,
    text::{Visible, escaped_json},
};

/// The logging of this process. When dropped, all lines have been written.
#[derive(Debug)]
#[must_use]
pub struct Logging {
    level: reload::Handle<LevelFilter, Registry>,
    trail: Trail,
    _writer: Option<queue::Writer>,
}

impl Logging {
    /// Logs lines of this level and above from now on.
    pub(crate) fn set_level(&self, level: Level) {
        // Fails only if the process logs with another subscriber.
        let _set = self.level.reload(LevelFilter::from_level(level));
    }

    /// Appends audit events to this file from now on, or to none.
    pub(crate) fn move_trail_to(&self, file: Option<PathBuf>) {
        self.trail.move_to(file);
    }
}

/// Starts logging for the whole process. Only the first call has an effect.
pub fn start(format: LogFormat, level: Level, trail: Trail) -> Logging {
    let queue = Queue::default();
    let writer = queue.start();
    let destination = Destination(writer.is_ok().then_some(queue));
    let lines = match format {
        LogFormat::Text => {
            let is_terminal = io::IsTerminal::is_terminal(&io::stderr());
            layer().with_writer(destination).fmt_fields(PlainFields).with_ansi(is_terminal).boxed()
        }
        LogFormat::Json => layer().with_writer(destination).event_format(JsonLines).boxed(),
    };
    let cannot = trail.check().err();
    // The trail comes last: its own messages are events within an event.
    let (filter, level) = reload::Layer::new(LevelFilter::from_level(level));
    let lines = registry().with(lines.with_filter(filter));
    let _first = lines.with(trail.clone().layer()).try_init();
    if let Some(cannot) = cannot {
        tracing::error!("{cannot}");
    }
    Logging { level, trail, _writer: writer.ok() }
}

/// Starts logging for a command, which reports its results itself: only the trail is written.
pub fn start_for_command(trail: Trail) {
    let _first = registry().with(trail.layer()).try_init();
}

/// Where lines are written to.
#[derive(Debug)]
struct Destination(Option<Queue>);

impl<'writer> MakeWriter<'writer> for Destination {
    type Writer = Box<dyn io::Write + 'writer>;

    fn make_writer(&'writer self) -> Self::Writer {
        Box::new(io::stderr())
    }

    fn make_writer_for(&'writer self, event: &Metadata<'_>) -> Self::Writer {
        let is_about_a_request = [REJECTION_LOG_TARGET, REQUEST_LOG_TARGET].contains(&event.target());
        match &self.0 {
            Some(queue) if is_about_a_request && *event.level() >= Level::INFO => Box::new(queue),
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

/// Writes each event as one JSON object on one line: its time, level and target, and then its fields. `docs/operating.md` has a table of
/// all fields.
struct JsonLines;

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'lookup> LookupSpan<'lookup>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut line = r#"{"timestamp":""#.to_owned();
        SystemTime.format_time(&mut Writer::new(&mut line))?;
        let (level, target) = (event.metadata().level(), Value::from(event.metadata().target()));
        write!(line, r#"","level":"{level}","target":{target}"#)?;
        let mut fields = EventFields::default();
        event.record(&mut fields);
        for (name, value) in fields.0 {
            write!(line, ",{}:{value}", Value::from(name))?;
        }
        writeln!(writer, "{}}}", escaped_json(&line))
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
    fn a_line_in_json_keeps_numbers_and_the_causes_of_an_error() {
        let sink = Sink::default();
        let writer = sink.clone();
        let lines = layer().with_writer(move || writer.clone()).event_format(JsonLines);
        let error = adieu::Error::unavailable(io::Error::other("the disk is full"));
        with_default(registry().with(lines), || {
            let (small, large, none) = (7_u8, 8_u128, None::<u64>);
            tracing::warn!(target: "t", small, large, none, yes = true, error = &error as &dyn std::error::Error, "said");
        });
        let line: serde_json::Value = serde_json::from_str(&sink.text()).unwrap();
        let time = line["timestamp"].as_str().unwrap();
        let expected = serde_json::json!({
            "timestamp": time, "level": "WARN", "target": "t", "message": "said", "small": 7, "large": 8, "yes": true,
            "error": format!("{}", Chain(&error)),
        });
        assert_eq!(line, expected);
        assert!(expected["error"].as_str().unwrap().ends_with(": the disk is full"), "{expected}");
        let form: String = time.chars().map(|letter| if letter.is_ascii_digit() { '0' } else { letter }).collect();
        assert_eq!(form, "0000-00-00T00:00:00.000000Z", "RFC 3339 §5.6");
    }

    #[test]
    fn what_can_not_be_seen_is_escaped_in_json_too() {
        let sink = Sink::default();
        let writer = sink.clone();
        let lines = layer().with_writer(move || writer.clone()).event_format(JsonLines);
        let text = "a\u{202e}b\u{e0041}\u{1b}\n";
        with_default(registry().with(lines), || tracing::info!(text, "said"));
        let line = sink.text();
        assert_eq!(line.lines().count(), 1);
        assert!(line.contains(r"a\u202eb\udb40\udc41\u001b\n"), "{line}");
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(read["text"], text);
    }
}
