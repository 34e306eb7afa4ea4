//! Measurements of the engines.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::DescriptorEncoder,
    metrics::{counter::ConstCounter, gauge::ConstGauge},
    registry::Unit,
};

use super::{Main, Stores};
use crate::measurement::put;

impl Collector for Stores {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        if let Main::Postgres(store) = &self.main {
            put(
                &mut encoder,
                "postgres_notifications_failed",
                "Appends without a notification to other nodes, which find the entries when they poll",
                None,
                &ConstCounter::new(store.unannounced()),
            )?;
        }
        if let Some(store) = &self.revocations {
            let memory = store.memory();
            let bytes = |number: u64| ConstGauge::new(i64::try_from(number).unwrap_or(i64::MAX));
            let unit = Some(&Unit::Bytes);
            put(&mut encoder, "redis_memory_used", "Memory that Redis uses", unit, &bytes(memory.used))?;
            let help = "Maximum memory of Redis, or 0 without a limit";
            put(&mut encoder, "redis_memory_limit", help, unit, &bytes(memory.limit))?;
        }
        Ok(())
    }
}
