//! A server with a certificate speaks only TLS at its TCP addresses, within the same limits.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    fs,
    io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _},
    net::TcpStream,
    os::unix::net::UnixStream,
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use reqwest::{Certificate, Client, Method, Version};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use test_servers::make_certificate;

/// A server in a folder of its own, which has `certificate.pem` and `key.pem`.
struct Server {
    folder: TempDir,
    process: Child,
    address: String,
}

fn command(folder: &Path, variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_adieu"));
    command
        .current_dir(folder)
        .env_clear()
        .env("ADIEU_LISTEN", format!("127.0.0.1:0,unix:{}/adieu.sock", folder.display()));
    command.env("ADIEU_TLS_CERTIFICATE", "certificate.pem").env("ADIEU_TLS_KEY", "key.pem");
    command.envs(variables.iter().copied());
    command
}

impl Server {
    fn start(variables: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        make_certificate(folder.path(), "127.0.0.1");
        let mut process =
            command(folder.path(), variables).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map(Result::unwrap);
        let first = lines.next().unwrap();
        let address =
            first.split_once(" listens on https://").expect(&first).1.split_once(" and unix:").unwrap().0.to_owned();
        let second = lines.next().unwrap();
        assert!(second.ends_with(&format!("documentation at https://{address}/docs")), "{second}");
        Self { folder, process, address }
    }

    fn client(&self) -> reqwest::ClientBuilder {
        let certificate =
            Certificate::from_pem(&fs::read(self.folder.path().join("certificate.pem")).unwrap()).unwrap();
        Client::builder().no_proxy().tls_certs_only([certificate]).timeout(Duration::from_secs(30))
    }

    /// Runs `openssl s_client` with these options.
    fn handshake(&self, options: &[&str]) -> Output {
        let mut openssl = Command::new("openssl");
        openssl.args([
            "s_client",
            "-connect",
            &self.address,
            "-CAfile",
            "certificate.pem",
            "-verify_return_error",
            "-brief",
        ]);
        openssl.args(options).current_dir(self.folder.path()).stdin(Stdio::null()).output().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ended_already = self.process.kill();
        let _status = self.process.wait();
    }
}

#[tokio::test]
async fn users_log_in_and_out_over_tls() {
    let server = Server::start(&[]);
    let client = server.client().build().unwrap();
    let ask = async |path: &str, token: &str, body: Value| {
        let request = client.request(Method::POST, format!("https://{}{path}", server.address)).bearer_auth(token);
        let response = request.json(&body).send().await.unwrap();
        assert_eq!(response.version(), Version::HTTP_11);
        (response.status().as_u16(), response.json::<Value>().await.unwrap())
    };
    let user = json!({ "username": "jose", "password": "correct horse" });
    assert_eq!(ask("/register", "", user.clone()).await.0, 201);
    let (status, tokens) = ask("/login", "", user).await;
    assert_eq!(status, 200);
    let token = tokens["access_token"].as_str().unwrap();
    assert_eq!(ask("/logout", token, json!({})).await, (200, json!({ "message": "Successfully logged out" })));
    let (status, rejection) = ask("/logout", token, json!({})).await;
    assert_eq!((status, rejection["error"].as_str()), (401, Some("token_revoked")));
}

#[test]
fn only_current_versions_and_http_1_are_spoken() {
    let server = Server::start(&[]);
    for version in ["-tls1_2", "-tls1_3"] {
        let output = server.handshake(&[version, "-alpn", "h2,http/1.1"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("CONNECTION ESTABLISHED"), "{version}: {said}");
    }
    for options in [&["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"][..], &["-tls1_3", "-alpn", "h2"]] {
        assert!(!server.handshake(options).status.success(), "{options:?}");
    }
}

/// Reads until the server closes the connection.
fn read_all(stream: &mut impl std::io::Read) -> Vec<u8> {
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
    answer
}

#[test]
fn plain_requests_are_answered_only_at_the_unix_socket() {
    let server = Server::start(&[]);
    const REQUEST: &[u8] = b"GET /livez HTTP/1.1\r\nHost: adieu\r\nConnection: close\r\n\r\n";
    let mut stream = TcpStream::connect(&server.address).unwrap();
    stream.write_all(REQUEST).unwrap();
    assert!(!read_all(&mut stream).starts_with(b"HTTP/"));
    let mut stream = UnixStream::connect(server.folder.path().join("adieu.sock")).unwrap();
    stream.write_all(REQUEST).unwrap();
    assert!(read_all(&mut stream).starts_with(b"HTTP/1.1 200 "));
}

#[tokio::test]
async fn a_client_that_does_not_finish_its_handshake_is_disconnected_and_delays_no_stop() {
    let server = Server::start(&[("ADIEU_HEADER_TIMEOUT", "300ms")]);
    for begun in [&b""[..], b"\x16\x03\x01\x02\x00\x01", b"not TLS at all, and that is long enough to be seen\r\n\r\n"]
    {
        let mut stream = TcpStream::connect(&server.address).unwrap();
        stream.write_all(begun).unwrap();
        assert!(!read_all(&mut stream).starts_with(b"HTTP/"));
    }
    // Others are served meanwhile, and after that many.
    let _waiting: Vec<_> = (0..20).map(|_| TcpStream::connect(&server.address).unwrap()).collect();
    let url = format!("https://{}/livez", server.address);
    assert_eq!(server.client().build().unwrap().get(&url).send().await.unwrap().status(), 200);

    let mut server = Server::start(&[("ADIEU_HEADER_TIMEOUT", "10m"), ("ADIEU_DRAIN_TIMEOUT", "10m")]);
    let mut unfinished = TcpStream::connect(&server.address).unwrap();
    unfinished.write_all(b"\x16\x03\x01\x02\x00\x01").unwrap();
    kill_process(Pid::from_child(&server.process), Signal::TERM).unwrap();
    assert!(server.process.wait().unwrap().success());
    assert_eq!(unfinished.read(&mut [0; 100]).unwrap_or(0), 0);
}

#[test]
fn files_that_cannot_be_used_stop_the_start() {
    let folder = tempfile::tempdir().unwrap();
    make_certificate(folder.path(), "127.0.0.1");
    let other = tempfile::tempdir().unwrap();
    make_certificate(other.path(), "127.0.0.1");
    fs::copy(other.path().join("key.pem"), folder.path().join("other.pem")).unwrap();
    fs::write(folder.path().join("empty.pem"), "").unwrap();
    let refusal = |variables: &[(&str, &str)], without: &[&str]| {
        let mut command = command(folder.path(), variables);
        for name in without {
            command.env_remove(name);
        }
        let output = command.output().unwrap();
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), &b""[..]));
        // The line before may be a warning about the rights of a file.
        String::from_utf8(output.stderr).unwrap().lines().last().unwrap().to_owned()
    };
    let [certificate, key] = ["ADIEU_TLS_CERTIFICATE", "ADIEU_TLS_KEY"];
    for (message, expected) in [
        (refusal(&[], &[key]), "error: tls_certificate is set, so tls_key is needed too"),
        (refusal(&[], &[certificate]), "error: tls_key is set, so tls_certificate is needed too"),
        (refusal(&[(key, "nothing.pem")], &[]), "error: cannot read nothing.pem (tls_key): "),
        (refusal(&[(certificate, "nothing.pem")], &[]), "error: cannot read nothing.pem (tls_certificate): "),
        (refusal(&[(certificate, "empty.pem")], &[]), "error: tls_certificate is not a certificate in PEM"),
        (refusal(&[(certificate, "key.pem")], &[]), "error: tls_certificate is not a certificate in PEM"),
        (refusal(&[(key, "certificate.pem")], &[]), "error: tls_key is not a private key in PEM"),
        (refusal(&[(key, "other.pem")], &[]), "error: tls_certificate and tls_key cannot be used together"),
    ] {
        assert!(message.starts_with(expected), "{message}");
    }
}
