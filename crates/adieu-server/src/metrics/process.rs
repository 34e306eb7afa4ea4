//! The standard metrics of a process, from `/proc`. On other systems than Linux, there are none.

use std::{fmt, fs};

use prometheus_client::{
    collector::Collector,
    encoding::DescriptorEncoder,
    metrics::{counter::ConstCounter, gauge::ConstGauge},
    registry::Unit,
};
use rustix::{
    param::{clock_ticks_per_second, page_size},
    process::{Resource, getrlimit},
};

use crate::measurement::{count, put};

/// This process.
#[derive(Debug)]
pub(super) struct Process;

/// The fields of `/proc/self/stat` after the name of the program, which may contain spaces (proc_pid_stat(5)).
struct Stat(Vec<u64>);

impl Stat {
    fn read() -> Option<Self> {
        let text = fs::read_to_string("/proc/self/stat").ok()?;
        let (_, fields) = text.rsplit_once(") ")?;
        // Some fields are negative or letters; none of those is used.
        Some(Self(fields.split_ascii_whitespace().map(|field| field.parse().unwrap_or_default()).collect()))
    }

    /// Returns a field by its number in the manual.
    fn field(&self, number: usize) -> u64 {
        self.0.get(number - 3).copied().unwrap_or_default()
    }
}

/// Returns when the system started, in seconds since the epoch.
fn system_start() -> Option<u64> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    text.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok())
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let (Some(stat), Some(system_start)) = (Stat::read(), system_start()) else { return Ok(()) };
        let (seconds, bytes) = (Some(&Unit::Seconds), Some(&Unit::Bytes));
        let ticks = |ticks: u64| ticks as f64 / clock_ticks_per_second() as f64;
        let (cpu, start) = (ticks(stat.field(14) + stat.field(15)), system_start as f64 + ticks(stat.field(22)));
        let memory = stat.field(24).saturating_mul(page_size() as u64);
        put(&mut encoder, "process_cpu", "Processor time, user and system", seconds, &ConstCounter::new(cpu))?;
        put(
            &mut encoder,
            "process_start_time",
            "When the process started, since the epoch",
            seconds,
            &ConstGauge::new(start),
        )?;
        put(&mut encoder, "process_resident_memory", "Resident memory", bytes, &ConstGauge::new(count(memory)))?;
        if let Ok(open) = fs::read_dir("/proc/self/fd") {
            let open = ConstGauge::new(count(open.count()));
            put(&mut encoder, "process_open_fds", "Open file descriptors", None, &open)?;
        }
        let limit = getrlimit(Resource::Nofile).current.map_or(f64::INFINITY, |limit| limit as f64);
        put(&mut encoder, "process_max_fds", "Maximum number of open file descriptors", None, &ConstGauge::new(limit))
    }
}
