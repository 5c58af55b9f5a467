//! Detection quality on labelled series, and what the detectors cost.

mod contender;
pub(crate) mod convert;
mod data;
#[cfg(feature = "augurs")]
mod fitted;
mod network;
pub(crate) mod normal;
mod paired;
mod quality;
mod scores;
mod vote;

use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};
use rayon::prelude::*;

use crate::{
    args::Args,
    registry::{Area, Result},
};
use contender::Contender;
use data::{Manifest, Series};
use quality::Judged;

pub(crate) const AREA: Area = Area {
    name: "detect",
    usage: "--data DIR [--set NAME ...] [--detector ID ...|all] [--json FILE] [--scores DIR] [--foreign DIR]",
    about: "detection quality on labelled series, one table per set\n\
            DIR holds *.csv.gz files (timestamp; value, or v0, v1, ...; optional label), in folders that\n\
            name sets or directly, and manifest*.csv with set,series,train_len. Without labels it scores\n\
            and prints no quality. One metric: all rows are judged. Several: the rows behind train_len.\n\
            Scores of rows that a detector did not judge count as 0. NAB: where windows.json lies beside\n\
            the files or the set is named nab; threshold on the p-value, alert-once over 5 % of the file.\n\
            Paired: VUS-PR per series minus that of trailing-median, the row that cleverer methods have to beat.\n\
            FPR@q: share of scored rows with label 0 whose p-value is at most q, pooled, over q.\n\
            --scores DIR writes DIR/<detector>/<path>.csv with timestamp,score,p_value,flag,label;\n\
            --foreign DIR adds rows for files of the same form made by other tools.",
    unattended: true,
    run,
};

fn run(mut args: Args) -> Result<()> {
    let dir = args.value("--data")?.ok_or("--data DIR is needed")?;
    let sets = args.list("--set")?;
    let mut wanted = args.list("--detector")?;
    let json = args.value("--json")?;
    let scores = args.value("--scores")?.map(PathBuf::from);
    let foreign = args.value("--foreign")?.map(PathBuf::from);
    if !wanted.is_empty() {
        wanted.extend(args.positional());
    }
    args.finish()?;
    let mut contenders = contender::chosen(&wanted)?;
    if let Some(foreign) = &foreign {
        contenders.extend(scores::foreign_ids(foreign)?.into_iter().map(Entrant::Foreign));
    }

    let dir = Path::new(&dir);
    let files = data::find(dir, &sets)?;
    let manifest = Manifest::read(dir)?;
    let bar = ProgressBar::new((files.len() * contenders.len()) as u64);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} {msg} {eta}") {
        bar.set_style(style);
    }
    let judged: Vec<Vec<Judged>> = files
        .par_iter()
        .map(|file| {
            let series = data::read(dir, file, &manifest)?;
            bar.set_message(series.path.clone());
            let judge = quality::Judge::new(&series, file);
            let mut rows = Vec::new();
            for entrant in contenders.iter().filter(|entrant| entrant.suits(&series)) {
                let Some(output) = entrant.output(&series, foreign.as_deref())? else {
                    bar.inc(1);
                    continue;
                };
                if let (Some(dir), Entrant::Ours(_)) = (&scores, entrant) {
                    scores::write(dir, entrant.id(), &series, &output)?;
                }
                rows.push(judge.judge(entrant.id(), &series, &output)?);
                bar.inc(1);
            }
            Ok(rows)
        })
        .collect::<Result<_, Failure>>()
        .map_err(|failure| -> Box<dyn std::error::Error> { failure })?;
    bar.finish_and_clear();

    let judged: Vec<Judged> = judged.into_iter().flatten().collect();
    let paired = paired::compare(&judged, &contenders);
    let rows = quality::rows(judged, &contenders);
    quality::print(&rows);
    paired::print(&paired);
    if let Some(file) = json {
        let text = serde_json::to_string_pretty(&rows)?;
        std::fs::write(&file, text + "\n").map_err(|error| format!("{file}: {error}"))?;
    }
    Ok(())
}

/// An error that may cross threads.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Who takes part: a detector of ours, or another tool's files.
enum Entrant {
    Ours(&'static Contender),
    Foreign(String),
}

impl Entrant {
    fn id(&self) -> &str {
        match self {
            Entrant::Ours(contender) => contender.id,
            Entrant::Foreign(id) => id,
        }
    }

    fn suits(&self, series: &Series) -> bool {
        match self {
            Entrant::Ours(contender) => contender.metrics.suits(series.columns.len()),
            Entrant::Foreign(_) => true,
        }
    }

    /// What it says of every row; `None` where a foreign tool has no file for the series.
    fn output(
        &self,
        series: &Series,
        foreign: Option<&Path>,
    ) -> Result<Option<contender::Output>, Failure> {
        match (self, foreign) {
            (Entrant::Ours(contender), _) => Ok(Some(contender.measured(series)?)),
            (Entrant::Foreign(id), Some(dir)) => scores::read_foreign(dir, id, series),
            (Entrant::Foreign(_), None) => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{contender::CONTENDERS, *};
    use aiops_detect::testing::Noise;

    /// A made-up series with a few anomalies; deterministic.
    fn series(rows: usize, metrics: usize) -> Series {
        let mut noise = Noise::new(3);
        let mut columns = vec![Vec::new(); metrics];
        for row in 0..rows {
            let season = (row as f64 / 48.0 * std::f64::consts::TAU).sin();
            let common = noise.normal();
            for column in &mut columns {
                let odd = if (row / 10) % 97 == 60 { 25.0 } else { 0.0 };
                let value = 10.0 + season + common + 0.3 * noise.normal() + odd;
                column.push(if row % 211 == 5 { f64::NAN } else { value });
            }
        }
        let labels = (0..rows).map(|row| (row / 10) % 97 == 60).collect();
        Series {
            set: "made-up".into(),
            path: "made-up/one".into(),
            stamps: (0..rows).map(|row| row.to_string()).collect(),
            columns,
            labels: Some(labels),
            train_len: if metrics > 1 { rows.min(900) } else { 0 },
            causes: Vec::new(),
        }
    }

    #[test]
    fn nothing_looks_ahead() {
        for contender in CONTENDERS.iter().filter(|c| !c.id.ends_with("-offline")) {
            let metrics = if contender.metrics.suits(1) { 1 } else { 6 };
            let whole = (contender.run)(&series(3000, metrics)).unwrap();
            let first = (contender.run)(&series(2100, metrics)).unwrap();
            assert_eq!(whole.verdicts[..2100], first.verdicts[..], "{}", contender.id);
            let flags = |output: &contender::Output, rows: usize| {
                scores::flags(&series(rows, metrics), output)
            };
            assert_eq!(flags(&whole, 3000)[..2100], flags(&first, 2100)[..], "{}", contender.id);
        }
    }

    #[test]
    fn a_series_of_gaps_or_one_row_is_no_trouble() {
        for contender in CONTENDERS {
            let metrics = if contender.metrics.suits(1) { 1 } else { 6 };
            for rows in [0, 1, 40, 1500] {
                let mut gaps = series(rows, metrics);
                gaps.columns.iter_mut().flatten().for_each(|value| *value = f64::NAN);
                let output = (contender.run)(&gaps).unwrap();
                assert_eq!(output.verdicts.len(), rows, "{}", contender.id);
            }
        }
    }
}
