//! Storms: the meta-incident that counts what is not displayed, and the groups that wait for its end.

use aiops_core::{
    Fingerprint, Incident, IncidentId, IncidentState, Labels, Reason, Severity, TimelineEntry,
    Timestamp,
};
use serde::{Deserialize, Serialize};

use super::Funnel;
use crate::breaker::{BreakerNews, StormCounts};
use crate::correlator::{News, Update};

/// A storm, on or over.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Storm {
    pub(crate) id: IncidentId,
    counts: StormCounts,
    pub(crate) until: Option<Timestamp>,
}

/// Storms that are remembered.
const KEEP: usize = 64;

impl Funnel {
    /// Opens the meta-incident of a storm that has just begun.
    pub(super) fn storm_begins(&mut self) {
        let Some(counts) = self.breaker.storm() else { return };
        if self.storms.last().is_some_and(|storm| storm.until.is_none()) {
            return;
        }
        let tenant = self.tenant.as_deref().unwrap_or_default();
        let founder = Fingerprint::of(tenant, "alert storm", &Labels::new(), &[]);
        let id = IncidentId::of(tenant, founder, counts.since);
        self.storms.push(Storm { id, counts: counts.clone(), until: None });
        if self.storms.len() > KEEP {
            self.storms.remove(0);
        }
        self.updates.push(Update { at: self.now, incident: id, news: News::Shown });
    }

    /// Whether a group that is to be shown gets a notice of its own; otherwise it waits.
    pub(super) fn gets_notice(&mut self, group: u32) -> bool {
        let kinds = &self.groups[group as usize].kinds;
        let new = kinds.iter().any(|kind| !self.storm_kinds.contains(kind));
        let kinds = kinds.clone();
        let notice = self.breaker.group(new, self.now);
        self.storm_begins();
        if self.breaker.storm().is_some() {
            self.storm_kinds.extend(kinds);
        }
        if !notice && let Some(storm) = self.storms.last() {
            let (into, number) = (storm.id, self.groups[group as usize].number);
            self.waiting.push((group, number));
            self.tell(group, News::Sampled { into });
        }
        notice
    }

    /// Ends a storm that is over; groups that waited and go on get their notice.
    pub(super) fn work_off_storm(&mut self) {
        let Some(BreakerNews::Released(counts)) = self.breaker.tick(self.now) else { return };
        self.storm_kinds.clear();
        if let Some(storm) = self.storms.last_mut() {
            storm.counts = counts;
            storm.until = Some(self.now);
            let incident = storm.id;
            self.updates.push(Update { at: self.now, incident, news: News::Resolved });
        }
        for (group, number) in std::mem::take(&mut self.waiting) {
            let of = &mut self.groups[group as usize];
            if of.number == number && of.state.is_shown() && of.open > 0 && of.shown_at.is_none() {
                of.shown_at = Some(self.now);
                self.tell(group, News::Shown);
            }
        }
    }

    /// The storm that was on at a time.
    pub(super) fn storm_at(&self, at: Timestamp) -> Option<(IncidentId, u64)> {
        let on = |storm: &&Storm| {
            storm.counts.since <= at && storm.until.is_none_or(|until| at <= until)
        };
        let storm = self.storms.iter().rev().find(on)?;
        let counts = match storm.until {
            None => self.breaker.storm().unwrap_or(&storm.counts),
            Some(_) => &storm.counts,
        };
        Some((storm.id, counts.peak_per_minute))
    }

    /// A storm as an incident; its counts stand in the timeline.
    pub(super) fn storm_incident(&self, id: IncidentId) -> Option<Incident> {
        let storm = self.storms.iter().find(|storm| storm.id == id)?;
        let counts = match storm.until {
            None => self.breaker.storm().unwrap_or(&storm.counts),
            Some(_) => &storm.counts,
        };
        let since = counts.since;
        let began = Reason::new("shown", "more alerts than anybody reads: display is sampled");
        let mut timeline = vec![
            TimelineEntry { at: since, reason: began },
            TimelineEntry { at: storm.until.unwrap_or(self.now), reason: counts.reason() },
        ];
        if let Some(until) = storm.until {
            let over = Reason::new("resolved", "the storm is over");
            timeline.push(TimelineEntry { at: until, reason: over });
        }
        Some(Incident {
            id,
            tenant: self.tenant.as_deref().unwrap_or_default().to_owned(),
            state: if storm.until.is_some() {
                IncidentState::Resolved
            } else {
                IncidentState::Open
            },
            onset: since,
            shown_at: Some(since),
            resolved_at: storm.until,
            severity: counts.by_severity.keys().max().copied().unwrap_or(Severity::Warning),
            title: format!(
                "alert storm: {} alerts of {} kinds on {} services",
                counts.alerts,
                counts.by_name.len(),
                counts.by_service.len()
            ),
            alerts: Vec::new(),
            services: counts.by_service.keys().filter(|name| !name.is_empty()).cloned().collect(),
            events: Vec::new(),
            timeline,
        })
    }
}
