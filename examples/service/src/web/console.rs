//! The pages: readable on a phone, in the dark, and with a keyboard; nothing comes from elsewhere.

use aiops_core::{Incident, IncidentId, IncidentState, Outcome, Said, Severity, Timestamp};
use aiops_pipeline::report::topology_drawing;
use aiops_pipeline::words;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::chart;
use crate::{Error, Result, Stages};

/// How many charts an incident gets.
const CHARTS: usize = 8;

const STYLE: &str = "
:root { color-scheme: light dark; --line: #8884; --dim: #777; --mark: #c33; --good: #286; }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem;
       overflow-wrap: anywhere; }
h1 { font-size: 1.3rem; } h2 { font-size: 1.05rem; margin: 2rem 0 .5rem; }
a { color: inherit; } .dim { color: var(--dim); } .bad { color: var(--mark); }
.card { display: block; border: 1px solid var(--line); border-radius: .5rem; padding: .75rem 1rem;
        margin: .5rem 0; text-decoration: none; }
.card:hover, .card:focus { border-color: currentColor; }
.card strong { display: block; }
.live { border-left: .3rem solid var(--mark); }
ol, ul { padding-left: 1.3rem; } li { margin: .25rem 0; }
.bar { background: var(--line); height: .4rem; border-radius: .2rem; max-width: 20rem; }
.bar i { display: block; background: var(--mark); height: 100%; border-radius: .2rem; }
table { border-collapse: collapse; width: 100%; } td { padding: .2rem .5rem .2rem 0; vertical-align: top; }
td:first-child { white-space: nowrap; color: var(--dim); }
figure { margin: .75rem 0; } figcaption { font-size: .85rem; overflow-wrap: anywhere; }
svg { width: 100%; height: 5rem; } path { fill: none; stroke: currentColor; stroke-width: 1.5;
       vector-effect: non-scaling-stroke; }
line.onset { stroke: var(--mark); stroke-dasharray: 3 3; }
button { font: inherit; padding: .4rem .8rem; margin: .2rem .4rem .2rem 0; border-radius: .4rem;
         border: 1px solid var(--line); background: none; color: inherit; cursor: pointer; }
input { font: inherit; padding: .4rem; width: 100%; max-width: 24rem; box-sizing: border-box; }
svg.topology { height: auto; } .topology text { fill: currentColor; font-size: 12px; }
.topology .edge { stroke: var(--dim); } .topology .edge.other { stroke-dasharray: 3 4; }
.topology marker path { fill: var(--dim); stroke: none; }
.topology .node rect { fill: none; stroke: var(--dim); } .topology .node.hit rect { stroke: currentColor; }
.topology .node rect.fill { fill: var(--dim); stroke: none; }
.topology .node.first rect { stroke: var(--mark); stroke-width: 2.4; }
.topology .node.first rect.fill { fill: var(--mark); stroke: none; }
.topology .name { font-weight: 600; } .topology .note { font-size: 11px; fill: var(--dim); }
nav a { margin-right: 1rem; } code { font-size: .9em; } .good { color: var(--good); }
summary { cursor: pointer; } .go { border-color: var(--good); } .no { border-color: var(--mark); }
";

pub(super) fn page(title: &str, refresh: bool, body: &Markup) -> String {
    let whole = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                @if refresh { meta http-equiv="refresh" content="10"; }
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body { main { (body) } }
        }
    };
    whole.into_string()
}

/// Asks for a token.
pub(super) fn sign_in(problem: Option<&str>) -> String {
    let body = html! {
        h1 { "Sign in" }
        @if let Some(problem) = problem { p.bad role="alert" { (problem) } }
        form method="post" action="/sign-in" {
            p { label for="token" { "Your token" } }
            p { input id="token" name="token" type="password" autocomplete="current-password" autofocus; }
            button { "Sign in" }
        }
    };
    page("Sign in", false, &body)
}

/// All incidents that people can see.
pub(super) fn incidents(stages: &Stages, search: &str, now: Timestamp) -> String {
    let words = search.to_lowercase();
    let found = |incident: &Incident| {
        let mut texts = vec![incident.title.clone(), incident.id.to_string()];
        texts.extend(incident.services.iter().cloned());
        texts.extend(stages.alerts_of(incident).into_iter().map(|alert| alert.name));
        let texts = texts.join(" ").to_lowercase();
        words.split_whitespace().all(|word| texts.contains(word))
    };
    let shown: Vec<Incident> = stages.shown().into_iter().filter(found).collect();
    let (live, over): (Vec<_>, Vec<_>) =
        shown.into_iter().partition(|incident| incident.resolved_at.is_none());
    let body = html! {
        (navigation())
        h1 {
            @if !live.is_empty() { (count(live.len(), "open incident")) }
            @else if words.is_empty() { "Nothing is wrong" } @else { "No open incident with these words" }
        }
        form method="get" action="/" role="search" {
            input type="search" name="q" value=(search) placeholder="Search: service, alert, title" aria-label="Search";
        }
        p.dim { (count(stages.series(), "series")) " watched, "
                (count(stages.topology().len(), "service")) " in the topology" }
        @for incident in &live { (card(stages, incident, now)) }
        @if !over.is_empty() { h2 { "Over" } }
        @for incident in over.iter().take(50) { (card(stages, incident, now)) }
    };
    page("Incidents", words.is_empty(), &body)
}

fn count(n: usize, what: &str) -> String {
    let ending = if n == 1 || what.ends_with('s') { "" } else { "s" };
    format!("{n} {what}{ending}")
}

fn card(stages: &Stages, incident: &Incident, now: Timestamp) -> Markup {
    let ranked = stages.ranked(incident.id);
    let class = if incident.resolved_at.is_none() { "card live" } else { "card" };
    html! {
        a class=(class) href=(format!("/incidents/{}", incident.id)) {
            strong { (incident.title) }
            span.dim {
                (severity(incident.severity)) ", " (state(incident)) ", began "
                (ago(incident.onset, now)) ", " (count(incident.alerts.len(), "alert"))
            }
            @if let Some(top) = ranked.and_then(|ranked| ranked.ranking.top()) {
                br;
                "Most probable cause: " (top.cause) ", " (words::percent(top.probability))
            }
        }
    }
}

/// The way to everything else.
pub(super) fn navigation() -> Markup {
    html! { nav { a href="/" { "Incidents" } " " a href="/runs" { "Runs" } " " a href="/audit" { "Audit" } } }
}

/// One incident, with what is or may be done about it. Answers can be given where `form_key` is.
pub(super) fn incident(
    stages: &Stages,
    id: IncidentId,
    remedy: &Markup,
    form_key: Option<&str>,
    now: Timestamp,
) -> Result<String> {
    let Some(incident) = stages.incident(id) else {
        return Err(Error::Unknown { reason: format!("incident {id} is not known") });
    };
    if let IncidentState::Merged(into) = incident.state {
        let body = html! { p { "It is part of " a href=(format!("/incidents/{into}")) { "another incident" } "." } };
        return Ok(page(&incident.title, false, &body));
    }
    let body = html! {
        (navigation())
        h1 { (incident.title) }
        p.dim { (severity(incident.severity)) ", " (state(&incident)) ", began " (ago(incident.onset, now)) }
        (causes(stages, &incident, form_key)?)
        (remedy)
        (neighbours(stages, &incident))
        (charts(stages, &incident, now)?)
        (changes(stages, &incident))
        (similar(stages, id))
        (timeline(&incident))
        (decisions(stages, id))
    };
    Ok(page(&incident.title, false, &body))
}

fn causes(stages: &Stages, incident: &Incident, form_key: Option<&str>) -> Result<Markup> {
    let Some(ranked) = stages.ranked(incident.id) else {
        return Ok(html! { h2 { "Probable causes" } p { "Not ranked yet." } });
    };
    let ranking = &ranked.ranking;
    let answers = stages.answers(incident.id)?;
    Ok(html! {
        h2 { "Probable causes" }
        ol {
            @for candidate in ranking.candidates.iter().take(5) {
                li {
                    strong { (candidate.cause) } " " (words::percent(candidate.probability))
                    div.bar aria-hidden="true" { i style=(format!("width:{:.0}%", 100.0 * candidate.probability)) {} }
                    ul.dim { @for evidence in candidate.evidence.iter().take(4) { li { (words::evidence(evidence)) } } }
                }
            }
        }
        p.dim { (words::percent(ranking.unknown)) " that it is something that was not looked at" }
        h2 { "Was this the right cause?" }
        @for answer in &answers { p { (answer.by) " said: " (said(&answer.said)) } }
        @if let Some(key) = form_key {
            form method="post" action=(format!("/incidents/{}/answer", incident.id)) {
                input type="hidden" name="key" value=(key);
                @if answers.is_empty() {
                    button name="verdict" value="right_cause" { "Yes" }
                    button name="verdict" value="wrong_cause" { "No" }
                    button name="verdict" value="noise" { "Nothing was wrong" }
                } @else {
                    button name="verdict" value="take_back" { "Take back" }
                }
            }
        }
    })
}

/// Who depends on whom, with the causes marked.
fn neighbours(stages: &Stages, incident: &Incident) -> Markup {
    let topology = stages.topology();
    let ranking = stages.ranked(incident.id).map(|ranked| &ranked.ranking);
    html! {
        @if !topology.is_empty() {
            h2 { "Where" }
            figure {
                (topology_drawing(topology, &incident.services, ranking))
                figcaption.dim { "Arrows point to what is depended on; the bar is the probability." }
            }
        }
    }
}

fn charts(stages: &Stages, incident: &Incident, now: Timestamp) -> Result<Markup> {
    let frame = stages.charts(incident, now, CHARTS)?;
    let lines: Vec<Markup> =
        (0..frame.n_series()).filter_map(|row| chart::line(&frame, row, incident.onset)).collect();
    Ok(html! {
        @if !lines.is_empty() {
            h2 { "What was measured" }
            @for line in lines { (line) }
        }
    })
}

fn changes(stages: &Stages, incident: &Incident) -> Markup {
    let changes: Vec<_> = incident.events.iter().filter_map(|id| stages.event(*id)).collect();
    html! {
        @if !changes.is_empty() {
            h2 { "Changes before it" }
            table { @for change in changes { tr {
                td { (words::clock(change.starts_at)) }
                td { (change.title) @if let Some(service) = &change.service { " on " (service) } }
            } } }
        }
    }
}

fn similar(stages: &Stages, id: IncidentId) -> Markup {
    let similar = stages.similar(id);
    html! {
        @if !similar.is_empty() {
            h2 { "It resembles" }
            ul { @for similar in similar { li {
                a href=(format!("/incidents/{}", similar.past.incident)) { (similar.past.title) }
                " on " (words::date(similar.past.onset)) ", " (words::percent(similar.similarity)) " alike"
                @if let Some(cause) = &similar.past.cause {
                    ", " @if similar.past.confirmed { "caused by " } @else { "probably caused by " } (cause)
                }
                @for tried in &similar.past.tried {
                    ", " (tried.runbook) " " @match tried.outcome {
                        Outcome::Ok => "helped", Outcome::Worse => "made it worse", _ => "was tried",
                    }
                }
            } } }
        }
    }
}

fn timeline(incident: &Incident) -> Markup {
    html! {
        h2 { "What happened" }
        table { @for entry in &incident.timeline { tr {
            td { (words::clock(entry.at)) } td { (entry.reason.sentence) }
        } } }
    }
}

fn decisions(stages: &Stages, id: IncidentId) -> Markup {
    html! {
        h2 { "Every alert, and what became of it" }
        table { @for (decision, alert) in stages.decisions(id) { tr {
            td { (words::clock(decision.at)) }
            td {
                @if let Some(alert) = alert {
                    strong { (alert.name) } @if let Some(service) = &alert.service { " on " (service) }
                    br;
                }
                span.dim { (decision.sentence()) }
            }
        } } }
    }
}

fn said(said: &Said) -> String {
    match said {
        Said::TrueCause { cause } => format!("yes, it was {cause}"),
        Said::WrongCause { cause } => format!("no, it was not {cause}"),
        Said::Noise => "nothing was wrong".to_owned(),
        _ => "something else".to_owned(),
    }
}

fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "critical",
        Severity::Warning => "warning",
        Severity::Info => "information",
    }
}

fn state(incident: &Incident) -> &'static str {
    match (incident.state, incident.resolved_at) {
        (_, Some(_)) => "over",
        (IncidentState::Held, _) => "held",
        _ => "open",
    }
}

fn ago(then: Timestamp, now: Timestamp) -> String {
    match now.since(then).as_secs() {
        0..60 => "just now".to_owned(),
        seconds @ 60..7_200 => format!("{} min ago", seconds / 60),
        seconds @ 7_200..172_800 => format!("{} hours ago", seconds / 3_600),
        seconds => format!("{} days ago", seconds / 86_400),
    }
}
