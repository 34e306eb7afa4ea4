//! Long reads of the store do not block followers of the log.

use std::{
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use adieu::{
    revocation::{Revocation, RevocationLog, Target},
    session::{EndSessions, Selection, Session, SessionStore},
};
use adieu_conformance::{
    Storage,
    sample::{after, ending, issuer, read_all, session, token},
};

use crate::engines::OnFile;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_is_followed_while_all_readers_are_at_work() {
    let place = OnFile::empty().await;
    let store = place.open().await;
    let (end, ends) = mpsc::channel::<()>();
    let ends = Arc::new(Mutex::new(ends));
    // More than the maximum number of readers.
    let busy: Vec<_> = (0..40)
        .map(|_| {
            let (store, ends) = (store.clone(), Arc::clone(&ends));
            tokio::spawn(async move {
                let read = store.query(move |_| {
                    let _ = ends.lock().unwrap().recv();
                    Ok(())
                });
                read.await
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut cursor = read_all(&store, None).await.1;
    for number in 0..10 {
        let appended = token(format!("{number}"));
        store.append(vec![appended.clone()]).await.unwrap();
        let page = store.read(Some(&cursor), Duration::from_secs(60)).await.unwrap();
        assert_eq!(page.entries, [appended]);
        cursor = page.cursor;
    }
    assert!(busy.iter().all(|read| !read.is_finished()), "they were at work all the time");
    drop(end);
    for read in busy {
        read.await.unwrap().unwrap();
    }
}

/// In steps: see the corresponding test of PostgreSQL.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_of_many_sessions_end_with_the_right_revocations() {
    let place = OnFile::empty().await;
    let store = place.open().await;
    let sessions: Vec<_> = (0..9_000_u64)
        .map(|number| Session {
            refreshed_at: after(if number % 4_000 == 1 { 20 } else { 5 }),
            access_expires_at: after(if number == 8_500 { 90_000 } else { 900 }),
            ..session(&format!("{number:08}"))
        })
        .collect();
    let mut creating = tokio::task::JoinSet::new();
    for session in &sessions {
        let (store, session) = (store.clone(), session.clone());
        creating.spawn(async move { store.create(session).await });
    }
    creating.join_all().await.into_iter().for_each(|created| created.unwrap());
    let cut_off =
        |lapses_at| Revocation { issuer: issuer(), target: Target::Everything { issued_until: after(10) }, lapses_at };
    let all = ending(Selection::All { issued_until: after(10) });
    let all = EndSessions { extra_revocations: vec![cut_off(after(10))], ..all };
    let ended = store.end(all).await.unwrap().unwrap();
    assert_eq!((ended.sessions, store.sessions(None, 10).await.unwrap()), (9_000, vec![]));
    let own = [1, 4_001, 8_001].map(|number: usize| sessions[number].revocation(&issuer()));
    assert!(own.iter().all(|revocation| ended.revocations.contains(revocation)));
    let cut_offs: Vec<_> = ended.revocations.iter().filter(|revocation| !own.contains(revocation)).cloned().collect();
    let until = |seconds| cut_off(Revocation::lapse_for(after(seconds)));
    assert_eq!(cut_offs, [until(900), until(90_000)]);
    assert_eq!(read_all(&store, None).await.0, ended.revocations);
}
