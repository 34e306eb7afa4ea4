//! The connection to a server on another machine is encrypted and its certificate verified, unless the URL says otherwise: the password
//! is sent to no other server.
//!
//! `0.0.0.0` leads to this machine, but only a lookup shows that: it stands for another machine.

use std::{fs, process::Command};

use adieu::Error;
use adieu_postgres::Postgres;
use test_servers::make_certificate;

use crate::engine::{behind_its_back, connected};

const ELSEWHERE: &str = "0.0.0.0";

fn elsewhere(server: &test_servers::Postgres, parameters: &str) -> String {
    format!("{}?{parameters}", server.url().replace("127.0.0.1", ELSEWHERE))
}

async fn refusal(url: &str) -> String {
    match Postgres::connect(url).await {
        Err(error @ (Error::InvalidSetting(_) | Error::UnsuitableServer(_))) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

/// The server acts as a man in the middle: it offers no encryption, and asks for the password in plain text.
#[tokio::test]
async fn a_password_is_not_sent_to_a_server_that_does_not_encrypt() {
    let server = test_servers::Postgres::start_with(&[("log_connections", "on"), ("ssl", "off")]).await;
    for parameters in ["", "sslmode=require", "sslmode=verify-ca", "sslmode=verify-full"] {
        let before = server.log().matches("connection authenticated").count();
        let sentence = refusal(&elsewhere(&server, parameters)).await;
        assert!(sentence.contains("does not encrypt") && sentence.contains("sslmode"), "{sentence}");
        assert_eq!(server.log().matches("connection authenticated").count(), before, "{parameters}");
    }
    // The URL can allow it; and on this machine there is no network to listen on.
    for url in [elsewhere(&server, "sslmode=disable"), elsewhere(&server, "sslmode=prefer"), server.url()] {
        Postgres::connect(&url).await.unwrap().check().await.unwrap();
    }
}

#[tokio::test]
async fn a_certificate_is_verified_unless_the_url_says_otherwise() {
    let server = test_servers::Postgres::start().await;
    let folder = tempfile::tempdir().unwrap();
    make_certificate(folder.path(), ELSEWHERE);
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    // The server reads the files as the user that it runs as.
    fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let user = format!("--reference=/proc/{}", server.pid().unwrap());
    let given = Command::new("chown").arg(user).args([file("key.pem"), file("certificate.pem")]).status().unwrap();
    assert!(given.success());
    for (name, value) in
        [("ssl_cert_file", file("certificate.pem")), ("ssl_key_file", file("key.pem")), ("ssl", "on".to_owned())]
    {
        behind_its_back(&server.url(), &format!("ALTER SYSTEM SET {name} = '{value}'")).await;
    }
    behind_its_back(&server.url(), "SELECT pg_reload_conf()").await;
    let ready = "SELECT count(*) FROM pg_settings WHERE name = 'ssl' AND setting = 'on'";
    while connected(&server.url()).await.number(ready).await == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }

    let root = format!("sslrootcert={}", file("certificate.pem"));
    for parameters in [root.clone(), format!("sslmode=require&{root}"), "sslmode=require".to_owned()] {
        Postgres::connect(&elsewhere(&server, &parameters)).await.unwrap().check().await.unwrap();
    }
    // An authority that has not signed the certificate.
    let other = tempfile::tempdir().unwrap();
    make_certificate(other.path(), ELSEWHERE);
    let other = format!("sslrootcert={}", other.path().join("certificate.pem").display());
    for parameters in [String::new(), other.clone(), format!("sslmode=require&{other}")] {
        let sentence = refusal(&elsewhere(&server, &parameters)).await;
        assert!(sentence.contains("certificate"), "{sentence}");
    }
}
