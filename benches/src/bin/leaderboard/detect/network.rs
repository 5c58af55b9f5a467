//! The pre-trained LSTM on the CPU engine, alone and beside the default detector.

use std::time::Duration;

use aiops_core::{SampleBatch, SeriesId, Timestamp};
use aiops_detect::{Calibrator, CalibratorConfig, State, Tier, Verdict};
use aiops_gpu::{Ask, BatchEngine, CpuConfig, Model, RuleConfig, pretrained, run};

use super::{Failure, contender::Output, data::Series};
use crate::registry::Result;

/// Rows given to the engine at a time.
const ROWS: usize = 256;

fn calibrator() -> Result<Calibrator, Failure> {
    Ok(CalibratorConfig { horizon: 8_000, ..CalibratorConfig::default() }.build()?)
}

/// Mean over the metrics of -ln p of the LSTM's prediction error; `None` where no metric was judged.
fn surprise(series: &Series) -> Result<Vec<Option<f64>>, Failure> {
    // The network alone: statistics weigh nothing beside it.
    let rule = RuleConfig { weights: [1e-9, 1.0, 0.0], ..RuleConfig::default() };
    let model = Model { lstm: Some(pretrained::lstm()?), ..Model::statistics(rule) };
    let mut engine = CpuConfig::default().build(&model)?;
    let metrics = series.columns.len();
    engine.register(metrics)?;
    let mut means = Vec::with_capacity(series.len());
    for first in (0..series.len()).step_by(ROWS) {
        let rows = first..series.len().min(first + ROWS);
        let cells = rows.clone().flat_map(|row| (0..metrics).map(move |metric| (row, metric)));
        let ids: Vec<_> = cells.clone().map(|(_, metric)| SeriesId(metric as u32)).collect();
        let times: Vec<_> =
            cells.clone().map(|(row, _)| Timestamp::from_secs(row as i64)).collect();
        let values: Vec<_> = cells.map(|(row, metric)| series.columns[metric][row]).collect();
        let batch = SampleBatch::new(&ids, &times, &values)?;
        let outcome = run(&mut engine, &batch, Ask::UPDATE.with_columns(), Duration::ZERO)?;
        let columns = outcome.columns.unwrap_or_default();
        for (scores, expected) in
            columns.scores.chunks(metrics).zip(columns.expected.chunks(metrics))
        {
            let judged = scores.iter().zip(expected).filter(|(_, expected)| !expected.is_nan());
            let (sum, count) =
                judged.fold((0.0, 0.0), |(s, n), (score, _)| (s + f64::from(*score), n + 1.0));
            means.push((count > 0.0).then(|| sum / count));
        }
    }
    Ok(means)
}

/// One score a row and its p-value on the scores before it.
fn judged(scores: impl Iterator<Item = Option<f64>>, tier: Tier) -> Result<Output, Failure> {
    let mut calibrator = calibrator()?;
    let verdict = |score: Option<f64>| {
        let Some(score) = score else { return Verdict::unjudged(State::WarmingUp, tier) };
        let p_value = calibrator.p_value(score).unwrap_or(1.0);
        calibrator.learn(score);
        let flagged = p_value <= 1e-3;
        Verdict { score, p_value, flagged, ..Verdict::unjudged(State::Scored, tier) }
    };
    Ok(Output { verdicts: scores.map(verdict).collect(), ..Output::default() })
}

/// Rows behind the training part, as the models of several metrics are judged on.
fn from(series: &Series) -> usize {
    if series.columns.len() > 1 { series.train_len } else { 0 }
}

pub(super) fn alone(series: &Series) -> Result<Output, Failure> {
    let from = from(series);
    let scores = surprise(series)?.into_iter().enumerate();
    judged(scores.map(|(row, score)| score.filter(|_| row >= from)), Tier::Three)
}

/// The mean of -ln p of the default detector and of the network, each calibrated on its own past.
pub(super) fn beside(default: Output, series: &Series) -> Result<Output, Failure> {
    let network = alone(series)?;
    let scores = default.verdicts.iter().zip(&network.verdicts).map(|(default, network)| {
        let judged = [default, network].into_iter().filter(|verdict| verdict.is_scored());
        let (sum, count) = judged.fold((0.0, 0.0), |(s, n), v| (s - v.p_value.ln(), n + 1.0));
        (default.is_scored() && count > 0.0).then(|| sum / count)
    });
    Ok(Output { causes: default.causes, ..judged(scores, Tier::Three)? })
}
