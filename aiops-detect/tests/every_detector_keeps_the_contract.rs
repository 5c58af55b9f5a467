//! Every implementation of the crate's traits passes the conformance functions.

use aiops_detect::{
    Calibrated, CalibratorConfig, PerSeries, Tier,
    testing::{check_bank, check_detector},
    tier1::{EwmaConfig, GuardConfig, RobustConfig},
    tier2::SurpriseConfig,
    tier3::{HalfSpaceTreesConfig, RandomCutForestConfig},
};

#[test]
fn ewma() {
    let make = || EwmaConfig::default().build().unwrap();
    check_detector(make);
    check_bank(|| EwmaConfig::default().build_bank().unwrap(), make, 0.0);
}

#[test]
fn robust() {
    let make = || RobustConfig::default().build().unwrap();
    check_detector(make);
    check_bank(|| RobustConfig::default().build_bank().unwrap(), make, 0.0);
}

#[test]
fn guard() {
    for (lower, consecutive) in [(None, 1), (Some(45.0), 3)] {
        let config =
            GuardConfig { lower, upper: Some(60.0), consecutive, ..GuardConfig::default() };
        let make = || config.clone().build().unwrap();
        check_detector(make);
        check_bank(|| config.clone().build_bank().unwrap(), make, 0.0);
    }
}

#[test]
fn surprise() {
    let make = || SurpriseConfig::default().build().unwrap();
    check_detector(make);
    check_bank(|| PerSeries::new(Tier::Two, 10_240, make), make, 0.0);
}

#[test]
fn calibrated() {
    let make = || {
        let robust = RobustConfig::default().build().unwrap();
        Calibrated::new(robust, CalibratorConfig::default(), 1e-3).unwrap()
    };
    check_detector(make);
    check_bank(|| PerSeries::new(Tier::One, 4_096, make), make, 0.0);
}

#[test]
fn random_cut_forest() {
    for config in [
        RandomCutForestConfig::default(),
        RandomCutForestConfig { shingle: 1, trees: 3, sample: 16, ..Default::default() },
    ] {
        let make = || config.clone().build().unwrap();
        check_detector(make);
        let (bytes, fresh) = (config.bytes_per_series(), make());
        check_bank(
            || {
                PerSeries::new(Tier::Three, bytes, {
                    let fresh = fresh.clone();
                    move || fresh.clone()
                })
            },
            make,
            0.0,
        );
    }
}

#[test]
fn half_space_trees() {
    let make = || HalfSpaceTreesConfig { window: 60, ..Default::default() }.build().unwrap();
    check_detector(make);
    check_bank(|| PerSeries::new(Tier::Three, 42_000, make), make, 0.0);
}
