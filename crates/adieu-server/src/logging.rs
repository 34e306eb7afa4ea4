//! Destination of log lines: standard error, so that standard output contains only the requested output; lines for an auditor also go to
//! a file of their own, if configured.
//!
//! A client that sends an id or a name can't forge log lines: characters that end a line, control a terminal or look like another field
//! are escaped or quoted here, for all fields of all events.

use std::{
    fmt::{self, Write as _},
    io,
};

use adieu::Chain;
use tracing::{
    Level,
    field::{Field, Visit},
    level_filters::LevelFilter,
};
use tracing_subscriber::{
    Layer as _,
    field::RecordFields,
    fmt::{FormatFields, format::Writer, layer},
    layer::SubscriberExt as _,
    registry,
    util::SubscriberInitExt as _,
};

use crate::{
    audit::Trail,
    config::LogFormat,
    text::{escaped_json, visible},
};

/// Starts logging for the whole process. Only the first call has an effect.
pub fn start(format: LogFormat, level: Level, trail: Option<Trail>) {
    let lines = match format {
        LogFormat::Text => {
            let is_terminal = io::IsTerminal::is_terminal(&io::stderr());
            layer().with_writer(io::stderr).fmt_fields(PlainFields).with_ansi(is_terminal).boxed()
        }
        LogFormat::Json => layer().with_writer(|| JsonLines(io::stderr())).json().flatten_event(true).boxed(),
    };
    let cannot = trail.as_ref().and_then(|trail| trail.check().err());
    // The trail comes last: its own messages are events within an event.
    let lines = registry().with(lines.with_filter(LevelFilter::from_level(level)));
    let _first = lines.with(trail.map(Trail::layer)).try_init();
    if let Some(cannot) = cannot {
        tracing::error!("{cannot}");
    }
}

/// Starts logging for a command, which reports its results itself: only the trail is written.
pub fn start_for_command(trail: Trail) {
    let _first = registry().with(trail.layer()).try_init();
}

/// Writes fields as `name=value`, each value as one word or as one quoted text.
struct PlainFields;

impl<'writer> FormatFields<'writer> for PlainFields {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut written = Written(String::new());
        fields.record(&mut written);
        writer.write_str(&written.0)
    }
}

struct Written(String);

impl Written {
    fn put(&mut self, field: &Field, value: &str) {
        if !self.0.is_empty() {
            self.0.push(' ');
        }
        if field.name() == "message" {
            self.0.push_str(&visible(value));
            return;
        }
        let is_word =
            !value.is_empty() && !value.contains(|letter: char| letter.is_whitespace() || "\"=\\".contains(letter));
        let value = if is_word { visible(value) } else { visible(&format!("{value:?}")) };
        let _infallible = write!(self.0, "{}={value}", field.name().trim_start_matches("r#"));
    }
}

impl Visit for Written {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.put(field, value),
            // Always quoted, as is usual.
            _ => {
                let separator = if self.0.is_empty() { "" } else { " " };
                let _infallible = write!(self.0, "{separator}{}={}", field.name(), visible(&format!("{value:?}")));
            }
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.put(field, &Chain(value).to_string());
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
