//! Stage 2: samples become anomalies, and anomalies become alerts by the stated rule.

use std::collections::BTreeMap;

use aiops_core::{
    Alert, AlertRule, Anomaly, Frame, Interner, MetricKind, Sample, SampleBatch, SeriesHash,
    SeriesKey, Timestamp,
};
use aiops_detect::{Change, DetectorExt, Noticed, Tally, Verdict, Watcher};

use crate::observe::Observe;
use crate::{Result, Settings};

/// Two detectors that fail in different ways: the median is not moved by outliers, the weighted
/// mean sees smaller shifts.
#[derive(Debug)]
pub struct Detect {
    watchers: [Watcher; 2],
    rule: AlertRule,
    /// What became of the samples, by detector; both judge the same ones.
    pub tallies: [Tally; 2],
    /// Every anomaly as it stands, in the order of its confirmation.
    pub anomalies: Vec<Anomaly>,
    at: BTreeMap<(SeriesHash, String, Timestamp), usize>,
}

impl Detect {
    /// Watchers for the series that `observe` knows.
    ///
    /// # Errors
    /// When the settings are out of range.
    pub fn new(settings: &Settings, observe: &Observe<'_>) -> Result<Self> {
        let kinds: BTreeMap<SeriesHash, MetricKind> =
            observe.normaliser.series().map(|(_, key, info)| (key.hash(), info.kind)).collect();
        let kind_of = move |key: &SeriesKey| kinds.get(&key.hash()).copied().unwrap_or_default();
        let policy = settings.policy.clone();
        let robust = settings.robust.clone().build_bank()?;
        let ewma = settings.ewma.clone().build_bank()?;
        let watchers = [
            Watcher::new(Box::new(robust), policy.clone().build()?, Box::new(kind_of.clone())),
            Watcher::new(Box::new(ewma), policy.build()?, Box::new(kind_of)),
        ];
        let rule = settings.alert_rule.clone();
        Ok(Detect { watchers, rule, tallies: Default::default(), anomalies: vec![], at: BTreeMap::new() })
    }

    /// Judges and learns a batch; what is worth telling comes back as alerts that arrive at `now`.
    ///
    /// # Errors
    /// Those of the banks.
    pub fn detect(
        &mut self,
        batch: &SampleBatch<'_>,
        interner: &Interner,
        now: Timestamp,
    ) -> Result<Vec<Alert>> {
        let mut noticed = Vec::new();
        for (watcher, tally) in self.watchers.iter_mut().zip(&mut self.tallies) {
            *tally += watcher.process(batch, interner, &mut noticed)?;
        }
        Ok(noticed.into_iter().map(|noticed| self.alert(noticed, now)).collect())
    }

    /// One anomaly is one alert however often it is told; its end is the end of the alert.
    fn alert(&mut self, noticed: Noticed, now: Timestamp) -> Alert {
        let Noticed { change, anomaly, .. } = noticed;
        let mut alert = self.rule.alert(&anomaly, now);
        if change == Change::Ended {
            alert.ends_at = Some(anomaly.last_seen);
        }
        let key = (anomaly.series.hash(), anomaly.detector.clone(), anomaly.onset);
        let place = *self.at.entry(key).or_insert(self.anomalies.len());
        if place < self.anomalies.len() {
            self.anomalies[place] = anomaly;
        } else {
            self.anomalies.push(anomaly);
        }
        alert
    }
}

/// The verdicts that the robust detector gave on a whole row: the band of a chart.
///
/// A bank equals its detector, so this is what the replay saw; keeping every band of every series
/// would cost more than asking again for the few that are drawn.
pub fn verdicts(settings: &Settings, metrics: &Frame, row: usize) -> Vec<Verdict> {
    let Ok(mut detector) = settings.robust.clone().build() else { return vec![] };
    let values = metrics.row(row).iter().enumerate();
    detector.replay(values.map(|(step, &value)| Sample::new(metrics.time(step), value)))
}
