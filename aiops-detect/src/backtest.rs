//! What would have been told, and how often, had this been watching.

use std::{collections::BTreeMap, time::Duration};

use aiops_core::{Anomaly, Frame, Interner, Sample, SampleBatch, SeriesKey, Timestamp};

use crate::{Change, Result, Tally, Watcher};

/// The answer of a backtest. The watcher is warm afterwards.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Backtest {
    /// Every anomaly that would have been raised, as it stood at its end or at the end of history, in
    /// the order they were raised.
    pub raised: Vec<Anomaly>,
    /// What became of the samples.
    pub tally: Tally,
    /// From the first to the last sample.
    pub span: Duration,
}

impl Backtest {
    /// Anomalies a day, over all series; 0 for a history of no length.
    pub fn per_day(&self) -> f64 {
        let days = self.span.as_secs_f64() / 86_400.0;
        if days > 0.0 { self.raised.len() as f64 / days } else { 0.0 }
    }
}

/// Samples that are processed together.
const BATCH: usize = 4_096;

/// Plays a history, in order of time, to a watcher: what would it have told, and how often?
///
/// The watcher is left warm, so the same call starts it with the past and then goes live.
///
/// # Errors
/// When the interner is full, or as [`Watcher::process`].
///
/// ```
/// use aiops_core::{Interner, MetricKind, Sample, SeriesKey, Timestamp};
/// use aiops_detect::{PolicyConfig, Watcher, backtest, tier1::RobustConfig};
/// let bank = RobustConfig::default().build_bank()?;
/// let policy = PolicyConfig::default().build()?;
/// let mut watcher = Watcher::new(Box::new(bank), policy, Box::new(|_| MetricKind::Latency));
/// let key = SeriesKey::new("latency_p99", [("service", "api")]);
/// let history = (0..600).map(|second| {
///     let slow = (400..430).contains(&second);
///     let value = if slow { 3.0 } else { 0.2 + 0.01 * (second % 7) as f64 };
///     (key.clone(), Sample::new(Timestamp::from_secs(second), value))
/// });
/// let answer = backtest(&mut watcher, &mut Interner::new(10), history)?;
/// assert_eq!(answer.raised.len(), 1);
/// assert_eq!(answer.raised[0].onset, Timestamp::from_secs(400));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn backtest(
    watcher: &mut Watcher,
    interner: &mut Interner,
    history: impl IntoIterator<Item = (SeriesKey, Sample)>,
) -> Result<Backtest> {
    let mut answer = Backtest::default();
    let mut open: BTreeMap<u32, usize> = BTreeMap::new();
    let (mut first, mut last) = (None, Timestamp::MIN);
    let mut history = history.into_iter().peekable();
    let (mut ids, mut times, mut values) = (Vec::new(), Vec::new(), Vec::new());
    let mut noticed = Vec::new();
    while history.peek().is_some() {
        ids.clear();
        times.clear();
        values.clear();
        for (key, sample) in history.by_ref().take(BATCH) {
            ids.push(interner.intern(&key, sample.time)?);
            times.push(sample.time);
            values.push(sample.value);
            first.get_or_insert(sample.time);
            last = last.max(sample.time);
        }
        let batch = SampleBatch::new(&ids, &times, &values)?;
        noticed.clear();
        answer.tally += watcher.process(&batch, interner, &mut noticed)?;
        for told in noticed.drain(..) {
            // An anomaly that resumes is the one that was raised before.
            let place = match (told.change, open.get(&told.id.0)) {
                (Change::Raised, _) | (_, None) => {
                    answer.raised.push(told.anomaly.clone());
                    *open.entry(told.id.0).insert_entry(answer.raised.len() - 1).get()
                }
                (_, Some(place)) => *place,
            };
            answer.raised[place] = told.anomaly;
        }
    }
    for anomaly in watcher.open(interner) {
        let place = interner.intern(&anomaly.series, last).ok().and_then(|id| open.get(&id.0));
        if let Some(place) = place {
            answer.raised[*place] = anomaly;
        }
    }
    answer.span = first.map_or(Duration::ZERO, |first| last.since(first));
    Ok(answer)
}

/// The samples of a frame, step by step, as a history for [`backtest`].
pub fn samples_of(frame: &Frame) -> impl Iterator<Item = (SeriesKey, Sample)> + '_ {
    (0..frame.n_steps()).flat_map(move |step| {
        let time = frame.time(step);
        let sample = move |row: usize| Sample::new(time, frame.row(row)[step]);
        frame.series().iter().enumerate().map(move |(row, key)| (key.clone(), sample(row)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PolicyConfig, tier1::RobustConfig};
    use aiops_core::MetricKind;

    #[test]
    fn a_frame_is_a_history_and_warms_up() {
        let keys: Vec<_> =
            ["a", "b"].iter().map(|name| SeriesKey::new(*name, [("service", "api")])).collect();
        let value = |row: usize, step: usize| {
            let trouble = row == 1 && (200..230).contains(&step);
            if trouble { 50.0 } else { 10.0 + (step % 5) as f64 }
        };
        let values = (0..2).flat_map(|row| (0..300).map(move |step| value(row, step))).collect();
        let frame = Frame::new(keys, Timestamp::EPOCH, Duration::from_secs(60), values).unwrap();
        let bank = RobustConfig::default().build_bank().unwrap();
        let policy = PolicyConfig::default().build().unwrap();
        let mut watcher = Watcher::new(Box::new(bank), policy, Box::new(|_| MetricKind::Other));
        let mut interner = Interner::new(10);
        let answer = backtest(&mut watcher, &mut interner, samples_of(&frame)).unwrap();
        assert_eq!(answer.raised.len(), 1);
        assert_eq!(answer.raised[0].series.name, "b");
        assert_eq!(answer.raised[0].last_seen, frame.time(229), "as it stood at its end");
        assert_eq!((answer.tally.rows(), answer.span), (600, Duration::from_secs(299 * 60)));
        assert!((answer.per_day() - 86_400.0 / (299.0 * 60.0)).abs() < 1e-9);
    }
}
