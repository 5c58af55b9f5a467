//! What a metric measures, in which unit, and which way it hurts.

use serde::{Deserialize, Serialize};
use std::fmt;

/// What a metric measures, as far as analysis cares.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum MetricKind {
    /// Processor time used or share of it.
    Cpu,
    /// Memory used or share of it.
    Memory,
    /// How long something takes.
    Latency,
    /// Failures, as a count, a rate or a share.
    Errors,
    /// Share of time or of targets that are up.
    Availability,
    /// Work done per time: requests, bytes, rows.
    Throughput,
    /// How full a bounded resource is: pools, queues, disks.
    Saturation,
    /// Log lines of one template per time.
    LogTemplateCount,
    /// Anything else; both directions count as harmful.
    #[default]
    Other,
}

/// The direction in which a metric hurts.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Harm {
    /// High values hurt: latency, errors, cpu.
    Up,
    /// Low values hurt: availability, throughput.
    Down,
    /// Either may hurt.
    #[default]
    Both,
}

impl Harm {
    /// `deviation` counted in the harmful direction: positive is worse.
    ///
    /// ```
    /// use aiops_core::Harm;
    /// assert_eq!(Harm::Up.of(-2.0), -2.0);
    /// assert_eq!(Harm::Down.of(-2.0), 2.0);
    /// assert_eq!(Harm::Both.of(-2.0), 2.0);
    /// ```
    pub fn of(self, deviation: f64) -> f64 {
        match self {
            Harm::Up => deviation,
            Harm::Down => -deviation,
            Harm::Both => deviation.abs(),
        }
    }
}

/// How much a metric matters; decides which tiers may spend time on it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum MetricClass {
    /// Machines and processes: many, cheap to watch.
    #[default]
    Infrastructure,
    /// What the business counts: seasonal, few.
    Business,
    /// What pages someone when it is wrong.
    Critical,
}

/// A unit, canonical after normalisation: seconds not milliseconds, bytes not megabytes.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Unit {
    /// No unit known, or a plain number.
    #[default]
    None,
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
    /// A share between 0 and 1.
    Ratio,
    /// Something counted.
    Count,
    /// Something counted per second.
    PerSecond,
    /// Bytes per second.
    BytesPerSecond,
}

impl fmt::Display for Unit {
    /// The suffix to print after a value; empty for none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unit::None | Unit::Ratio | Unit::Count => "",
            Unit::Seconds => "s",
            Unit::Bytes => "B",
            Unit::PerSecond => "/s",
            Unit::BytesPerSecond => "B/s",
        })
    }
}

impl MetricKind {
    /// Every kind, in the order of declaration.
    pub const ALL: [MetricKind; 9] = [
        MetricKind::Cpu,
        MetricKind::Memory,
        MetricKind::Latency,
        MetricKind::Errors,
        MetricKind::Availability,
        MetricKind::Throughput,
        MetricKind::Saturation,
        MetricKind::LogTemplateCount,
        MetricKind::Other,
    ];

    /// The direction in which this kind hurts.
    pub const fn harm(self) -> Harm {
        match self {
            MetricKind::Cpu
            | MetricKind::Memory
            | MetricKind::Latency
            | MetricKind::Errors
            | MetricKind::Saturation => Harm::Up,
            MetricKind::Availability | MetricKind::Throughput => Harm::Down,
            // A template that vanished says as much as one that bursts.
            MetricKind::LogTemplateCount | MetricKind::Other => Harm::Both,
        }
    }

    /// The unit that values of this kind have after normalisation, if it has one.
    pub const fn unit(self) -> Unit {
        match self {
            MetricKind::Cpu | MetricKind::Saturation | MetricKind::Availability => Unit::Ratio,
            MetricKind::Memory => Unit::Bytes,
            MetricKind::Latency => Unit::Seconds,
            MetricKind::Errors | MetricKind::Throughput => Unit::PerSecond,
            MetricKind::LogTemplateCount => Unit::Count,
            MetricKind::Other => Unit::None,
        }
    }

    /// The name as it stands in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            MetricKind::Cpu => "cpu",
            MetricKind::Memory => "memory",
            MetricKind::Latency => "latency",
            MetricKind::Errors => "errors",
            MetricKind::Availability => "availability",
            MetricKind::Throughput => "throughput",
            MetricKind::Saturation => "saturation",
            MetricKind::LogTemplateCount => "log_template_count",
            MetricKind::Other => "other",
        }
    }
}

impl fmt::Display for MetricKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_the_json_form() {
        for kind in MetricKind::ALL {
            assert_eq!(serde_json::to_string(&kind).unwrap(), format!("{:?}", kind.name()));
        }
    }
}
