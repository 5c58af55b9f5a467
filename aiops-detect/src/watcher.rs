//! [`Watcher`]: samples in, anomalies out. A bank and a policy, wired.

use aiops_core::{
    Anomaly, Interner, MetricKind, SampleBatch, SeriesId, SeriesKey, Shard, SnapshotReader,
    SnapshotWriter, Timestamp, report, telemetry,
};

use crate::{
    Calendar, Change, DetectorBank, Episode, Flagged, Policy, Result, Tally,
    shard::{self, PerSeriesState},
};

/// Something to tell about the anomaly of one series.
#[derive(Debug, Clone, PartialEq)]
pub struct Noticed {
    /// The series.
    pub id: SeriesId,
    /// What happened to the anomaly.
    pub change: Change,
    /// The anomaly as it stands.
    pub anomaly: Anomaly,
}

/// Finds the kind of a metric from its series.
pub type KindOf = dyn Fn(&SeriesKey) -> MetricKind + Send;

/// Watches many series with one bank and one policy.
///
/// ```
/// use aiops_core::{Interner, MetricKind, SampleBatch, SeriesKey, Timestamp};
/// use aiops_detect::{Change, PolicyConfig, Watcher, tier1::RobustConfig};
///
/// let mut interner = Interner::new(1_000);
/// let key = SeriesKey::new("latency_p99", [("service", "api")]);
/// let mut watcher = Watcher::new(
///     Box::new(RobustConfig::default().build_bank()?),
///     PolicyConfig::default().build()?,
///     Box::new(|_| MetricKind::Latency),
/// );
/// let mut noticed = Vec::new();
/// for second in 0..200 {
///     let now = Timestamp::from_secs(second);
///     let id = interner.intern(&key, now)?;
///     let value = if second < 150 { 0.2 + 0.01 * (second % 7) as f64 } else { 3.0 };
///     let (ids, times, values) = ([id], [now], [value]);
///     let batch = SampleBatch::new(&ids, &times, &values)?;
///     watcher.process(&batch, &interner, &mut noticed)?;
/// }
/// assert_eq!(noticed[0].change, Change::Raised);
/// assert_eq!(noticed[0].anomaly.onset, Timestamp::from_secs(150));
/// println!("{}", noticed[0].anomaly.reasons[0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Watcher {
    bank: Box<dyn DetectorBank>,
    policy: Policy,
    kind_of: Box<KindOf>,
    calendar: Calendar,
    scores: Vec<f64>,
    flagged: Vec<Flagged>,
}

impl std::fmt::Debug for Watcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watcher").field("bank", &self.bank.name()).finish_non_exhaustive()
    }
}

impl Watcher {
    /// Wires a bank to a policy.
    pub fn new(bank: Box<dyn DetectorBank>, policy: Policy, kind_of: Box<KindOf>) -> Self {
        let (scores, flagged) = (Vec::new(), Vec::new());
        Watcher { bank, policy, kind_of, calendar: Calendar::default(), scores, flagged }
    }

    /// From `from` until before `until`, nothing is learnt and nothing raised: maintenance, a known
    /// incident. May be called for the past before history is played.
    pub fn exclude(&mut self, from: Timestamp, until: Timestamp) {
        self.calendar.spans.push((from, until));
    }

    /// Nothing is learnt and nothing raised in the time that a calendar excludes; replaces the one before,
    /// and what was [excluded](Self::exclude) so far.
    ///
    /// # Errors
    /// Those of [`Calendar::check`].
    pub fn set_calendar(&mut self, calendar: Calendar) -> Result<()> {
        calendar.check()?;
        self.calendar = calendar;
        Ok(())
    }

    /// Judges and learns a batch, and appends what there is to tell. Rows are in order per series.
    ///
    /// Scores are at [`scores`](Self::scores) and flagged rows at [`flagged`](Self::flagged)
    /// afterwards.
    ///
    /// # Errors
    /// Those of [`DetectorBank::update`].
    pub fn process(
        &mut self,
        batch: &SampleBatch<'_>,
        interner: &Interner,
        noticed: &mut Vec<Noticed>,
    ) -> Result<Tally> {
        self.scores.clear();
        self.scores.resize(batch.len(), 0.0);
        self.flagged.clear();
        if batch.times().iter().any(|time| self.is_excluded(*time)) {
            return self.process_around_exclusions(batch, interner, noticed);
        }
        let tally = self.bank.update(batch, &mut self.scores, &mut self.flagged)?;
        self.apply(batch, interner, noticed);
        tally.report();
        Ok(tally)
    }

    /// Scores of the last batch.
    pub fn scores(&self) -> &[f64] {
        &self.scores
    }

    /// Flagged rows of the last batch.
    pub fn flagged(&self) -> &[Flagged] {
        &self.flagged
    }

    /// The bank.
    pub fn bank(&self) -> &dyn DetectorBank {
        &*self.bank
    }

    /// Anomalies that have not ended.
    pub fn open(&self, interner: &Interner) -> Vec<Anomaly> {
        self.policy
            .open()
            .filter_map(|(id, episode)| Some(self.anomaly(id, episode, interner.key(id)?)))
            .collect()
    }

    /// Everything that bank and policy know about the series of one shard.
    pub fn snapshot_shard(&self, interner: &Interner, shard: Shard) -> Vec<u8> {
        shard::snapshot(self, interner, shard)
    }

    /// Replaces what is known about the series of one shard, and returns how many series came. They
    /// continue bit for bit, anomalies that are open included.
    ///
    /// # Errors
    /// As [`restore_shard`](crate::restore_shard); the watcher is then as it was.
    pub fn restore_shard(
        &mut self,
        interner: &mut Interner,
        shard: Shard,
        bytes: &[u8],
        now: Timestamp,
    ) -> Result<usize> {
        shard::restore(self, interner, shard, bytes, now)
    }

    /// The kind of a metric, as this watcher was told to find it.
    pub(crate) fn kind(&self, key: &SeriesKey) -> MetricKind {
        (self.kind_of)(key)
    }

    /// The anomaly of a series that is open or ended lately.
    pub(crate) fn anomaly_of(&self, id: SeriesId, interner: &Interner) -> Option<Anomaly> {
        Some(self.anomaly(id, self.policy.episode(id)?, interner.key(id)?))
    }

    /// The flagged rows of the last batch, to be marked.
    pub(crate) fn flagged_mut(&mut self) -> &mut Vec<Flagged> {
        &mut self.flagged
    }

    /// Forgets these series, in the bank and in the policy.
    pub fn release(&mut self, ids: &[SeriesId]) {
        self.bank.release(ids);
        self.policy.release(ids);
    }

    fn process_around_exclusions(
        &mut self,
        batch: &SampleBatch<'_>,
        interner: &Interner,
        noticed: &mut Vec<Noticed>,
    ) -> Result<Tally> {
        let rows: Vec<usize> =
            (0..batch.len()).filter(|row| !self.is_excluded(batch.times()[*row])).collect();
        let ids: Vec<_> = rows.iter().map(|row| batch.ids()[*row]).collect();
        let times: Vec<_> = rows.iter().map(|row| batch.times()[*row]).collect();
        let values: Vec<_> = rows.iter().map(|row| batch.values()[*row]).collect();
        let rest = SampleBatch::new(&ids, &times, &values).expect("three columns of one length");
        let mut scores = vec![0.0; rows.len()];
        let mut tally = self.bank.update(&rest, &mut scores, &mut self.flagged)?;
        tally.excluded += (batch.len() - rows.len()) as u64;
        self.apply(&rest, interner, noticed);
        for (i, row) in rows.iter().enumerate() {
            self.scores[*row] = scores[i];
        }
        for flagged in &mut self.flagged {
            flagged.row = rows[flagged.row];
        }
        tally.report();
        Ok(tally)
    }

    fn apply(&mut self, batch: &SampleBatch<'_>, interner: &Interner, noticed: &mut Vec<Noticed>) {
        let mut flagged = self.flagged.iter().peekable();
        for (row, (id, sample)) in batch.iter().enumerate() {
            let change = match flagged.next_if(|flagged| flagged.row == row) {
                Some(Flagged { verdict, .. }) => {
                    let harm = interner.key(id).map_or_else(Default::default, &self.kind_of).harm();
                    self.policy.observe_flagged(id, sample, verdict, harm)
                }
                None if sample.is_gap() => None,
                None => self.policy.observe_normal(id, sample),
            };
            if let Some(change) = change
                && let (Some(episode), Some(key)) = (self.policy.episode(id), interner.key(id))
            {
                telemetry::count("aiops_detect_anomalies_total", "change", change.name(), 1);
                report!(debug, "aiops_detect", "an anomaly changed";
                    change = change.name(), series = key, p_value = episode.verdict.p_value);
                noticed.push(Noticed { id, change, anomaly: self.anomaly(id, episode, key) });
            }
        }
    }

    fn is_excluded(&self, time: Timestamp) -> bool {
        self.calendar.excludes(time).is_some()
    }

    fn anomaly(&self, id: SeriesId, episode: &Episode, key: &SeriesKey) -> Anomaly {
        Anomaly {
            series: key.clone(),
            kind: (self.kind_of)(key),
            onset: episode.onset,
            onset_uncertainty: episode.onset_uncertainty,
            last_seen: episode.last_seen,
            peak_score: episode.verdict.score,
            p_value: episode.verdict.p_value,
            expected: episode.verdict.expected,
            observed: episode.peak.value,
            direction: episode.verdict.direction,
            detector: self.bank.name().to_owned(),
            reasons: vec![self.bank.explain(id, episode.peak, &episode.verdict)],
        }
    }
}

impl PerSeriesState for Watcher {
    fn kind(&self) -> String {
        format!("watch:{}", self.bank.name())
    }

    fn save(&self, id: SeriesId, out: &mut SnapshotWriter) {
        self.policy.save(id, out);
        self.bank.save(id, out);
    }

    fn load(&mut self, id: SeriesId, from: &mut SnapshotReader<'_>) -> Result<()> {
        let track = self.policy.read(from)?;
        self.bank.load(id, from)?;
        self.policy.put(id, track);
        Ok(())
    }

    fn release(&mut self, ids: &[SeriesId]) {
        Watcher::release(self, ids);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PolicyConfig, tier1::RobustConfig};

    #[test]
    fn excluded_time_is_neither_judged_nor_learnt_and_is_counted() {
        let mut interner = Interner::new(10);
        let id = interner
            .intern(&SeriesKey::new("cpu", [("service", "api")]), Timestamp::EPOCH)
            .unwrap();
        let bank = RobustConfig::default().build_bank().unwrap();
        let policy = PolicyConfig::default().build().unwrap();
        let mut watcher = Watcher::new(Box::new(bank), policy, Box::new(|_| MetricKind::Cpu));
        watcher.exclude(Timestamp::from_secs(100), Timestamp::from_secs(150));
        let times: Vec<_> = (0..200).map(Timestamp::from_secs).collect();
        let value = |s: i64| if (100..150).contains(&s) { 90.0 } else { (s % 5) as f64 + 10.0 };
        let values: Vec<_> = (0..200).map(value).collect();
        let ids = [id; 200];
        let batch = SampleBatch::new(&ids, &times, &values).unwrap();
        let mut noticed = Vec::new();
        let tally = watcher.process(&batch, &interner, &mut noticed).unwrap();
        assert_eq!((tally.excluded, tally.rows()), (50, 200));
        assert!(noticed.is_empty() && watcher.flagged().is_empty(), "{noticed:?}");
    }
}
