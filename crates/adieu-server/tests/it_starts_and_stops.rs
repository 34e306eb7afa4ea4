//! The binary starts without configuration, prints its address, rejects an invalid setting in one line, and exits with status 0 when asked
//! to stop. Settings whose effect only a process can show are tested here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[cfg(unix)]
use std::os::unix::net::UnixDatagram;
use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
};

fn adieu(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_adieu"));
    command.args(arguments).env_clear().stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A process that is killed even if a test fails half-way.
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

/// Starts the binary, waits until it listens, sends it one request, stops it, and returns its standard error.
fn log_of(settings: &[(&str, &str)], ask: impl FnOnce(SocketAddr)) -> String {
    let folder = tempfile::tempdir().unwrap();
    let mut command = adieu(&["--listen", "127.0.0.1:0"]);
    command.current_dir(folder.path()).envs(settings.iter().copied());
    let mut server = Running(command.spawn().unwrap());
    let mut line = String::new();
    let mut stdout = BufReader::new(server.0.stdout.take().unwrap());
    stdout.read_line(&mut line).unwrap();
    ask(line.trim_end().split_once("http://").unwrap().1.parse().unwrap());
    let kill = Command::new("kill").args(["-s", "TERM", &server.0.id().to_string()]).status().unwrap();
    assert!(kill.success());
    let mut log = String::new();
    server.0.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    assert_eq!(server.0.wait().unwrap().code(), Some(0), "{log}");
    log
}

fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: adieu\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 "), "{answer}");
    answer
}

#[test]
fn a_request_in_progress_is_answered_after_sigterm() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Running(adieu(&["--listen", "127.0.0.1:0"]).current_dir(folder.path()).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(server.0.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let address: SocketAddr = line.trim_end().split_once("http://").unwrap().1.parse().unwrap();

    let body = r#"{"username":"jose","password":"1234"}"#;
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    write!(
        stream,
        "POST /register HTTP/1.1\r\nhost: adieu\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\
         expect: 100-continue\r\n\r\n"
    )
    .unwrap();
    let mut answer = [0; "HTTP/1.1 100 Continue\r\n\r\n".len()];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 100 Continue\r\n\r\n", "the body is awaited");

    assert!(Command::new("kill").args(["-s", "TERM", &server.0.id().to_string()]).status().unwrap().success());
    while TcpStream::connect(address).is_ok() {}
    stream.write_all(body.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    assert_eq!(server.0.wait().unwrap().code(), Some(0));
}

#[test]
fn log_level_says_what_is_logged_at_least() {
    for (level, stops, requests, machines) in
        [("error", false, false, false), ("info", true, true, false), ("debug", true, true, true)]
    {
        let log = log_of(&[("ADIEU_LOG_LEVEL", level)], |address| {
            get(address, "/nowhere");
            get(address, "/livez");
        });
        let has = |text: &str| log.contains(text);
        assert_eq!((has("stopped"), has("404"), has("/livez")), (stops, requests, machines), "{level}\n{log}");
    }
}

#[test]
fn log_format_says_how_a_line_is_written() {
    let is_json = |log: &str| {
        let mut lines = log.lines().peekable();
        assert!(lines.peek().is_some());
        lines.all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok_and(|line| line["level"] == "INFO"))
    };
    for (format, expected) in [("json", true), ("text", false)] {
        let log = log_of(&[("ADIEU_LOG_FORMAT", format)], |address| drop(get(address, "/nowhere")));
        assert_eq!(is_json(&log), expected, "{format}\n{log}");
    }
}

/// Served on a separate address, and nowhere else.
#[test]
fn metrics_listen_says_where_the_metrics_are() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = adieu(&["--listen", "127.0.0.1:0"]);
    command.current_dir(folder.path()).env("ADIEU_METRICS_LISTEN", "127.0.0.1:0");
    let mut server = Running(command.spawn().unwrap());
    let mut lines = BufReader::new(server.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    let address = |line: String| line.split_once("http://").unwrap().1.trim_end_matches("/metrics").parse().unwrap();
    let for_clients: SocketAddr = address(lines.next().unwrap());
    let for_monitoring: SocketAddr = address(lines.find(|line| line.starts_with("metrics: ")).unwrap());

    assert!(get(for_clients, "/livez").starts_with("HTTP/1.1 200 "));
    assert!(get(for_clients, "/metrics").starts_with("HTTP/1.1 404 "));
    assert!(get(for_monitoring, "/livez").starts_with("HTTP/1.1 404 "));
    let metrics = get(for_monitoring, "/metrics");
    assert!(metrics.starts_with("HTTP/1.1 200 ") && metrics.contains("application/openmetrics-text"), "{metrics}");
    assert!(metrics.contains("route=\"/livez\""), "{metrics}");

    let kill = Command::new("kill").args(["-s", "TERM", &server.0.id().to_string()]).status().unwrap();
    assert!(kill.success());
    assert_eq!(server.0.wait().unwrap().code(), Some(0));
}

/// With everything else, so that administrators can log in there.
#[test]
fn console_listen_says_where_the_console_is() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = adieu(&["--listen", "127.0.0.1:0"]);
    command.current_dir(folder.path()).env("ADIEU_CONSOLE_LISTEN", "127.0.0.1:0");
    let mut server = Running(command.spawn().unwrap());
    let mut lines = BufReader::new(server.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    let address = |line: String| line.split_once("http://").unwrap().1.trim_end_matches("/console").parse().unwrap();
    let for_clients: SocketAddr = address(lines.next().unwrap());
    let for_administrators: SocketAddr = address(lines.find(|line| line.starts_with("console: ")).unwrap());

    for path in ["/livez", "/account", "/.well-known/jwks.json"] {
        for address in [for_clients, for_administrators] {
            let answer = get(address, path);
            assert!(answer.starts_with("HTTP/1.1 200 ") || answer.contains("<form"), "{path}: {answer}");
        }
    }
    for path in ["/console", "/console/users", "/console/keys"] {
        assert!(get(for_clients, path).starts_with("HTTP/1.1 404 "), "{path}");
        let entrance = get(for_administrators, path);
        assert!(entrance.contains("<form") && !entrance.starts_with("HTTP/1.1 404 "), "{path}: {entrance}");
    }
    let kill = Command::new("kill").args(["-s", "TERM", &server.0.id().to_string()]).status().unwrap();
    assert!(kill.success());
    assert_eq!(server.0.wait().unwrap().code(), Some(0));
}

#[test]
fn without_metrics_listen_there_are_none() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Running(adieu(&["--listen", "127.0.0.1:0"]).current_dir(folder.path()).spawn().unwrap());
    let lines: Vec<_> = BufReader::new(server.0.stdout.take().unwrap()).lines().map(Result::unwrap).take(4).collect();
    assert!(lines.iter().all(|line| !line.contains("metrics")), "{lines:?}");
}

/// The request has begun, because the server awaits its body; the body never arrives, and the timeout is half a minute.
#[test]
fn drain_timeout_says_how_long_what_was_begun_is_waited_for() {
    let mut stream = None;
    let log = log_of(&[("ADIEU_DRAIN_TIMEOUT", "50ms")], |address| {
        let mut half = TcpStream::connect(address).unwrap();
        let head = "POST /login HTTP/1.1\r\nhost: adieu\r\ncontent-length: 9\r\nexpect: 100-continue\r\n\r\n";
        half.write_all(head.as_bytes()).unwrap();
        let mut line = String::new();
        BufReader::new(&half).read_line(&mut line).unwrap();
        assert_eq!(line, "HTTP/1.1 100 Continue\r\n");
        stream = Some(half);
    });
    assert!(log.contains("abandoned=1"), "{log}");
}

/// A load balancer polls `/readyz` and removes this server, while the requests that it has already sent are still answered.
#[test]
fn shutdown_delay_says_how_long_a_server_that_is_not_ready_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = adieu(&["--listen", "127.0.0.1:0"]);
    command.current_dir(folder.path()).env("ADIEU_SHUTDOWN_DELAY", "1h");
    let mut server = Running(command.spawn().unwrap());
    let mut line = String::new();
    BufReader::new(server.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim_end().split_once("http://").unwrap().1.parse().unwrap();
    assert!(get(address, "/readyz").starts_with("HTTP/1.1 200 "));
    let kill = Command::new("kill").args(["-s", "TERM", &server.0.id().to_string()]).status().unwrap();
    assert!(kill.success());
    let not_ready = loop {
        let answer = get(address, "/readyz");
        if !answer.starts_with("HTTP/1.1 200 ") {
            break answer;
        }
    };
    assert!(not_ready.starts_with("HTTP/1.1 503 "), "{not_ready}");
    assert!(not_ready.contains("This server is about to stop."), "{not_ready}");
    assert!(get(address, "/livez").starts_with("HTTP/1.1 200 "), "new connections are still taken");
    assert_eq!(server.0.try_wait().unwrap(), None);
}

#[cfg(target_os = "linux")]
#[test]
fn hashing_threads_says_how_many_hash_at_once() {
    for count in ["1", "3"] {
        let folder = tempfile::tempdir().unwrap();
        let mut command = adieu(&["--listen", "127.0.0.1:0"]);
        let mut server =
            Running(command.current_dir(folder.path()).env("ADIEU_HASHING_THREADS", count).spawn().unwrap());
        BufReader::new(server.0.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();
        let threads = std::fs::read_dir(format!("/proc/{}/task", server.0.id())).unwrap();
        let names = threads.filter_map(|thread| std::fs::read_to_string(thread.unwrap().path().join("comm")).ok());
        assert_eq!(names.filter(|name| name.starts_with("adieu-hasher")).count().to_string(), count);
    }
}

#[cfg(unix)]
#[test]
fn more_connections_than_files_may_be_open_are_warned_about() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 200; exec \"$0\" --listen 127.0.0.1:0", env!("CARGO_BIN_EXE_adieu")]);
    command.current_dir(folder.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut server = Running(command.spawn().unwrap());
    let mut lines = BufReader::new(server.0.stderr.take().unwrap()).lines().map(Result::unwrap);
    let line = lines.find(|line| line.contains("RLIMIT_NOFILE")).expect("no warning was logged");
    assert!(line.contains("allowed=136"), "{line}");
}

/// A server with a socket in place of systemd's, on which every message is awaited.
#[cfg(unix)]
struct Supervised {
    process: Running,
    address: SocketAddr,
    messages: UnixDatagram,
    _folder: tempfile::TempDir,
}

#[cfg(unix)]
impl Supervised {
    fn start(settings: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("notify");
        let messages = UnixDatagram::bind(&socket).unwrap();
        let mut command = adieu(&["--listen", "127.0.0.1:0"]);
        command.current_dir(folder.path()).env("NOTIFY_SOCKET", socket).envs(settings.iter().copied());
        let mut process = Running(command.spawn().unwrap());
        let mut line = String::new();
        BufReader::new(process.0.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim_end().split_once("http://").unwrap().1.parse().unwrap();
        Self { process, address, messages, _folder: folder }
    }

    fn message(&self) -> String {
        let mut bytes = [0; 64];
        let length = self.messages.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..length].to_vec()).unwrap().trim_end().to_owned()
    }
}

#[cfg(unix)]
fn send(signal: &str, process: &Running) {
    assert!(Command::new("kill").args(["-s", signal, &process.0.id().to_string()]).status().unwrap().success());
}

/// While the requests in progress are answered, systemd goes on to wait for signs of life.
#[cfg(unix)]
#[test]
fn systemd_hears_that_it_is_ready_alive_and_stopping() {
    let server = Supervised::start(&[("WATCHDOG_USEC", "20000"), ("ADIEU_SHUTDOWN_DELAY", "1h")]);
    assert_eq!(server.message(), "READY=1");
    assert!(get(server.address, "/readyz").starts_with("HTTP/1.1 200 "));
    for _ in 0..3 {
        assert_eq!(server.message(), "WATCHDOG=1");
    }
    send("TERM", &server.process);
    while server.message() != "STOPPING=1" {}
    for _ in 0..3 {
        assert_eq!(server.message(), "WATCHDOG=1");
    }
}

/// The time tells systemd which reload is meant (`Type=notify-reload`).
#[cfg(unix)]
fn reloads(server: &Supervised) {
    send("HUP", &server.process);
    let begun = server.message();
    let time = begun.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect(&begun);
    assert!(time.parse::<u64>().is_ok(), "{begun}");
    assert_eq!(server.message(), "READY=1");
    assert!(get(server.address, "/readyz").starts_with("HTTP/1.1 200 "));
}

#[cfg(unix)]
#[test]
fn systemd_hears_of_a_reload() {
    let server = Supervised::start(&[]);
    assert_eq!(server.message(), "READY=1");
    reloads(&server);
}

/// Everything is in the command, as in the book; without the URL of a node there is nothing to relay.
#[test]
fn a_relay_is_started_by_its_command() {
    let folder = tempfile::tempdir().unwrap();
    let command = |arguments: &[&str]| {
        let mut command = adieu(arguments);
        command.current_dir(folder.path());
        command
    };
    let output = command(&["relay", "--listen", "127.0.0.1:0"]).output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(message, "error: a relay needs the URL of the node that it follows\n");

    let added =
        command(&["client", "add", "relay", "--capabilities", "follow", "--create", "--json"]).output().unwrap();
    let added: serde_json::Value = serde_json::from_slice(&added.stdout).unwrap();
    std::fs::write(folder.path().join("secret"), added["secret"].as_str().unwrap()).unwrap();
    let url_of = |server: &mut Running| {
        let mut line = String::new();
        BufReader::new(server.0.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        line.trim_end().split_once(" listens on ").unwrap().1.to_owned()
    };
    let mut node = Running(command(&["--listen", "127.0.0.1:0"]).spawn().unwrap());
    let node_url = url_of(&mut node);
    let relay = ["relay", &node_url, "--client", "relay", "--secret-file", "secret", "--listen", "127.0.0.1:0"];
    // The command line comes before the environment.
    let mut relay = Running(command(&relay).env("ADIEU_FOLLOW", "http://127.0.0.1:1").spawn().unwrap());
    let relay_url = url_of(&mut relay);
    let address = |url: &str| url.strip_prefix("http://").unwrap().parse().unwrap();
    let keys = get(address(&node_url), "/.well-known/jwks.json");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while !get(address(&relay_url), "/readyz").starts_with("HTTP/1.1 200 ") {
        assert!(std::time::Instant::now() < deadline, "the relay does not get ready");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let of_relay = get(address(&relay_url), "/.well-known/jwks.json");
    assert_eq!(of_relay.split_once("\r\n\r\n").unwrap().1, keys.split_once("\r\n\r\n").unwrap().1);
}

/// A relay is not ready before it has read the log of its node, which is suspended here.
#[cfg(unix)]
#[test]
fn systemd_does_not_hear_that_it_is_ready_before_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let added = adieu(&["client", "add", "relay", "--capabilities", "follow", "--create", "--json"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    let added: serde_json::Value = serde_json::from_slice(&added.stdout).unwrap();
    let mut node = Running(adieu(&["--listen", "127.0.0.1:0"]).current_dir(folder.path()).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(node.0.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    send("STOP", &node);

    let relay = Supervised::start(&[
        ("ADIEU_FOLLOW", line.trim_end().split_once(" listens on ").unwrap().1),
        ("ADIEU_FOLLOW_CLIENT", "relay"),
        ("ADIEU_FOLLOW_SECRET", added["secret"].as_str().unwrap()),
    ]);
    assert!(get(relay.address, "/readyz").starts_with("HTTP/1.1 503 "));
    relay.messages.set_nonblocking(true).unwrap();
    assert_eq!(relay.messages.recv(&mut [0; 64]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    relay.messages.set_nonblocking(false).unwrap();

    send("CONT", &node);
    assert_eq!(relay.message(), "READY=1");
    assert!(get(relay.address, "/readyz").starts_with("HTTP/1.1 200 "));
    reloads(&relay);
}
