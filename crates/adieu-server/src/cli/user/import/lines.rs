//! Splits the input into lines. At most [`MAX_ROW_BYTES`] of a line are kept in memory; a longer line is skipped.

use std::io::{self, BufRead, Read as _};

use super::record::{MAX_ROW_BYTES, RowError};

/// Reads lines with their numbers, the first being 1.
pub(super) struct Lines<R> {
    input: R,
    number: usize,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, number: 0 }
    }

    /// Returns the next line that is not blank, without its line break, or why it is invalid; `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<(usize, Result<String, RowError>)>> {
        loop {
            let mut bytes = Vec::new();
            let read = (&mut self.input).take(MAX_ROW_BYTES as u64 + 1).read_until(b'\n', &mut bytes)?;
            if read == 0 {
                return Ok(None);
            }
            self.number += 1;
            if bytes.last() != Some(&b'\n') && read > MAX_ROW_BYTES {
                self.input.skip_until(b'\n')?;
                return Ok(Some((self.number, Err(RowError::TooLong))));
            }
            let Ok(line) = String::from_utf8(bytes) else { return Ok(Some((self.number, Err(RowError::NotUtf8)))) };
            let line = line.strip_suffix('\n').unwrap_or(&line);
            let line = line.strip_suffix('\r').unwrap_or(line);
            if !line.trim().is_empty() {
                return Ok(Some((self.number, Ok(line.to_owned()))));
            }
        }
    }
}
