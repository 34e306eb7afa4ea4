//! Operations that share a commit share nothing else.

use std::{future::ready, pin::Pin};

use adieu::{
    Error,
    revocation::RevocationLog,
    session::{EndSessions, Ended, Presented, Rotated, Rotation, Selection, Session, SessionStore},
};
use adieu_conformance::{
    Storage,
    sample::{after, ending, issuer, read_all, session, subject, token},
};
use adieu_postgres::Postgres;
use tokio::task::JoinSet;

use crate::engine::{InDatabase, Other, connected};

const TRANSACTIONS: &str = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint";

fn logout(session: &Session) -> EndSessions {
    let (id, subject) = (session.id.clone(), session.subject.clone());
    EndSessions { only_if: Some((id.clone(), subject.clone())), ..ending(Selection::Owned(id, subject)) }
}

fn refresh(session: &Session) -> Rotation {
    Rotation {
        issuer: issuer(),
        subject: session.subject.clone(),
        session: session.id.clone(),
        presented: Presented::Refresh(session.refresh_id.clone()),
        successor: adieu::TokenId::random(),
        now: after(60),
        forgiven_since: None,
        access_expires_at: after(960),
        refresh_expires_at: after(7_200),
    }
}

/// Returns another client that holds the lock, so that all operations queued meanwhile form one batch.
async fn hold(place: &InDatabase, store: &Postgres) -> Other {
    // The writer has its connection, and waits with a batch of one.
    store.append(vec![token("first")]).await.unwrap();
    let mut holder = connected(&place.0).await;
    holder.execute("BEGIN; SELECT pg_advisory_xact_lock(418380178805)").await;
    holder
}

/// Waits until the writer waits for the lock.
async fn waits_for_the_lock(place: &InDatabase) {
    wait_for_the_lock(place, 1).await;
}

/// Waits until this many connections wait for the lock.
async fn wait_for_the_lock(place: &InDatabase, connections: i64) {
    let mut other = connected(&place.0).await;
    while other
        .number(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted \
         AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        )
        .await
        < connections
    {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_logouts_cost_a_few_commits() {
    let place = InDatabase::empty().await;
    let store = place.open().await;
    let mut sessions = Vec::new();
    for number in 0..64 {
        let session = session(&format!("user {number}"));
        store.create(session.clone()).await.unwrap();
        sessions.push(session);
    }
    // Every writing transaction has a number, whatever its content.
    let mut other = connected(&place.0).await;
    let before = other.number(TRANSACTIONS).await;
    let mut logouts = JoinSet::new();
    for session in &sessions {
        let (store, logout) = (store.clone(), logout(session));
        logouts.spawn(async move { store.end(logout).await.unwrap().unwrap().sessions });
    }
    assert_eq!(logouts.join_all().await, [1; 64]);
    let transactions = other.number(TRANSACTIONS).await - before;
    // Other databases of the server count as well, if other tests run; alone there are two or three.
    let ours = commits_of_the_log(&mut other).await;
    assert!(ours <= 16, "{ours} commits for 64 logouts ({transactions} on the whole server)");
    assert_eq!(read_all(&store, None).await.0.len(), 64);
}

/// Counts the transactions that wrote the entries of the log.
async fn commits_of_the_log(other: &mut Other) -> i64 {
    other.number("SELECT count(DISTINCT xmin::text) FROM adieu.revocation").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_concerns_one_session_has_an_order_within_a_batch() {
    let place = InDatabase::empty().await;
    let store = place.open().await;
    let (known, new) = (session("jose"), session("ana"));
    store.create(known.clone()).await.unwrap();
    let mut holder = hold(&place, &store).await;
    let waiting = queued(store.append(vec![token("waits for the lock")])).await;
    waits_for_the_lock(&place).await;

    // All of this is one batch, in this order.
    let created = queued(store.create(new.clone())).await;
    let refreshed = queued(store.rotate(refresh(&new))).await;
    let reused = queued(store.rotate(refresh(&new))).await;
    let gone = queued(store.rotate(refresh(&new))).await;
    let first = queued(store.end(logout(&known))).await;
    let others = Selection::OfSubject(known.subject.clone());
    let wide = queued(store.end(EndSessions { selection: others, only_if: None, ..logout(&known) })).await;
    let second = queued(store.end(logout(&known))).await;
    let again = queued(store.create(known.clone())).await;
    let third = queued(store.end(logout(&known))).await;
    let position = queued(store.append(vec![token("last")])).await;

    holder.execute("COMMIT").await;
    waiting.await.unwrap();
    created.await.unwrap();
    assert!(matches!(refreshed.await.unwrap(), Rotated::Fresh(_)));
    assert!(matches!(reused.await.unwrap(), Rotated::Reused(..)));
    assert!(matches!(gone.await.unwrap(), Rotated::Ended));
    assert_eq!(sessions_of(first.await.unwrap()), Some(1));
    assert_eq!(sessions_of(wide.await.unwrap()), Some(0));
    assert_eq!(sessions_of(second.await.unwrap()), None);
    again.await.unwrap();
    assert_eq!(sessions_of(third.await.unwrap()), Some(1));
    let (entries, cursor) = read_all(&store, None).await;
    assert_eq!(position.await.unwrap(), cursor.position);
    // Two for the session that was created again, one for the reuse, and the three tokens.
    assert_eq!(entries.len(), 6);
    assert_eq!(store.sessions(None, 10).await.unwrap(), []);
    let commits = commits_of_the_log(&mut connected(&place.0).await).await;
    assert_eq!(
        commits, 4,
        "the first, the one that waited, and those before and after the operation with statements of its own"
    );
}

/// The sessions of a batch are read without the lock. Another process changes some of them before the batch has the lock.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_process_has_changed_meanwhile_is_decided_again() {
    let place = InDatabase::empty().await;
    let store = place.open().await;
    let sessions: Vec<_> = ["longer", "ended", "there", "same"].into_iter().map(session).collect();
    let [longer, ended, there, same] = sessions.as_slice() else { unreachable!() };
    for session in [longer, ended, same] {
        store.create(session.clone()).await.unwrap();
    }
    let mut holder = hold(&place, &store).await;
    let waiting = queued(store.append(vec![token("waits for the lock")])).await;
    waits_for_the_lock(&place).await;
    let mut asked = Vec::new();
    for session in &sessions {
        asked.push(queued(store.end(logout(session))).await);
    }
    // The lock goes to what waits, then to the other process, and then to the batch, which has read the sessions as they
    // are now.
    let mut other = connected(&place.0).await;
    let locking = tokio::spawn(async move {
        other.execute("BEGIN; SELECT pg_advisory_xact_lock(418380178805)").await;
        other
    });
    wait_for_the_lock(&place, 2).await;
    holder.execute("COMMIT").await;
    waiting.await.unwrap();
    let mut other = locking.await.unwrap();
    waits_for_the_lock(&place).await;
    let late = longer.access_expires_at.as_unix() + 1_000_000;
    let there = (there.subject.as_str(), there.id.as_str());
    other
        .execute(&format!(
            "UPDATE adieu.session SET access_expires_at = {late} WHERE subject = 'longer'; \
             DELETE FROM adieu.session WHERE subject = 'ended'; \
             INSERT INTO adieu.session SELECT '{}', '{}', created_at, last_seen_at, address, user_agent, refresh_id, \
             previous_refresh_id, refreshed_at, refresh_expires_at, expires_at, access_expires_at, used_refresh_id, used_at \
             FROM adieu.session WHERE subject = 'same'; COMMIT",
            there.0, there.1
        ))
        .await;
    let mut outcomes = Vec::new();
    for asked in asked {
        outcomes.push(sessions_of(asked.await.unwrap()));
    }
    assert_eq!(outcomes, [Some(1), None, Some(1), Some(1)]);
    let entries = read_all(&store, None).await.0;
    let of_longer = entries.iter().find(|entry| entry.lapses_at.as_unix() > late);
    assert!(of_longer.is_some(), "kept as long as the session that was changed: {entries:?}");
    assert_eq!(store.sessions(None, 10).await.unwrap(), []);
}

fn sessions_of(ended: Option<Ended>) -> Option<usize> {
    ended.map(|ended| ended.sessions)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_is_its_own() {
    let place = InDatabase::empty().await;
    let store = place.open().await;
    let sessions: Vec<_> = ["ana", "broken", "jose"].into_iter().map(session).collect();
    for session in &sessions {
        store.create(session.clone()).await.unwrap();
    }
    let mut holder = hold(&place, &store).await;
    // An unreadable row fails only the operations that need it.
    let spoil = "UPDATE adieu.session SET refresh_id = '' WHERE subject = 'broken'";
    let waiting = queued(store.append(vec![token("waits for the lock")])).await;
    waits_for_the_lock(&place).await;
    let mut asked = Vec::new();
    for session in &sessions {
        asked.push(queued(store.end(logout(session))).await);
    }
    let appended = queued(store.append(vec![token("one"), token("two")])).await;
    holder.execute(spoil).await;
    holder.execute("COMMIT").await;
    waiting.await.unwrap();
    let mut outcomes = Vec::new();
    for asked in asked {
        outcomes.push(asked.await.map(|ended| ended.unwrap().sessions));
    }
    assert!(matches!(outcomes.as_slice(), [Ok(1), Err(Error::Unavailable(_)), Ok(1)]), "{outcomes:?}");
    // After a failure, each operation has a commit of its own.
    let position = appended.await.unwrap();
    let (entries, cursor) = read_all(&store, None).await;
    assert_eq!(position, cursor.position);
    assert_eq!(entries[4..], [token("one"), token("two")]);
    assert_eq!(entries.len(), 6);
    // The writer continues, and the failed operations are known to have failed.
    store.append(vec![token("after")]).await.unwrap();
    store.check().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_is_told_at_once() {
    let place = InDatabase::empty().await;
    let store = place.open().await;
    let mut holder = hold(&place, &store).await;
    let mut waiting = Vec::new();
    let refused = loop {
        match asked_once(store.append(vec![token("a")])).await {
            Err(asked) => waiting.push(asked),
            Ok(outcome) => break outcome,
        }
        assert!(waiting.len() < 1_000_000, "the queue is bounded");
    };
    assert!(matches!(refused, Err(Error::Unavailable(_))));
    holder.execute("COMMIT").await;
    for asked in waiting {
        // Late ones, on a slow machine, get an error.
        let _ = asked.await;
    }
    store.append(vec![token("after")]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_that_can_be_ended_ends_with_the_right_revocations() {
    let place = InDatabase::empty().await;
    let store = place.open().await;
    for number in 0..50 {
        let refreshed_at = after(if number < 10 { 20 } else { 5 });
        let access_expires_at = after(900 + number);
        store.create(Session { refreshed_at, access_expires_at, ..session("jose") }).await.unwrap();
    }
    let cut_off = adieu::revocation::Revocation {
        issuer: issuer(),
        target: adieu::revocation::Target::Everything { issued_until: after(10) },
        lapses_at: after(11),
    };
    let all = EndSessions { extra_revocations: vec![cut_off], ..ending(Selection::All { issued_until: after(10) }) };
    let ended = store.end(all).await.unwrap().unwrap();
    assert_eq!((ended.sessions, ended.revocations.len()), (50, 11));
    let longest = adieu::revocation::Revocation::lapse_for(after(949));
    assert_eq!(ended.revocations.last().unwrap().lapses_at, longest, "it outlives the session that lives longest");
    assert_eq!(store.sessions_of(&subject("jose"), None, 10).await.unwrap(), []);
}

/// Queues an operation while another client holds the lock.
async fn queued<F: Future>(future: F) -> Pin<Box<F>> {
    match asked_once(future).await {
        Err(future) => future,
        Ok(_) => panic!("it did not wait for the lock"),
    }
}

/// Polls a future once, which queues its operation; returns its outcome if it could not be queued.
async fn asked_once<F: Future>(future: F) -> Result<F::Output, Pin<Box<F>>> {
    let mut future = Box::pin(future);
    tokio::select! { biased; output = &mut future => Ok(output), () = ready(()) => Err(future) }
}
