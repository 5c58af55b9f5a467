//! What a process knows of itself, from `/proc/self`: the usual `process_*` metrics.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

/// Clock ticks per second in `/proc/*/stat`; a constant of the Linux interface to user space.
const TICKS_PER_SECOND: f64 = 100.0;
const PAGE_BYTES: u64 = 4096;

/// One reading of `/proc/<pid>/stat`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ProcessUse {
    /// User plus system time in seconds.
    pub cpu_seconds: f64,
    /// Resident memory in bytes.
    pub resident_bytes: u64,
    /// Threads now.
    pub threads: u64,
}

impl ProcessUse {
    /// Reads the calling process; `None` where `/proc` is not there or not as expected.
    pub fn of_self() -> Option<Self> {
        Self::parse(&std::fs::read_to_string("/proc/self/stat").ok()?)
    }

    /// Parses one line of `/proc/<pid>/stat`. The command name may hold spaces and brackets, so
    /// fields are counted from the last closing one.
    pub fn parse(stat: &str) -> Option<Self> {
        let fields: Vec<&str> = stat.get(stat.rfind(')')? + 1..)?.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self {
            cpu_seconds: (field(14)? + field(15)?) as f64 / TICKS_PER_SECOND,
            resident_bytes: field(24)? * PAGE_BYTES,
            threads: field(20)?,
        })
    }
}

/// Registers `process_*` metrics that are read at each scrape.
#[derive(Debug)]
pub struct ProcessCollector;

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let Some(now) = ProcessUse::of_self() else { return Ok(()) };
        let cpu = ConstCounter::new(now.cpu_seconds);
        cpu.encode(encoder.encode_descriptor(
            "process_cpu",
            "CPU time used",
            Some(&Unit::Seconds),
            cpu.metric_type(),
        )?)?;
        let memory = ConstGauge::new(now.resident_bytes as f64);
        memory.encode(encoder.encode_descriptor(
            "process_resident_memory",
            "Resident memory",
            Some(&Unit::Bytes),
            memory.metric_type(),
        )?)?;
        let threads = ConstGauge::new(now.threads as f64);
        threads.encode(encoder.encode_descriptor(
            "process_threads",
            "Threads",
            None,
            threads.metric_type(),
        )?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_name_with_brackets_does_not_shift_the_fields() {
        let stat = "42 (a) b) S 1 42 42 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 3 0 100 1000000 25 18446744073709551615";
        let parsed = ProcessUse::parse(stat).unwrap();
        assert_eq!(parsed, ProcessUse { cpu_seconds: 2.0, resident_bytes: 25 * 4096, threads: 3 });
        assert_eq!(ProcessUse::parse("42 (x) S 1"), None);
    }
}
