//! A store that can't write never acknowledges: the response is 503 with Retry-After, and the server recovers when the store can write
//! again. Tokens are verified meanwhile, since that only needs memory.
//!
//! The disks are real: file systems in a separate mount namespace, one of two megabytes that is filled and one that is
//! read-only, and a limit on the size of files. A file system can't be made read-only while a process has a file on it open for
//! writing; to test that under a running server, the files are made immutable.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use test_servers::adieu::{Adieu, Tokens};

use crate::{adieu, log_in_and_out, retry_after};

/// Prepares a server that a script starts in its own mount namespace: it executes `"$0" serve`.
fn privately(data: &Path, script: &str) -> Adieu {
    // Root needs no user namespace for it; other users have to be root in one of their own.
    let unshare: &[&str] = match rustix::process::geteuid().is_root() {
        true => &["unshare", "--mount"],
        false => &["unshare", "--user", "--map-root-user", "--mount"],
    };
    adieu(data).with_command(&[unshare, &["sh", "-c", script, env!("CARGO_BIN_EXE_adieu")]].concat())
}

/// A server whose data folder is a small file system, which no other process sees.
async fn on_a_small_disk(folder: &Path) -> Adieu {
    let script = r#"mount -t tmpfs -o size=2m,mode=700 adieu-test "$ADIEU_DATA" && exec "$0" serve"#;
    privately(folder, script).start().await
}

/// Returns the log of a server that does not start.
async fn does_not_start(server: Adieu) -> String {
    let mut server = server.with("ADIEU_LOG_LEVEL", "info");
    server.spawn();
    assert!(!server.ready_or_ended().await.unwrap_err().success());
    server.log()
}

/// Returns the path, as seen from here, of a path inside the server's mount namespace.
fn inside(server: &Adieu, path: &Path) -> PathBuf {
    PathBuf::from(format!("/proc/{}/root", server.pid())).join(path.strip_prefix("/").unwrap())
}

/// Checks that writes get 503 with Retry-After, and that tokens are still verified.
async fn cannot_write_but_verifies(server: &Adieu, tokens: &Tokens) {
    let outcome = retry_after(server, "/logout", &tokens.access).await;
    assert_eq!(outcome, (503, true));
    let outcome = retry_after(server, "/refresh", &tokens.refresh).await;
    assert_eq!(outcome, (503, true));
    assert_eq!(server.try_log_in("jose").await, Some(Err(503)));
    assert_eq!(server.verify(&tokens.access).await.0, 204);
    assert_eq!(server.get("/livez", None).await, 200);
}

/// Checks that the failed writes now succeed, and had no effect before.
async fn recovers(server: &Adieu, tokens: &Tokens) {
    assert_eq!(server.verify(&tokens.access).await.0, 204);
    let refreshed = server.refresh(&tokens.refresh).await.unwrap();
    assert_eq!(server.post("/logout", &refreshed.access).await.0, 200);
    assert_eq!(server.verify(&tokens.access).await.0, 401);
}

#[tokio::test]
async fn a_disk_that_is_full() {
    let folder = tempfile::tempdir().unwrap();
    let server = on_a_small_disk(folder.path()).await;
    server.register("jose").await;
    let tokens = server.log_in_for_both("jose").await;

    let filler = inside(&server, folder.path()).join("filler");
    let mut file = fs::File::create(&filler).unwrap();
    for size in [4096, 1] {
        while file.write(&vec![1; size]).is_ok_and(|written| written > 0) {}
    }
    // Some writes use up the rest of the log's last page.
    for _ in 0..1_000 {
        if server.try_log_in("jose").await == Some(Err(503)) {
            break;
        }
    }
    cannot_write_but_verifies(&server, &tokens).await;

    fs::remove_file(filler).unwrap();
    drop(file);
    recovers(&server, &tokens).await;
}

#[tokio::test]
async fn a_disk_that_is_read_only() {
    let folder = tempfile::tempdir().unwrap();
    let script = r#"mount -t tmpfs -o mode=700 adieu-test "$ADIEU_DATA" && mount -o remount,ro "$ADIEU_DATA" && exec "$0" serve"#;
    let told = does_not_start(privately(folder.path(), script)).await;
    assert!(told.contains("adieu.sqlite") && told.contains("Read-only file system"), "{told}");
    assert_eq!(told.trim_end().lines().count(), 1, "{told}");
}

/// Data beside a volume of a separate namespace does not persist, and beside the folder of a service that may write nowhere else there
/// is no place for the mark: then it is in the folder, and the log says so.
#[tokio::test]
async fn a_mark_that_can_not_be_beside_the_data_folder_is_in_it() {
    for (prepare, why) in [
        (r#"mount -t tmpfs -o mode=700 adieu-test "$ADIEU_DATA""#, "that is a file system of its own"),
        (
            r#"mount --bind "$ADIEU_DATA" "$ADIEU_DATA"
               mount --bind "$ADIEU_DATA/.." "$ADIEU_DATA/.."
               mount --bind "$ADIEU_DATA" "$ADIEU_DATA"
               mount -o remount,bind,ro "$ADIEU_DATA/.."
               mount -o remount,bind,rw "$ADIEU_DATA""#,
            "Read-only file system",
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        fs::create_dir(&data).unwrap();
        fs::set_permissions(&data, fs::Permissions::from_mode(0o700)).unwrap();
        let script = format!(
            "set -e\n{prepare}\nexport ADIEU_LOG_LEVEL=warn\n\
             exec \"$0\" serve 2> \"$ADIEU_DATA/told\""
        );
        let server = privately(&data, &script).start().await;
        let data_there = inside(&server, &data);
        let told = fs::read_to_string(data_there.join("told")).unwrap();
        assert!(told.contains(why) && told.contains("Set high_water_file"), "{told}");
        assert!(data_there.join("high-water").metadata().unwrap().len() > 0);
        assert!(!inside(&server, folder.path()).join("data.high-water").exists());
    }
}

/// Makes a folder and its content immutable until dropped; otherwise it could not be removed.
struct ReadOnly<'f>(&'f Path);

impl<'f> ReadOnly<'f> {
    fn make(folder: &'f Path) -> Self {
        // Data already on the disk is not writable as freely as data waiting to be written, also where it is mapped.
        assert!(Command::new("sync").args(files(folder)).status().unwrap().success());
        let this = Self(folder);
        this.set("+i");
        this
    }

    fn set(&self, flag: &str) {
        let mut command = Command::new("chattr");
        if !rustix::process::geteuid().is_root() {
            command = Command::new("sudo");
            command.args(["--non-interactive", "chattr"]);
        }
        let output = command.args(["-R", flag]).arg(self.0).output().unwrap();
        assert!(output.status.success(), "it takes root, and a file system like ext4: {output:?}");
    }
}

impl Drop for ReadOnly<'_> {
    fn drop(&mut self) {
        self.set("-i");
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// The kernel also rejects writes through descriptors that were open before, as after a disk error.
#[tokio::test]
async fn a_store_that_turns_read_only_under_a_running_server() {
    turns_read_only(|_| ()).await;
}

/// After a complete checkpoint, the next write restarts the log, and records that first, in mapped memory.
#[tokio::test]
async fn a_store_that_turns_read_only_when_its_log_was_just_taken_in() {
    turns_read_only(|file| {
        let other = rusqlite::Connection::open(file).unwrap();
        let (busy, frames, taken_in): (i64, i64, i64) =
            other.query_row("PRAGMA wal_checkpoint", [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
        assert!(busy == 0 && frames > 0 && taken_in == frames);
        other.close().unwrap();
    })
    .await;
}

async fn turns_read_only(before: impl Fn(&Path)) {
    // On a disk rather than in memory.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let data = folder.path().join("data");
    let server = adieu(&data).start().await;
    server.register("jose").await;
    let (ended, tokens) = (log_in_and_out(&server).await, server.log_in_for_both("jose").await);
    let names: Vec<_> = files(&data).iter().map(|file| file.extension().map(|name| name.to_owned())).collect();
    assert!(["sqlite", "sqlite-wal", "sqlite-shm"].iter().all(|name| names.contains(&Some(name.into()))), "{names:?}");
    let mut wal = fs::OpenOptions::new().append(true).open(data.join("adieu.sqlite-wal")).unwrap();

    before(&data.join("adieu.sqlite"));
    let read_only = ReadOnly::make(&data);
    assert!(wal.write(b"more").is_err(), "open files can still be written: it takes a file system like ext4");
    cannot_write_but_verifies(&server, &tokens).await;
    assert_eq!(server.get("/readyz", None).await, 503);
    // For longer than any cache lasts.
    let since = Instant::now();
    while since.elapsed() < Duration::from_secs(3) {
        assert_eq!(server.verify(&tokens.access).await.0, 204);
        assert_eq!(server.verify(&ended.access).await.0, 401);
    }
    cannot_write_but_verifies(&server, &tokens).await;

    drop(read_only);
    recovers(&server, &tokens).await;
    assert_eq!(server.get("/readyz", None).await, 200);
    let later = server.log_in_for_both("jose").await;
    // The server can also be stopped meanwhile.
    before(&data.join("adieu.sqlite"));
    let read_only = ReadOnly::make(&data);
    server.stop().await;
    drop(read_only);
    let server = adieu(&data).start().await;
    for (token, expected) in [(&ended, 401), (&tokens, 401), (&later, 204)] {
        assert_eq!(server.verify(&token.access).await.0, expected);
    }
}

#[tokio::test]
async fn a_limit_on_the_size_of_files() {
    let folder = tempfile::tempdir().unwrap();
    let server = adieu(&folder.path().join("data")).start().await;
    server.register("jose").await;
    let tokens = server.log_in_for_both("jose").await;
    let limit = |limit: &str| {
        let pid = server.pid().to_string();
        let status = Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={limit}:")]).status();
        assert!(status.unwrap().success());
    };

    limit("4096");
    cannot_write_but_verifies(&server, &tokens).await;

    limit("unlimited");
    recovers(&server, &tokens).await;
}

#[tokio::test]
async fn a_store_that_is_damaged_or_not_ours_stops_the_start_and_is_left_alone() {
    let files: [(&str, Vec<u8>); 3] = [
        ("is not an SQLite database", b"this is a shopping list, and not a database".repeat(100)),
        ("is another program's database", foreign_database()),
        ("is damaged", damaged_database().await),
    ];
    for (complaint, bytes) in files {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("adieu.sqlite");
        fs::write(&file, &bytes).unwrap();
        for (path, mode) in [(folder.path(), 0o700), (&file, 0o600)] {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
        let told = does_not_start(adieu(folder.path())).await;
        assert!(told.contains(complaint), "{told}");
        assert_eq!(told.trim_end().lines().count(), 1, "{told}");
        assert!(fs::read(&file).unwrap() == bytes, "the file was changed");
    }
}

fn foreign_database() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("recipes.sqlite");
    let connection = rusqlite::Connection::open(&file).unwrap();
    connection.execute_batch("CREATE TABLE recipe (name TEXT); INSERT INTO recipe VALUES ('soup')").unwrap();
    connection.close().unwrap();
    fs::read(file).unwrap()
}

/// A store with its middle overwritten.
async fn damaged_database() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let server = adieu(&folder.path().join("data")).start().await;
    for user in 0..40 {
        server.register(&format!("user-{user}")).await;
    }
    server.stop().await;
    let file = folder.path().join("data/adieu.sqlite");
    // Whether a stopped server has left data in the log beside the file does not matter here.
    let connection = rusqlite::Connection::open(&file).unwrap();
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    connection.close().unwrap();
    let mut bytes = fs::read(file).unwrap();
    let middle = bytes.len() / 2;
    bytes[4096..middle].fill(0xa5);
    bytes
}
