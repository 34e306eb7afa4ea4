//! The engine that keeps everything in memory, in the suite that every engine passes.

use adieu::store::Memory;
use adieu_conformance::{Place, suite};

suite!(memory: InMemory, log, sessions, keys, restore);

/// The process is the place: whoever opens it again shares it.
struct InMemory(Memory);

impl Place for InMemory {
    type Store = Memory;

    async fn empty() -> Self {
        Self(Memory::new())
    }

    async fn open(&self) -> Memory {
        self.0.clone()
    }
}
