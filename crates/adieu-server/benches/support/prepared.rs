//! A server with tokens.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use adieu::{
    Issuer, Subject,
    session::Scope,
    time::{Clock as _, SystemClock},
    token::{Algorithm, Claims, SigningKey, TokenType, encode},
};
use adieu_server::{
    config::{Flags, Settings},
    node::Node,
};
use test_servers::adieu::Adieu;

use crate::load::Address;

pub(crate) const CONNECTIONS: usize = 64;
/// The issuer that signs with a shared secret. The server's own tokens have a public key.
const SHOP: &str = "shop";
pub(crate) const SECRET: &str = "a secret of the length that HS256 requires";

/// A server with tokens that it accepts, and tokens of sessions that have been logged out.
pub(crate) struct Prepared {
    pub(crate) server: Adieu,
    /// Tokens that it has signed with EdDSA.
    pub(crate) valid: Vec<String>,
    pub(crate) revoked: Vec<String>,
    folder: tempfile::TempDir,
}

impl Prepared {
    pub(crate) fn tcp(&self) -> Address {
        Address::Tcp(self.server.address().to_owned())
    }

    pub(crate) fn unix(&self) -> Address {
        Address::Unix(socket(self.folder.path()))
    }
}

fn socket(folder: &Path) -> PathBuf {
    folder.join("adieu.sock")
}

/// Starts a server with this log level.
pub(crate) async fn start(log_level: &str) -> Prepared {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (data, secret) = (folder.path().join("data"), folder.path().join("secret"));
    std::fs::write(&secret, SECRET).unwrap();
    let flags = Flags { data: Some(data.to_str().unwrap().to_owned()), ..Flags::default() };
    let node = Node::open(&Settings::load(&flags, []).unwrap()).await.unwrap();
    let (mut valid, mut revoked) = (Vec::new(), Vec::new());
    for number in 0..CONNECTIONS {
        let subject = Subject::new(format!("user-{number}")).unwrap();
        valid.push(node.sessions.log_in(subject.clone()).await.unwrap().access);
        let ended = node.sessions.log_in(subject).await.unwrap().access;
        node.sessions.log_out(&ended, Scope::This).await.unwrap();
        revoked.push(ended);
    }
    node.close().await;
    drop(node);
    let issuers = format!("[{{ name = \"{SHOP}\", secret_file = \"{}\" }}]", secret.display());
    let server = Adieu::new(env!("CARGO_BIN_EXE_adieu")).with_data(&data).with_unix_socket(&socket(folder.path()));
    let server = server.with("ADIEU_LOG_LEVEL", log_level).with("ADIEU_TRUSTED_ISSUER", issuers).start().await;
    Prepared { server, valid, revoked, folder }
}

/// Returns a token that is signed with the shared secret, and that the server accepts.
pub(crate) fn hs256_token(subject: &str) -> (String, Claims) {
    let key = SigningKey::from_secret(Algorithm::HS256, SECRET.as_bytes()).unwrap();
    let (issuer, subject) = (Issuer::new(SHOP).unwrap(), Subject::new(subject).unwrap());
    let claims = Claims::new(issuer, subject, TokenType::Access, SystemClock.now(), Duration::from_secs(3600));
    (encode(&key, &claims).unwrap(), claims)
}

/// Returns a token for each connection.
pub(crate) fn hs256_tokens() -> Vec<String> {
    (0..CONNECTIONS).map(|number| hs256_token(&format!("user-{number}")).0).collect()
}
