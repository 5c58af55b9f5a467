//! What a replay found, as data: printed, written as JSON and drawn in the report.

use std::collections::BTreeMap;

use aiops_core::{
    Alert, Anomaly, Candidate, Event, Frame, Incident, IncidentId, Outcome, Ranking, Reason,
    SeriesKey, Timestamp, Topology,
};
use serde::Serialize;

use crate::act::Planned;
use crate::judge::Score;
use crate::recording::Flaws;

/// A whole replay.
#[derive(Debug)]
pub struct Story {
    /// The name of the recording.
    pub name: String,
    /// The first second.
    pub start: Timestamp,
    /// The last second.
    pub end: Timestamp,
    /// What was wrong with the recording itself.
    pub flaws: Flaws,
    /// How much came in and how little came out.
    pub funnel: Funnel,
    /// Who depends on whom.
    pub topology: Topology,
    /// The normalised metrics: counters as rates.
    pub metrics: Frame,
    /// The unit of each row of `metrics`, for people.
    pub units: Vec<String>,
    /// Stretches in which a series was abnormal, as they stood at the end.
    pub anomalies: Vec<Anomaly>,
    /// Every alert with what the correlator did with it, in order of arrival.
    pub alerts: Vec<AlertStory>,
    /// Every change.
    pub changes: Vec<Event>,
    /// Every incident, those that were never shown too, in the order in which they began.
    pub incidents: Vec<IncidentStory>,
    /// Seconds of computing, by stage, in the order of the stages.
    pub timings: Vec<(&'static str, f64)>,
    /// How well it did, where a truth is known. Set at the very end.
    pub score: Option<Score>,
}

/// How much came in and how little came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Funnel {
    /// Columns of the recording.
    pub series: u64,
    /// Values that were judged or learnt.
    pub samples: u64,
    /// Values that were flagged by a detector.
    pub flagged: u64,
    /// Stretches of flagged values that one detector confirmed.
    pub stretches: u64,
    /// Stretches that both detectors saw.
    pub anomalies: u64,
    /// Alerts from those anomalies.
    pub detector_alerts: u64,
    /// Alerts that were recorded.
    pub recorded_alerts: u64,
    /// Of all alerts, those that were not shown: duplicates, repetitions, suppressed ones.
    pub hidden_alerts: u64,
    /// Incidents that were shown to people.
    pub incidents: u64,
    /// Incidents that resolved by themselves while held.
    pub discarded: u64,
    /// Incidents that reached the action stage: a plan was made.
    pub acted_on: u64,
}

impl Funnel {
    /// All alerts.
    pub fn alerts(&self) -> u64 {
        self.detector_alerts + self.recorded_alerts
    }
}

/// An alert and what became of it.
#[derive(Debug, Clone)]
pub struct AlertStory {
    /// The alert.
    pub alert: Alert,
    /// The incident it is in, if it is in one.
    pub incident: Option<IncidentId>,
    /// What the correlator did, in one snake_case word.
    pub action: &'static str,
    /// Why.
    pub reasons: Vec<Reason>,
}

impl AlertStory {
    /// Whether people were spared it: it said nothing that was not known.
    pub fn is_hidden(&self) -> bool {
        matches!(self.action, "duplicate" | "repeated" | "suppressed" | "sampled")
    }
}

/// An incident with its ranking as time passed, and what was done about it.
#[derive(Debug, Clone)]
pub struct IncidentStory {
    /// As it stood at the end.
    pub incident: Incident,
    /// Rankings in the order of time, each made with what was known by then.
    pub rankings: Vec<RankedAt>,
    /// Why nothing was done, or what was.
    pub action: ActionStory,
}

/// A ranking and when it was made.
#[derive(Debug, Clone, PartialEq)]
pub struct RankedAt {
    /// When.
    pub at: Timestamp,
    /// When the incident began, as far as could be told by then: the burst of onsets, which the
    /// very first alert may precede by chance.
    pub began: Timestamp,
    /// What it said.
    pub ranking: Ranking,
}

impl IncidentStory {
    /// The ranking that the plan was made from, otherwise the last one.
    pub fn ranking(&self) -> Option<&Ranking> {
        let last = self.rankings.last();
        let decisive = match &self.action {
            ActionStory::Planned(plan) => self.rankings.iter().rfind(|r| r.at <= plan.made_at),
            ActionStory::NotReached(_) => last,
        };
        decisive.or(last).map(|ranked| &ranked.ranking)
    }

    /// When it began, as far as could be told in the end.
    pub fn began(&self) -> Timestamp {
        self.rankings.last().map_or(self.incident.onset, |ranked| ranked.began)
    }

    /// The most probable cause of [`ranking`](Self::ranking).
    pub fn top(&self) -> Option<&Candidate> {
        self.ranking().and_then(Ranking::top)
    }

    /// The plan, if there was one.
    pub fn plan(&self) -> Option<&PlanStory> {
        match &self.action {
            ActionStory::Planned(plan) => Some(plan),
            ActionStory::NotReached(_) => None,
        }
    }
}

/// Whether the action stage was reached.
#[derive(Debug, Clone)]
pub enum ActionStory {
    /// It was not, for these reasons.
    NotReached(Vec<Reason>),
    /// A plan was made.
    Planned(Box<PlanStory>),
}

/// A plan and what happened to it.
#[derive(Debug, Clone, Serialize)]
pub struct PlanStory {
    /// The run that was, or would have been, made.
    pub run: String,
    /// The runbook.
    pub runbook: String,
    /// What it does, in one line.
    pub title: String,
    /// When the plan was made.
    #[serde(rename = "made_ms", serialize_with = "as_millis")]
    pub made_at: Timestamp,
    /// Why this runbook.
    pub because: Vec<Reason>,
    /// Its parameters.
    pub params: BTreeMap<String, String>,
    /// What it acts on.
    pub targets: Vec<String>,
    /// Whom it can hurt: the targets and those who depend on them.
    pub blast_radius: Vec<String>,
    /// What the gates said, one reason each.
    pub gates: Vec<Reason>,
    /// Its steps, in order.
    pub steps: Vec<StepStory>,
    /// Who was asked and what they said.
    pub approval: ApprovalStory,
    /// How the run ended, in one snake_case word; `proposed` before anybody was asked.
    pub state: String,
    /// What verification found; `None` when nothing ran.
    pub outcome: Option<Outcome>,
    /// What verification looked at.
    pub verification: Vec<Reason>,
    /// The audit record, line by line.
    pub audit: Vec<AuditLine>,
    /// The plan itself with what was known when it was made.
    #[serde(skip)]
    pub planned: Planned,
}

/// Documents count milliseconds.
fn as_millis<S: serde::Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_i64(time.as_millis())
}

/// One step of a plan.
#[derive(Debug, Clone, Serialize)]
pub struct StepStory {
    /// Its id in the runbook.
    pub id: String,
    /// What it does, for people.
    pub title: String,
    /// The exact thing it would do.
    pub does: String,
    /// How it is undone, if it can be.
    pub undo: Option<String>,
    /// What happened, in one snake_case word.
    pub state: String,
    /// What it said.
    pub output: String,
}

/// Who was asked and what they said.
#[derive(Debug, Clone, Serialize)]
pub struct ApprovalStory {
    /// `approved`, `denied`, `not approved` or, before anybody was asked, `not asked`.
    pub answer: &'static str,
    /// Who answered.
    pub by: String,
    /// How it came about.
    pub how: String,
}

/// One line of the audit record.
#[derive(Debug, Clone, Serialize)]
pub struct AuditLine {
    /// When.
    #[serde(rename = "at_ms", serialize_with = "as_millis")]
    pub at: Timestamp,
    /// Who.
    pub actor: String,
    /// What happened.
    pub what: String,
}

impl Story {
    /// The incident that a report is about: the one that was acted on, otherwise the worst and
    /// widest that was shown.
    pub fn main_incident(&self) -> Option<&IncidentStory> {
        let shown = self.incidents.iter().filter(|story| story.incident.shown_at.is_some());
        shown.max_by_key(|story| {
            let Incident { severity, services, alerts, onset, .. } = &story.incident;
            let first_wins = std::cmp::Reverse(*onset);
            (story.plan().is_some(), *severity, services.len(), alerts.len(), first_wins)
        })
    }

    /// The anomalies of one series.
    pub fn anomalies_of(&self, series: &SeriesKey) -> impl Iterator<Item = &Anomaly> {
        self.anomalies.iter().filter(move |anomaly| anomaly.series == *series)
    }
}
