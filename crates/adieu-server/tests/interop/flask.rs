//! The application that uses Flask-JWT-Extended, as a process.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use serde_json::{Value, json};
use test_servers::TEST_TIMEOUT;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    process::{Child, Command},
    time::timeout,
};

use crate::{api::Api, key::SharedKey};

/// The environment variable with the Python that has Flask-JWT-Extended.
const PYTHON_VARIABLE: &str = "ADIEU_INTEROP_PYTHON";

pub(crate) struct FlaskApp {
    pub(crate) api: Api,
    #[expect(dead_code, reason = "runs for as long as it is there")]
    process: Child,
}

impl FlaskApp {
    /// Starts it without a source of revocations.
    pub(crate) async fn start(key: &SharedKey) -> Self {
        Self::start_with(json!({ "config": key.flask_config() })).await
    }

    /// Starts it as a follower of a node, with the client for Python.
    pub(crate) async fn following(key: &SharedKey, node: Value) -> Self {
        Self::start_with(json!({ "config": key.flask_config(), "adieu": node })).await
    }

    async fn start_with(settings: Value) -> Self {
        let mut process = Command::new(python())
            .arg(here().join("flask_app.py"))
            .env("PYTHONPATH", here().join("../../../../clients/python/src"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            // A compiled core that is installed may be of other sources.
            .env("ADIEU_PURE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let line = format!("{settings}\n");
        process.stdin.take().unwrap().write_all(line.as_bytes()).await.unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let line = timeout(TEST_TIMEOUT, lines.next_line()).await.unwrap().unwrap().expect("it says where it listens");
        let address = line.strip_prefix("listening on ").unwrap().to_owned();
        Self { api: Api::new("flask", address), process }
    }
}

fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop")
}

pub(crate) fn python() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("python");
    let python = std::env::var_os(PYTHON_VARIABLE).map_or_else(|| folder.join("bin/python"), PathBuf::from);
    assert!(
        python.exists(),
        "{} is missing, the Python with Flask-JWT-Extended. `scripts/test` makes it, and so does:\n\
         python3 -m venv {folder} && {folder}/bin/pip install -r {requirements}\n\
         (or {PYTHON_VARIABLE} says where another one is)",
        python.display(),
        folder = folder.display(),
        requirements = here().join("../../../../clients/python/requirements-dev.txt").display(),
    );
    python
}
