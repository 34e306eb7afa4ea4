//! The form of a single metric, and of a label with the name of a client.

use std::{
    collections::HashSet,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeMetric},
    registry::Unit,
};

/// How many clients have a label of their own.
const MAX_CLIENTS: usize = 200;

/// The label of all further clients.
const OTHER: &str = "other";

/// Encodes a metric that was measured just now.
pub(crate) fn put(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    metric: &impl EncodeMetric,
) -> Result<(), fmt::Error> {
    // Collectors write their help text unchanged; the registry adds a full stop to the help of other metrics.
    metric.encode(encoder.encode_descriptor(name, &format!("{help}."), unit, metric.metric_type())?)
}

/// Converts a count to the type of a gauge.
pub(crate) fn count(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}

/// The names of clients, which the operator chose, as labels: the first [`MAX_CLIENTS`] keep their own. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct ClientLabels(Arc<Mutex<HashSet<String>>>);

impl ClientLabels {
    /// Returns the label for a client.
    pub(crate) fn of<'n>(&self, name: &'n str) -> &'n str {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.contains(name) || (known.len() < MAX_CLIENTS && known.insert(name.to_owned())) { name } else { OTHER }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn further_clients_share_a_label() {
        let labels = ClientLabels::default();
        for number in 0..MAX_CLIENTS {
            let name = format!("client-{number}");
            assert_eq!(labels.of(&name), name);
        }
        assert_eq!((labels.of("one-more"), labels.of("client-0")), (OTHER, "client-0"));
    }
}
