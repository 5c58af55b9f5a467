//! [`History`]: the last samples of every series on the host, for an engine that has to start over.

use aiops_core::{Sample, SampleBatch, SeriesId, Timestamp};

use crate::OwnedBatch;

/// Rings of samples, `length` a series.
#[derive(Debug, Clone)]
pub(crate) struct History {
    length: usize,
    samples: Vec<Sample>,
    /// How many samples a series ever had here.
    seen: Vec<u32>,
}

impl History {
    pub(crate) fn new(length: usize) -> Self {
        History { length, samples: Vec::new(), seen: Vec::new() }
    }

    pub(crate) fn grow(&mut self, series: usize) {
        if series > self.seen.len() {
            let none = Sample::new(Timestamp::MIN, f64::NAN);
            self.samples.resize(series * self.length, none);
            self.seen.resize(series, 0);
        }
    }

    pub(crate) fn forget(&mut self, id: SeriesId) {
        if let Some(seen) = self.seen.get_mut(id.index()) {
            *seen = 0;
        }
    }

    /// Takes the rows of a batch in that an engine has learnt.
    pub(crate) fn record(&mut self, batch: &SampleBatch<'_>) {
        if self.length == 0 {
            return;
        }
        for (id, sample) in batch.iter() {
            let seen = &mut self.seen[id.index()];
            let newest = (*seen as usize + self.length - 1) % self.length;
            let ring = &mut self.samples[id.index() * self.length..][..self.length];
            // Late rows were not learnt.
            if *seen > 0 && sample.time <= ring[newest].time {
                continue;
            }
            ring[*seen as usize % self.length] = sample;
            // Wraps into the full part, so that a ring stays full.
            let length = self.length as u32;
            *seen =
                if *seen >= u32::MAX - length { length + *seen % length + 1 } else { *seen + 1 };
        }
    }

    /// The samples of these series, oldest first.
    pub(crate) fn replay(&self, ids: &[SeriesId]) -> OwnedBatch {
        let mut batch = OwnedBatch::default();
        for id in ids {
            let Some(seen) = self.seen.get(id.index()) else { continue };
            let count = (*seen as usize).min(self.length);
            for back in (1..=count).rev() {
                let at = (*seen as usize - back) % self.length;
                let sample = self.samples[id.index() * self.length + at];
                batch.ids.push(*id);
                batch.times.push(sample.time);
                batch.values.push(sample.value);
            }
        }
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_back_the_last_samples_in_order() {
        let mut history = History::new(3);
        history.grow(2);
        let id = SeriesId(1);
        for second in [1, 2, 3, 2, 4, 5] {
            let time = Timestamp::from_secs(second);
            history.record(&SampleBatch::new(&[id], &[time], &[second as f64]).unwrap());
        }
        assert_eq!(
            history.replay(&[SeriesId(0), id]).values,
            [3.0, 4.0, 5.0],
            "a late row is not in"
        );
        history.forget(id);
        assert!(history.replay(&[id]).ids.is_empty());
    }
}
