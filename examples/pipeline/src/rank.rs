//! Stage 4: who or what caused an incident, with what is known by now.

use std::time::Duration;

use aiops_core::{Anomaly, Depends, Event, Incident, MetricKind, SeriesKey, Timestamp, Topology};
use aiops_rca::{Bayes, Context, RootCauseAnalyzer};

use crate::observe::Observe;
use crate::story::RankedAt;
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

    /// Ranks the causes of `incident` by what was seen until `now`, and says when it began.
    ///
    /// # Errors
    /// Those of the analyzer.
    pub fn rank(
        &self,
        incident: &Incident,
        observe: &Observe<'_>,
        anomalies: &[Anomaly],
        now: Timestamp,
    ) -> Result<RankedAt> {
        let slack = self.settings.rank.bayes.prepare.alarm_delay;
        let ours = |anomaly: &&Anomaly| {
            let service = anomaly.series.service();
            anomaly.onset >= incident.onset
                && anomaly.onset <= now
                && service.is_some_and(|service| incident.services.contains(service))
        };
        let seen = began(anomalies.iter().filter(ours).map(|anomaly| anomaly.onset).collect());
        let (began, analyzer) = match seen {
            Some(began) => (began, &self.seen),
            None => (incident.onset, &self.alarmed),
        };
        let metrics = &observe.metrics;
        let from = metrics.step_of(began - self.settings.normal).unwrap_or(0);
        let to = metrics.step_of(now).map_or(metrics.n_steps(), |step| step + 1);
        let window = metrics.slice(from, to)?;
        let near = |anomaly: &&Anomaly| anomaly.onset + slack >= began && anomaly.onset <= now;
        let anomalies: Vec<Anomaly> = anomalies.iter().filter(near).cloned().collect();
        let known = self.changes.partition_point(|change| change.starts_at <= now);
        let context = Context {
            anomalies: &anomalies,
            changes: &self.changes[..known],
            symptoms: &self.symptoms,
            incident: Some(incident.id),
            ..Context::new(&window, &observe.infos, self.topology, began)?
        };
        Ok(RankedAt { at: now, began, ranking: analyzer.rank(&context)? })
    }
}

/// How long a burst of onsets takes that belong together.
const BURST: Duration = Duration::from_secs(5);

/// How many onsets a burst has: a third one within seconds is no coincidence.
const COMPANY: usize = 3;

/// When it began: the first onset of a burst, which is [`COMPANY`] onsets within [`BURST`], or a
/// quarter of all where there are few. `None` without any.
///
/// The very first one may be a coincidence; the beginning of an incident is a burst. Where trouble
/// spreads too slowly for one, the first onset is all there is.
fn began(mut onsets: Vec<Timestamp>) -> Option<Timestamp> {
    onsets.sort_unstable();
    let enough = onsets.len().div_ceil(4).min(COMPANY);
    let follow =
        |at: usize| onsets[at..].iter().take_while(|o| o.since(onsets[at]) <= BURST).count();
    let burst = (0..onsets.len()).find(|&at| follow(at) >= enough);
    onsets.get(burst.unwrap_or(0)).copied()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lone_early_onset_is_not_the_beginning() {
        let at = |seconds: &[i64]| seconds.iter().map(|s| Timestamp::from_secs(*s)).collect();
        assert_eq!(began(at(&[100, 112, 112, 113, 113, 114])), Some(Timestamp::from_secs(112)));
        let blip = at(&[95, 95, 101, 101, 102, 105, 105, 106, 107]);
        assert_eq!(began(blip), Some(Timestamp::from_secs(101)), "one slow request, two quantiles");
        assert_eq!(began(at(&[100])), Some(Timestamp::from_secs(100)), "there is nothing better");
        assert_eq!(began(at(&[101, 100])), Some(Timestamp::from_secs(100)));
        let spread: Vec<i64> = [50, 100, 102, 104].into_iter().chain(115..140).collect();
        assert_eq!(began(at(&spread)), Some(Timestamp::from_secs(100)), "it may be slow to spread");
        assert_eq!(began(vec![]), None);
    }
}
