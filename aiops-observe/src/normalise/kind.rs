//! What a series measures, told from its name, labels and what the sender declares.
//!
//! Names are conventions, so this is a list of conventions: Prometheus' and OpenMetrics' suffixes,
//! OpenTelemetry's semantic conventions, and the words that exporters use. The first rule that
//! applies decides and its name is kept beside the result, so that a wrong guess can be found and
//! overruled by a [`KindRule`].

use super::pattern::Pattern;
use super::unit::{self, Scaled};
use super::words::*;
use crate::{Declared, Form};
use aiops_core::{Harm, Labels, MetricClass, MetricKind, Unit};
use serde::{Deserialize, Serialize};

/// What is known of a series beside its name.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SeriesInfo {
    /// What it measures.
    pub kind: MetricKind,
    /// In which unit its samples are, after normalisation.
    pub unit: Unit,
    /// Which way it hurts; narrower than that of the kind where the name says so: free memory hurts
    /// when it is low.
    pub harm: Harm,
    /// How much it matters.
    pub class: MetricClass,
    /// How the values on the wire are read: counters and deltas become rates per second.
    pub form: Form,
    /// What the values on the wire are multiplied with to be in `unit`.
    pub factor: f64,
    /// The rule that decided the kind, for example `cpu` or `configured`.
    pub because: &'static str,
}

/// A rule of your own, tried before the built-in ones. What it leaves out is inferred.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct KindRule {
    /// Applies to metrics whose name has this form. Default `*`.
    pub metric: Pattern,
    /// What they measure.
    pub kind: Option<MetricKind>,
    /// Which way they hurt.
    pub harm: Option<Harm>,
    /// How much they matter.
    pub class: Option<MetricClass>,
    /// Their unit on the wire, in the words of Prometheus or UCUM.
    pub unit: Option<String>,
    /// Whether they only grow: their rate is then what is watched.
    pub counter: Option<bool>,
}

/// Infers all that is known of a series. `name` is the metric name, `declared` what the sender says.
pub(crate) fn infer(
    name: &str,
    labels: &Labels,
    declared: Declared<'_>,
    rules: &[KindRule],
) -> SeriesInfo {
    let rule = rules.iter().find(|rule| rule.metric.matches(name));
    let words = Words::of(name);
    let part = Part::of(name, labels);
    let form = form(&words, part, declared.form, rule);
    let counted = match part {
        // Observations are counted in no unit; what was observed is.
        Part::Bucket | Part::Count => Some(Scaled { unit: Unit::Count, factor: 1.0 }),
        _ => {
            let configured = rule.and_then(|rule| rule.unit.as_deref());
            let said =
                configured.and_then(unit::declared).or_else(|| unit::declared(declared.unit));
            said.or_else(|| unit::in_name(&words))
        }
    };
    let facts = Facts { words, labels, part, form, unit: counted.map(|scaled| scaled.unit) };
    let guess = facts.guess();
    let kind = rule.and_then(|rule| rule.kind).unwrap_or(guess.kind);
    let harm = rule.and_then(|rule| rule.harm.or(rule.kind.map(MetricKind::harm)));
    let factor = counted.map_or(1.0, |scaled| scaled.factor);
    SeriesInfo {
        kind,
        unit: facts.unit_after(kind),
        harm: harm.unwrap_or(guess.harm),
        class: rule.and_then(|rule| rule.class).unwrap_or_else(|| facts.class(kind)),
        form,
        factor,
        because: if rule.is_some_and(|rule| rule.kind.is_some()) {
            "configured"
        } else {
            guess.rule
        },
    }
}

/// Which series of a histogram or summary it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Whole,
    Bucket,
    Sum,
    Count,
    Quantile,
}

impl Part {
    fn of(name: &str, labels: &Labels) -> Part {
        if name.ends_with("_bucket") && labels.get("le").is_some() {
            Part::Bucket
        } else if labels.get("quantile").is_some() {
            Part::Quantile
        } else if name.ends_with("_sum") {
            Part::Sum
        } else if name.ends_with("_count") {
            Part::Count
        } else {
            Part::Whole
        }
    }
}

fn form(words: &Words, part: Part, declared: Form, rule: Option<&KindRule>) -> Form {
    match rule.and_then(|rule| rule.counter) {
        Some(true) => return Form::Counter,
        Some(false) => return Form::Gauge,
        None => {}
    }
    match (declared, part) {
        (Form::Distribution, Part::Bucket | Part::Sum | Part::Count) => Form::Counter,
        (Form::Distribution, _) => Form::Gauge,
        (Form::Gauge | Form::Counter | Form::Delta, _) => declared,
        // Nothing was said: `_total` and `_bucket` are counters by convention. `_count` and `_sum`
        // are, too, when a unit of time or size stands before them; `pg_stat_activity_count` and
        // `queue_count` are gauges.
        (Form::Unknown, Part::Bucket) => Form::Counter,
        (Form::Unknown, Part::Sum | Part::Count) if unit::in_name(words).is_some() => Form::Counter,
        (Form::Unknown, _) if words.iter().next_back() == Some("total") => {
            // `node_memory_MemTotal` and `disk_total` are sizes.
            if words.hint(TOTAL_SIZE) { Form::Gauge } else { Form::Counter }
        }
        _ => Form::Gauge,
    }
}

struct Facts<'a> {
    words: Words,
    labels: &'a Labels,
    part: Part,
    form: Form,
    unit: Option<Unit>,
}

struct Guess {
    kind: MetricKind,
    harm: Harm,
    rule: &'static str,
}

fn guess(kind: MetricKind, rule: &'static str) -> Guess {
    Guess { kind, harm: kind.harm(), rule }
}

impl Facts<'_> {
    /// The first convention that applies. The order matters: `..._timeouts_total` of a connection
    /// pool is about errors, not the pool.
    fn guess(&self) -> Guess {
        let (words, rate) = (&self.words, self.is_rate());
        let time = self.unit == Some(Unit::Seconds);
        if words.hint(LOG) {
            return guess(MetricKind::LogTemplateCount, "log template");
        }
        if words.hint(CONSTANT) && !rate && !(time && words.hint(LATENCY)) {
            return guess(MetricKind::Other, "constant");
        }
        if words.hint(UP) && !rate && !time {
            return guess(MetricKind::Availability, "availability");
        }
        if self.labels_say_failed() || words.hint(ERROR) && !(time && rate) {
            return guess(MetricKind::Errors, "errors");
        }
        if self.part == Part::Bucket || self.part == Part::Count && rate {
            // A request that became slow leaves its bucket for another: either way may hurt.
            let harm = if self.part == Part::Count { Harm::Down } else { Harm::Both };
            return Guess { harm, ..guess(MetricKind::Throughput, "histogram") };
        }
        if words.hint(HELD_BACK) {
            // Processor time that was wanted and not given is about the processor.
            if words.hint(CPU) {
                return guess(MetricKind::Cpu, "processor held back");
            }
            return guess(MetricKind::Saturation, "held back");
        }
        if !rate && !time && words.hint(CAPACITY) {
            return guess(MetricKind::Other, "capacity");
        }
        if words.hint(CPU) {
            return Guess { harm: self.harm_of_use(), ..guess(MetricKind::Cpu, "cpu") };
        }
        if time && words.hint(BUSY) {
            return guess(MetricKind::Saturation, "busy time");
        }
        let says_latency = words.hint(LATENCY) && !words.hint(WAITING);
        if says_latency || time && (self.part != Part::Whole || !rate) {
            return guess(MetricKind::Latency, "latency");
        }
        if words.hint(HIT) && self.unit == Some(Unit::Ratio) {
            return Guess { harm: Harm::Down, ..guess(MetricKind::Other, "hit ratio") };
        }
        if words.hint(MEMORY) && !rate {
            return Guess { harm: self.harm_of_use(), ..guess(MetricKind::Memory, "memory") };
        }
        if time && rate {
            return guess(MetricKind::Latency, "time spent");
        }
        if rate && !words.hint(LOCKED) && words.hint(WORK) || words.hint(RATE) {
            let harm = if words.hint(DEMAND) { Harm::Down } else { Harm::Both };
            return Guess { harm, ..guess(MetricKind::Throughput, "work") };
        }
        let stored = self.unit == Some(Unit::Bytes) && !rate && words.hint(STORED);
        if words.hint(BOUNDED) || stored {
            let harm = self.harm_of_use();
            return Guess { harm, ..guess(MetricKind::Saturation, "bounded resource") };
        }
        guess(MetricKind::Other, "none")
    }

    fn is_rate(&self) -> bool {
        matches!(self.form, Form::Counter | Form::Delta)
    }

    /// Status codes and outcomes as labels, on counters and their rates.
    fn labels_say_failed(&self) -> bool {
        self.labels.iter().any(|(name, value)| match name {
            "code"
            | "status"
            | "status_code"
            | "http_status"
            | "http.response.status_code"
            | "http.status_code"
            | "http_response_status_code"
            | "http_status_code" => value.starts_with('5') && value.len() == 3,
            "grpc_code" | "grpc_status" => {
                matches!(
                    value,
                    "Unknown"
                        | "DeadlineExceeded"
                        | "Internal"
                        | "Unavailable"
                        | "DataLoss"
                        | "ResourceExhausted"
                )
            }
            "result" | "outcome" | "kind" | "state" => {
                matches!(value, "error" | "failure" | "failed" | "timeout" | "rejected")
            }
            "error.type" | "error_type" => !value.is_empty(),
            _ => false,
        })
    }

    /// Which way the use of a resource hurts: what is free hurts when it is low.
    fn harm_of_use(&self) -> Harm {
        let state = |name| self.labels.get(name).unwrap_or_default();
        let states = ["mode", "state", "cpu.mode", "cpu_mode", "system.memory.state"].map(state);
        let idle = states.contains(&"idle") || self.words.hint(IDLE);
        if idle && self.words.hint(CPU) || states.contains(&"free") || self.words.hint(SPARE) {
            return Harm::Down;
        }
        // Idle connections are neither good nor bad, nor is a full page cache.
        if idle || self.words.hint(CACHED) { Harm::Both } else { Harm::Up }
    }

    fn unit_after(&self, kind: MetricKind) -> Unit {
        match (self.unit, self.is_rate()) {
            (Some(unit), true) => unit::per_second(unit),
            (Some(unit), false) => unit,
            (None, true) => Unit::PerSecond,
            // OpenTelemetry: a utilization is a share of 1.
            (None, false) if self.words.hint(UTILIZATION) => Unit::Ratio,
            (None, false) => match kind {
                MetricKind::Availability => Unit::Ratio,
                MetricKind::Throughput => Unit::PerSecond,
                MetricKind::Errors | MetricKind::Saturation => Unit::Count,
                _ => Unit::None,
            },
        }
    }

    fn class(&self, kind: MetricKind) -> MetricClass {
        let golden =
            matches!(kind, MetricKind::Availability | MetricKind::Errors | MetricKind::Latency);
        if self.words.hint(BUSINESS) && matches!(kind, MetricKind::Throughput | MetricKind::Other) {
            MetricClass::Business
        } else if kind == MetricKind::Availability || golden && self.words.hint(SERVED) {
            MetricClass::Critical
        } else {
            MetricClass::Infrastructure
        }
    }
}
