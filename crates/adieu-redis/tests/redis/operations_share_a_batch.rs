//! Operations that share a batch share nothing else: neither a conflict with another node nor a failure.
//!
//! A gate between a store and its server holds scripts back, so that other nodes can change what the store has read.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use adieu::{
    revocation::{Revocation, RevocationLog},
    session::{EndSessions, Ended, Rotated, Selection, Session, SessionStore},
};
use adieu_conformance::sample::{after, issuer, read_all, session, subject, token};
use adieu_redis::Redis;
use test_servers::Redis as Server;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};

use crate::support::{poll_once, rotation, with_server};

/// Passes requests on to a server. While it is closed, it holds scripts back.
#[derive(Clone)]
struct Gate {
    closed: Arc<AtomicBool>,
    /// How many scripts were held back.
    held: Arc<Semaphore>,
    /// How many of them may pass.
    passes: Arc<Semaphore>,
}

impl Gate {
    /// Returns a gate, and a store behind it.
    async fn to(server: &Server) -> (Self, Redis) {
        let none = || Arc::new(Semaphore::new(0));
        let gate = Self { closed: Arc::default(), held: none(), passes: none() };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("redis://{}/", listener.local_addr().unwrap());
        let (this, port) = (gate.clone(), server.port());
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                tokio::spawn(this.clone().pass(client, server));
            }
        });
        (gate, Redis::connect(&url).await.unwrap())
    }

    async fn pass(self, client: TcpStream, server: TcpStream) {
        let (mut client, mut answers) = client.into_split();
        let (mut responses, mut server) = server.into_split();
        tokio::spawn(async move { tokio::io::copy(&mut responses, &mut answers).await });
        let mut buffer = vec![0; 65_536];
        while let Ok(length @ 1..) = client.read(&mut buffer).await {
            let request = &buffer[..length];
            let is_script = request.windows(7).any(|word| word == b"EVALSHA");
            if is_script && self.closed.load(Ordering::SeqCst) {
                self.held.add_permits(1);
                self.passes.acquire().await.unwrap().forget();
            }
            if server.write_all(request).await.is_err() {
                return;
            }
        }
    }

    async fn holds_a_script(&self) {
        self.held.acquire().await.unwrap().forget();
    }

    /// Closes the gate, and starts operations that form one batch. Returns when its script is held back.
    async fn hold(&self, store: &Redis, operations: &mut [Operation<'_>]) {
        self.closed.store(true, Ordering::SeqCst);
        let mut first: Operation<'_> =
            Box::pin(async { Outcome::Appended(store.append(vec![token("first")]).await.is_ok()) });
        poll_once(&mut first).await;
        self.holds_a_script().await;
        for operation in operations {
            poll_once(operation).await;
        }
        self.passes.add_permits(1);
        assert!(matches!(first.await, Outcome::Appended(true)));
        self.holds_a_script().await;
    }

    fn open(&self) {
        self.closed.store(false, Ordering::SeqCst);
        self.passes.add_permits(1);
    }
}

#[derive(Debug)]
enum Outcome {
    Rotated(Result<Rotated, adieu::Error>),
    Ended(Result<Option<Ended>, adieu::Error>),
    Appended(bool),
}

type Operation<'a> = Pin<Box<dyn Future<Output = Outcome> + 'a>>;

fn logout(session: &Session) -> EndSessions {
    let (id, subject) = (session.id.clone(), session.subject.clone());
    EndSessions {
        issuer: issuer(),
        selection: Selection::Owned(id.clone(), subject.clone()),
        only_if: Some((id, subject)),
        extra_revocations: vec![],
    }
}

fn rotate<'a>(store: &'a Redis, session: &Session) -> Operation<'a> {
    let rotation = rotation(session, 2_000);
    Box::pin(async { Outcome::Rotated(store.rotate(rotation).await) })
}

fn end<'a>(store: &'a Redis, session: &Session) -> Operation<'a> {
    let logout = logout(session);
    Box::pin(async { Outcome::Ended(store.end(logout).await) })
}

fn append<'a>(store: &'a Redis, revocation: Revocation) -> Operation<'a> {
    Box::pin(async { Outcome::Appended(store.append(vec![revocation]).await.is_ok()) })
}

async fn sessions(store: &Redis, count: usize) -> Vec<Session> {
    let sessions: Vec<_> = (0..count).map(|number| session(&format!("user {number}"))).collect();
    for session in &sessions {
        store.create(session.clone()).await.unwrap();
    }
    sessions
}

/// Awaits operations on sessions that no other node has changed: a logout of each but the last, a rotation of that, and an append.
async fn all_succeed(operations: Vec<Operation<'_>>) {
    for operation in operations {
        let outcome = operation.await;
        let succeeded = match &outcome {
            Outcome::Ended(ended) => {
                ended.as_ref().is_ok_and(|ended| ended.as_ref().is_some_and(|ended| ended.sessions == 1))
            }
            Outcome::Rotated(rotated) => matches!(rotated, Ok(Rotated::Fresh(_))),
            Outcome::Appended(appended) => *appended,
        };
        assert!(succeeded, "{outcome:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_another_node_ends_meanwhile_is_not_rotated() {
    let (server, there) = with_server().await;
    let (gate, here) = Gate::to(&server).await;
    let sessions = sessions(&there, 5).await;
    let mut operations = vec![
        rotate(&here, &sessions[0]),
        end(&here, &sessions[1]),
        end(&here, &sessions[2]),
        rotate(&here, &sessions[3]),
        append(&here, token("appended")),
    ];
    gate.hold(&here, &mut operations).await;
    assert_eq!(there.end(logout(&sessions[0])).await.unwrap().unwrap().sessions, 1);
    gate.open();

    let rotated = operations.remove(0).await;
    assert!(matches!(rotated, Outcome::Rotated(Ok(Rotated::Ended))), "{rotated:?}");
    all_succeed(operations).await;
    let left: Vec<_> = there.sessions(None, 10).await.unwrap().into_iter().map(|session| session.id).collect();
    assert_eq!(left, [sessions[3].id.clone(), sessions[4].id.clone()]);
    // Each entry once: the first, the logout there, two logouts here, and the append.
    assert_eq!(read_all(&there, None).await.0.len(), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_logout_covers_the_tokens_that_another_node_issues_meanwhile() {
    let (server, there) = with_server().await;
    let (gate, here) = Gate::to(&server).await;
    let sessions = sessions(&there, 4).await;
    let mut operations = vec![
        end(&here, &sessions[0]),
        end(&here, &sessions[1]),
        rotate(&here, &sessions[2]),
        append(&here, token("appended")),
    ];
    gate.hold(&here, &mut operations).await;
    assert!(matches!(there.rotate(rotation(&sessions[0], 5_000)).await.unwrap(), Rotated::Fresh(_)));
    gate.open();

    let outcome = operations.remove(0).await;
    let Outcome::Ended(Ok(Some(ended))) = outcome else { panic!("{outcome:?}") };
    let last = Revocation::lapse_for(after(5_000));
    assert_eq!(ended.revocations.iter().map(|revocation| revocation.lapses_at).collect::<Vec<_>>(), [last]);
    all_succeed(operations).await;
    assert!(matches!(there.rotate(rotation(&sessions[0], 6_000)).await.unwrap(), Rotated::Ended));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_operations_on_a_changed_session_see_each_other() {
    let (server, there) = with_server().await;
    let (gate, here) = Gate::to(&server).await;
    let sessions = sessions(&there, 2).await;
    let mut operations = vec![
        end(&here, &sessions[1]),
        rotate(&here, &sessions[0]),
        rotate(&here, &sessions[0]),
        end(&here, &sessions[0]),
        end(&here, &sessions[0]),
    ];
    gate.hold(&here, &mut operations).await;
    there.record_last_seen(vec![(sessions[0].id.clone(), sessions[0].subject.clone(), after(5))]).await.unwrap();
    gate.open();

    let on_it = operations.split_off(1);
    all_succeed(operations).await;
    let mut outcomes = Vec::new();
    for operation in on_it {
        outcomes.push(operation.await);
    }
    // The second use of the refresh token is reuse, since the rotation knows no grace period.
    assert!(
        matches!(
            outcomes.as_slice(),
            [
                Outcome::Rotated(Ok(Rotated::Fresh(_))),
                Outcome::Rotated(Ok(Rotated::Reused(..))),
                Outcome::Ended(Ok(None)),
                Outcome::Ended(Ok(None))
            ]
        ),
        "{outcomes:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_cannot_be_read_fails_its_own_operations_only() {
    let (server, there) = with_server().await;
    let (gate, here) = Gate::to(&server).await;
    let sessions = sessions(&there, 4).await;
    server.command(&["HSET", "{adieu}:sessions", sessions[0].id.as_str(), "in the way"]).await;
    let mut operations = vec![
        end(&here, &sessions[0]),
        rotate(&here, &sessions[0]),
        end(&here, &sessions[1]),
        rotate(&here, &sessions[2]),
        append(&here, token("appended")),
    ];
    gate.hold(&here, &mut operations).await;
    gate.open();

    let others = operations.split_off(2);
    for operation in operations {
        let outcome = operation.await;
        assert!(matches!(outcome, Outcome::Ended(Err(_)) | Outcome::Rotated(Err(_))), "{outcome:?}");
    }
    all_succeed(others).await;
}

/// More members than a command in a script can take at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_sessions_end_in_one_step() {
    const COUNT: usize = 9_000;
    let (server, store) = with_server().await;
    let sessions: Vec<_> = (0..COUNT).map(|number| session(&format!("user {}", number % 7))).collect();
    let creating: Vec<_> = sessions
        .iter()
        .map(|session| {
            let (store, session) = (store.clone(), session.clone());
            tokio::spawn(async move { store.create(session).await })
        })
        .collect();
    for created in creating {
        created.await.unwrap().unwrap();
    }
    let ended = store.end_all(sessions.iter().map(logout).collect()).await.unwrap();
    assert!(ended.iter().all(|ended| ended.as_ref().is_some_and(|ended| ended.sessions == 1)));
    assert_eq!(read_all(&store, None).await.0.len(), COUNT);
    for (command, key) in [("HLEN", "sessions"), ("ZCARD", "ids"), ("ZCARD", "subjects"), ("ZCARD", "access")] {
        assert_eq!(server.command(&[command, &format!("{{adieu}}:{key}")]).await, ":0", "{key}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_changes_its_subject_is_in_the_list_of_one_subject() {
    let (_server, store) = with_server().await;
    let before = session("ana");
    store.create(before.clone()).await.unwrap();
    store.create(Session { subject: subject("jose"), ..before.clone() }).await.unwrap();
    assert_eq!(store.sessions_of(&subject("ana"), None, 10).await.unwrap(), []);
    assert_eq!(store.sessions_of(&subject("jose"), None, 10).await.unwrap().len(), 1);
    assert!(matches!(store.rotate(rotation(&before, 2_000)).await.unwrap(), Rotated::Ended));
}
