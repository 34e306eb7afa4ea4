//! A user logs out at an OpenID provider, npm's `oidc-provider`, and Adieu rejects the access tokens of that session.

use std::{path::Path, process::Stdio};

use serde_json::{Value, json};
use test_servers::adieu::Adieu;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

/// The provider, with one user who has logged in in two browsers; killed when dropped.
pub(crate) struct Provider {
    pub(crate) issuer: String,
    /// The access tokens of the browsers.
    pub(crate) tokens: [String; 2],
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    _process: Child,
    _script: tempfile::TempPath,
}

impl Provider {
    /// Starts a provider that sends logout tokens to this URL.
    pub(crate) async fn start(backchannel_logout_uri: &str) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        // Beside the packages, where Node looks for them.
        let installed = root.join("../../clients/node/node_modules");
        let script = tempfile::Builder::new().suffix(".mjs").tempfile_in(installed).unwrap().into_temp_path();
        std::fs::copy(root.join("tests/interop/provider.mjs"), &script).unwrap();
        let mut command = Command::new("node");
        command.arg(&script).arg(backchannel_logout_uri).kill_on_drop(true);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let input = process.stdin.take().unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap()).lines();
        let first = next(&mut output).await;
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let (issuer, tokens) = (text(&first["issuer"]), [0, 1].map(|browser| text(&first["tokens"][browser])));
        Self { issuer, tokens, input, output, _process: process, _script: script }
    }

    /// Logs the user out in the first browser.
    pub(crate) async fn log_out(&mut self) {
        self.input.write_all(b"\n").await.unwrap();
        assert_eq!(next(&mut self.output).await, json!({ "status": 200 }));
    }
}

/// Reads the next line of the script. The provider prints hints for production between them.
async fn next(output: &mut Lines<BufReader<ChildStdout>>) -> Value {
    loop {
        let line = output.next_line().await.unwrap().expect("scripts/test installs what it needs");
        if line.starts_with('{') {
            return serde_json::from_str(&line).unwrap();
        }
    }
}

#[tokio::test]
async fn a_logout_at_oidc_provider_ends_the_tokens_of_that_session() {
    let server = Adieu::new(env!("CARGO_BIN_EXE_adieu"));
    let mut provider = Provider::start(&server.url("/backchannel-logout")).await;
    let issuer = format!(
        r#"[{{ discovery = "{}", audience = "api", max_lifetime = "1h", events = ["backchannel-logout"], event_audience = ["shop"] }}]"#,
        provider.issuer
    );
    let server = server.with("ADIEU_TRUSTED_ISSUER", issuer).start().await;
    let [first, second] = provider.tokens.clone();
    server.becomes("the keys are known", async || server.verify(&first).await.0 == 204).await;
    assert_eq!(server.verify(&second).await.0, 204);

    provider.log_out().await;
    // The provider answers the browser once Adieu has answered it.
    assert_eq!(server.verify(&first).await, (401, "token_revoked".to_owned()));
    assert_eq!(server.verify(&second).await.0, 204, "the session of the other browser");
}
