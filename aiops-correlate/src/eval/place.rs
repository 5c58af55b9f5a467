//! Running a correlator over a storm: where every alert ended up, and when it was first shown.

use aiops_core::{Alert, AlertId, IncidentId, Timestamp, Topology};
use std::collections::{BTreeMap, BTreeSet};

use super::Placed;
use crate::{Correlator, CorrelatorExt, News};

/// Runs `correlator` over alerts in order of arrival and says where each one ended up.
///
/// Ticks at every deadline, and goes on ticking after the last alert until nothing is pending: the
/// end of a file is no flush.
pub fn place(
    correlator: &mut dyn Correlator,
    alerts: &[Alert],
    topology: &Topology,
) -> Vec<Placed> {
    let mut shown = Showings::default();
    let mut updates = Vec::new();
    for alert in alerts {
        shown.advance(correlator, alert.received_at, topology, &mut updates);
        let ctx = crate::Context::new(alert.received_at, topology);
        let decision = correlator.ingest(alert, &ctx);
        shown.ingested(alert.id, decision.incident, alert.received_at);
        shown.advance(correlator, alert.received_at, topology, &mut updates);
    }
    shown.advance(correlator, Timestamp::MAX, topology, &mut updates);
    let placed = |alert: &Alert| {
        let decision = correlator.decision(alert.id);
        Placed {
            known: decision.is_some(),
            group: decision.and_then(|decision| decision.incident),
            first_shown: shown.first.get(&alert.id).copied(),
        }
    };
    alerts.iter().map(placed).collect()
}

/// Keeps track of when each alert first stood in a shown incident.
#[derive(Debug, Default)]
struct Showings {
    incidents: BTreeSet<IncidentId>,
    first: BTreeMap<AlertId, Timestamp>,
}

impl Showings {
    fn ingested(&mut self, alert: AlertId, incident: Option<IncidentId>, now: Timestamp) {
        if incident.is_some_and(|incident| self.incidents.contains(&incident)) {
            self.first.entry(alert).or_insert(now);
        }
    }

    fn advance(
        &mut self,
        correlator: &mut dyn Correlator,
        now: Timestamp,
        topology: &Topology,
        updates: &mut Vec<crate::Update>,
    ) {
        loop {
            let due = correlator.next_due().filter(|due| *due <= now);
            let to = due.unwrap_or(now);
            if to < Timestamp::MAX {
                correlator.tick(&crate::Context::new(to, topology), updates);
            }
            for update in updates.drain(..) {
                let incident = match update.news {
                    News::Shown => update.incident,
                    News::Merged { into } if self.incidents.contains(&into) => into,
                    News::Regrouped if self.incidents.contains(&update.incident) => update.incident,
                    _ => continue,
                };
                self.incidents.insert(incident);
                for decision in correlator.decisions(incident) {
                    self.first.entry(decision.alert).or_insert(update.at);
                }
            }
            if due.is_none() {
                return;
            }
        }
    }
}

/// Replays alerts without a truth and returns nothing but the number of incidents shown; what is
/// left to measure on data that has no truth for each alert.
pub fn shown_groups(
    correlator: &mut dyn Correlator,
    alerts: &[Alert],
    topology: &Topology,
) -> usize {
    correlator.replay(alerts, topology);
    correlator.shown().len()
}
