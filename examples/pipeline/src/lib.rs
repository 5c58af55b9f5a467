//! The reference pipeline: a recorded incident through every stage, in a straight line.
//!
//! ```text
//! row of the recording
//!   -> observe    counters as rates, canonical units, dense ids
//!   -> detect     a router over two banks; flagged samples become anomalies and alerts
//!   -> correlate  with recorded alerts and changes: few incidents, each decision explained
//!   -> rank       services and changes by probability, with evidence
//!   -> act        runbook, plan, approval, dry run, verification, audit record
//! ```
//!
//! [`replay`] is the page to copy: one function a stage, one pass over time. Everything happens in
//! the time of the recording and nothing looks ahead: what is decided at a second is decided with
//! the rows up to that second. [`recording::Truth`] is read by none of it; [`mod@judge`] compares at
//! the very end.
//!
//! The rest is what surrounds a pipeline: reading ([`recording`]), telling ([`mod@print`], [`json`],
//! [`mod@report`]).

pub mod act;
pub mod correlate;
pub mod detect;
mod error;
pub mod json;
pub mod judge;
pub mod observe;
pub mod print;
pub mod rank;
pub mod recording;
pub mod report;
pub mod settings;
mod stopwatch;
pub mod story;
pub mod words;

use std::collections::BTreeMap;

use aiops_act::{Library, Situation};
use aiops_core::{IncidentId, IncidentState, Timestamp};
use aiops_correlate::Correlator;

pub use act::{Approval, carry_out};
pub use error::{Error, Result};
pub use settings::{Settings, SettingsError};

use act::Act;
use correlate::Correlate;
use detect::Detect;
use observe::Observe;
use rank::Rank;
use recording::Recording;
use stopwatch::Stopwatch;
use story::{ActionStory, Funnel, IncidentStory, RankedAt, Story};

/// Runs a recording through every stage up to the plan; [`carry_out`] then asks for approval.
/// `progress` is told each second that is done.
///
/// # Errors
/// When settings are out of range, or a stage refuses what another made: never for the content of
/// the recording, which was checked when it was opened.
pub fn replay(
    recording: &Recording,
    library: &Library,
    settings: &Settings,
    progress: &mut dyn FnMut(Timestamp),
) -> Result<Story> {
    let mut watch = Stopwatch::new();
    let mut observe = Observe::new(recording)?;
    let mut detect = Detect::new(settings, &observe)?;
    let mut correlate = Correlate::new(settings, recording)?;
    let rank = Rank::new(settings, &recording.topology, &recording.changes, &observe)?;
    let mut act = Act::new(settings, library, recording)?;
    let mut rankings: BTreeMap<IncidentId, Vec<RankedAt>> = BTreeMap::new();

    for (second, &now) in recording.times.iter().enumerate() {
        watch.time("observe", || observe.normalise(second));
        let alerts = watch.time("detect", || {
            detect.detect(&observe.batch(), observe.normaliser.interner(), now)
        })?;
        watch.time("correlate", || correlate.correlate(alerts, now));
        for incident in correlate.open_incidents() {
            let earlier = rankings.entry(incident.id).or_default();
            if earlier.last().is_some_and(|last| now.since(last.at) < settings.rank_every) {
                continue;
            }
            let ranked =
                watch.time("rank", || rank.rank(&incident, &observe, &detect.anomalies, now))?;
            earlier.push(ranked.clone());
            let ranking = ranked.ranking;
            let alerts = correlate.alerts_of(&incident);
            let situation = Situation { incident, ranking, alerts };
            watch.time("act", || act.consider(situation, now))?;
        }
        progress(now);
    }
    Ok(tell(recording, observe, detect, correlate, rankings, act, watch))
}

/// Gathers what the stages found.
fn tell(
    recording: &Recording,
    observe: Observe<'_>,
    detect: Detect,
    correlate: Correlate<'_>,
    mut rankings: BTreeMap<IncidentId, Vec<RankedAt>>,
    mut act: Act<'_>,
    watch: Stopwatch,
) -> Story {
    let known = correlate.funnel.incidents().into_iter();
    let incidents = known.filter_map(|id| correlate.funnel.incident(id));
    let incidents: Vec<IncidentStory> = incidents
        .filter(|incident| !matches!(incident.state, IncidentState::Merged(_)))
        .map(|incident| IncidentStory {
            rankings: rankings.remove(&incident.id).unwrap_or_default(),
            action: match act.planned.remove(&incident.id) {
                Some(planned) => ActionStory::Planned(Box::new(act::plan_story(planned))),
                None => ActionStory::NotReached(
                    act.misfits
                        .remove(&incident.id)
                        .unwrap_or_else(|| act::never_looked(&incident)),
                ),
            },
            incident,
        })
        .collect();
    let alerts = correlate.settled();
    let shown = |story: &&IncidentStory| story.incident.shown_at.is_some();
    let funnel = Funnel {
        series: observe.infos.len() as u64,
        samples: detect.samples().0,
        flagged: detect.samples().1,
        stretches: detect.stretches(),
        anomalies: detect.anomalies.len() as u64,
        detector_alerts: detect.anomalies.len() as u64,
        recorded_alerts: recording.alerts.len() as u64,
        hidden_alerts: alerts.iter().filter(|alert| alert.is_hidden()).count() as u64,
        incidents: incidents.iter().filter(shown).count() as u64,
        discarded: incidents.iter().filter(|story| !shown(story)).count() as u64,
        acted_on: incidents.iter().filter(|story| story.plan().is_some()).count() as u64,
    };
    Story {
        name: recording.about.name.clone(),
        start: recording.start(),
        end: recording.end(),
        flaws: recording.flaws.clone(),
        funnel,
        topology: recording.topology.clone(),
        metrics: observe.metrics,
        units: observe.units,
        anomalies: detect.anomalies,
        alerts,
        changes: recording.changes.clone(),
        incidents,
        timings: watch.laps(),
        score: None,
    }
}

/// The runbooks that come with the source.
///
/// # Errors
/// When one of them cannot be read.
pub fn bundled_runbooks() -> Result<Library> {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../runbooks");
    Ok(Library::load_dir(&dir)?)
}

/// The report about a replay, as one self-contained page.
pub fn report(story: &Story, settings: &Settings) -> String {
    report::page(story, &|row| detect::verdicts(settings, &story.metrics, row))
}
