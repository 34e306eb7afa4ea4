//! The [`RevocationLog`] trait and its cursors and pages.

use std::{fmt, str::FromStr, sync::Arc, time::Duration};

use async_trait::async_trait;
use uuid::Uuid;

use crate::{
    Error, IdError,
    revocation::{HashedRevocation, Revocation, RevocationHasher},
    time::Timestamp,
};

/// The identity of a log: generated at random when the log is created, and never changed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LogId(Arc<str>);

impl LogId {
    /// Generates a random id for a new log.
    #[must_use]
    pub fn random() -> Self {
        Self(Arc::from(Uuid::new_v4().simple().encode_lower(&mut Uuid::encode_buffer()) as &str))
    }

    /// Creates a log id from its stored text.
    ///
    /// # Errors
    /// Returns [`IdError`] if the text is empty or longer than an id may be.
    pub fn new(text: &str) -> Result<Self, IdError> {
        crate::TokenId::new(text).map(|valid| Self(Arc::from(valid.as_str())))
    }

    /// Returns the id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A position in a log. Later entries have greater positions; the number itself has no meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position(u64);

impl Position {
    /// The position before the first entry.
    pub const START: Self = Self(0);

    /// Creates a position from its number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Returns the number of this position.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// How far a reader has read, and in which log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// The log that was read.
    pub log: LogId,
    /// The last position that was read.
    pub position: Position,
}

impl fmt::Display for Cursor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.log.as_str(), self.position.get())
    }
}

/// The error for a text that is not a valid [`Cursor`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor, which is a log's id, a full stop and a position")]
pub struct CursorError;

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let (log, position) = text.rsplit_once('.').ok_or(CursorError)?;
        if position.starts_with('+') {
            return Err(CursorError);
        }
        Ok(Self {
            log: LogId::new(log).map_err(|_| CursorError)?,
            position: Position(position.parse().map_err(|_| CursorError)?),
        })
    }
}

/// The result of one [`RevocationLog::read`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The revocations after the cursor that have not lapsed, in order. The log of another process
    /// ([`Remote`](crate::store)) may repeat some entries from before the cursor.
    pub entries: Vec<Revocation>,
    /// The cursor to pass to the next read.
    pub cursor: Cursor,
    /// Whether this page reaches the end of the log. If not, the reader reads the next page without waiting.
    pub complete: bool,
    /// Whether this page starts at the beginning of the log, because the cursor was missing, of another log, or ahead of
    /// this log.
    pub from_start: bool,
    /// How stale the answering side itself was. Zero for an engine that reads from its storage.
    pub age: Duration,
    /// Every revocation that lapsed at or before this time may have been pruned.
    pub pruned_through: Timestamp,
}

/// The result of one [`RevocationLog::read_hashed`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HashedPage {
    /// The page, without the entries that are in `hashed`.
    pub page: Page,
    /// Entries of the page that were hashed elsewhere.
    pub hashed: Vec<HashedRevocation>,
}

/// A durable, ordered log of revocations.
///
/// An implementation guarantees:
///
/// 1. **Durable.** When [`append`](Self::append) returns, the revocations are on stable storage.
/// 2. **Ordered without gaps.** Once a reader has seen a position, no entry at or before it appears later.
/// 3. **Complete.** A read from the beginning returns every revocation that has not lapsed, and so serves as a snapshot.
/// 4. **Identified.** A log has an id, and a cursor carries it. A read with a cursor of another log, or with one ahead of
///    the head, starts at the beginning and sets [`Page::from_start`].
/// 5. **Marked.** Each page reports how far the log was pruned ([`Page::pruned_through`]), so that a clock that goes back
///    can't make a token valid whose revocation was pruned.
///
/// # Writing an engine
///
/// All methods may be called concurrently, from many tasks of many processes that have the same log open. The future of a
/// call may be dropped before it completes.
///
/// **Gaps** are the most likely mistake, because they appear only with concurrent writers. If an engine numbers its entries
/// from a PostgreSQL sequence, one transaction gets 7 and the next gets 8, and the second may commit first. A reader then
/// sees 8 and continues after it. When 7 commits a moment later it is behind the cursor of the reader, which accepts the
/// revoked token until it expires. Timestamps instead of positions have the same gap, and so has a read that queries several
/// servers if one of them lags. To prevent gaps, make positions visible in their order. Either have one writer, like SQLite,
/// or a single thread or script of Redis; or take a lock before a position is assigned and hold it until the commit is
/// visible, like a transaction-level advisory lock in PostgreSQL. If appends then wait for each other, let the appends of one
/// process share a commit: the cost becomes negligible.
///
/// **Appends are atomic**: all entries or none, in the given order, with no other entry between them.
///
/// **Identity.** The first process to open a new log generates its id ([`LogId::random`]) in one atomic step and stores it
/// with the log, so storage that was emptied or replaced is another log. Storage restored from a backup keeps its id; readers
/// detect it because their cursor is ahead of its head. Therefore a position is never reused, neither after everything has
/// been pruned nor after a restart: keep a counter, or keep the last entry and hide it once it has lapsed. A position is
/// positive, and below 2⁶³ if other nodes are to follow.
///
/// **Revocations are stored unchanged.** An id is any text of 1 to [`MAX_ID_BYTES`](crate::MAX_ID_BYTES) bytes of UTF-8,
/// including NUL. A [`Timestamp`] goes up to [`Timestamp::MAX`], which is the year 9999. An engine does not reject duplicates:
/// a caller that does not know the outcome of an append retries it, and an index ignores the repetition.
///
/// The `adieu-conformance` crate tests an engine against this contract.
#[async_trait]
pub trait RevocationLog: Send + Sync + 'static {
    /// Appends all revocations or none, and returns when they are durable: they survive a crash of this process, of the
    /// storage and of the machine. Returns the position of the last revocation, or the end of the log if there are none.
    ///
    /// After an error, or if the call is dropped, the outcome is unknown: all revocations may be stored now, appear later, or
    /// never appear. The caller may retry the append. The engine need not detect the repetition, but an append that was never
    /// acknowledged must not block later ones.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if durability can't be guaranteed; the revocations may or may not appear later. Engines fail
    /// early rather than late, because the caller can't acknowledge a revocation while it waits. [`Error::Unsupported`] if the
    /// engine can't store one of the revocations by contract; it then stores none of that append.
    async fn append(&self, revocations: Vec<Revocation>) -> Result<Position, Error>;

    /// Reads the entries after `after`, or from the beginning if `after` is `None`. If there are none, waits up to `wait` for
    /// a new entry. Everything appended before the call is in the page, or follows it if the page is not
    /// [`complete`](Page::complete).
    ///
    /// * Entries, head and `pruned_through` are of one moment. The cursor of a complete page is the head, even if the page has
    ///   no entries. It is never behind `after`, unless the page is [`from_start`](Page::from_start).
    /// * A page from the beginning is returned without waiting, even if it is empty. So a first reader, or one whose cursor is
    ///   of another log, never waits. A page with nothing new is returned only when `wait` is over, because followers read
    ///   again immediately.
    /// * A wait ends when *any* process appends, typically within a quarter of a second. Notifications from the storage help but
    ///   can get lost; only polling guarantees it.
    /// * `wait` may be zero or [`Duration::MAX`]: do not compute a deadline by adding it to a clock.
    /// * A dropped read leaves nothing behind: waiting reads are often cancelled.
    /// * [`age`](Page::age) is zero if the read queries the storage where appends are acknowledged. If the read is answered from
    ///   a source that lags (a replica, another node, memory), `age` is the maximum lag: everything acknowledged that long before
    ///   the call is included. Too large an `age` costs freshness; too small an `age` lets a node accept revoked tokens too long.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the storage could not be read. An engine never returns an empty page instead, because readers
    /// take that as proof that there is nothing new.
    async fn read(&self, after: Option<&Cursor>, wait: Duration) -> Result<Page, Error>;

    /// Reads like [`read`](Self::read) for the index with this hasher, which needs no ids. The default reads whole entries. A log
    /// that is read over a network can have entries hashed on the other side, since they are shorter.
    ///
    /// # Errors
    /// Those of [`read`](Self::read).
    async fn read_hashed(
        &self,
        _hasher: &RevocationHasher,
        after: Option<&Cursor>,
        wait: Duration,
    ) -> Result<HashedPage, Error> {
        Ok(HashedPage { page: self.read(after, wait).await?, hashed: Vec::new() })
    }

    /// Removes some revocations that have lapsed at `now` (`lapses_at <= now`), in a step so small that it does not delay
    /// appends noticeably.
    ///
    /// The engine raises [`pruned_through`](Page::pruned_through) to `now` before or in the commit that removes entries, for
    /// all readers. If nothing is removed, `pruned_through` may stay as it is. It never decreases, and is as durable as an entry.
    /// The caller supplies `now`: an engine reads no clock, and uses no expiry built into the storage. Several processes may
    /// prune concurrently, and a step may be cancelled at any point.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the storage could not be written.
    async fn prune(&self, now: Timestamp) -> Result<Pruned, Error>;

    /// Records that the index of the reader contains everything up to a cursor. A read alone does not imply this: a reader
    /// may request the next page while it still applies the last one.
    ///
    /// A [`Follower`](crate::revocation::Follower) calls this once it has applied a page, never before. The default does
    /// nothing, which suits most engines.
    fn acknowledge(&self, _cursor: &Cursor) {}
}

/// The result of one step of [`RevocationLog::prune`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pruned {
    /// How many entries the step removed.
    pub removed: usize,
    /// Whether all lapsed entries are removed. If not, the caller should prune again.
    pub complete: bool,
}
