//! A node and the server of its store, with everything that they write on one disk.
//!
//! Each name has a folder of its own, so that a sync of one folder keeps nothing by accident that another file needs.

use std::{
    fs,
    path::{Path, PathBuf},
};

use test_servers::{Postgres, Redis, adieu::Adieu};

use crate::{disk::Survivors, load::APPLICATION};

/// What stores the logouts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    Sqlite,
    Postgres,
    Redis,
}

impl Engine {
    /// Returns the places at which the power fails, evenly.
    pub fn places(self) -> &'static [&'static str] {
        match self {
            Self::Sqlite => &["", "adieu.sqlite-wal", "adieu.sqlite", "audit.jsonl", "high-water"],
            Self::Postgres => &["", "pg_wal/", "base/", "audit.jsonl"],
            Self::Redis => &["", ".aof", "adieu.sqlite-wal", "audit.jsonl"],
        }
    }

    /// Returns the places at which each sync is needed, with what they are.
    pub fn syncs(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Sqlite => &[
                ("adieu.sqlite-wal", "the write-ahead log"),
                ("adieu.sqlite", "the database file"),
                ("high-water", "the high-water mark"),
                ("audit.jsonl", "the audit file"),
                ("/store/data", "the data folder: names of the database file and its write-ahead log"),
                ("/store", "the folder of the data folder: its name"),
                ("/mark", "the folder of the high-water mark: its name"),
                ("/log", "the folder of the audit file: its name"),
            ],
            Self::Postgres => &[("pg_wal/", "the server's write-ahead log"), ("audit.jsonl", "the audit file")],
            Self::Redis => &[(".aof", "the server's append-only file"), ("audit.jsonl", "the audit file")],
        }
    }

    /// Returns the changes that survive, for each folder that is made of a cut.
    pub fn survivors(self) -> &'static [Survivors] {
        match self {
            Self::Sqlite | Self::Postgres => &[Survivors::Nothing, Survivors::InOrder, Survivors::Any, Survivors::Any],
            Self::Redis => &[Survivors::Nothing, Survivors::InOrder, Survivors::Journalled, Survivors::Journalled],
        }
    }

    /// Returns whether the disk needs a journal: Redis does not sync the name of the folder of its files.
    pub fn needs_journal(self) -> bool {
        self == Self::Redis
    }

    /// Creates the folders and files that exist before the first start.
    pub async fn prepare(self, root: &Path) -> anyhow::Result<()> {
        for folder in ["store", "mark", "log", "redis"] {
            fs::create_dir(root.join(folder))?;
        }
        if self == Self::Postgres {
            Postgres::prepare(&root.join("postgres")).await;
        }
        Ok(())
    }
}

/// A server to start, and what it stores logouts in.
#[derive(Debug, Clone)]
pub struct Program {
    pub engine: Engine,
    pub path: String,
    /// The file with the secret of the applications, which is not on the disk.
    pub secret: PathBuf,
}

/// A running node.
pub struct Node {
    /// The node itself.
    pub adieu: Adieu,
    postgres: Option<Postgres>,
    redis: Option<Redis>,
    root: PathBuf,
}

impl Node {
    /// Starts it.
    ///
    /// # Errors
    /// If it ends instead of becoming ready: with its log.
    pub async fn start(program: &Program, root: &Path) -> anyhow::Result<Self> {
        let mut node = Self::stopped(program, root).await?;
        node.adieu.spawn();
        if let Err(status) = node.adieu.ready_or_ended().await {
            anyhow::bail!("the node does not start ({status}): {}", node.adieu.log());
        }
        Ok(node)
    }

    async fn stopped(program: &Program, root: &Path) -> anyhow::Result<Self> {
        let path = |name: &str| root.join(name).display().to_string();
        let issuer = format!("[{{ name = \"{APPLICATION}\", secret_file = \"{}\" }}]", program.secret.display());
        let mut adieu = Adieu::new(&program.path)
            .with_data(&root.join("store/data"))
            .with("ADIEU_HIGH_WATER_FILE", path("mark/high-water"))
            .with("ADIEU_AUDIT_LOG", path("log/audit.jsonl"))
            .with("ADIEU_TRUSTED_ISSUER", issuer)
            // A proof may take longer than 15 minutes.
            .with("ADIEU_ACCESS_LIFETIME", "1h");
        let (mut postgres, mut redis) = (None, None);
        match program.engine {
            Engine::Sqlite => {}
            Engine::Postgres => {
                // The process that it names still runs, unlike after a real failure.
                drop(fs::remove_file(root.join("postgres/postmaster.pid")));
                let mut server = Postgres::with_data(&root.join("postgres"));
                server.try_start_again().await.map_err(anyhow::Error::msg)?;
                adieu = adieu.with("ADIEU_STORE", server.url());
                postgres = Some(server);
            }
            Engine::Redis => {
                let mut server = Redis::with_data(&root.join("redis"));
                server.try_start_again().await.map_err(anyhow::Error::msg)?;
                adieu = adieu.with("ADIEU_REVOCATIONS", server.url());
                redis = Some(server);
            }
        }
        Ok(Self { adieu, postgres, redis, root: root.to_owned() })
    }

    /// Returns the lines of the audit file that are whole, and how many bytes are not part of one.
    pub fn audit(&self) -> anyhow::Result<(Vec<serde_json::Value>, usize)> {
        let bytes = fs::read(self.root.join("log/audit.jsonl")).unwrap_or_default();
        let (mut lines, mut torn) = (Vec::new(), 0);
        for line in bytes.split(|byte| *byte == b'\n') {
            match serde_json::from_slice(line) {
                Ok(line) => lines.push(line),
                Err(_) => torn += line.len(),
            }
        }
        Ok((lines, torn))
    }

    /// Creates a signing key, which signs at once.
    pub async fn rotate_key(&self) {
        self.adieu.command(&["key", "rotate", "--after", "0s"]).await;
    }

    /// Stops it as its operator would, and returns once it has ended.
    pub async fn stop(self) {
        let Self { adieu, postgres, redis, .. } = self;
        adieu.stop().await;
        if let Some(mut server) = postgres {
            server.stop().await;
        }
        if let Some(mut server) = redis {
            server.stop().await;
        }
    }

    /// Ends it at once, but lets PostgreSQL remove its shared memory.
    pub async fn end(self) {
        let Self { adieu, postgres, .. } = self;
        drop(adieu);
        if let Some(mut server) = postgres {
            server.stop().await;
        }
    }
}
