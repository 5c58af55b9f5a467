//! The replay as one JSON document, `aiops.replay/v1`: for programs, and stable.
//!
//! Fields are only ever added. Times are milliseconds since the epoch, lengths are seconds,
//! probabilities lie between 0 and 1. `README.md` of this package describes every field.

use std::collections::{BTreeMap, BTreeSet};

use aiops_core::{
    AlertId, Anomaly, Candidate, Cause, Direction, Event, EventId, Incident, IncidentId,
    MetricKind, Ranking, Reason, Severity, Timestamp,
};
use serde::Serialize;

use crate::judge::Score;
use crate::recording::Flaws;
use crate::story::{ActionStory, AlertStory, Funnel, IncidentStory, PlanStory, Story};
use crate::words;

/// Name and version of the document.
pub const FORMAT: &str = "aiops.replay/v1";

/// The document, serialisable.
#[derive(Debug, Serialize)]
pub struct Document<'a> {
    format: &'static str,
    recording: RecordingPart<'a>,
    funnel: &'a Funnel,
    incidents: Vec<IncidentPart<'a>>,
    alerts: Vec<AlertPart<'a>>,
    changes: &'a [Event],
    anomalies: Vec<AnomalyPart<'a>>,
    timings_s: BTreeMap<&'static str, f64>,
    score: Option<&'a Score>,
}

#[derive(Debug, Serialize)]
struct RecordingPart<'a> {
    name: &'a str,
    start_ms: i64,
    end_ms: i64,
    flaws: &'a Flaws,
}

/// One record of an alert: a firing, a repetition or an end, and what was decided about it.
#[derive(Debug, Serialize)]
struct AlertPart<'a> {
    id: AlertId,
    name: &'a str,
    service: Option<&'a str>,
    severity: Severity,
    source: &'a str,
    /// When it arrived.
    at_ms: i64,
    starts_ms: i64,
    ends_ms: Option<i64>,
    action: &'static str,
    incident: Option<IncidentId>,
    /// Whether people were spared it.
    hidden: bool,
    reasons: &'a [Reason],
}

#[derive(Debug, Serialize)]
struct AnomalyPart<'a> {
    series: String,
    service: Option<&'a str>,
    metric_kind: MetricKind,
    detector: &'a str,
    onset_ms: i64,
    last_seen_ms: i64,
    score: f64,
    p_value: f64,
    direction: Direction,
}

#[derive(Debug, Serialize)]
struct IncidentPart<'a> {
    id: IncidentId,
    title: &'a str,
    state: &'static str,
    severity: Severity,
    onset_ms: i64,
    /// When it began as far as ranking could tell: the burst of onsets.
    began_ms: i64,
    shown_ms: Option<i64>,
    resolved_ms: Option<i64>,
    services: &'a BTreeSet<String>,
    alerts: &'a [AlertId],
    changes: &'a [EventId],
    ranking: Option<RankingPart<'a>>,
    /// Each time another cause became first.
    leaders: Vec<Leader>,
    plan: Option<&'a PlanStory>,
    /// Why the action stage was not reached; empty where it was.
    no_action_because: &'a [Reason],
}

#[derive(Debug, Serialize)]
struct RankingPart<'a> {
    method: &'a str,
    unknown: f64,
    candidates: Vec<CandidatePart<'a>>,
}

#[derive(Debug, Serialize)]
struct CandidatePart<'a> {
    rank: usize,
    kind: &'static str,
    service: Option<&'a str>,
    metric: Option<String>,
    metric_kind: Option<MetricKind>,
    change: Option<&'a str>,
    change_id: Option<EventId>,
    probability: f64,
    because: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Leader {
    at_ms: i64,
    kind: &'static str,
    service: Option<String>,
    cause: String,
    probability: f64,
}

/// The document of a replay.
pub fn document(story: &Story) -> Document<'_> {
    Document {
        format: FORMAT,
        recording: RecordingPart {
            name: &story.name,
            start_ms: story.start.as_millis(),
            end_ms: story.end.as_millis(),
            flaws: &story.flaws,
        },
        funnel: &story.funnel,
        incidents: story.incidents.iter().map(incident).collect(),
        alerts: story.alerts.iter().map(alert).collect(),
        changes: &story.changes,
        anomalies: story.anomalies.iter().map(anomaly).collect(),
        timings_s: story.timings.iter().copied().collect(),
        score: story.score.as_ref(),
    }
}

fn alert(story: &AlertStory) -> AlertPart<'_> {
    let alert = &story.alert;
    AlertPart {
        id: alert.id,
        name: &alert.name,
        service: alert.service.as_deref(),
        severity: alert.severity,
        source: &alert.source,
        at_ms: alert.received_at.as_millis(),
        starts_ms: alert.starts_at.as_millis(),
        ends_ms: alert.ends_at.map(Timestamp::as_millis),
        action: story.action,
        incident: story.incident,
        hidden: story.is_hidden(),
        reasons: &story.reasons,
    }
}

fn anomaly(anomaly: &Anomaly) -> AnomalyPart<'_> {
    AnomalyPart {
        series: anomaly.series.to_string(),
        service: anomaly.series.service(),
        metric_kind: anomaly.kind,
        detector: &anomaly.detector,
        onset_ms: anomaly.onset.as_millis(),
        last_seen_ms: anomaly.last_seen.as_millis(),
        score: anomaly.peak_score,
        p_value: anomaly.p_value,
        direction: anomaly.direction,
    }
}

fn incident(story: &IncidentStory) -> IncidentPart<'_> {
    let Incident { id, title, state, severity, onset, shown_at, resolved_at, .. } = &story.incident;
    let no_action_because: &[Reason] = match &story.action {
        ActionStory::NotReached(reasons) => reasons,
        ActionStory::Planned(_) => &[],
    };
    IncidentPart {
        id: *id,
        title,
        state: state.name(),
        severity: *severity,
        onset_ms: onset.as_millis(),
        began_ms: story.began().as_millis(),
        shown_ms: shown_at.map(Timestamp::as_millis),
        resolved_ms: resolved_at.map(Timestamp::as_millis),
        services: &story.incident.services,
        alerts: &story.incident.alerts,
        changes: &story.incident.events,
        ranking: story.ranking().map(ranking),
        leaders: leaders(story),
        plan: story.plan(),
        no_action_because,
    }
}

fn ranking(ranking: &Ranking) -> RankingPart<'_> {
    let candidates = ranking.candidates.iter().enumerate();
    RankingPart {
        method: &ranking.method,
        unknown: ranking.unknown,
        candidates: candidates.map(|(index, found)| candidate(index + 1, found)).collect(),
    }
}

fn candidate(rank: usize, candidate: &Candidate) -> CandidatePart<'_> {
    let cause = &candidate.cause;
    let (metric, metric_kind) = match cause {
        Cause::Metric { series, metric_kind, .. } => (Some(series.to_string()), Some(*metric_kind)),
        _ => (None, None),
    };
    let (change, change_id) = match cause {
        Cause::Change { title, event, .. } => (Some(title.as_str()), Some(*event)),
        _ => (None, None),
    };
    CandidatePart {
        rank,
        kind: words::kind_of(cause),
        service: cause.service(),
        metric,
        metric_kind,
        change,
        change_id,
        probability: candidate.probability,
        because: candidate.evidence.iter().map(words::evidence).collect(),
    }
}

fn leaders(story: &IncidentStory) -> Vec<Leader> {
    let mut leaders: Vec<(Timestamp, &Candidate)> = Vec::new();
    for ranked in &story.rankings {
        let Some(top) = ranked.ranking.top() else { continue };
        if leaders.last().is_none_or(|(_, last)| last.cause != top.cause) {
            leaders.push((ranked.at, top));
        }
    }
    let leader = |(at, top): (Timestamp, &Candidate)| Leader {
        at_ms: at.as_millis(),
        kind: words::kind_of(&top.cause),
        service: top.cause.service().map(str::to_owned),
        cause: top.cause.to_string(),
        probability: top.probability,
    };
    leaders.into_iter().map(leader).collect()
}
