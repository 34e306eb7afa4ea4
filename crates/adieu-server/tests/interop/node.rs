//! A node of Adieu: the binary, on the store that the adieu-axum application has open too.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    time::timeout,
};

use crate::{api::TEST_TIMEOUT, axum_app::ISSUER};

pub(crate) struct AdieuNode {
    data: PathBuf,
    address: String,
    #[expect(dead_code, reason = "runs for as long as it is there")]
    process: Child,
}

impl AdieuNode {
    pub(crate) async fn start(data: &Path) -> Self {
        let mut command = adieu(data);
        let mut process = command
            .args(["serve", "--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let address = timeout(TEST_TIMEOUT, async {
            loop {
                let line = lines.next_line().await.unwrap().expect("it says where it listens");
                if let Some((_, rest)) = line.split_once("http://127.0.0.1:") {
                    let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
                    return format!("http://127.0.0.1:{port}");
                }
            }
        });
        let address = address.await.unwrap();
        // Keep reading, so that it never blocks on a full pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self { data: data.to_owned(), address, process }
    }

    /// Adds a service with this name that may follow and revoke; returns the settings of the Python client.
    pub(crate) async fn add_service(&self, name: &str) -> Value {
        let mut command = adieu(&self.data);
        let output = command.args(["client", "add", name, "--can", "follow,revoke"]).output().await.unwrap();
        assert!(output.status.success(), "{output:?}");
        let output = String::from_utf8(output.stdout).unwrap();
        let secret = output.trim().lines().next_back().unwrap();
        json!({ "url": self.address, "client_id": name, "secret": secret })
    }
}

fn adieu(data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_adieu"));
    command.env("ADIEU_DATA", data).env("ADIEU_ISSUER", ISSUER).env("ADIEU_LOG_LEVEL", "error");
    command
}
