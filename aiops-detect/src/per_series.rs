//! [`PerSeries`]: a bank of one detector a series.

use aiops_core::{Reason, Sample, SampleBatch, SeriesId, SnapshotReader, SnapshotWriter};

use crate::{Detector, DetectorBank, Flagged, Result, Tally, Tier, Verdict, bank::rows};

/// Any detector as a bank: one of it per series, made on first sight.
///
/// The straightforward way, right where a model outweighs the pointer to it: tier 2, calibrated
/// detectors, detectors of your own. Column banks are for the cheap statistics of tier 1.
///
/// ```
/// use aiops_detect::{DetectorBank, PerSeries, Tier, tier2::SurpriseConfig};
/// let config = SurpriseConfig::default();
/// config.clone().build()?; // settings are checked here, once
/// let bank = PerSeries::new(Tier::Two, 10_240, move || config.clone().build().expect("checked"));
/// assert_eq!(bank.name(), "surprise");
/// # Ok::<(), aiops_detect::Error>(())
/// ```
pub struct PerSeries<D> {
    tier: Tier,
    bytes: usize,
    make: Box<dyn Fn() -> D + Send>,
    series: Vec<Option<Box<D>>>,
    /// Answers for series that were not seen yet.
    fresh: D,
}

impl<D> std::fmt::Debug for PerSeries<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PerSeries").field("series", &self.series.len()).finish_non_exhaustive()
    }
}

impl<D: Detector> PerSeries<D> {
    /// A bank whose detectors come from `make`, take `bytes` each and belong to `tier`.
    pub fn new(tier: Tier, bytes: usize, make: impl Fn() -> D + Send + 'static) -> Self {
        let fresh = make();
        PerSeries { tier, bytes, make: Box::new(make), series: Vec::new(), fresh }
    }

    fn get(&self, id: SeriesId) -> &D {
        self.series.get(id.index()).and_then(|d| d.as_deref()).unwrap_or(&self.fresh)
    }

    fn get_mut(&mut self, id: SeriesId) -> &mut D {
        if id.index() >= self.series.len() {
            self.series.resize_with(id.index() + 1, || None);
        }
        self.series[id.index()].get_or_insert_with(|| Box::new((self.make)()))
    }
}

impl<D: Detector> DetectorBank for PerSeries<D> {
    fn name(&self) -> &'static str {
        self.fresh.name()
    }

    fn tier(&self) -> Tier {
        self.tier
    }

    fn update(
        &mut self,
        batch: &SampleBatch<'_>,
        scores: &mut [f64],
        flagged: &mut Vec<Flagged>,
    ) -> Result<Tally> {
        rows(batch, scores, flagged, |id, sample| self.get_mut(id).update(sample))
    }

    fn assess(
        &self,
        batch: &SampleBatch<'_>,
        scores: &mut [f64],
        flagged: &mut Vec<Flagged>,
    ) -> Result<Tally> {
        rows(batch, scores, flagged, |id, sample| self.get(id).assess(sample))
    }

    fn p_value(&self, id: SeriesId, score: f64) -> f64 {
        self.get(id).p_value(score)
    }

    fn confidence(&self, id: SeriesId) -> f64 {
        self.get(id).confidence()
    }

    fn explain(&self, id: SeriesId, sample: Sample, verdict: &Verdict) -> Reason {
        self.get(id).explain(sample, verdict)
    }

    fn release(&mut self, ids: &[SeriesId]) {
        for id in ids {
            if let Some(slot) = self.series.get_mut(id.index()) {
                *slot = None;
            }
        }
    }

    fn bytes_per_series(&self) -> usize {
        self.bytes
    }

    fn save(&self, id: SeriesId, out: &mut SnapshotWriter) {
        self.get(id).save(out);
    }

    fn load(&mut self, id: SeriesId, from: &mut SnapshotReader<'_>) -> Result<()> {
        // Into a fresh detector first: a failed load must leave what was there.
        let mut loaded = (self.make)();
        loaded.load(from)?;
        *self.get_mut(id) = loaded;
        Ok(())
    }
}
