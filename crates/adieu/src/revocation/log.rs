//! The contract between whatever keeps revocations and whatever has to know of them.

use std::{fmt, str::FromStr, sync::Arc, time::Duration};

use async_trait::async_trait;
use uuid::Uuid;

use crate::{Error, IdError, revocation::Revocation, time::Timestamp};

/// Which log this is: drawn at random when it is made, and never changed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LogId(Arc<str>);

impl LogId {
    /// A new identity for a new log.
    #[must_use]
    pub fn random() -> Self {
        Self(Arc::from(Uuid::new_v4().simple().encode_lower(&mut Uuid::encode_buffer()) as &str))
    }

    /// An identity that was kept.
    ///
    /// # Errors
    /// When the text is empty or longer than an id may be.
    pub fn new(text: &str) -> Result<Self, IdError> {
        crate::TokenId::new(text).map(|valid| Self(Arc::from(valid.as_str())))
    }

    /// The identity as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A place in a log. Later entries have greater ones; the number itself means nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position(u64);

impl Position {
    /// Before the first entry.
    pub const START: Self = Self(0);

    /// The position with this number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// How far somebody has read, and in which log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// The log that was read.
    pub log: LogId,
    /// The last position that was seen.
    pub position: Position,
}

impl fmt::Display for Cursor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.log.as_str(), self.position.get())
    }
}

/// A text that is no [`Cursor`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor, which is a log's id, a full stop and a position")]
pub struct CursorError;

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let (log, position) = text.rsplit_once('.').ok_or(CursorError)?;
        Ok(Self {
            log: LogId::new(log).map_err(|_| CursorError)?,
            position: Position(position.parse().map_err(|_| CursorError)?),
        })
    }
}

/// What a read gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The revocations after the cursor that have not lapsed, in order.
    pub entries: Vec<Revocation>,
    /// Where to read on.
    pub cursor: Cursor,
    /// Whether this is all there was; when not, read on without waiting.
    pub complete: bool,
    /// Whether the cursor was of no use (none, of another log, or ahead of this one) and this page therefore starts
    /// at the beginning.
    pub from_start: bool,
    /// How stale the answering side itself was. Zero for an engine that asks its storage.
    pub age: Duration,
    /// Every revocation that lapsed at or before this time may have been forgotten.
    pub pruned_through: Timestamp,
}

/// Where revocations are kept.
///
/// What an implementation promises:
///
/// 1. **Durable.** When [`append`](Self::append) returns, the revocations are on stable storage.
/// 2. **Ordered without gaps.** Once a reader has seen a position, nothing at or before it appears later.
/// 3. **Whole.** A read from the beginning yields every revocation that has not lapsed: a snapshot is just that.
/// 4. **Identified.** A log has an id, and a cursor carries it. A cursor of another log, or one that is ahead of the
///    head, is answered from the beginning, and the page says so.
/// 5. **Marked.** What was pruned is told ([`Page::pruned_through`]), so that a clock that goes back can't revive a
///    token whose revocation has been forgotten.
#[async_trait]
pub trait RevocationLog: Send + Sync + 'static {
    /// Appends all of them or none, and returns when they are durable.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when that can't be promised; they may or may not be found later.
    async fn append(&self, revocations: Vec<Revocation>) -> Result<Position, Error>;

    /// What comes after `after`, from the beginning when there is none; when there is nothing, waits up to `wait` for
    /// something to come. Everything that was appended before the call is in the answer, or follows it when the page
    /// is not [`complete`](Page::complete).
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the storage could not be asked.
    async fn read(&self, after: Option<&Cursor>, wait: Duration) -> Result<Page, Error>;

    /// Forgets some of what has lapsed at `now`, in a step so small that it holds no append up noticeably.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the storage could not be written.
    async fn prune(&self, now: Timestamp) -> Result<Pruned, Error>;

    /// Takes note that everything up to a cursor is in the index of whoever reads. A read alone does not say so: the next
    /// page may be asked for while the last is still being taken in.
    ///
    /// Called by a [`Follower`](crate::revocation::Follower), never before it is true. Most engines have nobody to tell.
    fn acknowledge(&self, _cursor: &Cursor) {}
}

/// What one step of [`RevocationLog::prune`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pruned {
    /// How many entries it removed.
    pub removed: usize,
    /// Whether everything that had lapsed is gone; when not, there is more to do now.
    pub complete: bool,
}
