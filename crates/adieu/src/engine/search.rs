//! Searches for sessions by their ids alone.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::{
    Mutex as AsyncMutex,
    oneshot::{self, error::TryRecvError},
};

use crate::{
    Error, SessionId,
    session::{EndSessions, Selection, Session},
};

/// The sessions that were found, by their ids.
pub type Found = Arc<HashMap<SessionId, Session>>;

#[derive(Debug, Default)]
struct Asked {
    ids: Vec<SessionId>,
    answers: Vec<oneshot::Sender<Result<Found, Error>>>,
}

/// Searches for sessions by their ids alone, for an engine that has to look through all sessions.
///
/// Calls that arrive during a search are answered together by the next one. So only one search runs at a time, and a
/// call waits for at most two.
#[derive(Debug, Default)]
pub struct Searches {
    asked: Mutex<Asked>,
    looking: AsyncMutex<()>,
}

impl Searches {
    /// Returns the sessions with these ids, and those that concurrent callers have asked for. `search` finds sessions
    /// by their ids.
    pub async fn find<F>(&self, ids: Vec<SessionId>, search: impl FnOnce(Vec<SessionId>) -> F) -> Result<Found, Error>
    where
        F: Future<Output = Result<HashMap<SessionId, Session>, Error>>,
    {
        let (answer, mut answered) = oneshot::channel();
        {
            let mut asked = self.asked();
            asked.ids.extend_from_slice(&ids);
            asked.answers.push(answer);
        }
        let _one = self.looking.lock().await;
        // The search of another caller may have included these ids.
        let given_up = match answered.try_recv() {
            Ok(outcome) => return outcome,
            Err(TryRecvError::Empty) => vec![],
            Err(TryRecvError::Closed) => ids,
        };
        let Asked { ids: wanted, answers } = std::mem::take(&mut *self.asked());
        let outcome = search([wanted, given_up].concat()).await.map(Arc::new);
        for answer in answers {
            // A caller that was dropped needs no answer.
            let _ = answer.send(outcome.clone());
        }
        outcome
    }

    fn asked(&self) -> std::sync::MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Replaces each [`Selection::One`] with [`Selection::Owned`], for an engine that finds a session by its subject and
/// its id, or with [`Selection::Nothing`] if there is no such session. `search` finds sessions by their ids. The owner
/// of a session never changes, so the search needs no lock.
///
/// # Errors
/// The error of `search`; then nothing is replaced.
pub async fn find_owners<F>(endings: &mut [EndSessions], search: impl FnOnce(Vec<SessionId>) -> F) -> Result<(), Error>
where
    F: Future<Output = Result<Found, Error>>,
{
    let wanted = |ending: &EndSessions| match &ending.selection {
        Selection::One(id) => Some(id.clone()),
        _ => None,
    };
    let ids: Vec<SessionId> = endings.iter().filter_map(wanted).collect();
    if ids.is_empty() {
        return Ok(());
    }
    let found = search(ids).await?;
    for ending in endings {
        if let Selection::One(id) = &ending.selection {
            ending.selection = match found.get(id) {
                Some(session) => Selection::Owned(id.clone(), session.subject.clone()),
                None => Selection::Nothing,
            };
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn many_who_ask_at_once_are_answered_by_two_searches() {
        let searches = Arc::new(Searches::default());
        let (begun, may_end) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
        let ask = |number: usize| {
            let (searches, begun, may_end) = (Arc::clone(&searches), Arc::clone(&begun), Arc::clone(&may_end));
            tokio::spawn(async move {
                let id = SessionId::new(format!("{number}")).unwrap();
                let search = async |ids: Vec<SessionId>| {
                    begun.fetch_add(1, Ordering::SeqCst);
                    may_end.acquire().await.unwrap().forget();
                    Ok(ids.into_iter().map(|id| (id.clone(), session(id))).collect())
                };
                searches.find(vec![id.clone()], search).await.unwrap().get(&id).cloned().unwrap().id
            })
        };
        let first = ask(0);
        while begun.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        let others: Vec<_> = (1..100).map(ask).collect();
        while searches.asked().answers.len() < 99 {
            tokio::task::yield_now().await;
        }
        may_end.add_permits(2);
        assert_eq!(first.await.unwrap().as_str(), "0");
        for (number, other) in (1..).zip(others) {
            assert_eq!(other.await.unwrap().as_str(), format!("{number}"));
        }
        assert_eq!(begun.load(Ordering::SeqCst), 2);
    }

    /// A search whose caller was dropped answers no one, and the next caller searches.
    #[tokio::test]
    async fn who_goes_away_leaves_the_search_to_the_others() {
        let searches = Searches::default();
        let id = SessionId::new("a").unwrap();
        {
            let never = searches.find(vec![id.clone()], |_| std::future::pending());
            assert!(tokio::time::timeout(std::time::Duration::from_millis(10), never).await.is_err());
        }
        let found = searches
            .find(vec![id.clone()], async |ids| Ok(ids.into_iter().map(|id| (id.clone(), session(id))).collect()));
        assert!(found.await.unwrap().contains_key(&id));
    }

    fn session(id: SessionId) -> Session {
        use crate::{Subject, TokenId, session::Origin, time::Timestamp};
        Session {
            id,
            subject: Subject::new("ana").unwrap(),
            created_at: Timestamp::ZERO,
            last_seen_at: Timestamp::ZERO,
            origin: Origin::default(),
            refresh_id: TokenId::random(),
            previous_refresh_id: None,
            used_refresh: None,
            refreshed_at: Timestamp::ZERO,
            refresh_expires_at: Timestamp::ZERO,
            expires_at: Timestamp::ZERO,
            access_expires_at: Timestamp::ZERO,
        }
    }
}
