//! The course of one series, small.

use aiops_core::{Frame, Timestamp};
use aiops_pipeline::words;
use maud::{Markup, html};

const WIDTH: f64 = 600.0;
const HEIGHT: f64 = 80.0;

/// A line of the values of a row, broken at gaps, with the onset marked; nothing without values.
pub(super) fn line(frame: &Frame, row: usize, onset: Timestamp) -> Option<Markup> {
    let values = frame.row(row);
    let known = values.iter().copied().filter(|value| value.is_finite());
    let low = known.clone().fold(f64::INFINITY, f64::min);
    let high = known.fold(f64::NEG_INFINITY, f64::max);
    if low > high {
        return None;
    }
    let span = if high > low { high - low } else { 1.0 };
    let x = |step: usize| WIDTH * step as f64 / (values.len().max(2) - 1) as f64;
    let y = |value: f64| 4.0 + (HEIGHT - 8.0) * (1.0 - (value - low) / span);
    let mut path = String::new();
    let mut pen_down = false;
    for (step, &value) in values.iter().enumerate() {
        if value.is_finite() {
            let command = if pen_down { 'L' } else { 'M' };
            path.push_str(&format!("{command}{:.1} {:.1}", x(step), y(value)));
        }
        pen_down = value.is_finite();
    }
    let began = frame.step_of(onset).map(x);
    let name = frame.series()[row].to_string();
    Some(html! {
        figure {
            figcaption { code { (name) } " " span.dim { (words::digits(low)) " to " (words::digits(high)) } }
            svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) preserveAspectRatio="none" role="img" aria-label=(name) {
                @if let Some(began) = began {
                    line.onset x1=(began) x2=(began) y1="0" y2=(HEIGHT) {}
                }
                path d=(path) {}
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use aiops_core::SeriesKey;
    use std::time::Duration;

    #[test]
    fn gaps_break_the_line_and_nothing_is_drawn_of_nothing() {
        let keys = ["a", "b"].map(|name| SeriesKey::new(name, [("service", "api")])).to_vec();
        let values = vec![1.0, f64::NAN, 2.0, 3.0, f64::NAN, f64::NAN, f64::NAN, f64::NAN];
        let frame = Frame::new(keys, Timestamp::EPOCH, Duration::from_secs(1), values).unwrap();
        let drawn = line(&frame, 0, Timestamp::from_secs(2)).unwrap().into_string();
        let d = "M0.0 76.0M400.0 40.0L600.0 4.0";
        assert!(drawn.contains(d) && drawn.contains("x1=\"400\""), "{drawn}");
        assert!(line(&frame, 1, Timestamp::EPOCH).is_none());
    }
}
