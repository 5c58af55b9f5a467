//! Every detector of this crate with what it promises beyond the contract, so that one test covers all.

use crate::{
    Calibrated, CalibratorConfig, Columns, Detector, DetectorBank, Method, PerSeries, Result,
    Single, Tier,
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

/// Whether a detector keeps an invariance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// It does.
    Yes,
    /// It does not, and why.
    No(&'static str),
}

/// A detector, its bank, and the invariances it has.
pub struct Listed {
    /// Its name here; a detector may be listed with several settings.
    pub name: &'static str,
    /// Makes it.
    pub make: Box<dyn Fn() -> Box<dyn Detector>>,
    /// Panics unless its bank gives the same for batches of any size: batch is stream.
    pub check_bank: Box<dyn Fn()>,
    /// Values times two to any power get the same p-values.
    pub scale: Holds,
    /// Values plus a constant get the same flags, but for rounding.
    pub shift: Holds,
    /// Gaps in between change nothing about the other samples.
    pub gaps: Holds,
}

impl std::fmt::Debug for Listed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listed").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Listed {
    /// A detector with all invariances, in a bank of one detector a series.
    pub fn new<D: Detector + 'static>(
        name: &'static str,
        make: impl Fn() -> D + Clone + Send + 'static,
    ) -> Self {
        let twin = make.clone();
        Listed::with_bank(name, make, move || PerSeries::new(Tier::Two, 1, twin.clone()))
    }

    /// A detector with all invariances and a bank of its own.
    pub fn with_bank<D: Detector + 'static, B: DetectorBank>(
        name: &'static str,
        make: impl Fn() -> D + Clone + 'static,
        bank: impl Fn() -> B + 'static,
    ) -> Self {
        let twin = make.clone();
        Listed {
            name,
            make: Box::new(move || Box::new(make())),
            check_bank: Box::new(move || super::check_bank(&bank, &twin, 0.0)),
            scale: Holds::Yes,
            shift: Holds::Yes,
            gaps: Holds::Yes,
        }
    }

    /// Detector and bank of a method that was built, with all invariances.
    ///
    /// # Panics
    /// When it was not built.
    pub fn method<M: Method + 'static>(name: &'static str, method: Result<M>) -> Self
    where
        M::State: 'static,
    {
        let method = method.expect("default settings build");
        let twin = method.clone();
        let single = move || Single::new(method.clone());
        Listed::with_bank(name, single, move || Columns::new(twin.clone()))
    }

    /// The same without the first invariance.
    #[must_use]
    pub fn no_scale(self, why: &'static str) -> Self {
        Listed { scale: Holds::No(why), ..self }
    }

    /// The same without the second.
    #[must_use]
    pub fn no_shift(self, why: &'static str) -> Self {
        Listed { shift: Holds::No(why), ..self }
    }

    /// The same without the third.
    #[must_use]
    pub fn no_gaps(self, why: &'static str) -> Self {
        Listed { gaps: Holds::No(why), ..self }
    }
}

const UNIT: &str = "its bounds are in the unit of the series";
const STEP: &str = "a gap is a step of the season";
const FLOOR: &str = "its least scale is a thousandth of the level";
const TIME: &str = "time goes on in a gap, and it judges by time";
const CLOCK: &str = "samples behind a gap come at another time of the week";

/// The list. Whoever adds a detector of one series adds it here.
///
/// # Panics
/// When default settings do not build.
pub fn every_detector() -> Vec<Listed> {
    const BUILDS: &str = "default settings build";
    let minute = std::time::Duration::from_secs(60);
    let guard =
        GuardConfig { lower: Some(45.0), upper: Some(60.0), consecutive: 3, ..Default::default() };
    let guards = guard.clone();
    vec![
        Listed::with_bank(
            "ewma",
            || EwmaConfig::default().build().expect(BUILDS),
            || EwmaConfig::default().build_bank().expect(BUILDS),
        ),
        Listed::with_bank(
            "robust",
            || RobustConfig::default().build().expect(BUILDS),
            || RobustConfig::default().build_bank().expect(BUILDS),
        ),
        Listed::with_bank(
            "guard",
            || GuardConfig::default().build().expect(BUILDS),
            || GuardConfig::default().build_bank().expect(BUILDS),
        ),
        Listed::with_bank(
            "guard with bounds",
            move || guard.clone().build().expect(BUILDS),
            move || guards.clone().build_bank().expect(BUILDS),
        )
        .no_scale(UNIT)
        .no_shift(UNIT),
        Listed::method(
            "threshold",
            ThresholdConfig { upper: Some(55.0), ..Default::default() }.method(),
        )
        .no_scale(UNIT)
        .no_shift(UNIT),
        Listed::method(
            "threshold with hysteresis",
            ThresholdConfig {
                lower: Some(10.0),
                upper: Some(60.0),
                hysteresis: 3.0,
                hold: minute,
                release: 2 * minute,
                ..ThresholdConfig::default()
            }
            .method(),
        )
        .no_scale(UNIT)
        .no_shift(UNIT)
        .no_gaps(TIME),
        Listed::method("moving average", MovingAverageConfig::default().method()),
        Listed::method("hour of week", HourOfWeekConfig::default().method())
            .no_scale("its least scale adds a billionth in the unit of the series")
            .no_gaps(CLOCK),
        Listed::method("cusum", CusumConfig::default().method()).no_shift(FLOOR),
        Listed::method("page-hinkley", CusumConfig::page_hinkley().method()).no_shift(FLOOR),
        Listed::method("rate of change", RateOfChangeConfig::default().method()).no_gaps(TIME),
        Listed::method(
            "rate of change of a counter",
            RateOfChangeConfig { counter: true, ..Default::default() }.method(),
        )
        .no_gaps(TIME),
        Listed::method("flat line", FlatLineConfig::default().method()),
        Listed::method("absence", AbsenceConfig::default().method())
            .no_gaps("a gap is what it looks for"),
        Listed::method("spot", SpotConfig::stationary().method()),
        Listed::method("dspot", SpotConfig::default().method()),
        Listed::method(
            "spectral residual",
            SpectralResidualConfig { window: 32, ..Default::default() }.method(),
        ),
        Listed::new("surprise", || SurpriseConfig::default().build().expect(BUILDS)),
        Listed::new("calibrated", || {
            let robust = RobustConfig::default().build().expect(BUILDS);
            Calibrated::new(robust, CalibratorConfig::default(), 1e-3).expect(BUILDS)
        }),
        Listed::method(
            "holt-winters",
            HoltWintersConfig { period: 20, trend: 0.05, ..Default::default() }.method(),
        )
        .no_shift(FLOOR)
        .no_gaps(STEP),
        Listed::method("auto-regression", AutoRegressionConfig::default().method())
            .no_shift(FLOOR)
            .no_gaps("a gap is one of the steps that it regresses on"),
        Listed::method("bocpd", BocpdConfig::default().method()),
        Listed::method(
            "online STL",
            OnlineStlConfig { periods: Some(vec![20, 70]), ..Default::default() }.method(),
        )
        .no_shift(FLOOR)
        .no_gaps(STEP),
        Listed::method(
            "online STL that finds its seasons",
            OnlineStlConfig { history: 300, ..Default::default() }.method(),
        )
        .no_shift(FLOOR)
        .no_gaps(STEP),
        Listed::new("random cut forest", || {
            RandomCutForestConfig { trees: 4, ..Default::default() }.build().expect(BUILDS)
        }),
        Listed::new("half-space trees", || {
            let config = HalfSpaceTreesConfig { window: 60, trees: 6, ..Default::default() };
            config.build().expect(BUILDS)
        }),
    ]
}
