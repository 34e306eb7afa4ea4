//! Users who log in and out at several nodes all the time, and checks of the tokens that they have logged out.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use reqwest::Method;
use test_servers::{
    TEST_TIMEOUT,
    adieu::{Adieu, Tokens},
};
use tokio::task::JoinSet;

use crate::three_nodes::BOUND;

/// A token whose logout was acknowledged.
#[derive(Debug, Clone)]
pub(crate) struct LoggedOut {
    pub(crate) token: String,
    /// The node that acknowledged it.
    pub(crate) at: usize,
    pub(crate) answered_at: Instant,
}

/// A check that accepted a token after its logout was acknowledged.
#[derive(Debug, Clone, Copy)]
struct Accepted {
    which: usize,
    by: usize,
    asked_at: Instant,
}

#[derive(Default)]
struct Notes {
    logged_out: Mutex<Vec<LoggedOut>>,
    accepted: Mutex<Vec<Accepted>>,
}

/// The window of logouts that a failover or a restore may have lost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Loss {
    /// Logouts acknowledged before this may be lost.
    pub(crate) happened_at: Instant,
    /// When a node was first seen to reject tokens because of the loss.
    pub(crate) noticed_at: Instant,
}

/// The load on some nodes; it ends when this is dropped.
pub(crate) struct Load {
    notes: Arc<Notes>,
    tasks: JoinSet<()>,
}

impl Load {
    /// Starts two users at each node, who log out at this or the next one, and one client of each node that checks all tokens that were
    /// logged out.
    pub(crate) fn start(nodes: &[Arc<Adieu>]) -> Self {
        let notes = Arc::new(Notes::default());
        let mut tasks = JoinSet::new();
        for here in 0..nodes.len() {
            for other in 0..2 {
                let there = (here + other) % nodes.len();
                tasks.spawn(log_in_and_out(Arc::clone(&nodes[here]), Arc::clone(&nodes[there]), there, notes.clone()));
            }
            tasks.spawn(check(Arc::clone(&nodes[here]), here, notes.clone()));
        }
        Self { notes, tasks }
    }

    pub(crate) fn logged_out(&self) -> Vec<LoggedOut> {
        locked(&self.notes.logged_out).clone()
    }

    /// Waits until each node has acknowledged this many more logouts.
    pub(crate) async fn goes_on(&self, nodes: usize, count: usize) {
        let answered = |node| locked(&self.notes.logged_out).iter().filter(|one| one.at == node).count();
        let before: Vec<usize> = (0..nodes).map(answered).collect();
        let started = Instant::now();
        while (0..nodes).any(|node| answered(node) < before[node] + count) {
            assert!(started.elapsed() < TEST_TIMEOUT, "logouts are not answered any more");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Ends the load and returns the logged-out tokens. Each check has kept the bound, except for the loss.
    pub(crate) async fn stop(mut self, loss: Option<Loss>) -> Vec<LoggedOut> {
        self.tasks.abort_all();
        while self.tasks.join_next().await.is_some() {}
        let logged_out = self.logged_out();
        let accepted = locked(&self.notes.accepted).clone();
        for Accepted { which, by, asked_at } in accepted {
            let LoggedOut { at, answered_at, .. } = logged_out[which];
            assert_ne!(by, at, "accepted by the node that had answered the logout");
            // For a node that had not read the lost entries, the bound begins when a node has noticed the loss.
            let bound_from = match loss {
                Some(loss) if answered_at <= loss.happened_at => answered_at.max(loss.noticed_at),
                _ => answered_at,
            };
            let late = asked_at.saturating_duration_since(bound_from);
            assert!(late <= BOUND, "node {by} was asked {late:?} after the bound had begun, and accepted");
        }
        logged_out
    }
}

async fn log_in_and_out(here: Arc<Adieu>, there: Arc<Adieu>, at: usize, notes: Arc<Notes>) {
    loop {
        if let Some(Ok(Tokens { access: token, .. })) = here.try_log_in("jose").await
            && let Some((200, _)) = there.try_ask(Method::POST, "/logout", Some(&token), None).await
        {
            locked(&notes.logged_out).push(LoggedOut { token, at, answered_at: Instant::now() });
        } else {
            // The store is unreachable: the clients pause, so that they do not keep it from recovering.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn check(node: Arc<Adieu>, by: usize, notes: Arc<Notes>) {
    loop {
        let picked = {
            let logged_out = locked(&notes.logged_out);
            let which = match fastrand::bool() {
                // Usually one of the latest.
                true => logged_out.len().checked_sub(1 + fastrand::usize(..4)),
                false => (!logged_out.is_empty()).then(|| fastrand::usize(..logged_out.len())),
            };
            which.map(|which| (which, logged_out[which].token.clone()))
        };
        if let Some((which, token)) = picked {
            let asked_at = Instant::now();
            if let Some((200..300, _)) = node.try_ask(Method::GET, "/verify", Some(&token), None).await {
                locked(&notes.accepted).push(Accepted { which, by, asked_at });
            }
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Checks that the node rejects every token as revoked.
pub(crate) async fn refuses_all(node: &Adieu, tokens: &[LoggedOut]) {
    for LoggedOut { token, .. } in tokens {
        assert_eq!(node.verify(token).await, (401, "token_revoked".to_owned()));
    }
}

fn locked<T>(list: &Mutex<T>) -> MutexGuard<'_, T> {
    list.lock().unwrap_or_else(PoisonError::into_inner)
}
