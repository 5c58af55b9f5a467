//! An incident: a group of alerts that someone acts on, and the one table of its states.

use crate::hash::{CanonicalHasher, hash_id};
use crate::{AlertId, Error, EventId, Fingerprint, Reason, Result, Severity, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

hash_id! {
    /// The identity of an incident: hash(tenant, founding fingerprint, its onset). A merge keeps
    /// the id of the older incident, a split makes a new one.
    IncidentId
}

impl IncidentId {
    /// The id of the incident that `founder` began at `onset`.
    pub fn of(tenant: &str, founder: Fingerprint, onset: Timestamp) -> Self {
        let hasher = CanonicalHasher::new("incident")
            .text(tenant)
            .number(founder.as_u64())
            .number(onset.as_nanos() as u64);
        IncidentId::from_u64(hasher.finish())
    }
}

/// Where an incident stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum IncidentState {
    /// Not shown yet: it may resolve by itself.
    Held,
    /// Shown; nobody has taken it.
    Open,
    /// Somebody has taken it.
    Acknowledged,
    /// The trouble is over; it may return.
    Resolved,
    /// Over for good. A return of the trouble is a new incident.
    Closed,
    /// Part of an older incident, which goes on under its own id.
    Merged(IncidentId),
    /// It resolved by itself while held; never shown, still there to be asked about.
    Discarded,
}

/// What can happen to an incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum IncidentChange {
    /// The hold is over and the trouble is not: show it.
    Show,
    /// It resolved by itself while held.
    Discard,
    /// Somebody took it.
    Acknowledge,
    /// The trouble is over.
    Resolve,
    /// The trouble returned, or somebody said that a discarded one was not noise.
    Reopen,
    /// Over for good.
    Close,
    /// It turned out to be part of an older incident.
    Merge(IncidentId),
}

impl IncidentState {
    /// The table: what `change` makes of an incident in this state.
    ///
    /// | from \ change | show | discard | acknowledge | resolve | reopen | close | merge |
    /// | --- | --- | --- | --- | --- | --- | --- | --- |
    /// | held | open | discarded | | | | | merged |
    /// | open | | | acknowledged | resolved | | | merged |
    /// | acknowledged | | | | resolved | | | merged |
    /// | resolved | | | | | open | closed | merged |
    /// | discarded | | | | | open | | |
    /// | closed, merged | | | | | | | |
    ///
    /// # Errors
    /// [`Error::NoTransition`] for an empty field of the table: late or impossible changes leave
    /// the incident as it is.
    pub fn after(self, change: IncidentChange) -> Result<IncidentState> {
        use {IncidentChange as On, IncidentState as Is};
        match (self, change) {
            (Is::Held, On::Show) => Ok(Is::Open),
            (Is::Held, On::Discard) => Ok(Is::Discarded),
            (Is::Open, On::Acknowledge) => Ok(Is::Acknowledged),
            (Is::Open | Is::Acknowledged, On::Resolve) => Ok(Is::Resolved),
            (Is::Resolved | Is::Discarded, On::Reopen) => Ok(Is::Open),
            (Is::Resolved, On::Close) => Ok(Is::Closed),
            (Is::Held | Is::Open | Is::Acknowledged | Is::Resolved, On::Merge(into)) => {
                Ok(Is::Merged(into))
            }
            (from, event) => Err(Error::NoTransition { from: from.name(), event: event.name() }),
        }
    }

    /// Whether people can see it without asking for it.
    pub const fn is_shown(self) -> bool {
        matches!(self, IncidentState::Open | IncidentState::Acknowledged | IncidentState::Resolved)
    }

    /// Whether alerts may still join it.
    pub const fn is_live(self) -> bool {
        matches!(self, IncidentState::Held | IncidentState::Open | IncidentState::Acknowledged)
    }

    /// Whether no change can happen to it any more.
    pub const fn is_final(self) -> bool {
        matches!(self, IncidentState::Closed | IncidentState::Merged(_))
    }

    /// The state in one word.
    pub const fn name(self) -> &'static str {
        match self {
            IncidentState::Held => "held",
            IncidentState::Open => "open",
            IncidentState::Acknowledged => "acknowledged",
            IncidentState::Resolved => "resolved",
            IncidentState::Closed => "closed",
            IncidentState::Merged(_) => "merged",
            IncidentState::Discarded => "discarded",
        }
    }
}

impl IncidentChange {
    /// The change in one word, an infinitive.
    pub const fn name(self) -> &'static str {
        match self {
            IncidentChange::Show => "show",
            IncidentChange::Discard => "discard",
            IncidentChange::Acknowledge => "acknowledge",
            IncidentChange::Resolve => "resolve",
            IncidentChange::Reopen => "reopen",
            IncidentChange::Close => "close",
            IncidentChange::Merge(_) => "merge",
        }
    }
}

/// A line of an incident's story.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TimelineEntry {
    /// When it happened.
    pub at: Timestamp,
    /// What happened and why.
    pub reason: Reason,
}

/// A group of alerts that someone acts on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    /// Its identity, from the founding alert.
    pub id: IncidentId,
    /// Whose it is; empty in a single-tenant deployment.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub tenant: String,
    /// Where it stands.
    pub state: IncidentState,
    /// When the trouble began: the earliest onset of its members.
    pub onset: Timestamp,
    /// When it was first shown; `None` while held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shown_at: Option<Timestamp>,
    /// When the trouble was over; `None` while it lasts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved_at: Option<Timestamp>,
    /// The worst severity of its members.
    pub severity: Severity,
    /// One line for people.
    pub title: String,
    /// Alerts in it, in the order they joined; suppressed and duplicate ones are reachable through
    /// the decisions of the correlator.
    #[serde(default)]
    pub alerts: Vec<AlertId>,
    /// Services with alerts in it.
    #[serde(default)]
    pub services: BTreeSet<String>,
    /// Changes attached to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<EventId>,
    /// Its story, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub timeline: Vec<TimelineEntry>,
}

impl Incident {
    /// Moves the incident through the table and writes the timeline.
    ///
    /// `shown_at` is set the first time it is shown; `resolved_at` follows the state.
    ///
    /// # Errors
    /// As [`IncidentState::after`]; the incident is unchanged then.
    pub fn apply(&mut self, change: IncidentChange, at: Timestamp, reason: Reason) -> Result<()> {
        self.state = self.state.after(change)?;
        match change {
            IncidentChange::Show => self.shown_at = Some(self.shown_at.unwrap_or(at)),
            IncidentChange::Reopen => {
                self.shown_at = Some(self.shown_at.unwrap_or(at));
                self.resolved_at = None;
            }
            IncidentChange::Resolve | IncidentChange::Discard => self.resolved_at = Some(at),
            _ => {}
        }
        self.timeline.push(TimelineEntry { at, reason });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn incident() -> Incident {
        Incident {
            id: IncidentId::of("", Fingerprint::from_u64(1), Timestamp::from_secs(5)),
            tenant: String::new(),
            state: IncidentState::Held,
            onset: Timestamp::from_secs(5),
            shown_at: None,
            resolved_at: None,
            severity: Severity::Warning,
            title: "api: HighLatency".into(),
            alerts: vec![],
            services: BTreeSet::new(),
            events: vec![],
            timeline: vec![],
        }
    }

    #[test]
    fn a_reopened_incident_keeps_the_time_it_was_first_shown() -> Result<()> {
        let mut incident = incident();
        let story = [
            (IncidentChange::Show, 10),
            (IncidentChange::Resolve, 20),
            (IncidentChange::Reopen, 30),
        ];
        for (change, at) in story {
            incident.apply(change, Timestamp::from_secs(at), Reason::new("test", "because"))?;
        }
        assert_eq!(incident.shown_at, Some(Timestamp::from_secs(10)));
        assert_eq!(incident.resolved_at, None);
        assert_eq!(incident.timeline.len(), 3);
        Ok(())
    }

    #[test]
    fn a_discarded_incident_can_be_called_back_and_a_closed_one_cannot() {
        assert_eq!(
            IncidentState::Discarded.after(IncidentChange::Reopen).unwrap(),
            IncidentState::Open
        );
        let error = IncidentState::Closed.after(IncidentChange::Reopen).unwrap_err();
        assert_eq!(error.to_string(), "an incident that is closed cannot reopen");
    }

    #[test]
    fn final_states_have_no_way_out() {
        let other = IncidentId::from_u64(9);
        let changes = [
            IncidentChange::Show,
            IncidentChange::Discard,
            IncidentChange::Acknowledge,
            IncidentChange::Resolve,
            IncidentChange::Reopen,
            IncidentChange::Close,
            IncidentChange::Merge(other),
        ];
        for state in [IncidentState::Closed, IncidentState::Merged(other)] {
            assert!(state.is_final());
            assert!(changes.iter().all(|&change| state.after(change).is_err()));
        }
    }
}
