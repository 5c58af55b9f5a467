//! Saved state is bytes from outside: whatever they are, loading gives a detector or an error, and a
//! detector that was loaded judges without panicking.

#![allow(clippy::unwrap_used, reason = "a test")]
use aiops_core::{Sample, SnapshotReader, Timestamp};
use aiops_detect::{
    Calibrated, CalibratorConfig, Detector,
    testing::Noise,
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

fn detectors() -> Vec<Box<dyn Detector>> {
    let robust = RobustConfig::default().build().unwrap();
    let calibrated = Calibrated::new(robust.clone(), CalibratorConfig::default(), 1e-3).unwrap();
    vec![
        Box::new(EwmaConfig::default().build().unwrap()),
        Box::new(GuardConfig::default().build().unwrap()),
        Box::new(robust),
        Box::new(calibrated),
        Box::new(SurpriseConfig::default().build().unwrap()),
        Box::new(RandomCutForestConfig { trees: 3, ..Default::default() }.build().unwrap()),
        Box::new(
            HalfSpaceTreesConfig { window: 40, trees: 3, ..Default::default() }.build().unwrap(),
        ),
        Box::new(HoltWintersConfig { period: 20, ..Default::default() }.build().unwrap()),
        Box::new(AutoRegressionConfig::default().build().unwrap()),
        Box::new(
            OnlineStlConfig { periods: Some(vec![20]), ..Default::default() }.build().unwrap(),
        ),
        Box::new(BocpdConfig::default().build().unwrap()),
        Box::new(AbsenceConfig::default().build().unwrap()),
        Box::new(CusumConfig::default().build().unwrap()),
        Box::new(FlatLineConfig::default().build().unwrap()),
        Box::new(HourOfWeekConfig::default().build().unwrap()),
        Box::new(MovingAverageConfig::default().build().unwrap()),
        Box::new(RateOfChangeConfig::default().build().unwrap()),
        Box::new(SpectralResidualConfig { window: 32, ..Default::default() }.build().unwrap()),
        Box::new(SpotConfig::default().build().unwrap()),
        Box::new(ThresholdConfig { upper: Some(1.0), ..Default::default() }.build().unwrap()),
    ]
}

/// Loads bytes and, where that works, judges a few samples.
fn load_and_judge(detector: &mut Box<dyn Detector>, bytes: &[u8]) {
    if detector.load(&mut SnapshotReader::new(bytes)).is_ok() {
        for (i, value) in [1.0, f64::NAN, 1e300, -1e300, 0.0].into_iter().enumerate() {
            let time = Timestamp::from_nanos(i64::MAX - 10 + i as i64);
            let verdict = detector.update(Sample::new(time, value));
            assert!(verdict.score.is_finite() && verdict.p_value > 0.0, "{verdict:?}");
        }
    }
}

proptest! {
    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        for mut detector in detectors() {
            load_and_judge(&mut detector, &bytes);
        }
    }

    #[test]
    fn damaged_state(seed in any::<u64>(), at in 0_usize..4_000, bit in 0_u8..8) {
        for (mut trained, mut other) in detectors().into_iter().zip(detectors()) {
            let mut noise = Noise::new(seed);
            for second in 0..60 {
                trained.update(Sample::new(Timestamp::from_secs(second), noise.normal()));
            }
            let mut writer = aiops_core::SnapshotWriter::new();
            trained.save(&mut writer);
            let mut bytes = writer.finish();
            let place = at % bytes.len();
            bytes[place] ^= 1 << bit;
            load_and_judge(&mut other, &bytes);
        }
    }
}
