//! The folders of servers.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use tempfile::TempDir;

/// A copy of all data that a server had stored; see `copy_data` of each server.
#[derive(Debug)]
pub struct Copy(TempDir);

impl Copy {
    pub(crate) fn of(data: &Path) -> Self {
        let folder = temporary();
        let copied = folder.path().join("data");
        copy(data, &copied);
        // The lock of a running PostgreSQL is not part of its data.
        let _ = std::fs::remove_file(copied.join("postmaster.pid"));
        Self(folder)
    }

    pub(crate) fn put_back(&self, data: &Path) {
        std::fs::remove_dir_all(data).expect("the data can be removed");
        self.put_in(data);
    }

    pub(crate) fn put_in(&self, data: &Path) {
        copy(&self.0.path().join("data"), data);
    }
}

pub(crate) fn temporary() -> TempDir {
    tempfile::Builder::new().prefix("adieu-test-").tempdir().expect("a temporary folder")
}

/// Copies a folder with the owners and modes of its files.
pub(crate) fn copy(from: &Path, to: &Path) {
    run(Command::new("cp").args(["--archive", "--reflink=auto", "--"]).arg(from).arg(to));
}

/// Runs a command that must succeed.
pub(crate) fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}: {stderr}", output.status);
}

/// Returns the program of this name in one of the folders of `PATH`, or of these.
pub(crate) fn program(name: &str, folders: Vec<PathBuf>) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).chain(folders).map(|folder| folder.join(name)).find(|program| program.is_file())
}

/// Returns the user and group ids that a server runs as when the tests run as root: PostgreSQL and PgBouncer refuse to run as
/// root.
fn server_user() -> (String, String) {
    let users = std::fs::read_to_string("/etc/passwd").expect("the list of users");
    let named = |name: &str| users.lines().find(|user| user.starts_with(&format!("{name}:")));
    let mut fields = named("postgres").or_else(|| named("nobody")).expect("a user that may do less").split(':').skip(2);
    let mut field = || fields.next().expect("a number").to_owned();
    (field(), field())
}

/// Returns a command that runs a server, as [`server_user`] if this process is root.
pub(crate) fn as_server_user(program: &Path) -> Command {
    if !rustix::process::getuid().is_root() {
        return Command::new(program);
    }
    let (user, group) = server_user();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", &user, "--regid", &group, "--clear-groups", "--"]).arg(program);
    command
}
