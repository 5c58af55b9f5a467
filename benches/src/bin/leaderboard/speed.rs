//! The speed table: every registered hot path beside its baseline, measured in one run.

use serde::Serialize;

use crate::{
    args::Args,
    registry::{Absent, Area, Result, SPEED},
};

pub(crate) const AREA: Area = Area {
    name: "speed",
    usage: "[--quick] [--rows ID,...] [--json FILE]",
    about: "hot paths beside plain-loop baselines, in one run\n\
            Figures are per core, in CPU seconds of the measuring thread unless the row says wall clock.\n\
            `ratio` is the speed of ours over the baseline's: above 1 is faster. --rows takes ids or\n\
            prefixes of ids; --quick measures less and is for checking that everything runs.",
    unattended: true,
    run,
};

#[derive(Debug, Serialize)]
struct Row {
    id: &'static str,
    unit: &'static str,
    ours: f64,
    baseline: Option<f64>,
    baseline_is: &'static str,
    ratio: Option<f64>,
    bytes_per_series: Option<f64>,
}

fn run(mut args: Args) -> Result<()> {
    let quick = args.flag("--quick");
    let wanted = args.list("--rows")?;
    let json = args.value("--json")?;
    args.finish()?;

    let rows: Vec<_> = SPEED.iter().flat_map(|rows| rows.iter()).collect();
    for id in &wanted {
        if !rows.iter().any(|row| row.id.starts_with(id.as_str())) {
            let known: Vec<_> = rows.iter().map(|row| row.id).collect();
            return Err(format!("no speed row {id:?}; known are {}", known.join(", ")).into());
        }
    }
    println!(
        "{:<28} {:>12} {:>12} {:>7} {:>9}  unit; baseline",
        "row", "ours", "baseline", "ratio", "B/series"
    );
    let mut measured = Vec::new();
    for row in rows {
        if !wanted.is_empty() && !wanted.iter().any(|id| row.id.starts_with(id.as_str())) {
            continue;
        }
        let figures = match (row.measure)(quick) {
            Err(error) if error.is::<Absent>() => {
                println!("{:<28} not measured: {error}", row.id);
                continue;
            }
            other => other.map_err(|error| format!("{}: {error}", row.id))?,
        };
        let line = Row {
            id: row.id,
            unit: row.unit.name(),
            ours: figures.ours,
            baseline: figures.baseline,
            baseline_is: row.baseline_is,
            ratio: figures.baseline.map(|baseline| row.unit.ratio(figures.ours, baseline)),
            bytes_per_series: figures.bytes_per_series,
        };
        println!(
            "{:<28} {:>12} {:>12} {:>7} {:>9}  {}; {}",
            line.id,
            engineering(line.ours),
            line.baseline.map_or("-".into(), engineering),
            line.ratio.map_or("-".into(), |ratio| format!("{ratio:.2}")),
            line.bytes_per_series.map_or("-".into(), |bytes| format!("{bytes:.0}")),
            line.unit,
            line.baseline_is,
        );
        measured.push(line);
    }
    if let Some(file) = json {
        let text = serde_json::to_string_pretty(&measured)?;
        std::fs::write(&file, text + "\n").map_err(|error| format!("{file}: {error}"))?;
    }
    Ok(())
}

/// Three significant digits with the usual prefixes, for the table; the JSON has base units.
pub(crate) fn engineering(value: f64) -> String {
    const STEPS: [(f64, &str); 7] = [
        (1e9, " G"),
        (1e6, " M"),
        (1e3, " k"),
        (1.0, ""),
        (1e-3, " m"),
        (1e-6, " µ"),
        (1e-9, " n"),
    ];
    let (scale, prefix) =
        STEPS.into_iter().find(|(scale, _)| value.abs() >= *scale).unwrap_or((1.0, ""));
    let scaled = value / scale;
    let digits = if scaled.abs() >= 100.0 {
        0
    } else if scaled.abs() >= 10.0 {
        1
    } else {
        2
    };
    format!("{scaled:.digits$}{prefix}")
}
