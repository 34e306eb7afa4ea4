//! Reports the progress of a command.

use std::io::{self, IsTerminal as _, Write as _};

use super::output::{Reader, visible};

/// A progress report on standard error: one line, overwritten on a terminal.
pub(super) struct Progress {
    is_shown: bool,
    is_terminal: bool,
    line_is_open: bool,
}

impl Progress {
    pub(super) fn new(asked_for: bool, reader: Reader) -> Self {
        let is_terminal = io::stderr().is_terminal();
        Self { is_shown: asked_for || (is_terminal && reader == Reader::Person), is_terminal, line_is_open: false }
    }

    pub(super) fn at(&mut self, text: &str) {
        if self.is_shown {
            let (start, end) = if self.is_terminal { ("\r", "") } else { ("", "\n") };
            // If standard error is closed, progress is not wanted.
            let _told = write!(io::stderr(), "{start}{text}{end}");
            self.line_is_open = self.is_terminal;
        }
    }

    pub(super) fn print(&mut self, text: &str) {
        self.end();
        let _told = writeln!(io::stderr(), "{}", visible(text));
    }

    pub(super) fn end(&mut self) {
        if std::mem::take(&mut self.line_is_open) {
            let _told = writeln!(io::stderr());
        }
    }
}
