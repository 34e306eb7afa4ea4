//! A file that is removed, replaced or truncated while it is open: nothing that would be found by nobody is answered with success, and
//! what took its place is left as it is.

use std::{path::Path, process::Command};

use adieu::{
    Error,
    conformance::{
        Place,
        sample::{read_all, session, token},
    },
    revocation::RevocationLog,
    session::SessionStore,
    store::Sqlite,
};

use crate::engines::OnFile;

/// By another program: to open and close the file in this process would take the store's locks away.
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
            let known = ["while it was in use", "malformed", "not a database"];
            assert!(known.iter().any(|part| cause.to_string().contains(part)), "{cause}");
        }
    }
}

/// A store with something in it, and something that nobody has moved into the file yet.
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

/// Of the log beside it and of the index of that there would be two, and of the locks in it.
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
    // The other one has a log of its own, which must not go with the first.
    let (_elsewhere, other, from) = begun().await;
    other.append(vec![token("of the other")]).await.unwrap();
    run(&["mv", &from, &path]);
    run(&["mv", &format!("{from}-wal"), &format!("{path}-wal")]);
    all_is_refused(&store).await;
    drop(store);
    // The threads of the first have ended when its files are closed.
    while is_open(&path) {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    run(&["rm", "--force", &format!("{path}-shm")]);
    let replaced = Sqlite::open(&path).await.unwrap();
    assert_eq!(read_all(&replaced, None).await.0, [token("before"), token("of the other")]);
}

/// Whether this process still has a file open that had this name and was replaced.
fn is_open(path: &str) -> bool {
    let open =
        std::fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    let replaced = format!("{path} (deleted)");
    open.into_iter().any(|file| file == Path::new(&replaced))
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

/// It makes the file smaller, and changes nothing that is in it.
#[tokio::test]
async fn one_that_another_process_has_made_smaller_is_used_on() {
    let (_place, store, path) = begun().await;
    for number in 0..2_000 {
        store.create(session(&format!("{number}"))).await.unwrap();
    }
    store.append(vec![token("after")]).await.unwrap();
    store.checkpoint().await.unwrap();
    let length = std::fs::metadata(&path).unwrap().len();
    let other = adieu::store::sqlite::rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("DELETE FROM session; VACUUM; PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    drop(other);
    assert!(std::fs::metadata(&path).unwrap().len() < length);
    store.append(vec![token("and on")]).await.unwrap();
    assert_eq!(read_all(&store, None).await.0, ["before", "after", "and on"].map(token));
}

/// While the store is in use, and whole: what a backup is to be made with.
#[tokio::test]
async fn a_copy_made_by_sqlite_is_a_store() {
    let (place, store, path) = begun().await;
    store.create(session("ana")).await.unwrap();
    let copy = format!("{path}.copy");
    let other = adieu::store::sqlite::rusqlite::Connection::open(&path).unwrap();
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
            Err(Error::Setting(sentence)) => assert!(sentence.contains("store::Memory"), "{sentence}"),
            other => panic!("{path}: {other:?}"),
        }
        assert!(!Path::new(path).exists(), "{path}");
    }
    // Which may well be a name, in a folder.
    let folder = tempfile::tempdir().unwrap();
    Sqlite::open(folder.path().join(":memory:")).await.unwrap();
}
