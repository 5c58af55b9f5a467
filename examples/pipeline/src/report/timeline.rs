//! The time line: changes, recorded alerts and detector onsets by service, and what was decided.

use std::collections::BTreeMap;
use std::time::Duration;

use aiops_core::{AlertId, IncidentId, Severity, Timestamp, Topology};
use maud::{Markup, html};

use super::chart::one;
use super::topology::order;
use crate::story::{AlertStory, IncidentStory, Story};
use crate::words;

const WIDTH: f64 = 860.0;
const LEFT: f64 = 172.0;
const RIGHT: f64 = 14.0;
const ROW: f64 = 19.0;
/// Characters of a name that fit to the left of the drawing.
const NAME: usize = 25;
/// Characters of a change's title.
const TITLE: usize = 60;
/// Width of a letter, a generous guess: the reader's font decides.
const LETTER: f64 = 6.5;

/// A row of the drawing.
enum Row<'a> {
    Heading(&'a str),
    Alerts { name: &'a str, firings: Vec<&'a AlertStory> },
    Onsets { firings: Vec<&'a AlertStory> },
}

/// The time line around an incident.
pub(super) fn timeline(story: &Story, incident: &IncidentStory) -> Markup {
    let onset = incident.began();
    let begins = begins(story, onset).max(story.start);
    let over = incident.incident.resolved_at.unwrap_or(onset + Duration::from_secs(480));
    let ends =
        (over + Duration::from_secs(60)).min(onset + Duration::from_secs(840)).min(story.end);
    let length = ends.seconds_after(begins).max(1.0);
    let x = |at: Timestamp| {
        let share = (at.seconds_after(begins) / length).clamp(0.0, 1.0);
        LEFT + share * (WIDTH - LEFT - RIGHT)
    };
    let firings = firings(story);
    let rows = rows(&firings, &story.topology, begins, ends);
    let decisions = decisions(incident);
    let top = 22.0 + 13.0 * decisions.len() as f64;
    let height = top + ROW * rows.len() as f64 + 24.0;
    html! {
        div.scroll { svg.timeline viewBox=(format!("0 0 {WIDTH} {height}")) role="img"
            aria-label="Time line of changes, alerts and decisions" {
            @for (minute, at) in minutes(onset, begins, ends) {
                line.grid x1=(one(x(at))) x2=(one(x(at))) y1=(one(top - 6.0)) y2=(height - 20.0) {}
                text.tick x=(one(x(at))) y=(height - 7.0) text-anchor="middle" { (minute) }
            }
            @for change in story.changes.iter().filter(|c| c.starts_at >= begins && c.starts_at <= ends) {
                line.change x1=(one(x(change.starts_at))) x2=(one(x(change.starts_at))) y1=(one(top - 6.0)) y2=(height - 20.0) {
                    title { (change.title) " at " (words::clock(change.starts_at)) }
                }
                @let title = words::shorten(&change.title, TITLE);
                // To the left of its line, unless it would begin outside the drawing.
                @if x(change.starts_at) > LETTER * (title.chars().count() as f64 + 3.0) {
                    text.change x=(one(x(change.starts_at) - 4.0)) y=(one(top + 2.0)) text-anchor="end" { (title) " ▾" }
                } @else {
                    text.change x=(one(x(change.starts_at) - 3.0)) y=(one(top + 2.0)) { "▾ " (title) }
                }
            }
            @for (index, (at, label, class)) in decisions.iter().enumerate() {
                @let y = 12.0 + 13.0 * index as f64;
                line.decided.(class) x1=(one(x(*at))) x2=(one(x(*at))) y1=(one(y + 3.0)) y2=(height - 20.0) {}
                @if x(*at) > WIDTH * 0.6 {
                    text.decided.(class) x=(one(x(*at) - 5.0)) y=(one(y)) text-anchor="end" { (label) " · " (words::clock(*at)) }
                } @else {
                    text.decided.(class) x=(one(x(*at) + 1.0)) y=(one(y)) { (words::clock(*at)) " · " (label) }
                }
            }
            @for (index, row) in rows.iter().enumerate() {
                @let y = top + ROW * index as f64;
                (draw(row, y, &x, ends, incident.incident.id))
            }
        } }
        p.key {
            span.item { span.swatch.critical {} "critical alert" } span.item { span.swatch.warning {} "warning" }
            span.item { span.swatch.hidden {} "hidden: duplicate, repeated or suppressed" }
            span.item { span.swatch.tick {} "onset found by a detector" } span.item { span.swatch.changed {} "change" }
        }
    }
}

fn draw(
    row: &Row<'_>,
    y: f64,
    x: &dyn Fn(Timestamp) -> f64,
    ends: Timestamp,
    incident: IncidentId,
) -> Markup {
    let class = |firing: &AlertStory| {
        let severity = match firing.alert.severity {
            Severity::Critical => "critical",
            Severity::Warning => "warning",
            Severity::Info => "info",
        };
        let hidden = if firing.is_hidden() { " hidden" } else { "" };
        let elsewhere = if firing.incident == Some(incident) { "" } else { " elsewhere" };
        format!("{severity}{hidden}{elsewhere}")
    };
    html! {
        @match row {
            Row::Heading(service) => {
                line.rule x1="0" x2=(WIDTH) y1=(one(y + 3.0)) y2=(one(y + 3.0)) {}
                text.service x="0" y=(one(y + 17.0)) { (words::shorten(service, 2 * NAME)) }
            }
            Row::Alerts { name, firings } => {
                text.name x=(LEFT - 8.0) y=(one(y + 13.0)) text-anchor="end" { (words::shorten(name, NAME)) title { (name) } }
                @for firing in firings {
                    @let from = x(firing.alert.starts_at);
                    @let to = x(firing.alert.ends_at.unwrap_or(ends));
                    rect class=(class(firing)) x=(one(from)) y=(one(y + 4.0)) width=(one((to - from).max(3.0))) height="11" rx="2" {
                        title {
                            (firing.alert.name) ", " (firing.alert.severity) ", from " (words::clock(firing.alert.starts_at))
                            @if let Some(end) = firing.alert.ends_at { " to " (words::clock(end)) }
                            " · " (firing.action.replace('_', " "))
                        }
                    }
                }
            }
            Row::Onsets { firings } => {
                text.name x=(LEFT - 8.0) y=(one(y + 13.0)) text-anchor="end" { (firings.len()) " detector onsets" }
                @for firing in firings {
                    @let at = one(x(firing.alert.starts_at));
                    line class={ "tick " (class(firing)) } x1=(at) x2=(at) y1=(one(y + 4.0)) y2=(one(y + 15.0)) {
                        title { (firing.alert.name) ", onset " (words::clock(firing.alert.starts_at)) }
                    }
                }
            }
        }
    }
}

/// Each firing once, with its end where that was told: repetitions are left out.
fn firings(story: &Story) -> Vec<AlertStory> {
    let mut place: BTreeMap<AlertId, usize> = BTreeMap::new();
    let mut firings: Vec<AlertStory> = Vec::new();
    for record in &story.alerts {
        let at = *place.entry(record.alert.id).or_insert(firings.len());
        match firings.get_mut(at) {
            Some(firing) => firing.alert.ends_at = record.alert.ends_at.or(firing.alert.ends_at),
            None => firings.push(record.clone()),
        }
    }
    firings
}

/// Recorded alerts by name, and those of detectors.
type OfService<'a> = (BTreeMap<&'a str, Vec<&'a AlertStory>>, Vec<&'a AlertStory>);

/// Services from callers to callees; under each its recorded alerts by first firing, then the
/// onsets that detectors found.
fn rows<'a>(
    firings: &'a [AlertStory],
    topology: &'a Topology,
    begins: Timestamp,
    ends: Timestamp,
) -> Vec<Row<'a>> {
    let inside = |firing: &&AlertStory| {
        firing.alert.starts_at <= ends && firing.alert.ends_at.unwrap_or(ends) >= begins
    };
    let mut services: BTreeMap<&str, OfService<'_>> = BTreeMap::new();
    for firing in firings.iter().filter(inside) {
        let service = firing.alert.service.as_deref().unwrap_or("no service");
        let (recorded, detected) = services.entry(service).or_default();
        if firing.alert.source.starts_with("detector") {
            if firing.alert.starts_at >= begins {
                detected.push(firing);
            }
        } else {
            recorded.entry(&firing.alert.name).or_default().push(firing);
        }
    }
    let position = order(topology);
    let mut services: Vec<_> = services.into_iter().collect();
    services.sort_by_key(|(name, _)| (position.get(*name).copied().unwrap_or(usize::MAX), *name));
    let mut rows = Vec::new();
    for (service, (recorded, detected)) in services {
        if recorded.is_empty() && detected.is_empty() {
            continue;
        }
        rows.push(Row::Heading(service));
        let mut recorded: Vec<_> = recorded.into_iter().collect();
        recorded.sort_by_key(|(name, firings)| (firings.first().map(|f| f.alert.starts_at), *name));
        rows.extend(recorded.into_iter().map(|(name, firings)| Row::Alerts { name, firings }));
        if !detected.is_empty() {
            rows.push(Row::Onsets { firings: detected });
        }
    }
    rows
}

/// What was decided, and when.
fn decisions(incident: &IncidentStory) -> Vec<(Timestamp, String, &'static str)> {
    let mut decisions = vec![(incident.began(), "it began".to_owned(), "onset")];
    if let Some(shown) = incident.incident.shown_at {
        decisions.push((shown, "incident shown".to_owned(), "shown"));
    }
    if let Some((at, cause)) = settled(incident) {
        decisions.push((at, format!("{cause} ranked first, and stays so"), "ranked"));
    }
    if let Some(plan) = incident.plan() {
        decisions.push((plan.made_at, format!("plan made: {}", plan.approval.answer), "planned"));
    }
    if let Some(resolved) = incident.incident.resolved_at {
        decisions.push((resolved, "incident resolved".to_owned(), "resolved"));
    }
    decisions.sort_by_key(|(at, _, _)| *at);
    decisions
}

/// Since when the cause that the decision rested on was ranked first without interruption.
fn settled(incident: &IncidentStory) -> Option<(Timestamp, String)> {
    let cause = &incident.top()?.cause;
    let until = incident.plan().map_or(Timestamp::MAX, |plan| plan.made_at);
    let before = incident.rankings.iter().rev().skip_while(|ranked| ranked.at > until);
    let since =
        before.take_while(|r| r.ranking.top().is_some_and(|top| top.cause == *cause)).last()?;
    Some((since.at, cause.to_string()))
}

/// A little before it began, and before a change that came shortly before.
fn begins(story: &Story, onset: Timestamp) -> Timestamp {
    let soon = |at: Timestamp| at <= onset && onset.since(at) < Duration::from_secs(150);
    let change = story.changes.iter().map(|change| change.starts_at).find(|at| soon(*at));
    change.map_or(onset, |at| at.min(onset)) - Duration::from_secs(40)
}

fn minutes(onset: Timestamp, begins: Timestamp, ends: Timestamp) -> Vec<(String, Timestamp)> {
    let minute = Duration::from_secs(60);
    let mut found = Vec::new();
    for back in (1..=2).rev().filter(|&back| onset - minute * back >= begins) {
        found.push((format!("−{back} min"), onset - minute * back));
    }
    let mut ahead = 0;
    while onset + minute * ahead <= ends {
        let label = if ahead == 0 { words::clock(onset) } else { format!("+{ahead} min") };
        found.push((label, onset + minute * ahead));
        ahead += if ends.seconds_after(onset) > 500.0 { 2 } else { 1 };
    }
    found
}
