//! The in-memory engine, in the suite that every engine passes.

use adieu::store::Memory;
use adieu_conformance::{Storage, suite};

suite!(memory: InMemory, log, sessions, keys, restore);

/// The place is the process: opening it again shares the same store.
struct InMemory(Memory);

impl Storage for InMemory {
    type Store = Memory;

    async fn empty() -> Self {
        Self(Memory::new())
    }

    async fn open(&self) -> Memory {
        self.0.clone()
    }
}
