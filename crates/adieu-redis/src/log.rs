//! The revocation log in Redis: a stream, whose entries are named by their positions.

use std::time::Duration;

use async_trait::async_trait;
use redis::Value;

use super::{Redis, codec, connection::Ask, durability::incarnation, invalid};
use adieu::{
    Error,
    engine::{Changes, Polling},
    restore::LogState,
    revocation::{Cursor, LogId, Page, Position, Pruned, Revocation, RevocationLog},
    time::Timestamp,
};

/// Entries per page: enough to hide the cost of a call, few enough that the server is never busy with one for long.
const PAGE: usize = 2_048;
/// Entries that one step of pruning removes.
const PRUNE_STEP: usize = 256;
/// How a reader waits. It adds no delay for bursts: the task that wakes readers does.
const POLLING: Polling = Polling { interval: Duration::from_millis(250), burst: Duration::ZERO };

/// The state of the log, and entries.
struct Found {
    state: LogState,
    entries: Vec<(Position, Revocation)>,
}

#[async_trait]
impl RevocationLog for Redis {
    async fn append(&self, revocations: Vec<Revocation>) -> Result<Position, Error> {
        if revocations.is_empty() {
            return Ok(self.state(Position::START).await?.head);
        }
        let append = move |changes: &mut Changes| changes.append(revocations.iter().cloned());
        let (so_far, head_before) = self.decide(vec![], append).await?;
        Ok(Position::new(head_before.get().saturating_add(u64::try_from(so_far).unwrap_or(u64::MAX))))
    }

    async fn read(&self, after: Option<&Cursor>, wait: Duration) -> Result<Page, Error> {
        // Each answer is to a request of this call: a notification alone proves nothing.
        POLLING.read(self.shared.woken.subscribe(), wait, || self.read_now(after)).await
    }

    async fn prune(&self, now: Timestamp) -> Result<Pruned, Error> {
        let keys = &self.shared.keys;
        let mut script = self.shared.scripts.prune.prepare_invoke();
        script.key(&keys.state).key(&keys.log).key(&keys.lapses).arg(now.as_unix()).arg(PRUNE_STEP);
        let removed: usize = self.write(Ask::Script(&script)).await?;
        let complete = removed < PRUNE_STEP;
        if complete {
            self.inspect_memory().await?;
        }
        Ok(Pruned { removed, complete })
    }
}

impl Redis {
    async fn read_now(&self, after: Option<&Cursor>) -> Result<Page, Error> {
        let from = after.map_or(Position::START, |cursor| cursor.position);
        let mut found = self.find(from).await?;
        let known =
            after.is_some_and(|cursor| cursor.log == found.state.lineage && cursor.position <= found.state.head);
        if !known && from != Position::START {
            found = self.find(Position::START).await?;
        }
        let complete = found.entries.len() < PAGE;
        let end = found.entries.last().filter(|_| !complete).map_or(found.state.head, |(position, _)| *position);
        Ok(Page {
            entries: found.entries.into_iter().map(|(_, revocation)| revocation).collect(),
            cursor: Cursor { log: found.state.lineage, position: end },
            complete,
            from_start: !known,
            age: Duration::ZERO,
            pruned_through: found.state.pruned_through,
        })
    }

    /// Reads the state and the entries after a position. One server runs these commands in order, but not as one
    /// transaction, which the server rejects if its memory is full. For a consistent result, the log must be the same
    /// before and after; the head is the one from before the entries were read, and the pruning mark the one from
    /// after.
    async fn find(&self, after: Position) -> Result<Found, Error> {
        let keys = &self.shared.keys;
        let mark = self.shared.witness.mark();
        let anchor = mark.as_ref().map_or(Position::START, |mark| mark.anchor());
        let found = loop {
            let mut pipeline = redis::pipe();
            pipeline.cmd("HMGET").arg(&keys.state).arg(&BEFORE);
            pipeline.cmd("XRANGE").arg(&keys.log).arg(format!("({}-0", after.get())).arg("+").arg("COUNT").arg(PAGE);
            pipeline.cmd("XRANGE").arg(&keys.log).arg(codec::entry_name(anchor)).arg(codec::entry_name(anchor));
            pipeline.cmd("INFO").arg("server");
            pipeline.cmd("INFO").arg("replication");
            pipeline.cmd("HMGET").arg(&keys.state).arg(&AFTER);
            let (before, entries, entry, server, replication, after): (Before, Value, Value, String, String, After) =
                self.read(&pipeline).await?;
            let incarnation = incarnation(&server, &replication).inspect_err(|_| self.forget_connections())?;
            let Some(state) = self.to_state(before, after, &incarnation).await? else { continue };
            let entries = codec::from_stream(entries)?;
            let head = entries.last().map_or(state.head, |(position, _)| state.head.max(*position));
            let entry = codec::from_stream(entry)?.pop().map(|(_, entry)| entry);
            let last = entries.last().filter(|(position, _)| *position == head).map(|(_, last)| last.clone());
            break Found { state: LogState { head, entry, last, ..state }, entries };
        };
        if let Some(mark) = mark {
            self.shared.witness.hold(&mark, &found.state)?;
            let noted = match (&found.state.last, found.entries.last()) {
                // Only a position that was read, with its entry.
                (None, Some((position, last))) => {
                    LogState { head: *position, last: Some(last.clone()), ..found.state.clone() }
                }
                _ => found.state.clone(),
            };
            self.shared.witness.note(&mark, &noted)?;
        }
        Ok(found)
    }

    /// Reads the state of the log, with its last entry and the entry at `at`, as consistently as
    /// [`find`](Self::find).
    pub(super) async fn state(&self, at: Position) -> Result<LogState, Error> {
        let keys = &self.shared.keys;
        loop {
            let mut pipeline = redis::pipe();
            pipeline.cmd("HMGET").arg(&keys.state).arg(&BEFORE);
            pipeline.cmd("XRANGE").arg(&keys.log).arg(codec::entry_name(at)).arg(codec::entry_name(at));
            pipeline.cmd("XREVRANGE").arg(&keys.log).arg("+").arg("-").arg("COUNT").arg(1);
            pipeline.cmd("INFO").arg("server");
            pipeline.cmd("INFO").arg("replication");
            pipeline.cmd("HMGET").arg(&keys.state).arg(&AFTER);
            let (before, entry, last, server, replication, after): (Before, Value, Value, String, String, After) =
                self.read(&pipeline).await?;
            let incarnation = incarnation(&server, &replication).inspect_err(|_| self.forget_connections())?;
            let Some(state) = self.to_state(before, after, &incarnation).await? else { continue };
            let entry = codec::from_stream(entry)?.pop().map(|(_, entry)| entry);
            let last = codec::from_stream(last)?.pop();
            let head = last.as_ref().map_or(state.head, |(position, _)| state.head.max(*position));
            let last = last.filter(|(position, _)| *position == head).map(|(_, last)| last);
            return Ok(LogState { head, entry, last, ..state });
        }
    }

    /// Returns the state without entries; `None` if the log was replaced between the two reads, or if there is none
    /// yet.
    async fn to_state(
        &self,
        [log, head]: Before,
        [same_log, pruned_through, restored_at]: After,
        incarnation: &str,
    ) -> Result<Option<LogState>, Error> {
        if log != same_log {
            return Ok(None);
        }
        let Some(log) = log else {
            self.draw_identity().await?;
            return Ok(None);
        };
        let number = |text: String| text.parse::<u64>().map_err(invalid);
        Ok(Some(LogState {
            lineage: codec::lineage(&log, incarnation)?,
            head: Position::new(head.map_or(Ok(0), number)?),
            pruned_through: Timestamp::from_unix(pruned_through.map_or(Ok(0), number)?),
            restored_at: restored_at.map(number).transpose()?.map(Timestamp::from_unix),
            ..LogState::empty(LogId::new(&log).map_err(invalid)?)
        }))
    }

    /// Gives a log an identity if the server has no log yet or was emptied.
    pub(super) async fn draw_identity(&self) -> Result<(), Error> {
        let mut draw = redis::pipe();
        draw.cmd("HSETNX").arg(&self.shared.keys.state).arg("log").arg(LogId::random().as_str()).ignore();
        self.write(Ask::Pipeline(&draw)).await
    }

    pub(super) fn forget_connections(&self) {
        self.shared.reader.forget();
        self.shared.writer.forget();
    }
}

/// Fields of the state that are read before the entries, and fields that are read after them.
const BEFORE: [&str; 2] = ["log", "head"];
const AFTER: [&str; 3] = ["log", "pruned_through", "restored_at"];
type Before = [Option<String>; 2];
type After = [Option<String>; 3];
