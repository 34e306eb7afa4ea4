//! A store in its own folder, and the binary that works on it.

use std::{
    io::Write as _,
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use adieu::{
    Subject,
    session::{Origin, TokenOptions, TokenPair},
};
use adieu_server::{
    accounts::Account,
    config::{Flags, Settings},
    node::Node,
    text::{Password, Username},
};
use test_servers::adieu::Adieu;

pub(crate) struct Place {
    folder: tempfile::TempDir,
}

/// The result of a command.
pub(crate) struct Done {
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Place {
    /// A folder without a store.
    pub(crate) fn empty() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// A store with a user.
    pub(crate) fn with_user(name: &str) -> Self {
        let place = Self::empty();
        place.add(name);
        place
    }

    pub(crate) fn add(&self, name: &str) -> String {
        let added = self.run_with(&["user", "add", name, "--password-stdin", "--json"], b"1234\n").succeeded();
        added.object()["id"].as_str().unwrap().to_owned()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn settings(&self) -> Settings {
        let flags = Flags { data: Some(self.path("data").display().to_string()), ..Flags::default() };
        Settings::load(&flags, []).unwrap()
    }

    pub(crate) async fn node(&self) -> Node {
        Node::open(&self.settings()).await.unwrap()
    }

    /// Prepares a server on the store.
    pub(crate) fn server(&self) -> Adieu {
        let server = Adieu::new(env!("CARGO_BIN_EXE_adieu")).with_data(&self.path("data"));
        server.with("ADIEU_LOG_LEVEL", "info")
    }

    /// Returns the command, to be run in the folder, with the store in `data`.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_adieu"));
        command.args(arguments).env_clear().env("ADIEU_DATA", "data").current_dir(self.folder.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Done {
        self.run_with(arguments, b"")
    }

    pub(crate) fn run_with(&self, arguments: &[&str], input: &[u8]) -> Done {
        Self::finish(self.command(arguments), input)
    }

    /// Runs the command in a shell that has set this limit on itself first.
    pub(crate) fn run_under(&self, limit: &str, arguments: &[&str], input: &[u8]) -> Done {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("{limit}; exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_adieu")]).args(arguments);
        shell.env("ADIEU_DATA", "data").current_dir(self.folder.path());
        shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self::finish(shell, input)
    }

    pub(crate) fn finish(mut command: Command, input: &[u8]) -> Done {
        let mut child = command.spawn().unwrap();
        // A command that fails early does not read its input.
        let _unread = child.stdin.take().unwrap().write_all(input);
        child.wait_with_output().unwrap().into()
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), content).unwrap();
    }
}

impl From<Output> for Done {
    fn from(output: Output) -> Self {
        Self {
            status: output.status.code().expect("a status, not a signal"),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Done {
    pub(crate) fn succeeded(self) -> Self {
        assert_eq!((self.status, self.stderr.as_str()), (0, ""), "{}", self.stdout);
        self
    }

    /// Expects a failure and returns its one-line error message.
    pub(crate) fn failed(self) -> String {
        assert_eq!((self.status, self.stdout.as_str()), (1, ""), "{}", self.stderr);
        let message = self.stderr.strip_prefix("error: ").expect(&self.stderr).strip_suffix('\n').unwrap();
        assert!(!message.contains('\n'), "{message}");
        message.to_owned()
    }

    pub(crate) fn objects(&self) -> Vec<serde_json::Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
    }

    pub(crate) fn object(&self) -> serde_json::Value {
        let [object] = self.objects().try_into().expect("one line");
        object
    }

    /// Returns standard output without the parts that differ from run to run.
    pub(crate) fn redacted(&self) -> String {
        redact(&self.stdout)
    }
}

/// Replaces ids by letters and times by digits, of the same length, so that columns stay aligned.
pub(crate) fn redact(text: &str) -> String {
    let mut redacted = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = [uuid_length(rest), key_id_length(rest), time_length(rest), seconds_length(rest)]
            .into_iter()
            .flatten()
            .max();
        match length {
            Some((length, name)) => {
                redacted.push_str(&format!("{name:_<length$}"));
                rest = &rest[length..];
            }
            None => {
                redacted.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
    }
    redacted
}

fn shaped(text: &str, length: usize, fits: impl Fn(usize, u8) -> bool) -> bool {
    text.len() >= length && text.bytes().take(length).enumerate().all(|(index, byte)| fits(index, byte))
}

fn uuid_length(text: &str) -> Option<(usize, &'static str)> {
    let fits = |index, byte: u8| if [8, 13, 18, 23].contains(&index) { byte == b'-' } else { byte.is_ascii_hexdigit() };
    shaped(text, 36, fits).then_some((36, "UUID"))
}

fn key_id_length(text: &str) -> Option<(usize, &'static str)> {
    let fits = |_, byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    shaped(text, 43, fits).then_some((43, "KEY"))
}

fn time_length(text: &str) -> Option<(usize, &'static str)> {
    let pattern = b"0000-00-00 00:00:00Z";
    let fits = |index: usize, byte: u8| byte == pattern[index] || (pattern[index] == b'0' && byte.is_ascii_digit());
    shaped(text, pattern.len(), fits).then_some((pattern.len(), "TIME"))
}

fn seconds_length(text: &str) -> Option<(usize, &'static str)> {
    (shaped(text, 10, |_, byte| byte.is_ascii_digit()) && text.starts_with(['1', '2'])).then_some((10, "SECONDS"))
}

pub(crate) async fn account(node: &Node, name: &str) -> Account {
    node.accounts.store().by_username(&Username::new(name).unwrap()).await.unwrap().unwrap()
}

pub(crate) async fn can_log_in(node: &Node, name: &str, password: &str) -> bool {
    let (name, password) = (Username::new(name).unwrap(), Password::typed(password.into()).unwrap());
    node.accounts.authenticate(&name, &password, std::net::Ipv4Addr::LOCALHOST.into()).await.is_ok()
}

/// Logs a user in from a browser.
pub(crate) async fn log_in(node: &Node, name: &str, user_agent: &str) -> TokenPair {
    let account = account(node, name).await;
    let origin = Origin { address: Some("192.0.2.7".parse().unwrap()), user_agent: Some(user_agent.to_owned()) };
    node.accounts.log_in(&account, origin, TokenOptions::new()).await.unwrap()
}

pub(crate) fn session_of(pair: &TokenPair) -> String {
    pair.claims.session.as_ref().unwrap().to_string()
}

pub(crate) fn subject_of(pair: &TokenPair) -> Subject {
    pair.claims.subject.clone()
}
