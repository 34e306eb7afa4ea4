//! Reads the input on a thread of its own, so that a slow pipe holds up nothing else.

use std::{
    io::{self, BufRead, BufReader, Read},
    thread,
};

use serde_json::Value;
use tokio::sync::mpsc;

use super::{
    document,
    lines::Lines,
    plain::{self, Plain},
    record::{InputError, Place, Row, RowError},
    sources::Source,
};

/// Rows that are read ahead.
const AHEAD: usize = 1_000;

/// What the input is.
pub(super) enum Layout {
    /// Lines with the member or column `username` and others.
    Plain(Option<plain::Format>),
    /// The export of other software.
    Export(Source),
}

/// Something in the input.
pub(super) enum Found {
    Row(Row),
    /// The name of a member or column that is ignored.
    Ignored(String),
    /// The end. Without it, the input has not been read as a whole.
    End,
}

type Sender = mpsc::Sender<Result<Found, InputError>>;

/// Starts to read.
pub(super) fn start(
    input: Box<dyn Read + Send>,
    layout: Layout,
) -> io::Result<mpsc::Receiver<Result<Found, InputError>>> {
    let (sender, found) = mpsc::channel(AHEAD);
    thread::Builder::new().name("adieu-import".to_owned()).spawn(move || {
        let end = read(BufReader::new(input), layout, &sender).map(|()| Found::End);
        send(&sender, end);
    })?;
    Ok(found)
}

fn send(sender: &Sender, found: Result<Found, InputError>) {
    // If the receiver is gone, the command is about to end.
    let _gone = sender.blocking_send(found);
}

fn read(mut input: impl BufRead, layout: Layout, sender: &Sender) -> Result<(), InputError> {
    let row = |place, record| send(sender, Ok(Found::Row(Row { place, record })));
    let in_line = |line| Place { line, entry: None };
    skip_byte_order_mark(&mut input)?;
    match layout {
        Layout::Plain(format) => {
            let mut plain = Plain::new(format);
            let mut lines = Lines::new(input);
            while let Some((number, line)) = lines.next()? {
                let is_header = plain.expects_header();
                let record = line.and_then(|line| plain.record(&line));
                for name in plain.take_ignored() {
                    send(sender, Ok(Found::Ignored(name)));
                }
                match record {
                    Ok(Some(record)) => row(in_line(number), Ok(record)),
                    Ok(None) => {}
                    Err(error) if is_header || plain.expects_header() => return Err(InputError::Header(error)),
                    Err(error) => row(in_line(number), Err(error)),
                }
            }
            Ok(())
        }
        Layout::Export(source) => {
            let mut each = |place, object| {
                if let Some(record) = source.record(object) {
                    row(place, record);
                }
            };
            if source.is_one_object() || input.fill_buf()?.trim_ascii_start().starts_with(b"[") {
                return document::read(input, &mut each);
            }
            let mut lines = Lines::new(input);
            while let Some((number, line)) = lines.next()? {
                match line.and_then(|line| {
                    serde_json::from_str::<Value>(&line).map_err(|error| RowError::NotJson(error.column()))
                }) {
                    Ok(object) => each(in_line(number), object),
                    Err(error) => row(in_line(number), Err(error)),
                }
            }
            Ok(())
        }
    }
}

/// Skips the mark that some programs put in front of UTF-8.
fn skip_byte_order_mark(input: &mut impl BufRead) -> io::Result<()> {
    const MARK: &[u8] = "\u{feff}".as_bytes();
    if input.fill_buf()?.starts_with(MARK) {
        input.consume(MARK.len());
    }
    Ok(())
}
