//! Measurements of the engines.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::DescriptorEncoder,
    metrics::{counter::ConstCounter, gauge::ConstGauge},
    registry::Unit,
};

use super::{Main, Stores};
use crate::metrics::put;

impl Collector for Stores {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        if let Main::Postgres(store) = &self.main {
            put(
                &mut encoder,
                "postgres_notifications_failed",
                "Appends that other nodes could not be told of, and find when they look",
                None,
                &ConstCounter::new(store.unannounced()),
            )?;
        }
        if let Some(store) = &self.revocations {
            let memory = store.memory();
            let bytes = |number: u64| ConstGauge::new(i64::try_from(number).unwrap_or(i64::MAX));
            let unit = Some(&Unit::Bytes);
            put(&mut encoder, "redis_memory_used", "Memory that Redis uses", unit, &bytes(memory.used))?;
            let help = "Memory that Redis may use at most, or 0";
            put(&mut encoder, "redis_memory_limit", help, unit, &bytes(memory.limit))?;
        }
        Ok(())
    }
}
