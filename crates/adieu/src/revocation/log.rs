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
    /// The revocations after the cursor that have not lapsed, in order. From the log of another process
    /// ([`Remote`](crate::store)) some of those before it may come once more.
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
///
/// # Writing an engine
///
/// All calls may come at once, from many tasks of many processes that have the same log open, and a call may be dropped
/// before it has answered.
///
/// **Gaps** are what is easiest to get wrong, since nothing shows it but two processes at once. An engine that numbers its
/// entries from a sequence, as of PostgreSQL, gives 7 to one transaction and 8 to the next, and the second may commit first.
/// A reader then sees 8 and reads on after it; the 7 that is committed a moment later is behind its cursor, and the token that
/// it revokes stays good there until it expires. A timestamp in the place of a position has the same gap, and so has a read that
/// asks several servers of which one lags. What keeps it out is that positions become visible in their order: one writer, as
/// SQLite has it and as one thread or one script of Redis is; or a lock that is taken before a position is drawn and held until
/// the commit is visible, as an advisory lock of the transaction in PostgreSQL. Where that makes appends wait for each other,
/// let those of one process share a commit: it then costs next to nothing.
///
/// **An append is one piece**: all of it or nothing, in its order, with nothing between.
///
/// **Identity** is drawn ([`LogId::random`]) when the log is made, by one step of whoever is first, and kept with it; so a
/// storage that was emptied or put in another's place is another log. One that was put back from a backup has the same id, and is
/// noticed when a cursor is ahead of its head. Therefore a position is never given twice: not after everything has been pruned,
/// nor after a restart. Keep a counter, or the last entry, hidden once it has lapsed. A position is positive, and below 2⁶³
/// if others are to follow.
///
/// **Facts are kept as they are.** An id is any text of 1 to [`MAX_ID_BYTES`](crate::MAX_ID_BYTES) bytes of UTF-8, NUL
/// included; a [`Timestamp`] goes to [`Timestamp::MAX`], which is the year 9999. No revocation is refused for being there: who
/// was not told how an append went tries again, and an index takes two for one.
///
/// `adieu-conformance` tries all of this with an engine of yours.
#[async_trait]
pub trait RevocationLog: Send + Sync + 'static {
    /// Appends all of them or none, and returns when they are durable: when they are found again after a crash of this process,
    /// of the storage and of the machine. Gives the position of the last of them; for none, where the log ends.
    ///
    /// After an error, or when the call is dropped, the outcome is unknown: all of them may be there now, appear later, or
    /// never. Whoever calls may append the same again; whoever implements need not find out whether they were there before, but
    /// what was never acknowledged must not stop what comes next.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when that can't be promised; they may or may not be found later. At once rather than late: who
    /// waits for it can't tell anybody that something has ended. An engine that can't keep some fact by contract says
    /// [`Error::Unsupported`], and keeps none of that append.
    async fn append(&self, revocations: Vec<Revocation>) -> Result<Position, Error>;

    /// What comes after `after`, from the beginning when there is none; when there is nothing, waits up to `wait` for
    /// something to come. Everything that was appended before the call is in the answer, or follows it when the page
    /// is not [`complete`](Page::complete).
    ///
    /// * Entries, head and mark are of one moment. The cursor of a complete page is the head, also when it has no entries;
    ///   it is never behind the one that was given, unless the page is [`from_start`](Page::from_start).
    /// * A page from the beginning is answered at once, also an empty one: so a wait never keeps a first reader, nor one who
    ///   has to learn that the log is another. A page with nothing new is answered only when the time is over: followers ask
    ///   again at once.
    /// * A wait ends with what *any* process appends, and soon: within a quarter of a second at most, typically. Being told by the
    ///   storage is good, but messages get lost; asking it now and then is what guarantees it.
    /// * `wait` may be zero, and it may be [`Duration::MAX`]: no deadline is computed by adding it to a clock.
    /// * A dropped read leaves nothing behind: whoever waits is often given up.
    /// * [`age`](Page::age) is zero if this asked the storage where appends are acknowledged. If it answers from something that
    ///   lags (a replica, another node, memory), it says by how much at most: what was acknowledged that long before the call is
    ///   there. Too much costs freshness; too little would be a token that is accepted too long.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the storage could not be asked. Never an empty page instead: it would be taken for proof
    /// that there is nothing new.
    async fn read(&self, after: Option<&Cursor>, wait: Duration) -> Result<Page, Error>;

    /// Forgets some of what has lapsed at `now` (`lapses_at <= now`), in a step so small that it holds no append up noticeably.
    ///
    /// The mark is raised to `now` in the commit that removes, before or with it, for everybody who reads; with nothing removed
    /// it may stay. It never goes back, and lasts like an entry. `now` is the caller's: an engine asks no clock, and leaves no
    /// entry to a storage that forgets by its own. Steps may be taken by several processes at once and be left at any point.
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
