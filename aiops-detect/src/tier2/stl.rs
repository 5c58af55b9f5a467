//! [`stl`]: a whole series taken apart into trend, season and the rest.

use serde::{Deserialize, Serialize};

use super::{loess::Loess, periods::bridge};
use crate::{Error, Result, error::at_least};

/// Settings of [`stl`]. Windows are in samples (the seasonal one: in seasons), odd, at least 3.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StlConfig {
    /// Samples in a season, at least 2. Default 288, a day of five-minute samples.
    pub period: usize,
    /// Seasons that one season is smoothed over; `None`: all alike. Default 7.
    pub seasonal: Option<usize>,
    /// Window of the trend. Default `None`: the least odd number above `1.5 · period / (1 - 1.5 / seasonal)`.
    pub trend: Option<usize>,
    /// Window of the filter that keeps the trend out of the season. Default `None`: the least odd
    /// number above `period`.
    pub low_pass: Option<usize>,
    /// Passes that weigh values down by their distance from the fit; 0 trusts all. Default 0; 15
    /// holds against any outliers that are not most of the series.
    pub robust_passes: usize,
    /// Rounds of season and trend in each pass, at least 1. Default 2.
    pub rounds: usize,
    /// Share of each window between positions that are really computed, from 0 to 1. Default 0.1,
    /// as in the original; 0 computes all.
    pub jump: f64,
}

impl Default for StlConfig {
    fn default() -> Self {
        StlConfig {
            period: 288,
            seasonal: Some(7),
            trend: None,
            low_pass: None,
            robust_passes: 0,
            rounds: 2,
            jump: 0.1,
        }
    }
}

/// A series as the sum of three.
#[derive(Debug, Clone, PartialEq)]
pub struct Decomposition {
    /// What moves slowly.
    pub trend: Vec<f64>,
    /// What comes back every period.
    pub seasonal: Vec<f64>,
    /// What is left; NaN at gaps.
    pub residual: Vec<f64>,
    /// How much each value was trusted in the last robust pass, from 0 to 1.
    pub trust: Vec<f64>,
}

/// Seasonal-trend decomposition by locally weighted lines.
///
/// Right for looking back on a whole series with one known period (take [`periods`](fn@super::periods) to
/// find it): the season may change slowly, the trend bends with it, and with robust passes neither
/// follows outliers. Fails on several periods at once, and looks ahead: for streams there is
/// [`OnlineStl`](super::OnlineStl).
///
/// Each round smooths every phase of the detrended series over the seasons, takes a low pass of that
/// out, and smooths the deseasonalised series for the trend. Weights of equally spaced values do not
/// depend on them, so they are computed once, and all phases are smoothed together: a week of
/// five-minute samples takes a tenth of a millisecond. Gaps are bridged by straight lines and have
/// no residual. Values are taken as at most 1e100 in size. Memory O(n + window²·jump).
///
/// ```
/// use aiops_detect::tier2::{StlConfig, stl};
/// let season = [0.0, 3.0, 1.0, -4.0];
/// let values: Vec<f64> = (0..40).map(|i| 10.0 + 0.1 * i as f64 + season[i % 4]).collect();
/// let parts = stl(&values, &StlConfig { period: 4, ..Default::default() })?;
/// assert!((parts.seasonal[21] - 3.0).abs() < 0.1);
/// assert!(parts.residual.iter().all(|r| r.abs() < 0.1));
/// # Ok::<(), aiops_detect::Error>(())
/// ```
///
/// # Errors
/// [`Error::InvalidConfig`] names the field that is out of range; [`Error::NotEnoughData`] when there are
/// fewer than two seasons, or no values.
///
/// Source: Cleveland, Cleveland, McRae & Terpenning 1990, "STL: a seasonal-trend decomposition
/// procedure based on loess", with the choices of their Fortran. Deviation: for `seasonal: None` the
/// phases are averaged (degree 0, an unbounded window) instead of smoothed over ten times the length.
pub fn stl(values: &[f64], config: &StlConfig) -> Result<Decomposition> {
    let plan = Plan::new(values.len(), config)?;
    let usable = values.iter().filter(|v| v.is_finite()).count();
    if usable == 0 {
        return Err(Error::NotEnoughData { needed: 1, got: 0 });
    }
    let mut filled: Vec<f64> =
        values.iter().map(|v| if v.is_finite() { v.clamp(-1e100, 1e100) } else { *v }).collect();
    bridge(&mut filled);
    let mut parts = plan.decompose(&filled);
    for (residual, value) in parts.residual.iter_mut().zip(values) {
        if !value.is_finite() {
            *residual = f64::NAN;
        }
    }
    Ok(parts)
}

/// All that does not depend on the values.
struct Plan {
    n: usize,
    period: usize,
    rounds: usize,
    passes: usize,
    /// Smooths phases with one value more, and the others; `None` averages.
    seasonal: Option<[Loess; 2]>,
    low_pass: Loess,
    trend: Loess,
}

fn window(field: &'static str, window: usize) -> Result<usize> {
    if window < 3 || window.is_multiple_of(2) {
        return Err(Error::config(field, format!("must be odd and at least 3, got {window}")));
    }
    Ok(window)
}

impl Plan {
    fn new(n: usize, config: &StlConfig) -> Result<Self> {
        let period = config.period;
        at_least("period", period, 2)?;
        at_least("rounds", config.rounds, 1)?;
        if !(0.0..=1.0).contains(&config.jump) {
            let reason = format!("must be within 0 and 1, got {}", config.jump);
            return Err(Error::config("jump", reason));
        }
        if n < period.saturating_mul(2) {
            let needed = period.saturating_mul(2);
            return Err(Error::NotEnoughData { needed, got: n });
        }
        let seasonal = config.seasonal.map(|w| window("seasonal", w)).transpose()?;
        let odd_above = |x: f64| (x as usize + 1) | 1;
        let smoothing = seasonal.map_or(1.0, |w| 1.0 - 1.5 / w as f64);
        let trend = match config.trend {
            Some(trend) => window("trend", trend)?,
            None => odd_above(1.5 * period as f64 / smoothing),
        };
        let low_pass = match config.low_pass {
            Some(low_pass) => window("low_pass", low_pass)?,
            None => odd_above(period as f64),
        };
        let jump = |window: usize| ((window as f64 * config.jump).ceil() as usize).max(1);
        // Phases are few and short: their jumps would save nothing.
        let phases =
            |w: usize| [n.div_ceil(period), n / period].map(|len| Loess::extended(len, w, 1, 1));
        Ok(Plan {
            n,
            period,
            rounds: config.rounds,
            passes: config.robust_passes,
            seasonal: seasonal.map(phases),
            low_pass: Loess::new(n, low_pass, 1, jump(low_pass)),
            trend: Loess::new(n, trend, 1, jump(trend)),
        })
    }

    fn decompose(&self, values: &[f64]) -> Decomposition {
        let n = self.n;
        let mut trend = vec![0.0; n];
        let mut seasonal = vec![0.0; n];
        let mut trust: Option<Vec<f64>> = None;
        let mut detrended = vec![0.0; n];
        let mut extended = vec![0.0; n + 2 * self.period];
        let mut low = vec![0.0; n];
        for pass in 0..=self.passes {
            for _ in 0..self.rounds {
                for i in 0..n {
                    detrended[i] = values[i] - trend[i];
                }
                self.smooth_phases(&detrended, trust.as_deref(), &mut extended);
                let filtered = moving_averages(&extended, self.period);
                self.low_pass.smooth(&filtered, None, &mut low);
                for i in 0..n {
                    seasonal[i] = extended[self.period + i] - low[i];
                    detrended[i] = values[i] - seasonal[i];
                }
                self.trend.smooth(&detrended, trust.as_deref(), &mut trend);
            }
            if pass < self.passes {
                trust = Some(trusted((0..n).map(|i| (values[i] - trend[i] - seasonal[i]).abs())));
            }
        }
        let residual = (0..n).map(|i| values[i] - trend[i] - seasonal[i]).collect();
        Decomposition { trend, seasonal, residual, trust: trust.unwrap_or_else(|| vec![1.0; n]) }
    }

    /// Smooths each phase over the seasons, with one season more at both ends.
    fn smooth_phases(&self, values: &[f64], trust: Option<&[f64]>, out: &mut [f64]) {
        let period = self.period;
        let Some(loess) = &self.seasonal else {
            for phase in 0..period {
                let indices = (phase..self.n).step_by(period);
                let (mut sum, mut weight) = (0.0, 0.0);
                for i in indices {
                    let w = trust.map_or(1.0, |trust| trust[i]);
                    sum += w * values[i];
                    weight += w;
                }
                let mean = if weight > 0.0 { sum / weight } else { values[phase] };
                out[phase..].iter_mut().step_by(period).for_each(|out| *out = mean);
            }
            return;
        };
        // The first phases have one value more than the others when the last season is cut short.
        let longer = self.n % period;
        if trust.is_some() {
            let mut phase_values = Vec::new();
            let mut phase_trust = Vec::new();
            let mut smoothed = vec![0.0; self.n / period + 3];
            for phase in 0..period {
                let loess = &loess[usize::from(phase >= longer)];
                phase_values.clear();
                phase_values.extend(values[phase..].iter().step_by(period));
                phase_trust.clear();
                phase_trust.extend(trust.iter().flat_map(|t| t[phase..].iter().step_by(period)));
                loess.smooth(&phase_values, Some(&phase_trust), &mut smoothed[..loess.len()]);
                for (out, s) in out[phase..].iter_mut().step_by(period).zip(&smoothed) {
                    *out = *s;
                }
            }
            return;
        }
        // Equal weights for all phases: whole seasons are added up, which is one pass over rows.
        for (loess, phases) in loess.iter().zip([0..longer, longer..period]) {
            if phases.is_empty() {
                continue;
            }
            for (season, (left, weights)) in loess.rows().enumerate() {
                let row = season * period + phases.start..season * period + phases.end;
                let out = &mut out[row];
                out.fill(0.0);
                for (i, weight) in weights.iter().enumerate() {
                    let from = (left + i) * period;
                    let values = &values[from + phases.start..from + phases.end];
                    out.iter_mut().zip(values).for_each(|(out, v)| *out += weight * v);
                }
            }
        }
    }
}

/// Moving averages of `period`, `period` and three values, one after the other.
fn moving_averages(values: &[f64], period: usize) -> Vec<f64> {
    let average = |values: &[f64], width: usize| -> Vec<f64> {
        let scale = 1.0 / width as f64;
        let mut sum: f64 = values[..width].iter().sum();
        let mut out = Vec::with_capacity(values.len() + 1 - width);
        out.push(sum * scale);
        for (old, new) in values.iter().zip(&values[width..]) {
            sum += new - old;
            out.push(sum * scale);
        }
        out
    };
    average(&average(&average(values, period), period), 3)
}

/// Bisquare weights of distances from the fit.
fn trusted(distances: impl Iterator<Item = f64>) -> Vec<f64> {
    let distances: Vec<f64> = distances.collect();
    let mut sorted = distances.clone();
    sorted.sort_unstable_by(f64::total_cmp);
    let most = 6.0 * crate::window::median(&sorted);
    distances
        .into_iter()
        .map(|d| {
            if d <= 0.001 * most {
                1.0
            } else if d <= 0.999 * most {
                let ratio = d / most;
                (1.0 - ratio * ratio).powi(2)
            } else {
                0.0
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::{assert_near, example};
    use super::*;

    const AT: [usize; 10] = [0, 1, 13, 40, 59, 60, 61, 90, 119, 120];

    fn config() -> StlConfig {
        StlConfig {
            period: 12,
            trend: Some(23),
            low_pass: Some(13),
            jump: 0.0,
            ..StlConfig::default()
        }
    }

    fn at(values: &[f64]) -> impl Iterator<Item = f64> + '_ {
        AT.iter().map(|i| values[*i])
    }

    // Golden: statsmodels 0.15.0, `STL`, see `tests/golden/tier2.py`; 1e-9.
    #[test]
    fn parts_match_statsmodels() {
        let parts = stl(&example(), &config()).unwrap();
        assert_near("trend", at(&parts.trend), &TREND, 1e-9);
        assert_near("season", at(&parts.seasonal), &SEASONAL, 1e-9);
    }

    #[test]
    fn robust_parts_match_statsmodels() {
        let config = StlConfig { robust_passes: 15, ..config() };
        let parts = stl(&example(), &config).unwrap();
        assert_near("trend", at(&parts.trend), &ROBUST_TREND, 1e-9);
        assert_near("season", at(&parts.seasonal), &ROBUST_SEASONAL, 1e-9);
        assert_near("trust", at(&parts.trust), &ROBUST_TRUST, 1e-9);
        assert!(parts.residual[40] > 20.0 && parts.residual[90] < -20.0, "outliers stay outside");
    }

    // A tenth of 23 is 3 and of 13 is 2, the jumps of the golden values.
    #[test]
    fn jumps_match_statsmodels() {
        let config = StlConfig { jump: 0.1, rounds: 5, ..config() };
        let parts = stl(&example(), &config).unwrap();
        assert_near("trend", at(&parts.trend), &JUMP_TREND, 1e-9);
        assert_near("season", at(&parts.seasonal), &JUMP_SEASONAL, 1e-9);
    }

    #[test]
    fn parts_add_up_and_follow_shift_and_scale() {
        let values = example();
        for seasonal in [Some(7), None] {
            let config = StlConfig { seasonal, robust_passes: 3, ..config() };
            let parts = stl(&values, &config).unwrap();
            let sum = (0..121).map(|i| parts.trend[i] + parts.seasonal[i] + parts.residual[i]);
            assert_near("sum", sum, &values, 1e-9);
            let moved: Vec<f64> = values.iter().map(|v| 1000.0 + 50.0 * v).collect();
            let other = stl(&moved, &config).unwrap();
            let back = other.seasonal.iter().map(|s| s / 50.0);
            assert_near("season", back, &parts.seasonal, 1e-6);
        }
    }

    #[test]
    fn gaps_have_no_residual_and_disturb_little() {
        let mut values = example();
        let whole = stl(&values, &config()).unwrap();
        values[70] = f64::NAN;
        let parts = stl(&values, &config()).unwrap();
        assert!(parts.residual[70].is_nan() && parts.trend.iter().all(|t| t.is_finite()));
        assert!((parts.trend[70] - whole.trend[70]).abs() < 1.0);
        assert!(matches!(stl(&[f64::NAN; 50], &config()), Err(Error::NotEnoughData { .. })));
        assert!(matches!(stl(&values[..23], &config()), Err(Error::NotEnoughData { .. })));
    }

    const TREND: [f64; 10] = [
        9.605_375_128_195_368,
        9.665_075_308_678_98,
        10.280_307_128_500_318,
        13.664_659_851_587_624,
        13.996_204_183_448_642,
        14.343_845_136_563_925,
        14.673_898_528_960_953,
        14.772_782_837_582_065,
        18.635_356_045_049_81,
        18.687_464_024_644_036,
    ];
    const SEASONAL: [f64; 10] = [
        -0.135_175_044_368_732_8,
        2.391_427_179_074_442,
        2.154_447_590_979_247,
        8.151_193_365_087_46,
        -0.318_539_090_477_247_4,
        0.558_980_996_182_324_6,
        2.723_046_158_008_491_7,
        -7.136_414_786_128_877,
        0.724_890_853_314_885_6,
        0.701_602_132_593_439_1,
    ];
    const ROBUST_TREND: [f64; 10] = [
        9.546_367_207_239_625,
        9.609_171_892_652_842,
        10.333_646_663_821_02,
        11.681_938_266_968_698,
        13.912_839_242_322_319,
        14.184_270_795_902_586,
        14.453_899_734_985_665,
        17.076_408_335_341_263,
        18.564_738_742_459_067,
        18.606_485_609_209_933,
    ];
    const ROBUST_SEASONAL: [f64; 10] = [
        -0.252_242_871_475_198_8,
        2.258_490_736_332_631_4,
        2.317_270_762_953_84,
        1.626_460_866_086_952_2,
        -0.091_452_797_291_113_23,
        0.291_333_060_826_454_77,
        2.872_329_014_454_461,
        -1.082_685_668_791_027,
        0.548_659_535_047_994_7,
        0.668_156_471_601_649_8,
    ];
    const ROBUST_TRUST: [f64; 10] = [
        0.983_706_029_838_852_1,
        0.999_940_978_965_789_5,
        0.933_267_577_382_487_6,
        0.0,
        0.861_516_018_515_411,
        0.239_278_991_569_749_33,
        0.997_107_435_914_731_3,
        0.0,
        0.940_862_909_167_555_2,
        0.997_028_882_745_276_1,
    ];
    const JUMP_TREND: [f64; 10] = [
        9.617_047_937_434_632,
        9.674_067_622_629_336,
        10.289_082_984_558_23,
        13.645_857_770_978_541,
        14.009_730_280_563_945,
        14.344_463_328_588_414,
        14.635_812_349_617_591,
        14.772_762_531_962_622,
        18.639_794_974_844_197,
        18.694_834_859_475_38,
    ];
    const JUMP_SEASONAL: [f64; 10] = [
        -0.158_424_655_073_166_05,
        2.377_273_540_127_579,
        2.147_234_805_205_495_3,
        8.149_792_087_803_55,
        -0.316_393_444_867_895_67,
        0.557_588_178_215_545_2,
        2.710_641_998_391_687_4,
        -7.136_062_520_675_225_5,
        0.714_221_590_843_838_5,
        0.697_456_252_947_221,
    ];
}
