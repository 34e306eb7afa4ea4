//! A PostgreSQL server.

use std::{
    fs::{self, File, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::{Duration, Instant},
};

use rustix::process::{Signal, getuid};

use crate::{
    folder::{self, as_server_user},
    server::{Engine, Server, shared_process},
    wait::TEST_TIMEOUT,
};

/// The superuser. Connections need the password, so that a test can check that it is never shown.
pub(crate) const USER: &str = "adieu";
pub(crate) const PASSWORD: &str = "postgres-password";

/// A PostgreSQL server for one test; stopped when dropped.
pub type Postgres = Server<PostgresEngine>;

/// The programs of PostgreSQL.
#[derive(Debug)]
pub enum PostgresEngine {}

impl Engine for PostgresEngine {
    const STOP: Signal = Signal::INT;

    async fn prepare(data: &Path) {
        let template = tokio::task::spawn_blocking(template).await.expect("a template");
        folder::copy(&template, data);
    }

    fn command(server: &Postgres) -> Command {
        let mut command = as_server_user(&installed("postgres"));
        command.arg("-D").arg(server.data()).args(["-p", &server.port().to_string()]);
        let fixed = [
            ("listen_addresses", "127.0.0.1"),
            ("unix_socket_directories", ""),
            // For many concurrent tests, each with pools.
            ("max_connections", "400"),
        ];
        let fixed = fixed.map(|(name, value)| (name.to_owned(), value.to_owned()));
        for (name, value) in fixed.iter().chain(&server.configuration) {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        command
    }

    /// Names an existing database.
    fn url(server: &Postgres) -> String {
        format!("postgres://{USER}:{PASSWORD}@127.0.0.1:{}/postgres", server.port())
    }

    async fn answers(url: &str) -> bool {
        let asked = tokio::process::Command::new(installed("pg_isready")).args(["--quiet", "--dbname", url]).status();
        asked.await.expect("pg_isready").success()
    }

    async fn standby(primary: &Postgres) -> Postgres {
        let process = shared_process();
        primary.copy_data().put_in(&process.folder().join("data"));
        let connection =
            format!("host=127.0.0.1 port={} user={USER} password={PASSWORD} application_name=standby", primary.port());
        let mut configuration = primary.configuration.clone();
        configuration.push(("primary_conninfo".to_owned(), connection));
        let mut standby = Postgres::stopped(process, configuration);
        File::create(standby.data().join("standby.signal")).expect("a file that makes it a standby");
        standby.start_again().await;
        primary.until("SELECT EXISTS (SELECT FROM pg_stat_replication WHERE state = 'streaming')").await;
        primary.caught_up().await;
        standby
    }

    async fn cut_off(standby: &mut Postgres) {
        standby.stop().await;
    }

    async fn promote(standby: &mut Postgres) {
        if standby.pid().is_none() {
            standby.start_again().await;
        }
        assert_eq!(standby.sql("SELECT pg_promote()").await, "t");
        standby.sql("CHECKPOINT").await;
    }
}

impl Postgres {
    /// Returns its version as a number: 150013 is 15.13.
    ///
    /// # Panics
    /// If its program does not report it.
    #[must_use]
    pub fn version(&self) -> u32 {
        let output = Command::new(installed("postgres")).arg("--version").output().expect("a version");
        let text = String::from_utf8_lossy(&output.stdout);
        let version = text.split_whitespace().find(|word| word.starts_with(|digit: char| digit.is_ascii_digit()));
        let (major, minor) = version.and_then(|version| version.split_once('.')).expect("a version with a dot");
        let number = |text: &str| text.parse::<u32>().expect("a number");
        number(major) * 10_000 + number(minor)
    }

    /// Waits until every standby has everything that has been committed so far.
    ///
    /// # Panics
    /// If that takes too long.
    pub async fn caught_up(&self) {
        let end = self.sql("SELECT pg_current_wal_lsn()").await;
        self.until(&format!("SELECT bool_and(flush_lsn >= '{end}') FROM pg_stat_replication")).await;
    }

    /// Waits until a query returns true.
    async fn until(&self, question: &str) {
        let started = Instant::now();
        while self.sql(question).await != "t" {
            assert!(started.elapsed() < TEST_TIMEOUT, "never: {question}: {}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Returns the result of a statement as text.
    ///
    /// # Panics
    /// If it fails.
    pub async fn sql(&self, statement: &str) -> String {
        let options = ["--no-psqlrc", "--tuples-only", "--no-align", "--command", statement];
        String::from_utf8(self.client("psql", &options).await).expect("text").trim_end().to_owned()
    }

    /// Dumps the schema with its data to a file, by `pg_dump`.
    ///
    /// # Panics
    /// If it fails.
    pub async fn dump(&self, schema: &str, file: &Path) {
        let file = file.to_str().expect("a path that is text");
        self.client("pg_dump", &["--format=custom", "--schema", schema, "--file", file]).await;
    }

    /// Restores a dump by `pg_restore` with these options.
    ///
    /// # Panics
    /// If it fails.
    pub async fn restore(&self, file: &Path, options: &[&str]) {
        let options = [options, &[file.to_str().expect("a path that is text")]].concat();
        self.client("pg_restore", &options).await;
    }

    /// Like [`restore`](Self::restore), but returns whether everything could be restored.
    pub async fn try_restore(&self, file: &Path, options: &[&str]) -> bool {
        let options = [options, &[file.to_str().expect("a path that is text")]].concat();
        self.run("pg_restore", &options).await.status.success()
    }

    async fn client(&self, program: &str, options: &[&str]) -> Vec<u8> {
        let output = self.run(program, options).await;
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    async fn run(&self, program: &str, options: &[&str]) -> Output {
        let mut command = tokio::process::Command::new(installed(program));
        command.arg("--dbname").arg(self.url()).args(options).output().await.expect("a program")
    }
}

/// Creates a database on the server at a URL.
pub(crate) async fn create_database(url: &str, name: &str) {
    let mut command = Command::new(installed("createdb"));
    command.arg("--maintenance-db").arg(url).arg(name);
    tokio::task::spawn_blocking(move || folder::run(&mut command)).await.expect("a new database");
}

/// Returns the data of a server that has never been started. Creating it takes seconds, so it is created once for each
/// version and user, and kept in the build folder.
fn template() -> PathBuf {
    let initdb = installed("initdb");
    let output = Command::new(&initdb).arg("--version").output().expect("initdb");
    let version = String::from_utf8_lossy(&output.stdout).replace(|letter: char| !letter.is_ascii_alphanumeric(), "-");
    let templates = build_folder().join("test-servers");
    fs::create_dir_all(&templates).expect("a folder for templates");
    let lock = File::create(templates.join("lock")).expect("a lock file");
    lock.lock().expect("a lock");

    let template = templates.join(format!("{version}{}", getuid().as_raw()));
    if !template.exists() {
        let folder = folder::temporary();
        let data = folder.path().join("data");
        let password = folder.path().join("password");
        fs::write(&password, PASSWORD).expect("a password file");
        // For the user that the server runs as.
        fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).expect("the folder's mode");
        folder::run(
            as_server_user(&initdb)
                .args(["--username", USER, "--auth=scram-sha-256", "--encoding=UTF8", "--no-locale", "--no-sync"])
                .arg("--pgdata")
                .arg(&data)
                .arg("--pwfile")
                .arg(&password)
                .current_dir("/"),
        );
        // Atomically.
        let half = template.with_extension("new");
        let _ = fs::remove_dir_all(&half);
        folder::copy(&data, &half);
        fs::rename(&half, &template).expect("a template");
    }
    template
}

/// Returns Cargo's target folder, which contains this program; a temporary one if the program has been moved.
fn build_folder() -> PathBuf {
    let program = std::env::current_exe().expect("the path of this program");
    let built = program.ancestors().find(|folder| folder.join("CACHEDIR.TAG").is_file());
    built.map_or_else(std::env::temp_dir, Path::to_owned)
}

/// The variable that names the folder of the PostgreSQL programs to use: `postgres` and `initdb` of another version than the
/// installed one. Missing clients (`createdb`, `pg_isready`) are taken from the installed version.
pub const POSTGRES_PROGRAMS: &str = "ADIEU_TEST_POSTGRES_PROGRAMS";

fn installed(name: &str) -> PathBuf {
    if let Some(folder) = std::env::var_os(POSTGRES_PROGRAMS) {
        let program = Path::new(&folder).join(name);
        let is_server = matches!(name, "postgres" | "initdb");
        assert!(program.is_file() || !is_server, "{POSTGRES_PROGRAMS} has no {name}");
        if program.is_file() {
            return program;
        }
    }
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut folders: Vec<_> = versions.map(|version| version.path().join("bin")).collect();
    folders.sort();
    folders.reverse();
    folder::program(name, folders).unwrap_or_else(|| {
        panic!("PostgreSQL is needed and not installed ({name}): run scripts/test, or apt-get install postgresql")
    })
}
