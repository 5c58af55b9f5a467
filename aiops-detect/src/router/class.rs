//! What a series is worth: its class, from rules or from its own shape, with the reason.

use aiops_core::{
    MetricClass, MetricKind, Reason, Sample, SeriesKey, SnapshotReader, SnapshotWriter, Timestamp,
};
use serde::{Deserialize, Serialize};

use crate::{Error, Result, saved};

/// How series are told apart. The first rule that fits decides; where none does, the shape of the
/// series does, once it was seen for [`days`](Self::days).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClassConfig {
    /// Rules, in order. Default: the label `class`, where it names one.
    pub rules: Vec<ClassRule>,
    /// Days to watch a series before its shape decides. Default 2: a day that repeats needs two.
    pub days: u32,
    /// Share of the variance that the hour of the day must explain in a business metric. Default 0.5.
    pub seasonal: f64,
    /// Series whose shape may be watched at once, 240 bytes each. Default 100,000; the others stay
    /// infrastructure until one of them is done.
    pub max_watched: usize,
}

impl Default for ClassConfig {
    fn default() -> Self {
        let rule = |value: &str, class| ClassRule {
            label: "class".to_owned(),
            value: value.to_owned(),
            class,
            ..ClassRule::default()
        };
        ClassConfig {
            rules: vec![
                rule("critical", MetricClass::Critical),
                rule("business", MetricClass::Business),
                rule("infrastructure", MetricClass::Infrastructure),
            ],
            days: 2,
            seasonal: 0.5,
            max_watched: 100_000,
        }
    }
}

/// One rule: everything it names must fit; what is empty fits everything.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ClassRule {
    /// Part of the metric's name.
    pub metric: String,
    /// A label that must be there.
    pub label: String,
    /// What the label must be; empty for any value.
    pub value: String,
    /// What the metric must measure.
    pub kind: Option<MetricKind>,
    /// The class of what fits.
    pub class: MetricClass,
}

impl ClassRule {
    fn fits(&self, key: &SeriesKey, kind: MetricKind) -> bool {
        let label = key.labels.get(&self.label);
        key.name.contains(&self.metric)
            && (self.label.is_empty()
                || label.is_some_and(|found| self.value.is_empty() || found == self.value))
            && self.kind.is_none_or(|wanted| wanted == kind)
    }

    fn words(&self) -> String {
        let mut parts = Vec::new();
        if !self.metric.is_empty() {
            parts.push(format!("the name contains {:?}", self.metric));
        }
        if !self.label.is_empty() && self.value.is_empty() {
            parts.push(format!("it has the label {}", self.label));
        } else if !self.label.is_empty() {
            parts.push(format!("{} is {:?}", self.label, self.value));
        }
        if let Some(kind) = self.kind {
            parts.push(format!("it measures {kind}"));
        }
        if parts.is_empty() { "everything is".to_owned() } else { parts.join(" and ") }
    }
}

/// The class of a series and why it is that one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Classified {
    /// The class.
    pub class: MetricClass,
    /// Why.
    pub because: ClassedBy,
}

/// What decided a class.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum ClassedBy {
    /// The rule at this place of [`ClassConfig::rules`].
    Rule(usize),
    /// The hour of the day explains this share of its variance.
    Shape(f64),
    /// No rule fits and it was not watched for long enough.
    TooYoung,
}

impl Classified {
    /// In words, with the rule that decided.
    pub fn reason(&self, config: &ClassConfig) -> Reason {
        let name = match self.class {
            MetricClass::Infrastructure => "infrastructure",
            MetricClass::Business => "business",
            MetricClass::Critical => "critical",
        };
        let reason = match self.because {
            ClassedBy::Rule(at) => {
                let words = config.rules.get(at).map_or_else(String::new, ClassRule::words);
                Reason::new("class_by_rule", format!("{name}, because {words}")).with("rule", at)
            }
            ClassedBy::Shape(share) => {
                let percent = (share * 100.0).round();
                let sentence = format!(
                    "{name}, because the hour of the day explains {percent} % of its variance"
                );
                Reason::new("class_by_shape", sentence).with("seasonal_share", share)
            }
            ClassedBy::TooYoung => Reason::new(
                "class_unknown",
                format!("{name}, because no rule fits and too little of it was seen"),
            ),
        };
        reason.with("class", name)
    }
}

impl ClassConfig {
    pub(super) fn check(&self) -> Result<()> {
        if !(0.0..=1.0).contains(&self.seasonal) {
            let reason = format!("must be 0 to 1, got {}", self.seasonal);
            return Err(Error::config("classes.seasonal", reason));
        }
        Ok(())
    }

    /// The class that the rules give, or a preliminary one.
    pub fn classify(&self, key: &SeriesKey, kind: MetricKind) -> Classified {
        match self.rules.iter().position(|rule| rule.fits(key, kind)) {
            Some(at) => Classified { class: self.rules[at].class, because: ClassedBy::Rule(at) },
            None => Classified { class: MetricClass::Infrastructure, because: ClassedBy::TooYoung },
        }
    }
}

/// Least time between two samples that count for a shape.
const EVERY_NANOS: i64 = 300_000_000_000;
const HOUR_NANOS: i64 = 3_600_000_000_000;

/// How much of a series' variance the hour of the day explains, from one sample in five minutes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Shape {
    first: Timestamp,
    last: Timestamp,
    /// Count and mean by hour of the day, in UTC.
    hours: [(f32, f32); 24],
    /// The first value, which all others are counted from: a large mean would eat the digits.
    origin: f64,
    mean: f64,
    squares: f64,
    n: f64,
}

impl Shape {
    pub(super) fn new(first: Sample) -> Self {
        let mut shape = Shape {
            first: first.time,
            last: Timestamp::MIN,
            hours: [(0.0, 0.0); 24],
            origin: first.value,
            mean: 0.0,
            squares: 0.0,
            n: 0.0,
        };
        shape.push(first);
        shape
    }

    pub(super) fn push(&mut self, sample: Sample) {
        let next = self.last.as_nanos().saturating_add(EVERY_NANOS);
        if sample.is_gap() || (self.n > 0.0 && sample.time.as_nanos() < next) {
            return;
        }
        self.last = sample.time;
        let value = (sample.value - self.origin).clamp(-1e30, 1e30);
        self.n += 1.0;
        let off = value - self.mean;
        self.mean += off / self.n;
        self.squares += off * (value - self.mean);
        let hour = sample.time.as_nanos().div_euclid(HOUR_NANOS).rem_euclid(24) as usize;
        let (n, mean) = &mut self.hours[hour];
        *n += 1.0;
        *mean += (value as f32 - *mean) / *n;
    }

    pub(super) fn is_done(&self, days: u32) -> bool {
        let seen = self.last.since(self.first).as_secs();
        // Half of the samples that a full watch gives: gaps are allowed, silence is not a shape.
        seen >= u64::from(days) * 86_400 && self.n >= f64::from(days) * 144.0
    }

    /// Share of the variance between hours, corrected for how many hours there are.
    pub(super) fn seasonal_share(&self) -> f64 {
        let used = self.hours.iter().filter(|(n, _)| *n > 0.0).count() as f64;
        if !(self.squares > 0.0 && self.n > used + 1.0) {
            return 0.0;
        }
        let between: f64 = self
            .hours
            .iter()
            .map(|(n, mean)| f64::from(*n) * (f64::from(*mean) - self.mean).powi(2))
            .sum();
        let within = (self.squares - between).max(0.0) / (self.n - used);
        (1.0 - within / (self.squares / (self.n - 1.0))).clamp(0.0, 1.0)
    }

    pub(super) fn save(&self, out: &mut SnapshotWriter) {
        out.i64(self.first.as_nanos());
        out.i64(self.last.as_nanos());
        for value in [self.origin, self.mean, self.squares, self.n] {
            out.f64(value);
        }
        for (n, mean) in self.hours {
            out.f32(n);
            out.f32(mean);
        }
    }

    pub(super) fn load(from: &mut SnapshotReader<'_>) -> Result<Self> {
        let first = Timestamp::from_nanos(from.i64()?);
        let last = Timestamp::from_nanos(from.i64()?);
        let origin = saved::within(from, "origin of a shape", f64::MAX)?;
        let mean = saved::finite(from, "mean of a shape")?;
        let squares = saved::not_negative(from, "squares of a shape")?;
        let n = saved::not_negative(from, "samples of a shape")?;
        let mut hours = [(0.0, 0.0); 24];
        for (count, mean) in &mut hours {
            (*count, *mean) = (from.f32()?, from.f32()?);
            if !(*count >= 0.0 && count.is_finite() && mean.is_finite()) {
                return Err(saved::invalid("hour of a shape", *mean));
            }
        }
        Ok(Shape { first, last, hours, origin, mean, squares, n })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Noise;

    #[test]
    fn the_first_rule_that_fits_decides_and_says_so() {
        let mut config = ClassConfig::default();
        config.rules.push(ClassRule {
            metric: "checkout".into(),
            kind: Some(MetricKind::Errors),
            class: MetricClass::Critical,
            ..ClassRule::default()
        });
        let labelled = SeriesKey::new("checkout_errors", [("class", "business")]);
        let by_label = config.classify(&labelled, MetricKind::Errors);
        assert_eq!(by_label.reason(&config).sentence, "business, because class is \"business\"");
        let key = SeriesKey::new("checkout_errors", [("service", "shop")]);
        let found = config.classify(&key, MetricKind::Errors);
        assert_eq!((found.class, found.because), (MetricClass::Critical, ClassedBy::Rule(3)));
        let words = "critical, because the name contains \"checkout\" and it measures errors";
        assert_eq!(found.reason(&config).sentence, words);
        let other = config.classify(&key, MetricKind::Latency);
        assert_eq!(other.because, ClassedBy::TooYoung);
    }

    #[test]
    fn what_follows_the_day_is_told_from_what_does_not() {
        let mut noise = Noise::new(1);
        let day = |minute: i64| (minute as f64 / 1440.0 * std::f64::consts::TAU).sin();
        let mut share = |height: f64| {
            let sample = |minute: i64, noise: &mut Noise| {
                let value = 1e9 + height * day(minute) + noise.normal();
                Sample::new(Timestamp::from_secs(60 * minute), value)
            };
            let mut shape = Shape::new(sample(0, &mut noise));
            (1..=2 * 1440).for_each(|minute| shape.push(sample(minute, &mut noise)));
            assert!(shape.is_done(2) && !shape.is_done(3));
            shape.seasonal_share()
        };
        let (flat, seasonal) = (share(0.0), share(5.0));
        assert!(flat < 0.1 && seasonal > 0.8, "{flat} {seasonal}");
        let constant = Shape::new(Sample::new(Timestamp::EPOCH, 5.0));
        assert_eq!(constant.seasonal_share(), 0.0);
    }

    /// A shape of (minute, value), a sample each.
    fn shape(samples: impl IntoIterator<Item = (i64, f64)>) -> Shape {
        let sample = |(minute, value)| Sample::new(Timestamp::from_secs(60 * minute), value);
        let mut samples = samples.into_iter().map(sample);
        let mut shape = Shape::new(samples.next().unwrap());
        samples.for_each(|sample| shape.push(sample));
        shape
    }

    // By hand: means 2 and 6 of two hours, 4 in all. Squares 20, between the hours 16, so within them
    // 4 over 4 - 2; the variance is 20 over 3; the share is 1 - 2/(20/3).
    #[test]
    fn the_share_of_the_hour_by_hand() {
        let two_hours = shape([(0, 1.0), (5, 3.0), (60, 5.0), (65, 7.0)]);
        assert!((two_hours.seasonal_share() - 0.7).abs() < 1e-6, "{}", two_hours.seasonal_share());
        let few = shape([(0, 1.0), (60, 5.0), (65, 7.0)]);
        assert_eq!(few.seasonal_share(), 0.0, "three samples of two hours say nothing");
        assert_eq!(shape([(0, 5.0), (5, 5.0), (60, 5.0), (65, 5.0)]).seasonal_share(), 0.0);
    }

    #[test]
    fn a_shape_counts_one_sample_in_five_minutes_and_no_gaps() {
        let minutely = shape((0..=2880).map(|minute| (minute, 1.0)));
        assert_eq!(minutely.n, 577.0);
        assert_eq!(shape([(0, 1.0), (7, f64::NAN), (8, 1.0), (12, 1.0)]).n, 2.0);
    }

    #[test]
    fn a_watch_is_done_after_its_days_with_half_of_the_samples() {
        let every = |step: usize| shape((0..=2880).step_by(step).map(|minute| (minute, 1.0)));
        assert!(every(10).is_done(2), "half of them");
        assert!(!every(12).is_done(2), "fewer");
        assert!(!shape((0..2880).map(|minute| (minute, 1.0))).is_done(2), "a minute short");
    }

    #[test]
    fn a_shape_continues_from_saved_state_and_refuses_what_is_none() {
        let read = |shape: &Shape| {
            let mut out = SnapshotWriter::new();
            shape.save(&mut out);
            Shape::load(&mut SnapshotReader::new(&out.finish()))
        };
        let whole = shape((0..100).map(|i| (10 * i, (i % 7) as f64)));
        assert_eq!(read(&whole).unwrap(), whole);
        for hour in [(-1.0, 0.0), (f32::INFINITY, 0.0), (f32::NAN, 0.0), (1.0, f32::NAN)] {
            let mut bad = whole.clone();
            bad.hours[3] = hour;
            assert!(read(&bad).is_err(), "{hour:?}");
        }
    }

    #[test]
    fn a_class_by_shape_says_the_share_in_percent() {
        let because = ClassedBy::Shape(0.617);
        let reason =
            Classified { class: MetricClass::Business, because }.reason(&ClassConfig::default());
        let words = "business, because the hour of the day explains 62 % of its variance";
        assert_eq!((&*reason.code, reason.sentence.as_str()), ("class_by_shape", words));
        for seasonal in [-0.1, 1.1, f64::NAN] {
            assert!(ClassConfig { seasonal, ..ClassConfig::default() }.check().is_err());
        }
    }
}
