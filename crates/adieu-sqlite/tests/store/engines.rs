//! The engine in the suite.

use std::path::PathBuf;

use adieu_conformance::{Storage, suite};
use adieu_sqlite::Sqlite;

suite!(sqlite: OnFile, log, sessions, keys, restore);

/// A file in its own folder.
pub(crate) struct OnFile(tempfile::TempDir);

impl OnFile {
    pub(crate) fn path(&self) -> PathBuf {
        self.0.path().join("adieu.sqlite")
    }
}

impl Storage for OnFile {
    type Store = Sqlite;

    async fn empty() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    async fn open(&self) -> Sqlite {
        Sqlite::open(self.path()).await.unwrap()
    }
}
