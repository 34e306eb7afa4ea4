//! A server listens on Unix sockets, beside TCP or alone: with the mode and the owner of the settings from the first connection on, within
//! the same limits, and never deletes a file of another program.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    fs,
    io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _},
    os::unix::{
        ffi::OsStrExt as _,
        fs::{MetadataExt as _, PermissionsExt as _},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Barrier},
    thread,
    time::Duration,
};

use adieu_server::{
    config::{Flags, Settings},
    listen::{Bounds, Drained, Listeners, serve},
};
use arc_swap::ArcSwap;
use axum::{Router, routing::get};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use test_servers::adieu::Adieu;
use tokio::sync::{Notify, oneshot};

const ADIEU: &str = env!("CARGO_BIN_EXE_adieu");
const CLOSING: &str = "host: adieu\r\nconnection: close\r\n";

fn folder_and_path() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("verify.sock");
    (folder, path)
}

fn settings(listen: &str, variables: &[(&str, &str)]) -> Settings {
    let flags = Flags { listen: Some(listen.to_owned()), ..Flags::default() };
    Settings::load(&flags, variables.iter().map(|(name, value)| (name.into(), value.into()))).unwrap()
}

fn on(path: &Path) -> String {
    format!("unix:{}", path.display())
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// Sends a request on a new connection, and returns the whole response.
fn ask(path: &Path, line: &str, headers: &str, body: &str) -> String {
    let mut stream = UnixStream::connect(path).unwrap();
    let length = body.len();
    write!(stream, "{line} HTTP/1.1\r\n{CLOSING}{headers}content-length: {length}\r\n\r\n{body}").unwrap();
    read(stream)
}

/// Reads until the server closes the connection.
fn read(mut stream: UnixStream) -> String {
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
    String::from_utf8(answer).unwrap()
}

/// A server whose standard output is read.
struct Running {
    process: Child,
    lines: Box<dyn Iterator<Item = String>>,
}

impl Running {
    fn start(listen: &str, folder: &TempDir) -> Self {
        let mut command = Command::new(ADIEU);
        command.args(["--listen", listen, "--data"]).arg(folder.path().join("data")).env_clear();
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = Box::new(BufReader::new(process.stdout.take().unwrap()).lines().map(Result::unwrap));
        Self { process, lines }
    }

    fn signal(&mut self, signal: Signal) -> Option<i32> {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
        self.process.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ended_already = self.process.kill();
        let _status = self.process.wait();
    }
}

/// Starts a server that must not start, and returns its error.
fn refusal(listen: &str, folder: &TempDir, variables: &[(&str, &str)]) -> String {
    let mut command = Command::new(ADIEU);
    command.args(["--listen", listen, "--data"]).arg(folder.path().join("data")).env_clear();
    let output = command.envs(variables.iter().copied()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8(output.stderr).unwrap();
    message.replace(&folder.path().display().to_string(), "FOLDER")
}

#[test]
fn it_serves_on_both_and_removes_its_socket_when_it_stops() {
    let (folder, path) = folder_and_path();
    let mut server = Running::start(&format!("127.0.0.1:0,{}", on(&path)), &folder);
    let first = server.lines.next().unwrap();
    let (url, socket) = first.split_once(" listens on ").unwrap().1.split_once(" and ").unwrap();
    assert_eq!(socket, on(&path));
    assert!(server.lines.next().unwrap().ends_with(&format!("documentation at {url}/docs")));

    assert_eq!(mode(&path), 0o660);
    assert!(ask(&path, "GET /livez", "", "").starts_with("HTTP/1.1 200 "));
    let mut tcp = std::net::TcpStream::connect(url.trim_start_matches("http://")).unwrap();
    write!(tcp, "GET /livez HTTP/1.1\r\n{CLOSING}\r\n").unwrap();
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");

    assert_eq!(server.signal(Signal::TERM), Some(0));
    assert!(!path.exists());
}

#[test]
fn alone_it_prints_how_to_log_in() {
    let (folder, path) = folder_and_path();
    let mut server = Running::start(&on(&path), &folder);
    let mut commands = server.lines.by_ref().skip(2).take(2);
    let mut run = |label: &str| {
        let line = commands.next().unwrap();
        let output = Command::new("sh").args(["-c", line.strip_prefix(label).unwrap()]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(run("register: "), r#"{"message":"User created successfully."}"#);
    assert!(run("log in:   ").starts_with(r#"{"access_token":"#));
}

#[test]
fn a_request_in_progress_is_answered_after_sigterm() {
    let (folder, path) = folder_and_path();
    let mut server = Running::start(&on(&path), &folder);
    server.lines.next().unwrap();
    let body = r#"{"username":"jose","password":"1234"}"#;
    let mut stream = UnixStream::connect(&path).unwrap();
    let length = body.len();
    let headers = format!("content-type: application/json\r\ncontent-length: {length}\r\nexpect: 100-continue\r\n");
    write!(stream, "POST /register HTTP/1.1\r\nhost: adieu\r\n{headers}\r\n").unwrap();
    let mut answer = [0; "HTTP/1.1 100 Continue\r\n\r\n".len()];
    stream.read_exact(&mut answer).unwrap();

    kill_process(Pid::from_child(&server.process), Signal::TERM).unwrap();
    while path.exists() {
        thread::yield_now();
    }
    stream.write_all(body.as_bytes()).unwrap();
    assert!(read(stream).starts_with("HTTP/1.1 201 "));
    assert_eq!(server.process.wait().unwrap().code(), Some(0));
}

#[test]
fn the_socket_of_a_killed_server_is_replaced() {
    let (folder, path) = folder_and_path();
    let mut killed = Running::start(&on(&path), &folder);
    killed.lines.next().unwrap();
    killed.signal(Signal::KILL);
    assert!(path.exists());
    let mut server = Running::start(&on(&path), &folder);
    server.lines.next().unwrap();
    assert!(ask(&path, "GET /livez", "", "").starts_with("HTTP/1.1 200 "));
}

#[test]
fn what_is_not_abandoned_is_left_alone() {
    let (folder, path) = folder_and_path();
    let refused = |why: &str, path: &Path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        assert_eq!(refusal(&on(path), &folder, &[]), format!("error: cannot listen on unix:FOLDER/{name}: {why}\n"));
    };
    let mut server = Running::start(&on(&path), &folder);
    server.lines.next().unwrap();
    refused("another server listens on it", &path);
    assert!(ask(&path, "GET /livez", "", "").starts_with("HTTP/1.1 200 "), "the first server goes on");

    // The kernel refuses connections to a full queue, although the server is alive.
    let full = folder.path().join("full");
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    socket.bind(&socket2::SockAddr::unix(&full).unwrap()).unwrap();
    socket.listen(0).unwrap();
    let _queued = UnixStream::connect(&full).unwrap();
    refused("another server listens on it", &full);

    let file = folder.path().join("file");
    fs::write(&file, "precious").unwrap();
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    for path in [&file, &link] {
        refused("the file exists and is not a socket", path);
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
    assert!(link.is_symlink());

    let datagram = folder.path().join("datagram");
    let _socket = std::os::unix::net::UnixDatagram::bind(&datagram).unwrap();
    let message = refusal(&on(&datagram), &folder, &[]);
    assert!(message.contains("datagram: cannot find out whether another server listens on it: "), "{message}");
    assert!(datagram.exists());
}

#[test]
fn a_socket_that_has_become_that_of_another_server_is_left_alone_at_the_stop() {
    let (folder, path) = folder_and_path();
    let mut server = Running::start(&on(&path), &folder);
    server.lines.next().unwrap();
    fs::remove_file(&path).unwrap();
    let _other = UnixListener::bind(&path).unwrap();
    assert_eq!(server.signal(Signal::TERM), Some(0));
    assert!(UnixStream::connect(&path).is_ok());
}

#[test]
fn what_cannot_be_listened_on_is_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let listen = |name: &str| format!("unix:{}/{name}", folder.path().display());
    let [missing, fine] = ["missing/s", "s"].map(listen);
    let length = 108;
    let long = "s".repeat(length - folder.path().as_os_str().as_bytes().len() - 1);
    for (listen, variables, why) in [
        (&missing, &[][..], "missing/s: cannot open its folder: No such file or directory (os error 2)"),
        (&listen(&long), &[], &*format!("{long}: the path is too long for a Unix socket ({length} bytes)")),
        (
            &fine,
            &[("ADIEU_UNIX_SOCKET_OWNER", "no-such-name")],
            "s: unix_socket_owner: there is no owner \"no-such-name\" on this system",
        ),
        (
            &fine,
            &[("ADIEU_UNIX_SOCKET_GROUP", "no-such-name")],
            "s: unix_socket_group: there is no group \"no-such-name\" on this system",
        ),
    ] {
        assert_eq!(refusal(listen, &folder, variables), format!("error: cannot listen on unix:FOLDER/{why}\n"));
    }
    // The longest path.
    let path = folder.path().join(&long[1..]);
    let mut server = Running::start(&on(&path), &folder);
    server.lines.next().unwrap();
    assert!(ask(&path, "GET /livez", "", "").starts_with("HTTP/1.1 200 "));
}

#[test]
fn a_server_that_does_not_start_leaves_no_socket_behind() {
    let (folder, path) = folder_and_path();
    fs::write(folder.path().join("data"), "not a folder").unwrap();
    let message = refusal(&on(&path), &folder, &[]);
    assert!(message.contains("error: cannot make the data folder"), "{message}");
    assert!(!path.exists());
}

#[tokio::test]
async fn owner_and_group_are_those_of_the_settings_by_name_or_number() {
    let own = |option: &str| {
        let output = Command::new("id").arg(option).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let (user, group) = (own("-u").parse().unwrap(), own("-g").parse().unwrap());
    for (owner, of_group) in [(own("-un"), own("-gn")), (own("-u"), own("-g"))] {
        let (_folder, path) = folder_and_path();
        let variables = [("ADIEU_UNIX_SOCKET_OWNER", &*owner), ("ADIEU_UNIX_SOCKET_GROUP", &*of_group)];
        let _listeners = Listeners::bind(&settings(&on(&path), &variables)).await.unwrap();
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (user, group));
    }
    // Only root may give a file away.
    if user == 0 {
        let (_folder, path) = folder_and_path();
        let variables = [("ADIEU_UNIX_SOCKET_OWNER", "12345"), ("ADIEU_UNIX_SOCKET_GROUP", "23456")];
        let _listeners = Listeners::bind(&settings(&on(&path), &variables)).await.unwrap();
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (12_345, 23_456));
    }
}

/// A process tries to connect all the time. When it succeeds, the socket has its mode.
#[tokio::test]
async fn the_mode_holds_from_the_first_connection_on() {
    for (text, bits) in [("600", 0o600), ("666", 0o666), ("700", 0o700)].repeat(10) {
        let (_folder, path) = folder_and_path();
        let connecting = {
            let path = path.clone();
            thread::spawn(move || {
                while UnixStream::connect(&path).is_err() {
                    thread::yield_now();
                }
                mode(&path)
            })
        };
        let _listeners = Listeners::bind(&settings(&on(&path), &[("ADIEU_UNIX_SOCKET_MODE", text)])).await.unwrap();
        assert_eq!(connecting.join().unwrap(), bits);
    }
}

/// Of many servers that start at once where a killed one has left its socket, one gets the socket.
#[test]
fn servers_that_start_at_once_do_not_take_each_others_socket() {
    const SERVERS: usize = 4;
    for _ in 0..200 {
        let (_folder, path) = folder_and_path();
        drop(UnixListener::bind(&path).unwrap());
        let at_once = Arc::new(Barrier::new(SERVERS));
        let starting = (0..SERVERS).map(|_| {
            let (settings, at_once) = (settings(&on(&path), &[]), at_once.clone());
            thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                at_once.wait();
                let listeners = runtime.block_on(Listeners::bind(&settings)).ok();
                (runtime, listeners)
            })
        });
        let started = starting.collect::<Vec<_>>().into_iter().map(|thread| thread.join().unwrap());
        let started: Vec<_> = started.filter(|(_, listeners)| listeners.is_some()).collect();
        assert_eq!(started.len(), 1);
        assert!(UnixStream::connect(&path).is_ok());
    }
}

#[tokio::test]
async fn the_forwarded_address_is_believed_only_if_the_setting_says_so() {
    for (trusted, expected) in [("", "127.0.0.1"), ("127.0.0.0/8", "127.0.0.1"), ("10.0.0.0/8,unix:", "203.0.113.7")] {
        let (_folder, path) = folder_and_path();
        let audit = path.with_extension("audit");
        let server = Adieu::new(ADIEU).with_unix_socket(&path).with("ADIEU_TRUSTED_PROXIES", trusted);
        let server = server
            .with("ADIEU_REGISTRATION", "open")
            .with("ADIEU_AUDIT_LOG", audit.display().to_string())
            .start()
            .await;
        server.register("jose").await;
        let body = json!({ "username": "jose", "password": test_servers::adieu::ADIEU_PASSWORD }).to_string();
        let headers = "content-type: application/json\r\nx-forwarded-for: 203.0.113.7\r\n";
        let answer = ask(&path, "POST /login", headers, &body);
        let tokens: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
        let bearer = format!("authorization: Bearer {}\r\n", tokens["access_token"].as_str().unwrap());

        let answer = ask(&path, "GET /sessions", &bearer, "");
        let list: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
        assert_eq!(list["sessions"][0]["address"], expected, "{trusted}");
        let audited = fs::read_to_string(&audit).unwrap();
        let event = audited.lines().find(|line| line.contains("\"login\"")).unwrap();
        assert!(event.contains(&format!("\"address\":\"{expected}\"")), "{event}");
        assert!(ask(&path, "GET /verify", &bearer, "").starts_with("HTTP/1.1 204 "));
        assert!(ask(&path, "POST /logout", &bearer, "").starts_with("HTTP/1.1 200 "));
        assert!(ask(&path, "GET /verify", &bearer, "").starts_with("HTTP/1.1 401 "));
        server.stop().await;
    }
}

#[tokio::test]
async fn a_relay_listens_on_one_too() {
    let (node, [credentials]) = Adieu::new(ADIEU).start_with_clients(["relay"]).await;
    node.register("jose").await;
    let token = node.log_in("jose").await;
    let (_folder, path) = folder_and_path();
    let relay = Adieu::new(ADIEU).following(&node.url(""), &credentials).with_unix_socket(&path).start().await;
    let verdict = || ask(&path, "GET /verify", &format!("authorization: Bearer {token}\r\n"), "");
    assert!(verdict().starts_with("HTTP/1.1 204 "));
    assert_eq!(node.post("/logout?wait=everywhere", &token).await.0, 200);
    assert!(verdict().starts_with("HTTP/1.1 401 "));
    relay.stop().await;
    assert!(!path.exists());
}

/// A server of one route in this process, which listens on TCP and on a Unix socket.
struct Limited {
    path: PathBuf,
    address: String,
    reached: Arc<Notify>,
    stop: oneshot::Sender<()>,
    ended: tokio::task::JoinHandle<Drained>,
    _folder: TempDir,
}

impl Limited {
    async fn start(limit: impl FnOnce(Bounds) -> Bounds) -> Self {
        let (folder, path) = folder_and_path();
        let settings = settings(&format!("{},127.0.0.1:0", on(&path)), &[]);
        let listeners = Listeners::bind(&settings).await.unwrap();
        let address = listeners.addresses().unwrap()[1].to_string();
        let reached = Arc::new(Notify::new());
        let held = {
            let reached = reached.clone();
            move || async move {
                reached.notify_one();
                std::future::pending::<()>().await;
            }
        };
        let router = Router::new()
            .route("/", get(|| async {}))
            .route("/held", get(held))
            .route("/large", get(|| async { vec![b'x'; 8 * 1024 * 1024] }));
        let (stop, stopped) = oneshot::channel();
        let bounds = Arc::new(ArcSwap::from_pointee(limit(Bounds::from(&settings))));
        let ended = tokio::spawn(serve(listeners, router, bounds, async { stopped.await.unwrap() }));
        Self { path, address, reached, stop, ended, _folder: folder }
    }

    /// Sends text on a new connection, and reads until the server closes it.
    async fn send(&self, text: &str) -> String {
        let (path, text) = (self.path.clone(), text.to_owned());
        let answer = tokio::task::spawn_blocking(move || {
            let mut stream = UnixStream::connect(&path).unwrap();
            // The server may have closed the connection.
            let _sent = stream.write_all(text.as_bytes());
            read(stream)
        });
        answer.await.unwrap()
    }
}

const SOON: Duration = Duration::from_millis(100);

#[tokio::test]
async fn slow_clients_are_disconnected() {
    let server = Limited::start(|bounds| Bounds { header_timeout: SOON, keep_alive_timeout: SOON, ..bounds }).await;
    assert_eq!(server.send("").await, "");
    assert!(!server.send("GET / HTTP/1.1\r\nhost: ad").await.contains("200 OK"));
    assert!(server.send("GET / HTTP/1.1\r\nhost: adieu\r\n\r\n").await.starts_with("HTTP/1.1 200 "), "idle afterwards");

    let server = Limited::start(|bounds| Bounds { write_timeout: SOON, ..bounds }).await;
    let path = server.path.clone();
    let hung_up = tokio::task::spawn_blocking(move || {
        let mut stream = UnixStream::connect(path).unwrap();
        stream.write_all("GET /large HTTP/1.1\r\nhost: adieu\r\n\r\n".repeat(20).as_bytes()).unwrap();
        while stream.write_all(b" ").is_ok() {
            thread::yield_now();
        }
    });
    hung_up.await.unwrap();
}

#[tokio::test]
async fn a_head_that_is_too_long_is_answered_431() {
    let server = Limited::start(|bounds| bounds).await;
    let answer = server.send(&format!("GET / HTTP/1.1\r\n{CLOSING}x: {}\r\n\r\n", "x".repeat(33 * 1024))).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

/// This machine has a quarter of eight, whether over TCP or a Unix socket. A trusted proxy has all.
#[tokio::test]
async fn connections_are_counted_together_with_those_of_tcp() {
    let held = "GET /held HTTP/1.1\r\nhost: adieu\r\n\r\n";
    let server = Limited::start(|bounds| Bounds { max_connections: 8, ..bounds }).await;
    let mut on_socket = UnixStream::connect(&server.path).unwrap();
    on_socket.write_all(held.as_bytes()).unwrap();
    server.reached.notified().await;
    let mut on_tcp = std::net::TcpStream::connect(&server.address).unwrap();
    on_tcp.write_all(held.as_bytes()).unwrap();
    server.reached.notified().await;
    assert_eq!(server.send(&format!("GET / HTTP/1.1\r\n{CLOSING}\r\n")).await, "", "hung up on");

    let trusted_proxies = vec![adieu_server::config::TrustedProxy::UnixSocket];
    let server = Limited::start(|bounds| Bounds { max_connections: 8, trusted_proxies, ..bounds }).await;
    let mut streams = Vec::new();
    for _ in 0..8 {
        let mut stream = UnixStream::connect(&server.path).unwrap();
        stream.write_all(held.as_bytes()).unwrap();
        streams.push(stream);
        server.reached.notified().await;
    }
}

#[tokio::test]
async fn what_takes_too_long_to_finish_is_abandoned() {
    let server = Limited::start(|bounds| Bounds { drain_timeout: SOON, ..bounds }).await;
    let mut stream = UnixStream::connect(&server.path).unwrap();
    stream.write_all(b"GET /held HTTP/1.1\r\nhost: adieu\r\n\r\n").unwrap();
    server.reached.notified().await;
    server.stop.send(()).unwrap();
    assert_eq!(server.ended.await.unwrap(), Drained { abandoned: 1 });
    assert_eq!(read(stream), "");
    assert!(!server.path.exists());
}
