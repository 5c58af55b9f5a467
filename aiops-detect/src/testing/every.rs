//! Every detector of this crate with what it promises beyond the contract, so that one test covers all.

use crate::{
    Calibrated, CalibratorConfig, Detector,
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

/// A detector and the invariances it has.
pub struct Listed {
    /// Its name here; a detector may be listed with several settings.
    pub name: &'static str,
    /// Makes it.
    pub make: Box<dyn Fn() -> Box<dyn Detector>>,
    /// Values times two to any power get the same p-values.
    pub scale: bool,
    /// Values plus a constant get the same flags, but for rounding.
    pub shift: bool,
    /// Gaps in between change nothing about the other samples.
    pub gaps: bool,
}

impl std::fmt::Debug for Listed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listed").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Listed {
    /// A detector with all invariances.
    pub fn new<D: Detector + 'static>(name: &'static str, make: impl Fn() -> D + 'static) -> Self {
        let make = Box::new(move || Box::new(make()) as Box<dyn Detector>);
        Listed { name, make, scale: true, shift: true, gaps: true }
    }

    /// A detector that promises the contract and nothing beyond it.
    pub fn plain<D: Detector + 'static>(
        name: &'static str,
        make: impl Fn() -> D + 'static,
    ) -> Self {
        Listed { scale: false, shift: false, gaps: false, ..Listed::new(name, make) }
    }
}

/// The list. Whoever adds a detector of one series adds it here.
///
/// # Panics
/// When default settings do not build.
pub fn every_detector() -> Vec<Listed> {
    const BUILDS: &str = "default settings build";
    let guarded =
        GuardConfig { lower: Some(45.0), upper: Some(60.0), consecutive: 3, ..Default::default() };
    vec![
        Listed::new("ewma", || EwmaConfig::default().build().expect(BUILDS)),
        Listed::new("robust", || RobustConfig::default().build().expect(BUILDS)),
        Listed::new("guard", || GuardConfig::default().build().expect(BUILDS)),
        Listed {
            scale: false,
            shift: false,
            ..Listed::new("guard with bounds", move || guarded.clone().build().expect(BUILDS))
        },
        Listed::new("surprise", || SurpriseConfig::default().build().expect(BUILDS)),
        Listed::new("calibrated", || {
            let robust = RobustConfig::default().build().expect(BUILDS);
            Calibrated::new(robust, CalibratorConfig::default(), 1e-3).expect(BUILDS)
        }),
        Listed::new("random cut forest", || {
            RandomCutForestConfig { trees: 4, ..Default::default() }.build().expect(BUILDS)
        }),
        Listed::new("half-space trees", || {
            let config = HalfSpaceTreesConfig { window: 60, trees: 6, ..Default::default() };
            config.build().expect(BUILDS)
        }),
        Listed::plain("holt-winters", || {
            HoltWintersConfig { period: 20, ..Default::default() }.build().expect(BUILDS)
        }),
        Listed::plain("auto-regression", || AutoRegressionConfig::default().build().expect(BUILDS)),
        Listed::plain("online STL", || {
            let config = OnlineStlConfig { periods: Some(vec![20]), ..Default::default() };
            config.build().expect(BUILDS)
        }),
        Listed::plain("bocpd", || BocpdConfig::default().build().expect(BUILDS)),
        Listed::plain("absence", || AbsenceConfig::default().build().expect(BUILDS)),
        Listed::plain("cusum", || CusumConfig::default().build().expect(BUILDS)),
        Listed::plain("flat line", || FlatLineConfig::default().build().expect(BUILDS)),
        Listed::plain("hour of week", || HourOfWeekConfig::default().build().expect(BUILDS)),
        Listed::plain("moving average", || MovingAverageConfig::default().build().expect(BUILDS)),
        Listed::plain("rate of change", || RateOfChangeConfig::default().build().expect(BUILDS)),
        Listed::plain("spectral residual", || {
            SpectralResidualConfig { window: 32, ..Default::default() }.build().expect(BUILDS)
        }),
        Listed::plain("spot", || SpotConfig::default().build().expect(BUILDS)),
        Listed::plain("threshold", || {
            ThresholdConfig { upper: Some(55.0), ..Default::default() }.build().expect(BUILDS)
        }),
    ]
}
