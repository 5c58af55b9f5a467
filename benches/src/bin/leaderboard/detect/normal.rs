//! The knob against the observed rate on data that are normal by construction.

use aiops_core::{Sample, Timestamp};
use aiops_detect::{
    Calibrated, CalibratorConfig, Detector,
    testing::Noise,
    tier1::{EwmaConfig, RobustConfig},
    tier2::SurpriseConfig,
    tier3::RandomCutForestConfig,
};
use serde::Serialize;

use crate::{
    args::Args,
    registry::{Area, Result},
};

pub(crate) const AREA: Area = Area {
    name: "normal",
    usage: "[--points N] [--quick] [--svg FILE] [--json FILE]",
    about: "knob against observed false-positive rate on generated normal data\n\
            Seasonal, heavy-tailed and autocorrelated series of 100,000 points, without any anomaly.\n\
            For each detector: the share of judged points whose p-value is at most the knob, over the\n\
            knob; 1 is right. --points per kind, 10 M in all by default. --svg draws it.",
    unattended: true,
    run,
};

/// The tolerated rates that are asked for.
const KNOBS: [f64; 4] = [1e-1, 1e-2, 1e-3, 1e-4];
const LENGTH: usize = 100_000;

/// What normal looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    /// A day of 288 points, a week, and noise a tenth as high.
    Seasonal,
    /// Student's t with three degrees of freedom.
    HeavyTailed,
    /// An autoregression of order one, 0.9.
    Autocorrelated,
}

impl Kind {
    const ALL: [Kind; 3] = [Kind::Seasonal, Kind::HeavyTailed, Kind::Autocorrelated];

    fn name(self) -> &'static str {
        match self {
            Kind::Seasonal => "seasonal",
            Kind::HeavyTailed => "heavy-tailed",
            Kind::Autocorrelated => "autocorrelated",
        }
    }

    fn series(self, seed: u64) -> Vec<f64> {
        let mut noise = Noise::new(seed * 3 + self as u64);
        let mut level = 0.0;
        let wave = |row: usize, period: f64| (row as f64 / period * std::f64::consts::TAU).sin();
        (0..LENGTH)
            .map(|row| match self {
                Kind::Seasonal => {
                    100.0 + 10.0 * wave(row, 288.0) + 5.0 * wave(row, 2016.0) + noise.normal()
                }
                Kind::HeavyTailed => {
                    let squares: f64 = (0..3).map(|_| noise.normal().powi(2)).sum();
                    50.0 + noise.normal() / (squares / 3.0).sqrt()
                }
                Kind::Autocorrelated => {
                    level = 0.9 * level + noise.normal();
                    50.0 + level
                }
            })
            .collect()
    }
}

/// Makes a detector.
type Make = fn() -> aiops_detect::Result<Box<dyn Detector>>;

/// The detectors that take part.
fn entries() -> [(&'static str, Make); 4] {
    [
        ("default-uni", || Ok(Box::new(SurpriseConfig::default().build()?))),
        ("ewma, calibrated", || {
            let (inner, config) = (EwmaConfig::default().build()?, CalibratorConfig::default());
            Ok(Box::new(Calibrated::new(inner, config, 1e-3)?))
        }),
        ("robust, calibrated", || {
            let (inner, config) = (RobustConfig::default().build()?, CalibratorConfig::default());
            Ok(Box::new(Calibrated::new(inner, config, 1e-3)?))
        }),
        ("random-cut-forest", || Ok(Box::new(RandomCutForestConfig::default().build()?))),
    ]
}

/// One detector on one kind.
#[derive(Debug, Serialize)]
struct Row {
    detector: &'static str,
    kind: Kind,
    points: u64,
    /// Observed rate over the knob, in the order of [`KNOBS`].
    over_knob: [f64; 4],
}

fn run(mut args: Args) -> Result<()> {
    let quick = args.flag("--quick");
    let points = args.value("--points")?.map(|n| n.parse::<usize>()).transpose()?;
    let svg = args.value("--svg")?;
    let json = args.value("--json")?;
    args.finish()?;
    let in_all = points.unwrap_or(if quick { 600_000 } else { 10_200_000 });
    let series = in_all.div_ceil(Kind::ALL.len() * LENGTH).max(1);
    println!(
        "observed rate over the knob; {} points of each kind\n{:<20} {:<15} {:>7} {:>7} {:>7} {:>7}",
        series * LENGTH,
        "detector",
        "kind",
        "10%",
        "1%",
        "0.1%",
        "0.01%"
    );
    let mut rows = Vec::new();
    for (detector, make) in entries() {
        for kind in Kind::ALL {
            // A forest costs a hundred times what the others do.
            let series = if detector.contains("forest") { series.div_ceil(10) } else { series };
            let row = measure(detector, make, kind, series)?;
            print_row(detector, kind.name(), row.over_knob);
            rows.push(row);
        }
        print_row(detector, "all, pooled", pooled(&rows[rows.len() - Kind::ALL.len()..]));
    }
    if let Some(file) = svg {
        std::fs::write(&file, draw(&rows)).map_err(|error| format!("{file}: {error}"))?;
    }
    if let Some(file) = json {
        let text = serde_json::to_string_pretty(&rows)?;
        std::fs::write(&file, text + "\n").map_err(|error| format!("{file}: {error}"))?;
    }
    Ok(())
}

fn print_row(detector: &str, kind: &str, [a, b, c, d]: [f64; 4]) {
    println!("{detector:<20} {kind:<15} {a:>7.2} {b:>7.2} {c:>7.2} {d:>7.2}");
}

/// The rates over all points of some rows.
fn pooled(rows: &[Row]) -> [f64; 4] {
    let points: u64 = rows.iter().map(|row| row.points).sum();
    std::array::from_fn(|i| {
        rows.iter().map(|row| row.over_knob[i] * row.points as f64).sum::<f64>() / points as f64
    })
}

fn measure(detector: &'static str, make: Make, kind: Kind, series: usize) -> Result<Row> {
    let (mut judged, mut hits) = (0_u64, [0_u64; 4]);
    for seed in 0..series {
        let mut detector = make()?;
        for (row, value) in kind.series(seed as u64 + 1).into_iter().enumerate() {
            let verdict = detector.update(Sample::new(Timestamp::from_secs(row as i64), value));
            if verdict.is_scored() {
                judged += 1;
                for (hits, knob) in hits.iter_mut().zip(KNOBS) {
                    *hits += u64::from(verdict.p_value <= knob);
                }
            }
        }
    }
    let over = |i: usize| hits[i] as f64 / judged as f64 / KNOBS[i];
    Ok(Row { detector, kind, points: judged, over_knob: std::array::from_fn(over) })
}

/// Observed rate over the knob, both on logarithmic axes, with the band of 30 % around 1.
fn draw(rows: &[Row]) -> String {
    const COLOURS: [&str; 4] = ["#1f77b4", "#ff7f0e", "#2ca02c", "#d62728"];
    const DASHES: [&str; 3] = ["", "6 3", "2 3"];
    let x = |i: usize| 80.0 + 150.0 * i as f64;
    let y = |over: f64| 190.0 - 150.0 * over.clamp(0.1, 10.0).log10();
    let mut svg = String::from(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"860\" height=\"400\" font-family=\"sans-serif\" font-size=\"12\">\n",
    );
    svg += &format!(
        "<rect x=\"60\" y=\"{:.1}\" width=\"490\" height=\"{:.1}\" fill=\"#eee\"/>\n",
        y(1.3),
        y(0.7) - y(1.3)
    );
    for (i, knob) in KNOBS.iter().enumerate() {
        svg += &format!("<text x=\"{}\" y=\"370\">{knob}</text>\n", x(i) - 10.0);
    }
    for over in [0.1, 0.3, 1.0, 3.0, 10.0] {
        svg += &format!("<text x=\"20\" y=\"{:.1}\">{over}</text>\n", y(over) + 4.0);
    }
    let detectors: Vec<&str> = entries().iter().map(|(name, _)| *name).collect();
    for (at, row) in rows.iter().enumerate() {
        let which = detectors.iter().position(|name| *name == row.detector).unwrap_or(0);
        let dash = DASHES[row.kind as usize];
        let points: Vec<String> = row
            .over_knob
            .iter()
            .enumerate()
            .map(|(i, over)| format!("{:.1},{:.1}", x(i), y(*over)))
            .collect();
        let style = format!("stroke=\"{}\" stroke-dasharray=\"{dash}\"", COLOURS[which]);
        svg += &format!("<polyline fill=\"none\" {style} points=\"{}\"/>\n", points.join(" "));
        let below = 20 + 16 * at;
        svg += &format!("<line x1=\"580\" x2=\"610\" y1=\"{below}\" y2=\"{below}\" {style}/>\n");
        let name = format!("{}, {}", row.detector, row.kind.name());
        svg += &format!("<text x=\"618\" y=\"{}\">{name}</text>\n", below + 4);
    }
    svg + "<text x=\"250\" y=\"392\">knob (observed over knob on the left)</text>\n</svg>\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_are_the_same_each_time_and_drawn() {
        assert_eq!(Kind::Seasonal.series(3), Kind::Seasonal.series(3));
        let row = |kind| Row { detector: "default-uni", kind, points: 1, over_knob: [1.0; 4] };
        let svg = draw(&Kind::ALL.map(row));
        assert_eq!(svg.matches("<polyline").count(), 3);
        let rows = [(1, 1.0), (3, 2.0)].map(|(points, over)| Row {
            points,
            over_knob: [over; 4],
            ..row(Kind::Seasonal)
        });
        assert_eq!(pooled(&rows), [1.75; 4]);
    }
}
