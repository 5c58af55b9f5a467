//! Every implementation of the crate's traits passes the conformance functions, and keeps what the
//! list says of it.

use aiops_detect::{
    Calibrated, CalibratorConfig, Columns, Method, PerSeries, Single, Tier,
    testing::{check_bank, check_detector, check_invariances, every_detector},
    tier1::{
        AbsenceConfig, CusumConfig, EwmaConfig, FlatLineConfig, GuardConfig, HourOfWeekConfig,
        MovingAverageConfig, RateOfChangeConfig, RobustConfig, SpectralResidualConfig, SpotConfig,
        ThresholdConfig,
    },
    tier2::{
        AutoRegressionConfig, BocpdConfig, HoltWintersConfig, OnlineStlConfig, SurpriseConfig,
    },
    tier3::{HalfSpaceTreesConfig, RandomCutForestConfig},
};
use proptest::prelude::*;

/// Detector and bank of one method.
fn check<M: Method>(method: M) {
    check_detector(|| Single::new(method.clone()));
    check_bank(|| Columns::new(method.clone()), || Single::new(method.clone()), 0.0);
}

#[test]
fn threshold() {
    let second = std::time::Duration::from_secs(60);
    check(ThresholdConfig { upper: Some(55.0), ..Default::default() }.method().unwrap());
    let config = ThresholdConfig {
        lower: Some(10.0),
        upper: Some(60.0),
        hysteresis: 3.0,
        hold: second,
        release: 2 * second,
        ..ThresholdConfig::default()
    };
    check(config.method().unwrap());
}

#[test]
fn moving_average() {
    check(MovingAverageConfig::default().method().unwrap());
}

#[test]
fn hour_of_week() {
    check(HourOfWeekConfig::default().method().unwrap());
}

#[test]
fn cusum_and_page_hinkley() {
    check(CusumConfig::default().method().unwrap());
    check(CusumConfig::page_hinkley().method().unwrap());
}

#[test]
fn rate_of_change() {
    check(RateOfChangeConfig::default().method().unwrap());
    check(RateOfChangeConfig { counter: true, ..Default::default() }.method().unwrap());
}

#[test]
fn flat_line() {
    check(FlatLineConfig::default().method().unwrap());
}

#[test]
fn absence() {
    check(AbsenceConfig::default().method().unwrap());
}

#[test]
fn spot_and_dspot() {
    check(SpotConfig::default().method().unwrap());
    check(SpotConfig::stationary().method().unwrap());
}

#[test]
fn spectral_residual() {
    check(SpectralResidualConfig::default().method().unwrap());
}

#[test]
fn holt_winters() {
    let config = HoltWintersConfig { period: 24, trend: 0.05, ..HoltWintersConfig::default() };
    check(config.method().unwrap());
}

#[test]
fn auto_regression() {
    check(AutoRegressionConfig::default().method().unwrap());
}

#[test]
fn bocpd() {
    check(BocpdConfig::default().method().unwrap());
}

#[test]
fn online_stl() {
    check(OnlineStlConfig { history: 300, ..OnlineStlConfig::default() }.method().unwrap());
    let periods = Some(vec![24, 100]);
    check(OnlineStlConfig { periods, ..OnlineStlConfig::default() }.method().unwrap());
}

#[test]
fn every_listed_detector() {
    for listed in every_detector() {
        check_detector(&listed.make);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]
    #[test]
    fn scale_shift_and_gaps(seed in any::<u64>()) {
        for listed in every_detector() {
            check_invariances(&listed, seed);
        }
    }
}

#[test]
fn banks_equal_their_detectors() {
    let ewma = || EwmaConfig::default().build().unwrap();
    check_bank(|| EwmaConfig::default().build_bank().unwrap(), ewma, 0.0);
    let robust = || RobustConfig::default().build().unwrap();
    check_bank(|| RobustConfig::default().build_bank().unwrap(), robust, 0.0);
    for (lower, consecutive) in [(None, 1), (Some(45.0), 3)] {
        let config =
            GuardConfig { lower, upper: Some(60.0), consecutive, ..GuardConfig::default() };
        let make = || config.clone().build().unwrap();
        check_detector(make);
        check_bank(|| config.clone().build_bank().unwrap(), make, 0.0);
    }
}

#[test]
fn a_bank_of_any_detector_equals_it() {
    let surprise = || SurpriseConfig::default().build().unwrap();
    check_bank(|| PerSeries::new(Tier::Two, 10_240, surprise), surprise, 0.0);
    let calibrated = || {
        let robust = RobustConfig::default().build().unwrap();
        Calibrated::new(robust, CalibratorConfig::default(), 1e-3).unwrap()
    };
    check_bank(|| PerSeries::new(Tier::One, 4_096, calibrated), calibrated, 0.0);
    let forest = || RandomCutForestConfig { trees: 4, ..Default::default() }.build().unwrap();
    check_bank(|| PerSeries::new(Tier::Three, 32_768, forest), forest, 0.0);
    let halves = || HalfSpaceTreesConfig { window: 60, ..Default::default() }.build().unwrap();
    check_bank(|| PerSeries::new(Tier::Three, 42_000, halves), halves, 0.0);
}
