//! The engines, each with the whole suite. A new one is a [`Place`] and a line here.

use std::path::PathBuf;

use adieu::{
    conformance::{Place, suite},
    store::{Memory, Sqlite},
};

suite!(memory: InMemory, log, sessions, keys);
suite!(sqlite: OnFile, log, sessions, keys);

/// The process is the place: whoever opens it again shares it.
pub(crate) struct InMemory(Memory);

impl Place for InMemory {
    type Store = Memory;

    async fn empty() -> Self {
        Self(Memory::new())
    }

    async fn open(&self) -> Memory {
        self.0.clone()
    }
}

/// A file in a folder of its own.
pub(crate) struct OnFile(tempfile::TempDir);

impl OnFile {
    pub(crate) fn path(&self) -> PathBuf {
        self.0.path().join("adieu.sqlite")
    }
}

impl Place for OnFile {
    type Store = Sqlite;

    async fn empty() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    async fn open(&self) -> Sqlite {
        Sqlite::open(self.path()).await.unwrap()
    }
}
