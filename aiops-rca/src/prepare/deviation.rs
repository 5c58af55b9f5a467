//! How far one metric left its normal range, in the direction that hurts.

use super::{PrepareConfig, onset};
use crate::stats::{finite, mean_std, quantile, upper_mean};
use crate::{Context, MetricInfo, parallel};
use aiops_core::{Frame, Harm, MetricKind, SeriesKey, Timestamp};
use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

/// How far one metric is from normal.
#[derive(Debug, Clone, PartialEq)]
pub struct Deviation {
    /// The row of the window; `None` for an anomaly of a series that the window lacks.
    pub row: Option<usize>,
    /// The series.
    pub series: SeriesKey,
    /// What it measures.
    pub kind: MetricKind,
    /// Robust standard deviations of harm; zero when nothing is worse than before.
    pub score: f64,
    /// The same harm in the metric's own unit.
    pub excess: f64,
    /// Harm times the work done: seconds lost or requests failed in a step. Only for metrics whose
    /// trouble travels to dependents, and where the service has a throughput.
    pub impact: Option<f64>,
    /// The normal level.
    pub expected: f64,
    /// The worst value of the incident.
    pub observed: f64,
    /// When it began, if it became abnormal at all.
    pub onset: Option<Timestamp>,
    /// How far the true onset may be from that, either way.
    pub onset_uncertainty: Duration,
}

impl Deviation {
    /// Whether trouble of this kind is felt by those who depend on the service. A slow or failing
    /// callee makes a slow or failing caller; a busy processor or a full disk stays where it is.
    pub fn travels(&self) -> bool {
        travels(self.kind)
    }

    /// The metric as a person names it inside its service: `cpu{mode="user"}`.
    pub fn metric(&self) -> String {
        let mut short = self.series.clone();
        short.labels.remove("service");
        short.tenant.clear();
        short.to_string()
    }
}

fn travels(kind: MetricKind) -> bool {
    matches!(kind, MetricKind::Latency | MetricKind::Errors | MetricKind::Availability)
}

/// The steps of the window that count as before, and those that count as the incident.
pub(super) struct Spans {
    pub(super) before: Range<usize>,
    pub(super) incident: Range<usize>,
}

impl Spans {
    pub(super) fn of(config: &PrepareConfig, context: &Context<'_>) -> Spans {
        let frame = context.window;
        let (step, n) = (frame.step(), frame.n_steps());
        // Step j covers [time(j), time(j) + step): one that started before may hold the beginning.
        let ended_by = |at: Timestamp| (0..n).take_while(|&j| frame.time(j) + step <= at).count();
        let first = ended_by(context.began);
        let until = context.began + config.horizon.max(step.saturating_mul(4));
        let last = (first..n).find(|&j| frame.time(j) >= until).unwrap_or(n);
        let third = frame.step().saturating_mul(first as u32) / 3;
        let guard = config.alarm_delay.min(third).max(step.saturating_mul(3) / 4);
        Spans { before: 0..ended_by(context.began - guard), incident: first..last }
    }

    /// The part of `before` in which a level that is no news would be seen.
    fn recent(&self, frame: &Frame, config: &PrepareConfig) -> Range<usize> {
        let steps = (config.lookback.as_nanos() / frame.step().as_nanos()) as usize;
        self.before.end.saturating_sub(steps.max(1))..self.before.end
    }
}

/// One entry for each row, in the order of rows; `None` for a row that belongs to no service, has
/// too little normal time, or nothing but gaps in the incident.
pub(super) fn all(config: &PrepareConfig, context: &Context<'_>) -> Vec<Option<Deviation>> {
    let spans = Spans::of(config, context);
    let carriers = carriers(context);
    let one = |row: usize| one(config, context, &spans, carriers[row], row);
    parallel::map_below(context.window.n_series(), one)
}

/// For each row whose trouble travels, the row with the work done by the same service. With several
/// the first by name, so that the order of rows decides nothing.
fn carriers(context: &Context<'_>) -> Vec<Option<usize>> {
    let keys = context.window.series();
    let mut work: BTreeMap<&str, usize> = BTreeMap::new();
    for (row, info) in context.metrics.iter().enumerate() {
        if let (MetricKind::Throughput, None, Some(service)) =
            (info.kind, &info.seen_by, info.service.as_deref())
        {
            let known = work.entry(service).or_insert(row);
            if keys[row] < keys[*known] {
                *known = row;
            }
        }
    }
    let carrier = |info: &MetricInfo| {
        let own = travels(info.kind) && info.seen_by.is_none();
        info.service.as_deref().filter(|_| own).and_then(|service| work.get(service).copied())
    };
    context.metrics.iter().map(carrier).collect()
}

fn one(
    config: &PrepareConfig,
    context: &Context<'_>,
    spans: &Spans,
    carrier: Option<usize>,
    row: usize,
) -> Option<Deviation> {
    let frame = context.window;
    let info = &context.metrics[row];
    info.service.as_ref()?;
    let values = frame.row(row);
    let reference = match context.normal {
        Some(normal) => normal.row(row),
        None => &values[spans.before.clone()],
    };
    let mut normal = finite(reference);
    let needed = config.min_coverage * reference.len() as f64;
    if normal.len() < config.min_normal || (normal.len() as f64) < needed {
        return None;
    }
    let incident = &values[spans.incident.clone()];
    if !incident.iter().any(|v| v.is_finite()) {
        return None;
    }
    let baseline = Baseline::of(&mut normal, config);
    let recent = finite(&values[spans.recent(frame, config)]);
    let harms = signs(info.harm).iter().map(|&sign| Excess::of(&baseline, &recent, sign));
    let score = |harm: &Excess<'_>| upper(incident.iter().map(|&v| harm.at(v)), config.upper_share);
    let (excess, harm) = harms
        .map(|harm| (score(&harm), harm))
        .reduce(|best, other| if other.0 > best.0 { other } else { best })?;

    let impact = carrier.map(|carrier| {
        let work = &frame.row(carrier)[spans.incident.clone()];
        upper(incident.iter().zip(work).map(|(&v, work)| harm.at(v) * work), config.upper_share)
    });
    let worst = |a: f64, b: f64| if harm.sign > 0.0 { a.max(b) } else { a.min(b) };
    // An onset may lie before the time that was given, because an alarm comes late.
    let watched = spans.before.end..spans.incident.end;
    let standard: Vec<f64> =
        values[watched.clone()].iter().map(|&v| baseline.score(harm.signed(v), config)).collect();
    let onset = onset::estimate(&standard, config.abnormal);
    Some(Deviation {
        row: Some(row),
        series: frame.series()[row].clone(),
        kind: info.kind,
        score: baseline.score(excess, config),
        excess,
        impact,
        expected: baseline.median,
        observed: incident.iter().copied().filter(|v| v.is_finite()).fold(f64::NAN, worst),
        onset: onset.map(|onset| frame.time(watched.start + onset.step)),
        onset_uncertainty: frame
            .step()
            .saturating_mul(onset.map_or(1, |onset| onset.uncertainty as u32)),
    })
}

struct Baseline {
    median: f64,
    scale: f64,
}

impl Baseline {
    /// Scale = max(IQR / 1.349, share of the standard deviation, share of |median|): what the
    /// quartiles of a mostly flat series miss, the other terms see.
    fn of(normal: &mut [f64], config: &PrepareConfig) -> Baseline {
        let (_, std) = mean_std(normal);
        let median = quantile(normal, 0.5);
        let iqr = quantile(normal, 0.75) - quantile(normal, 0.25);
        let floor = config.relative_floor * median.abs();
        let scale = (iqr / 1.349).max(config.std_share * std).max(floor);
        Baseline { median, scale }
    }

    /// `excess` in robust standard deviations. A series that was exactly zero all the time has no
    /// scale of its own: whatever appears gets `flat_score`. Dividing by a tiny number instead
    /// would let one first error outweigh every other evidence.
    fn score(&self, excess: f64, config: &PrepareConfig) -> f64 {
        if self.scale > 0.0 {
            // The bound only keeps denormal scales from overflowing.
            (excess / self.scale).min(1e12)
        } else if excess > 0.0 {
            config.flat_score
        } else {
            if excess.is_nan() { excess } else { 0.0 }
        }
    }
}

/// Harm in one direction, in the metric's unit, beyond what was already there.
struct Excess<'a> {
    baseline: &'a Baseline,
    sign: f64,
    already: f64,
}

impl<'a> Excess<'a> {
    /// `already` is the lower median of the recent harmful levels: of two steps that disagree the
    /// innocent one counts, because the other may hold the beginning.
    fn of(baseline: &'a Baseline, recent: &[f64], sign: f64) -> Self {
        let mut levels: Vec<f64> = recent.iter().map(|v| sign * (v - baseline.median)).collect();
        let already = match levels.len() {
            0 => 0.0,
            n => *levels.select_nth_unstable_by((n - 1) / 2, f64::total_cmp).1,
        };
        Excess { baseline, sign, already: already.max(0.0) }
    }

    fn signed(&self, value: f64) -> f64 {
        self.sign * (value - self.baseline.median) - self.already
    }

    /// NaN for a gap.
    fn at(&self, value: f64) -> f64 {
        let signed = self.signed(value);
        if signed < 0.0 { 0.0 } else { signed }
    }
}

fn upper(values: impl Iterator<Item = f64>, share: f64) -> f64 {
    let mut values: Vec<f64> = values.filter(|v| v.is_finite()).collect();
    upper_mean(&mut values, share)
}

fn signs(harm: Harm) -> &'static [f64] {
    match harm {
        Harm::Up => &[1.0],
        Harm::Down => &[-1.0],
        Harm::Both => &[1.0, -1.0],
    }
}
