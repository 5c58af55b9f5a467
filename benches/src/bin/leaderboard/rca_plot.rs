//! Small line charts as SVG, for the documentation.

use std::fmt::Write;

/// One line or one cloud of points.
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
    /// Whether the points are joined.
    pub(crate) joined: bool,
}

pub(crate) struct Axis {
    pub(crate) label: &'static str,
    pub(crate) low: f64,
    pub(crate) high: f64,
    /// Powers of ten at equal distances.
    pub(crate) log: bool,
    pub(crate) ticks: Vec<(f64, String)>,
}

impl Axis {
    /// The share of the way from low to high.
    fn at(&self, value: f64) -> f64 {
        let scale = |v: f64| if self.log { v.max(1e-300).log10() } else { v };
        (scale(value) - scale(self.low)) / (scale(self.high) - scale(self.low))
    }
}

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 190.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 55.0;
/// Told apart by people who see no red or green.
const COLOURS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#999999"];

/// The chart; the same input gives the same bytes.
pub(crate) fn chart(title: &str, x: &Axis, y: &Axis, series: &[Series]) -> String {
    let px = |v: f64| LEFT + x.at(v) * (WIDTH - LEFT - RIGHT);
    let py = |v: f64| HEIGHT - BOTTOM - y.at(v) * (HEIGHT - TOP - BOTTOM);
    let mut out = String::new();
    let mut line = |text: String| {
        out.push_str(&text);
        out.push('\n');
    };
    line(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\">"
    ));
    line(format!("<title>{}</title>", escape(title)));
    line(format!("<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>"));
    line(format!("<text x=\"{LEFT}\" y=\"22\" font-size=\"14\">{}</text>", escape(title)));
    let (left, right, top, bottom) = (LEFT, WIDTH - RIGHT, TOP, HEIGHT - BOTTOM);
    for (value, label) in &x.ticks {
        let at = px(*value);
        line(format!(
            "<line x1=\"{at:.1}\" y1=\"{top}\" x2=\"{at:.1}\" y2=\"{bottom}\" stroke=\"#ddd\"/>\
             <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label}</text>",
            bottom + 16.0
        ));
    }
    for (value, label) in &y.ticks {
        let at = py(*value);
        line(format!(
            "<line x1=\"{left}\" y1=\"{at:.1}\" x2=\"{right}\" y2=\"{at:.1}\" stroke=\"#ddd\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
            left - 6.0,
            at + 4.0
        ));
    }
    let middle = (left + right) / 2.0;
    line(format!(
        "<text x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
        HEIGHT - 16.0,
        escape(x.label)
    ));
    let middle = (top + bottom) / 2.0;
    line(format!(
        "<text x=\"16\" y=\"{middle:.1}\" text-anchor=\"middle\" transform=\"rotate(-90 16 {middle:.1})\">{}</text>",
        escape(y.label)
    ));
    for (index, series) in series.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        if series.joined {
            let mut points = String::new();
            for (a, b) in &series.points {
                let _ = write!(points, "{:.1},{:.1} ", px(*a), py(*b));
            }
            line(format!(
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
                points.trim_end()
            ));
        }
        for (a, b) in &series.points {
            line(format!(
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3.5\" fill=\"{colour}\"/>",
                px(*a),
                py(*b)
            ));
        }
        let at = TOP + 14.0 + 18.0 * index as f64;
        line(format!(
            "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"4\" fill=\"{colour}\"/>\
             <text x=\"{:.1}\" y=\"{at:.1}\">{}</text>",
            right + 14.0,
            at - 4.0,
            right + 24.0,
            escape(&series.name)
        ));
    }
    line("</svg>".to_owned());
    out
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Ticks at powers of ten from the lower to the upper exponent.
pub(crate) fn decades(from: i32, to: i32, unit: &str) -> Vec<(f64, String)> {
    let label = |exponent: i32| match exponent {
        0..=5 => format!("{}{unit}", 10_i64.pow(exponent as u32)),
        _ => format!("{}{unit}", 10.0_f64.powi(exponent)),
    };
    (from..=to).map(|exponent| (10.0_f64.powi(exponent), label(exponent))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_lie_where_the_axes_say() {
        let linear = |label| Axis { label, low: 0.0, high: 1.0, log: false, ticks: vec![] };
        let points = vec![(0.0, 0.0), (1.0, 1.0)];
        let series = Series { name: "a < b".into(), points, joined: true };
        let svg = chart("t", &linear("x"), &linear("y"), &[series]);
        assert!(svg.contains("points=\"70.0,345.0 450.0,40.0\""), "{svg}");
        assert!(svg.contains("a &lt; b"));
        let log = Axis { label: "n", low: 1.0, high: 100.0, log: true, ticks: decades(0, 2, "") };
        assert!((log.at(10.0) - 0.5).abs() < 1e-12);
    }
}
