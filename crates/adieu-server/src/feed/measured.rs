//! Measurements of the followers of this node, by client.

use std::{collections::BTreeMap, fmt};

use adieu::revocation::Cursor;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, gauge::ConstGauge},
    registry::Unit,
};
use tokio::sync::watch;

use super::{Feed, lease::Group};
use crate::measurement::{ClientLabels, count, put};

/// The followers of a feed, compared with what the node itself has applied.
#[derive(Debug)]
pub(crate) struct Followed {
    pub(crate) feed: Feed,
    pub(crate) applied: watch::Receiver<Option<Cursor>>,
    pub(crate) clients: ClientLabels,
}

impl Collector for Followed {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let own = self.applied.borrow().clone();
        let position = own.as_ref().map_or(0, |own| own.position.get());
        let help = "Position in the log up to which this node has applied it";
        put(&mut encoder, "log_position", help, None, &ConstGauge::new(count(position)))?;

        let mut groups = BTreeMap::<&str, Group>::new();
        let by_client = self.feed.leases.by_client(own.as_ref());
        for (client, group) in &by_client {
            let label = self.clients.of(client);
            groups.entry(label).and_modify(|sum| *sum = sum.and(*group)).or_insert(*group);
        }
        let mut put = |name: &str, help: &str, unit, value: &dyn Fn(&Group) -> f64| {
            let mut family = encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?;
            for (client, group) in &groups {
                let labels = [("client", *client)];
                ConstGauge::new(value(group)).encode(family.encode_family(&labels)?)?;
            }
            Ok(())
        };
        put("followers", "Followers that may accept tokens.", None, &|group| f64::from(group.followers))?;
        put(
            "follower_silence",
            "Longest time since the last request of a follower.",
            Some(&Unit::Seconds),
            &|group| group.silence.as_secs_f64(),
        )?;
        put("follower_lag_entries", "Entries that a follower has not applied yet, at most.", None, &|group| {
            position.saturating_sub(group.applied.get()) as f64
        })
    }
}
