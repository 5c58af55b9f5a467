//! Resources per service from control groups (version 1), read at each scrape.
//!
//! On a machine without these hierarchies the metrics are simply absent; nothing else changes.

use std::path::{Path, PathBuf};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

/// Reads `<root>/<controller>/<group>/<service>/…` for each service.
#[derive(Debug, Clone)]
pub struct CgroupCollector {
    /// Mount point of the hierarchies, `/sys/fs/cgroup`.
    pub root: PathBuf,
    /// The lab's parent group.
    pub group: String,
    /// Child groups, one per service.
    pub services: Vec<String>,
}

/// One reading of one service; what could not be read is `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    /// Processor time used, in seconds.
    pub cpu_seconds: Option<f64>,
    /// Time spent waiting for the group's own processor limit, in seconds.
    pub throttled_seconds: Option<f64>,
    /// Resident memory without page cache, in bytes.
    pub resident_bytes: Option<u64>,
    /// Page cache charged to the group, in bytes.
    pub cache_bytes: Option<u64>,
}

const NANOSECONDS: f64 = 1e-9;

impl CgroupCollector {
    /// Reads one service now.
    pub fn read(&self, service: &str) -> Usage {
        let file = |controller: &str, name: &str| {
            std::fs::read_to_string(
                self.root.join(controller).join(&self.group).join(service).join(name),
            )
            .ok()
        };
        let stat = file("cpu", "cpu.stat");
        let memory = file("memory", "memory.stat");
        let keyed = |text: &Option<String>, key: &str| value_of(text.as_deref()?, key);
        Usage {
            cpu_seconds: file("cpuacct", "cpuacct.usage")
                .and_then(|text| text.trim().parse::<u64>().ok())
                .map(|nanoseconds| nanoseconds as f64 * NANOSECONDS),
            throttled_seconds: keyed(&stat, "throttled_time").map(|n| n as f64 * NANOSECONDS),
            resident_bytes: keyed(&memory, "total_rss"),
            cache_bytes: keyed(&memory, "total_cache"),
        }
    }

    /// Whether the hierarchies are there at all.
    pub fn available(root: &Path) -> bool {
        ["cpu", "cpuacct", "memory"]
            .iter()
            .all(|name| root.join(name).join("cgroup.procs").exists())
    }
}

/// The number behind `key` in lines of `key value`.
fn value_of(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

/// Name, help, unit and value of one metric.
type Described<T> = (&'static str, &'static str, Option<Unit>, fn(&Usage) -> Option<T>);

impl Collector for CgroupCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let usages: Vec<(&str, Usage)> =
            self.services.iter().map(|service| (service.as_str(), self.read(service))).collect();
        let counters: [Described<f64>; 2] = [
            ("service_cpu", "Processor time used", Some(Unit::Seconds), |u| u.cpu_seconds),
            (
                "service_cpu_throttled",
                "Time held back by a processor limit",
                Some(Unit::Seconds),
                |u| u.throttled_seconds,
            ),
        ];
        for (name, help, unit, value) in counters {
            let mut metric =
                encoder.encode_descriptor(name, help, unit.as_ref(), MetricType::Counter)?;
            for (service, usage) in &usages {
                if let Some(value) = value(usage) {
                    ConstCounter::new(value)
                        .encode(metric.encode_family(&[("service", *service)])?)?;
                }
            }
        }
        let gauges: [Described<u64>; 2] = [
            ("service_memory_resident", "Resident memory", Some(Unit::Bytes), |u| u.resident_bytes),
            ("service_memory_cache", "Page cache", Some(Unit::Bytes), |u| u.cache_bytes),
        ];
        for (name, help, unit, value) in gauges {
            let mut metric =
                encoder.encode_descriptor(name, help, unit.as_ref(), MetricType::Gauge)?;
            for (service, usage) in &usages {
                if let Some(value) = value(usage) {
                    ConstGauge::new(value as f64)
                        .encode(metric.encode_family(&[("service", *service)])?)?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keyed_files_are_read() {
        assert_eq!(value_of("nr_periods 5\nthrottled_time 700\n", "throttled_time"), Some(700));
        assert_eq!(value_of("throttled_time_x 700\n", "throttled_time"), None);
    }

    #[test]
    fn absent_groups_read_as_nothing() {
        let collector = CgroupCollector {
            root: PathBuf::from("/nonexistent"),
            group: "lab".into(),
            services: vec![],
        };
        assert_eq!(collector.read("api"), Usage::default());
        assert!(!CgroupCollector::available(Path::new("/nonexistent")));
    }
}
