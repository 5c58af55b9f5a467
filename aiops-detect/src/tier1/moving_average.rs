//! [`MovingAverage`]: the mean of the last values as forecast.

use aiops_core::{SnapshotReader, SnapshotWriter};
use serde::{Deserialize, Serialize};

use crate::{Error, Forecaster, Residual, ResidualConfig, Result, Single, Tier, saved};

/// Settings of [`MovingAverage`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MovingAverageConfig {
    /// Values in the average, 1 to 2^20. Default 60.
    pub window: usize,
    /// How distances from the average are judged.
    pub residual: ResidualConfig,
}

impl Default for MovingAverageConfig {
    fn default() -> Self {
        MovingAverageConfig { window: 60, residual: ResidualConfig::default() }
    }
}

impl MovingAverageConfig {
    /// A detector of one series.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] names the field that is out of range.
    pub fn build(self) -> Result<Single<Residual<MovingAverage>>> {
        Ok(Single::new(self.method()?))
    }

    /// What [`Single`] and [`Columns`](crate::Columns) are made of.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub fn method(self) -> Result<Residual<MovingAverage>> {
        if !(1..=1 << 20).contains(&self.window) {
            let reason = format!("must be within 1 and 2^20, got {}", self.window);
            return Err(Error::config("window", reason));
        }
        self.residual.of(MovingAverage { window: self.window, ring: Vec::new(), head: 0, sum: 0.0 })
    }
}

/// The mean of the last values, with bounds that follow the noise around it.
///
/// Finds spikes and drops against a level that moves with its window; knows no seasons, and is pulled
/// along by what it should judge, though no further than [`ResidualConfig::cut`] allows. Where the mean
/// is not robust enough, take [`Robust`](super::Robust); where the window costs too much memory,
/// [`Ewma`](super::Ewma).
///
/// The bounds are those of [`Residual`](crate::Residual): the average plus and minus the distance, in
/// slowly forgetting mean residuals, that belongs to the tolerated rate. A missing step changes nothing.
/// Time O(1), memory 8 bytes a value of the window. The sum is taken anew each time the window has
/// passed, so that rounding does not add up.
///
/// Source: Shewhart 1931 by way of Roberts 1959, "Control chart tests based on geometric moving
/// averages", section 2.
#[derive(Debug, Clone)]
pub struct MovingAverage {
    window: usize,
    ring: Vec<f64>,
    head: usize,
    sum: f64,
}

impl Forecaster for MovingAverage {
    fn name(&self) -> &'static str {
        "moving_average"
    }

    fn tier(&self) -> Tier {
        Tier::One
    }

    fn forecast(&self, _skipped: u64) -> Option<f64> {
        (!self.ring.is_empty()).then(|| self.sum / self.ring.len() as f64)
    }

    fn learn(&mut self, value: f64) {
        if self.ring.len() < self.window {
            self.ring.push(value);
            self.sum += value;
            return;
        }
        let old = std::mem::replace(&mut self.ring[self.head], value);
        self.head += 1;
        if self.head == self.window {
            self.head = 0;
            self.sum = self.ring.iter().sum();
        } else {
            self.sum += value - old;
        }
    }

    fn skip(&mut self, _steps: u64) {}

    fn bytes(&self) -> usize {
        size_of::<Self>() + self.window * size_of::<f64>()
    }

    fn save(&self, out: &mut SnapshotWriter) {
        out.f64s(&self.ring);
        out.u32(self.head as u32);
        out.f64(self.sum); // not the sum of the ring, to the last bit
    }

    fn load(&mut self, from: &mut SnapshotReader<'_>) -> Result<()> {
        self.ring = saved::numbers(from, "window", self.window, 1e100)?;
        self.head = from.u32()? as usize;
        if self.head >= self.window {
            return Err(saved::invalid("head", self.head));
        }
        self.sum = saved::within(from, "sum", 1e108)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DetectorExt;
    use aiops_core::{Sample, Timestamp};

    // By hand: the mean of the last three of 1, 2, 6, 4, 5.
    #[test]
    fn the_average_is_of_the_last_values() {
        let residual = ResidualConfig { warm_up: 0, cut: f64::INFINITY, ..Default::default() };
        let config = MovingAverageConfig { window: 3, residual };
        let samples = [1.0, 2.0, 6.0, 4.0, 5.0].iter().enumerate();
        let samples = samples.map(|(i, v)| Sample::new(Timestamp::from_secs(i as i64), *v));
        let verdicts = config.build().unwrap().replay(samples);
        let expected: Vec<f64> = verdicts[1..].iter().map(|v| v.expected).collect();
        assert_eq!(expected, [1.0, 1.5, 3.0, 4.0]);
    }

    #[test]
    fn rounding_does_not_add_up() {
        let method = MovingAverageConfig { window: 10, ..Default::default() }.method().unwrap();
        let mut average = crate::Method::fresh(&method).forecaster().clone();
        average.learn(1e16);
        (0..1000).for_each(|_| average.learn(0.1));
        assert!((average.forecast(0).unwrap() - 0.1).abs() < 1e-12);
    }
}
