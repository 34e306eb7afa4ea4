//! A server as one process or several.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr},
    os::{fd::OwnedFd, unix::process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
    process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal},
};
use tempfile::TempDir;

use crate::{folder, port::Port, wait::TEST_TIMEOUT};

const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Waits until the process at the other end of its standard input ends, in whatever way, and then cleans up. It recognizes
/// servers by their working folder, not by a process id, which may have been reused. The folder cannot be removed while a
/// server that is shutting down still writes there.
const GUARD: &str = r#"
cat >/dev/null
for _ in 1 2 3 4 5 6 7 8 9 10; do
    for process in /proc/[0-9]*; do
        case "$(readlink "$process/cwd")/" in
            "$1"/*) kill -KILL "${process#/proc/}" ;;
        esac
    done
    rm -rf "$1" && exit
    sleep 0.2
done
"#;

/// A folder, a port, and the server that runs there.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) port: Port,
    child: Option<Child>,
    /// Dropped after the guard.
    folder: TempDir,
    guard: Child,
}

impl Process {
    pub(crate) fn new() -> Self {
        let folder = folder::temporary();
        let guard = Command::new("sh")
            .args(["-c", GUARD, "guard"])
            .arg(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Otherwise a signal to the whole group would end it as well.
            .process_group(0)
            .spawn()
            .expect("a shell");
        Self { port: Port::find(), child: None, folder, guard }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn log_file(&self) -> PathBuf {
        self.folder().join("log")
    }

    fn open_log(&self) -> File {
        File::options().append(true).create(true).open(self.log_file()).expect("a log file")
    }

    /// Returns the server's output so far.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.log_file()).unwrap_or_default()).into_owned()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port.number()).into()
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Returns the ids of the server's process and of its children.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.pid().into_iter().flat_map(|pid| std::iter::once(pid).chain(child_ids(pid))).collect()
    }

    pub(crate) fn spawn(&mut self, command: Command) {
        let log = self.open_log();
        self.spawn_with(command, log.into());
    }

    /// Like [`spawn`](Self::spawn), but only the standard error goes to the log.
    pub(crate) fn spawn_with(&mut self, mut command: Command, stdout: Stdio) {
        assert!(self.child.is_none(), "the server is running");
        let child = command
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(self.open_log())
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        self.child = Some(child);
    }

    /// Waits until the server answers.
    pub(crate) async fn ready(&mut self, answers: impl AsyncFnMut() -> bool) {
        if let Some(status) = self.ready_or_ended(answers).await {
            panic!("the server has ended ({status}): {}", self.log());
        }
    }

    /// Waits until the server answers or ends; returns its status if it has ended.
    pub(crate) async fn ready_or_ended(&mut self, mut answers: impl AsyncFnMut() -> bool) -> Option<ExitStatus> {
        let started = Instant::now();
        while !answers().await {
            if let Some(child) = &mut self.child
                && let Some(status) = child.try_wait().expect("the state of a child")
            {
                self.child = None;
                return Some(status);
            }
            assert!(started.elapsed() < TEST_TIMEOUT, "the server does not answer: {}", self.log());
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        None
    }

    /// Asks the server to end, and waits until it has ended; returns its status if it was running.
    pub(crate) async fn stop(&mut self, signal: Signal) -> Option<ExitStatus> {
        let mut child = self.child.take()?;
        send(child.id(), signal);
        let started = Instant::now();
        loop {
            if let Some(status) = child.try_wait().expect("the state of a child") {
                return Some(status);
            }
            if started.elapsed() > TEST_TIMEOUT {
                self.child = Some(child);
                panic!("the server does not stop: {}", self.log());
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Kills all its processes at once.
    pub(crate) fn kill(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        // A stopped process cannot start another. Sending the signal is not enough: it takes effect later.
        send(child.id(), Signal::STOP);
        wait_until_stopped(child.id());
        let others = children(child.id());
        send(child.id(), Signal::KILL);
        child.wait().expect("the state of a child");
        for other in &others {
            // A process that has ended meanwhile needs no signal.
            let _ = pidfd_send_signal(other, Signal::KILL);
        }
        others.iter().for_each(wait_for_the_end);
    }

    /// Freezes all its processes.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    pub(crate) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Signals the first process before its children: once it is stopped, it starts no more.
    pub(crate) fn signal(&self, signal: Signal) {
        let Some(first) = self.pid() else { return };
        send(first, signal);
        for other in children(first) {
            let _ = pidfd_send_signal(other, signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        // This closes its standard input: it finds no process to kill, and removes the folder as well.
        drop(self.guard.stdin.take());
        let _ = self.guard.kill();
        let _ = self.guard.wait();
    }
}

/// Waits until a child of this process has stopped or ended.
fn wait_until_stopped(child: u32) {
    let started = Instant::now();
    let is_running = || {
        let stat = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        // The state comes after the name, which is in parentheses.
        stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['T', 'Z']))
    };
    while is_running() {
        assert!(started.elapsed() < TEST_TIMEOUT, "the server does not stop");
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// Sends a signal to a child of this process, whose id cannot be reused before it has been waited for.
fn send(child: u32, signal: Signal) {
    // A process that has ended meanwhile needs no signal.
    let _ = kill_process(number(child), signal);
}

fn number(pid: u32) -> Pid {
    i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id")
}

/// Returns the children of a process. PostgreSQL gives each of its processes a session and a group, so they cannot be
/// signalled as a group. Each is held by a descriptor: its id may be reused as soon as it has ended, by a process that a test
/// must not freeze.
fn children(parent: u32) -> Vec<OwnedFd> {
    let held = child_ids(parent).filter_map(|pid| {
        let held = pidfd_open(number(pid), PidfdFlags::empty()).ok()?;
        // The opened process may already be another one.
        (parent_of(pid) == Some(parent)).then_some(held)
    });
    held.collect()
}

fn child_ids(parent: u32) -> impl Iterator<Item = u32> {
    let numbers =
        fs::read_dir("/proc").expect("/proc").filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    numbers.filter(move |&pid| parent_of(pid) == Some(parent))
}

fn wait_for_the_end(process: &OwnedFd) {
    // Readable once it has ended, whichever process has to wait for it.
    let mut ends = [PollFd::new(process, PollFlags::IN)];
    while poll(&mut ends, None).is_err_and(|error| error == Errno::INTR) {}
}

fn parent_of(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name comes before, in parentheses, and may contain anything.
    stat.get(stat.rfind(')')? + 1..)?.split_whitespace().nth(1)?.parse().ok()
}
