//! Stage 3: alerts and changes become few incidents, each decision with its reason.

use std::collections::{BTreeMap, BTreeSet};

use aiops_core::{Alert, AlertId, Event, Incident, IncidentId, Timestamp, Topology};
use aiops_correlate::{Context, Correlator, CorrelatorExt, Funnel, Update};

use crate::recording::Recording;
use crate::story::AlertStory;
use crate::{Result, Settings};

/// The correlator, the recorded inputs that are still to come, and what was decided so far.
#[derive(Debug)]
pub struct Correlate<'a> {
    topology: &'a Topology,
    /// The correlator.
    pub funnel: Funnel,
    /// Recorded alert records by the time at which they arrive: firings and ends.
    coming: Vec<Alert>,
    changes: Vec<Event>,
    /// Every record with the decision about it, in order of arrival.
    pub decided: Vec<AlertStory>,
}

impl<'a> Correlate<'a> {
    /// Sets the recorded alerts and changes in the order in which they will arrive.
    ///
    /// # Errors
    /// When the settings are out of range.
    pub fn new(settings: &Settings, recording: &'a Recording) -> Result<Self> {
        let mut coming = Vec::new();
        for alert in &recording.alerts {
            // The firing does not know its end yet; the end is known one evaluation later.
            coming.push(Alert { ends_at: None, ..alert.clone() });
            if let Some(end) = alert.ends_at {
                coming.push(Alert { received_at: end + recording.step(), ..alert.clone() });
            }
        }
        coming.sort_by_key(|alert| std::cmp::Reverse(alert.received_at));
        let mut changes = recording.changes.clone();
        changes.reverse();
        let funnel = settings.correlate.clone().build()?;
        Ok(Correlate { topology: &recording.topology, funnel, coming, changes, decided: vec![] })
    }

    /// Takes in what arrives at `now`: changes, recorded alerts and those of the detectors.
    pub fn correlate(&mut self, detected: Vec<Alert>, now: Timestamp) -> Vec<Update> {
        let mut updates = Vec::new();
        let context = Context::new(now, self.topology);
        while let Some(change) = self.changes.pop_if(|change| change.starts_at <= now) {
            self.funnel.observe(&change, &context);
        }
        let mut alerts = detected;
        while let Some(alert) = self.coming.pop_if(|alert| alert.received_at <= now) {
            alerts.push(alert);
        }
        for alert in alerts {
            let decision = self.funnel.ingest(&alert, &context);
            let action = decision.action.name();
            self.decided.push(AlertStory {
                reasons: decision.reasons(),
                incident: decision.incident,
                action,
                alert,
            });
        }
        self.funnel.advance(now, self.topology, &mut updates);
        updates
    }

    /// Incidents that are shown and not over.
    pub fn open_incidents(&self) -> Vec<Incident> {
        let all = self.funnel.incidents().into_iter().filter_map(|id| self.funnel.incident(id));
        all.filter(|incident| incident.state.is_shown() && incident.state.is_live()).collect()
    }

    /// The alerts that are in an incident by now, each once.
    pub fn alerts_of(&self, incident: &Incident) -> Vec<Alert> {
        let ids: BTreeSet<AlertId> = incident.alerts.iter().copied().collect();
        let mut found: BTreeMap<AlertId, &Alert> = BTreeMap::new();
        for story in self.decided.iter().filter(|story| ids.contains(&story.alert.id)) {
            found.insert(story.alert.id, &story.alert);
        }
        found.into_values().cloned().collect()
    }

    /// The decisions as they stand at the end: an alert is in the incident that it is in by now.
    pub fn settled(self) -> Vec<AlertStory> {
        let mut by_now: BTreeMap<AlertId, Option<IncidentId>> = BTreeMap::new();
        let mut decided = self.decided;
        for story in &mut decided {
            let id = story.alert.id;
            let found = || self.funnel.decision(id).and_then(|decision| decision.incident);
            story.incident = by_now.entry(id).or_insert_with(found).or(story.incident);
        }
        decided
    }
}
