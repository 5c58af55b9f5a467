//! [`Method`]: a streaming detector in two parts, settings and state, from which detector and bank
//! are made.

use aiops_core::{
    Reason, Sample, SampleBatch, SeriesId, SnapshotReader, SnapshotWriter, Timestamp,
};

use crate::{
    Detector, DetectorBank, Flagged, Result, State, Tally, Tier, Verdict,
    bank::{rows, width},
    explain_band, saved,
};

/// How one series is judged: settings that all series share, and the state of one.
///
/// Clock, gaps, late samples, warm-up and saving are the same for every streaming detector and are
/// done once, by [`Single`] (a [`Detector`]) and [`Columns`] (a [`DetectorBank`]); a method only says
/// what it makes of a finite value. The two are twins by construction.
///
/// ```
/// use aiops_core::{Sample, SnapshotReader, SnapshotWriter, Timestamp};
/// use aiops_detect::{Detector, Method, Result, Single, State, Tier, Verdict};
///
/// /// Flags every value that is higher than all before it.
/// #[derive(Clone)]
/// struct Record;
/// impl Method for Record {
///     type State = f64;
///     fn name(&self) -> &'static str {
///         "record"
///     }
///     fn tier(&self) -> Tier {
///         Tier::One
///     }
///     fn fresh(&self) -> f64 {
///         f64::MIN
///     }
///     fn judge(&self, highest: &f64, sample: Sample) -> Option<Verdict> {
///         let flagged = sample.value > *highest;
///         let score = f64::from(u8::from(flagged));
///         let p_value = self.p_value(highest, score);
///         Some(Verdict { flagged, score, p_value, ..Verdict::unjudged(State::Scored, Tier::One) })
///     }
///     fn learn(&self, highest: &mut f64, sample: Sample) {
///         *highest = highest.max(sample.value);
///     }
///     fn p_value(&self, _: &f64, score: f64) -> f64 {
///         1.0 - 0.5 * score
///     }
///     fn save(&self, highest: &f64, out: &mut SnapshotWriter) {
///         out.f64(*highest);
///     }
///     fn load(&self, from: &mut SnapshotReader<'_>) -> Result<f64> {
///         Ok(from.f64()?)
///     }
/// }
/// let mut detector = Single::new(Record);
/// let at = |second, value| Sample::new(Timestamp::from_secs(second), value);
/// detector.update(at(0, 3.0));
/// assert!(!detector.update(at(1, 2.0)).flagged);
/// assert!(detector.update(at(2, 4.0)).flagged);
/// assert_eq!(detector.update(at(2, 9.0)).state, State::Late);
/// ```
pub trait Method: Clone + Send {
    /// What is known of one series.
    type State: Clone + Send;

    /// A short, stable name for reports.
    fn name(&self) -> &'static str;

    /// The tier its verdicts carry.
    fn tier(&self) -> Tier;

    /// The state of a series that was never seen.
    fn fresh(&self) -> Self::State;

    /// Judges a sample with a finite value, newer than all before it; `None` while warming up.
    fn judge(&self, state: &Self::State, sample: Sample) -> Option<Verdict>;

    /// Takes such a sample in.
    fn learn(&self, state: &mut Self::State, sample: Sample);

    /// Judges, then learns. Override only to share work; the verdict must stay the same.
    fn judge_and_learn(&self, state: &mut Self::State, sample: Sample) -> Option<Verdict> {
        let verdict = self.judge(state, sample);
        self.learn(state, sample);
        verdict
    }

    /// Takes a sample without a value in: seasonal models move on by a step.
    fn skip(&self, _state: &mut Self::State, _time: Timestamp) {}

    /// The p-value that a score stands for.
    fn p_value(&self, state: &Self::State, score: f64) -> f64;

    /// How far the next judgement can be trusted, from 0 (too early to judge) to 1.
    fn confidence(&self, state: &Self::State) -> f64 {
        let last = Sample::new(Timestamp::MAX, 0.0);
        if self.judge(state, last).is_some() { 1.0 } else { 0.0 }
    }

    /// Why `verdict` was given for `sample`.
    fn explain(&self, _state: &Self::State, sample: Sample, verdict: &Verdict) -> Reason {
        explain_band(self.name(), sample, verdict)
    }

    /// Bytes of state of one series.
    fn bytes(&self) -> usize {
        size_of::<Self::State>()
    }

    /// Writes a state.
    fn save(&self, state: &Self::State, out: &mut SnapshotWriter);

    /// Reads what [`save`](Self::save) wrote.
    ///
    /// # Errors
    /// When the bytes are no state of this method under these settings.
    fn load(&self, from: &mut SnapshotReader<'_>) -> Result<Self::State>;
}

/// What can be said of a sample without looking at its value against others: late, or a gap.
pub(crate) fn unjudged(last: Timestamp, sample: Sample, tier: Tier) -> Option<Verdict> {
    if sample.time <= last {
        return Some(Verdict::unjudged(State::Late, tier));
    }
    sample.is_gap().then(|| Verdict::unjudged(State::Gap, tier))
}

/// The steps that every method shares, on the clock and the state of one series.
trait Steps: Method {
    fn assess_one(&self, last: Timestamp, state: &Self::State, sample: Sample) -> Verdict {
        unjudged(last, sample, self.tier())
            .or_else(|| self.judge(state, sample))
            .unwrap_or_else(|| Verdict::unjudged(State::WarmingUp, self.tier()))
    }

    fn learn_one(&self, last: &mut Timestamp, state: &mut Self::State, sample: Sample) {
        if sample.time <= *last {
            return;
        }
        *last = sample.time;
        if sample.is_gap() {
            self.skip(state, sample.time);
        } else {
            self.learn(state, sample);
        }
    }

    fn update_one(&self, last: &mut Timestamp, state: &mut Self::State, sample: Sample) -> Verdict {
        if let Some(verdict) = unjudged(*last, sample, self.tier()) {
            self.learn_one(last, state, sample);
            return verdict;
        }
        *last = sample.time;
        self.judge_and_learn(state, sample)
            .unwrap_or_else(|| Verdict::unjudged(State::WarmingUp, self.tier()))
    }
}

impl<M: Method> Steps for M {}

/// A [`Method`] on one series.
#[derive(Debug, Clone)]
pub struct Single<M: Method> {
    method: M,
    last: Timestamp,
    state: M::State,
}

impl<M: Method> Single<M> {
    /// A detector that has seen nothing yet.
    pub fn new(method: M) -> Self {
        let state = method.fresh();
        Single { method, last: Timestamp::MIN, state }
    }

    /// The settings.
    pub fn method(&self) -> &M {
        &self.method
    }

    /// What is known of the series.
    pub fn state(&self) -> &M::State {
        &self.state
    }
}

#[deny(clippy::missing_trait_methods)]
impl<M: Method> Detector for Single<M> {
    fn name(&self) -> &'static str {
        self.method.name()
    }

    fn assess(&self, sample: Sample) -> Verdict {
        self.method.assess_one(self.last, &self.state, sample)
    }

    fn learn(&mut self, sample: Sample) {
        self.method.learn_one(&mut self.last, &mut self.state, sample);
    }

    fn update(&mut self, sample: Sample) -> Verdict {
        self.method.update_one(&mut self.last, &mut self.state, sample)
    }

    fn p_value(&self, score: f64) -> f64 {
        self.method.p_value(&self.state, score)
    }

    fn confidence(&self) -> f64 {
        self.method.confidence(&self.state)
    }

    fn explain(&self, sample: Sample, verdict: &Verdict) -> Reason {
        self.method.explain(&self.state, sample, verdict)
    }

    fn save(&self, out: &mut SnapshotWriter) {
        saved::time(out, self.last);
        self.method.save(&self.state, out);
    }

    fn load(&mut self, from: &mut SnapshotReader<'_>) -> Result<()> {
        let last = saved::read_time(from)?;
        self.state = self.method.load(from)?;
        self.last = last;
        Ok(())
    }
}

/// A [`Method`] on very many series, one state after the other in memory.
#[derive(Debug, Clone)]
pub struct Columns<M: Method> {
    method: M,
    last: Vec<Timestamp>,
    states: Vec<M::State>,
    /// Answers for series that were not seen yet.
    fresh: M::State,
}

impl<M: Method> Columns<M> {
    /// A bank that has seen nothing yet.
    pub fn new(method: M) -> Self {
        let fresh = method.fresh();
        Columns { method, last: Vec::new(), states: Vec::new(), fresh }
    }

    /// The settings.
    pub fn method(&self) -> &M {
        &self.method
    }

    /// What is known of each series seen so far, in the order of their ids.
    pub fn states(&self) -> impl Iterator<Item = (SeriesId, &M::State)> {
        self.states.iter().enumerate().map(|(i, state)| (SeriesId(i as u32), state))
    }

    fn get(&self, id: SeriesId) -> (Timestamp, &M::State) {
        match self.states.get(id.index()) {
            Some(state) => (self.last[id.index()], state),
            None => (Timestamp::MIN, &self.fresh),
        }
    }

    fn grow(&mut self, n: usize) {
        if n > self.states.len() {
            self.last.resize(n, Timestamp::MIN);
            self.states.resize_with(n, || self.method.fresh());
        }
    }
}

impl<M: Method> DetectorBank for Columns<M> {
    fn name(&self) -> &'static str {
        self.method.name()
    }

    fn tier(&self) -> Tier {
        self.method.tier()
    }

    fn update(
        &mut self,
        batch: &SampleBatch<'_>,
        scores: &mut [f64],
        flagged: &mut Vec<Flagged>,
    ) -> Result<Tally> {
        self.grow(width(batch));
        let (method, last, states) = (&self.method, &mut self.last[..], &mut self.states[..]);
        rows(batch, scores, flagged, |id, sample| {
            method.update_one(&mut last[id.index()], &mut states[id.index()], sample)
        })
    }

    fn assess(
        &self,
        batch: &SampleBatch<'_>,
        scores: &mut [f64],
        flagged: &mut Vec<Flagged>,
    ) -> Result<Tally> {
        rows(batch, scores, flagged, |id, sample| {
            let (last, state) = self.get(id);
            self.method.assess_one(last, state, sample)
        })
    }

    fn p_value(&self, id: SeriesId, score: f64) -> f64 {
        self.method.p_value(self.get(id).1, score)
    }

    fn confidence(&self, id: SeriesId) -> f64 {
        self.method.confidence(self.get(id).1)
    }

    fn explain(&self, id: SeriesId, sample: Sample, verdict: &Verdict) -> Reason {
        self.method.explain(self.get(id).1, sample, verdict)
    }

    fn release(&mut self, ids: &[SeriesId]) {
        for id in ids {
            if let Some(state) = self.states.get_mut(id.index()) {
                *state = self.method.fresh();
                self.last[id.index()] = Timestamp::MIN;
            }
        }
    }

    fn bytes_per_series(&self) -> usize {
        size_of::<Timestamp>() + self.method.bytes()
    }

    fn save(&self, id: SeriesId, out: &mut SnapshotWriter) {
        let (last, state) = self.get(id);
        saved::time(out, last);
        self.method.save(state, out);
    }

    fn load(&mut self, id: SeriesId, from: &mut SnapshotReader<'_>) -> Result<()> {
        let last = saved::read_time(from)?;
        let state = self.method.load(from)?;
        self.grow(id.index() + 1);
        self.last[id.index()] = last;
        self.states[id.index()] = state;
        Ok(())
    }
}
