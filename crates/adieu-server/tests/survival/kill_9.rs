//! `kill -9` at any moment loses nothing that was acknowledged.
//!
//! Clients log in, refresh and log out as fast as they can; the server is killed at a random moment and started again,
//! a hundred times. After each restart every acknowledged logout holds for every token that the session ever had, and
//! every session without a logout request still works.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use fastrand::Rng;
use reqwest::StatusCode;

use crate::server::{Server, Tokens};

const ROUNDS: usize = 100;
const CLIENTS: usize = 6;

/// A session as its client knows it.
#[derive(Debug, Clone)]
struct Known {
    /// Every token of the session; the last refresh token is the current one.
    tokens: Vec<Tokens>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// No logout was requested.
    Live,
    /// A logout was sent and not answered: the session may have ended or not.
    Unknown,
    /// A logout was acknowledged.
    Ended,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_loses_nothing_that_was_acknowledged() {
    let seed =
        std::env::var("ADIEU_CRASH_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| Rng::new().u64(..));
    println!("ADIEU_CRASH_SEED={seed}");
    let mut random = Rng::with_seed(seed);
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut sessions: Vec<Known> = Vec::new();
    let mut slowest = Duration::ZERO;
    let mut server = Arc::new(Server::start(&data).await);
    for client in 0..CLIENTS {
        server.register(&format!("user-{client}")).await;
    }

    for _ in 0..ROUNDS {
        let killed = Arc::new(AtomicBool::new(false));
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (server, killed, seed) = (Arc::clone(&server), Arc::clone(&killed), random.u64(..));
                tokio::spawn(async move { use_sessions(&server, &killed, client, seed).await })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(random.u64(40..200))).await;
        killed.store(true, Ordering::SeqCst);
        kill(server.pid());
        let mut this_round = Vec::new();
        for client in clients {
            this_round.extend(client.await.unwrap());
        }

        server = Arc::new(Server::start(&data).await);
        slowest = slowest.max(server.ready_after);
        for session in &mut this_round {
            check(&server, session).await;
        }
        // And some from all earlier rounds; at the end all of them once more.
        for _ in 0..sessions.len().min(10) {
            let session = random.usize(..sessions.len());
            check(&server, &mut sessions[session]).await;
        }
        sessions.append(&mut this_round);
    }
    for session in &mut sessions {
        check(&server, session).await;
    }

    let count = |state| sessions.iter().filter(|session| session.state == state).count();
    println!(
        "{ROUNDS} kills: {} sessions, {} tokens; {} logouts acknowledged and refused ever after, {} sessions live and \
         working, {} logouts without an answer; slowest restart ready after {slowest:?}",
        sessions.len(),
        sessions.iter().map(|session| session.tokens.len()).sum::<usize>(),
        count(State::Ended),
        count(State::Live),
        count(State::Unknown),
    );
    assert!(count(State::Ended) > ROUNDS / 2, "too little was logged out for this to show anything");
    assert!(count(State::Live) > ROUNDS / 2, "too little was left for this to show anything");
}

/// Logs in, then refreshes and logs out at random until the server is killed.
async fn use_sessions(server: &Server, killed: &AtomicBool, client: usize, seed: u64) -> Vec<Known> {
    let mut random = Rng::with_seed(seed);
    let mut sessions: Vec<Known> = Vec::new();
    let username = format!("user-{client}");
    while !killed.load(Ordering::SeqCst) {
        let live: Vec<usize> = (0..sessions.len()).filter(|&index| sessions[index].state == State::Live).collect();
        let choice = random.u8(..10);
        if live.is_empty() || choice < 3 {
            let Some((status, tokens)) = server.log_in(&username).await else { break };
            assert_eq!(status, StatusCode::OK);
            sessions.push(Known { tokens: vec![tokens.unwrap()], state: State::Live });
            continue;
        }
        let session = &mut sessions[live[random.usize(..live.len())]];
        let last = session.tokens.last().unwrap().clone();
        if choice < 7 {
            let Some((status, tokens)) = server.refresh(&last.refresh).await else { break };
            assert_eq!(status, StatusCode::OK);
            session.tokens.push(tokens.unwrap());
        } else {
            session.state = State::Unknown;
            let token = if choice == 7 { &last.refresh } else { &last.access };
            let Some((status, _)) = server.post("/logout", Some(token)).await else { break };
            assert_eq!(status, StatusCode::OK);
            session.state = State::Ended;
        }
    }
    sessions
}

/// Compares a session with its client's knowledge.
async fn check(server: &Server, session: &mut Known) {
    match session.state {
        State::Ended => {
            for tokens in &session.tokens {
                assert_eq!(server.get("/verify", Some(&tokens.access)).await, Some(StatusCode::UNAUTHORIZED));
                let (status, _) = server.refresh(&tokens.refresh).await.unwrap();
                assert_eq!(status, StatusCode::UNAUTHORIZED);
            }
        }
        State::Live => {
            for tokens in &session.tokens {
                assert_eq!(server.get("/verify", Some(&tokens.access)).await, Some(StatusCode::NO_CONTENT));
            }
            let last = &session.tokens.last().unwrap().refresh;
            let (status, tokens) = server.refresh(last).await.unwrap();
            assert_eq!(status, StatusCode::OK, "{session:?}");
            session.tokens.push(tokens.unwrap());
        }
        State::Unknown => {
            // Either outcome, but the same for all its tokens; once rejected, they stay rejected.
            let last = session.tokens.last().unwrap();
            let status = server.get("/verify", Some(&last.access)).await.unwrap();
            let (refreshed, tokens) = server.refresh(&last.refresh).await.unwrap();
            match status {
                StatusCode::NO_CONTENT => {
                    assert_eq!(refreshed, StatusCode::OK);
                    session.tokens.push(tokens.unwrap());
                }
                status => {
                    assert_eq!((status, refreshed), (StatusCode::UNAUTHORIZED, StatusCode::UNAUTHORIZED));
                    session.state = State::Ended;
                }
            }
        }
    }
}

/// Sends SIGKILL, while requests are in progress.
fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}
