//! Memory use of the server.

use std::sync::PoisonError;

use super::Redis;
use adieu::Error;

/// The share of the limit from which on the store logs a warning.
const HIGH: (u64, u64) = (4, 5);

/// Memory use of a server, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RedisMemory {
    /// Memory in use (`used_memory`).
    pub used: u64,
    /// Memory limit (`maxmemory`); `0` if there is none.
    pub limit: u64,
}

impl RedisMemory {
    fn is_high(self) -> bool {
        self.limit > 0 && self.used / HIGH.0 > self.limit / HIGH.1
    }

    fn of(info: &str) -> Option<Self> {
        let field = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        Some(Self { used: field("used_memory:")?, limit: field("maxmemory:")? })
    }
}

impl Redis {
    /// Returns the memory use of the server as of the last pruning, which housekeeping does every 30 seconds.
    #[must_use]
    pub fn memory(&self) -> RedisMemory {
        *self.shared.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the memory use, and logs a warning if it has become too high.
    pub(super) async fn inspect_memory(&self) -> Result<(), Error> {
        let mut ask = redis::pipe();
        ask.cmd("INFO").arg("memory");
        let (info,): (String,) = self.read(&ask).await?;
        let Some(found) = RedisMemory::of(&info) else { return Ok(()) };
        let mut memory = self.shared.memory.lock().unwrap_or_else(PoisonError::into_inner);
        if found.is_high() && !memory.is_high() {
            tracing::warn!(
                address = self.shared.address,
                used = found.used,
                maxmemory = found.limit,
                "the memory of the Redis server is nearly full; logins fail when it is full"
            );
        }
        *memory = found;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_high_from_four_fifths_on() {
        for (used, limit, high) in
            [(0, 0, false), (u64::MAX, 0, false), (800, 1_000, false), (804, 1_000, true), (2_000, 1_000, true)]
        {
            assert_eq!(RedisMemory { used, limit }.is_high(), high, "{used} of {limit}");
        }
        let info = "# RedisMemory\r\nused_memory:1024\r\nused_memory_human:1K\r\nmaxmemory:0\r\nmaxmemory_policy:noeviction\r\n";
        assert_eq!(RedisMemory::of(info), Some(RedisMemory { used: 1_024, limit: 0 }));
    }
}
