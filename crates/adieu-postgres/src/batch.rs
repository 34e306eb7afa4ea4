//! Runs a batch of operations, in a transaction that holds the lock.
//!
//! Operations keep the order in which they were queued. Consecutive operations that know the keys of their sessions run
//! together: one statement reads the sessions, the operations are decided one after the other in memory, each seeing
//! the changes of those before it, and two statements write the changes. One statement at the end appends the entries
//! of all operations to the log.

use sqlx::PgConnection;

use super::{
    changes::Changes,
    job::{Appended, Failure, Job},
    rows,
};
use adieu::{
    restore::{LogState, Witness},
    revocation::Position,
};

/// Runs operations in order. Returns what they appended, if anything.
pub(super) async fn run(
    connection: &mut PgConnection,
    batch: &mut [Job],
    witness: &Witness,
) -> Result<Option<Appended>, Failure> {
    let mut changes = Changes::default();
    let together = |one: &Job, next: &Job| matches!((one, next), (Job::Keyed(_), Job::Keyed(_)));
    for stretch in batch.chunk_by_mut(together) {
        let keyed = stretch.iter().filter_map(|job| match job {
            Job::Keyed(job) => Some(job),
            Job::Alone(_) => None,
        });
        changes.read(connection, keyed.flat_map(|job| job.keys()).collect()).await?;
        for job in stretch {
            match job {
                Job::Keyed(job) => job.decide(&mut changes),
                Job::Alone(job) => job.run(connection, &mut changes).await?,
            }
        }
        changes.write(connection).await?;
    }
    let Some(last) = changes.appended.last() else { return Ok(None) };
    let mark = witness.mark();
    let anchor = mark.as_ref().map_or(Position::START, |mark| mark.anchor());
    let before = rows::insert(connection, &changes.appended, anchor).await?;
    let head_before = before.head;
    let held = match mark {
        Some(mark) => {
            witness.hold(&mark, &before).map_err(Failure::OfAll)?;
            let appended = u64::try_from(changes.appended.len()).unwrap_or(u64::MAX);
            let head = Position::new(head_before.get().saturating_add(appended));
            Some((mark, LogState { head, last: Some(last.clone()), ..before }))
        }
        None => None,
    };
    Ok(Some(Appended { head_before, held }))
}
