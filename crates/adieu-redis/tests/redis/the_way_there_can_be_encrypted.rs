//! `rediss://` connects only to a server with a trusted certificate.

use std::{net::TcpListener, path::Path, process::Command};

use adieu::Error;
use adieu_redis::Redis;
use test_servers::Redis as Server;

/// Makes a self-signed certificate for this machine, and its key.
fn make_certificate(folder: &Path) {
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=adieu.test", "-addext", "subjectAltName=IP:127.0.0.1"])
        // A CA certificate is rejected as a server's.
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout", "key.pem", "-out", "certificate.pem"])
        .current_dir(folder)
        .output()
        .expect("openssl is needed: run scripts/test, or apt-get install openssl");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

#[tokio::test]
async fn to_a_server_whose_certificate_is_believed_and_to_no_other() {
    let folder = tempfile::tempdir().unwrap();
    make_certificate(folder.path());
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let _server = Server::start_with(&[
        ("tls-port", &port.to_string()),
        ("tls-cert-file", &file("certificate.pem")),
        ("tls-key-file", &file("key.pem")),
        ("tls-ca-cert-file", &file("certificate.pem")),
        ("tls-auth-clients", "no"),
    ])
    .await;
    let url = format!("rediss://127.0.0.1:{port}/");
    let certificate = std::fs::read(file("certificate.pem")).unwrap();
    let store = Redis::builder(&url).with_root_certificates(certificate).connect().await.unwrap();
    store.check().await.unwrap();
    // The system does not trust it.
    assert!(matches!(Redis::connect(&url).await, Err(Error::Unavailable(_))));
    let nonsense = Redis::builder(&url).with_root_certificates("nonsense").connect().await;
    assert!(nonsense.is_err(), "{nonsense:?}");
}
