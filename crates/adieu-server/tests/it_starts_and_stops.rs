//! The binary starts with nothing configured, says where it is, refuses a wrong setting in one line, and ends with
//! status 0 when it is told to stop.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    io::{BufRead as _, BufReader, Read as _},
    process::{Child, Command, Stdio},
};

fn adieu(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_adieu"));
    command.args(arguments).env_clear().stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Ended even when a test fails half-way.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ended_already = self.0.kill();
        let _status = self.0.wait();
    }
}

fn stops_when_told(arguments: &[&str], signal: &str) {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Running(adieu(arguments).current_dir(folder.path()).spawn().unwrap());
    let mut stdout = BufReader::new(server.0.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    assert!(line.starts_with(concat!("adieu ", env!("CARGO_PKG_VERSION"), " listens on http://127.0.0.1:")), "{line}");

    let kill = Command::new("kill").args(["-s", signal, &server.0.id().to_string()]).status().unwrap();
    assert!(kill.success());
    assert_eq!(server.0.wait().unwrap().code(), Some(0), "{signal}");
    stdout.read_to_string(&mut line).unwrap();
}

#[test]
fn it_stops_with_status_0_on_sigterm_and_on_ctrl_c() {
    stops_when_told(&["serve", "--listen", "127.0.0.1:0"], "TERM");
    stops_when_told(&["--listen", "127.0.0.1:0"], "INT");
}

#[test]
fn it_prints_all_that_is_needed_to_log_in() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Running(adieu(&["--listen", "127.0.0.1:0"]).current_dir(folder.path()).spawn().unwrap());
    let mut lines = BufReader::new(server.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    let first = lines.next().unwrap();
    let url = first.split_once(" listens on ").unwrap().1.to_owned();
    assert_eq!(lines.next().unwrap(), format!("data is in ./adieu-data, documentation at {url}/docs"));
    for (label, route, expected) in [
        ("register: ", "/register", "{\"message\":\"User created successfully.\"}"),
        ("log in:   ", "/login", "{\"access_token\":"),
    ] {
        let line = lines.next().unwrap();
        let command = line.strip_prefix(label).unwrap();
        assert!(command.starts_with(&format!("curl {url}{route} ")), "{command}");
        let output = Command::new("sh").args(["-c", command]).output().unwrap();
        let answer = String::from_utf8(output.stdout).unwrap();
        assert!(answer.starts_with(expected), "{command}\n{answer}");
    }
}

#[test]
fn a_data_folder_that_can_not_be_made_is_one_line() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let folder = file.path().join("data");
    let output = adieu(&["--listen", "127.0.0.1:0", "--data", folder.to_str().unwrap()]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.starts_with(&format!("error: cannot make the data folder {}: ", folder.display())), "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");
    assert!(output.stdout.is_empty());
}

#[test]
fn a_wrong_setting_is_one_line_and_no_start() {
    let output = adieu(&["serve"]).env("ADIEU_LEEWAY", "2m").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "error: leeway from the environment (ADIEU_LEEWAY): 2m is out of range; it must be between 0s and 1m\n"
    );
    assert!(output.stdout.is_empty());
}

#[test]
fn an_address_that_is_taken_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = adieu(&["--listen", &address]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.starts_with(&format!("error: cannot listen on {address}: ")), "{message}");
}

#[test]
fn the_sample_is_printed() {
    let output = adieu(&["config"]).output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8(output.stdout).unwrap(), adieu_server::config::sample());
}
