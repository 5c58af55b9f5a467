//! What a person reads on the terminal.

use std::fmt::{self, Write};

use aiops_act::approver::visible;
use aiops_core::{Outcome, Timestamp};

use crate::judge::Score;
use crate::recording::FlawCount;
use crate::story::{ActionStory, IncidentStory, PlanStory, Story};
use crate::words;

/// One line of the terminal. What a recording or a runbook says is shown and never obeyed: control
/// characters, line breaks among them, are written as escapes.
macro_rules! line {
    ($out:expr, $($text:tt)*) => {
        writeln!($out, "{}", visible(&format!($($text)*)))
    };
}

/// Writes what happened and why: the funnel, the time line, the ranked causes.
///
/// # Errors
/// Those of the writer.
pub fn understanding(story: &Story, out: &mut dyn Write) -> fmt::Result {
    let length = words::span(story.end.seconds_after(story.start));
    line!(out, "{}: {length} of telemetry, {}", story.name, words::date(story.start))?;
    if !story.flaws.is_empty() {
        heading(out, "Flaws of the recording")?;
        for (flaw, FlawCount { count, first }) in story.flaws.iter() {
            line!(out, "  {count} {} (first: {first})", flaw.sentence())?;
        }
    }
    funnel(story, out)?;
    match story.main_incident() {
        Some(main) => {
            timeline(story, main, out)?;
            causes(main, out)
        }
        None => heading(out, "No incident was shown: nothing needed anybody's attention."),
    }
}

/// Writes what was done: the plan and what became of it, other incidents, the judgement.
///
/// # Errors
/// Those of the writer.
pub fn outcome(story: &Story, out: &mut dyn Write) -> fmt::Result {
    if let Some(main) = story.main_incident() {
        action(main, out)?;
    }
    others(story, out)?;
    if let Some(score) = &story.score {
        heading(out, "Against the truth")?;
        line!(out, "  {}", judgement(score))?;
    }
    Ok(())
}

fn funnel(story: &Story, out: &mut dyn Write) -> fmt::Result {
    let funnel = &story.funnel;
    let rows = [
        (funnel.samples, "samples", format!("of {} series", words::count(funnel.series))),
        (
            funnel.anomalies,
            "anomalies",
            format!(
                "seen by both detectors, of {} stretches that one of them saw",
                words::count(funnel.stretches)
            ),
        ),
        (
            funnel.alerts(),
            "alerts",
            format!(
                "{} from detectors, {} from recorded rules",
                words::count(funnel.detector_alerts),
                words::count(funnel.recorded_alerts)
            ),
        ),
        (
            funnel.incidents,
            "incidents",
            format!("shown; {} more resolved while they were held", words::count(funnel.discarded)),
        ),
        (funnel.acted_on, "plans", "asked for approval".to_owned()),
    ];
    heading(out, "Funnel")?;
    for (number, name, note) in rows {
        line!(out, "  {:>9} {name:<10} {note}", words::count(number))?;
    }
    Ok(())
}

fn timeline(story: &Story, main: &IncidentStory, out: &mut dyn Write) -> fmt::Result {
    let about = &main.incident;
    heading(out, &format!("{} (incident {})", words::headline(main), about.id))?;
    line!(out, "  {}", words::story(main))?;
    let mut lines: Vec<(Timestamp, String)> = Vec::new();
    for change in story.changes.iter().filter(|change| about.events.contains(&change.id)) {
        lines.push((change.starts_at, format!("change: {}", change.title)));
    }
    // The detector's alerts are many; the report has them all.
    for alert in &story.alerts {
        let is_ours =
            alert.incident == Some(about.id) && !alert.alert.source.starts_with("detector");
        if is_ours && !alert.is_hidden() && !alert.alert.is_resolved() {
            let service = alert.alert.service.as_deref().unwrap_or("unknown service");
            lines.push((
                alert.alert.received_at,
                format!("alert:  {} on {service}", alert.alert.name),
            ));
        }
    }
    // New members are the alerts above.
    let told = about.timeline.iter().filter(|entry| entry.reason.code != "attention");
    lines.extend(told.map(|entry| (entry.at, format!("group:  {}", entry.reason))));
    let mut leader = None;
    for ranked in &main.rankings {
        let Some(top) = ranked.ranking.top() else { continue };
        if leader != Some(&top.cause) {
            let text = format!("ranked: {} first, {}", top.cause, words::percent(top.probability));
            lines.push((ranked.at, text));
            leader = Some(&top.cause);
        }
    }
    if let Some(plan) = main.plan() {
        lines.push((plan.made_at, format!("plan:   {}, {}", plan.runbook, plan.approval.answer)));
    }
    lines.sort_by_key(|(at, _)| *at);
    heading(out, "Time line (UTC, seconds since it began)")?;
    for (at, text) in lines {
        line!(out, "  {} {:>+5.0} s  {text}", words::clock(at), at.seconds_after(main.began()))?;
    }
    Ok(())
}

fn causes(main: &IncidentStory, out: &mut dyn Write) -> fmt::Result {
    let Some(ranking) = main.ranking() else { return Ok(()) };
    heading(out, "Ranked causes")?;
    for (index, candidate) in ranking.candidates.iter().take(5).enumerate() {
        let (kind, cause) = (words::kind_of(&candidate.cause), &candidate.cause);
        line!(
            out,
            "  {}. {:>6}  {kind} {cause}",
            index + 1,
            words::percent(candidate.probability)
        )?;
        for evidence in candidate.evidence.iter().take(if index == 0 { 5 } else { 2 }) {
            line!(out, "             {}", words::evidence(evidence))?;
        }
    }
    line!(out, "     {:>6}  something that was not looked at", words::percent(ranking.unknown))
}

fn action(main: &IncidentStory, out: &mut dyn Write) -> fmt::Result {
    match &main.action {
        ActionStory::NotReached(reasons) => {
            heading(out, "No plan")?;
            reasons.iter().try_for_each(|reason| line!(out, "  {reason}"))
        }
        ActionStory::Planned(plan) => self::plan(plan, out),
    }
}

/// A plan and what became of it.
fn plan(plan: &PlanStory, out: &mut dyn Write) -> fmt::Result {
    let made_at = words::clock(plan.made_at);
    heading(out, &format!("Plan: {} (runbook {}, made at {made_at})", plan.title, plan.runbook))?;
    for reason in &plan.because {
        line!(out, "  because {reason}")?;
    }
    line!(out, "  acts on {}, can hurt {}", plan.targets.join(", "), plan.blast_radius.join(", "))?;
    for (index, step) in plan.steps.iter().enumerate() {
        line!(out, "  {}. {} [{}]", index + 1, step.title, step.state.replace('_', " "))?;
        line!(out, "    {}", step.does)?;
        if let Some(undo) = &step.undo {
            line!(out, "    undo: {undo}")?;
        }
    }
    line!(out, "  {} by {}: {}", plan.approval.answer, plan.approval.by, plan.approval.how)?;
    line!(out, "  ended: {}", plan.state.replace('_', " "))?;
    let found = match plan.outcome {
        Some(Outcome::Ok) => "the trouble is over and nothing got worse",
        Some(Outcome::Worse) => "worse than before",
        Some(Outcome::Inconclusive) => "inconclusive",
        None => "nothing ran, nothing to verify",
    };
    line!(out, "  verification: {found}")?;
    plan.verification.iter().try_for_each(|reason| line!(out, "    {reason}"))?;
    line!(out, "  audit record: {} entries", plan.audit.len())
}

fn others(story: &Story, out: &mut dyn Write) -> fmt::Result {
    let main = story.main_incident().map(|main| main.incident.id);
    let others = || story.incidents.iter().filter(|other| Some(other.incident.id) != main);
    if others().next().is_none() {
        return Ok(());
    }
    heading(out, "Other incidents")?;
    for other in others() {
        let shown = if other.incident.shown_at.is_some() { "" } else { ", never shown" };
        let (about, state) = (&other.incident, other.incident.state.name());
        line!(
            out,
            "  {} {} ({state}{shown}, {} alerts)",
            words::clock(about.onset),
            about.title,
            about.alerts.len()
        )?;
    }
    Ok(())
}

/// How well it did, in one line.
pub fn judgement(score: &Score) -> String {
    let Some(fault) = &score.fault else {
        return format!(
            "harmless: {} incidents shown, {} reached the action stage",
            score.shown_beside, score.acted_in_error
        );
    };
    let after = |seconds: Option<f64>| seconds.map_or("never".to_owned(), words::span);
    let rank = match score.rank {
        Some(rank) => format!("true root ranked {rank} with {}", words::percent(score.probability)),
        None => "true root not ranked".to_owned(),
    };
    format!(
        "{fault}: {rank}; after {} the incident was shown, after {} the root was ranked first, after {} for good",
        after(score.to_incident_s),
        after(score.to_cause_s),
        after(score.to_lasting_cause_s),
    ) + match score.acted_in_error {
        0 => "",
        _ => "; a plan was made for another cause",
    }
}

fn heading(out: &mut dyn Write, text: &str) -> fmt::Result {
    writeln!(out, "\n{}", visible(text))
}
