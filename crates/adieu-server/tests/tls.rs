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

use base64::prelude::{BASE64_STANDARD, Engine as _};
use reqwest::{Certificate, Client, Identity, Method, Version};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use test_servers::{Validity, make_authority, make_certificate, make_client_certificate, until};

const CLIENT_CA: &str = "ADIEU_TLS_CLIENT_CA";

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
        Self::start_in(tempfile::tempdir().unwrap(), variables)
    }

    fn start_in(folder: TempDir, variables: &[(&str, &str)]) -> Self {
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

    /// Sends a request with `openssl s_client` and these options, and returns all that it prints.
    fn ask_for_liveness(&self, options: &[&str]) -> String {
        let mut openssl = Command::new("openssl");
        openssl.args(["s_client", "-connect", &self.address, "-CAfile", "certificate.pem", "-ign_eof"]);
        openssl.args(options).current_dir(self.folder.path());
        openssl.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut openssl = openssl.spawn().unwrap();
        // It may have ended already.
        let request = b"GET /livez HTTP/1.1\r\nHost: adieu\r\nConnection: close\r\n\r\n";
        let _sent = openssl.stdin.take().unwrap().write_all(request);
        String::from_utf8_lossy(&openssl.wait_with_output().unwrap().stdout).into_owned()
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
    let server = Server::start(&[("ADIEU_HEADER_TIMEOUT", "2s")]);
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
    let [certificate, key, client_ca] = ["ADIEU_TLS_CERTIFICATE", "ADIEU_TLS_KEY", CLIENT_CA];
    for (message, expected) in [
        (refusal(&[], &[key]), "error: tls_certificate is set, so tls_key is needed too"),
        (refusal(&[], &[certificate]), "error: tls_key is set, so tls_certificate is needed too"),
        (refusal(&[(key, "nothing.pem")], &[]), "error: cannot read nothing.pem (tls_key): "),
        (refusal(&[(certificate, "nothing.pem")], &[]), "error: cannot read nothing.pem (tls_certificate): "),
        (refusal(&[(certificate, "empty.pem")], &[]), "error: tls_certificate is not a certificate in PEM"),
        (refusal(&[(certificate, "key.pem")], &[]), "error: tls_certificate is not a certificate in PEM"),
        (refusal(&[(key, "certificate.pem")], &[]), "error: tls_key is not a private key in PEM"),
        (refusal(&[(key, "other.pem")], &[]), "error: tls_certificate and tls_key cannot be used together"),
        (
            refusal(&[(client_ca, "certificate.pem")], &[certificate, key]),
            "error: tls_client_ca is set, so tls_certificate is needed too",
        ),
        (refusal(&[(client_ca, "nothing.pem")], &[]), "error: cannot read nothing.pem (tls_client_ca): "),
        (refusal(&[(client_ca, "empty.pem")], &[]), "error: tls_client_ca is not a certificate in PEM"),
        (refusal(&[(client_ca, "key.pem")], &[]), "error: tls_client_ca is not a certificate in PEM"),
    ] {
        assert!(message.starts_with(expected), "{message}");
    }
}

/// A server that asks for certificates of the authority `clients`, and a client with its secret. In its folder are the certificates
/// `shop` of that authority, `old`, which has expired, and `stranger` of another authority.
struct Certified {
    server: Server,
    secret: String,
}

impl Certified {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for authority in ["clients", "strangers"] {
            make_authority(folder.path(), authority);
        }
        make_client_certificate(folder.path(), "clients", "shop", Validity::Current);
        make_client_certificate(folder.path(), "clients", "old", Validity::Expired);
        make_client_certificate(folder.path(), "strangers", "stranger", Validity::Current);
        let mut add = command(folder.path(), &[]);
        for name in ["ADIEU_TLS_CERTIFICATE", "ADIEU_TLS_KEY"] {
            add.env_remove(name);
        }
        let output = add.args(["client", "add", "shop", "--capabilities", "follow,revoke,introspect", "--create"]);
        let output = output.output().unwrap();
        let secret = String::from_utf8(output.stdout).unwrap().lines().last().unwrap().to_owned();
        Self { server: Server::start_in(folder, &[(CLIENT_CA, "clients.pem")]), secret }
    }

    /// Returns a client with this certificate, or without one.
    fn client(&self, certificate: Option<&str>) -> Client {
        let client = self.server.client();
        let Some(name) = certificate else { return client.build().unwrap() };
        let file = |suffix: &str| fs::read(self.server.folder.path().join(format!("{name}{suffix}.pem"))).unwrap();
        let identity = Identity::from_pem(&[file(""), file("-key")].concat()).unwrap();
        client.identity(identity).build().unwrap()
    }

    /// Reads the feed with the secret; returns the status, or `None` if there is no connection.
    async fn read_feed(&self, certificate: Option<&str>) -> Option<u16> {
        let url = format!("https://{}/revocations?follower=one&max_staleness=2000", self.server.address);
        let request = self.client(certificate).get(url).basic_auth("shop", Some(&self.secret));
        request.send().await.ok().map(|response| response.status().as_u16())
    }
}

#[tokio::test]
async fn the_secret_of_a_client_is_of_no_use_without_a_certificate() {
    let place = Certified::start();
    let url = |path: &str| format!("https://{}{path}", place.server.address);
    let ask = async |certificate: Option<&str>, secret: &str, path: &str, body: &str| {
        let request = place.client(certificate).post(url(path)).basic_auth("shop", Some(secret)).body(body.to_owned());
        let media_type = if body.starts_with('{') { "application/json" } else { "application/x-www-form-urlencoded" };
        let response = request.header("content-type", media_type).send().await.unwrap();
        let status = response.status().as_u16();
        (status, response.json::<Value>().await.unwrap())
    };
    assert_eq!(place.read_feed(Some("shop")).await, Some(200));
    assert_eq!(place.read_feed(None).await, Some(403));
    let revocation = r#"{"token_id": "one"}"#;
    let in_form = format!("token=x&client_id=shop&client_secret={}", place.secret);
    for secret in [place.secret.as_str(), "wrong"] {
        let (status, body) = ask(None, secret, "/revocations", revocation).await;
        assert_eq!((status, body["message"].as_str()), (403, Some("A client certificate is required.")));
        for path in ["/introspect", "/revoke"] {
            let (status, body) = ask(None, secret, path, "token=x").await;
            assert_eq!((status, &body["error"]), (401, &json!("invalid_client")), "{path}");
            assert_eq!(body["error_description"], "A client certificate is required.", "{path}");
        }
    }
    let response = place.client(None).post(url("/introspect")).body(in_form.clone());
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let response = response.header(form[0].0, form[0].1).send().await.unwrap();
    assert_eq!(response.status(), 401, "the secret in the form");
    let response = place.client(Some("shop")).post(url("/introspect")).body(in_form);
    assert_eq!(response.header(form[0].0, form[0].1).send().await.unwrap().status(), 200);
    assert_eq!(ask(Some("shop"), &place.secret, "/revocations", revocation).await.0, 200);
    assert_eq!(ask(Some("shop"), "wrong", "/revocations", revocation).await.0, 401, "a certificate replaces no secret");

    // Browsers and proxies have none.
    let client = place.client(None);
    let user = json!({ "username": "jose", "password": "correct horse" });
    assert_eq!(client.post(url("/register")).json(&user).send().await.unwrap().status(), 201);
    let tokens: Value = client.post(url("/login")).json(&user).send().await.unwrap().json().await.unwrap();
    let token = tokens["access_token"].as_str().unwrap();
    assert_eq!(client.get(url("/verify")).bearer_auth(token).send().await.unwrap().status(), 204);
    let form = [("token", tokens["refresh_token"].as_str().unwrap())];
    let body = format!("{}={}", form[0].0, form[0].1);
    let revoke = client.post(url("/revoke")).header("content-type", "application/x-www-form-urlencoded").body(body);
    assert_eq!(revoke.send().await.unwrap().status(), 200, "the holder of a token revokes it without a secret");

    // A process of this machine comes over the Unix socket, without TLS.
    let mut stream = UnixStream::connect(place.server.folder.path().join("adieu.sock")).unwrap();
    let credentials = BASE64_STANDARD.encode(format!("shop:{}", place.secret));
    let head = "GET /revocations?follower=two&max_staleness=2000 HTTP/1.1\r\nHost: adieu\r\nConnection: close\r\n";
    stream.write_all(format!("{head}Authorization: Basic {credentials}\r\n\r\n").as_bytes()).unwrap();
    assert!(read_all(&mut stream).starts_with(b"HTTP/1.1 200 "));
}

#[tokio::test]
async fn a_certificate_that_is_not_valid_ends_the_handshake() {
    let place = Certified::start();
    for name in ["stranger", "old"] {
        assert_eq!(place.read_feed(Some(name)).await, None, "{name}");
        let live = place.client(Some(name)).get(format!("https://{}/livez", place.server.address));
        assert!(live.send().await.is_err(), "{name}: not even without a secret");
        for version in ["-tls1_2", "-tls1_3"] {
            let (certificate, key) = (format!("{name}.pem"), format!("{name}-key.pem"));
            let output = place.server.ask_for_liveness(&[version, "-cert", &certificate, "-key", &key]);
            assert!(!output.contains("HTTP/1.1 200"), "{name} {version}: {output}");
        }
    }
    for version in ["-tls1_2", "-tls1_3"] {
        let output = place.server.ask_for_liveness(&[version, "-cert", "shop.pem", "-key", "shop-key.pem"]);
        assert!(output.contains("HTTP/1.1 200"), "{version}: {output}");
    }
}

/// The certificate of a session could have expired since its first connection.
#[test]
fn a_session_with_a_certificate_is_not_resumed() {
    let place = Certified::start();
    let asked = ["-cert", "shop.pem", "-key", "shop-key.pem", "-sess_out", "session"];
    for version in ["-tls1_2", "-tls1_3"] {
        let first = place.server.ask_for_liveness(&[&[version][..], &asked].concat());
        assert!(first.contains("New, TLSv1.") && first.contains("HTTP/1.1 200"), "{version}: {first}");
        if place.server.folder.path().join("session").exists() {
            let second = place.server.ask_for_liveness(&[version, "-sess_in", "session"]);
            assert!(second.contains("New, TLSv1.") && second.contains("HTTP/1.1 200"), "{version}: {second}");
        }
    }
}

#[tokio::test]
async fn other_authorities_hold_from_the_next_connection_on() {
    let place = Certified::start();
    let (folder, process) = (place.server.folder.path(), Pid::from_child(&place.server.process));
    fs::copy(folder.join("strangers.pem"), folder.join("clients.pem")).unwrap();
    kill_process(process, Signal::HUP).unwrap();
    until("the other authority counts", async || place.read_feed(Some("stranger")).await == Some(200)).await;
    assert_eq!(place.read_feed(Some("shop")).await, None);
    fs::write(folder.join("clients.pem"), "").unwrap();
    kill_process(process, Signal::HUP).unwrap();
    assert_eq!(place.read_feed(None).await, Some(403), "an unusable file changes nothing");
    assert_eq!(place.read_feed(Some("stranger")).await, Some(200));
}
