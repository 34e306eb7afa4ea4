//! Log lines that are written by a thread of their own.

use std::{
    io::{self, Write as _},
    mem,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

/// How much text may wait to be written: several thousand lines.
const MAX_BYTES: usize = 1024 * 1024;

/// How long the thread lets lines gather after each write. Otherwise it would be woken for each line, which costs a request more than
/// writing the line itself.
const PAUSE: Duration = Duration::from_millis(10);

/// A bounded queue of lines for standard error. Clones share it.
///
/// 1. Adding a line never waits for the reader of standard error: a line for which there is no room is dropped.
/// 2. Dropped lines are counted, and a later line says how many there were.
/// 3. A line is written within [`PAUSE`], or when the [`Writer`] is dropped.
#[derive(Debug, Clone, Default)]
pub(super) struct Queue(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    filled: Condvar,
    closed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    text: Vec<u8>,
    dropped: u64,
    is_closed: bool,
    /// Whether the thread has nothing to do.
    is_asleep: bool,
}

/// The thread that writes the lines. When dropped, all lines have been written.
#[derive(Debug)]
pub(super) struct Writer {
    queue: Queue,
    thread: Option<JoinHandle<()>>,
}

impl Queue {
    /// Adds a whole line, unless there is no room for it.
    pub(super) fn add(&self, line: &[u8]) {
        let mut waiting = self.waiting();
        if waiting.text.len() + line.len() > MAX_BYTES {
            waiting.dropped += 1;
            return;
        }
        waiting.text.extend_from_slice(line);
        if mem::take(&mut waiting.is_asleep) {
            drop(waiting);
            self.0.filled.notify_one();
        }
    }

    /// Starts the thread that writes to standard error. It reports dropped lines as an event of its own.
    ///
    /// # Errors
    /// Fails if the system starts no thread.
    pub(super) fn start(&self) -> io::Result<Writer> {
        let queue = self.clone();
        let report =
            |dropped| tracing::warn!(dropped, "lines about requests were dropped: there were too many of them");
        let write = move || queue.write_all(|text| io::stderr().write_all(text), report);
        let thread = thread::Builder::new().name("log".to_owned()).spawn(write)?;
        Ok(Writer { queue: self.clone(), thread: Some(thread) })
    }

    /// Writes lines until the queue is closed and empty.
    fn write_all(&self, mut write: impl FnMut(&[u8]) -> io::Result<()>, report: impl Fn(u64)) {
        let mut text = Vec::new();
        loop {
            let mut waiting = self.waiting();
            while waiting.text.is_empty() && waiting.dropped == 0 {
                if waiting.is_closed {
                    return;
                }
                waiting.is_asleep = true;
                waiting = self.0.filled.wait(waiting).unwrap_or_else(PoisonError::into_inner);
            }
            waiting.is_asleep = false;
            mem::swap(&mut text, &mut waiting.text);
            let dropped = mem::take(&mut waiting.dropped);
            drop(waiting);
            // Without standard error there is no place to report this.
            let _written = write(&text);
            text.clear();
            if dropped > 0 {
                report(dropped);
            }
            let is_open = |waiting: &mut Waiting| !waiting.is_closed;
            drop(self.0.closed.wait_timeout_while(self.waiting(), PAUSE, is_open));
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl io::Write for &Queue {
    /// Receives a whole line at once.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.add(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue.waiting().is_closed = true;
        self.queue.0.filled.notify_one();
        self.queue.0.closed.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{cell::RefCell, sync::mpsc};

    use super::*;

    #[test]
    fn lines_are_written_in_order_and_all_of_them_before_the_end() {
        let queue = Queue::default();
        let (lines, written) = mpsc::channel();
        let writing = {
            let queue = queue.clone();
            let write = move |text: &[u8]| lines.send(text.to_vec()).map_err(io::Error::other);
            thread::spawn(move || queue.write_all(write, |_| ()))
        };
        queue.add(b"first\n");
        assert_eq!(written.recv().unwrap(), b"first\n");
        let writer = Writer { queue: queue.clone(), thread: Some(writing) };
        queue.add(b"second\n");
        queue.add(b"third\n");
        drop(writer);
        assert_eq!(written.iter().flatten().collect::<Vec<_>>(), b"second\nthird\n");
    }

    #[test]
    fn a_flood_is_dropped_counted_and_reported() {
        let queue = Queue::default();
        let line = [b'x'; 1024];
        (0..MAX_BYTES / line.len() + 7).for_each(|_| queue.add(&line));
        queue.waiting().is_closed = true;
        let (written, reported) = (RefCell::new(0), RefCell::new(Vec::new()));
        let write = |text: &[u8]| {
            *written.borrow_mut() += text.len();
            Ok(())
        };
        queue.write_all(write, |dropped| reported.borrow_mut().push(dropped));
        assert_eq!((written.into_inner(), reported.into_inner()), (MAX_BYTES, vec![7]));
    }
}
