//! A file of another program, or a damaged one, stops the start with a clear message and is left unchanged.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use adieu::{Error, revocation::RevocationLog};
use adieu_sqlite::{Sqlite, rusqlite::Connection};

use adieu_conformance::{
    Storage,
    sample::{read_all, token},
};

use crate::engines::OnFile;

/// Returns every file of a folder with its bytes.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.is_file()).map(|path| (path.clone(), fs::read(&path).unwrap())).collect()
}

/// Opens the store, which must fail, and returns the message. Nothing in the folder may have changed.
async fn refusal(path: &Path) -> String {
    let folder = path.parent().unwrap();
    let before = contents(folder);
    let message = message(path).await;
    assert!(contents(folder) == before, "a file was changed, made or removed: {message}");
    message
}

async fn message(path: &Path) -> String {
    match Sqlite::open(path).await {
        Err(Error::IncompatibleStore(message)) => {
            assert!(message.contains(path.to_str().unwrap()), "{message}");
            message
        }
        Err(error) => panic!("{error:?}"),
        Ok(_) => panic!("it was opened"),
    }
}

#[tokio::test]
async fn a_text_file() {
    let place = OnFile::empty().await;
    for text in ["a", "SQLite format", "SQLite format 3\0", &"Dear diary,\n".repeat(1_000)] {
        fs::write(place.path(), text).unwrap();
        assert!(refusal(&place.path()).await.contains("is not an SQLite database"));
    }
}

#[tokio::test]
async fn another_programs_database() {
    for made_by in [
        "CREATE TABLE bookmark (url TEXT)",
        "PRAGMA application_id = 252006674",
        "PRAGMA user_version = 1",
        "PRAGMA journal_mode = WAL; CREATE TABLE bookmark (url TEXT)",
    ] {
        let place = OnFile::empty().await;
        Connection::open(place.path()).unwrap().execute_batch(made_by).unwrap();
        assert!(refusal(&place.path()).await.contains("is another program's database"), "{made_by}");
    }
}

#[tokio::test]
async fn another_programs_database_that_is_open() {
    let place = OnFile::empty().await;
    let theirs = Connection::open(place.path()).unwrap();
    theirs.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE bookmark (url TEXT)").unwrap();
    let before = fs::read(place.path()).unwrap();
    assert!(message(&place.path()).await.contains("is another program's database"));
    assert!(fs::read(place.path()).unwrap() == before);
}

#[tokio::test]
async fn a_newer_version() {
    let place = made_and_closed().await;
    Connection::open(place.path()).unwrap().execute_batch("PRAGMA user_version = 999").unwrap();
    let before = fs::read(place.path()).unwrap();
    assert!(message(&place.path()).await.contains("newer version of adieu (schema 999)"));
    assert!(fs::read(place.path()).unwrap() == before);
}

#[tokio::test]
async fn a_newer_version_of_a_component() {
    let place = OnFile::empty().await;
    let store = place.open().await;
    store.migrate("guests", &["CREATE TABLE one (a)", "CREATE TABLE two (a)"]).await.unwrap();
    match store.migrate("guests", &["CREATE TABLE one (a)"]).await {
        Err(Error::IncompatibleStore(message)) => assert!(message.contains("guests schema 2"), "{message}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_folder_and_a_file_that_may_not_be_read() {
    let place = OnFile::empty().await;
    fs::create_dir(place.path()).unwrap();
    assert!(refusal(&place.path()).await.contains("can't be read"));
    assert!(place.path().is_dir());

    let place = made_and_closed().await;
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o000)).unwrap();
    // The superuser can read everything.
    if fs::read(place.path()).is_err() {
        assert!(message(&place.path()).await.contains("can't be read"));
    }
}

#[tokio::test]
async fn a_folder_that_is_not_there() {
    let place = OnFile::empty().await;
    let outcome = Sqlite::open(place.path().join("further/adieu.sqlite")).await;
    assert!(matches!(outcome, Err(Error::Unavailable(_))));
}

#[tokio::test]
async fn garbage_in_the_middle() {
    // Somewhere in every page except the first, one page at a time.
    let pages = fs::read(made_and_closed().await.path()).unwrap().len() / 4_096;
    assert!(pages > 20);
    let mut noticed = 0;
    for page in 1..pages {
        let place = made_and_closed().await;
        let mut bytes = fs::read(place.path()).unwrap();
        bytes[page * 4_096..][..2_048].fill(0xa5);
        fs::write(place.path(), &bytes).unwrap();
        let message = message(&place.path()).await;
        assert!(message.contains("is damaged") && message.contains("backup"), "{message}");
        assert!(fs::read(place.path()).unwrap() == bytes);
        noticed += 1;
        if noticed == 12 {
            break;
        }
    }
}

#[tokio::test]
async fn a_damaged_file_that_is_read_while_it_is_checked() {
    for page in 1..8 {
        let place = made_and_closed().await;
        let mut bytes = fs::read(place.path()).unwrap();
        bytes[page * 4_096..][..2_048].fill(0xa5);
        fs::write(place.path(), &bytes).unwrap();
        let Ok(store) = Sqlite::open_while_checking(place.path()).await else { continue };
        let mut cursor = None;
        while let Ok(page) = store.read(cursor.as_ref(), Duration::ZERO).await {
            assert!(!page.complete, "an index would be taken for complete");
            cursor = Some(page.cursor);
        }
        assert!(matches!(store.append(vec![token("a")]).await, Err(Error::IncompatibleStore(_))));
        assert!(
            matches!(store.checked().await, Err(Error::IncompatibleStore(message)) if message.contains("is damaged"))
        );
        drop(store);
        assert!(fs::read(place.path()).unwrap() == bytes);
    }
}

#[tokio::test]
async fn a_file_that_was_cut_off() {
    for keep in [200, 4_096, 20_000, 40_960] {
        let place = made_and_closed().await;
        let bytes = fs::read(place.path()).unwrap();
        fs::write(place.path(), &bytes[..keep]).unwrap();
        let message = message(&place.path()).await;
        assert!(message.contains("is damaged"), "{message}");
        assert!(fs::read(place.path()).unwrap() == bytes[..keep]);
    }
}

#[tokio::test]
async fn a_store_that_nobody_has_open_is_one_file() {
    // If threads close it at the same moment, each may find that it is not the last.
    for _ in 0..200 {
        let place = OnFile::empty().await;
        place.open().await.append(vec![token("a")]).await.unwrap();
        close(&place).await;
    }
}

#[tokio::test]
async fn an_empty_file_is_a_new_store() {
    let place = OnFile::empty().await;
    fs::write(place.path(), "").unwrap();
    place.open().await.append(vec![token("a")]).await.unwrap();
}

/// The power failed before the file had a write-ahead log, which leaves a transaction to be undone.
#[tokio::test]
async fn a_file_that_was_being_created_is_a_new_store() {
    let folder = tempfile::tempdir().unwrap();
    let created = folder.path().join("created");
    let connection = Connection::open(&created).unwrap();
    // More than the cache holds, so that the file is written before the commit.
    connection
        .execute_batch(
            "PRAGMA cache_size = 1; BEGIN; CREATE TABLE page (bytes); \
             WITH RECURSIVE number (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < 100) \
             INSERT INTO page SELECT randomblob(4000) FROM number",
        )
        .unwrap();
    for first_sector_is_lost in [false, true] {
        let place = OnFile::empty().await;
        let mut bytes = fs::read(&created).unwrap();
        if first_sector_is_lost {
            bytes[..512].fill(0);
        }
        fs::write(place.path(), bytes).unwrap();
        fs::copy(folder.path().join("created-journal"), format!("{}-journal", place.path().display())).unwrap();
        let store = Sqlite::open(place.path()).await.unwrap();
        store.append(vec![token("a")]).await.unwrap();
    }
}

#[tokio::test]
async fn nobody_else_may_read_it() {
    let place = OnFile::empty().await;
    let store = place.open().await;
    store.append(vec![token("a")]).await.unwrap();
    let files = contents(place.path().parent().unwrap());
    assert_eq!(files.len(), 3, "the file, its log and its shared memory");
    for path in files.keys() {
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600, "{}", path.display());
    }
}

/// Two stores on one file in one process, and another process that requires exclusive use of the file.
#[tokio::test]
async fn a_second_store_in_the_process_leaves_the_locks_of_the_first() {
    let place = OnFile::empty().await;
    let first = place.open().await;
    first.append(vec![token("a")]).await.unwrap();
    let second = place.open().await;
    let (file, test) = (place.path(), "files::finds_the_file_that_it_is_given_in_use");
    let run = move || {
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", test]).env(GIVEN, file).output().unwrap()
    };
    let other = tokio::task::spawn_blocking(run).await.unwrap();
    assert!(other.status.success() && String::from_utf8_lossy(&other.stdout).contains("1 passed"), "{other:?}");
    second.append(vec![token("b")]).await.unwrap();
    first.append(vec![token("c")]).await.unwrap();
    assert_eq!(read_all(&first, None).await.0, [token("a"), token("b"), token("c")]);
}

/// The environment variable that names the file to the other process of the test above.
const GIVEN: &str = "ADIEU_TEST_FILE_IN_USE";

#[test]
fn finds_the_file_that_it_is_given_in_use() {
    if let Some(path) = std::env::var_os(GIVEN) {
        let connection = Connection::open(path).unwrap();
        connection.busy_timeout(std::time::Duration::ZERO).unwrap();
        connection.execute_batch("PRAGMA locking_mode = EXCLUSIVE").unwrap();
        let alone = connection.query_row("SELECT count(*) FROM revocation", [], |row| row.get::<_, i64>(0));
        assert!(alone.is_err(), "the locks of those who use it are gone");
    }
}

#[tokio::test]
async fn a_path_may_have_any_characters() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("50% of #1?mode=memory&é.sqlite");
    for _ in 0..2 {
        Sqlite::open(&path).await.unwrap().append(vec![token("a")]).await.unwrap();
    }
    assert!(path.exists());
}

/// Returns a closed store of some pages, in one file.
async fn made_and_closed() -> OnFile {
    let place = OnFile::empty().await;
    {
        let store = place.open().await;
        store.append((0..1_000).map(|number| token(format!("{number:0>100}"))).collect()).await.unwrap();
    }
    close(&place).await;
    place
}

/// Waits until the store is closed: its threads end soon after it, and their open files keep the write-ahead log in place.
async fn close(place: &OnFile) {
    let log = place.path().with_extension("sqlite-wal");
    let started = Instant::now();
    while log.exists() {
        assert!(started.elapsed() < Duration::from_secs(10), "the write-ahead log was not checkpointed");
        tokio::task::yield_now().await;
    }
}

/// Returns the name of the copy that was made before a migration, if there is one and nothing else was left behind.
fn copy_beside(path: &Path) -> Option<PathBuf> {
    let beside = contents(path.parent().unwrap()).into_keys();
    let copies: Vec<_> = beside.filter(|file| file.to_str().unwrap().contains(".before-")).collect();
    assert!(copies.len() <= 1, "{copies:?}");
    copies.into_iter().next()
}

fn number(path: &Path, query: &str) -> i64 {
    Connection::open(path).unwrap().query_row(query, [], |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn a_file_of_an_earlier_version_is_copied_before_it_is_migrated() {
    let place = OnFile::empty().await;
    let first = Connection::open(place.path()).unwrap();
    first.execute_batch(include_str!("../../src/schema/1.sql")).unwrap();
    first
        .execute_batch(
            "INSERT INTO revocation_log_state (log_id, pruned_through) VALUES ('a', 7);
             PRAGMA application_id = 1094994245; PRAGMA user_version = 1",
        )
        .unwrap();
    drop(first);
    // A process was killed while it copied.
    let part = format!("{}.before-{}.part", place.path().display(), env!("CARGO_PKG_VERSION"));
    fs::write(&part, "half").unwrap();
    fs::write(format!("{part}-journal"), "half").unwrap();
    drop(Sqlite::open(place.path()).await.unwrap());
    let copy = copy_beside(&place.path()).unwrap();
    assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(number(&copy, "PRAGMA user_version"), 1);
    assert!(number(&place.path(), "PRAGMA user_version") > 1);

    // An ordinary start copies nothing.
    let made = fs::read(&copy).unwrap();
    drop(Sqlite::open(place.path()).await.unwrap());
    assert!(fs::read(&copy).unwrap() == made);

    // The earlier version is used again, and goes on writing: the next migration begins with a copy of that.
    fs::copy(&copy, place.path()).unwrap();
    for of_sqlite in ["-wal", "-shm"] {
        let _ = fs::remove_file(format!("{}{of_sqlite}", place.path().display()));
    }
    let earlier = Connection::open(place.path()).unwrap();
    earlier.execute_batch("UPDATE revocation_log_state SET pruned_through = 8").unwrap();
    drop(earlier);
    drop(Sqlite::open(place.path()).await.unwrap());
    assert_eq!(copy_beside(&place.path()).as_ref(), Some(&copy));
    for file in [&copy, &place.path()] {
        assert_eq!(number(file, "SELECT pruned_through FROM revocation_log_state"), 8);
    }
}

#[tokio::test]
async fn several_processes_that_migrate_at_once_leave_one_copy() {
    // Each time, they meet in another order.
    for _ in 0..8 {
        let place = OnFile::empty().await;
        let store = Sqlite::open(place.path()).await.unwrap();
        store.migrate("shop", &["CREATE TABLE shop (id INTEGER)"]).await.unwrap();
        let stores: Vec<_> = (0..8).map(|_| Sqlite::open(place.path())).collect();
        let mut migrating = tokio::task::JoinSet::new();
        for store in stores {
            migrating.spawn(async { store.await?.migrate("shop", &["", "DROP TABLE shop"]).await });
        }
        while let Some(migrated) = migrating.join_next().await {
            migrated.unwrap().unwrap();
        }
        let tables = "SELECT count(*) FROM sqlite_schema WHERE name = 'shop'";
        assert_eq!(number(&copy_beside(&place.path()).unwrap(), tables), 1);
        assert_eq!(number(&place.path(), tables), 0);
    }
}

#[tokio::test]
async fn a_link_leads_to_the_file() {
    let (place, elsewhere) = (OnFile::empty().await, tempfile::tempdir().unwrap());
    let link = elsewhere.path().join("link.sqlite");
    drop(Sqlite::open(place.path()).await.unwrap());
    std::os::unix::fs::symlink(place.path(), &link).unwrap();
    let store = Sqlite::open(&link).await.unwrap();
    store.append(vec![token("one")]).await.unwrap();
    drop(store);
    let store = Sqlite::open(place.path()).await.unwrap();
    assert_eq!(read_all(&store, None).await.0.len(), 1);
}

#[tokio::test]
async fn a_file_is_copied_before_the_tables_of_an_application_are_migrated() {
    const FIRST: &str = "CREATE TABLE shop (id INTEGER)";
    let place = OnFile::empty().await;
    let store = Sqlite::open(place.path()).await.unwrap();
    store.migrate("shop", &[FIRST]).await.unwrap();
    store.migrate("shop", &[FIRST]).await.unwrap();
    assert_eq!(copy_beside(&place.path()), None, "a new table needs none");
    store.migrate("shop", &[FIRST, "DROP TABLE shop"]).await.unwrap();
    let tables = "SELECT count(*) FROM sqlite_schema WHERE name = 'shop'";
    assert_eq!(number(&copy_beside(&place.path()).unwrap(), tables), 1);
    assert_eq!(number(&place.path(), tables), 0);
}
