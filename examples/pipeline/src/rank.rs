//! Stage 4: who or what caused an incident, with what is known by now.

use aiops_core::{
    Anomaly, Depends, Event, Incident, MetricKind, Ranking, SeriesKey, Timestamp, Topology,
};
use aiops_rca::{Bayes, Context, RootCauseAnalyzer};

use crate::observe::Observe;
use crate::{Result, Settings};

/// The analyzer and what it is given beside the metrics.
#[derive(Debug)]
pub struct Rank<'a> {
    /// For an onset that a detector saw.
    seen: Bayes,
    /// For one that is only known from an alarm, which comes later than what it is about.
    alarmed: Bayes,
    topology: &'a Topology,
    changes: &'a [Event],
    symptoms: Vec<SeriesKey>,
    settings: Settings,
}

impl<'a> Rank<'a> {
    /// An analyzer for one recorded system.
    ///
    /// # Errors
    /// When the settings are out of range.
    pub fn new(
        settings: &Settings,
        topology: &'a Topology,
        changes: &'a [Event],
        observe: &Observe<'_>,
    ) -> Result<Self> {
        let seen = settings.rank.clone().build()?;
        let mut config = settings.rank.clone();
        config.bayes.prepare.alarm_delay = settings.alarm_delay;
        let alarmed = config.build()?;
        let symptoms = symptoms(topology, observe);
        Ok(Rank { seen, alarmed, topology, changes, symptoms, settings: settings.clone() })
    }

    /// Ranks the causes of `incident` by what was seen until `now`.
    ///
    /// # Errors
    /// Those of the analyzer.
    pub fn rank(
        &self,
        incident: &Incident,
        observe: &Observe<'_>,
        anomalies: &[Anomaly],
        now: Timestamp,
    ) -> Result<Ranking> {
        let began = incident.onset;
        let metrics = &observe.metrics;
        let from = metrics.step_of(began - self.settings.normal).unwrap_or(0);
        let to = metrics.step_of(now).map_or(metrics.n_steps(), |step| step + 1);
        let window = metrics.slice(from, to)?;
        let slack = self.settings.rank.bayes.prepare.alarm_delay;
        let near = |onset: Timestamp| onset + slack >= began && onset <= now;
        let is_seen = |anomaly: &Anomaly| near(anomaly.onset) && anomaly.onset <= began + slack;
        let analyzer = if anomalies.iter().any(is_seen) { &self.seen } else { &self.alarmed };
        let anomalies: Vec<Anomaly> =
            anomalies.iter().filter(|anomaly| near(anomaly.onset)).cloned().collect();
        let known = self.changes.partition_point(|change| change.starts_at <= now);
        let context = Context {
            anomalies: &anomalies,
            changes: &self.changes[..known],
            symptoms: &self.symptoms,
            incident: Some(incident.id),
            ..Context::new(&window, &observe.infos, self.topology, began)?
        };
        Ok(analyzer.rank(&context)?)
    }
}

/// What users feel: errors and latency of the services that nobody in the topology calls.
fn symptoms(topology: &Topology, observe: &Observe<'_>) -> Vec<SeriesKey> {
    let is_entry = |service: &str| {
        topology.node_id(service).is_some_and(|id| {
            topology.neighbours(id, Depends::Dependents).is_empty()
                && !topology.neighbours(id, Depends::Dependencies).is_empty()
        })
    };
    let rows = observe.metrics.series().iter().zip(&observe.infos);
    let felt = rows.filter(|(_, info)| {
        matches!(info.kind, MetricKind::Errors | MetricKind::Latency)
            && info.service.as_deref().is_some_and(is_entry)
    });
    felt.map(|(key, _)| key.clone()).collect()
}
