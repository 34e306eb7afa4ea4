//! The engines, each with the whole suite. A new one is a [`Place`] and a line here.

use std::path::PathBuf;

use adieu::{
    conformance::{Place, suite},
    store::{Memory, Sqlite},
};

suite!(memory: InMemory, log, sessions, keys, restore);
suite!(sqlite: OnFile, log, sessions, keys, restore);

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

/// What is written as a promise and not named in its macro would be tried by nobody.
#[test]
fn every_promise_is_tried() {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/src/conformance");
    for part in ["log", "sessions", "keys"] {
        let of_part = std::fs::read_to_string(format!("{source}/{part}.rs")).unwrap();
        let (_, list) = of_part.split_once("__conformance_tests! {").unwrap();
        let (list, _) = list.split_once('}').unwrap();
        let named: std::collections::BTreeSet<_> = list.split_whitespace().skip(1).collect();
        let mut sources = vec![of_part.clone()];
        if let Ok(folder) = std::fs::read_dir(format!("{source}/{part}")) {
            sources.extend(folder.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap()));
        }
        let promises = sources.iter().flat_map(|source| source.split("pub async fn ").skip(1));
        let promises: std::collections::BTreeSet<_> =
            promises.filter_map(|promise| promise.split('<').next()).collect();
        assert_eq!(promises, named);
    }
}
