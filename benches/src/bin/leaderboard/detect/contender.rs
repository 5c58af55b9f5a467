//! The detectors that take part, by id.

use aiops_core::{Frame, Sample, SeriesKey, Timestamp};
use aiops_detect::{
    BatchDetector, CalibratorConfig, Detector, DetectorExt, Fit, State, Tier, Verdict, eval,
    testing::Noise,
    tier1::{
        CusumConfig, EwmaConfig, FlatLineConfig, HourOfWeekConfig, MovingAverageConfig,
        RateOfChangeConfig, RobustConfig, SpectralResidualConfig, SpectralSaliencyConfig,
        SpotConfig,
    },
    tier2::{
        AutoRegressionConfig, BocpdConfig, HindsightConfig, HoltWintersConfig, OnlineStlConfig,
        PolyConfig, SeasonalEsdConfig, SubPcaConfig, SurpriseConfig,
    },
    tier3::{
        EmpiricalTailsConfig, HalfSpaceTreesConfig, IsolationForestConfig, PcaConfig,
        RandomCutForestConfig, TailRule,
    },
};

#[cfg(feature = "augurs")]
use super::fitted;
use super::{Entrant, Failure, data::Series, network, vote};
use crate::{registry::Result, stopwatch::cpu_seconds};

/// One detector with the configuration it always has: no tuning per set or series.
pub(crate) struct Contender {
    /// The name on the command line and in the tables. Ends in `-offline` if it looks ahead.
    pub(crate) id: &'static str,
    /// What it takes.
    pub(crate) metrics: Metrics,
    /// Whether it takes part when nobody asked for detectors by name.
    pub(crate) usual: bool,
    /// Scores a series.
    pub(crate) run: fn(&Series) -> Result<Output, Failure>,
}

/// How many metrics a detector takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Metrics {
    One,
    Several,
    Any,
}

impl Metrics {
    pub(crate) fn suits(self, metrics: usize) -> bool {
        match self {
            Metrics::One => metrics == 1,
            Metrics::Several => metrics > 1,
            Metrics::Any => true,
        }
    }
}

/// What a detector says of a series.
#[derive(Default)]
pub(crate) struct Output {
    /// One a row.
    pub(crate) verdicts: Vec<Verdict>,
    /// Labelled causes among the three metrics it blames most, and how many were asked.
    pub(crate) causes: Option<(usize, usize)>,
    /// CPU seconds it took; 0 where not measured.
    pub(crate) seconds: f64,
}

impl Contender {
    /// Scores a series, with the time it took on this thread.
    pub(crate) fn measured(&self, series: &Series) -> Result<Output, Failure> {
        let mut output = Ok(Output::default());
        let seconds = cpu_seconds(|| output = (self.run)(series));
        output.map(|output| Output { seconds, ..output })
    }
}

pub(crate) const CONTENDERS: &[Contender] = &[
    Contender { id: "random", metrics: Metrics::Any, usual: true, run: random },
    Contender { id: "trailing-median", metrics: Metrics::One, usual: true, run: trailing_median },
    Contender {
        id: "trailing-median-offline",
        metrics: Metrics::One,
        usual: true,
        run: |series| trailing_median_over(series, eval::dominant_period(&series.columns[0]) / 4),
    },
    Contender {
        id: "default-uni",
        metrics: Metrics::One,
        usual: true,
        run: |series| Ok(streaming(SurpriseConfig::default().build()?, series)),
    },
    Contender {
        id: "default-uni-offline",
        metrics: Metrics::One,
        usual: true,
        run: |series| batch(&HindsightConfig::default(), series, series),
    },
    Contender {
        id: "robust",
        metrics: Metrics::One,
        usual: false,
        run: |series| Ok(streaming(RobustConfig::default().build()?, series)),
    },
    Contender {
        id: "ewma",
        metrics: Metrics::One,
        usual: false,
        run: |series| Ok(streaming(EwmaConfig::default().build()?, series)),
    },
    Contender {
        id: "random-cut-forest",
        metrics: Metrics::One,
        usual: true,
        run: |series| Ok(streaming(RandomCutForestConfig::default().build()?, series)),
    },
    Contender {
        id: "half-space-trees",
        metrics: Metrics::One,
        usual: true,
        run: |series| Ok(streaming(HalfSpaceTreesConfig::default().build()?, series)),
    },
    Contender {
        id: "moving-average",
        metrics: Metrics::One,
        usual: false,
        run: |series| Ok(streaming(MovingAverageConfig::default().build()?, series)),
    },
    Contender {
        id: "hour-of-week",
        metrics: Metrics::One,
        usual: false,
        run: |series| Ok(streaming(HourOfWeekConfig::default().build()?, series)),
    },
    Contender {
        id: "cusum",
        metrics: Metrics::One,
        usual: false,
        run: |series| Ok(streaming(CusumConfig::default().build()?, series)),
    },
    Contender {
        id: "page-hinkley",
        metrics: Metrics::One,
        usual: false,
        run: |series| Ok(streaming(CusumConfig::page_hinkley().build()?, series)),
    },
    Contender {
        id: "rate-of-change",
        metrics: Metrics::One,
        usual: false,
        run: |series| Ok(streaming(RateOfChangeConfig::default().build()?, series)),
    },
    Contender {
        id: "flat-line",
        metrics: Metrics::One,
        usual: false,
        run: |series| Ok(streaming(FlatLineConfig::default().build()?, series)),
    },
    Contender {
        id: "spot",
        metrics: Metrics::One,
        usual: false,
        run: |series| Ok(streaming(SpotConfig::stationary().build()?, series)),
    },
    Contender {
        id: "dspot",
        metrics: Metrics::One,
        usual: false,
        run: |series| Ok(streaming(SpotConfig::default().build()?, series)),
    },
    Contender {
        id: "spectral-residual",
        metrics: Metrics::One,
        usual: false,
        run: |series| Ok(streaming(SpectralResidualConfig::default().build()?, series)),
    },
    Contender {
        id: "spectral-saliency-offline",
        metrics: Metrics::One,
        usual: false,
        run: |series| batch(&SpectralSaliencyConfig::default(), series, series),
    },
    Contender {
        id: "online-stl",
        metrics: Metrics::One,
        usual: false,
        run: |series| Ok(streaming(OnlineStlConfig::default().build()?, series)),
    },
    Contender {
        id: "holt-winters",
        metrics: Metrics::One,
        usual: false,
        run: |series| Ok(streaming(HoltWintersConfig::default().build()?, series)),
    },
    Contender {
        id: "auto-regression",
        metrics: Metrics::One,
        usual: false,
        run: |series| Ok(streaming(AutoRegressionConfig::default().build()?, series)),
    },
    Contender {
        id: "bocpd",
        metrics: Metrics::One,
        usual: false,
        run: |series| Ok(streaming(BocpdConfig::default().build()?, series)),
    },
    Contender {
        id: "seasonal-esd-offline",
        metrics: Metrics::One,
        usual: false,
        run: |series| batch(&SeasonalEsdConfig::default(), series, series),
    },
    Contender {
        id: "sub-pca",
        metrics: Metrics::One,
        usual: false,
        run: |series| several(&SubPcaConfig::default(), series),
    },
    Contender {
        id: "sub-pca-offline",
        metrics: Metrics::One,
        usual: false,
        run: |series| {
            let config = SubPcaConfig { centred: true, ..SubPcaConfig::default() };
            batch(&config, series, series)
        },
    },
    Contender {
        id: "poly",
        metrics: Metrics::One,
        usual: false,
        run: |series| {
            let config = PolyConfig { causal: true, degree: 1, ..PolyConfig::default() };
            several(&config, series)
        },
    },
    Contender {
        id: "poly-offline",
        metrics: Metrics::One,
        usual: false,
        run: |series| batch(&PolyConfig::default(), series, series),
    },
    Contender {
        id: "default-multi",
        metrics: Metrics::Several,
        usual: true,
        run: |series| several(&PcaConfig::default(), series),
    },
    Contender {
        id: "isolation-forest",
        metrics: Metrics::Several,
        usual: true,
        run: |series| several(&IsolationForestConfig::default(), series),
    },
    Contender {
        id: "ecod",
        metrics: Metrics::Several,
        usual: true,
        run: |series| several(&EmpiricalTailsConfig { rule: TailRule::Ecod }, series),
    },
    Contender {
        id: "copod",
        metrics: Metrics::Several,
        usual: true,
        run: |series| several(&EmpiricalTailsConfig { rule: TailRule::Copod }, series),
    },
    Contender {
        id: "ensemble-spot",
        metrics: Metrics::One,
        usual: false,
        run: |series| {
            let default = streaming(SurpriseConfig::default().build()?, series);
            let spot = streaming(SpotConfig::stationary().build()?, series);
            vote::of_two(default, &spot)
        },
    },
    #[cfg(feature = "augurs")]
    Contender { id: "mstl-ets", metrics: Metrics::One, usual: false, run: fitted::mstl },
    #[cfg(feature = "augurs")]
    Contender {
        id: "mstl-ets-offline",
        metrics: Metrics::One,
        usual: false,
        run: fitted::mstl_offline,
    },
    #[cfg(feature = "augurs")]
    Contender { id: "prophet", metrics: Metrics::One, usual: false, run: fitted::prophet },
    #[cfg(feature = "augurs")]
    Contender {
        id: "prophet-offline",
        metrics: Metrics::One,
        usual: false,
        run: fitted::prophet_offline,
    },
    Contender { id: "lstm", metrics: Metrics::Any, usual: false, run: network::alone },
    Contender {
        id: "ensemble-lstm",
        metrics: Metrics::Any,
        usual: false,
        run: |series| {
            let default = if series.columns.len() == 1 {
                streaming(SurpriseConfig::default().build()?, series)
            } else {
                several(&PcaConfig::default(), series)?
            };
            vote::of_two(default, &network::alone(series)?)
        },
    },
];

/// The detectors that were asked for: none for the usual ones, `all` for all.
pub(crate) fn chosen(wanted: &[String]) -> Result<Vec<Entrant>> {
    let known = || CONTENDERS.iter().map(|c| c.id).collect::<Vec<_>>().join(", ");
    if let Some(id) = wanted
        .iter()
        .find(|id| *id != "all" && !CONTENDERS.iter().any(|contender| contender.id == id.as_str()))
    {
        return Err(format!("no detector {id:?}; known are {}", known()).into());
    }
    let all = wanted.iter().any(|id| id == "all");
    let takes_part = |contender: &&Contender| {
        all || (wanted.is_empty() && contender.usual) || wanted.iter().any(|id| id == contender.id)
    };
    Ok(CONTENDERS.iter().filter(takes_part).map(Entrant::Ours).collect())
}

/// Rows as samples a second apart. The stamps of the files are not used: some repeat or go back, and
/// a row that no detector would judge cannot be evaluated.
fn samples(series: &Series) -> impl Iterator<Item = Sample> + '_ {
    let values = series.columns[0].iter().enumerate();
    values.map(|(row, value)| Sample::new(Timestamp::from_secs(row as i64), *value))
}

fn streaming(mut detector: impl Detector, series: &Series) -> Output {
    Output { verdicts: detector.replay(samples(series)), ..Output::default() }
}

/// A model trained on the rows of one series and judging those of another. Too little data to train
/// on leaves every row unjudged.
pub(super) fn batch(config: &dyn Fit, train: &Series, test: &Series) -> Result<Output, Failure> {
    batch_of(config, &frame(train)?, &frame(test)?)
}

/// The same with clocks of the frames' own.
pub(super) fn batch_of(config: &dyn Fit, train: &Frame, test: &Frame) -> Result<Output, Failure> {
    let mut verdicts = vec![Verdict::unjudged(State::WarmingUp, Tier::Two); test.n_steps()];
    let model = match config.fit(train) {
        Ok(model) => model,
        Err(aiops_detect::Error::NotEnoughData { .. }) => {
            return Ok(Output { verdicts, ..Output::default() });
        }
        Err(error) => return Err(error.into()),
    };
    let mut scores = vec![0.0; test.n_steps()];
    model.score(test, &mut scores)?;
    for (step, verdict) in verdicts.iter_mut().enumerate() {
        let gap = (0..test.n_series()).all(|row| !test.row(row)[step].is_finite());
        verdict.state = if gap { State::Gap } else { State::Scored };
        if !gap {
            verdict.score = scores[step];
            verdict.p_value = model.p_value(scores[step]);
            verdict.flagged = verdict.p_value <= 1e-3;
        }
    }
    Ok(Output { verdicts, ..Output::default() })
}

/// Rows that a model of several metrics is trained on when nobody says how many.
const TRAIN: usize = 1000;

/// A model trained on the first rows and judging the rest. P-values start from the training scores
/// and go on learning, because the training rows are what the model fits best.
pub(super) fn several(config: &dyn Fit, series: &Series) -> Result<Output, Failure> {
    several_of(config, series, &frame(series)?)
}

/// The same with a clock of the frame's own.
pub(super) fn several_of(
    config: &dyn Fit,
    series: &Series,
    frame: &Frame,
) -> Result<Output, Failure> {
    let mut verdicts = vec![Verdict::unjudged(State::WarmingUp, Tier::Three); series.len()];
    let train = if series.train_len > 0 { series.train_len } else { TRAIN };
    if train >= series.len() {
        return Ok(Output { verdicts, ..Output::default() });
    }
    let model = match config.fit(&frame.slice(0, train)?) {
        Ok(model) => model,
        Err(aiops_detect::Error::NotEnoughData { .. }) => {
            return Ok(Output { verdicts, ..Output::default() });
        }
        Err(error) => return Err(error.into()),
    };
    let mut scores = vec![0.0; frame.n_steps()];
    model.score(frame, &mut scores)?;
    let mut calibrator =
        CalibratorConfig { horizon: 8_000, ..CalibratorConfig::default() }.build()?;
    for (step, score) in scores.iter().enumerate() {
        if step >= train {
            let p_value = calibrator.p_value(*score).unwrap_or(1.0);
            verdicts[step] = Verdict {
                score: *score,
                p_value,
                flagged: p_value <= 1e-3,
                ..Verdict::unjudged(State::Scored, Tier::Three)
            };
        }
        calibrator.learn(*score);
    }
    let causes = blamed(&*model, frame, series)?;
    Ok(Output { verdicts, causes, ..Output::default() })
}

/// How many labelled anomalies have a true cause among the three metrics that contribute most.
fn blamed(
    model: &dyn BatchDetector,
    frame: &Frame,
    series: &Series,
) -> Result<Option<(usize, usize)>, Failure> {
    let mut hits = 0;
    let mut asked = 0;
    for cause in series.causes.iter().filter(|cause| cause.rows.end <= frame.n_steps()) {
        let mut sums = vec![0.0; series.columns.len()];
        for step in cause.rows.clone() {
            for (sum, part) in sums.iter_mut().zip(model.contributions(frame, step)?) {
                *sum += part;
            }
        }
        let mut order: Vec<usize> = (0..sums.len()).collect();
        order.sort_by(|a, b| sums[*b].total_cmp(&sums[*a]));
        hits += usize::from(order.iter().take(3).any(|metric| cause.metrics.contains(metric)));
        asked += 1;
    }
    Ok((asked > 0).then_some((hits, asked)))
}

/// A series as a frame of one-second steps.
pub(super) fn frame(series: &Series) -> Result<Frame, Failure> {
    frame_from(series, Timestamp::EPOCH, std::time::Duration::from_secs(1))
}

/// A series as a frame that begins at `start` and goes on in steps of `step`.
pub(super) fn frame_from(
    series: &Series,
    start: Timestamp,
    step: std::time::Duration,
) -> Result<Frame, Failure> {
    let keys = (0..series.columns.len()).map(|i| SeriesKey::new(format!("v{i}"), [("set", "x")]));
    Ok(Frame::new(keys.collect(), start, step, series.columns.concat())?)
}

/// Uniform scores: the row that every measure is read against.
fn random(series: &Series) -> Result<Output, Failure> {
    let seed = series.path.bytes().fold(17_u64, |seed, b| seed.wrapping_mul(31) + u64::from(b));
    let mut noise = Noise::new(seed);
    let verdict = || {
        let score = noise.uniform();
        Verdict {
            score,
            p_value: (1.0 - score).max(f64::MIN_POSITIVE),
            ..Verdict::unjudged(State::Scored, Tier::One)
        }
    };
    Ok(Output {
        verdicts: std::iter::repeat_with(verdict).take(series.len()).collect(),
        ..Output::default()
    })
}

/// The trivial causal reference that cleverer methods have to beat: distance from the median of the
/// last 288 rows, averaged exponentially with span 31.
fn trailing_median(series: &Series) -> Result<Output, Failure> {
    trailing_median_over(series, 31)
}

/// The same with another span. A quarter of the dominant period is what the measure rewards most, and
/// what nobody knows in advance: with it, the row looks ahead.
fn trailing_median_over(series: &Series, span: usize) -> Result<Output, Failure> {
    let weight = 2.0 / (span as f64 + 1.0);
    let config = RobustConfig { window: 288, warm_up: 8, ..RobustConfig::default() };
    let mut detector = config.build()?;
    let mut average = 0.0;
    let verdict = |sample: Sample| {
        let verdict = detector.update(sample);
        if verdict.is_scored() {
            average += weight * ((sample.value - verdict.expected).abs() - average);
        }
        Verdict { score: if verdict.is_scored() { average } else { 0.0 }, ..verdict }
    };
    Ok(Output { verdicts: samples(series).map(verdict).collect(), ..Output::default() })
}
