//! Measurements of the engines.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Unit,
};

use adieu::engine::CommitSizes;

use super::{Main, Stores};
use crate::measurement::{count, put};

/// The number of operations in each commit, as a histogram.
struct Sizes<'s>(&'s CommitSizes);

impl EncodeMetric for Sizes<'_> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        let commits = self.0.commits();
        let mut buckets: Vec<_> =
            CommitSizes::BOUNDS.iter().zip(commits).map(|(bound, commits)| (*bound as f64, commits)).collect();
        // The encoder writes this bound as infinity. No commit is larger than the last of the others.
        buckets.push((f64::MAX, 0));
        encoder.encode_histogram::<NoLabelSet>(self.0.operations() as f64, commits.iter().sum(), &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

impl Collector for Stores {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        put(
            &mut encoder,
            "log_append_duration",
            "Time from a call that appends to the log until its entries are durable",
            Some(&Unit::Seconds),
            &self.appends.durations,
        )?;
        put(
            &mut encoder,
            "log_pruned_entries",
            "Lapsed entries that this server has removed from the log",
            None,
            &self.appends.pruned,
        )?;
        let sizes = match (&self.revocations, &self.main) {
            (Some(store), _) => store.commit_sizes(),
            (None, Main::Sqlite(store)) => store.commit_sizes(),
            (None, Main::Postgres(store)) => store.commit_sizes(),
        };
        put(
            &mut encoder,
            "store_commit_operations",
            "Operations that share a commit of the store of sessions and revocations",
            None,
            &Sizes(sizes),
        )?;
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
            let connections = store.connections();
            for (name, help, number) in [
                ("redis_connections_opened", "Connections to Redis that were opened", connections.opened),
                (
                    "redis_failed_requests",
                    "Requests to Redis that failed or were not answered in time",
                    connections.failed_requests,
                ),
            ] {
                put(&mut encoder, name, help, None, &ConstCounter::new(number))?;
            }
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
