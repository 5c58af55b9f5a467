//! Measures per series, their means per set, and the tables.

use std::path::Path;

use aiops_detect::eval::{self, nab};
use serde::Serialize;

use super::{Entrant, Failure, contender::Output, data::Series};
use crate::speed::engineering;

/// Share of a file's rows over which a detector speaks once, for NAB: the rule of the numbers to
/// compare with.
const QUIET: usize = 20;

/// What one detector did on one series.
pub(crate) struct Judged {
    pub(super) set: String,
    pub(super) detector: String,
    pub(super) series: String,
    measures: Option<Measures>,
    /// Scores, and windows, for the measure that is taken over all files together.
    nab: Option<(Vec<f64>, Vec<std::ops::RangeInclusive<usize>>)>,
    /// Normal rows that were scored, and those at or below a p-value of 1 % and 0.1 %.
    normal: [usize; 3],
    causes: (usize, usize),
    rows: usize,
    seconds: f64,
}

#[derive(Clone, Copy)]
struct Measures {
    vus_pr: f64,
    vus_roc: f64,
    auc_pr: f64,
    f1: f64,
    delay_f1: f64,
    range_f1: f64,
    affiliation_f1: f64,
    event_f1: f64,
    point_adjusted_f1: f64,
}

impl Judged {
    /// VUS-PR, where the series is labelled.
    pub(super) fn vus_pr(&self) -> Option<f64> {
        self.measures.map(|measures| measures.vus_pr)
    }
}

/// Judges all detectors on one series.
pub(crate) struct Judge {
    /// The first row that is judged.
    from: usize,
    labels: Option<Vec<bool>>,
    window: usize,
    windows_known: bool,
}

impl Judge {
    pub(crate) fn new(series: &Series, file: &Path) -> Self {
        let from = if series.columns.len() > 1 { series.train_len } else { 0 };
        let labels = series.labels.as_ref().map(|labels| labels[from..].to_vec());
        // Of all rows, also where only some are judged: the convention of the numbers to compare with.
        let window = series.columns.first().map_or(125, |first| eval::dominant_period(first));
        let beside = file.parent().is_some_and(|folder| folder.join("windows.json").is_file());
        let windows_known =
            series.columns.len() == 1 && (beside || series.set.to_lowercase().contains("nab"));
        Judge { from, labels, window, windows_known }
    }

    pub(crate) fn judge(
        &self,
        detector: &str,
        series: &Series,
        output: &Output,
    ) -> Result<Judged, Failure> {
        let verdicts = &output.verdicts[self.from..];
        // Rows that were not judged are as normal as can be.
        let scores: Vec<f64> =
            verdicts.iter().map(|v| if v.is_scored() { v.score } else { 0.0 }).collect();
        let labels = self.labels.as_deref().unwrap_or_default();
        let measures = match self.labels {
            Some(_) => self.measures(&scores, labels)?,
            None => None,
        };
        let mut normal = [0; 3];
        for (verdict, _) in
            verdicts.iter().zip(labels).filter(|(v, label)| v.is_scored() && !**label)
        {
            normal[0] += 1;
            normal[1] += usize::from(verdict.p_value <= 0.01);
            normal[2] += usize::from(verdict.p_value <= 0.001);
        }
        let nab = (self.windows_known && self.labels.is_some()).then(|| {
            let rare: Vec<f64> = verdicts.iter().map(|v| -v.p_value.log10()).collect();
            let windows = eval::segments(labels);
            let inclusive = windows.into_iter().map(|window| window.start..=window.end - 1);
            (nab::alert_once(&rare, rare.len() / QUIET), inclusive.collect())
        });
        Ok(Judged {
            set: series.set.clone(),
            detector: detector.to_owned(),
            series: series.path.clone(),
            measures,
            nab,
            normal,
            causes: output.causes.unwrap_or_default(),
            rows: series.len(),
            seconds: output.seconds,
        })
    }

    fn measures(&self, scores: &[f64], labels: &[bool]) -> Result<Option<Measures>, Failure> {
        let Some(vus) = eval::vus(scores, labels, self.window)? else { return Ok(None) };
        Ok(Some(Measures {
            vus_pr: vus.pr,
            vus_roc: vus.roc,
            auc_pr: eval::auc_pr(scores, labels)?.unwrap_or(0.0),
            f1: eval::best_f1(scores, labels)?.unwrap_or(0.0),
            delay_f1: eval::delay_f1(scores, labels, 7)?.unwrap_or(0.0),
            range_f1: eval::range_f1(scores, labels)?.unwrap_or(0.0),
            affiliation_f1: eval::affiliation_f1(scores, labels)?.unwrap_or(0.0),
            event_f1: eval::event_f1(scores, labels)?.unwrap_or(0.0),
            point_adjusted_f1: eval::point_adjusted_f1(scores, labels)?.unwrap_or(0.0),
        }))
    }
}

/// One detector on one set: plain means over labelled series.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    set: String,
    detector: String,
    series: usize,
    labelled: usize,
    vus_pr: Option<f64>,
    vus_roc: Option<f64>,
    auc_pr: Option<f64>,
    best_f1: Option<f64>,
    delay_7_f1: Option<f64>,
    range_f1: Option<f64>,
    affiliation_f1: Option<f64>,
    event_f1: Option<f64>,
    point_adjusted_f1: Option<f64>,
    nab_standard: Option<f64>,
    nab_low_fp: Option<f64>,
    nab_low_fn: Option<f64>,
    /// Observed share of normal rows at or below 1 % and 0.1 %, over the knob: 1 is right.
    fpr_over_knob_1_percent: Option<f64>,
    fpr_over_knob_01_percent: Option<f64>,
    hit_at_3: Option<f64>,
    rows_per_second: Option<f64>,
}

/// Gathers what was judged into rows, sets in order of name, detectors as they were asked for.
pub(crate) fn rows(judged: Vec<Judged>, entrants: &[Entrant]) -> Vec<Row> {
    let mut sets: Vec<&str> = judged.iter().map(|j| j.set.as_str()).collect();
    sets.sort_unstable();
    sets.dedup();
    let mut rows = Vec::new();
    for set in sets {
        for entrant in entrants {
            let of: Vec<&Judged> =
                judged.iter().filter(|j| j.set == set && j.detector == entrant.id()).collect();
            if !of.is_empty() {
                rows.push(row(set, entrant.id(), &of));
            }
        }
    }
    rows
}

fn row(set: &str, detector: &str, of: &[&Judged]) -> Row {
    let measured: Vec<Measures> = of.iter().filter_map(|j| j.measures).collect();
    let mean = |measure: fn(&Measures) -> f64| {
        let sum: f64 = measured.iter().map(measure).sum();
        (!measured.is_empty()).then(|| sum / measured.len() as f64)
    };
    let files: Vec<nab::File<'_>> = of
        .iter()
        .filter_map(|j| j.nab.as_ref())
        .map(|(scores, windows)| nab::File { scores, windows: windows.clone() })
        .collect();
    let nab = |profile| nab::nab(&files, profile).ok().flatten().map(|score| score.normalised);
    let normal = |i: usize| of.iter().map(|j| j.normal[i]).sum::<usize>() as f64;
    let over = |i: usize, knob: f64| (normal(0) > 0.0).then(|| normal(i) / normal(0) / knob);
    let causes = of.iter().fold((0, 0), |sum, j| (sum.0 + j.causes.0, sum.1 + j.causes.1));
    let seconds: f64 = of.iter().map(|j| j.seconds).sum();
    let points = of.iter().map(|j| j.rows).sum::<usize>() as f64;
    Row {
        set: set.to_owned(),
        detector: detector.to_owned(),
        series: of.len(),
        labelled: measured.len(),
        vus_pr: mean(|m| m.vus_pr),
        vus_roc: mean(|m| m.vus_roc),
        auc_pr: mean(|m| m.auc_pr),
        best_f1: mean(|m| m.f1),
        delay_7_f1: mean(|m| m.delay_f1),
        range_f1: mean(|m| m.range_f1),
        affiliation_f1: mean(|m| m.affiliation_f1),
        event_f1: mean(|m| m.event_f1),
        point_adjusted_f1: mean(|m| m.point_adjusted_f1),
        nab_standard: nab(nab::STANDARD),
        nab_low_fp: nab(nab::REWARD_LOW_FP),
        nab_low_fn: nab(nab::REWARD_LOW_FN),
        fpr_over_knob_1_percent: over(1, 0.01),
        fpr_over_knob_01_percent: over(2, 0.001),
        hit_at_3: (causes.1 > 0).then(|| causes.0 as f64 / causes.1 as f64),
        rows_per_second: (seconds > 0.0).then(|| points / seconds),
    }
}

/// One table per set.
pub(crate) fn print(rows: &[Row]) {
    let shown = |value: Option<f64>, digits: usize| {
        value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
    };
    let mut set = "";
    for row in rows {
        if row.set != set {
            set = &row.set;
            println!("\n{set}: {} series, {} with labels", row.series, row.labelled);
            println!(
                "{:<22} {:>7} {:>7} {:>8} {:>6} {:>8} {:>9} {:>6} {:>12}",
                "detector",
                "VUS-PR",
                "AUC-PR",
                "delay-7",
                "NAB",
                "FPR@1%",
                "FPR@0.1%",
                "hit@3",
                "points/s/core"
            );
        }
        println!(
            "{:<22} {:>7} {:>7} {:>8} {:>6} {:>8} {:>9} {:>6} {:>12}",
            row.detector,
            shown(row.vus_pr, 3),
            shown(row.auc_pr, 3),
            shown(row.delay_7_f1, 3),
            shown(row.nab_standard, 1),
            shown(row.fpr_over_knob_1_percent, 2),
            shown(row.fpr_over_knob_01_percent, 2),
            shown(row.hit_at_3, 2),
            row.rows_per_second.map_or_else(|| "-".to_owned(), engineering),
        );
    }
}
