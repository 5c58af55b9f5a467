//! Rolling median with a slow robust scale: an expectation that outliers cannot move.

use aiops_core::{Sample, SnapshotReader, SnapshotWriter, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    Detector, Error, Result, State, Tail, Tier, Verdict,
    error::{at_least, not_negative, positive},
    window::{self, Cursor},
    yardstick::Yardstick,
};

/// Settings of [`Robust`] and [`RobustBank`](super::RobustBank).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RobustConfig {
    /// Samples whose median is the expectation. Default 120 (two minutes of one-second samples): a
    /// lasting shift is expected after half of it.
    pub window: usize,
    /// Samples to learn before judging, at most `window`. Default 30.
    pub warm_up: usize,
    /// Samples after which the scale has half forgotten a deviation. Default 480, four windows: a
    /// scale as quick as the median would be widened by the very burst it should judge.
    pub scale_half_life: f64,
    /// Tolerated share of normal samples that are flagged. Default 0.001.
    pub false_positive_rate: f64,
    /// Reference distribution for p-values. Default [`Tail::HeavyTailed`].
    pub tail: Tail,
    /// Least scale, as a share of the median. Default 0.001.
    pub relative_floor: f64,
    /// Least scale in the unit of the series. Default 1e-9.
    pub absolute_floor: f64,
}

impl Default for RobustConfig {
    fn default() -> Self {
        RobustConfig {
            window: 120,
            warm_up: 30,
            scale_half_life: 480.0,
            false_positive_rate: 1e-3,
            tail: Tail::default(),
            relative_floor: 1e-3,
            absolute_floor: 1e-9,
        }
    }
}

impl RobustConfig {
    /// A detector of one series.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] names the field that is out of range.
    pub fn build(self) -> Result<Robust> {
        let rule = self.rule()?;
        let ring = vec![0.0; rule.window];
        Ok(Robust { sorted: ring.clone(), ring, rule, state: Robustness::default() })
    }

    /// A bank for very many series with the same settings.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub fn build_bank(self) -> Result<super::RobustBank> {
        Ok(super::RobustBank::new(self.rule()?))
    }

    fn rule(self) -> Result<Rule> {
        at_least("window", self.window, 3)?;
        at_least("warm_up", self.warm_up, 2)?;
        if self.warm_up > self.window || self.window > 1 << 20 {
            let reason = format!(
                "warm_up must be at most window and window at most 2^20, got {} and {}",
                self.warm_up, self.window
            );
            return Err(Error::config("window", reason));
        }
        positive("scale_half_life", self.scale_half_life)?;
        not_negative("relative_floor", self.relative_floor)?;
        positive("absolute_floor", self.absolute_floor)?;
        Ok(Rule {
            window: self.window,
            warm_up: self.warm_up as u32,
            forget: 1.0 - 0.5_f64.powf(1.0 / self.scale_half_life),
            relative: self.relative_floor,
            absolute: self.absolute_floor,
            yardstick: Yardstick::new(self.tail, self.false_positive_rate)?,
        })
    }
}

/// Deviation from a rolling median, in slowly forgetting robust standard deviations.
///
/// Finds spikes, drops and level shifts, and is not moved by outliers as long as they fill less than
/// half of the window. Fails to see what is slower than the window, and knows no seasons. A lasting
/// shift is flagged for about half a window, then it is the new normal.
///
/// Score = `|x - median| / s`. The scale `s` is `1.4826 · MAD` of the window (a consistent estimate
/// of σ for normal data), averaged with half-life [`RobustConfig::scale_half_life`], and at least
/// `relative_floor · |median| + absolute_floor`. The p-value is the chance of `score` scales in
/// [`RobustConfig::tail`]; trust it to about 1e-3, and wrap the detector in
/// [`Calibrated`](crate::Calibrated) to go further, above all for series that are constant most of
/// the time, whose MAD is zero.
///
/// A gap is answered with [`State::Gap`] and changes only the clock. Values are taken as at most
/// 1e150 in size. Time at most w/8 + 32 comparisons and w moved values, memory 16w + 32 bytes.
///
/// Source: Hampel 1974, "The influence curve and its role in robust estimation" (median and MAD);
/// deviation: the slow scale.
///
/// ```
/// use aiops_core::{Sample, Timestamp};
/// use aiops_detect::{Detector, tier1::RobustConfig};
/// let mut detector = RobustConfig::default().build()?;
/// for second in 0..100 {
///     let usual = 20.0 + f64::from(second % 5);
///     assert!(!detector.update(Sample::new(Timestamp::from_secs(second.into()), usual)).flagged);
/// }
/// let verdict = detector.update(Sample::new(Timestamp::from_secs(100), 90.0));
/// assert!(verdict.flagged && verdict.expected == 22.0);
/// # Ok::<(), aiops_detect::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Robust {
    rule: Rule,
    state: Robustness,
    ring: Vec<f64>,
    sorted: Vec<f64>,
}

/// The part of a series' state that is not its window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Robustness {
    pub(super) cursor: Cursor,
    /// Slow average of the window's MAD.
    scale: f64,
    last: Timestamp,
    /// Where the values nearest to the median began, as a place to look first: no part of what was learnt.
    nearest: u32,
}

impl Default for Robustness {
    fn default() -> Self {
        Robustness { cursor: Cursor::default(), scale: 0.0, last: Timestamp::MIN, nearest: 0 }
    }
}

/// The checked configuration in the form the arithmetic wants.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rule {
    pub(super) window: usize,
    warm_up: u32,
    forget: f64,
    relative: f64,
    absolute: f64,
    yardstick: Yardstick,
}

/// Larger values would overflow when differences are averaged.
const LARGEST: f64 = 1e150;
/// Makes the MAD a consistent estimate of the standard deviation of normal data.
const MAD_TO_SIGMA: f64 = 1.482_602_218_505_602;

impl Rule {
    pub(super) fn p_value(&self, score: f64) -> f64 {
        self.yardstick.p_value(score)
    }

    pub(super) fn assess(&self, state: &Robustness, sorted: &[f64], sample: Sample) -> Verdict {
        if sample.time <= state.last {
            return Verdict::unjudged(State::Late, Tier::One);
        }
        if sample.is_gap() {
            return Verdict::unjudged(State::Gap, Tier::One);
        }
        if state.cursor.len < self.warm_up {
            return Verdict::unjudged(State::WarmingUp, Tier::One);
        }
        let value = sample.value.clamp(-LARGEST, LARGEST);
        let expected = window::median(&sorted[..state.cursor.len as usize]);
        let scale =
            (MAD_TO_SIGMA * state.scale).max(self.relative * expected.abs() + self.absolute);
        self.yardstick.verdict(Tier::One, value, expected, scale)
    }

    pub(super) fn learn(
        &self,
        state: &mut Robustness,
        ring: &mut [f64],
        sorted: &mut [f64],
        sample: Sample,
    ) {
        if sample.time <= state.last {
            return;
        }
        state.last = sample.time;
        if sample.is_gap() {
            return;
        }
        window::push(ring, sorted, &mut state.cursor, sample.value.clamp(-LARGEST, LARGEST));
        let filled = &sorted[..state.cursor.len as usize];
        let median = window::median(filled);
        let mad = window::median_absolute_deviation_near(filled, median, &mut state.nearest);
        // While the window fills, every MAD counts alike: the first ones, of two or three values,
        // must not linger for a whole half-life.
        let weight = if filled.len() < self.window {
            self.forget.max(1.0 / filled.len() as f64)
        } else {
            self.forget
        };
        state.scale += weight * (mad - state.scale);
    }
}

impl Robustness {
    pub(super) fn save(&self, ring: &[f64], out: &mut SnapshotWriter) {
        out.u32(self.cursor.len);
        out.f64(self.scale);
        out.i64(self.last.as_nanos());
        // Oldest first: the order of the ring is all that matters, not where its head stands.
        for i in 0..self.cursor.len as usize {
            out.f64(ring[(self.cursor.head as usize + i) % ring.len()]);
        }
    }

    /// Reads what `save` wrote into a window of the given capacity: state, ring and sorted values.
    pub(super) fn load(
        from: &mut SnapshotReader<'_>,
        window: usize,
    ) -> Result<(Self, Vec<f64>, Vec<f64>)> {
        let len = from.u32()? as usize;
        if len > window {
            return Err(crate::saved::invalid("window length", len));
        }
        let scale = crate::saved::not_negative(from, "scale")?;
        let last = Timestamp::from_nanos(from.i64()?);
        let (mut ring, mut sorted) = (vec![0.0; window], vec![0.0; window]);
        let mut cursor = Cursor::default();
        for _ in 0..len {
            let value = crate::saved::finite(from, "window value")?;
            window::push(&mut ring, &mut sorted, &mut cursor, value);
        }
        Ok((Robustness { cursor, scale, last, nearest: 0 }, ring, sorted))
    }
}

impl Detector for Robust {
    fn name(&self) -> &'static str {
        "robust"
    }

    fn assess(&self, sample: Sample) -> Verdict {
        self.rule.assess(&self.state, &self.sorted, sample)
    }

    fn learn(&mut self, sample: Sample) {
        self.rule.learn(&mut self.state, &mut self.ring, &mut self.sorted, sample);
    }

    fn p_value(&self, score: f64) -> f64 {
        self.rule.p_value(score)
    }

    fn save(&self, out: &mut SnapshotWriter) {
        self.state.save(&self.ring, out);
    }

    fn load(&mut self, from: &mut SnapshotReader<'_>) -> Result<()> {
        (self.state, self.ring, self.sorted) = Robustness::load(from, self.rule.window)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DetectorExt;

    #[test]
    fn a_burst_does_not_widen_its_own_band() {
        let mut detector = RobustConfig::default().build().unwrap();
        let value = |i: i64| if (300..320).contains(&i) { 100.0 } else { f64::from(i as i32 % 7) };
        let samples = (0..340).map(|i| Sample::new(Timestamp::from_secs(i), value(i)));
        let verdicts = detector.replay(samples);
        assert!(
            verdicts[300..320].iter().all(|v| v.flagged),
            "all of the burst, not its first sample"
        );
        assert!(verdicts[320..].iter().all(|v| !v.flagged), "and nothing after it");
    }

    // By hand: of 1, 1, 2, 2, 4, 6, 9 the median is 2 and the deviations 1, 1, 0, 0, 2, 4, 7 have
    // median 1, so 11 lies 9 / 1.4826 scales away.
    #[test]
    fn the_score_of_the_textbook_example() {
        let config = RobustConfig { window: 7, warm_up: 7, ..RobustConfig::default() };
        let mut detector = config.build().unwrap();
        let values = [1.0, 9.0, 2.0, 6.0, 1.0, 4.0, 2.0];
        let at = |i: usize, v: f64| Sample::new(Timestamp::from_secs(i as i64), v);
        detector.replay(values.iter().enumerate().map(|(i, v)| at(i, *v)));
        detector.state.scale = 1.0; // the MAD of the full window, without the slow average
        let verdict = detector.assess(at(7, 11.0));
        assert!((verdict.score - 9.0 / MAD_TO_SIGMA).abs() < 1e-12);
    }
}
