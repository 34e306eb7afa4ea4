//! Group commit, for engines that write asynchronously: one task writes what many callers have queued.

use std::{fmt, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout_at},
};

use super::{Changes, Key};
use crate::{Error, revocation::Position};

/// The capacity of the queue, in operations.
const QUEUE: usize = 16_384;
/// The maximum number of operations per commit, so that the first operations of a burst do not wait for all of it.
const BATCH: usize = 1_024;
/// How long a commit waits at most for callers that are expected: less than a round trip to a server.
const BATCH_WINDOW: Duration = Duration::from_micros(50);

/// What a queue holds: an operation, and the caller that waits for its commit.
pub trait Job: Send + 'static {
    /// Returns when the caller stops waiting.
    fn deadline(&self) -> Instant;

    /// Answers the caller, with the last position of the log before the entries of the batch.
    fn answer(self, outcome: Result<Position, Error>);
}

/// An operation that is decided in memory, from sessions that it names by their keys. Many such operations share their
/// reads and writes. It may be decided again if the batch was not committed.
pub trait Keyed: Send {
    /// Returns the keys of the sessions that the operation reads.
    fn keys(&self) -> &[Key];
    /// Decides what to change.
    fn decide(&mut self, changes: &mut Changes);
    /// See [`Job::deadline`].
    fn deadline(&self) -> Instant;
    /// See [`Job::answer`].
    fn answer(self: Box<Self>, outcome: Result<Position, Error>);
}

impl Job for Box<dyn Keyed> {
    fn deadline(&self) -> Instant {
        Keyed::deadline(&**self)
    }

    fn answer(self, outcome: Result<Position, Error>) {
        Keyed::answer(self, outcome);
    }
}

struct Decision<F, T> {
    keys: Vec<Key>,
    decide: F,
    output: Option<T>,
    reply: Reply<T>,
}

impl<F, T> Keyed for Decision<F, T>
where
    F: FnMut(&mut Changes) -> T + Send,
    T: Send,
{
    fn keys(&self) -> &[Key] {
        &self.keys
    }

    fn decide(&mut self, changes: &mut Changes) {
        self.output = Some((self.decide)(changes));
    }

    fn deadline(&self) -> Instant {
        self.reply.deadline
    }

    fn answer(self: Box<Self>, outcome: Result<Position, Error>) {
        self.reply.send(self.output, outcome);
    }
}

/// Returns an operation on the sessions of `keys`, and a future of its outcome: the result of `decide`, and the last
/// position of the log before the entries of the batch.
pub fn keyed<T, F>(
    keys: Vec<Key>,
    timeout: Duration,
    decide: F,
) -> (Box<dyn Keyed>, impl Future<Output = Result<(T, Position), Error>> + use<T, F>)
where
    T: Send + 'static,
    F: FnMut(&mut Changes) -> T + Send + 'static,
{
    let (reply, answer) = reply(timeout);
    (Box::new(Decision { keys, decide, output: None, reply }), answer)
}

/// The way back to the caller of an operation.
#[derive(Debug)]
pub struct Reply<T> {
    sender: oneshot::Sender<Result<(T, Position), Error>>,
    /// When the caller stops waiting.
    pub deadline: Instant,
}

impl<T> Reply<T> {
    /// Answers the caller. The caller may have gone away; nothing is to be done then.
    pub fn send(self, output: Option<T>, outcome: Result<Position, Error>) {
        let output = output.ok_or_else(|| Error::unavailable("the operation did not run"));
        let _ = self.sender.send(outcome.and_then(|head_before| Ok((output?, head_before))));
    }
}

/// Returns the two ends of the way back to a caller.
pub fn reply<T>(timeout: Duration) -> (Reply<T>, impl Future<Output = Result<(T, Position), Error>>) {
    let (sender, answer) = oneshot::channel();
    let deadline = Instant::now() + timeout;
    let answer = async move { timeout_at(deadline, answer).await.map_err(|_| too_late())?.map_err(|_| ended())? };
    (Reply { sender, deadline }, answer)
}

/// A queue, and the task that serves it. The task ends when the last clone is dropped and the queue is empty.
pub struct GroupCommit<J>(mpsc::Sender<J>);

impl<J> Clone for GroupCommit<J> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<J> fmt::Debug for GroupCommit<J> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("GroupCommit").finish_non_exhaustive()
    }
}

impl<J: Job> GroupCommit<J> {
    /// Starts the task. It passes all queued operations to `commit`, which must answer them, and waits until that is
    /// done. If `commit` panics, the callers of that batch get an error.
    pub fn start<F>(commit: impl Fn(Vec<J>) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (queue, mut jobs) = mpsc::channel(QUEUE);
        tokio::spawn(async move {
            let mut expected = 1;
            while let Some(first) = jobs.recv().await {
                let batch = gather(first, &mut jobs, expected).await;
                expected = batch.len();
                let now = Instant::now();
                // An operation whose caller has timed out must not be executed much later.
                let (batch, late): (Vec<J>, Vec<J>) = batch.into_iter().partition(|job: &J| job.deadline() > now);
                late.into_iter().for_each(|job| job.answer(Err(too_late())));
                if !batch.is_empty() {
                    // In a task of its own, which may panic.
                    let _ = tokio::spawn(commit(batch)).await;
                }
            }
        });
        Self(queue)
    }

    /// Queues an operation.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the queue is full.
    pub fn queue(&self, job: J) -> Result<(), Error> {
        self.0.try_send(job).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Error::unavailable("too many operations are waiting for the store"),
            mpsc::error::TrySendError::Closed(_) => ended(),
        })
    }
}

fn ended() -> Error {
    Error::unavailable("the store's task has ended")
}

fn too_late() -> Error {
    Error::unavailable("the server did not answer in time")
}

/// Collects the queued operations of one batch. Callers that were answered together call again at about the same time,
/// but not at the same instant: a commit that starts with the first of them would make all others wait for the next
/// commit. So if the last batch had several operations, this waits a moment for as many. A caller that is alone never
/// waits.
async fn gather<J>(first: J, jobs: &mut mpsc::Receiver<J>, expected: usize) -> Vec<J> {
    let mut batch = Vec::with_capacity(expected);
    batch.push(first);
    let started = Instant::now();
    loop {
        while batch.len() < BATCH
            && let Ok(job) = jobs.try_recv()
        {
            batch.push(job);
        }
        if batch.len() >= expected || started.elapsed() >= BATCH_WINDOW {
            return batch;
        }
        tokio::task::yield_now().await;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use tokio::{sync::Semaphore, time::advance};

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(5);

    fn seven() -> (Box<dyn Keyed>, impl Future<Output = Result<(usize, Position), Error>>) {
        keyed(vec![], TIMEOUT, |_| 7)
    }

    fn apply(batch: Vec<Box<dyn Keyed>>) {
        for mut job in batch {
            job.decide(&mut Changes::default());
            Job::answer(job, Ok(Position::new(3)));
        }
    }

    #[tokio::test]
    async fn a_panic_fails_its_batch_and_no_other() {
        let batches = AtomicUsize::new(0);
        let group = GroupCommit::start(move |batch| {
            let number = batches.fetch_add(1, Ordering::Relaxed);
            async move {
                assert!(number > 0, "the first batch fails");
                apply(batch);
            }
        });
        let (first, answer) = seven();
        group.queue(first).unwrap();
        assert!(matches!(answer.await, Err(Error::Unavailable(_))));
        let (second, answer) = seven();
        group.queue(second).unwrap();
        assert_eq!(answer.await.unwrap(), (7, Position::new(3)));
    }

    /// Returns a queue whose commits wait for a permit, and the number of operations that were passed to them.
    fn held() -> (GroupCommit<Box<dyn Keyed>>, Arc<Semaphore>, Arc<AtomicUsize>) {
        let (permits, passed) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
        let (waiting, counter) = (Arc::clone(&permits), Arc::clone(&passed));
        let group = GroupCommit::start(move |batch: Vec<Box<dyn Keyed>>| {
            counter.fetch_add(batch.len(), Ordering::Relaxed);
            let waiting = Arc::clone(&waiting);
            async move {
                waiting.acquire().await.unwrap().forget();
                apply(batch);
            }
        });
        (group, permits, passed)
    }

    #[tokio::test(start_paused = true)]
    async fn an_operation_whose_caller_has_timed_out_does_not_run() {
        let (group, permits, passed) = held();
        let (first, _answer) = seven();
        group.queue(first).unwrap();
        while passed.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        let (late, answer) = seven();
        group.queue(late).unwrap();
        advance(TIMEOUT).await;
        permits.add_permits(2);
        assert!(matches!(answer.await, Err(Error::Unavailable(_))));
        let (next, answer) = seven();
        group.queue(next).unwrap();
        assert_eq!(answer.await.unwrap().0, 7);
        assert_eq!(passed.load(Ordering::Relaxed), 2, "the first and the next");
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_queue_rejects_at_once() {
        let (group, _permits, _) = held();
        let mut queued = 0;
        while group.queue(seven().0).is_ok() {
            queued += 1;
            assert!(queued <= QUEUE, "the queue is bounded");
        }
        assert_eq!(queued, QUEUE);
    }
}
