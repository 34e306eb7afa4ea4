//! What has to be so when the power comes back.

use std::{
    collections::HashSet,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, ensure};

use crate::{
    load::{Session, State},
    node::{Node, Program},
};

/// Connections to a node that is checked.
const CONNECTIONS: usize = 8;
/// How many sessions are refreshed and logged out after each cut.
const SAMPLE: usize = 3;

/// What was found.
#[derive(Debug, Default, Clone, Copy)]
pub struct Found {
    pub ended: usize,
    pub live: usize,
    pub lines: usize,
    pub torn_bytes: usize,
    pub backups: usize,
}

impl Found {
    /// Adds what was found after another cut.
    pub fn add(&mut self, other: Self) {
        self.ended += other.ended;
        self.live += other.live;
        self.lines += other.lines;
        self.torn_bytes += other.torn_bytes;
        self.backups += other.backups;
    }
}

/// Starts a node on a folder that a cut has left, and compares it with what clients knew at the time of the cut.
///
/// # Errors
/// If a promise does not hold.
pub async fn check(program: &Program, image: &Path, at: u64, sessions: Arc<Vec<Session>>) -> anyhow::Result<Found> {
    let node = Node::start(program, image).await?;
    let mut found = verify_all(&node, at, &sessions, |state| state == State::Live).await?;
    let live: Vec<_> = sessions.iter().filter(|session| session.state(at) == State::Live).collect();
    for session in live.iter().rev().take(SAMPLE) {
        let refresh = session.refresh(at).context("a refresh token")?;
        let refreshed = node.adieu.refresh(refresh).await;
        ensure!(refreshed.is_ok(), "a live session cannot be refreshed: {refreshed:?}: {}", session.id);
        let (status, body) = node.adieu.post("/logout", refresh).await;
        ensure!(status == 200, "a live session cannot be logged out: {status} {body}");
    }

    let (lines, torn_bytes) = node.audit()?;
    let logouts = lines.iter().filter(|line| line["event"] == "logout");
    let ids = logouts.flat_map(|line| [line["session"].as_str(), line["token_id"].as_str()]).flatten();
    let ids: HashSet<_> = ids.collect();
    let lost = |session: &&Session| session.has_line(at) && !ids.contains(session.id.as_str());
    if let Some(session) = sessions.iter().find(lost) {
        anyhow::bail!("an acknowledged logout is not in the audit file: {}", session.id);
    }
    for session in live.iter().rev().take(SAMPLE) {
        ensure!(ids.contains(session.id.as_str()), "a logout after the cut is not in the audit file: {}", session.id);
    }
    (found.lines, found.torn_bytes) = (lines.len(), torn_bytes);
    node.end().await;
    Ok(found)
}

/// Starts a node on a folder that a cut has left, but with an older backup of its store: it has to detect that, and to reject all tokens.
///
/// # Errors
/// If it does not.
pub async fn check_restored(
    program: &Program,
    image: &Path,
    at: u64,
    sessions: Arc<Vec<Session>>,
) -> anyhow::Result<Found> {
    let node = Node::start(program, image).await?;
    verify_all(&node, at, &sessions, |_| false).await.context("a restored backup was not found out")?;
    Ok(Found { backups: 1, ..Found::default() })
}

async fn verify_all(
    node: &Node,
    at: u64,
    sessions: &Arc<Vec<Session>>,
    is_accepted: fn(State) -> bool,
) -> anyhow::Result<Found> {
    let http = reqwest::Client::builder().timeout(Duration::from_secs(60)).build()?;
    let next = Arc::new(AtomicUsize::new(0));
    let verify = || {
        let (http, next, sessions, url) =
            (http.clone(), Arc::clone(&next), Arc::clone(sessions), node.adieu.url("/verify"));
        tokio::spawn(async move {
            let mut found = Found::default();
            while let Some(session) = sessions.get(next.fetch_add(1, Ordering::Relaxed)) {
                let state = session.state(at);
                match state {
                    State::Ended => found.ended += 1,
                    State::Live => found.live += 1,
                    State::Unknown => continue,
                }
                for token in session.access(at) {
                    let status = http.get(&url).bearer_auth(token).send().await?.status();
                    let expected = if is_accepted(state) { 204 } else { 401 };
                    ensure!(status == expected, "{state:?} session {}: {status}", session.id);
                }
            }
            Ok(found)
        })
    };
    let mut found = Found::default();
    for verifying in (0..CONNECTIONS).map(|_| verify()).collect::<Vec<_>>() {
        found.add(verifying.await??);
    }
    Ok(found)
}
