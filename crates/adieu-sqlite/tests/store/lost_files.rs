//! A file that is removed, replaced or truncated while it is open: a write that would be lost is not acknowledged, and the file in its
//! place is left unchanged.

use std::{path::Path, process::Command};

use adieu::{
    Error,
    revocation::RevocationLog,
    session::{Selection, SessionStore},
};
use adieu_conformance::{
    Storage,
    sample::{ending, read_all, session, token},
};
use adieu_sqlite::{Sqlite, rusqlite};

use crate::engines::OnFile;

/// Runs another program: opening and closing the file in this process would release the store's locks.
fn run(words: &[&str]) {
    let status = Command::new(words[0]).args(&words[1..]).status().unwrap();
    assert!(status.success(), "{words:?}");
}

async fn all_is_refused(store: &Sqlite) {
    for _ in 0..3 {
        for outcome in [
            store.append(vec![token("lost")]).await.map(drop),
            store.create(session("ana")).await,
            store.read(None, std::time::Duration::ZERO).await.map(drop),
            store.sessions(None, 10).await.map(drop),
            store.check().await,
        ] {
            let Err(Error::Unavailable(cause)) = outcome else { panic!("{outcome:?}") };
            let known = ["while it was in use", "malformed", "not a database", "disk I/O error"];
            assert!(known.iter().any(|part| cause.to_string().contains(part)), "{cause}");
        }
    }
}

/// Creates a store with content, part of which is only in the write-ahead log.
async fn begun() -> (OnFile, Sqlite, String) {
    let place = OnFile::empty().await;
    let store = place.open().await;
    store.append(vec![token("before")]).await.unwrap();
    let path = place.path().to_str().unwrap().to_owned();
    (place, store, path)
}

#[tokio::test]
async fn one_that_was_removed_takes_nothing() {
    let (_place, store, path) = begun().await;
    run(&["rm", &path]);
    all_is_refused(&store).await;
}

/// There would be two of the log beside it and of the log's index, which contains the locks.
#[tokio::test]
async fn one_whose_log_or_index_was_removed_or_replaced_takes_nothing() {
    for suffix in ["-wal", "-shm"] {
        let (_place, store, path) = begun().await;
        run(&["rm", &format!("{path}{suffix}")]);
        all_is_refused(&store).await;

        let (_place, store, path) = begun().await;
        let (beside, copy) = (format!("{path}{suffix}"), format!("{path}.copy"));
        run(&["cp", &beside, &copy]);
        run(&["mv", &copy, &beside]);
        all_is_refused(&store).await;
    }
}

/// Whatever SQLite itself would return: its commits succeed, and recovery finds none of them.
#[tokio::test]
async fn one_whose_log_was_truncated_or_overwritten_in_place_acknowledges_nothing() {
    let no_transaction_fails = async |_: &Sqlite| {};
    after_damage_to_the_log(no_transaction_fails).await;
}

/// The transaction that fails is the one that finds the log changed.
#[tokio::test]
async fn one_whose_log_was_damaged_before_a_transaction_that_failed_acknowledges_nothing() {
    let one_fails = async |store: &Sqlite| {
        let failing = store.transact::<(), _>(|_| Err(rusqlite::Error::QueryReturnedNoRows));
        failing.await.unwrap_err();
    };
    after_damage_to_the_log(one_fails).await;
}

async fn after_damage_to_the_log(then: impl AsyncFn(&Sqlite)) {
    for damage in [
        "truncate --size 0 $log",
        "truncate --size 32 $log",
        "truncate --size 5000 $log",
        "truncate --size -1 $log",
        "dd if=/dev/zero of=$log conv=notrunc bs=32 count=1",
        "dd if=/dev/urandom of=$log conv=notrunc bs=1000 seek=2 count=1",
        "dd if=/dev/urandom of=$log conv=notrunc bs=$(stat --format %s $log) count=1",
        "cat $other > $log",
        "cat $earlier > $log",
    ] {
        let (_elsewhere, other, other_path) = begun().await;
        other.append(vec![token("of the other")]).await.unwrap();
        let (place, store, path) = begun().await;
        let (log, earlier) = (format!("{path}-wal"), format!("{path}.earlier"));
        run(&["cp", &log, &earlier]);
        store.append(vec![token("known")]).await.unwrap();
        let script = format!(
            "log={log} other={other_path}-wal earlier={earlier}; until {damage} 2> /dev/null && \
                              test $log -nt $earlier; do :; done"
        );
        run(&["sh", "-c", &script]);
        then(&store).await;
        let outcome = store.append(vec![token("lost")]).await;
        assert!(matches!(outcome, Err(Error::Unavailable(_))), "{damage}: {outcome:?}");
        all_is_refused(&store).await;
        // Damaged content is not moved into the file, which would lose more.
        store.checkpoint().await.unwrap_err();
        let before = std::fs::read(&path).unwrap();
        drop(store);
        closed(&path).await;
        assert!(std::fs::read(&path).unwrap() == before, "{damage}");
        let recovered = read_all(&place.open().await, None).await.0;
        assert!(!recovered.contains(&token("lost")), "{damage}");
    }
}

/// As another process on the same file does, at any time.
#[tokio::test(flavor = "multi_thread")]
async fn others_may_append_to_the_log_and_move_it_into_the_file() {
    let (place, store, path) = begun().await;
    let is_over = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let other = std::thread::spawn({
        let is_over = std::sync::Arc::clone(&is_over);
        move || {
            let other = adieu_sqlite::rusqlite::Connection::open(&path).unwrap();
            other.busy_timeout(std::time::Duration::from_secs(60)).unwrap();
            other.execute_batch("CREATE TABLE other (number); INSERT INTO other VALUES (0)").unwrap();
            let mut rounds = 0;
            for mode in ["PASSIVE", "TRUNCATE", "FULL", "RESTART"].into_iter().cycle() {
                other.execute("UPDATE other SET number = number + 1", []).unwrap();
                other.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |_| Ok(())).unwrap();
                rounds += 1;
                if is_over.load(std::sync::atomic::Ordering::Relaxed) && rounds > 20 {
                    return;
                }
            }
        }
    });
    let expected: Vec<_> = (0..300).map(|number| token(number.to_string())).collect();
    for revocation in &expected {
        store.append(vec![revocation.clone()]).await.unwrap();
    }
    is_over.store(true, std::sync::atomic::Ordering::Relaxed);
    other.join().unwrap();
    store.append(vec![token("after")]).await.unwrap();
    assert_eq!(read_all(&place.open().await, None).await.0.len(), expected.len() + 2);
}

/// The index of the log is mapped into memory, so reading past its end would kill the process.
#[tokio::test]
async fn one_whose_index_was_truncated_takes_nothing() {
    for bytes in ["0", "4096"] {
        let (place, store, path) = begun().await;
        run(&["truncate", "--size", bytes, &format!("{path}-shm")]);
        all_is_refused(&store).await;
        drop(store);
        closed(&path).await;
        assert_eq!(read_all(&place.open().await, None).await.0, [token("before")]);
    }
}

/// A backup is restored with `cp` while the store is in use.
#[tokio::test]
async fn one_that_was_overwritten_in_place_acknowledges_nothing() {
    for fill in [3_000, 0] {
        let (_place, store, path) = begun().await;
        let copy = format!("{path}.copy");
        store.checkpoint().await.unwrap();
        run(&["cp", &path, &copy]);
        for number in 0..fill {
            store.create(session(&format!("{number}"))).await.unwrap();
        }
        store.append((0..fill).map(|number| token(number.to_string())).collect()).await.unwrap();
        store.checkpoint().await.unwrap();
        store.append(vec![token("in the log")]).await.unwrap();
        run(&["sh", "-c", &format!("until cat {copy} > {path} && test {path} -nt {path}-wal; do :; done")]);
        store.append(vec![token("lost")]).await.unwrap_err();
        all_is_refused(&store).await;
        // The file is left as the operator put it there.
        drop(store);
        closed(&path).await;
        assert!(std::fs::read(&path).unwrap() == std::fs::read(&copy).unwrap());
    }
}

#[tokio::test]
async fn one_that_was_truncated_takes_nothing() {
    for bytes in ["0", "4096", "20000"] {
        let (_place, store, path) = begun().await;
        store.checkpoint().await.unwrap();
        store.append(vec![token("in the log")]).await.unwrap();
        run(&["truncate", "--size", bytes, &path]);
        all_is_refused(&store).await;
    }
}

#[tokio::test]
async fn one_that_was_replaced_takes_nothing_and_leaves_what_is_there_as_it_is() {
    let (_place, store, path) = begun().await;
    // The other store has its own log, which must not be removed with the first.
    let (_elsewhere, other, from) = begun().await;
    other.append(vec![token("of the other")]).await.unwrap();
    run(&["mv", &from, &path]);
    run(&["mv", &format!("{from}-wal"), &format!("{path}-wal")]);
    all_is_refused(&store).await;
    drop(store);
    // The threads of the first have ended when its files are closed.
    closed(&format!("{path} (deleted)")).await;
    run(&["rm", "--force", &format!("{path}-shm")]);
    let replaced = Sqlite::open(&path).await.unwrap();
    assert_eq!(read_all(&replaced, None).await.0, [token("before"), token("of the other")]);
}

/// Returns when this process has closed a file. A file that had a name and was replaced is called `NAME (deleted)`.
async fn closed(path: &str) {
    let is_open = || {
        let open = std::fs::read_dir("/proc/self/fd").unwrap();
        open.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok()).any(|file| file == Path::new(path))
    };
    while is_open() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn one_that_comes_back_is_used_again() {
    let (_place, store, path) = begun().await;
    let elsewhere = format!("{path}.elsewhere");
    run(&["mv", &path, &elsewhere]);
    all_is_refused(&store).await;
    run(&["mv", &elsewhere, &path]);
    store.check().await.unwrap();
    store.append(vec![token("after")]).await.unwrap();
    assert!(read_all(&store, None).await.0.contains(&token("after")));
}

/// It makes the file smaller, and does not change its content.
#[tokio::test]
async fn one_that_another_process_has_made_smaller_is_used_on() {
    let (_place, store, path) = begun().await;
    for number in 0..2_000 {
        store.create(session(&format!("{number}"))).await.unwrap();
    }
    store.append(vec![token("after")]).await.unwrap();
    store.checkpoint().await.unwrap();
    let length = std::fs::metadata(&path).unwrap().len();
    let other = adieu_sqlite::rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("DELETE FROM session; VACUUM; PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    drop(other);
    assert!(std::fs::metadata(&path).unwrap().len() < length);
    store.append(vec![token("and on")]).await.unwrap();
    assert_eq!(read_all(&store, None).await.0, ["before", "after", "and on"].map(token));
}

/// It begins the log anew and moves it into the file, while this process writes nothing.
#[tokio::test]
async fn one_whose_log_another_process_began_anew_is_used_on() {
    let (_place, store, path) = begun().await;
    store.create(session("ana")).await.unwrap();
    let other = adieu_sqlite::rusqlite::Connection::open(&path).unwrap();
    let checkpoint = "PRAGMA wal_checkpoint(PASSIVE)";
    other.execute_batch(checkpoint).unwrap();
    let nobody = session("nobody");
    let nothing = || ending(Selection::Owned(nobody.id.clone(), nobody.subject.clone()));
    assert!(store.end(nothing()).await.unwrap().is_none_or(|ended| ended.sessions == 0));
    std::thread::sleep(std::time::Duration::from_millis(20));
    other.execute_batch(&format!("UPDATE session SET last_seen_at = last_seen_at + 1; {checkpoint}")).unwrap();
    assert!(store.end(nothing()).await.unwrap().is_none_or(|ended| ended.sessions == 0));
    store.append(vec![token("and on")]).await.unwrap();
    assert_eq!(read_all(&store, None).await.0, ["before", "and on"].map(token));
}

/// While the store is in use and undamaged: the recommended way to make a backup.
#[tokio::test]
async fn a_copy_made_by_sqlite_is_a_store() {
    let (place, store, path) = begun().await;
    store.create(session("ana")).await.unwrap();
    let copy = format!("{path}.copy");
    let other = adieu_sqlite::rusqlite::Connection::open(&path).unwrap();
    other.execute("VACUUM INTO $1", [&copy]).unwrap();
    drop(other);
    store.append(vec![token("after")]).await.unwrap();
    let copied = Sqlite::open(&copy).await.unwrap();
    assert_eq!(read_all(&copied, None).await.0, [token("before")]);
    assert_eq!(copied.sessions(None, 10).await.unwrap(), store.sessions(None, 10).await.unwrap());
    drop(place);
}

#[tokio::test]
async fn what_is_no_path_makes_no_file() {
    for path in
        ["", ":memory:", ":memory", "file::memory:", "file:adieu.sqlite?mode=memory", "sqlite::memory:", "sqlite:a"]
    {
        match Sqlite::open(path).await {
            Err(Error::InvalidSetting(error)) => assert!(error.to_string().contains("store::Memory"), "{error}"),
            other => panic!("{path}: {other:?}"),
        }
        assert!(!Path::new(path).exists(), "{path}");
    }
    // A file may have that name, in a folder.
    let folder = tempfile::tempdir().unwrap();
    Sqlite::open(folder.path().join(":memory:")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_another_process_still_reads_is_not_called_moved() {
    let (_place, store, path) = begun().await;
    let reader = rusqlite::Connection::open(&path).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM revocation").unwrap();
    store.append(vec![token("later")]).await.unwrap();
    assert!(matches!(store.checkpoint().await, Err(Error::Unavailable(_))));
    reader.execute_batch("COMMIT").unwrap();
    store.checkpoint().await.unwrap();
}
