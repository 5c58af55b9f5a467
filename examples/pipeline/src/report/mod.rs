//! One self-contained page about an incident: no network, no font, no script from elsewhere.
//!
//! Drawings are inline SVG, colours follow the reader's light or dark setting and are told apart by
//! colour-blind readers (Okabe & Ito, "Color Universal Design", 2008), and it prints.

mod chart;
mod sections;
mod timeline;
mod topology;

use aiops_detect::Verdict;
use maud::{DOCTYPE, Markup, PreEscaped, html};

pub use topology::drawing as topology_drawing;

use crate::story::{IncidentStory, Story};
use crate::words;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// The page. `judge` gives the verdicts of one row of [`Story::metrics`] over the whole recording:
/// the band that a chart shows.
pub fn page(story: &Story, judge: &dyn Fn(usize) -> Vec<Verdict>) -> String {
    let incident = story.main_incident();
    let title = match incident {
        Some(incident) => incident.incident.title.clone(),
        None => format!("{}: nothing to act on", story.name),
    };
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                (header(story, incident))
                main {
                    @match incident {
                        Some(incident) => (about(story, incident, judge)),
                        None => section { h2 { "No incident was shown" } p { "Nothing in this recording was worth anybody's attention." } },
                    }
                    (sections::others(story, incident))
                    (sections::hidden(story))
                    (sections::footnotes(story))
                }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    page.into_string()
}

fn about(story: &Story, incident: &IncidentStory, judge: &dyn Fn(usize) -> Vec<Verdict>) -> Markup {
    html! {
        section.causes {
            h2 { "What caused it" }
            div.columns {
                (sections::causes(incident))
                figure.map {
                    (topology_drawing(&story.topology, &incident.incident.services, incident.ranking()))
                    figcaption { "Arrows point from a service to what it depends on. Shaded services had alerts; the bar is the probability that the cause lies there." }
                }
            }
        }
        section {
            h2 { "How it unfolded" }
            (timeline::timeline(story, incident))
        }
        section {
            h2 { "What the metrics show" }
            p.key {
                span.item { span.swatch.value {} "measured" } span.item { span.swatch.expected {} "expected" }
                span.item { span.swatch.flag {} "flagged" } span.item { span.swatch.began {} "onset of the incident" } span.item { span.swatch.changed {} "change" }
            }
            (chart::charts(story, incident, judge))
        }
        section {
            h2 { "What was done" }
            (sections::action(incident))
        }
    }
}

fn header(story: &Story, incident: Option<&IncidentStory>) -> Markup {
    html! {
        header {
            p.eyebrow { "Incident report · " (story.name) " · " (words::date(story.start)) }
            @match incident {
                Some(incident) => {
                    h1 { (words::headline(incident)) }
                    p.lead { (words::story(incident)) }
                    (facts(story, incident))
                }
                None => {
                    h1 { "Nothing to act on" }
                    p.lead { "All alerts of this recording were explained or ended by themselves." }
                }
            }
            (sections::funnel(story))
        }
    }
}

fn facts(story: &Story, incident: &IncidentStory) -> Markup {
    let about = &incident.incident;
    let after = |at: aiops_core::Timestamp| words::span(at.seconds_after(incident.began()));
    html! {
        dl.facts {
            div { dt { "Began" } dd { (words::clock(incident.began())) small { " UTC" } } }
            @if let Some(shown) = about.shown_at { div { dt { "Shown after" } dd { (after(shown)) } } }
            div {
                dt { "Lasted" }
                dd {
                    @match about.resolved_at {
                        Some(over) => (after(over)),
                        None => { "still on" small { " at " (words::clock(story.end)) } },
                    }
                }
            }
            div { dt { "Severity" } dd { (about.severity) } }
            div { dt { "Services" } dd { (about.services.iter().map(String::as_str).collect::<Vec<_>>().join(", ")) } }
            div { dt { "Incident" } dd.id { (about.id) } }
        }
    }
}
