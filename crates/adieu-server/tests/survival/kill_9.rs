//! `kill -9` at any moment loses nothing that was acknowledged.
//!
//! Clients log in, refresh and log out as fast as they can; the server is killed at a random moment and started again,
//! at least a hundred times. After each restart every acknowledged logout holds for every token that the session ever had, and
//! every session without a logout request still works.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use fastrand::Rng;
use reqwest::Method;
use test_servers::adieu::{Adieu, Tokens};

use crate::adieu;

/// How often the server is killed: at least, and at most, on a machine so busy that little is done between two kills.
const ROUNDS: usize = 100;
const MAX_ROUNDS: usize = 5 * ROUNDS;
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
    let mut server = Arc::new(adieu(&data).start().await);
    for client in 0..CLIENTS {
        server.register(&format!("user-{client}")).await;
    }

    let count = |sessions: &[Known], state| sessions.iter().filter(|session| session.state == state).count();
    // What was logged out or left for this to show anything.
    let is_enough =
        |sessions: &[Known]| count(sessions, State::Ended) > ROUNDS / 2 && count(sessions, State::Live) > ROUNDS / 2;
    let mut rounds = 0;
    while rounds < ROUNDS || (rounds < MAX_ROUNDS && !is_enough(&sessions)) {
        rounds += 1;
        let killed = Arc::new(AtomicBool::new(false));
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (server, killed, seed) = (Arc::clone(&server), Arc::clone(&killed), random.u64(..));
                tokio::spawn(async move { use_sessions(&server, &killed, client, seed).await })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(random.u64(40..200))).await;
        killed.store(true, Ordering::SeqCst);
        // While requests are in progress.
        server.kill();
        let mut this_round = Vec::new();
        for client in clients {
            this_round.extend(client.await.unwrap());
        }

        let killed_at = Instant::now();
        Arc::get_mut(&mut server).unwrap().start_again(|_| ()).await;
        slowest = slowest.max(killed_at.elapsed());
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

    println!(
        "{rounds} kills: {} sessions, {} tokens; {} logouts acknowledged and refused ever after, {} sessions live and \
         working, {} logouts without an answer; slowest restart ready after {slowest:?}",
        sessions.len(),
        sessions.iter().map(|session| session.tokens.len()).sum::<usize>(),
        count(&sessions, State::Ended),
        count(&sessions, State::Live),
        count(&sessions, State::Unknown),
    );
    assert!(is_enough(&sessions), "too little was logged out, or left, for this to show anything");
}

/// Logs in, then refreshes and logs out at random until the server is killed.
async fn use_sessions(server: &Adieu, killed: &AtomicBool, client: usize, seed: u64) -> Vec<Known> {
    let mut random = Rng::with_seed(seed);
    let mut sessions: Vec<Known> = Vec::new();
    let username = format!("user-{client}");
    while !killed.load(Ordering::SeqCst) {
        let live: Vec<usize> = (0..sessions.len()).filter(|&index| sessions[index].state == State::Live).collect();
        let choice = random.u8(..10);
        if live.is_empty() || choice < 3 {
            let Some(tokens) = server.try_log_in(&username).await else { break };
            sessions.push(Known { tokens: vec![tokens.unwrap()], state: State::Live });
            continue;
        }
        let session = &mut sessions[live[random.usize(..live.len())]];
        let last = session.tokens.last().unwrap().clone();
        if choice < 7 {
            let Some(tokens) = server.try_refresh(&last.refresh).await else { break };
            session.tokens.push(tokens.unwrap());
        } else {
            session.state = State::Unknown;
            let token = if choice == 7 { &last.refresh } else { &last.access };
            let Some((status, _)) = server.try_ask(Method::POST, "/logout", Some(token), None).await else { break };
            assert_eq!(status, 200);
            session.state = State::Ended;
        }
    }
    sessions
}

/// Compares a session with its client's knowledge.
async fn check(server: &Adieu, session: &mut Known) {
    match session.state {
        State::Ended => {
            for tokens in &session.tokens {
                assert_eq!(server.verify(&tokens.access).await.0, 401);
                assert_eq!(server.refresh(&tokens.refresh).await, Err(401));
            }
        }
        State::Live => {
            for tokens in &session.tokens {
                assert_eq!(server.verify(&tokens.access).await.0, 204);
            }
            let last = &session.tokens.last().unwrap().refresh;
            let tokens = server.refresh(last).await.unwrap_or_else(|status| panic!("{status}: {session:?}"));
            session.tokens.push(tokens);
        }
        State::Unknown => {
            // Either outcome, but the same for all its tokens; once rejected, they stay rejected.
            let last = session.tokens.last().unwrap();
            let (status, _) = server.verify(&last.access).await;
            let refreshed = server.refresh(&last.refresh).await;
            if status == 204 {
                session.tokens.push(refreshed.unwrap());
            } else {
                assert_eq!((status, refreshed), (401, Err(401)));
                session.state = State::Ended;
            }
        }
    }
}
