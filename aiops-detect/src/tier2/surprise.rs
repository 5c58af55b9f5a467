//! [`Surprise`]: the default detector of one series.

use aiops_core::{Sample, SnapshotReader, SnapshotWriter, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    Calibrator, CalibratorConfig, Detector, Error, Result, State, Tier, Verdict,
    error::{at_least, not_negative, positive, probability},
    hold::{Hold, HoldRule},
    method::unjudged,
    saved,
    verdict::side,
    window::{self, Cursor},
};

/// Settings of [`Surprise`]. The defaults are `default-uni` of the leaderboard: chosen once, on the
/// open half of two public sets, as the combination with the highest sum of their mean VUS-PR, and the
/// same for every series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SurpriseConfig {
    /// Samples of the short median. Default 25.
    pub short: usize,
    /// Samples of the long median, the expectation. Default 288, a day of five-minute samples.
    pub long: usize,
    /// Samples to learn before judging, at most `short`. Default 20. P-values are 1 until the calibrator
    /// is warm too, by default at 38.
    pub warm_up: usize,
    /// A single deviation counts as at most this many mean deviations. Default 30: one absurd value
    /// must not make every later one look small.
    pub cap: f64,
    /// Weight of lasting deviations beside sudden ones. Default 1.
    pub lasting: f64,
    /// Span, in samples, of the average that tells lasting from sudden. Default 40.
    pub span: f64,
    /// Samples for which a sudden deviation is held at least. Default 12.
    pub hold_sudden: f64,
    /// Samples for which a lasting deviation is held at least. Default 700.
    pub hold_lasting: f64,
    /// Tolerated share of normal samples that are flagged. Default 0.001.
    pub false_positive_rate: f64,
    /// Span of the average of deviations that the p-value is about. Default 10: an average of a few
    /// samples tells trouble from a bad sample, and costs a few samples of delay at most. Spans from 5
    /// to 16 differ by what chance does.
    pub recent: f64,
    /// Turns recent deviations into p-values. Default horizon 8,000: operational metrics change their
    /// noise within weeks.
    pub calibrator: CalibratorConfig,
}

impl Default for SurpriseConfig {
    fn default() -> Self {
        SurpriseConfig {
            short: 25,
            long: 288,
            warm_up: 20,
            cap: 30.0,
            lasting: 1.0,
            span: 40.0,
            hold_sudden: 12.0,
            hold_lasting: 700.0,
            recent: 10.0,
            false_positive_rate: 1e-3,
            calibrator: CalibratorConfig { horizon: 8_000, ..CalibratorConfig::default() },
        }
    }
}

impl SurpriseConfig {
    /// A detector of one series.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] names the field that is out of range.
    pub fn build(self) -> Result<Surprise> {
        at_least("short", self.short, 3)?;
        at_least("warm_up", self.warm_up, 8)?;
        if self.short > self.long || self.long > 1 << 20 || self.warm_up > self.short {
            let reason = format!(
                "warm_up <= short <= long <= 2^20 must hold, got {}, {} and {}",
                self.warm_up, self.short, self.long
            );
            return Err(Error::config("long", reason));
        }
        positive("cap", self.cap)?;
        not_negative("lasting", self.lasting)?;
        positive("span", self.span)?;
        positive("hold_sudden", self.hold_sudden)?;
        positive("hold_lasting", self.hold_lasting)?;
        positive("recent", self.recent)?;
        probability("false_positive_rate", self.false_positive_rate)?;
        Ok(Surprise {
            calibrator: self.calibrator.clone().build()?,
            short: Window::new(self.short),
            long: Window::new(self.long),
            sudden: Hold::new(sudden(&self)),
            lasting: Hold::new(lasting(&self)),
            average: 0.0,
            recent: 0.0,
            means: [0.0; 2],
            seen: 0,
            last: Timestamp::MIN,
            config: self,
        })
    }
}

fn sudden(config: &SurpriseConfig) -> HoldRule {
    HoldRule { least: config.hold_sudden, share: 0.1, alike: 0.3 }
}

fn lasting(config: &SurpriseConfig) -> HoldRule {
    HoldRule { least: config.hold_lasting, share: 0.1, alike: 0.5 }
}

/// Deviation from two medians, held in the score the longer the rarer it is.
///
/// Finds spikes, drops, level shifts and bursts of one series without knowing its period, and keeps
/// its score up after them, so that an anomaly is one stretch of high scores instead of a needle.
/// Fails to see what hides within the daily range of a strongly seasonal series.
///
/// With `r = |x - median|` for the long and the short median, each cut at `cap` times its running
/// mean: the sudden part is their sum; the lasting part is the exponentially weighted mean, of the
/// given span, of the uncut deviation from the long median. Each is held: after a peak it falls in a
/// straight line to zero within the larger of its least hold and a tenth of the time since such a peak
/// was last seen. The score is the sudden part plus `lasting` times the lasting one, in the unit of
/// the series. Dividing by a local scale was tried and hurts: a burst inflates its own scale.
///
/// The **p-value is of the recent deviation**, not of the held score: the exponentially weighted mean
/// of span `recent` of the deviation from the long median, plus half of that from the short one,
/// calibrated on the series' own past ([`Calibrator`]). Flags end with the anomaly, the score lingers.
///
/// A gap is answered with [`State::Gap`] and changes only the clock. Values are taken as at most 1e100
/// in size. Time at most w/8 + 32 comparisons and a short move, memory about 10 KiB with the defaults.
///
/// Source: ours; the trailing median as base is an old idea, the held score is what makes it work.
#[derive(Debug, Clone)]
pub struct Surprise {
    config: SurpriseConfig,
    short: Window,
    long: Window,
    sudden: Hold,
    lasting: Hold,
    /// Exponentially weighted mean of the uncut long deviation.
    average: f64,
    /// The same over a shorter span.
    recent: f64,
    /// Running means of the cut deviations, long and short.
    means: [f64; 2],
    seen: u64,
    last: Timestamp,
    calibrator: Calibrator,
}

const LARGEST: f64 = 1e100;
/// Half the band that is shown, in mean deviations: what one percent of heavy-tailed samples leave.
/// The decision is on the p-value, whose band is not a number.
const BAND: f64 = 4.0;
/// Samples before there is a median to deviate from.
const FIRST: u64 = 8;
/// Samples after which running means forget; the cap would otherwise be set by the first days.
const MEMORY: f64 = 20_000.0;

#[derive(Debug, Clone)]
struct Window {
    ring: Vec<f64>,
    sorted: Vec<f64>,
    cursor: Cursor,
}

impl Window {
    fn new(capacity: usize) -> Self {
        let ring = vec![0.0; capacity];
        Window { sorted: ring.clone(), ring, cursor: Cursor::default() }
    }

    fn push(&mut self, value: f64) {
        window::push(&mut self.ring, &mut self.sorted, &mut self.cursor, value);
    }

    fn median(&self) -> f64 {
        window::median(&self.sorted[..self.cursor.len as usize])
    }

    fn save(&self, out: &mut SnapshotWriter) {
        out.u32(self.cursor.len);
        for i in 0..self.cursor.len as usize {
            out.f64(self.ring[(self.cursor.head as usize + i) % self.ring.len()]);
        }
    }

    fn load(&self, from: &mut SnapshotReader<'_>) -> Result<Self> {
        let mut window = Window::new(self.ring.len());
        let len = from.u32()? as usize;
        if len > window.ring.len() {
            return Err(saved::invalid("window length", len));
        }
        for _ in 0..len {
            window.push(saved::finite(from, "window value")?);
        }
        Ok(window)
    }
}

/// The deviations of one sample.
#[derive(Debug, Clone, Copy)]
struct Parts {
    value: f64,
    expected: f64,
    cut: [f64; 2],
    average: f64,
    recent: f64,
    /// Uncut, from the short median.
    near: f64,
}

impl Parts {
    /// What the p-value is about.
    fn departure(&self) -> f64 {
        self.recent + 0.5 * self.near
    }
}

impl Surprise {
    /// The deviations of a value; all zero before there is anything to deviate from.
    fn parts(&self, value: f64) -> Parts {
        let value = value.clamp(-LARGEST, LARGEST);
        let (expected, near) = (self.long.median(), self.short.median());
        let known = self.seen >= FIRST;
        let deviations =
            if known { [(value - expected).abs(), (value - near).abs()] } else { [0.0; 2] };
        let cut = std::array::from_fn(|i| {
            // The first samples set the mean; cutting by it would freeze it where it stands.
            let limit = if self.seen > 20 { self.config.cap * self.means[i] } else { f64::MAX };
            deviations[i].min(limit)
        });
        let averaged = |mean: f64, span: f64| {
            let weight = if self.seen == 0 { 1.0 } else { (2.0 / (span + 1.0)).min(1.0) };
            mean + weight * (deviations[0] - mean)
        };
        let average = averaged(self.average, self.config.span);
        let recent = averaged(self.recent, self.config.recent);
        Parts { value, expected, cut, average, recent, near: deviations[1] }
    }

    fn verdict(&self, parts: &Parts, score: f64) -> Verdict {
        let now = parts.departure();
        let rate = self.config.false_positive_rate;
        let p_value = self.calibrator.p_value(now).unwrap_or(1.0);
        let half_band = BAND * self.means[0];
        Verdict {
            state: State::Scored,
            tier: Tier::Two,
            direction: side(parts.value, parts.expected),
            flagged: p_value <= rate,
            score,
            p_value,
            expected: parts.expected,
            lower: parts.expected - half_band,
            upper: parts.expected + half_band,
        }
    }

    fn is_warm(&self) -> bool {
        self.seen >= self.config.warm_up as u64
    }

    fn take(&mut self, parts: &Parts) -> f64 {
        let sudden = self.sudden.push(parts.cut[0] + parts.cut[1]);
        let lasting = self.lasting.push(parts.average);
        if self.seen >= FIRST {
            self.calibrator.learn(parts.departure());
        }
        self.seen = self.seen.saturating_add(1);
        let weight = 1.0 / (self.seen as f64).min(MEMORY);
        for (mean, cut) in self.means.iter_mut().zip(&parts.cut) {
            *mean += weight * (cut - *mean);
        }
        self.average = parts.average;
        self.recent = parts.recent;
        self.short.push(parts.value);
        self.long.push(parts.value);
        sudden + self.config.lasting * lasting
    }
}

impl Detector for Surprise {
    fn name(&self) -> &'static str {
        "surprise"
    }

    fn assess(&self, sample: Sample) -> Verdict {
        if let Some(verdict) = unjudged(self.last, sample, Tier::Two) {
            return verdict;
        }
        if !self.is_warm() {
            return Verdict::unjudged(State::WarmingUp, Tier::Two);
        }
        let parts = self.parts(sample.value);
        let score = self.sudden.peek(parts.cut[0] + parts.cut[1])
            + self.config.lasting * self.lasting.peek(parts.average);
        self.verdict(&parts, score)
    }

    fn learn(&mut self, sample: Sample) {
        self.update(sample);
    }

    fn update(&mut self, sample: Sample) -> Verdict {
        if let Some(verdict) = unjudged(self.last, sample, Tier::Two) {
            self.last = self.last.max(sample.time);
            return verdict;
        }
        self.last = sample.time;
        let parts = self.parts(sample.value);
        let verdict = self.verdict(&parts, 0.0);
        let warm = self.is_warm();
        let score = self.take(&parts);
        if warm {
            Verdict { score, ..verdict }
        } else {
            Verdict::unjudged(State::WarmingUp, Tier::Two)
        }
    }

    fn p_value(&self, score: f64) -> f64 {
        self.calibrator.p_value(score).unwrap_or(1.0)
    }

    fn confidence(&self) -> f64 {
        if self.is_warm() { self.calibrator.confidence() } else { 0.0 }
    }

    fn save(&self, out: &mut SnapshotWriter) {
        out.u64(self.seen);
        out.i64(self.last.as_nanos());
        out.f64(self.average);
        out.f64(self.recent);
        self.means.iter().for_each(|mean| out.f64(*mean));
        self.short.save(out);
        self.long.save(out);
        self.sudden.save(out);
        self.lasting.save(out);
        self.calibrator.save(out);
    }

    fn load(&mut self, from: &mut SnapshotReader<'_>) -> Result<()> {
        let mut loaded = self.clone();
        loaded.seen = from.u64()?;
        loaded.last = Timestamp::from_nanos(from.i64()?);
        loaded.average = saved::not_negative(from, "average")?;
        loaded.recent = saved::not_negative(from, "recent deviation")?;
        for mean in &mut loaded.means {
            *mean = saved::not_negative(from, "mean deviation")?;
        }
        loaded.short = self.short.load(from)?;
        loaded.long = self.long.load(from)?;
        loaded.sudden = Hold::load(sudden(&self.config), from)?;
        loaded.lasting = Hold::load(lasting(&self.config), from)?;
        loaded.calibrator.load(from)?;
        *self = loaded;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DetectorExt, testing::Noise};

    #[test]
    fn a_spike_is_flagged_and_its_score_lingers() {
        let mut noise = Noise::new(5);
        let value = |i: i64, noise: f64| if i == 800 { 90.0 } else { 50.0 + noise };
        let samples =
            (0..1000).map(|i| Sample::new(Timestamp::from_secs(i), value(i, noise.normal())));
        let verdicts = SurpriseConfig::default().build().unwrap().replay(samples);
        let flagged: Vec<usize> = (400..1000).filter(|i| verdicts[*i].flagged).collect();
        assert!(flagged.contains(&800) && flagged.len() <= 12, "{flagged:?}");
        assert!(
            verdicts[810].score > 2.0 * verdicts[790].score,
            "ten samples later it still shows"
        );
    }
}
