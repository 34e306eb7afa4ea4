//! Applies what was decided in memory, with one statement: the function `adieu.apply` of the schema.

use std::sync::Arc;

use sqlx::{PgConnection, Row};

use super::{
    connections::{Marked, pooled},
    from_time, invalid,
    job::Failure,
    restore,
    rows::{self, from_position, to_position},
    to_text, to_time,
};
use adieu::{
    engine::Key,
    restore::{LogState, Mark, Witness},
    revocation::{LogId, Position, Revocation, TargetParts},
    session::Session,
    time::Timestamp,
};

/// What to write, and what the decision rests on.
pub(super) struct Write<'w> {
    /// The sessions that were read, with the version of each; `None` if there was no such session.
    pub(super) read: Vec<(&'w Key, Option<String>)>,
    pub(super) removed: Vec<&'w Key>,
    pub(super) put: Vec<&'w Session>,
    pub(super) appended: &'w [Revocation],
    /// New entries come after this position, even if the log ends before it. The log gets a new identity in this
    /// transaction then, so it is not compared with the mark.
    pub(super) restarted_after: Option<Position>,
}

/// The entries that were appended.
pub(super) struct Appended {
    pub(super) head_before: Position,
    /// The high-water mark, if there is one, and the state of the log with the new entries.
    state: Option<(Arc<Mark>, LogState)>,
}

impl Appended {
    /// Records the append in the witness, once it is durable.
    pub(super) fn note(self, witness: &Witness) -> Result<(), adieu::Error> {
        self.state.map_or(Ok(()), |(mark, log)| witness.note(&mark, &log))
    }
}

pub(super) enum Outcome {
    Applied(Option<Appended>),
    /// Nothing was applied: a session has changed since it was read.
    Changed,
}

/// Writes, if the sessions are as they were read, and the log continues the one that the mark remembers. Outside of a
/// transaction, what was applied is durable afterwards.
pub(super) async fn apply(connected: &mut Marked, write: &Write<'_>, witness: &Witness) -> Result<Outcome, Failure> {
    let mut pruned = None;
    loop {
        let mark = witness.mark().filter(|_| !write.appended.is_empty());
        let seen = mark.as_deref().filter(|_| write.restarted_after.is_none());
        let entry = match seen {
            Some(mark) if mark.anchor() != Position::START && pruned != Some(mark.anchor()) => {
                match mark.anchor_entry() {
                    Some(entry) => Some(entry.clone()),
                    None => held(&mut connected.connection, mark, witness).await?.entry,
                }
            }
            _ => None,
        };
        match try_apply(connected, write, seen, entry).await? {
            Tried::Applied(None) => return Ok(Outcome::Applied(None)),
            Tried::Applied(Some(before)) => {
                let count = u64::try_from(write.appended.len()).unwrap_or(u64::MAX);
                let head = Position::new(before.head.get().saturating_add(count));
                let head_before = before.head;
                let state = mark.map(|mark| (mark, LogState { head, last: write.appended.last().cloned(), ..before }));
                return Ok(Outcome::Applied(Some(Appended { head_before, state })));
            }
            Tried::Changed => return Ok(Outcome::Changed),
            Tried::Unlike => {
                let Some(mark) = mark else { return Ok(Outcome::Changed) };
                // The log went back, or another one has replaced it, or the entry has lapsed since.
                let found = held(&mut connected.connection, &mark, witness).await?;
                pruned = found.entry.is_none().then(|| mark.anchor());
            }
        }
    }
}

/// Reads the log, and compares it with the mark. In a transaction it may have been pruned by a step before, which may never be
/// committed: the mark does not learn that. Nor does it apply to another log how far the last one was pruned.
async fn held(connection: &mut PgConnection, mark: &Mark, witness: &Witness) -> Result<LogState, Failure> {
    let found = restore::inspect(connection, mark.anchor()).await?;
    witness.hold(mark, &found).map_err(Failure::OfAll)?;
    let is_same = found.log.as_str() == mark.log();
    let pruned_through = if is_same { mark.pruned_through() } else { Timestamp::ZERO };
    let durable = LogState { pruned_through, ..found.clone() };
    witness.note(mark, &durable).map_err(Failure::OfAll)?;
    Ok(found)
}

enum Tried {
    /// The state of the log before, if something was appended.
    Applied(Option<LogState>),
    Changed,
    /// Nothing was applied: the log is unlike the one last seen.
    Unlike,
}

async fn try_apply(
    connected: &mut Marked,
    write: &Write<'_>,
    seen: Option<&Mark>,
    entry: Option<Revocation>,
) -> Result<Tried, Failure> {
    const APPLY: &str = "SELECT outcome, head, log, pruned_through, lineage FROM adieu.apply(\
         $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, \
         $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35)";

    let apply = sqlx::query(APPLY)
        .bind(connected.mark())
        .bind(seen.map(Mark::log))
        .bind(seen.map(|mark| from_position(mark.position())))
        .bind(seen.map(|mark| from_time(mark.pruned_through())));
    let parts = entry.as_ref().map(|entry| entry.target.parts());
    let apply = apply
        .bind(seen.map(|mark| from_position(mark.anchor())))
        .bind(parts.as_ref().map(|parts| i64::from(parts.kind.code())))
        .bind(entry.as_ref().map(|entry| to_text(entry.issuer.as_str()).into_owned()))
        .bind(parts.as_ref().map(|parts| to_text(parts.id).into_owned()))
        .bind(parts.as_ref().and_then(|parts| parts.time.map(from_time)))
        .bind(entry.as_ref().map(|entry| from_time(entry.lapses_at)));

    let (subjects, ids) = rows::columns_of(write.read.iter().map(|(key, _)| *key));
    let versions: Vec<_> = write.read.iter().map(|(_, version)| version.as_deref()).collect();
    let apply = apply.bind(subjects).bind(ids).bind(versions);
    let (subjects, ids) = rows::columns_of(write.removed.iter().copied());
    let apply = rows::bind_sessions(apply.bind(subjects).bind(ids), &write.put);

    let most = write.appended.len();
    let (mut kinds, mut issuers, mut ids) =
        (Vec::with_capacity(most), Vec::with_capacity(most), Vec::with_capacity(most));
    let (mut moments, mut lapses_at) = (Vec::with_capacity(most), Vec::with_capacity(most));
    for revocation in write.appended {
        let TargetParts { kind, id, time } = revocation.target.parts();
        kinds.push(i64::from(kind.code()));
        issuers.push(to_text(revocation.issuer.as_str()));
        ids.push(to_text(id));
        moments.push(time.map(from_time));
        lapses_at.push(from_time(revocation.lapses_at));
    }
    let apply = apply
        .bind(from_position(write.restarted_after.unwrap_or(Position::START)))
        .bind(kinds)
        .bind(issuers)
        .bind(ids)
        .bind(moments)
        .bind(lapses_at);

    let row = apply.fetch_one(&mut connected.connection).await?;
    match row.try_get(0)? {
        "applied" if write.appended.is_empty() => Ok(Tried::Applied(None)),
        "applied" => Ok(Tried::Applied(Some(LogState {
            head: to_position(row.try_get(1)?),
            pruned_through: to_time(row.try_get(3)?),
            lineage: LogId::new(row.try_get(4)?).map_err(invalid)?,
            ..LogState::empty(LogId::new(row.try_get(2)?).map_err(invalid)?)
        }))),
        "changed" => Ok(Tried::Changed),
        "unlike" => Ok(Tried::Unlike),
        _ => Err(Failure::OfAll(pooled().into())),
    }
}
