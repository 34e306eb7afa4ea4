//! The output of commands: tables for people, and with `--json` one JSON object per line for programs.
//!
//! 1. A character that a terminal would interpret, or that is invisible, is printed as `\u{1b}` (in JSON as
//!    `\u001b`): names and user agents may have any characters.
//! 2. A reader that has closed its end (`adieu user list | head`) is no error.
//! 3. Memory is bounded: a table is aligned and printed block by block.

use std::{
    fmt::Write as _,
    io::{self, BufWriter, Stdout, Write as _},
};

use anyhow::Context as _;
use serde::Serialize;
use unicode_width::UnicodeWidthStr as _;

use crate::text::escaped_json;
pub(super) use crate::{calendar::written, text::visible};

/// Rows that are aligned together.
const BLOCK: usize = 1_000;

/// The reader of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reader {
    Person,
    Machine,
}

/// Standard output.
pub(super) struct Output {
    reader: Reader,
    stdout: BufWriter<Stdout>,
    has_left: bool,
}

impl Output {
    pub(super) fn new(reader: Reader) -> Self {
        Self { reader, stdout: BufWriter::new(io::stdout()), has_left: false }
    }

    pub(super) fn reader(&self) -> Reader {
        self.reader
    }

    /// Returns whether the reader is gone, so that there is no point in continuing a list.
    pub(super) fn is_over(&self) -> bool {
        self.has_left
    }

    /// Prints the result of a command: the sentence or the object.
    pub(super) fn result(&mut self, sentence: &str, object: &impl Serialize) -> anyhow::Result<()> {
        match self.reader {
            Reader::Person => self.line(&visible(sentence)),
            Reader::Machine => self.object(object),
        }
    }

    /// Prints one object on one line.
    pub(super) fn object(&mut self, object: &impl Serialize) -> anyhow::Result<()> {
        let json = serde_json::to_string(object).context("cannot print")?;
        self.line(&escaped_json(&json))
    }

    /// Prints text of this program, without escaping it.
    pub(super) fn text(&mut self, text: &str) -> anyhow::Result<()> {
        if self.has_left {
            return Ok(());
        }
        let written = self.stdout.write_all(text.as_bytes());
        self.unless_gone(written)
    }

    /// Flushes the output. Dropping an [`Output`] without this may silently lose the rest.
    pub(super) fn finish(mut self) -> anyhow::Result<()> {
        self.flush()
    }

    /// Prints what is still in memory.
    pub(super) fn flush(&mut self) -> anyhow::Result<()> {
        if self.has_left {
            return Ok(());
        }
        let flushed = self.stdout.flush();
        self.unless_gone(flushed)
    }

    fn line(&mut self, line: &str) -> anyhow::Result<()> {
        self.text(line)?;
        self.text("\n")
    }

    fn unless_gone(&mut self, written: io::Result<()>) -> anyhow::Result<()> {
        match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.has_left = true;
                Ok(())
            }
            other => other.context("cannot print"),
        }
    }
}

/// A table for people.
pub(super) struct Table<const COLUMNS: usize> {
    headings: Option<[&'static str; COLUMNS]>,
    rows: Vec<[String; COLUMNS]>,
    widths: [usize; COLUMNS],
}

impl<const COLUMNS: usize> Table<COLUMNS> {
    pub(super) fn new(headings: [&'static str; COLUMNS]) -> Self {
        Self { headings: Some(headings), rows: Vec::new(), widths: headings.map(str::width) }
    }

    /// A table without headings.
    pub(super) fn bare() -> Self {
        Self { headings: None, rows: Vec::new(), widths: [0; COLUMNS] }
    }

    /// Adds a row. An empty cell becomes a dash, so that columns can be counted.
    pub(super) fn row(&mut self, output: &mut Output, cells: [String; COLUMNS]) -> anyhow::Result<()> {
        let cells = cells.map(|cell| if cell.is_empty() { "-".to_owned() } else { visible(&cell) });
        for (width, cell) in self.widths.iter_mut().zip(&cells) {
            *width = cell.width().max(*width);
        }
        self.rows.push(cells);
        if self.rows.len() < BLOCK { Ok(()) } else { self.print(output) }
    }

    /// Prints the remaining rows, and the headings even if there are no rows.
    pub(super) fn print(&mut self, output: &mut Output) -> anyhow::Result<()> {
        let headings = self.headings.take().map(|headings| headings.map(str::to_owned));
        for cells in headings.into_iter().chain(std::mem::take(&mut self.rows)) {
            let mut line = String::new();
            for (cell, width) in cells.iter().zip(self.widths) {
                let _infallible = write!(line, "{cell}{:1$}", "", width.saturating_sub(cell.width()) + 2);
            }
            output.line(line.trim_end())?;
        }
        Ok(())
    }
}

/// Formats a number of things: "1 session", "2 sessions".
pub(super) fn counted(number: usize, thing: &str) -> String {
    counted_as(number, thing, &format!("{thing}s"))
}

/// Like [`counted`], with the plural: "1 alias", "2 aliases".
pub(super) fn counted_as(number: usize, one: &str, several: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { several })
}

pub(super) fn yes(answer: bool) -> String {
    if answer { "yes" } else { "no" }.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_spelt_out() {
        assert_eq!(visible("a\u{1b}[31m\u{9b}2J\r\n\u{202e}é"), r"a\u{1b}[31m\u{9b}2J\u{d}\u{a}\u{202e}é");
        let json = serde_json::to_string("a\u{1b}\u{9b}\u{7f}\u{202e}é").unwrap_or_default();
        let escaped = escaped_json(&json);
        assert_eq!(escaped, r#""a\u001b\u009b\u007f\u202eé""#);
        assert_eq!(serde_json::from_str::<String>(&escaped).ok(), serde_json::from_str::<String>(&json).ok());
    }
}
