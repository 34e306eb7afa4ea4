//! Prompts on a terminal: passwords, which are not shown, and confirmations.

use std::{
    io::{Read as _, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use crate::support::{Place, can_log_in, log_in};

const TEST_TIMEOUT: Duration = Duration::from_secs(30);

/// A command on its own terminal, made by script(1).
struct Terminal {
    name: String,
    process: Child,
    keyboard: ChildStdin,
    screen: ChildStdout,
    shown: String,
}

impl Drop for Terminal {
    /// For a test that failed; closing the terminal ends the command as well.
    fn drop(&mut self) {
        let _ended = self.process.kill();
        let _ended = self.process.wait();
    }
}

impl Terminal {
    fn run(place: &Place, arguments: &str) -> Self {
        let command = format!("tty; exec {} {arguments}", env!("CARGO_BIN_EXE_adieu"));
        let mut script = Command::new("script");
        script.args(["--quiet", "--return", "--echo", "always", "--command", &command, "/dev/null"]);
        script.env("ADIEU_DATA", "data").env("SHELL", "/bin/sh").current_dir(place.path(""));
        script.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = script.spawn().expect("script(1)");
        let (keyboard, screen) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        let mut terminal = Self { name: String::new(), process, keyboard, screen, shown: String::new() };
        terminal.wait_for("\n");
        terminal.name = std::mem::take(&mut terminal.shown).trim().to_owned();
        terminal
    }

    fn wait_for(&mut self, text: &str) {
        let mut byte = [0];
        while !self.shown.ends_with(text) {
            self.screen.read_exact(&mut byte).unwrap_or_else(|_| panic!("no {text:?} in {:?}", self.shown));
            self.shown.push(char::from(byte[0]));
        }
    }

    fn type_line(&mut self, line: &str) {
        writeln!(self.keyboard, "{line}").unwrap();
    }

    /// Text typed before the command turns the echo off is visible.
    fn type_hidden(&mut self, line: &str) {
        let started = Instant::now();
        loop {
            let state = Command::new("stty").args(["--file", &self.name, "--all"]).output().expect("stty(1)");
            if String::from_utf8_lossy(&state.stdout).split([' ', ';']).any(|setting| setting == "-echo") {
                break;
            }
            assert!(started.elapsed() < TEST_TIMEOUT, "the input is echoed");
            std::thread::yield_now();
        }
        self.type_line(line);
    }

    fn type_passwords(&mut self, first: &str, second: &str) {
        self.wait_for("Password: ");
        self.type_hidden(first);
        self.wait_for("Again: ");
        self.type_hidden(second);
    }

    /// Returns the output and the status.
    fn end(mut self) -> (String, i32) {
        self.screen.read_to_string(&mut self.shown).unwrap();
        let status = self.process.wait().unwrap().code().unwrap();
        (self.shown.replace('\r', ""), status)
    }
}

#[tokio::test]
async fn a_new_password_is_asked_for_twice_and_not_shown() {
    let place = Place::empty();
    let mut terminal = Terminal::run(&place, "user add ana --admin");
    terminal.type_passwords("correct horse", "correct horse");
    let (shown, status) = terminal.end();
    assert_eq!(status, 0, "{shown}");
    assert!(shown.contains("added the administrator ana") && !shown.contains("horse"), "{shown}");
    assert!(can_log_in(&place.node().await, "ana", "correct horse").await);
}

/// The address has no server, so that the command does not do its work.
#[test]
fn the_password_of_a_database_is_asked_for_and_not_shown() {
    let place = Place::with_user("jose");
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("postgres://ana@127.0.0.1:{}/adieu", free.local_addr().unwrap().port());
    drop(free);
    let copy = format!("store copy --from sqlite:data/adieu.sqlite --to {address} --ask-password");
    let mut terminal = Terminal::run(&place, &copy);
    terminal.wait_for(&format!("Password of {address}: "));
    terminal.type_hidden("correct horse");
    let (shown, status) = terminal.end();
    assert_eq!(status, 1, "{shown}");
    assert!(shown.contains("ana:***@127.0.0.1") && !shown.contains("horse"), "{shown}");
}

#[tokio::test]
async fn two_passwords_that_differ_change_nothing() {
    let place = Place::with_user("jose");
    let mut terminal = Terminal::run(&place, "user passwd jose");
    terminal.type_passwords("correct horse", "correct house");
    let (shown, status) = terminal.end();
    assert_eq!(status, 1, "{shown}");
    assert!(shown.contains("error: the two passwords differ") && !shown.contains("correct"), "{shown}");
    let node = place.node().await;
    assert!(can_log_in(&node, "jose", "1234").await);
    assert!(!can_log_in(&node, "jose", "correct horse").await);
}

#[tokio::test]
async fn what_can_not_be_taken_back_is_asked_about() {
    let place = Place::with_user("jose");
    let node = place.node().await;
    let tokens = log_in(&node, "jose", "Firefox").await;
    for (answer, status, told) in [("no", 1, "error: nothing was done"), ("yes", 0, "jose")] {
        assert!(node.sessions.verify_refresh(&tokens.refresh).await.is_ok());
        let mut terminal = Terminal::run(&place, "revoke --user jose");
        terminal.wait_for("Type yes to go on: ");
        terminal.type_line(answer);
        let (shown, ended) = terminal.end();
        assert_eq!(ended, status, "{shown}");
        assert!(shown.contains(told), "{shown}");
    }
    assert!(node.sessions.verify_refresh(&tokens.refresh).await.is_err());
}
