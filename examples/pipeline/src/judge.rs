//! The last step: how well a replay did against the truth. Nothing before it knows the truth.

use aiops_core::Timestamp;
use serde::Serialize;

use crate::recording::Truth;
use crate::story::{IncidentStory, Story};

/// How well a replay did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Score {
    /// The fault; `None` for a harmless recording.
    pub fault: Option<String>,
    /// Rank of the true root when the action was decided, or at the end; `None` when it was not
    /// among the candidates or there was no incident.
    pub rank: Option<usize>,
    /// Probability that the true root was given then.
    pub probability: f64,
    /// Seconds from the start of the fault to the incident.
    pub to_incident_s: Option<f64>,
    /// Seconds from the start of the fault to the first ranking that put the true root first.
    pub to_cause_s: Option<f64>,
    /// Seconds from the start of the fault to the last time that the true root became first and
    /// stayed there until the fault ended.
    pub to_lasting_cause_s: Option<f64>,
    /// Incidents that were shown and began outside the fault.
    pub shown_beside: usize,
    /// Plans that should not have been made: any in a harmless recording, those for incidents that
    /// were shown outside the fault, and during it those made for another cause than the true root
    /// (where a change is to blame: for anything but that change).
    pub acted_in_error: usize,
}

/// Judges a replay.
///
/// The incident judged is the first one shown during the fault; where none was, nothing was found.
pub fn judge(story: &Story, truth: &Truth) -> Score {
    let start = truth.fault.as_ref().and(truth.start());
    let end = truth.end_ms.map_or(story.end, Timestamp::from_millis);
    let during = |shown: Timestamp| start.is_some_and(|start| start <= shown && shown <= end);
    let found = found(story, during);

    let since = |at: Timestamp| start.map(|start| at.seconds_after(start));
    let is_right = |ranked: &&crate::story::RankedAt| {
        ranked.ranking.top().is_some_and(|top| truth.is_root(&top.cause))
    };
    let ranking = found.and_then(IncidentStory::ranking);
    let rank = ranking.and_then(|ranking| ranking.rank_of(|cause| truth.is_root(cause)));
    let probability = match (ranking, rank) {
        (Some(ranking), Some(rank)) => ranking.candidates[rank - 1].probability,
        _ => 0.0,
    };
    let shown_at = found.and_then(|story| story.incident.shown_at);
    let to_cause = found.and_then(|story| story.rankings.iter().find(is_right)).map(|r| r.at);
    let lasting = found.and_then(|story| {
        let until_end: Vec<_> = story.rankings.iter().filter(|ranked| ranked.at <= end).collect();
        until_end.into_iter().rev().take_while(is_right).last().map(|ranked| ranked.at)
    });

    let beside = story.incidents.iter().filter(|other| {
        other.incident.shown_at.is_some_and(|shown| start.is_none() || !during(shown))
    });
    Score {
        fault: truth.fault.clone(),
        rank,
        probability,
        to_incident_s: shown_at.and_then(since),
        to_cause_s: to_cause.and_then(since),
        to_lasting_cause_s: lasting.and_then(since),
        shown_beside: beside.count(),
        acted_in_error: story
            .incidents
            .iter()
            .filter(|other| {
                let is_beside = !other.incident.shown_at.is_some_and(&during);
                let plan = other.plan().map(|plan| &plan.planned.proposal.plan);
                plan.is_some_and(|plan| is_beside || !truth.is_root(&plan.cause))
            })
            .count(),
    }
}

/// The incident that stands for the fault: the first one acted on during it, otherwise the first
/// one shown.
fn found(story: &Story, during: impl Fn(Timestamp) -> bool) -> Option<&IncidentStory> {
    let shown = story.incidents.iter().filter(|s| s.incident.shown_at.is_some_and(&during));
    shown.min_by_key(|s| (s.plan().is_none(), s.incident.shown_at))
}
