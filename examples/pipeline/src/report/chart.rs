//! Small multiples: the series that matter, each with its expected band, flagged points, the onset
//! and the changes.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::ops::Range;

use aiops_core::{Evidence, SeriesKey, Timestamp};
use aiops_detect::Verdict;
use maud::{Markup, html};

use crate::story::{IncidentStory, Story};
use crate::words;

/// How many series are drawn.
const MOST: usize = 12;
/// Of one service.
const MOST_OF_A_SERVICE: usize = 4;

const WIDTH: f64 = 340.0;
const HEIGHT: f64 = 150.0;
const LEFT: f64 = 50.0;
const RIGHT: f64 = 8.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 20.0;

/// The charts of an incident. `judge` gives the verdicts of a row over the whole recording.
pub(super) fn charts(
    story: &Story,
    incident: &IncidentStory,
    judge: &dyn Fn(usize) -> Vec<Verdict>,
) -> Markup {
    let steps = steps(story, incident);
    html! {
        div.charts data-start=(story.metrics.time(steps.start).as_millis())
            data-step=(story.metrics.step().as_millis()) {
            @for row in choose(story, incident) {
                (chart(story, incident, row, steps.clone(), &judge(row)))
            }
        }
    }
}

/// Which part of the recording is drawn: some minutes before the onset until the trouble is over.
fn steps(story: &Story, incident: &IncidentStory) -> Range<usize> {
    let frame = &story.metrics;
    let at = |time: Timestamp| {
        frame.step_of(time).unwrap_or(if time < frame.start() { 0 } else { frame.n_steps() })
    };
    let minute = |minutes: u64| std::time::Duration::from_secs(60 * minutes);
    let onset = incident.began();
    let over = incident.incident.resolved_at.map_or(onset + minute(8), |over| over + minute(1));
    at(onset - minute(4))
        ..(at(over.min(onset + minute(14))).max(at(onset) + 1).min(frame.n_steps()))
}

/// The rows that say most: what the ranking rests on, then the loudest anomalies of each service.
fn choose(story: &Story, incident: &IncidentStory) -> Vec<usize> {
    let rows = story.metrics.series();
    let row_of = |key: &SeriesKey| rows.iter().position(|known| known == key);
    // Evidence names a metric without the service that it was found at.
    let row_named = |name: &str, service: Option<&str>| {
        rows.iter().position(|key| {
            let mut bare = key.clone();
            bare.labels.remove("service");
            key.service() == service && (bare.to_string() == name || key.to_string() == name)
        })
    };
    let mut chosen: Vec<usize> = Vec::new();
    let mut per_service = std::collections::BTreeMap::<&str, usize>::new();
    let mut names = BTreeSet::new();
    let mut take = |row: usize| {
        let key = &rows[row];
        let of_service = per_service.entry(key.service().unwrap_or_default()).or_default();
        // Quantiles and siblings of one metric tell the same story.
        let is_new = names.insert((key.service(), stem(&key.name)));
        if is_new && *of_service < MOST_OF_A_SERVICE && chosen.len() < MOST {
            *of_service += 1;
            chosen.push(row);
        }
    };
    let candidates = incident.ranking().map(|r| r.candidates.as_slice()).unwrap_or_default();
    for candidate in candidates.iter().take(3) {
        for evidence in &candidate.evidence {
            if let Evidence::Magnitude { metric, .. } = evidence
                && let Some(row) = row_named(metric, candidate.cause.service())
            {
                take(row);
            }
        }
    }
    let mut loudest: Vec<_> = story
        .anomalies
        .iter()
        .filter(|anomaly| {
            anomaly.series.service().is_some_and(|s| incident.incident.services.contains(s))
        })
        .collect();
    loudest.sort_by(|a, b| b.peak_score.total_cmp(&a.peak_score).then(a.onset.cmp(&b.onset)));
    for anomaly in loudest {
        if let Some(row) = row_of(&anomaly.series) {
            take(row);
        }
    }
    chosen
}

/// A metric's name without what tells siblings apart.
fn stem(name: &str) -> &str {
    let cut = name.rfind(":p").or_else(|| name.rfind("_p")).filter(|&cut| {
        let tail = &name[cut + 2..];
        !tail.is_empty() && tail.chars().all(|c| c.is_ascii_digit())
    });
    let name = cut.map_or(name, |cut| &name[..cut]);
    ["_total", "_sum", "_count", "_bucket"]
        .iter()
        .find_map(|s| name.strip_suffix(s))
        .unwrap_or(name)
}

fn chart(
    story: &Story,
    incident: &IncidentStory,
    row: usize,
    steps: Range<usize>,
    verdicts: &[Verdict],
) -> Markup {
    let key = &story.metrics.series()[row];
    let values = &story.metrics.row(row)[steps.clone()];
    let verdicts = verdicts.get(steps.clone()).unwrap_or_default();
    let unit = story.units.get(row).map_or("", String::as_str);
    let scale = Scale::of(values, verdicts);
    let x = |step: f64| LEFT + step / (values.len().max(2) - 1) as f64 * (WIDTH - LEFT - RIGHT);
    let at = |time: Timestamp| {
        let offset = time.seconds_after(story.metrics.time(steps.start));
        x(offset / story.metrics.step().as_secs_f64())
    };
    let inside = |x: f64| (LEFT..=WIDTH - RIGHT).contains(&x);
    let onset = at(incident.began());
    let mut labels = key.labels.clone();
    labels.remove("service");
    let flagged: Vec<_> =
        verdicts.iter().enumerate().filter(|(_, v)| v.flagged).map(|(step, _)| step).collect();
    let data: Vec<String> = values.iter().map(|v| compact(*v)).collect();
    html! {
        figure.chart data-values=(data.join(",")) data-unit=(unit) {
            figcaption {
                b { (key.service().unwrap_or("no service")) }
                " " span.metric { (key.name) }
                @if !labels.is_empty() { " " span.labels { (labels.iter().map(|(_, v)| v).collect::<Vec<_>>().join(" · ")) } }
                output {}
            }
            svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img"
                aria-label=(format!("{key}: {} flagged points", flagged.len())) {
                @for tick in scale.ticks() {
                    @let y = scale.y(tick);
                    line.grid x1=(LEFT) x2=(WIDTH - RIGHT) y1=(one(y)) y2=(one(y)) {}
                    text.tick x=(LEFT - 5.0) y=(one(y + 3.0)) text-anchor="end" { (words::value(tick, unit)) }
                }
                @for (minute, place) in minutes(story, incident, &steps) {
                    @let x = x(place);
                    text.tick x=(one(x)) y=(HEIGHT - 5.0) text-anchor="middle" { (minute) }
                }
                path.band d=(band(verdicts, &scale, x)) {}
                @if inside(onset) {
                    line.onset x1=(one(onset)) x2=(one(onset)) y1=(TOP - 4.0) y2=(HEIGHT - BOTTOM) {}
                    text.onset x=(one(onset + 3.0)) y=(TOP - 4.0) { "onset" }
                }
                @for change in &story.changes {
                    @let place = at(change.starts_at);
                    @if inside(place) {
                        line.change x1=(one(place)) x2=(one(place)) y1=(TOP - 4.0) y2=(HEIGHT - BOTTOM) { title { (change.title) } }
                        path.change d=(format!("M{0} {1}l4 -6h-8z", one(place), one(TOP + 1.0))) { title { (change.title) } }
                    }
                }
                path.line d=(line(values, &scale, x)) {}
                g.flags {
                    @for step in flagged {
                        @if values[step].is_finite() {
                            circle cx=(one(x(step as f64))) cy=(one(scale.y(values[step]))) r="1.8" {}
                        }
                    }
                }
                line.cursor y1=(TOP) y2=(HEIGHT - BOTTOM) visibility="hidden" {}
                rect.touch x=(LEFT) y="0" width=(WIDTH - LEFT - RIGHT) height=(HEIGHT) {}
            }
        }
    }
}

/// Minutes before and after the onset, as labels with their places in steps.
fn minutes(story: &Story, incident: &IncidentStory, steps: &Range<usize>) -> Vec<(String, f64)> {
    let per_minute = 60.0 / story.metrics.step().as_secs_f64();
    let from = story.metrics.time(steps.start).seconds_after(incident.began()) / 60.0;
    let to = from + steps.len() as f64 / per_minute;
    let every = if to - from > 12.0 { 4 } else { 2 };
    (from.ceil() as i64..=to.floor() as i64)
        .filter(|minute| minute % every == 0)
        .map(|minute| {
            let label = match minute {
                0 => "0".to_owned(),
                m if m < 0 => format!("−{} min", -m),
                m => format!("+{m} min"),
            };
            (label, (minute as f64 - from) * per_minute)
        })
        .filter(|(_, place)| *place <= steps.len() as f64 * 0.97)
        .collect()
}

/// From values to heights.
struct Scale {
    low: f64,
    high: f64,
}

impl Scale {
    /// Holds all values; of the band only what is near them, so that a wide band flattens nothing.
    fn of(values: &[f64], verdicts: &[Verdict]) -> Scale {
        let finite = values.iter().copied().filter(|v| v.is_finite());
        let (mut low, mut high) =
            finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        if low > high {
            (low, high) = (0.0, 1.0);
        }
        let reach = (high - low).max(high.abs() * 0.05).max(f64::MIN_POSITIVE) * 0.5;
        for verdict in verdicts.iter().filter(|v| v.lower.is_finite() && v.upper.is_finite()) {
            low = low.min(verdict.lower.max(low - reach));
            high = high.max(verdict.upper.min(high + reach));
        }
        // A metric that cannot be negative is drawn from zero when zero is near.
        let never_negative = values.iter().all(|v| v.is_nan() || *v >= 0.0);
        if never_negative {
            low = if low < 0.4 * high { 0.0 } else { low.max(0.0) };
        }
        if high <= low {
            high = low + low.abs().max(1.0);
        }
        Scale { low, high }
    }

    fn y(&self, value: f64) -> f64 {
        let share = ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0);
        HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP)
    }

    /// Three or four round numbers.
    fn ticks(&self) -> Vec<f64> {
        let rough = (self.high - self.low) / 3.0;
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 2.5, 5.0, 10.0].map(|m| m * power).into_iter().find(|s| *s >= rough);
        let Some(step) = step.filter(|step| *step > 0.0 && step.is_finite()) else { return vec![] };
        let first = (self.low / step).ceil() as i64;
        (first..first + 6).map(|n| n as f64 * step).filter(|tick| *tick <= self.high).collect()
    }
}

/// The values as a path that breaks at gaps.
fn line(values: &[f64], scale: &Scale, x: impl Fn(f64) -> f64) -> String {
    let mut path = String::new();
    let mut pen_down = false;
    for (step, value) in values.iter().enumerate() {
        if value.is_finite() {
            let verb = if pen_down { 'L' } else { 'M' };
            let _ = write!(path, "{verb}{} {}", one(x(step as f64)), one(scale.y(*value)));
        }
        pen_down = value.is_finite();
    }
    path
}

/// The expected band, every other step, as closed shapes that break where there is none.
fn band(verdicts: &[Verdict], scale: &Scale, x: impl Fn(f64) -> f64) -> String {
    let mut path = String::new();
    let has_band = |v: &&(usize, &Verdict)| v.1.lower.is_finite() && v.1.upper.is_finite();
    let sampled: Vec<_> = verdicts.iter().enumerate().step_by(2).collect();
    for stretch in sampled.split(|v| !has_band(&v)) {
        for (i, (step, verdict)) in stretch.iter().enumerate() {
            let verb = if i == 0 { 'M' } else { 'L' };
            let _ = write!(path, "{verb}{} {}", one(x(*step as f64)), one(scale.y(verdict.upper)));
        }
        for (step, verdict) in stretch.iter().rev() {
            let _ = write!(path, "L{} {}", one(x(*step as f64)), one(scale.y(verdict.lower)));
        }
        if !stretch.is_empty() {
            path.push('Z');
        }
    }
    path
}

/// One decimal is a tenth of a pixel.
pub(super) fn one(number: f64) -> String {
    let text = format!("{number:.1}");
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}

/// Four digits are enough to read off a chart; empty for a gap.
fn compact(value: f64) -> String {
    if !value.is_finite() {
        return String::new();
    }
    let rounded: f64 = format!("{value:.3e}").parse().unwrap_or(value);
    format!("{rounded}")
}
