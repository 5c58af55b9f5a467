//! [`periods`]: how long the seasons of a series are, found from its autocorrelation and periodogram.

use realfft::RealFftPlanner;
use serde::{Deserialize, Serialize};

use crate::{
    Error, Result,
    error::{at_least, probability},
    window,
};

/// Settings of [`periods`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PeriodsConfig {
    /// Shortest period looked for, in samples, at least 2. Default 4.
    pub shortest: usize,
    /// Longest period looked for, in samples. Default `None`: as long as fits the series three times.
    pub longest: Option<usize>,
    /// At most so many periods. Default 3.
    pub at_most: usize,
    /// Least autocorrelation, between 0 and 1, at a period that counts. Default 0.2 (a guess, on
    /// the careful side: a season that explains less is better left to the noise).
    pub least: f64,
}

impl Default for PeriodsConfig {
    fn default() -> Self {
        PeriodsConfig { shortest: 4, longest: None, at_most: 3, least: 0.2 }
    }
}

/// One season of a series.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Period {
    /// Samples in a season.
    pub length: usize,
    /// Autocorrelation at this lag, of what shorter-listed periods leave over; at most 1.
    pub strength: f64,
}

/// The seasons of a series, strongest first.
///
/// Each round looks for the period whose spectral line is strongest and that is confirmed by a
/// hill of the autocorrelation, then takes that season out (the mean of each phase) and looks at what is
/// left, so that a day is found within a week. The periodogram proposes because harmonics and
/// multiples fool the autocorrelation; the autocorrelation confirms and refines because the periodogram's
/// bins are wide at long periods, and because noise and trends have spectral lines but no hills.
///
/// A straight line is taken out first, values are cut at six robust scales from the median, gaps are
/// bridged by straight lines. Nothing is found in fewer than three seasons, in constants, or in noise.
/// Fails on periods that drift by more than a few per cent, and on seasons of a few isolated spikes,
/// which the cut removes. Time O(n log n) a round, memory O(n).
///
/// ```
/// use aiops_detect::tier2::{PeriodsConfig, periods};
/// let wave = |i: usize, n: f64| (i as f64 / n * std::f64::consts::TAU).sin();
/// let values: Vec<f64> = (0..1000).map(|i| 2.0 * wave(i, 24.0) + wave(i, 168.0)).collect();
/// let found: Vec<usize> =
///     periods(&values, &PeriodsConfig::default())?.iter().map(|p| p.length).collect();
/// assert_eq!(found, [24, 168]);
/// # Ok::<(), aiops_detect::Error>(())
/// ```
///
/// # Errors
/// [`Error::InvalidConfig`] names the field that is out of range.
///
/// Source: Vlachos, Yu & Castelli 2005, "On periodicity detection and structural periodic similarity"
/// (AUTOPERIOD). Deviations: the line must stand out against its neighbourhood, by the exponential law
/// of noise, instead of against permutations; rounds with the season taken out, for several periods.
pub fn periods(values: &[f64], config: &PeriodsConfig) -> Result<Vec<Period>> {
    at_least("shortest", config.shortest, 2)?;
    at_least("at_most", config.at_most, 1)?;
    probability("least", config.least)?;
    if config.longest.is_some_and(|longest| longest < config.shortest) {
        let reason = format!("must be at least shortest, got {:?}", config.longest);
        return Err(Error::config("longest", reason));
    }
    let longest = config.longest.unwrap_or(usize::MAX).min(values.len() / 3);
    let mut found: Vec<Period> = Vec::new();
    let Some(mut rest) = prepared(values) else { return Ok(found) };
    let whole: f64 = rest.iter().map(|v| v * v).sum();
    while found.len() < config.at_most && longest >= config.shortest {
        let spectrum = Spectrum::of(&rest);
        let Some(mut period) = spectrum.strongest(config.shortest, longest, config.least) else {
            break;
        };
        take_out(&mut rest, period.length);
        let left: f64 = rest.iter().map(|v| v * v).sum();
        // What is found again is not taken out by its mean: it drifts, and more rounds do not help.
        let known = |p: &Period| p.length.abs_diff(period.length) * 10 <= period.length;
        if found.iter().any(known) {
            break;
        }
        period.strength = period.strength.min(1.0);
        found.push(period);
        if left < 1e-6 * whole {
            break;
        }
    }
    Ok(found)
}

/// Sample autocorrelation at the lags `0..=most`; empty for a series without variance, or of fewer
/// than two values.
///
/// `r[k] = Σ (x[t] - m)(x[t+k] - m) / Σ (x[t] - m)²`, both sums undivided, which keeps it within -1
/// and 1. By the fast Fourier transform of the padded series, O(n log n). Gaps count as the mean.
///
/// ```
/// let r = aiops_detect::tier2::autocorrelation(&[1.0, 3.0, 1.0, 3.0], 1);
/// assert!((r[1] + 0.75).abs() < 1e-12);
/// ```
pub fn autocorrelation(values: &[f64], most: usize) -> Vec<f64> {
    let finite = values.iter().copied().filter(|v| v.is_finite());
    let n = finite.clone().count();
    let largest = finite.clone().fold(0.0, |a: f64, v| a.max(v.abs()));
    if n < 2 || largest == 0.0 {
        return Vec::new();
    }
    // In units of the largest value, so that no square overflows.
    let mean = finite.map(|v| v / largest).sum::<f64>() / n as f64;
    let centred: Vec<f64> =
        values.iter().map(|v| if v.is_finite() { v / largest - mean } else { 0.0 }).collect();
    Spectrum::of(&centred).correlations(most)
}

/// Bridged, levelled and cut to a few scales; `None` where nothing varies.
fn prepared(values: &[f64]) -> Option<Vec<f64>> {
    let mut filled = bridged(values)?;
    // Cut before and after: an outlier must not tilt the line, and a slope not hide one.
    cut(&mut filled);
    let n = filled.len() as f64;
    let middle = (n - 1.0) / 2.0;
    let mean = filled.iter().sum::<f64>() / n;
    let (mut sxy, mut sxx) = (0.0, 0.0);
    for (i, value) in filled.iter().enumerate() {
        let x = i as f64 - middle;
        sxy += x * (value - mean);
        sxx += x * x;
    }
    let slope = if sxx > 0.0 { sxy / sxx } else { 0.0 };
    for (i, value) in filled.iter_mut().enumerate() {
        *value -= mean + slope * (i as f64 - middle);
    }
    cut(&mut filled);
    filled.iter().any(|v| v.abs() > 1e-12).then_some(filled)
}

/// Moves the median to zero and cuts at six robust scales from it.
fn cut(values: &mut [f64]) {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let centre = window::median(&sorted);
    let mad = window::median_absolute_deviation(&sorted, centre);
    let most = if mad > 0.0 { 6.0 * 1.4826 * mad } else { f64::MAX };
    values.iter_mut().for_each(|v| *v = (*v - centre).clamp(-most, most));
}

/// The values in units of their largest, gaps replaced by straight lines between their neighbours.
fn bridged(values: &[f64]) -> Option<Vec<f64>> {
    let largest = values.iter().filter(|v| v.is_finite()).fold(0.0, |a: f64, v| a.max(v.abs()));
    if largest == 0.0 {
        return None;
    }
    let mut out: Vec<f64> = values.iter().map(|v| v / largest).collect();
    bridge(&mut out);
    Some(out)
}

/// Replaces gaps by straight lines between their neighbours, and by the nearest value at the ends;
/// does nothing where all are gaps.
pub(crate) fn bridge(values: &mut [f64]) {
    let mut last: Option<usize> = None;
    for i in 0..values.len() {
        if !values[i].is_finite() {
            continue;
        }
        let from = last.map_or(0, |last| last + 1);
        let (left, right) = (last.map_or(values[i], |last| values[last]), values[i]);
        let width = (i - from + 1) as f64;
        for (step, gap) in values[from..i].iter_mut().enumerate() {
            let share = (step + 1) as f64 / width;
            *gap = left * (1.0 - share) + right * share;
        }
        last = Some(i);
    }
    if let Some(last) = last {
        let value = values[last];
        values[last + 1..].fill(value);
    }
}

/// Subtracts the mean of each phase.
fn take_out(values: &mut [f64], period: usize) {
    for phase in 0..period {
        let n = values[phase..].iter().step_by(period).count() as f64;
        let mean = values[phase..].iter().step_by(period).sum::<f64>() / n;
        values[phase..].iter_mut().step_by(period).for_each(|v| *v -= mean);
    }
}

/// Power by frequency of a series padded to at least twice its length.
struct Spectrum {
    power: Vec<f64>,
    padded: usize,
    n: usize,
}

impl Spectrum {
    fn of(centred: &[f64]) -> Self {
        let n = centred.len();
        let padded = (2 * n).next_power_of_two().max(4);
        let mut planner = RealFftPlanner::<f64>::new();
        let fft = planner.plan_fft_forward(padded);
        let mut input = fft.make_input_vec();
        input[..n].copy_from_slice(centred);
        let mut output = fft.make_output_vec();
        fft.process(&mut input, &mut output).expect("buffers made for this length");
        Spectrum { power: output.iter().map(|c| c.norm_sqr()).collect(), padded, n }
    }

    /// Autocorrelations at the lags `0..=most`, by the inverse transform of the power.
    fn correlations(&self, most: usize) -> Vec<f64> {
        let mut planner = RealFftPlanner::<f64>::new();
        let inverse = planner.plan_fft_inverse(self.padded);
        let mut input = inverse.make_input_vec();
        input.iter_mut().zip(&self.power).for_each(|(c, power)| c.re = *power);
        let mut output = inverse.make_output_vec();
        inverse.process(&mut input, &mut output).expect("buffers made for this length");
        let variance = output[0];
        if !(variance > 0.0) {
            return Vec::new();
        }
        output[..self.n.min(most.saturating_add(1))].iter().map(|c| c / variance).collect()
    }

    /// The period of the strongest spectral line that the autocorrelation confirms.
    fn strongest(&self, shortest: usize, longest: usize, least: f64) -> Option<Period> {
        let correlations = self.correlations(longest + longest / 8 + 2);
        if correlations.is_empty() {
            return None;
        }
        let to_period = |bin: usize| self.padded as f64 / bin as f64;
        let (low, high) = (
            (self.padded / (longest + 1)).max(1),
            (self.padded / shortest).min(self.power.len() - 2),
        );
        let mut lines: Vec<usize> = (low..=high)
            .filter(|&b| self.power[b] >= self.power[b - 1] && self.power[b] > self.power[b + 1])
            .filter(|&b| self.stands_out(b))
            .collect();
        lines.sort_unstable_by(|a, b| self.power[*b].total_cmp(&self.power[*a]).then(a.cmp(b)));
        // Weaker lines than these are leakage of the stronger ones.
        lines.truncate(24);
        // The padding makes bins finer than the series can tell apart: 2n/padded of one of its own.
        let blur = self.padded as f64 / self.n as f64;
        lines.into_iter().find_map(|bin| {
            let from = self.padded as f64 / (bin as f64 + blur);
            let to = self.padded as f64 / (bin as f64 - 0.75 * blur).max(blur * 0.75);
            let about = to_period(bin);
            hill(&correlations, self.n, from, about, to)
                .filter(|p| (shortest..=longest).contains(&p.length) && p.strength >= least)
        })
    }

    /// Whether a line is higher than noise of the level around it makes likely, one time in a thousand
    /// series: powers of noise are exponential, so the highest of n is about `mean · ln n`.
    fn stands_out(&self, bin: usize) -> bool {
        let reach = (bin / 2).max(8);
        let around =
            &self.power[bin.saturating_sub(reach).max(1)..(bin + reach).min(self.power.len())];
        let mut sorted = around.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        // The median of exponentials is ln 2 times their mean, and no line moves it.
        let mean = window::median(&sorted) / std::f64::consts::LN_2;
        self.power[bin] > mean * (1000.0 * self.n as f64).ln()
    }
}

/// The highest local maximum of the autocorrelation within `from..=to`, if it stands on a hill: clearly
/// above the valleys half a period to both sides.
fn hill(correlations: &[f64], n: usize, from: f64, about: f64, to: f64) -> Option<Period> {
    let last = correlations.len().checked_sub(2)?;
    let (low, high) = ((from.floor() as usize).max(2), (to.ceil() as usize).min(last));
    let top = (low..=high)
        .filter(|&k| {
            correlations[k] >= correlations[k - 1] && correlations[k] >= correlations[k + 1]
        })
        .max_by(|a, b| {
            let nearer = |k: usize| -(k as f64 - about).abs();
            correlations[*a].total_cmp(&correlations[*b]).then(nearer(*a).total_cmp(&nearer(*b)))
        })?;
    let valley = correlations[top / 4..top].iter().copied().fold(f64::INFINITY, f64::min);
    // Undo the fall of the biased estimate with the lag; top is at most a third of n.
    let strength = correlations[top] * n as f64 / (n - top) as f64;
    (correlations[top] - valley > 0.1).then_some(Period { length: top, strength })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Noise;

    fn wave(i: usize, period: f64) -> f64 {
        (i as f64 / period * std::f64::consts::TAU).sin()
    }

    fn lengths(values: &[f64]) -> Vec<usize> {
        periods(values, &PeriodsConfig::default()).unwrap().iter().map(|p| p.length).collect()
    }

    // Golden: statsmodels 0.15.0, `acf(x, nlags=4, fft=True)` of the values below; 1e-12.
    #[test]
    fn autocorrelations_match_statsmodels() {
        let values = [1.0, 2.0, 4.0, 3.0, 7.0, 6.0, 5.0, 9.0, 8.5, 2.5];
        super::super::assert_near("acf", autocorrelation(&values, 4), &ACF, 1e-12);
    }

    const ACF: [f64; 5] = [
        1.0,
        0.305_499_276_410_998_5,
        0.010_419_681_620_839_399,
        0.182_054_992_764_110_08,
        -0.203_473_227_206_946_5,
    ];

    #[test]
    fn a_day_a_week_and_both_are_found_in_noise() {
        let mut noise = Noise::new(1);
        let day: Vec<f64> = (0..2000).map(|i| wave(i, 288.0) + 0.5 * noise.normal()).collect();
        let found = lengths(&day);
        assert!(found.len() == 1 && found[0].abs_diff(288) <= 4, "{found:?}");
        let both: Vec<f64> = (0..1344)
            .map(|i| {
                let weekend = if (i / 24) % 7 >= 5 { -3.0 } else { 0.0 };
                10.0 + 2.0 * wave(i, 24.0) + weekend + 0.5 * noise.normal()
            })
            .collect();
        assert_eq!(lengths(&both), [24, 168]);
    }

    #[test]
    fn a_square_season_has_one_period_and_not_its_harmonics() {
        let mut noise = Noise::new(2);
        let values: Vec<f64> =
            (0..1000).map(|i| if i % 60 < 12 { 5.0 } else { 0.0 } + 0.3 * noise.normal()).collect();
        assert_eq!(lengths(&values), [60]);
    }

    #[test]
    fn noise_trends_walks_and_constants_have_none() {
        for seed in 0..20 {
            let mut noise = Noise::new(seed);
            let white: Vec<f64> = (0..1000).map(|_| noise.normal()).collect();
            assert_eq!(lengths(&white), [0; 0], "white noise {seed}");
            let mut level = 0.0;
            let ar: Vec<f64> = (0..1000)
                .map(|_| {
                    level = 0.8 * level + noise.normal();
                    level
                })
                .collect();
            assert_eq!(lengths(&ar), [0; 0], "autocorrelated noise {seed}");
        }
        let trend: Vec<f64> = (0..500).map(|i| 3.0 * i as f64).collect();
        assert_eq!(lengths(&trend), [0; 0]);
        assert_eq!(lengths(&[7.0; 500]), [0; 0]);
        assert_eq!(lengths(&[f64::NAN; 500]), [0; 0]);
        assert_eq!(lengths(&[]), [0; 0]);
    }

    #[test]
    fn gaps_spikes_and_scale_change_nothing() {
        let mut noise = Noise::new(3);
        let mut values: Vec<f64> =
            (0..800).map(|i| 1e9 + 1e6 * (wave(i, 48.0) + 0.3 * noise.normal())).collect();
        let before = lengths(&values);
        assert_eq!(before, [48]);
        (100..120).chain(500..503).for_each(|i| values[i] = f64::NAN);
        values[300] = 1e12;
        assert_eq!(lengths(&values), before);
    }
}
