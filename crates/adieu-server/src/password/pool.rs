//! The hashing threads.

use std::{
    fmt, io,
    net::IpAddr,
    num::NonZeroUsize,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread,
};

use tokio::sync::oneshot;

use super::hash::{Memory, PasswordHash};
use crate::{
    hang_up::for_the_response,
    shares::{Share, Shares},
    text::Password,
};

/// The reason why a password was neither hashed nor verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HasherError {
    /// The queue is full. Retrying after a second is sensible.
    #[error("too many passwords are waiting to be hashed")]
    Busy,
    /// The party's share of the queue is full, whether its passwords are right or wrong.
    #[error("too many passwords of one address are waiting to be hashed")]
    FullShare,
    /// The system provided no randomness or no memory.
    #[error("the password could not be hashed")]
    Failed,
}

/// The result of comparing a password with a stored hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The password matches.
    Right,
    /// The password matches, and its hash should be replaced by a new one.
    RightButOutdated,
    /// The password does not match.
    Wrong,
}

type Job = Box<dyn FnOnce(&mut Memory) + Send>;

/// Hashes and verifies passwords on its own threads. Clones share the threads, which end with the last clone.
///
/// Each password is hashed for an address, or for `None` if it is the operator's. One [`party`](crate::address::party) may use a quarter
/// of the places, threads and queue together, so that a stranger can't keep all others from logging in.
#[derive(Clone)]
pub struct Hasher {
    queue: SyncSender<Job>,
    shares: Arc<Shares>,
    places: usize,
    dummy: Arc<PasswordHash>,
}

impl Hasher {
    /// Starts `threads` threads with a queue of `waiting` passwords.
    ///
    /// # Errors
    /// Fails if the system can't start a thread or provide randomness.
    pub fn start(threads: NonZeroUsize, waiting: NonZeroUsize) -> io::Result<Self> {
        let password = Password::typed("the password of no account".into()).map_err(io::Error::other)?;
        let dummy = PasswordHash::compute(&password, &mut Memory::default())
            .ok_or_else(|| io::Error::other("no password can be hashed on this system"))?;

        let (queue, jobs) = sync_channel::<Job>(waiting.get());
        let jobs = Arc::new(Mutex::new(jobs));
        for number in 0..threads.get() {
            let jobs = Arc::clone(&jobs);
            thread::Builder::new().name(format!("adieu-hasher-{number}")).spawn(move || work(&jobs))?;
        }
        let places = threads.get().saturating_add(waiting.get());
        Ok(Self { queue, shares: Shares::of(places), places, dummy: Arc::new(dummy) })
    }

    /// Returns the default number of threads: one fewer than there are cores, at least one.
    #[must_use]
    pub fn default_threads() -> NonZeroUsize {
        let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        NonZeroUsize::new(cores.saturating_sub(1)).unwrap_or(NonZeroUsize::MIN)
    }

    /// Returns how many passwords of clients are being hashed or are waiting.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.shares.held()
    }

    /// Returns how many passwords may be hashed or wait at the same time.
    #[must_use]
    pub const fn places(&self) -> usize {
        self.places
    }

    /// Hashes a password for storing.
    ///
    /// # Errors
    /// [`HasherError::Busy`] or [`HasherError::FullShare`] at once if too many are waiting.
    pub async fn hash(&self, password: &Password, address: Option<IpAddr>) -> Result<PasswordHash, HasherError> {
        let password = password.clone();
        self.run(address, move |memory| PasswordHash::compute(&password, memory)).await
    }

    /// Compares a password with a stored hash.
    ///
    /// # Errors
    /// [`HasherError::Busy`] or [`HasherError::FullShare`] at once if too many are waiting.
    pub async fn verify(
        &self,
        password: &Password,
        stored: &PasswordHash,
        address: Option<IpAddr>,
    ) -> Result<Verdict, HasherError> {
        let (password, stored) = (password.clone(), stored.clone());
        self.run(address, move |memory| {
            Some(match stored.matches(&password, memory)? {
                true if stored.is_current() => Verdict::Right,
                true => Verdict::RightButOutdated,
                false => Verdict::Wrong,
            })
        })
        .await
    }

    /// Does the work of [`Hasher::verify`] for a user that does not exist. There is no verdict, because the password is always wrong.
    ///
    /// # Errors
    /// [`HasherError::Busy`] or [`HasherError::FullShare`] at once if too many are waiting.
    pub async fn verify_nobody(&self, password: &Password, address: Option<IpAddr>) -> Result<(), HasherError> {
        self.verify(password, &self.dummy, address).await.map(drop)
    }

    async fn run<T: Send + 'static>(
        &self,
        address: Option<IpAddr>,
        work: impl FnOnce(&mut Memory) -> Option<T> + Send + 'static,
    ) -> Result<T, HasherError> {
        let share = match address.map(|address| self.shares.take_for(address)) {
            Some(None) => return Err(HasherError::FullShare),
            Some(share) => share,
            None => None,
        };
        let (sender, answer) = oneshot::channel();
        let job: Job = Box::new(move |memory| {
            // Released together with the place, also if the caller has hung up.
            let _share: Option<Share> = share;
            // The caller may have hung up while waiting; a flood of such calls must not keep the threads busy.
            if !sender.is_closed() {
                drop(sender.send(work(memory)));
            }
        });
        self.queue.try_send(job).map_err(|refused| match refused {
            TrySendError::Full(_) => HasherError::Busy,
            TrySendError::Disconnected(_) => HasherError::Failed,
        })?;
        for_the_response(answer).await.ok().flatten().ok_or(HasherError::Failed)
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Hasher").finish_non_exhaustive()
    }
}

fn work(jobs: &Mutex<Receiver<Job>>) {
    let mut memory = Memory::default();
    loop {
        // The lock is held while waiting: the next thread waits for the lock instead.
        let next = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = next else { return };
        // A password that makes a hashing crate panic must not end the thread.
        if catch_unwind(AssertUnwindSafe(|| job(&mut memory))).is_err() {
            memory = Memory::default();
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn one() -> NonZeroUsize {
        NonZeroUsize::MIN
    }

    fn password(text: &str) -> Password {
        Password::typed(text.into()).unwrap()
    }

    /// Occupies the only thread until the returned sender is used or dropped.
    fn occupy(hasher: &Hasher) -> mpsc::Sender<()> {
        let (release, released) = mpsc::channel::<()>();
        let (started, has_started) = mpsc::channel();
        let job: Job = Box::new(move |_| {
            started.send(()).unwrap();
            let _released = released.recv();
        });
        hasher.queue.send(job).unwrap();
        has_started.recv().unwrap();
        release
    }

    #[tokio::test]
    async fn what_was_hashed_is_right_and_everything_else_is_wrong() {
        let hasher = Hasher::start(one(), one()).unwrap();
        let stored = hasher.hash(&password("jos\u{e9}"), None).await.unwrap();
        assert!(stored.as_str().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        let stored = PasswordHash::parse(stored.as_str()).unwrap();
        assert_eq!(hasher.verify(&password("jos\u{e9}"), &stored, None).await, Ok(Verdict::Right));
        assert_eq!(hasher.verify(&password("jose\u{301}"), &stored, None).await, Ok(Verdict::Right), "the same in NFC");
        assert_eq!(hasher.verify(&password("jose"), &stored, None).await, Ok(Verdict::Wrong));
        assert_eq!(hasher.verify_nobody(&password("jose"), None).await, Ok(()));
        let again = hasher.hash(&password("jos\u{e9}"), None).await.unwrap();
        assert_ne!(stored.as_str(), again.as_str(), "each has its own salt");
    }

    #[tokio::test]
    async fn when_the_queue_is_full_the_next_is_told_so_at_once() {
        let hasher = Hasher::start(one(), one()).unwrap();
        let release = occupy(&hasher);
        let waits = password("waits");
        let mut waiting = Box::pin(hasher.hash(&waits, None));
        assert!(poll_once(waiting.as_mut()).await.is_none());
        assert_eq!(hasher.hash(&password("busy"), None).await.unwrap_err(), HasherError::Busy);
        drop(release);
        assert!(waiting.await.is_ok());
        assert!(hasher.hash(&password("free again"), None).await.is_ok());
    }

    #[tokio::test]
    async fn one_party_does_not_fill_the_queue() {
        let hasher = Hasher::start(one(), NonZeroUsize::new(7).unwrap()).unwrap();
        let release = occupy(&hasher);
        let password = password("the right one");
        let mut asks = Vec::new();
        let neighbours: [IpAddr; 3] = ["2001:db8::1", "2001:db8::2", "2001:db8::3"].map(|text| text.parse().unwrap());
        for address in neighbours {
            asks.push(Box::pin(hasher.hash(&password, Some(address))));
        }
        let asked = futures_of(&mut asks).await;
        assert_eq!(asked, [None, None, Some(Err(HasherError::FullShare))]);
        // A caller that hangs up keeps its place until its turn.
        drop(asks);
        assert_eq!(hasher.hash(&password, Some(neighbours[0])).await.unwrap_err(), HasherError::FullShare);
        let mut other = Box::pin(hasher.hash(&password, Some("192.0.2.1".parse().unwrap())));
        assert!(poll_once(other.as_mut()).await.is_none(), "there is room for others");
        drop(release);
        assert!(other.await.is_ok());
        assert!(hasher.hash(&password, Some(neighbours[0])).await.is_ok(), "the places were given back");
    }

    async fn futures_of<F: Future<Output = Result<PasswordHash, HasherError>>>(
        futures: &mut [std::pin::Pin<Box<F>>],
    ) -> Vec<Option<Result<(), HasherError>>> {
        let mut polled = Vec::new();
        for future in futures {
            polled.push(poll_once(future.as_mut()).await.map(|outcome| outcome.map(drop)));
        }
        polled
    }

    #[tokio::test]
    async fn who_hung_up_is_not_worked_for() {
        let hasher = Hasher::start(one(), one()).unwrap();
        let release = occupy(&hasher);
        let (touched, was_touched) = mpsc::channel::<()>();
        let mut waiting = Box::pin(hasher.run(None, move |_| touched.send(()).ok()));
        assert!(poll_once(waiting.as_mut()).await.is_none());
        drop(waiting);
        drop(release);
        assert!(was_touched.recv().is_err(), "the work was dropped undone");
    }

    async fn poll_once<F: Future>(mut future: std::pin::Pin<&mut F>) -> Option<F::Output> {
        std::future::poll_fn(|context| {
            std::task::Poll::Ready(match future.as_mut().poll(context) {
                std::task::Poll::Ready(output) => Some(output),
                std::task::Poll::Pending => None,
            })
        })
        .await
    }

    #[tokio::test]
    async fn a_panic_costs_one_answer_and_no_thread() {
        let hasher = Hasher::start(one(), one()).unwrap();
        let answer: Result<(), _> = hasher.run(None, |_| std::panic::resume_unwind(Box::new("a bug"))).await;
        assert_eq!(answer, Err(HasherError::Failed));
        assert!(hasher.hash(&password("still here"), None).await.is_ok());
    }
}
