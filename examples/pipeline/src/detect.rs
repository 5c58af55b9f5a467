//! Stage 2: samples become anomalies, and anomalies become alerts by the stated rule.

use std::collections::BTreeMap;

use aiops_core::{
    Alert, AlertRule, Anomaly, Frame, Interner, MetricKind, Sample, SampleBatch, SeriesHash,
    SeriesKey, Timestamp,
};
use aiops_detect::{Change, DetectorExt, Noticed, Tally, Verdict, Watcher};

use crate::observe::Observe;
use crate::{Result, Settings};

/// Two detectors that fail in different ways, and the rule that both must see an anomaly.
///
/// The rolling median is not moved by outliers and follows a shift for minutes, but takes a series
/// that is constant most of the time for infinitely precise. The weighted mean counts every rare
/// step in its variance, but is blinded by the first large one. What both call abnormal within
/// [`Settings::agree_within`] is worth an alert; what only one of them sees is counted.
#[derive(Debug)]
pub struct Detect {
    watchers: [Watcher; 2],
    rule: AlertRule,
    agree_within: std::time::Duration,
    /// What became of the samples, by detector; both judge the same ones.
    pub tallies: [Tally; 2],
    /// How many stretches were seen by at least one of the two.
    pub stretches: u64,
    /// The anomalies that both saw, as they stand, in the order in which they were agreed on.
    pub anomalies: Vec<Anomaly>,
    series: BTreeMap<SeriesHash, Seen>,
}

/// What the two detectors said of one series last.
#[derive(Debug, Default)]
struct Seen {
    by: [Option<Anomaly>; 2],
    /// The anomaly that both agreed on, an index into `anomalies`.
    agreed: Option<usize>,
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
        let robust_policy = settings.robust_policy.clone().build()?;
        let ewma_policy = settings.ewma_policy.clone().build()?;
        let robust = settings.robust.clone().build_bank()?;
        let ewma = settings.ewma.clone().build_bank()?;
        let watchers = [
            Watcher::new(Box::new(robust), robust_policy, Box::new(kind_of.clone())),
            Watcher::new(Box::new(ewma), ewma_policy, Box::new(kind_of)),
        ];
        Ok(Detect {
            watchers,
            rule: settings.alert_rule.clone(),
            agree_within: settings.agree_within,
            tallies: Default::default(),
            stretches: 0,
            anomalies: vec![],
            series: BTreeMap::new(),
        })
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
        let mut alerts = Vec::new();
        for which in 0..self.watchers.len() {
            let mut noticed = Vec::new();
            self.tallies[which] += self.watchers[which].process(batch, interner, &mut noticed)?;
            alerts.extend(noticed.into_iter().filter_map(|n| self.agree(which, n, now)));
        }
        Ok(alerts)
    }

    /// The alert to send when detector `which` noticed something: at first when the other has seen
    /// it too, then when it gets worse and when it is over. One anomaly is one alert.
    fn agree(&mut self, which: usize, noticed: Noticed, now: Timestamp) -> Option<Alert> {
        let Noticed { change, anomaly, .. } = noticed;
        let seen = self.series.entry(anomaly.series.hash()).or_default();
        self.stretches += u64::from(change == Change::Raised);
        seen.by[which] = Some(anomaly);
        let [Some(robust), Some(ewma)] = &seen.by else { return None };
        if let Some(agreed) = seen.agreed
            && self.anomalies[agreed].onset == robust.onset.min(ewma.onset)
        {
            // The median follows a shift for longer: its end is the end.
            if which != 0 && change == Change::Ended {
                return None;
            }
            self.anomalies[agreed] = together(robust, ewma);
            let mut alert = self.rule.alert(&self.anomalies[agreed], now);
            alert.ends_at = (change == Change::Ended).then_some(robust.last_seen);
            return Some(alert);
        }
        let apart = robust.onset.since(ewma.onset).max(ewma.onset.since(robust.onset));
        if change == Change::Ended || apart > self.agree_within {
            return None;
        }
        seen.agreed = Some(self.anomalies.len());
        self.anomalies.push(together(robust, ewma));
        self.anomalies.last().map(|anomaly| self.rule.alert(anomaly, now))
    }
}

/// What both saw as one anomaly: the earlier onset, and the worse of the two judgements.
fn together(robust: &Anomaly, ewma: &Anomaly) -> Anomaly {
    let first = if robust.onset <= ewma.onset { robust } else { ewma };
    Anomaly {
        detector: "robust+ewma".to_owned(),
        onset: first.onset,
        onset_uncertainty: first.onset_uncertainty,
        last_seen: robust.last_seen.max(ewma.last_seen),
        // The less extreme of the two p-values: neither can be trusted far into its tail.
        p_value: robust.p_value.max(ewma.p_value),
        peak_score: robust.peak_score.min(ewma.peak_score),
        reasons: robust.reasons.iter().chain(&ewma.reasons).cloned().collect(),
        ..robust.clone()
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
