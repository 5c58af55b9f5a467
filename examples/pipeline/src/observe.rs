//! Stage 1: rows of a recording become samples of one schema: counters as rates, canonical units,
//! dense ids, and what each series measures.

use aiops_core::{Frame, MetricKind, Sample, SampleBatch, SeriesId, Timestamp, Unit};
use aiops_observe::{Declared, Form, Normaliser, NormaliserConfig, SeriesInfo};
use aiops_rca::MetricInfo;

use crate::recording::Recording;
use crate::{Error, Result};

/// The normaliser with the columns that it fills.
#[derive(Debug)]
pub struct Observe<'a> {
    recording: &'a Recording,
    /// Series by id.
    pub normaliser: Normaliser,
    /// The row of `metrics` of each series, by id.
    rows: Vec<usize>,
    /// Everything that was normalised so far, one row a series; gaps from now on.
    pub metrics: Frame,
    /// What each row of `metrics` is.
    pub infos: Vec<MetricInfo>,
    /// The unit of each row, for people.
    pub units: Vec<String>,
    ids: Vec<SeriesId>,
    times: Vec<Timestamp>,
    values: Vec<f64>,
}

impl<'a> Observe<'a> {
    /// Introduces every column to the normaliser.
    ///
    /// # Errors
    /// When a series is refused; the recording's own limits are below those of the normaliser.
    pub fn new(recording: &'a Recording) -> Result<Self> {
        let mut normaliser = NormaliserConfig::default().build()?;
        let (mut keys, mut infos, mut units) = (vec![], vec![], vec![]);
        let mut rows = vec![];
        for (row, series) in recording.series.iter().enumerate() {
            let id = normaliser
                .resolve_key(&series.key, declared(series.is_counter, &series.unit))
                .map_err(|reason| Error::Series { series: series.key.to_string(), reason })?;
            let (Some(key), Some(info)) = (normaliser.key(id), normaliser.info(id)) else {
                continue;
            };
            keys.push(key.clone());
            infos.push(MetricInfo { harm: info.harm, ..MetricInfo::of(key, info.kind) });
            units.push(unit_name(info).to_owned());
            rows.resize(rows.len().max(id.index() + 1), 0);
            rows[id.index()] = row;
        }
        let metrics = Frame::gaps(keys, recording.start(), recording.step(), recording.n_steps())?;
        let (ids, times, values) = (vec![], vec![], vec![]);
        Ok(Observe { recording, normaliser, rows, metrics, infos, units, ids, times, values })
    }

    /// Normalises the row of `second` into [`batch`](Self::batch); a cell without a sample gives
    /// none.
    pub fn normalise(&mut self, second: usize) {
        let now = self.recording.times[second];
        self.ids.clear();
        self.times.clear();
        self.values.clear();
        for (series, &value) in self.recording.series.iter().zip(self.recording.row(second)) {
            if value.is_nan() {
                continue;
            }
            let sample = Sample::new(now, value);
            let said = declared(series.is_counter, &series.unit);
            // `None`: a counter needs two points. Refusals cannot happen: rows ascend in time.
            if let Ok(Some((id, sample))) = self.normaliser.sample(&series.key, said, sample) {
                self.ids.push(id);
                self.times.push(sample.time);
                self.values.push(sample.value);
                if let Some(step) = self.metrics.step_of(sample.time) {
                    self.metrics.row_mut(self.rows[id.index()])[step] = sample.value;
                }
            }
        }
    }

    /// The samples of the last row.
    pub fn batch(&self) -> SampleBatch<'_> {
        SampleBatch::new(&self.ids, &self.times, &self.values)
            .expect("three columns are filled together")
    }
}

fn declared(is_counter: bool, unit: &str) -> Declared<'_> {
    Declared { form: if is_counter { Form::Counter } else { Form::Gauge }, unit }
}

/// The unit after normalisation, in the words that people read.
fn unit_name(info: &SeriesInfo) -> &'static str {
    match (info.unit, info.form) {
        // Seconds spent per second: a share for processors, anything for waiting.
        (Unit::Ratio, Form::Counter) if info.kind != MetricKind::Cpu => "seconds/s",
        (Unit::Seconds, Form::Counter) => "seconds/s",
        (Unit::Seconds, _) => "seconds",
        (Unit::Bytes, Form::Counter) | (Unit::BytesPerSecond, _) => "bytes/s",
        (Unit::Bytes, _) => "bytes",
        (Unit::Ratio, _) => "ratio",
        (Unit::PerSecond, _) | (Unit::Count | Unit::None, Form::Counter) => "/s",
        _ => "",
    }
}
