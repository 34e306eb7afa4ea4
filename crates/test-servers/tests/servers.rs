//! The servers have the properties on which other tests rely.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use test_servers::{Postgres, Redis, postgres_database, redis_database};

/// Returns the result of a statement, one line per row.
async fn postgres(url: &str, statement: &str) -> Result<Vec<String>, String> {
    let psql = tokio::process::Command::new("psql")
        .args(["--no-psqlrc", "--tuples-only", "--no-align", "--command", statement, url])
        .kill_on_drop(true)
        .output();
    let output = psql.await.unwrap();
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    Ok(String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect())
}

#[tokio::test]
async fn postgres_comes_back_with_its_data_and_with_those_of_a_copy() {
    let mut server = Postgres::start_with(&[("log_min_duration_statement", "0")]).await;
    let url = server.url();
    postgres(&url, "CREATE TABLE guest (name TEXT)").await.unwrap();
    postgres(&url, "INSERT INTO guest VALUES ('ana')").await.unwrap();
    let copy = server.copy_data();
    postgres(&url, "INSERT INTO guest VALUES ('jose')").await.unwrap();
    assert!(server.log().contains("jose"), "the setting has effect");
    server.kill();
    assert_eq!(server.pid(), None);
    assert!(postgres(&url, "SELECT 1::text").await.is_err());
    server.start_again().await;
    assert_eq!(postgres(&url, "SELECT name FROM guest ORDER BY 1").await.unwrap(), ["ana", "jose"]);
    server.stop().await;
    server.start_again().await;
    assert_eq!(postgres(&url, "SELECT name FROM guest ORDER BY 1").await.unwrap(), ["ana", "jose"]);
    server.stop().await;
    server.put_back(&copy);
    server.start_again().await;
    assert_eq!(postgres(&url, "SELECT name FROM guest ORDER BY 1").await.unwrap(), ["ana"]);
    assert_eq!(postgres(&url, "SHOW fsync").await.unwrap(), ["on"]);
}

#[tokio::test]
async fn frozen_postgres_says_nothing_and_goes_on_when_thawed() {
    let server = Postgres::start().await;
    let url = server.url();
    postgres(&url, "SELECT 1").await.unwrap();
    server.freeze();
    {
        let mut asked = std::pin::pin!(postgres(&url, "SELECT 1"));
        assert!(tokio::time::timeout(Duration::from_millis(500), &mut asked).await.is_err());
        server.thaw();
        assert_eq!(asked.await.unwrap(), ["1"]);
    }
}

#[tokio::test]
async fn redis_comes_back_with_its_data_and_with_those_of_a_copy() {
    let mut server = Redis::start_with(&[("requirepass", "secret")]).await;
    assert_eq!(server.command(&["SET", "guest", "ana"]).await, "+OK");
    let copy = server.copy_data();
    server.command(&["SET", "guest", "jose and\r\nothers"]).await;
    server.kill();
    server.start_again().await;
    assert_eq!(server.command(&["GET", "guest"]).await, "$16\r\njose and\r\nothers");
    server.stop().await;
    server.put_back(&copy);
    server.start_again().await;
    assert_eq!(server.command(&["GET", "guest"]).await, "$3\r\nana");
    server.freeze();
    assert!(tokio::time::timeout(Duration::from_millis(300), server.command(&["PING"])).await.is_err());
    server.thaw();
    assert_eq!(server.command(&["CONFIG", "GET", "appendfsync"]).await, "*2\r\n$11\r\nappendfsync\r\n$6\r\nalways");
}

#[tokio::test]
async fn shared_servers_give_each_test_an_empty_place() {
    let (one, other) = (postgres_database().await, postgres_database().await);
    assert_ne!(one, other);
    postgres(&one, "CREATE TABLE guest (name TEXT)").await.unwrap();
    assert!(postgres(&other, "SELECT name FROM guest").await.is_err());
    assert_ne!(redis_database().await, redis_database().await);
}

#[test]
fn nothing_is_left_when_the_process_is_killed() {
    let mut program =
        Command::new(env!("CARGO_BIN_EXE_test-servers")).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(program.stdout.take().unwrap()).lines();
    let urls: Vec<String> = lines.take(2).map(|line| line.unwrap().split_once('=').unwrap().1.to_owned()).collect();
    let servers = descendants(program.id());
    let folders: Vec<_> = servers.iter().filter_map(|pid| folder_of(*pid)).collect();
    assert_eq!((urls.len(), folders.len()), (2, 2), "{servers:?}");
    // Also processes that can't notice anything by themselves.
    for pid in servers.iter().copied().chain(servers.iter().flat_map(|pid| descendants(*pid))) {
        Command::new("kill").args(["-STOP", &pid.to_string()]).status().unwrap();
    }
    // Except the guards, which are never frozen.
    for pid in servers.iter().filter(|pid| command_line(**pid).starts_with("sh")) {
        Command::new("kill").args(["-CONT", &pid.to_string()]).status().unwrap();
        for pid in descendants(*pid) {
            Command::new("kill").args(["-CONT", &pid.to_string()]).status().unwrap();
        }
    }
    program.kill().unwrap();
    program.wait().unwrap();
    let started = Instant::now();
    while servers.iter().any(|pid| Path::new(&format!("/proc/{pid}/exe")).exists())
        || folders.iter().any(|folder| Path::new(folder).exists())
    {
        assert!(started.elapsed() < Duration::from_secs(20), "{folders:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn descendants(parent: u32) -> Vec<u32> {
    let listed = Command::new("ps").args(["-o", "pid=", "--ppid", &parent.to_string()]).output().unwrap();
    String::from_utf8(listed.stdout).unwrap().split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

fn command_line(pid: u32) -> String {
    String::from_utf8_lossy(&std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default()).replace('\0', " ")
}

/// Returns the temporary folder, as named on a guard's command line.
fn folder_of(pid: u32) -> Option<String> {
    let line = command_line(pid);
    line.starts_with("sh").then(|| line.split_whitespace().last().unwrap().to_owned())
}
