//! The form of a single metric.

use std::fmt;

use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeMetric},
    registry::Unit,
};

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
