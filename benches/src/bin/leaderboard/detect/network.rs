//! The pre-trained LSTM on the CPU engine.

use std::time::Duration;

use aiops_core::{SampleBatch, SeriesId, Timestamp};
use aiops_detect::Tier;
use aiops_gpu::{Ask, BatchEngine, CpuConfig, Model, RuleConfig, pretrained, run};

use super::{Failure, contender::Output, data::Series, vote};
use crate::registry::Result;

/// Rows given to the engine at a time.
const ROWS: usize = 256;

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

/// Rows behind the training part, as the models of several metrics are judged on.
fn from(series: &Series) -> usize {
    if series.columns.len() > 1 { series.train_len } else { 0 }
}

pub(super) fn alone(series: &Series) -> Result<Output, Failure> {
    let from = from(series);
    let scores = surprise(series)?.into_iter().enumerate();
    vote::judged(scores.map(|(row, score)| score.filter(|_| row >= from)), Tier::Three)
}
