//! When a server does not answer, calls fail in bounded time, nothing that was acknowledged is lost, and everything recovers by itself
//! when the server is back.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use adieu::{
    Error,
    revocation::RevocationLog,
    session::{Selection, SessionStore},
};
use adieu_conformance::sample::{ending, issuer, read_all, session, token};
use adieu_redis::Redis;
use test_servers::recovers;

use crate::support::{cursor, poll_once, with_server};

/// Checks that reads and writes fail, and soon enough.
async fn all_is_refused_in_time(store: &Redis) {
    let started = Instant::now();
    assert!(matches!(store.read(None, Duration::ZERO).await, Err(Error::Unavailable(_))));
    assert!(matches!(store.sessions(None, 10).await, Err(Error::Unavailable(_))));
    assert!(started.elapsed() < Duration::from_secs(15), "two reads took {:?}", started.elapsed());
    let started = Instant::now();
    let (append, create) = tokio::join!(store.append(vec![token("lost")]), store.create(session("lost")));
    assert!(matches!((append, create), (Err(Error::Unavailable(_)), Err(Error::Unavailable(_)))));
    assert!(started.elapsed() < Duration::from_secs(15), "writes took {:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_and_started_again() {
    let (mut server, store) = with_server().await;
    store.append(vec![token("before")]).await.unwrap();
    server.stop().await;
    all_is_refused_in_time(&store).await;
    server.start_again().await;
    recovers(async || store.read(None, Duration::ZERO).await).await;
    store.append(vec![token("after")]).await.unwrap();
    assert_eq!(read_all(&store, None).await.0, [token("before"), token("after")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_has_to_fail_for_a_restart_to_be_noticed() {
    let (mut server, store) = with_server().await;
    for number in 0..3 {
        store.append(vec![token(format!("{number}"))]).await.unwrap();
        server.stop().await;
        server.start_again().await;
    }
    assert_eq!(read_all(&store, None).await.0.len(), 3);
}

/// Its replies while it loads are errors: they neither mean that the log is empty nor that a write was done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn loading_its_data() {
    let (mut server, store) = with_server().await;
    store.append(vec![token("before")]).await.unwrap();
    // Data of other applications, which takes a minute to load.
    let fill = "for number = 1, 1000 do redis.call('SET', 'other ' .. number, string.rep('x', 1000)) end";
    server.command(&["EVAL", fill, "0"]).await;
    server.write_snapshot().await;
    server.stop().await;
    server.start_loading().await;
    all_is_refused_in_time(&store).await;
    assert!(server.command(&["PING"]).await.starts_with("-LOADING"), "all that was while it was loading");
    server.loads_at_once().await;
    recovers(async || store.append(vec![token("after")]).await).await;
    assert_eq!(read_all(&store, None).await.0, [token("before"), token("after")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frozen_and_thawed() {
    let (server, store) = with_server().await;
    store.append(vec![token("before")]).await.unwrap();
    let cursor = cursor(&store).await;
    let waiting = store.read(Some(&cursor), Duration::from_secs(60));
    let mut waiting = std::pin::pin!(waiting);
    poll_once(&mut waiting).await;
    server.freeze();
    let started = Instant::now();
    assert!(matches!(waiting.await, Err(Error::Unavailable(_))), "one that waits notices it as well");
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
    all_is_refused_in_time(&store).await;
    server.thaw();
    let page = recovers(async || store.read(Some(&cursor), Duration::ZERO).await).await;
    assert!(!page.from_start, "it is the same log, and is read on");
    recovers(async || store.append(vec![token("after")]).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_under_load_it_has_kept_all_that_was_acknowledged() {
    const WRITERS: usize = 16;
    let (mut server, store) = with_server().await;
    let (acknowledged, ended) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
    let stopping = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (store, acknowledged, ended) = (store.clone(), Arc::clone(&acknowledged), Arc::clone(&ended));
            let stopping = Arc::clone(&stopping);
            tokio::spawn(async move {
                for number in 0.. {
                    if stopping.load(Ordering::SeqCst) {
                        return;
                    }
                    let fact = token(format!("{writer} {number}"));
                    if store.append(vec![fact.clone()]).await.is_ok() {
                        acknowledged.lock().unwrap().push(fact);
                    }
                    let session = session(&format!("{writer}"));
                    if store.create(session.clone()).await.is_ok() && end(&store, &session).await.is_ok() {
                        ended.lock().unwrap().push(session);
                    }
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    for _ in 0..5 {
        let before = acknowledged.lock().unwrap().len();
        recovers(async || if acknowledged.lock().unwrap().len() > before + 50 { Ok(()) } else { Err("no progress") })
            .await;
        server.kill();
        tokio::time::sleep(Duration::from_millis(20)).await;
        server.start_again().await;
    }
    stopping.store(true, Ordering::SeqCst);
    for writer in writers {
        writer.await.unwrap();
    }
    let kept: HashSet<_> = read_all(&store, None).await.0.into_iter().map(|fact| format!("{fact:?}")).collect();
    let acknowledged = acknowledged.lock().unwrap().clone();
    assert!(acknowledged.len() > 250);
    for fact in &acknowledged {
        assert!(kept.contains(&format!("{fact:?}")), "{fact:?} was acknowledged and is lost");
    }
    let ended = ended.lock().unwrap().clone();
    assert!(!ended.is_empty());
    let left: HashSet<_> =
        store.sessions(None, usize::MAX).await.unwrap().into_iter().map(|session| session.id).collect();
    for session in &ended {
        assert!(!left.contains(&session.id), "a session that was ended is back");
        assert!(kept.contains(&format!("{:?}", session.revocation(&issuer()))));
    }
}

async fn end(store: &Redis, session: &adieu::session::Session) -> Result<(), Error> {
    let ending = ending(Selection::Owned(session.id.clone(), session.subject.clone()));
    let ended = store.end(ending).await?.unwrap();
    assert_eq!(ended.sessions, 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_lost_is_made_anew_and_reads_on() {
    let (server, store) = with_server().await;
    store.append(vec![token("before")]).await.unwrap();
    let cursor = cursor(&store).await;
    for number in 0..5 {
        server.command(&["CLIENT", "KILL", "TYPE", "normal"]).await;
        let page = store.read(Some(&cursor), Duration::ZERO).await.unwrap();
        assert_eq!((page.entries.len(), page.from_start), (number, false));
        recovers(async || store.append(vec![token(format!("{number}"))]).await).await;
    }
}

/// The server closes idle connections, also those that the next write would use.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_closes_idle_connections_fails_no_write() {
    let server = test_servers::Redis::start_with(&[("timeout", "1")]).await;
    let store = Redis::connect(&server.url()).await.unwrap();
    for number in 0..3 {
        store.append(vec![token(format!("{number}"))]).await.unwrap();
        // The remaining connections are the one that waits for news, and the one that counts.
        recovers(async || {
            let clients = server.command(&["CLIENT", "LIST"]).await;
            if clients.matches("cmd=").count() <= 2 { Ok(()) } else { Err(clients) }
        })
        .await;
        store.append(vec![token(format!("{number} after"))]).await.unwrap();
    }
    assert_eq!(read_all(&store, None).await.0.len(), 6);
}

/// The server rejects writes while it can't save its snapshots.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_refuses_writes_is_an_error_until_it_takes_them() {
    let server = test_servers::Redis::start_with(&[("save", "3600 1000000"), ("dbfilename", "snapshot")]).await;
    let store = Redis::connect(&server.url()).await.unwrap();
    store.append(vec![token("before")]).await.unwrap();
    let folder = server.command(&["CONFIG", "GET", "dir"]).await.lines().last().unwrap().to_owned();
    let in_the_way = std::path::Path::new(&folder).join("snapshot");
    std::fs::create_dir(&in_the_way).unwrap();
    let saved = async |outcome: &str| {
        server.command(&["BGSAVE"]).await;
        recovers(async || {
            let info = server.command(&["INFO", "persistence"]).await;
            if info.contains("rdb_bgsave_in_progress:0") && info.contains(outcome) { Ok(()) } else { Err(info) }
        })
        .await;
    };
    saved("rdb_last_bgsave_status:err").await;
    for _ in 0..3 {
        let error = store.append(vec![token("lost")]).await.unwrap_err();
        assert!(format!("{error:?}").contains("MISCONF"), "{error:?}");
        assert!(store.check().await.is_err());
    }
    assert_eq!(read_all(&store, None).await.0, [token("before")], "it can be read all the same");
    std::fs::remove_dir(&in_the_way).unwrap();
    saved("rdb_last_bgsave_status:ok").await;
    store.append(vec![token("after")]).await.unwrap();
    assert_eq!(read_all(&store, None).await.0, [token("before"), token("after")]);
}
