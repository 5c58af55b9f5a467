//! The frontier as a picture: suppression against missed incidents.

use std::fmt::Write;

use super::Row;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 460.0;
const LEFT: f64 = 70.0;
const TOP: f64 = 50.0;
const RIGHT: f64 = 30.0;
const BOTTOM: f64 = 60.0;
/// The axes: missed incidents from 0 % on, suppression up to 100 %.
const MISSED: f64 = 0.12;
const SUPPRESSED: f64 = 0.92;

/// The rows of one set: our thresholds as a line, everything else as a dot. What lies outside the
/// picture is left out.
pub(super) fn frontier(set: &str, rows: &[Row]) -> String {
    let x = |missed: f64| LEFT + missed / MISSED * (WIDTH - LEFT - RIGHT);
    let y =
        |suppression: f64| TOP + (1.0 - suppression) / (1.0 - SUPPRESSED) * (HEIGHT - TOP - BOTTOM);
    let inside = |row: &&Row| {
        row.set == set && row.measures.missed <= MISSED && row.measures.suppression >= SUPPRESSED
    };
    let ours = |row: &&Row| row.correlator.starts_with("ours, shown from");
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n\
         <text x=\"{LEFT}\" y=\"24\" font-size=\"15\">Suppression against missed incidents: {set}</text>\n"
    );
    let mut line = |x1: f64, y1: f64, x2: f64, y2: f64, style: &str| {
        let _ = writeln!(
            svg,
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" {style}/>"
        );
    };
    let grid = "stroke=\"#ddd\"";
    let bar = "stroke=\"#999\" stroke-dasharray=\"5 4\"";
    for step in 0..=6 {
        let at = x(MISSED * f64::from(step) / 6.0);
        line(at, TOP, at, HEIGHT - BOTTOM, grid);
    }
    for step in 0..=4 {
        let at = y(1.0 - (1.0 - SUPPRESSED) * f64::from(step) / 4.0);
        line(LEFT, at, WIDTH - RIGHT, at, grid);
    }
    line(x(0.03), TOP, x(0.03), HEIGHT - BOTTOM, bar);
    line(LEFT, y(0.97), WIDTH - RIGHT, y(0.97), bar);
    let mut text = |x: f64, y: f64, anchor: &str, words: &str| {
        let _ = writeln!(
            svg,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{words}</text>"
        );
    };
    for step in 0..=6 {
        let missed = MISSED * f64::from(step) / 6.0;
        text(x(missed), HEIGHT - BOTTOM + 18.0, "middle", &format!("{:.0} %", missed * 100.0));
    }
    for step in 0..=4 {
        let suppression = 1.0 - (1.0 - SUPPRESSED) * f64::from(step) / 4.0;
        text(LEFT - 8.0, y(suppression) + 4.0, "end", &format!("{:.0} %", suppression * 100.0));
    }
    text(WIDTH / 2.0, HEIGHT - 16.0, "middle", "missed incidents (FN1)");
    text(LEFT, TOP - 8.0, "start", "suppression; the dashed lines are the bars, 3 % and 97 %");
    for row in rows.iter().filter(inside) {
        let (at, up) = (x(row.measures.missed), y(row.measures.suppression));
        match row.correlator.strip_prefix("ours, shown from ") {
            Some(share) => text(at + 6.0, up - 6.0, "start", share),
            None => text(at + 7.0, up + 4.0, "start", &row.correlator),
        }
    }
    let line: Vec<String> = rows
        .iter()
        .filter(inside)
        .filter(ours)
        .map(|row| format!("{:.1},{:.1}", x(row.measures.missed), y(row.measures.suppression)))
        .collect();
    let points = line.join(" ");
    let _ = writeln!(
        svg,
        "<polyline points=\"{points}\" fill=\"none\" stroke=\"#06c\" stroke-width=\"2\"/>"
    );
    for row in rows.iter().filter(inside) {
        let colour = if ours(&row) { "#06c" } else { "#555" };
        let (at, up) = (x(row.measures.missed), y(row.measures.suppression));
        let _ = writeln!(svg, "<circle cx=\"{at:.1}\" cy=\"{up:.1}\" r=\"4\" fill=\"{colour}\"/>");
    }
    svg.push_str("</svg>\n");
    svg
}
