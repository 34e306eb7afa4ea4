//! A PgBouncer in front of a PostgreSQL server.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
};

use rustix::process::Signal;
use tokio::net::TcpStream;

use crate::{
    folder::{self, as_server_user},
    postgres::{PASSWORD, USER},
    process::Process,
};

/// A PgBouncer for one test; stopped when dropped.
#[derive(Debug)]
pub struct PgBouncer {
    process: Process,
    /// The server's port.
    server: String,
}

impl PgBouncer {
    /// Starts a PgBouncer in front of the server at this URL, with these settings of its section `[pgbouncer]`.
    ///
    /// # Panics
    /// If PgBouncer is not installed or does not start.
    pub async fn start(server: &str, settings: &[(&str, &str)]) -> Self {
        let process = Process::new();
        fs::set_permissions(process.folder(), Permissions::from_mode(0o777)).expect("the folder's mode");
        fs::write(process.folder().join("users"), format!("\"{USER}\" \"{PASSWORD}\"\n")).expect("a list of users");
        // The process is recognized by its folder.
        fs::create_dir(process.folder().join("data")).expect("a folder");
        let (_, place) = server.rsplit_once('@').expect("a URL with a user");
        let (place, _) = place.split_once('/').expect("a URL with a database");
        let mut pooler = Self { process, server: place.rsplit_once(':').expect("a URL with a port").1.to_owned() };
        pooler.start_again(settings).await;
        pooler
    }

    /// Starts it on the same port, with other settings.
    ///
    /// # Panics
    /// If it is running, or does not start.
    pub async fn start_again(&mut self, settings: &[(&str, &str)]) {
        let program = folder::program("pgbouncer", vec!["/usr/sbin".into()]).unwrap_or_else(|| {
            panic!("PgBouncer is needed and not installed: run scripts/test, or apt-get install pgbouncer")
        });
        let folder = self.process.folder();
        let mut configuration = format!(
            "[databases]\n* = host=127.0.0.1 port={}\n\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {}\n\
             unix_socket_dir =\nauth_type = plain\nauth_file = {}\nignore_startup_parameters = extra_float_digits\n\
             max_client_conn = 1000\n",
            self.server,
            self.process.port.number(),
            folder.join("users").display()
        );
        for (name, value) in settings {
            configuration.push_str(&format!("{name} = {value}\n"));
        }
        let file = folder.join("pgbouncer.ini");
        fs::write(&file, configuration).expect("a configuration");
        let mut command = as_server_user(&program);
        command.arg(file).current_dir(folder.join("data"));
        self.process.spawn(command);
        let address = self.process.address();
        self.process.ready(async || TcpStream::connect(address).await.is_ok()).await;
    }

    /// Returns the URL of a server's database behind this PgBouncer.
    ///
    /// # Panics
    /// If `database` is not the URL of a database.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        let (_, name) = database.rsplit_once('/').expect("a URL with a database");
        format!("postgres://{USER}:{PASSWORD}@127.0.0.1:{}/{name}", self.process.port.number())
    }

    /// Returns its log.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Stops it at once, with all connections.
    pub async fn stop(&mut self) {
        self.process.stop(Signal::TERM).await;
    }
}
