//! The follower under test: a child process that answers questions, one per line.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::SocketAddr,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    case::{BOUND, Claims},
    node::{CLIENT, ENDED, SECRET},
};

/// How much of what it writes to its standard error is kept.
const MAX_STDERR: usize = 64 << 10;

pub(crate) struct Follower {
    child: Child,
    stdin: Option<ChildStdin>,
    answers: Receiver<String>,
    stderr: Arc<Mutex<Vec<u8>>>,
}

impl Follower {
    /// Starts the follower. `when_ended` is called when it closes its standard output, which is when it ends.
    pub(crate) fn start(
        command: &[String],
        node: SocketAddr,
        when_ended: impl FnOnce() + Send + 'static,
    ) -> Result<Self, String> {
        let [program, arguments @ ..] = command else { return Err("there is no command".to_owned()) };
        let mut child = Command::new(program)
            .args(arguments)
            .env("ADIEU_URL", format!("http://{node}"))
            .env("ADIEU_CLIENT", CLIENT)
            .env("ADIEU_SECRET", SECRET)
            .env("ADIEU_MAX_STALENESS_MS", BOUND.as_millis().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{program} can't be started: {error}"))?;
        let (sender, answers) = mpsc::channel();
        if let Some(stdout) = child.stdout.take() {
            thread::spawn(move || {
                for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        break;
                    }
                }
                when_ended();
            });
        }
        let stderr = Arc::new(Mutex::new(Vec::new()));
        if let Some(mut said) = child.stderr.take() {
            let stderr = Arc::clone(&stderr);
            thread::spawn(move || {
                let mut some = [0; 4_096];
                while let Ok(count @ 1..) = said.read(&mut some) {
                    let mut kept = stderr.lock().unwrap_or_else(PoisonError::into_inner);
                    if kept.len() < MAX_STDERR {
                        kept.extend(some.get(..count).unwrap_or_default());
                    }
                }
            });
        }
        let stdin = child.stdin.take();
        Ok(Self { child, stdin, answers, stderr })
    }

    /// Asks about a token. Returns the answer, which should be one of the four verdicts.
    pub(crate) fn ask(&mut self, claims: &Claims, limit: Duration) -> Result<String, String> {
        let question = match claims.kid {
            None => json!({ "claims": claims.claims }),
            Some(kid) => json!({ "claims": claims.claims, "kid": kid }),
        };
        let question = question.to_string() + "\n";
        let written =
            self.stdin.as_mut().map(|stdin| stdin.write_all(question.as_bytes()).and_then(|()| stdin.flush()));
        if !matches!(written, Some(Ok(()))) {
            return Err(ENDED.to_owned());
        }
        let line = self.answers.recv_timeout(limit).map_err(|error| match error {
            RecvTimeoutError::Timeout => "it does not answer a question".to_owned(),
            RecvTimeoutError::Disconnected => ENDED.to_owned(),
        })?;
        match serde_json::from_str(&line) {
            Ok(Value::String(verdict)) => Ok(verdict),
            _ => Err(format!("its answer is not a verdict: {line:?}")),
        }
    }

    /// Returns what it has written to its standard error.
    pub(crate) fn said(&self) -> String {
        String::from_utf8_lossy(&self.stderr.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
