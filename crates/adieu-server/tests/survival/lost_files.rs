//! The files of a running server are removed, replaced, truncated or overwritten: it answers 503 and keeps running, and after a restart
//! it accepts no token that was logged out.

use std::{fs, path::Path, process::Command, time::Duration};

use test_servers::adieu::{Adieu, Tokens};

use crate::{adieu, log_in_and_out, retry_after};

/// A server with a logged-out session and a live one, both only in the write-ahead log.
struct Begun {
    server: Adieu,
    ended: Tokens,
    live: Tokens,
}

async fn begun(data: &Path) -> Begun {
    let server = adieu(data).start().await;
    server.register("jose").await;
    let (ended, live) = (log_in_and_out(&server).await, server.log_in_for_both("jose").await);
    Begun { server, ended, live }
}

/// Runs a script as another program, with the files as variables.
fn run(data: &Path, script: &str) {
    let status = Command::new("sh")
        .args(["-ec", script])
        .current_dir(data)
        .env("main", data.join("adieu.sqlite"))
        .env("log", data.join("adieu.sqlite-wal"))
        .env("index", data.join("adieu.sqlite-shm"))
        .env("copy", data.join("../copy"))
        .env("adieu", env!("CARGO_BIN_EXE_adieu"))
        .env("ADIEU_DATA", data)
        .status();
    assert!(status.unwrap().success(), "{script}");
}

#[tokio::test]
async fn a_server_whose_files_are_lost_answers_503_and_a_restart_accepts_nothing_that_was_logged_out() {
    for (damage, goes_on) in [
        ("rm $main", false),
        ("cp $main $copy; mv $copy $main", false),
        ("truncate --size 4096 $main", false),
        ("rm $log", false),
        ("cp $log $copy; mv $copy $log", true),
        ("truncate --size 0 $log", false),
        ("truncate --size -1000 $log", false),
        ("dd if=/dev/zero of=$log conv=notrunc bs=32 count=1 2> /dev/null", false),
        ("rm $index", true),
        ("truncate --size 0 $index", true),
        ("truncate --size 4096 $index", true),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let Begun { server, ended, live } = begun(&data).await;
        run(&data, damage);

        // The first request and later ones.
        for _ in 0..3 {
            let answer = retry_after(&server, "/logout", &live.access).await;
            assert_eq!(answer, (503, true), "{damage}");
        }
        assert_eq!(server.get("/readyz", None).await, 503, "{damage}");
        assert_eq!(server.get("/livez", None).await, 200, "{damage}");

        server.stop().await;
        // Only a file that is not complete by itself keeps the server from starting; the operator has to restore it.
        if damage == "truncate --size 4096 $main" {
            continue;
        }
        let server = adieu(&data).start().await;
        assert_eq!(server.verify(&ended.access).await.0, 401, "{damage}");
        if goes_on {
            assert_eq!(server.verify(&live.access).await.0, 204, "{damage}");
        }
    }
}

/// A backup is restored with `cp` while the server runs, also after another process has changed the files.
#[tokio::test]
async fn a_server_whose_file_was_overwritten_in_place_acknowledges_no_logout() {
    for before in ["", "another server was killed", "another process ended in the midst of a checkpoint"] {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let server = adieu(&data).start().await;
        server.register("jose").await;
        let live = server.log_in_for_both("jose").await;
        server.stop().await;
        run(&data, "cp $main $copy");

        let mut server = adieu(&data).start().await;
        let mut ended = Vec::new();
        ended.push(log_in_and_out(&server).await);
        match before {
            "" => {}
            "another server was killed" => {
                server.start_again(|_| ()).await;
                ended.push(log_in_and_out(&server).await);
            }
            _ => {
                checkpoint_in_part(&server, &data).await;
                // The server can go on.
                ended.push(log_in_and_out(&server).await);
            }
        }
        run(&data, "until cat $copy > $main && test $main -nt $log; do :; done");
        let answer = retry_after(&server, "/logout", &live.access).await;
        assert_eq!(answer, (503, true), "{before}");
        // After a proper restore, the mark shows the rollback.
        server.stop().await;
        run(&data, "rm -f $log $index");
        let server = adieu(&data).start().await;
        for tokens in ended.iter().chain([&live]) {
            assert_eq!(server.verify(&tokens.access).await.0, 401, "{before}");
        }
    }
}

/// Checkpoints with a command that may not make a file longer than it is now, and so ends half-way.
async fn checkpoint_in_part(server: &Adieu, data: &Path) {
    let metadata = || fs::metadata(data.join("adieu.sqlite")).unwrap();
    let before = metadata();
    for _ in 0..50 {
        server.log_in_for_both("jose").await;
    }
    run(data, &format!("ulimit -f {}; exec \"$adieu\" log status > /dev/null", before.len() / 512));
    assert!(metadata().modified().unwrap() > before.modified().unwrap() && metadata().len() == before.len());
}

/// Everything in the data folder is copied and restored, as by `cp -a` or a snapshot: the mark is not in the folder.
#[tokio::test]
async fn a_naive_copy_of_the_whole_data_folder_that_is_put_back_revives_no_token() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let server = adieu(&data).start().await;
    server.register("jose").await;
    let tokens = server.log_in_for_both("jose").await;
    server.stop().await;
    run(folder.path(), "cp -a data saved");

    let server = adieu(&data).start().await;
    assert_eq!(server.post("/logout", &tokens.access).await.0, 200);
    server.stop().await;
    for beside in ["adieu.sqlite-wal", "adieu.sqlite-shm"] {
        assert!(!data.join(beside).exists(), "a server that has ended has closed the store");
    }
    run(folder.path(), "rm -r data; mv saved data");

    let server = adieu(&data).start().await;
    assert_eq!(server.verify(&tokens.access).await.0, 401);
    assert_eq!(server.refresh(&tokens.refresh).await, Err(401));
    server.stop().await;
    let status = adieu(&data).command(&["log", "status", "--json"]).await;
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert!(status["restored_at"].is_u64(), "{status}");
}

/// The files of a running server are copied one after the other, as by `cp`, under load, and restored while it is stopped: whatever state
/// that produces, no logged-out token is accepted afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_were_copied_under_load_revive_no_token() {
    let started = revives_no_token(10, |folder| {
        run(folder, "mkdir -m 700 saved; for file in data/*; do cp -p $file saved/; sleep 0.05; done");
    });
    println!("{} of 10 started", started.await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_sqlite_made_under_load_starts_and_revives_no_token() {
    let started = revives_no_token(3, |folder| {
        run(folder, "mkdir -m 700 saved");
        let store = rusqlite::Connection::open(folder.join("data/adieu.sqlite")).unwrap();
        store.busy_timeout(Duration::from_secs(60)).unwrap();
        store.execute("VACUUM INTO $1", [folder.join("saved/adieu.sqlite").to_str().unwrap()]).unwrap();
    });
    assert_eq!(started.await, 3);
}

/// Returns how many of the copies started.
async fn revives_no_token(rounds: usize, copy: fn(&Path)) -> usize {
    let mut started = 0;
    for round in 0..rounds {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let server = adieu(&data).start().await;
        server.register("jose").await;
        let mut logged_out: Vec<Tokens> = Vec::new();
        for _ in 0..=round {
            logged_out.push(log_in_and_out(&server).await);
        }
        let copying = tokio::task::spawn_blocking({
            let folder = folder.path().to_owned();
            move || copy(&folder)
        });
        while !copying.is_finished() {
            logged_out.push(log_in_and_out(&server).await);
        }
        copying.await.unwrap();
        for _ in 0..3 {
            logged_out.push(log_in_and_out(&server).await);
        }
        server.stop().await;
        run(folder.path(), "rm -r data; mv saved data");

        let mut server = adieu(&data);
        server.spawn();
        if server.ready_or_ended().await.is_ok() {
            for tokens in &logged_out {
                assert_eq!(server.verify(&tokens.access).await.0, 401, "round {round}");
                assert_eq!(server.refresh(&tokens.refresh).await, Err(401));
            }
            server.stop().await;
            started += 1;
        }
        assert!(fs::exists(folder.path().join("data.high-water")).unwrap());
    }
    started
}
