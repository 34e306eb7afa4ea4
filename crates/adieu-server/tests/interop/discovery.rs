//! Standard clients of OAuth 2.0 configure themselves from the issuer's URL alone.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use test_servers::adieu::{Adieu, Credentials, Tokens};
use tokio::process::Command;

struct Server {
    server: Adieu,
    issuer: String,
    client: Credentials,
}

impl Server {
    /// Starts a server whose issuer is its own address.
    async fn start() -> Self {
        let server = Adieu::new(env!("CARGO_BIN_EXE_adieu"));
        let issuer = format!("http://{}", server.address());
        let server = server.with("ADIEU_ISSUER", &issuer).with("ADIEU_AUDIENCE", "shop").start().await;
        let client = server.add_client("shop", "introspect").await;
        server.register("jose").await;
        Self { server, issuer, client }
    }

    /// Runs a script with the issuer, the client and the tokens as arguments. Returns the JSON that it prints.
    async fn tell(&self, program: &Path, script: &Path, tokens: &[&Tokens]) -> Value {
        let mut command = Command::new(program);
        command.arg(script).args([&self.issuer, &self.client.name, &self.client.secret]);
        let output = command.args(tokens.iter().map(|tokens| &tokens.access)).output().await.unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{error}; scripts/test installs what it needs");
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop")
}

#[tokio::test]
async fn openid_client_and_oauth4webapi_are_configured_by_the_url_of_the_issuer() {
    let server = Server::start().await;
    let tokens = [server.server.log_in_for_both("jose").await, server.server.log_in_for_both("jose").await];
    // Beside the packages, where Node looks for them.
    let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../clients/node/node_modules");
    let script = installed.join(format!("discovery-{}.mjs", std::process::id()));
    std::fs::copy(here().join("discovery.mjs"), &script).unwrap();
    let told = server.tell(Path::new("node"), &script, &[&tokens[0], &tokens[1]]).await;
    std::fs::remove_file(script).unwrap();
    assert_eq!(told, json!({"openid-client": [true, false], "oauth4webapi": [true, false]}));
    for tokens in tokens {
        assert_eq!(server.server.verify(&tokens.access).await.0, 401);
        assert_eq!(server.server.refresh(&tokens.refresh).await, Err(401));
    }
}

#[tokio::test]
async fn authlib_and_pyjwt_are_configured_by_the_url_of_the_issuer() {
    let server = Server::start().await;
    let tokens = server.server.log_in_for_both("jose").await;
    let python = super::flask::python();
    let told = server.tell(&python, &here().join("discovery.py"), &[&tokens]).await;
    assert_eq!(told["Authlib"], json!([true, 200, false]), "{told}");
    assert_eq!(server.server.verify(&tokens.access).await.0, 401);
    assert_eq!(server.server.refresh(&tokens.refresh).await, Err(401));
}
