//! A server listens on sockets that were passed to it, as systemd does, so that a restart refuses no connection.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    os::{
        fd::OwnedFd,
        unix::net::{UnixListener, UnixStream},
    },
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
};

use rustix::process::{Pid, Signal, kill_process};

/// Runs the server with this socket as descriptor 3.
fn command(folder: &Path, listen: &str, socket: OwnedFd) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "export LISTEN_PID=$$ LISTEN_FDS=1; exec \"$0\" serve 3<&0 </dev/null"]);
    command.arg(env!("CARGO_BIN_EXE_adieu")).env_clear().env("ADIEU_LISTEN", listen).env("PATH", "/usr/bin:/bin");
    command.current_dir(folder).stdin(Stdio::from(socket)).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A server that has begun to listen; it is killed when this is dropped.
struct Running(Child);

impl Running {
    fn start(folder: &Path, listen: &str, socket: OwnedFd) -> Self {
        let mut process = command(folder, listen, socket).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert!(line.contains(" listens on ") && line.contains(listen), "{line}");
        Self(process)
    }

    fn stop(mut self) {
        kill_process(Pid::from_child(&self.0), Signal::TERM).unwrap();
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ended_already = self.0.kill();
        let _status = self.0.wait();
    }
}

const REQUEST: &[u8] = b"GET /livez HTTP/1.1\r\nhost: adieu\r\nconnection: close\r\n\r\n";

/// Clients that open a connection for each request.
struct Load {
    answered: Arc<AtomicUsize>,
    ends: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    fn start(address: SocketAddr) -> Self {
        let (answered, ends) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let client = || {
            let (answered, ends) = (Arc::clone(&answered), Arc::clone(&ends));
            thread::spawn(move || {
                while !ends.load(Relaxed) {
                    let mut stream = TcpStream::connect(address).expect("no connection is refused");
                    stream.write_all(REQUEST).unwrap();
                    let mut response = String::new();
                    stream.read_to_string(&mut response).unwrap();
                    assert!(response.starts_with("HTTP/1.1 200 "), "{response:?}");
                    answered.fetch_add(1, Relaxed);
                }
            })
        };
        let clients = (0..4).map(|_| client()).collect();
        Self { answered, ends, clients }
    }

    /// Waits until this many more requests were answered.
    fn wait_for(&self, more: usize) {
        let goal = self.answered.load(Relaxed) + more;
        while self.answered.load(Relaxed) < goal {
            assert!(!self.clients.iter().any(JoinHandle::is_finished), "a client has failed");
            thread::yield_now();
        }
    }

    fn end(self) {
        self.ends.store(true, Relaxed);
        for client in self.clients {
            client.join().unwrap();
        }
    }
}

#[test]
fn a_restart_under_load_refuses_no_connection() {
    let folder = tempfile::tempdir().unwrap();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let start = || Running::start(folder.path(), &address.to_string(), socket.try_clone().unwrap().into());

    let mut server = start();
    let load = Load::start(address);
    for _ in 0..3 {
        load.wait_for(50);
        server.stop();
        server = start();
    }
    load.wait_for(50);
    load.end();
}

#[test]
fn a_unix_socket_is_served_and_remains() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("adieu.sock");
    let socket = UnixListener::bind(&path).unwrap();
    let listen = format!("unix:{}", path.display());
    for _ in 0..2 {
        let server = Running::start(folder.path(), &listen, socket.try_clone().unwrap().into());
        let mut stream = UnixStream::connect(&path).unwrap();
        stream.write_all(REQUEST).unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        assert!(response.starts_with("HTTP/1.1 200 "), "{response:?}");
        server.stop();
        assert!(path.exists());
    }
}

#[test]
fn a_socket_that_no_setting_names_or_that_does_not_listen_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let (stream, _other) = UnixStream::pair().unwrap();
    for (socket, expected) in [
        (
            OwnedFd::from(socket),
            format!("error: a socket for {address} was passed (LISTEN_FDS), which listen does not name\n"),
        ),
        (OwnedFd::from(stream), "error: cannot use the sockets that were passed (LISTEN_FDS): ".to_owned()),
    ] {
        let output = command(folder.path(), "127.0.0.1:0", socket).output().unwrap();
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(message.starts_with(&expected) && message.lines().count() == 1, "{message}");
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), &b""[..]));
    }
}
