//! `adieu health`

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpListener,
    process::{Child, Stdio},
    thread,
};

use test_servers::make_certificate;

use crate::support::Place;

/// A server in the folder of a place, which is killed when it is dropped.
struct Running {
    process: Child,
    /// Its first address.
    address: String,
}

impl Running {
    fn start(place: &Place, variables: &[(&str, &str)]) -> Self {
        let mut command = place.command(&["serve"]);
        let mut process = command.envs(variables.iter().copied()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let address = line.split_once("://").expect(&line).1.split_whitespace().next().unwrap().to_owned();
        Self { process, address }
    }

    fn signal(&self, signal: &str) {
        let kill = std::process::Command::new("kill").args(["-s", signal, &self.process.id().to_string()]).status();
        assert!(kill.unwrap().success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ended_already = self.process.kill();
        let _status = self.process.wait();
    }
}

/// Answers one request with these bytes, and returns the URL.
fn answering(response: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _read = stream.read(&mut [0; 4096]);
        let _written = stream.write_all(response.as_bytes());
    });
    url
}

#[test]
fn a_node_is_found_by_its_settings_and_by_its_url() {
    let place = Place::empty();
    let socket = format!("unix:{}", place.path("a.sock").display());
    let check = |arguments: &[&str], listen: &str, tls: bool| {
        let mut command = place.command(&[&["health"], arguments].concat());
        command.env("ADIEU_LISTEN", listen);
        if tls {
            command.env("ADIEU_TLS_CERTIFICATE", "certificate.pem").env("ADIEU_TLS_KEY", "key.pem");
        }
        Place::finish(command, b"")
    };
    let server = Running::start(&place, &[("ADIEU_LISTEN", &format!("127.0.0.1:0,{socket}"))]);
    let address = &server.address;
    let (url, port) = (format!("http://{address}"), address.rsplit_once(':').unwrap().1);
    for (arguments, listen, expected) in [
        (&[][..], &*format!("{address},{socket}"), &url),
        (&[], &format!("0.0.0.0:{}", port), &url),
        (&[], &socket, &socket),
        (&[&*socket], "127.0.0.1:1", &socket),
        (&[&*format!("{url}/")], "wrong", &url),
        (&["--listen", address], "127.0.0.1:1", &url),
    ] {
        assert_eq!(
            check(arguments, listen, false).succeeded().stdout,
            format!("{expected} is ready\n"),
            "{arguments:?}"
        );
    }
    drop(server);

    // Its certificate is for another host than the one that is asked.
    make_certificate(&place.path(""), "192.0.2.7");
    let tls =
        [("ADIEU_TLS_CERTIFICATE", "certificate.pem"), ("ADIEU_TLS_KEY", "key.pem"), ("ADIEU_LISTEN", "127.0.0.1:0")];
    let server = Running::start(&place, &tls);
    let address = &server.address;
    assert_eq!(check(&[], address, true).succeeded().stdout, format!("https://{address} is ready\n"));
    let message = check(&[&format!("https://{address}")], address, true).failed();
    assert!(
        message.starts_with(&format!("https://{address} is not ready: ")) && message.contains("certificate"),
        "{message}"
    );
    let message = check(&[], address, false).failed();
    assert!(message.starts_with(&format!("http://{address} is not ready: ")), "{message}");
}

#[test]
fn a_node_that_is_frozen_leaving_or_gone_is_not_ready() {
    let place = Place::empty();
    let mut server = Running::start(&place, &[("ADIEU_LISTEN", "127.0.0.1:0"), ("ADIEU_SHUTDOWN_DELAY", "1h")]);
    let listen = server.address.clone();
    let check = |arguments: &[&str]| place.run(&[&["health", "--listen", &listen], arguments].concat());
    check(&[]).succeeded();

    server.signal("STOP");
    let message = check(&["--timeout", "200ms"]).failed();
    assert_eq!(message, format!("http://{listen} is not ready: no response within 200ms"));
    server.signal("CONT");
    check(&[]).succeeded();

    server.signal("TERM");
    let leaving = format!("http://{listen} is not ready: status 503, This server is about to stop.");
    loop {
        let done = check(&[]);
        if done.status == 1 {
            assert_eq!(done.failed(), leaving);
            break;
        }
    }
    server.process.kill().unwrap();
    server.process.wait().unwrap();
    let message = check(&[]).failed();
    assert!(message.contains("Connection refused"), "{message}");
}

#[test]
fn another_response_is_not_ready_and_is_shown_in_one_line() {
    let place = Place::empty();
    for (response, expected) in [
        ("HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 0\r\n\r\n", "status 302"),
        ("HTTP/1.1 404 Not Found\r\ncontent-length: 5\r\n\r\nhello", "status 404"),
        (
            "HTTP/1.1 503 \r\ncontent-length: 29\r\n\r\n{\"message\":\"a\\nb\\u001b[31m\" }  ",
            "status 503, a\\u{a}b\\u{1b}[31m",
        ),
        ("HTTP/1.1 503 \r\nconnection: close\r\n\r\n{\"message\":7", "status 503"),
        ("SSH-2.0-OpenSSH_9.2\r\n", "error sending request"),
    ] {
        let url = answering(response);
        let message = place.run(&["health", &url]).failed();
        assert!(message.starts_with(&format!("{url} is not ready: {expected}")), "{message}");
    }
    for (url, expected) in [
        ("login.example", "login.example: not a URL: "),
        ("ftp://login.example", "ftp://login.example: a URL must begin with https:// or http://, or unix: and a path"),
        ("unix:adieu.sock", "unix: must be followed by an absolute path"),
        ("unix:/nowhere/adieu.sock", "unix:/nowhere/adieu.sock is not ready: "),
    ] {
        let message = place.run(&["health", url]).failed();
        assert!(message.starts_with(expected), "{message}");
    }
    assert_eq!(place.run(&["health", "--timeout", "soon"]).status, 2);
    let message = place.run(&["health", "--listen", "127.0.0.1:0"]).failed();
    assert_eq!(message, "the system chooses the port of 127.0.0.1:0; name the URL");
    let message = place.run(&["health", "http://jose:s3cret@127.0.0.1:1"]).failed();
    assert!(!message.contains("s3cret"), "{message}");
}
