//! [`ProphetConfig`]: a trend with changes and the calendar's seasons.

use aiops_core::Frame;
use augurs::prophet::{
    FeatureMode, GrowthType, PositiveFloat, PredictionData, Prophet, ProphetOptions, TrainingData,
};
use serde::{Deserialize, Serialize};

use super::{Expects, ProphetSearch, not_fitted, train};
use crate::{BatchDetector, Fit, Result, error::positive};

/// Prophet as a detector: a piecewise linear trend plus the seasons of year, week and day.
///
/// Finds values that are odd for their hour, weekday and the trend; knows the calendar, so gaps and a step that
/// is no divisor of a day do not matter. Fails on seasons that are no calendar's, and where the trend turns after
/// training: train again every few weeks.
///
/// `y = (k + aδ)·t + m - a(sδ) + Σ seasons`, with as many changes `δ` of the rate as the Laplace prior lets
/// through, in the first 80 % of the training series. A season takes part when the training series has two of it.
/// The parameters are the most likely ones, found by [`ProphetSearch`]. The score of a value is its distance from what is
/// expected, in `1.4826 · MAD` of the training residuals; gaps have score 0. The p-value is the rank among the
/// training scores. A constant series expects itself. Steps of less than a second are rounded down. Training takes a few
/// hundred passes over the series; scoring O(n · (seasons + changes)).
///
/// Source: Taylor & Letham 2018, "Forecasting at scale"; preparation and prediction are those of `augurs` 0.10.
/// Deviations: no holidays, no uncertainty of the trend.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProphetConfig {
    /// Places where the rate of the trend may change. Default 25.
    pub changes: u32,
    /// Scale of the prior of the changes: larger bends more. Default 0.05.
    pub change_scale: f64,
    /// Scale of the prior of the seasons. Default 10.
    pub season_scale: f64,
    /// Seasons grow with the trend instead of being added to it. Default false.
    pub multiplicative: bool,
    /// No trend at all. Default false.
    pub flat: bool,
}

impl Default for ProphetConfig {
    fn default() -> Self {
        ProphetConfig {
            changes: 25,
            change_scale: 0.05,
            season_scale: 10.0,
            multiplicative: false,
            flat: false,
        }
    }
}

const NAME: &str = "prophet";

impl ProphetConfig {
    fn options(&self) -> Result<ProphetOptions> {
        let scale = |field, value| {
            positive(field, value)?;
            PositiveFloat::try_new(value).map_err(|error| not_fitted(NAME, error))
        };
        Ok(ProphetOptions {
            growth: if self.flat { GrowthType::Flat } else { GrowthType::Linear },
            n_changepoints: self.changes,
            changepoint_prior_scale: scale("change_scale", self.change_scale)?,
            seasonality_prior_scale: scale("season_scale", self.season_scale)?,
            seasonality_mode: match self.multiplicative {
                true => FeatureMode::Multiplicative,
                false => FeatureMode::Additive,
            },
            uncertainty_samples: 0,
            ..ProphetOptions::default()
        })
    }
}

impl Fit for ProphetConfig {
    /// The frame has one series of at least 20 values.
    fn fit(&self, frame: &Frame) -> Result<Box<dyn BatchDetector>> {
        let options = self.options()?;
        train(NAME, frame, 20, |series, values| {
            let data = TrainingData::new(seconds(series), values.to_vec());
            let mut prophet = Prophet::new(options, ProphetSearch);
            data.and_then(|data| prophet.fit(data, Default::default()))
                .map_err(|error| not_fitted(NAME, error))?;
            Ok(Box::new(Fitted { prophet, multiplicative: self.multiplicative }))
        })
    }
}

/// The times of a frame in seconds.
fn seconds(frame: &Frame) -> Vec<i64> {
    (0..frame.n_steps()).map(|i| frame.time(i).as_nanos().div_euclid(1_000_000_000)).collect()
}

#[derive(Debug)]
struct Fitted {
    prophet: Prophet<ProphetSearch>,
    multiplicative: bool,
}

impl Expects for Fitted {
    fn expected(&self, series: &Frame) -> Result<Vec<f64>> {
        if series.n_steps() == 0 {
            return Ok(Vec::new());
        }
        let data = PredictionData::new(seconds(series));
        let parts = self.prophet.predict(data).map_err(|error| not_fitted(NAME, error))?;
        // Seasons come in the order of a hash map; summed by name, every run rounds alike.
        let mut seasons: Vec<_> = parts.seasonalities.iter().collect();
        seasons.sort_by_key(|(name, _)| name.as_str());
        let value = |(i, trend): (usize, f64)| {
            let season: f64 = seasons.iter().map(|(_, season)| season.point[i]).sum();
            if self.multiplicative { trend * (1.0 + season) } else { trend + season }
        };
        Ok(parts.trend.point.into_iter().enumerate().map(value).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Noise, check_batch_detector};
    use aiops_core::{SeriesKey, Timestamp};
    use std::time::Duration;

    const DAY: u64 = 86_400;

    fn frame(from: i64, step: u64, values: Vec<f64>) -> Frame {
        let keys = vec![SeriesKey::new("v", [("host", "a")])];
        let step = Duration::from_secs(step);
        Frame::new(keys, Timestamp::from_secs(from), step, values).unwrap()
    }

    #[test]
    fn keeps_the_contract() {
        check_batch_detector(&ProphetConfig::default(), 1);
        check_batch_detector(&ProphetConfig { multiplicative: true, ..Default::default() }, 1);
        check_batch_detector(&ProphetConfig { flat: true, ..Default::default() }, 1);
    }

    #[test]
    fn a_quiet_hour_at_noon_is_odd_whatever_the_run() {
        let mut noise = Noise::new(6);
        let mut value = |i: i64| {
            let weekend = if i / 24 % 7 >= 5 { -20.0 } else { 0.0 };
            let hour = (i as f64 / 24.0 * std::f64::consts::TAU).sin();
            100.0 + weekend + 30.0 * hour + noise.normal()
        };
        let values: Vec<f64> = (0..600).map(&mut value).collect();
        let train = frame(0, 3600, values[..504].to_vec());
        let mut later = values[504..].to_vec();
        later[54] = later[54 + 12];
        let later = frame(504 * 3600, 3600, later);
        let score = || {
            let model = ProphetConfig::default().fit(&train).unwrap();
            let mut scores = vec![0.0; 96];
            model.score(&later, &mut scores).unwrap();
            scores
        };
        let scores = score();
        let top = (0..96).max_by(|a, b| scores[*a].total_cmp(&scores[*b])).unwrap();
        assert_eq!(top, 54, "{scores:?}");
        for _ in 0..5 {
            assert_eq!(score(), scores, "the hash maps of augurs change nothing");
        }
    }

    #[test]
    fn constants_expect_themselves() {
        for level in [0.0, 5.0, -1e9] {
            let model = ProphetConfig::default().fit(&frame(0, DAY, vec![level; 100])).unwrap();
            let mut scores = [0.0; 2];
            model.score(&frame(0, DAY, vec![level, level + 1.0]), &mut scores).unwrap();
            assert!(scores[0] == 0.0 && scores[1] > 0.0, "{level}: {scores:?}");
        }
    }

    // Golden: Prophet 1.5.0 with Stan, see `tests/golden/prophet.py`. Stan stops short of the kinks of the prior, so
    // forecasts agree to a hundredth of the range, and our posterior is the more likely one (`prophet_search`).
    fn check(
        values: impl Fn(usize) -> f64,
        n: usize,
        step: u64,
        config: ProphetConfig,
        expected: [f64; 6],
    ) {
        let config = ProphetConfig { changes: 5, ..config };
        let start = 19_723 * DAY as i64; // 2024-01-01
        let values: Vec<f64> = (0..n).map(values).collect();
        let series = frame(start, step, values.clone());
        let options = config.options().unwrap();
        let mut prophet = Prophet::new(options, ProphetSearch);
        let data = TrainingData::new(seconds(&series), values).unwrap();
        prophet.fit(data, Default::default()).unwrap();
        let fitted = Fitted { prophet, multiplicative: config.multiplicative };
        let found = fitted.expected(&frame(start, step, vec![0.0; n + 40])).unwrap();
        for (i, expected) in [0, n / 2, n - 1, n, n + 10, n + 39].into_iter().zip(expected) {
            assert!(
                (found[i] - expected).abs() < TOLERANCE,
                "{i}: {}, expected {expected}",
                found[i]
            );
        }
    }

    const TOLERANCE: f64 = 0.1;

    fn daily(i: usize) -> f64 {
        flat(i) + 0.03 * i as f64 + 0.02 * i.saturating_sub(60) as f64
    }

    fn flat(i: usize) -> f64 {
        let season = [0.0, 2.0, 5.0, 3.0, 1.0, -4.0, -6.0][i % 7];
        20.0 + season + (i * 37 % 11) as f64 / 5.0 - 1.0
    }

    fn hourly(i: usize) -> f64 {
        let angle = i as f64 / 24.0 * std::f64::consts::TAU;
        let odd = if i == 100 { 6.0 } else { 0.0 };
        50.0 + 8.0 * angle.sin() + 3.0 * (2.0 * angle).cos() + (i * 37 % 11) as f64 / 5.0 - 1.0
            + odd
    }

    #[test]
    fn forecasts_are_those_of_prophet() {
        check(daily, 140, DAY, ProphetConfig::default(), DAILY);
        check(hourly, 240, 3600, ProphetConfig::default(), HOURLY);
        check(flat, 140, DAY, ProphetConfig { flat: true, ..Default::default() }, FLAT);
        let multiplicative = ProphetConfig { multiplicative: true, ..Default::default() };
        check(daily, 140, DAY, multiplicative, MULTIPLICATIVE);
    }

    const DAILY: [f64; 6] = [
        19.872_195_086_735_232,
        22.273_710_688_226_313,
        19.739_152_003_233_96,
        25.720_684_094_031_434,
        29.302_023_694_767_346,
        28.649_446_381_452_304,
    ];
    const HOURLY: [f64; 6] = [
        52.909_723_351_290_58,
        52.990_862_851_728_295,
        50.481_739_360_253_17,
        52.946_368_877_401_255,
        55.471_680_266_864_64,
        44.337_124_379_580_8,
    ];
    const FLAT: [f64; 6] = [
        19.949_998_825_144_29,
        19.949_998_825_141_293,
        14.019_991_733_045_526,
        19.949_998_825_138_294,
        23.040_002_380_210_21,
        20.959_999_838_301_22,
    ];
    const MULTIPLICATIVE: [f64; 6] = [
        19.961_305_057_517_617,
        22.276_704_746_104_03,
        18.914_415_909_544_317,
        25.633_041_477_957_67,
        29.687_811_137_418_71,
        28.736_929_221_929_91,
    ];
}
