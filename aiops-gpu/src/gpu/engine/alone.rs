//! Windows and runs without series, and measurements of kernels apart from the way to the device.

use std::time::Duration;

use aiops_core::SampleBatch;

use super::{Command, DeviceEngine, staging};
use crate::{Ask, Error, RUN, Result};

/// Numbers of windows or runs that are sent at once.
const AT_ONCE: usize = 1 << 24;

impl DeviceEngine {
    /// Predictions of the model's LSTM after whole windows of `length` inputs, each from zero state: what
    /// [`Forecaster::windows`](crate::Forecaster::windows) does, within 1e-5, relative to one. Waits for the
    /// device; no series is touched.
    ///
    /// # Errors
    /// [`Error::ShapeMismatch`] when `windows` is not `length` inputs, at least one, for each of
    /// `predictions`; [`Error::Weights`] without an LSTM; whatever the device says.
    pub fn windows(
        &mut self,
        windows: &[f32],
        length: usize,
        predictions: &mut [f32],
    ) -> Result<()> {
        let (expected, got) = (length.saturating_mul(predictions.len()), windows.len());
        if length == 0 || length > AT_ONCE || got != expected {
            return Err(Error::ShapeMismatch { what: "inputs of windows", expected, got });
        }
        if self.tables.hidden == 0 {
            return Err(Error::weights("the model has no LSTM"));
        }
        self.revive()?;
        let at_once = AT_ONCE / length;
        let parts = windows.chunks(at_once * length).zip(predictions.chunks_mut(at_once));
        for (windows, predictions) in parts {
            let (windows, length) = (windows.to_vec(), length as u32);
            let (made, _) =
                self.told(|reply| Command::Windows { windows, length, launches: 1, reply })?;
            predictions.copy_from_slice(&made[..predictions.len()]);
        }
        Ok(())
    }

    /// Scores of the model's forest for runs of [`RUN`] values each: what
    /// [`ForestScorer::score`](crate::ForestScorer::score) gives, bit for bit. Waits for the device; no
    /// series is touched.
    ///
    /// # Errors
    /// [`Error::ShapeMismatch`] when `runs` is not a run for each score; [`Error::Weights`] without a
    /// forest; whatever the device says.
    pub fn score_runs(&mut self, runs: &[f32], scores: &mut [f64]) -> Result<()> {
        let (expected, got) = (RUN * scores.len(), runs.len());
        if got != expected {
            return Err(Error::ShapeMismatch { what: "values of runs", expected, got });
        }
        let Some(normal) = self.normal else {
            return Err(Error::weights("the model has no forest"));
        };
        let trees = self.tables.forest.as_ref().map_or(1, |forest| forest.trees);
        self.revive()?;
        for (runs, scores) in runs.chunks(AT_ONCE).zip(scores.chunks_mut(AT_ONCE / RUN)) {
            let runs = runs.to_vec();
            let (sums, _) = self.told(|reply| Command::Runs { runs, launches: 1, reply })?;
            for (score, sum) in scores.iter_mut().zip(sums) {
                *score = (-(f64::from(sum) / f64::from(trees)) / normal).exp2();
            }
        }
        Ok(())
    }

    /// How long the kernels of these batches take, all of which are learnt, when they have been copied to
    /// the device: for measuring it apart from the way there. They must fit on it together.
    ///
    /// # Errors
    /// As [`submit`](BatchEngine::submit).
    pub fn time_kernels(&mut self, batches: &[SampleBatch<'_>]) -> Result<Duration> {
        batches.iter().try_for_each(|batch| self.registered(batch.ids()))?;
        self.revive()?;
        let chunks = batches.iter().flat_map(|batch| staging::stage(batch, Ask::UPDATE).1);
        let chunks = chunks.collect();
        self.told(|reply| Command::Time { chunks, learn: true, reply })
    }

    /// How long [`windows`](Self::windows) takes on the device without the copies: so many launches.
    ///
    /// # Errors
    /// As [`windows`](Self::windows).
    pub fn time_windows(
        &mut self,
        windows: &[f32],
        length: usize,
        launches: u32,
    ) -> Result<Duration> {
        if length == 0 || windows.is_empty() || self.tables.hidden == 0 {
            return Err(Error::weights("windows, and a model with an LSTM, are needed"));
        }
        self.revive()?;
        let (windows, length) = (windows.to_vec(), length as u32);
        let command = |reply| Command::Windows { windows, length, launches, reply };
        Ok(self.told(command)?.1)
    }

    /// How long [`score_runs`](Self::score_runs) takes on the device without the copies: so many launches.
    ///
    /// # Errors
    /// As [`score_runs`](Self::score_runs).
    pub fn time_runs(&mut self, runs: &[f32], launches: u32) -> Result<Duration> {
        if runs.is_empty() || self.normal.is_none() {
            return Err(Error::weights("runs, and a model with a forest, are needed"));
        }
        self.revive()?;
        let runs = runs.to_vec();
        Ok(self.told(|reply| Command::Runs { runs, launches, reply })?.1)
    }
}
