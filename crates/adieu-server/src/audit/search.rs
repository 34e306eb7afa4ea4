//! Searches the file of the audit trail, from its end.

use std::{
    fs::File,
    io::{self, ErrorKind, Read as _, Seek as _, SeekFrom},
    path::Path,
};

use adieu::{Subject, time::Timestamp};
use memchr::{memmem, memrchr};
use serde_json::Value;

/// How much of the file is read at once.
const CHUNK: u64 = 256 * 1024;

/// How much of the file one search reads by default before it returns what it has found.
const MAX_READ: u64 = 32 * 1024 * 1024;

/// Longer lines are not from this program.
const MAX_LINE: usize = 64 * 1024;

/// What to search for. An empty text matches everything.
#[derive(Debug, Clone)]
pub(crate) struct Sought {
    /// Only events about this user of this server.
    pub(crate) user: Option<Subject>,
    /// A part of any field.
    pub(crate) text: String,
    /// A part of the name of the event.
    pub(crate) event: String,
    /// Only events at this time or earlier.
    pub(crate) not_after: Option<Timestamp>,
    /// Only events before this byte of the file.
    pub(crate) before: Option<u64>,
    /// How many events to return.
    pub(crate) limit: usize,
    /// How many bytes of the file to read before it returns what it has found.
    pub(crate) max_read: u64,
}

impl Default for Sought {
    fn default() -> Self {
        let (text, event) = (String::new(), String::new());
        Self { user: None, text, event, not_after: None, before: None, limit: 0, max_read: MAX_READ }
    }
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Search {
    /// The events, newest first.
    pub(crate) events: Vec<Value>,
    /// Where to go on; `None` at the beginning of the file.
    pub(crate) before: Option<u64>,
}

impl Sought {
    /// Like [`Sought::search`], but goes on, at most so many times, until there are enough events.
    ///
    /// # Errors
    /// Fails if the file can't be read.
    pub(crate) fn search_on(mut self, file: &Path, times: usize) -> io::Result<Search> {
        let mut all = Search::default();
        for _ in 0..times {
            let found = self.search(file)?;
            self.limit = self.limit.saturating_sub(found.events.len());
            all.events.extend(found.events);
            (all.before, self.before) = (found.before, found.before);
            if self.limit == 0 || all.before.is_none() {
                break;
            }
        }
        Ok(all)
    }

    /// Searches the file backwards. A file that does not exist has no events.
    ///
    /// # Errors
    /// Fails if the file can't be read.
    pub(crate) fn search(&self, file: &Path) -> io::Result<Search> {
        // A pipe would wait for a writer, for ever.
        let mut file = match std::fs::metadata(file) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Search::default()),
            Ok(metadata) if !metadata.is_file() => {
                return Err(io::Error::new(ErrorKind::InvalidInput, "the audit trail is not a file"));
            }
            metadata => metadata.and_then(|_| File::open(file))?,
        };
        let length = file.seek(SeekFrom::End(0))?;
        let mut end = self.before.unwrap_or(length).min(length);
        let least = end.saturating_sub(self.max_read);
        let user = self.user.as_ref().map(|user| memmem::Finder::new(user.as_str()));
        let mut found = Search::default();
        // What was read and lies before the first line that is complete, and where it begins.
        let mut rest = Vec::new();
        while end > 0 {
            let start = end.saturating_sub(CHUNK);
            file.seek(SeekFrom::Start(start))?;
            let mut chunk = Vec::new();
            file.by_ref().take(end - start).read_to_end(&mut chunk)?;
            chunk.extend_from_slice(&rest);
            let mut line_end = chunk.len();
            while let Some(line_start) = line_start(&chunk, line_end, start == 0) {
                // To parse every line would take most of the time. Ids of users need no escapes in JSON.
                let names_user = |line: &&[u8]| user.as_ref().is_none_or(|user| user.find(line).is_some());
                let line = chunk.get(line_start..line_end).filter(names_user);
                found.events.extend(line.and_then(|line| self.read(line)));
                // The line break before it.
                line_end = line_start.saturating_sub(1);
                if found.events.len() >= self.limit || line_start == 0 {
                    found.before = Some(start + line_end as u64).filter(|before| *before > 0);
                    return Ok(found);
                }
            }
            chunk.truncate(line_end);
            // Of a line that is too long, only its beginning is kept.
            chunk.truncate(MAX_LINE + 1);
            (rest, end) = (chunk, start);
            if end <= least && end > 0 {
                found.before = Some(end + rest.len() as u64);
                return Ok(found);
            }
        }
        Ok(found)
    }

    fn read(&self, line: &[u8]) -> Option<Value> {
        let event: Value = serde_json::from_slice(line).ok()?;
        let fields = event.as_object()?;
        let contains = |value: &Value| match value {
            Value::String(text) => text.contains(&self.text),
            other => other.to_string().contains(&self.text),
        };
        let at = fields.get("at").and_then(Value::as_u64).map(Timestamp::from_unix);
        // The same id of another issuer is another user.
        let is_about = |user: &Subject| {
            fields.get("subject").and_then(Value::as_str) == Some(user.as_str()) && !fields.contains_key("issuer")
        };
        let is_sought = self.user.as_ref().is_none_or(is_about)
            && (self.text.is_empty() || fields.values().any(contains))
            && fields.get("event").and_then(Value::as_str).unwrap_or_default().contains(&self.event)
            && self.not_after.is_none_or(|limit| at.is_some_and(|at| at <= limit));
        is_sought.then_some(event)
    }
}

/// Returns where the line begins that ends before `end`, if the chunk has all of it.
fn line_start(chunk: &[u8], end: usize, has_beginning: bool) -> Option<usize> {
    let before = chunk.get(..end)?;
    match memrchr(b'\n', before) {
        Some(position) => Some(position + 1),
        None => has_beginning.then_some(0),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    fn all(sought: &Sought, file: &Path) -> Vec<u64> {
        let (mut sought, mut found) = (sought.clone(), Vec::new());
        loop {
            let search = sought.search(file).unwrap();
            assert!(search.events.len() <= sought.limit);
            found.extend(search.events.iter().map(|event| event["at"].as_u64().unwrap()));
            let Some(before) = search.before else { return found };
            assert!(sought.before.is_none_or(|last| before < last));
            sought.before = Some(before);
        }
    }

    #[test]
    fn events_are_found_from_the_end_however_long_the_file_is() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("audit.jsonl");
        assert!(all(&Sought { limit: 3, ..Sought::default() }, &file).is_empty(), "there is no file");
        let mut text = String::from("not json\n\n{\"at\":\n");
        for at in 0..9_000 {
            let event = if at % 3 == 0 { "login" } else { "logout" };
            writeln!(
                text,
                "{{\"at\":{at},\"event\":\"{event}\",\"subject\":\"user-{}\",\"x\":\"{}\"}}",
                at % 10,
                "y".repeat(at % 200)
            )
            .unwrap();
        }
        std::fs::write(&file, &text).unwrap();
        let everything: Vec<u64> = (0..9_000).rev().collect();
        assert!(text.len() as u64 > 3 * CHUNK);
        for limit in [1_000, 7_777] {
            assert_eq!(all(&Sought { limit, ..Sought::default() }, &file), everything);
        }
        let sought = Sought {
            text: "user-7".into(),
            event: "login".into(),
            not_after: Some(Timestamp::from_unix(100)),
            limit: 2,
            ..Sought::default()
        };
        assert_eq!(all(&sought, &file), [87, 57, 27]);
    }

    #[test]
    fn events_of_a_user_are_about_no_other_user() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("audit.jsonl");
        let lines = [
            r#"{"at":1,"event":"login","subject":"user-1"}"#,
            r#"{"at":2,"event":"login","subject":"user-10"}"#,
            r#"{"at":3,"event":"login","subject":"user-1","issuer":"https://other.example"}"#,
            r#"{"at":4,"event":"account_disabled","subject":"user-2","actor":"user-1"}"#,
            r#"{"at":5,"event":"logout","subject":"user-1"}"#,
        ];
        std::fs::write(&file, lines.join("\n")).unwrap();
        let sought = Sought { user: Subject::new("user-1").ok(), limit: 9, ..Sought::default() };
        assert_eq!(all(&sought, &file), [5, 1]);
    }

    #[test]
    fn a_search_reads_no_more_than_it_may() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("audit.jsonl");
        let line = format!("{{\"at\":2,\"event\":\"{}\"}}\n", "x".repeat(1_000));
        let text = format!("{{\"at\":1}}\n{}", line.repeat(1_000));
        std::fs::write(&file, &text).unwrap();
        let sought = Sought { not_after: Some(Timestamp::from_unix(1)), limit: 1, ..Sought::default() };
        let near = Sought { max_read: 2 * CHUNK, ..sought.clone() }.search(&file).unwrap();
        let unread = text.len() as u64 - 2 * CHUNK;
        assert!(near.events.is_empty() && near.before.is_some_and(|before| (unread..unread + 2_000).contains(&before)));
        assert_eq!(all(&sought, &file), [1]);
    }

    #[cfg(unix)]
    #[test]
    fn what_is_no_file_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("audit.jsonl");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        for other in [pipe.as_path(), folder.path(), Path::new("/dev/zero")] {
            assert!(Sought { limit: 1, ..Sought::default() }.search(other).is_err());
        }
    }

    #[test]
    fn a_line_that_is_too_long_or_has_no_end_hides_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("audit.jsonl");
        let long = "x".repeat(3 * CHUNK as usize);
        for (text, expected) in [
            ("{\"at\":1}\n{\"at\":2}".to_owned(), vec![2, 1]),
            (format!("{{\"at\":1}}\n{long}\n{{\"at\":2}}\n"), vec![2, 1]),
            (format!("{long}\n{{\"at\":2}}\n"), vec![2]),
            ("\n\n\n".to_owned(), vec![]),
        ] {
            std::fs::write(&file, &text).unwrap();
            for limit in [1, 10] {
                assert_eq!(all(&Sought { limit, ..Sought::default() }, &file), expected);
            }
        }
    }
}
