//! [`RobustBank`]: rolling medians of very many series.

use aiops_core::{SampleBatch, SeriesId, SnapshotReader, SnapshotWriter};

use super::robust::{Robustness, Rule};
use crate::{
    DetectorBank, Flagged, Result, Tally, Tier,
    bank::{rows, width},
};

/// [`Robust`](super::Robust) for very many series: the same verdicts bit for bit, `16w + 32` bytes a
/// series, all windows in two flat columns.
#[derive(Debug, Clone)]
pub struct RobustBank {
    rule: Rule,
    states: Vec<Robustness>,
    rings: Vec<f64>,
    sorted: Vec<f64>,
}

impl RobustBank {
    pub(super) fn new(rule: Rule) -> Self {
        RobustBank { rule, states: Vec::new(), rings: Vec::new(), sorted: Vec::new() }
    }

    fn grow(&mut self, n: usize) {
        if n > self.states.len() {
            self.states.resize(n, Robustness::default());
            self.rings.resize(n * self.rule.window, 0.0);
            self.sorted.resize(n * self.rule.window, 0.0);
        }
    }

    fn columns(&self, i: usize) -> std::ops::Range<usize> {
        i * self.rule.window..(i + 1) * self.rule.window
    }
}

impl DetectorBank for RobustBank {
    fn name(&self) -> &'static str {
        "robust"
    }

    fn tier(&self) -> Tier {
        Tier::One
    }

    fn update(
        &mut self,
        batch: &SampleBatch<'_>,
        scores: &mut [f64],
        flagged: &mut Vec<Flagged>,
    ) -> Result<Tally> {
        self.grow(width(batch));
        let Self { rule, states, rings, sorted } = self;
        let window = rule.window;
        rows(batch, scores, flagged, |id, sample| {
            let columns = id.index() * window..(id.index() + 1) * window;
            let (ring, sorted) = (&mut rings[columns.clone()], &mut sorted[columns]);
            let state = &mut states[id.index()];
            let verdict = rule.assess(state, sorted, sample);
            rule.learn(state, ring, sorted, sample);
            verdict
        })
    }

    fn assess(
        &self,
        batch: &SampleBatch<'_>,
        scores: &mut [f64],
        flagged: &mut Vec<Flagged>,
    ) -> Result<Tally> {
        rows(batch, scores, flagged, |id, sample| match self.states.get(id.index()) {
            Some(state) => self.rule.assess(state, &self.sorted[self.columns(id.index())], sample),
            None => self.rule.assess(&Robustness::default(), &[], sample),
        })
    }

    fn p_value(&self, _id: SeriesId, score: f64) -> f64 {
        self.rule.p_value(score)
    }

    fn release(&mut self, ids: &[SeriesId]) {
        for id in ids {
            if let Some(state) = self.states.get_mut(id.index()) {
                *state = Robustness::default();
            }
        }
    }

    fn bytes_per_series(&self) -> usize {
        size_of::<Robustness>() + 2 * self.rule.window * size_of::<f64>()
    }

    fn save(&self, id: SeriesId, out: &mut SnapshotWriter) {
        match self.states.get(id.index()) {
            Some(state) => state.save(&self.rings[self.columns(id.index())], out),
            None => Robustness::default().save(&[], out),
        }
    }

    fn load(&mut self, id: SeriesId, from: &mut SnapshotReader<'_>) -> Result<()> {
        let (state, ring, sorted) = Robustness::load(from, self.rule.window)?;
        self.grow(id.index() + 1);
        let columns = self.columns(id.index());
        self.states[id.index()] = state;
        self.rings[columns.clone()].copy_from_slice(&ring);
        self.sorted[columns].copy_from_slice(&sorted);
        Ok(())
    }
}
