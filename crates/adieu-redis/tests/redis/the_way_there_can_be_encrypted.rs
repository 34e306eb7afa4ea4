//! `rediss://` connects only to a server with a trusted certificate.

use std::net::TcpListener;

use adieu::Error;
use adieu_redis::Redis;
use test_servers::{Redis as Server, make_certificate};

#[tokio::test]
async fn to_a_server_whose_certificate_is_believed_and_to_no_other() {
    let folder = tempfile::tempdir().unwrap();
    make_certificate(folder.path(), "127.0.0.1");
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
