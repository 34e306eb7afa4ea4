//! Measurements of the engines.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::DescriptorEncoder,
    metrics::{counter::ConstCounter, gauge::ConstGauge},
    registry::Unit,
};

use super::{Main, Stores};
use crate::measurement::{count, put};

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
            let pool = store.pool();
            for (name, help, number) in [
                ("postgres_connections_in_use", "Connections of the pool that are in use", pool.in_use),
                ("postgres_connections_limit", "Maximum number of connections of the pool", pool.limit),
                ("postgres_connections_waited_for", "Calls that wait for a connection of the pool", pool.waiting),
            ] {
                put(&mut encoder, name, help, None, &ConstGauge::new(count(number)))?;
            }
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
