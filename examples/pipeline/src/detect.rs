//! Stage 2: samples become anomalies, and anomalies become alerts by the stated rule.

use std::collections::BTreeMap;

use aiops_core::{
    Alert, AlertRule, Anomaly, Frame, Interner, MetricKind, Sample, SampleBatch, SeriesHash,
    SeriesId, SeriesKey, Timestamp,
};
use aiops_detect::router::{Router, RouterConfig};
use aiops_detect::{Change, DetectorExt, Noticed, Tally, Tier, Verdict, Watcher};
use aiops_gpu::{EngineBankConfig, RuleConfig, choose, pretrained};

use crate::observe::Observe;
use crate::{Result, Settings};

/// A router with two detectors that fail in different ways; both must see an anomaly.
///
/// The rolling median is not moved by outliers and follows a shift for minutes, but takes a series
/// that is constant most of the time for infinitely precise. The weighted mean counts every rare
/// step in its variance, but is blinded by the first large one. What both see begin at about the same
/// time is worth an alert; what only one of them sees is counted. With [`Settings::network`] a chain of
/// engines of `aiops-gpu` is the third tier and confirms; where it is not sure, the second does.
#[derive(Debug)]
pub struct Detect {
    router: Router,
    rule: AlertRule,
    /// The anomalies that were told, as they stand, in the order in which they were raised.
    pub anomalies: Vec<Anomaly>,
    /// The latest of each series, an index into `anomalies`.
    latest: BTreeMap<SeriesId, usize>,
}

impl Detect {
    /// A router for the series that `observe` knows.
    ///
    /// # Errors
    /// When the settings are out of range.
    pub fn new(settings: &Settings, observe: &Observe<'_>) -> Result<Self> {
        let kinds: BTreeMap<SeriesHash, MetricKind> =
            observe.normaliser.series().map(|(_, key, info)| (key.hash(), info.kind)).collect();
        let kind_of = move |key: &SeriesKey| kinds.get(&key.hash()).copied().unwrap_or_default();
        let robust = Watcher::new(
            Box::new(settings.robust.clone().build_bank()?),
            settings.robust_policy.clone().build()?,
            Box::new(kind_of.clone()),
        );
        let ewma = Watcher::new(
            Box::new(settings.ewma.clone().build_bank()?),
            settings.ewma_policy.clone().build()?,
            Box::new(kind_of.clone()),
        );
        let mut wanted = settings.router.wanted;
        if settings.network {
            wanted = [Tier::Three; 3];
        }
        let router = RouterConfig { wanted, ..settings.router.clone() };
        let mut router = router.build(robust)?.with(Tier::Two, ewma)?;
        if settings.network {
            let chain = choose(&pretrained::model(RuleConfig::default())?)?.chain;
            let network = Watcher::new(
                Box::new(EngineBankConfig::default().build(Box::new(chain))?),
                settings.ewma_policy.clone().build()?,
                Box::new(kind_of),
            );
            router = router.with(Tier::Three, network)?;
        }
        let (rule, latest) = (settings.alert_rule.clone(), BTreeMap::new());
        Ok(Detect { router, rule, anomalies: vec![], latest })
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
        self.router.process(batch, interner, &mut noticed)?;
        Ok(noticed.into_iter().map(|told| self.alert(told, now)).collect())
    }

    /// One anomaly is one alert, from its first sighting to its end.
    fn alert(&mut self, told: Noticed, now: Timestamp) -> Alert {
        let Noticed { id, change, anomaly } = told;
        let mut alert = self.rule.alert(&anomaly, now);
        alert.ends_at = (change == Change::Ended).then_some(anomaly.last_seen);
        match self.latest.get(&id) {
            Some(latest) if change != Change::Raised => self.anomalies[*latest] = anomaly,
            _ => {
                self.latest.insert(id, self.anomalies.len());
                self.anomalies.push(anomaly);
            }
        }
        alert
    }

    /// What became of the samples: judged by the first detector, and flagged by any.
    pub fn samples(&self) -> (u64, u64) {
        let tallies: Vec<Tally> = self.router.tiers().map(|(_, _, tally)| tally).collect();
        let judged = tallies[0].scored + tallies[0].warming_up;
        (judged, tallies.iter().map(|tally| tally.flagged).sum())
    }

    /// How many stretches were seen by at least one of the two.
    pub fn stretches(&self) -> u64 {
        self.router.stretches().0
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
