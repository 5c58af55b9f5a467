//! The parts of the page that are text and tables.

use aiops_core::{Candidate, Evidence, Outcome};
use maud::{Markup, html};

use crate::story::{ActionStory, AlertStory, IncidentStory, PlanStory, Story};
use crate::words;

/// Candidates beyond this many share a line.
const MOST_CANDIDATES: usize = 6;
/// Candidates whose evidence is open; that of the others unfolds.
const EXPLAINED: usize = 3;

/// How much came in and how little came out.
pub(super) fn funnel(story: &Story) -> Markup {
    let funnel = &story.funnel;
    let stages = [
        (funnel.samples, "samples", format!("of {} series", words::count(funnel.series))),
        (
            funnel.anomalies,
            "anomalies",
            format!("seen by both detectors, of {} seen by one", words::count(funnel.stretches)),
        ),
        (
            funnel.alerts(),
            "alerts",
            format!(
                "{} from detectors, {} from rules",
                words::count(funnel.detector_alerts),
                words::count(funnel.recorded_alerts)
            ),
        ),
        (
            funnel.incidents,
            plural(funnel.incidents, "incident shown", "incidents shown"),
            format!("{} alerts spared", words::count(funnel.hidden_alerts)),
        ),
        (
            funnel.acted_on,
            plural(funnel.acted_on, "plan", "plans"),
            if funnel.acted_on == 0 {
                "nothing to act on".to_owned()
            } else {
                "approval asked".to_owned()
            },
        ),
    ];
    html! {
        ol.funnel {
            @for (number, name, note) in stages {
                // Widths are logarithmic: a million and one must fit on one page.
                @let share = ((number as f64 + 1.0).log10() / 6.0).clamp(0.02, 1.0);
                li style=(format!("--share:{share:.3}")) {
                    b { (words::count(number)) } " " span { (name) } small { (note) }
                }
            }
        }
    }
}

fn plural(number: u64, one: &'static str, many: &'static str) -> &'static str {
    if number == 1 { one } else { many }
}

/// The ranked causes with their evidence.
pub(super) fn causes(incident: &IncidentStory) -> Markup {
    let Some(ranking) = incident.ranking() else {
        return html! { p { "Nothing was ranked: the incident was over before there was anything to say." } };
    };
    let (shown, rest) = ranking.candidates.split_at(ranking.candidates.len().min(MOST_CANDIDATES));
    let rest: f64 = rest.iter().map(|candidate| candidate.probability).sum();
    html! {
        ol.ranking {
            @for (index, candidate) in shown.iter().enumerate() {
                (cause(index, candidate))
            }
            @if rest > 0.0 {
                li.rest { span.who { "all others" } span.p { (words::percent(rest)) } }
            }
            @if ranking.unknown > 0.0 {
                li.rest {
                    span.who { "something that was not looked at" } span.p { (words::percent(ranking.unknown)) }
                    span.bar { span style=(format!("width:{:.1}%", ranking.unknown * 100.0)) {} }
                }
            }
        }
    }
}

fn cause(index: usize, candidate: &Candidate) -> Markup {
    let (main, more) = split(&candidate.evidence);
    html! {
        li.first[index == 0] {
            span.who {
                span.kind { (words::kind_of(&candidate.cause)) } " " (candidate.cause)
            }
            span.p { (words::percent(candidate.probability)) }
            span.bar { span style=(format!("width:{:.1}%", candidate.probability * 100.0)) {} }
            @if index < EXPLAINED {
                ul { @for evidence in main { li { (words::evidence(evidence)) } } }
                @if !more.is_empty() {
                    details {
                        summary { (more.len()) " more" }
                        ul { @for evidence in more { li { (words::evidence(evidence)) } } }
                    }
                }
            } @else {
                details {
                    summary { "why" }
                    ul { @for evidence in &candidate.evidence { li { (words::evidence(evidence)) } } }
                }
            }
        }
    }
}

/// The first of each kind of evidence, and the rest.
fn split(evidence: &[Evidence]) -> (Vec<&Evidence>, Vec<&Evidence>) {
    let mut seen = Vec::new();
    evidence.iter().partition(|evidence| {
        let kind = std::mem::discriminant(*evidence);
        let is_first = !seen.contains(&kind);
        seen.push(kind);
        is_first
    })
}

/// The plan and what happened to it, or why there is none.
pub(super) fn action(incident: &IncidentStory) -> Markup {
    match &incident.action {
        ActionStory::NotReached(reasons) => html! {
            p { "Nothing. The action stage was not reached:" }
            ul.reasons { @for reason in reasons { li { (reason) } } }
        },
        ActionStory::Planned(plan) => planned(plan),
    }
}

fn planned(plan: &PlanStory) -> Markup {
    html! {
        div.plan {
            h3 { (plan.title) " " small { "runbook " code { (plan.runbook) } ", planned at " (words::clock(plan.made_at)) } }
            ul.reasons { @for reason in &plan.because { li { (reason) } } }
            p {
                "It acts on " b { (plan.targets.join(", ")) } " and can hurt " b { (plan.blast_radius.join(", ")) } ". "
                @if !plan.params.is_empty() {
                    "With "
                    @for (index, (name, value)) in plan.params.iter().enumerate() {
                        @if index > 0 { ", " }
                        code { (name) " = " (value) }
                    }
                    "."
                }
            }
            details {
                summary { (plan.gates.len()) " gates were checked" }
                ul { @for gate in &plan.gates { li { (gate) } } }
            }
            p.approval class=(plan.approval.answer.replace(' ', "-")) {
                b { (plan.approval.answer) } " by " (plan.approval.by) ": " (plan.approval.how)
            }
            ol.steps {
                @for step in &plan.steps {
                    li {
                        b { (step.title) } " " span.state class=(step.state) { (step.state.replace('_', " ")) }
                        pre { (step.does) }
                        @if let Some(undo) = &step.undo { p.undo { "undone by " code { (undo) } } }
                        @if !step.output.is_empty() { p.output { (step.output) } }
                    }
                }
            }
            p {
                "The run ended: " b { (plan.state.replace('_', " ")) } ". "
                @match plan.outcome {
                    Some(Outcome::Ok) => "Verification: the trouble is over and nothing got worse.",
                    Some(Outcome::Worse) => "Verification: things are worse than before.",
                    Some(Outcome::Inconclusive) => "Verification: neither better nor worse can be said.",
                    None => "Nothing ran, so nothing was verified.",
                }
            }
            @if !plan.verification.is_empty() {
                ul.reasons { @for reason in &plan.verification { li { (reason) } } }
            }
            details {
                summary { "Audit record: " (plan.audit.len()) " entries" }
                table {
                    thead { tr { th { "when" } th { "who" } th { "what" } } }
                    tbody { @for line in &plan.audit { tr { td.num { (words::clock(line.at)) } td { (line.actor) } td { (line.what) } } } }
                }
            }
        }
    }
}

/// The incidents that the page is not about.
pub(super) fn others(story: &Story, main: Option<&IncidentStory>) -> Markup {
    let others: Vec<_> = story
        .incidents
        .iter()
        .filter(|other| main.is_none_or(|main| main.incident.id != other.incident.id))
        .collect();
    html! {
        @if !others.is_empty() {
            section {
                h2 { "Other incidents" }
                div.scroll { table {
                    thead { tr { th { "began" } th { "what" } th { "state" } th { "alerts" } th { "first suspect" } th { "why no action" } } }
                    tbody {
                        @for other in others {
                            tr {
                                td.num { (words::clock(other.incident.onset)) }
                                td { (other.incident.title) }
                                td { (other.incident.state.name()) @if other.incident.shown_at.is_none() { ", never shown" } }
                                td.num { (other.incident.alerts.len()) }
                                td { @match other.top() {
                                    Some(top) => { (top.cause) " " (words::percent(top.probability)) },
                                    None => "not ranked",
                                } }
                                td { @if let ActionStory::NotReached(reasons) = &other.action { @for reason in reasons { div { (reason) } } } }
                            }
                        }
                    }
                } }
            }
        }
    }
}

/// What people were spared, and why; nothing is dropped without a trace.
pub(super) fn hidden(story: &Story) -> Markup {
    let hidden: Vec<&AlertStory> = story.alerts.iter().filter(|alert| alert.is_hidden()).collect();
    let joined: Vec<&AlertStory> = story.alerts.iter().filter(|alert| !alert.is_hidden()).collect();
    html! {
        section {
            h2 { "What people were spared" }
            p {
                (words::count(hidden.len() as u64)) " of " (words::count(story.alerts.len() as u64))
                " alert records said nothing new. Each keeps the reason why it was hidden, and the rest were grouped."
            }
            (decisions("Hidden alerts and why", &hidden))
            (decisions("Grouped alerts and why", &joined))
        }
    }
}

fn decisions(title: &str, alerts: &[&AlertStory]) -> Markup {
    html! {
        @if !alerts.is_empty() {
            details {
                summary { (title) ": " (alerts.len()) }
                div.scroll { table {
                    thead { tr { th { "when" } th { "service" } th { "alert" } th { "what was done" } th { "why" } } }
                    tbody {
                        @for alert in alerts {
                            tr {
                                td.num { (words::clock(alert.alert.received_at)) }
                                td { (alert.alert.service.as_deref().unwrap_or("unknown")) }
                                td { (alert.alert.name) }
                                td { (alert.action.replace('_', " ")) }
                                td { @for reason in &alert.reasons { div { (reason) } } }
                            }
                        }
                    }
                } }
            }
        }
    }
}

/// How to read the page, what was wrong with the input, how long it took.
pub(super) fn footnotes(story: &Story) -> Markup {
    html! {
        section.notes {
            h2 { "Notes" }
            p {
                "Everything here was decided in the order of time: at each second with what had been seen by then. "
                "Bands are what the robust detector expected before it saw a sample; flagged points left it. "
                "Probabilities are of the causes that were looked at; the rest is named as unknown. "
                "Steps were run dry: nothing outside was touched, and verification reads the recorded metrics."
            }
            @if story.flaws.is_empty() {
                p { "The recording had no flaws." }
            } @else {
                p { "Flaws of the recording:" }
                ul { @for (flaw, count) in story.flaws.iter() { li { (words::count(count.count)) " " (flaw.sentence()) " (first: " (count.first) ")" } } }
            }
            p { @for (index, (stage, seconds)) in story.timings.iter().enumerate() { @if index > 0 { " · " } (stage) " " (words::value(*seconds, "seconds")) } }
        }
    }
}
