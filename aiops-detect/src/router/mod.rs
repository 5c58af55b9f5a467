//! Which tier looks at which series, and what becomes of what they see.
//!
//! ```text
//! sample ─> tier 1, all series ────────────> anomaly ─┐
//!        ─> tier 2, a share of them (seats) ─> anomaly ─┼─> both saw it begin? ─> told, once
//!        ─> tier 3, a few (seats) ───────────> anomaly ─┘   tier 1 alone where no other can judge
//! ```
//!
//! - **Class** ([`ClassConfig`]): infrastructure, business or critical, from rules or from the shape of
//!   the series. It decides which tier is wanted, and who gets a seat first.
//! - **Budget** ([`Budget`]): which share of the series a costly tier may serve. Under overload seats
//!   are taken away, tier 3 before tier 2 and the least critical first, and given back afterwards.
//! - **Fallback** ([`Fallback`], [`Cause`]): a tier that errs, is late, is untrained or is not confident
//!   hands over to the next lower one; anomaly and verdict say so, and it comes back after a hold.
//! - **Health** ([`Health`]): feedback about alerts, counted per detector and class; too many false
//!   ones ask for [`retrain()`].
//!
//! [`Router`] wires the first three. It asks no clock: what was late is told to it.

mod budget;
mod class;
mod fallback;
mod health;
mod retrain;
mod seen;
mod state;

use std::collections::BTreeMap;
use std::time::Duration;

use aiops_core::{Interner, MetricClass, Prefer, Reason, SampleBatch, SeriesId, Timestamp};
use serde::{Deserialize, Serialize};

pub use budget::Budget;
pub use class::{ClassConfig, ClassRule, ClassedBy, Classified};
pub use fallback::{Cause, Fallback};
pub use health::{Advice, Health, HealthConfig, Origin, Rate};
pub use retrain::{Marks, Retrain, Retrained, Span, retrain};

use crate::{
    Change, Error, Flagged, Noticed, PolicyConfig, Result, State, Tally, Tier, Watcher,
    error::probability,
};
use budget::Seats;
use class::Shape;
use fallback::Holds;
use seen::{Says, Told};

/// Settings of [`Router`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RouterConfig {
    /// How series get their class.
    pub classes: ClassConfig,
    /// The tier that each class wants, if there is one and the budget allows it: infrastructure,
    /// business, critical. Default two, two, three.
    pub wanted: [Tier; 3],
    /// Shares of series.
    pub budget: Budget,
    /// Two tiers speak of one anomaly when they see it begin within this time. Default 30 s, which
    /// the recorded incidents in `examples/data` were judged with.
    pub agree_within: Duration,
    /// For how long a tier is left out after it failed. Default 5 minutes (a guess: long enough that a
    /// broken model does not flap, short enough to be back within an incident).
    pub hold: Duration,
    /// A tier that trusts its own judgement of a series less than this hands over. Default 0.5.
    pub min_confidence: f64,
    /// Also tell what the serving tier sees and tier 1 does not. Default no: what two detectors that
    /// fail in different ways agree on is worth an alert; what only one sees is counted.
    pub higher_alone: bool,
}

impl Default for RouterConfig {
    fn default() -> Self {
        RouterConfig {
            classes: ClassConfig::default(),
            wanted: [Tier::Two, Tier::Two, Tier::Three],
            budget: Budget::default(),
            agree_within: Duration::from_secs(30),
            hold: Duration::from_secs(300),
            min_confidence: 0.5,
            higher_alone: false,
        }
    }
}

/// The policy of a tier for a preference.
///
/// `FewerMisses` is the default: two of three samples, 5 % off. `Balanced` asks for three of five and
/// 10 %; `FewerPages` for five of eight and 20 %, which is what OpenSearch ignores.
impl From<Prefer> for PolicyConfig {
    fn from(prefer: Prefer) -> Self {
        let default = PolicyConfig::default();
        match prefer {
            Prefer::FewerMisses => default,
            Prefer::Balanced => PolicyConfig { confirm: 3, among: 5, min_relative: 0.1, ..default },
            Prefer::FewerPages => {
                PolicyConfig { confirm: 5, among: 8, min_relative: 0.2, ..default }
            }
        }
    }
}

impl RouterConfig {
    /// A router of one tier, which watches every series; add others with [`Router::with`].
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] names the field that is out of range.
    pub fn build(self, base: Watcher) -> Result<Router> {
        self.classes.check()?;
        self.budget.check()?;
        probability("min_confidence", self.min_confidence)?;
        Ok(Router {
            levels: vec![Level {
                tier: Tier::One,
                watcher: base,
                seats: None,
                tally: Tally::default(),
            }],
            series: Vec::new(),
            known: 0,
            shapes: BTreeMap::new(),
            holds: Holds::default(),
            told: BTreeMap::new(),
            errors: Vec::new(),
            counts: [0; 2],
            batch: Columns::default(),
            config: self,
        })
    }
}

/// Routes samples to tiers and tells what they agree on.
///
/// Every series is watched by tier 1. Higher tiers watch the series that have a seat there and go on
/// learning them, so that each can take over at once. The highest tier that has a seat for a
/// series and is fit to judge serves it: what tier 1 sees is told once that tier has seen it begin
/// within [`RouterConfig::agree_within`] as well. Where no higher tier is fit, tier 1 speaks alone,
/// and the anomaly says why. An anomaly ends when tier 1 says so.
///
/// ```
/// use aiops_core::{Interner, MetricKind, SampleBatch, SeriesKey, Timestamp};
/// use aiops_detect::router::{Budget, RouterConfig};
/// use aiops_detect::{Change, PolicyConfig, Tier, Watcher};
/// use aiops_detect::tier1::{EwmaConfig, RobustConfig};
///
/// let policy = || PolicyConfig::default().build();
/// let one = Box::new(RobustConfig::default().build_bank()?);
/// let two = Box::new(EwmaConfig::default().build_bank()?);
/// let config = RouterConfig { budget: Budget::UNLIMITED, ..RouterConfig::default() };
/// let mut router = config
///     .build(Watcher::new(one, policy()?, Box::new(|_| MetricKind::Latency)))?
///     .with(Tier::Two, Watcher::new(two, policy()?, Box::new(|_| MetricKind::Latency)))?;
///
/// let mut interner = Interner::new(1_000);
/// let key = SeriesKey::new("latency_p99", [("service", "api"), ("class", "critical")]);
/// let mut noticed = Vec::new();
/// for second in 0..200 {
///     let now = Timestamp::from_secs(second);
///     let id = interner.intern(&key, now)?;
///     let value = if second < 150 { 0.2 + 0.01 * (second % 7) as f64 } else { 3.0 };
///     let (ids, times, values) = ([id], [now], [value]);
///     router.process(&SampleBatch::new(&ids, &times, &values)?, &interner, &mut noticed)?;
/// }
/// assert_eq!(noticed[0].change, Change::Raised);
/// assert_eq!(noticed[0].anomaly.detector, "robust+ewma");
/// let id = interner.get(key.hash()).unwrap();
/// let why = router.class(id).unwrap().reason(&router.config().classes);
/// assert_eq!(why.sentence, "critical, because class is \"critical\"");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Router {
    config: RouterConfig,
    levels: Vec<Level>,
    series: Vec<Option<Classified>>,
    known: usize,
    /// Shapes of the series whose class is not decided yet.
    shapes: BTreeMap<SeriesId, Shape>,
    holds: Holds,
    told: BTreeMap<SeriesId, Told>,
    errors: Vec<(Tier, Error)>,
    /// Stretches that one tier saw, and those of them that were told.
    counts: [u64; 2],
    batch: Columns,
}

#[derive(Debug)]
struct Level {
    tier: Tier,
    watcher: Watcher,
    /// `None` in the base tier, where everybody sits.
    seats: Option<Seats>,
    tally: Tally,
}

/// The rows of a batch that a level gets.
#[derive(Debug, Default)]
struct Columns {
    ids: Vec<SeriesId>,
    times: Vec<Timestamp>,
    values: Vec<f64>,
}

impl Router {
    /// Adds a tier above the ones that are there.
    ///
    /// `tier` says where it stands for this router, whatever its bank says of itself: a second cheap
    /// detector may confirm the first.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] when it is not above the highest one so far.
    pub fn with(mut self, tier: Tier, watcher: Watcher) -> Result<Self> {
        if self.levels.last().is_none_or(|last| last.tier >= tier) {
            return Err(Error::config("tier", format!("tiers are added upwards, got {tier:?}")));
        }
        let share =
            if tier == Tier::Two { self.config.budget.two } else { self.config.budget.three };
        let (seats, tally) = (Some(Seats::new(share)), Tally::default());
        self.levels.push(Level { tier, watcher, seats, tally });
        Ok(self)
    }

    /// Judges and learns a batch in every tier that may, and appends what there is to tell. Rows are
    /// in order per series. The tally is that of tier 1, which gets every row.
    ///
    /// # Errors
    /// Those of tier 1. An error of a higher tier is a fallback, see [`take_errors`](Self::take_errors).
    pub fn process(
        &mut self,
        batch: &SampleBatch<'_>,
        interner: &Interner,
        noticed: &mut Vec<Noticed>,
    ) -> Result<Tally> {
        self.introduce(batch, interner);
        let mut changes = Vec::new();
        let tally = self.levels[0].watcher.process(batch, interner, &mut changes)?;
        self.levels[0].tally += tally;
        let told = |level: usize| move |change| (level, change);
        let mut all: Vec<(usize, Noticed)> = changes.drain(..).map(told(0)).collect();
        for level in 1..self.levels.len() {
            self.process_level(level, batch, interner, &mut changes);
            all.extend(changes.drain(..).map(told(level)));
        }
        let now = batch.times().iter().copied().max().unwrap_or(Timestamp::MIN);
        let mut told: BTreeMap<SeriesId, usize> = BTreeMap::new();
        for (level, change) in all {
            let Some(next) = self.weigh(level, change, interner, now) else { continue };
            match told.get(&next.id) {
                // Two tiers that change at the same step are one message.
                Some(at) if next.change == Change::Worsened => noticed[*at].anomaly = next.anomaly,
                _ => {
                    told.insert(next.id, noticed.len());
                    noticed.push(next);
                }
            }
        }
        self.mark_fallbacks(now);
        Ok(tally)
    }

    /// An input: `tier` had not judged a series at `now` and will not be waited for. It rests for the
    /// hold time.
    pub fn timed_out(&mut self, id: SeriesId, tier: Tier, now: Timestamp) {
        self.hold(id, tier, now, Cause::TimedOut);
    }

    /// An input: the share of the time between batches that judging them took lately. Above
    /// [`Budget::high_load`] the highest tier that has seats loses half of them; below
    /// [`Budget::low_load`] the lowest tier that lost some gets twice as many back.
    pub fn set_load(&mut self, load: f64) {
        let budget = self.config.budget;
        let seats = self.levels.iter_mut().filter_map(|level| level.seats.as_mut());
        if load > budget.high_load {
            seats.rev().find(|seats| !seats.is_empty()).map(Seats::cut);
        } else if load < budget.low_load {
            let mut seats = seats;
            seats.find(|seats| seats.is_cut()).map(Seats::grow);
        }
        self.settle();
    }

    /// The class of a series and why; `None` before its first sample.
    pub fn class(&self, id: SeriesId) -> Option<Classified> {
        self.series.get(id.index()).copied().flatten()
    }

    /// The tier that serves a series at `now`, and why it is not the one that its class wants.
    pub fn serves(&mut self, id: SeriesId, now: Timestamp) -> (Tier, Option<Fallback>) {
        let (level, fallback) = self.serving(id, now);
        (self.levels[level].tier, fallback)
    }

    /// The settings.
    pub fn config(&self) -> &RouterConfig {
        &self.config
    }

    /// The tier at work, lowest first: its watcher and what became of its rows.
    pub fn tiers(&self) -> impl Iterator<Item = (Tier, &Watcher, Tally)> {
        self.levels.iter().map(|level| (level.tier, &level.watcher, level.tally))
    }

    /// Flagged rows of tier 1 in the last batch; those that no higher tier could confirm are marked
    /// [`State::Fallback`].
    pub fn flagged(&self) -> &[Flagged] {
        self.levels[0].watcher.flagged()
    }

    /// Stretches that at least one tier called abnormal, and how many anomalies were told.
    pub fn stretches(&self) -> (u64, u64) {
        (self.counts[0], self.counts[1])
    }

    /// Errors of higher tiers since the last call.
    pub fn take_errors(&mut self) -> Vec<(Tier, Error)> {
        std::mem::take(&mut self.errors)
    }

    /// From `from` until before `until` no tier learns or raises anything.
    pub fn exclude(&mut self, from: Timestamp, until: Timestamp) {
        self.levels.iter_mut().for_each(|level| level.watcher.exclude(from, until));
    }

    /// No tier learns or raises anything in the time that a calendar excludes.
    ///
    /// # Errors
    /// Those of [`Calendar::check`](crate::Calendar::check).
    pub fn set_calendar(&mut self, calendar: &crate::Calendar) -> Result<()> {
        self.levels.iter_mut().try_for_each(|level| level.watcher.set_calendar(calendar.clone()))
    }

    /// Forgets these series.
    pub fn release(&mut self, ids: &[SeriesId]) {
        for level in &mut self.levels {
            level.watcher.release(ids);
        }
        for id in ids {
            if let Some(slot) = self.series.get_mut(id.index())
                && slot.take().is_some()
            {
                self.known -= 1;
            }
            self.forget(*id);
        }
        self.settle();
    }

    fn forget(&mut self, id: SeriesId) {
        self.shapes.remove(&id);
        self.told.remove(&id);
        self.holds.release(id);
        for level in &mut self.levels {
            level.seats.iter_mut().for_each(|seats| seats.leave(id));
        }
    }

    /// Gives new series a class and, where there is one, a seat.
    fn introduce(&mut self, batch: &SampleBatch<'_>, interner: &Interner) {
        let mut changed = false;
        for (id, sample) in batch.iter() {
            if id.index() >= self.series.len() {
                self.series.resize(id.index() + 1, None);
            }
            if self.series[id.index()].is_none() {
                let Some(key) = interner.key(id) else { continue };
                let kind = self.levels[0].watcher.kind(key);
                let classified = self.config.classes.classify(key, kind);
                self.known += 1;
                self.set_class(id, classified);
                changed = true;
            }
            let undecided = self.class(id).is_some_and(|c| c.because == ClassedBy::TooYoung);
            if !undecided || sample.is_gap() {
                continue;
            }
            let watched = self.shapes.len();
            match self.shapes.get_mut(&id) {
                Some(shape) => shape.push(sample),
                None if watched < self.config.classes.max_watched => {
                    self.shapes.insert(id, Shape::new(sample));
                }
                None => {}
            }
            let done = self.shapes.get(&id).filter(|s| s.is_done(self.config.classes.days));
            if let Some(shape) = done {
                let share = shape.seasonal_share();
                let seasonal = share >= self.config.classes.seasonal;
                let class =
                    if seasonal { MetricClass::Business } else { MetricClass::Infrastructure };
                self.shapes.remove(&id);
                self.set_class(id, Classified { class, because: ClassedBy::Shape(share) });
                changed = true;
            }
        }
        if changed {
            self.settle();
        }
    }

    fn set_class(&mut self, id: SeriesId, classified: Classified) {
        self.series[id.index()] = Some(classified);
        let wanted = self.wanted(classified.class);
        for level in &mut self.levels {
            if let Some(seats) = &mut level.seats {
                seats.leave(id);
                if level.tier <= wanted {
                    seats.join(id, classified.class);
                }
            }
        }
    }

    fn wanted(&self, class: MetricClass) -> Tier {
        let wanted = match class {
            MetricClass::Infrastructure => self.config.wanted[0],
            MetricClass::Business => self.config.wanted[1],
            MetricClass::Critical => self.config.wanted[2],
        };
        let highest = self.levels.last().map_or(Tier::One, |level| level.tier);
        wanted.min(highest)
    }

    fn settle(&mut self) {
        let known = self.known;
        for seats in self.levels.iter_mut().filter_map(|level| level.seats.as_mut()) {
            seats.settle(known);
        }
    }

    fn process_level(
        &mut self,
        level: usize,
        batch: &SampleBatch<'_>,
        interner: &Interner,
        changes: &mut Vec<Noticed>,
    ) {
        let Level { tier, watcher, seats, tally } = &mut self.levels[level];
        let columns = &mut self.batch;
        columns.clear();
        for (id, sample) in batch.iter() {
            let seated = seats.as_ref().is_none_or(|seats| seats.has(id));
            let rests = !self.holds.is_empty() && self.holds.rests(id, *tier, sample.time);
            if seated && !rests {
                columns.push(id, sample);
            }
        }
        let Ok(part) = SampleBatch::new(&columns.ids, &columns.times, &columns.values) else {
            return;
        };
        match watcher.process(&part, interner, changes) {
            Ok(counted) => *tally += counted,
            Err(error) => {
                let tier = *tier;
                self.errors.push((tier, error));
                let held: Vec<_> = part.iter().map(|(id, sample)| (id, sample.time)).collect();
                for (id, time) in held {
                    self.hold(id, tier, time, Cause::Failed);
                }
            }
        }
    }

    fn hold(&mut self, id: SeriesId, tier: Tier, now: Timestamp, cause: Cause) {
        self.holds.hold(id, tier, fallback::end_of(now, self.config.hold), cause);
    }

    /// The level that serves a series: the highest that is wanted, has a seat and is fit.
    fn serving(&mut self, id: SeriesId, now: Timestamp) -> (usize, Option<Fallback>) {
        let Some(classified) = self.class(id) else { return (0, None) };
        let wanted = self.wanted(classified.class);
        let mut first = None;
        for level in (1..self.levels.len()).rev() {
            let tier = self.levels[level].tier;
            if tier > wanted {
                continue;
            }
            match self.unfit(level, id, now) {
                Some(cause) => first = first.or(Some(cause)),
                None => {
                    return (level, first.map(|cause| Fallback { wanted, served: tier, cause }));
                }
            }
        }
        (0, first.map(|cause| Fallback { wanted, served: Tier::One, cause }))
    }

    /// Why a level cannot judge a series at `now`.
    fn unfit(&mut self, level: usize, id: SeriesId, now: Timestamp) -> Option<Cause> {
        let Level { tier, watcher, seats, .. } = &self.levels[level];
        let tier = *tier;
        if let Some(seats) = seats
            && !seats.has(id)
        {
            return Some(if seats.is_cut() { Cause::Overloaded } else { Cause::OverBudget });
        }
        let confidence = watcher.bank().confidence(id);
        if let Some(cause) = self.holds.ask(id, tier, now) {
            return Some(cause);
        }
        let cause = match confidence {
            0.0 => Cause::Untrained,
            sure if sure < self.config.min_confidence => Cause::NotConfident,
            _ => return None,
        };
        self.hold(id, tier, now, cause);
        Some(cause)
    }

    /// What to tell of a change that one level saw.
    fn weigh(
        &mut self,
        level: usize,
        noticed: Noticed,
        interner: &Interner,
        now: Timestamp,
    ) -> Option<Noticed> {
        let Noticed { id, change, anomaly } = noticed;
        self.counts[0] += u64::from(change == Change::Raised);
        let (serving, fallback) = self.serving(id, now);
        let says = |of: usize| {
            // The change itself says what its level knew then; the other is asked now.
            let own = (of == level).then(|| anomaly.clone());
            let asked = || self.levels[of].watcher.anomaly_of(id, interner);
            Says { level: of, anomaly: own.or_else(asked) }
        };
        let (base, higher) = (says(0), says(serving));
        let rule = seen::Rule {
            agree_within: self.config.agree_within,
            higher_alone: self.config.higher_alone,
        };
        let names: Vec<_> = self.levels.iter().map(|level| level.watcher.bank().name()).collect();
        let mut told = self.told.get(&id).copied();
        let answer = seen::weigh(&mut told, level, change, [&base, &higher], &names, rule);
        if let Some(told) = told {
            self.told.insert(id, told);
        }
        let (change, mut anomaly) = answer?;
        self.counts[1] += u64::from(change == Change::Raised);
        anomaly.reasons.extend(fallback.map(Reason::from));
        Some(Noticed { id, change, anomaly })
    }

    /// Says in the verdicts of tier 1 which of them no higher tier could confirm.
    fn mark_fallbacks(&mut self, now: Timestamp) {
        let mut flagged = std::mem::take(self.levels[0].watcher.flagged_mut());
        for row in &mut flagged {
            if let (0, Some(_)) = self.serving(row.id, now) {
                row.verdict.state = State::Fallback;
            }
        }
        *self.levels[0].watcher.flagged_mut() = flagged;
    }

    /// The series whose anomaly was told and has not ended.
    pub fn open(&self) -> impl Iterator<Item = SeriesId> {
        self.told.iter().filter(|(_, told)| told.open).map(|(id, _)| *id)
    }
}

impl Columns {
    fn clear(&mut self) {
        self.ids.clear();
        self.times.clear();
        self.values.clear();
    }

    fn push(&mut self, id: SeriesId, sample: aiops_core::Sample) {
        self.ids.push(id);
        self.times.push(sample.time);
        self.values.push(sample.value);
    }
}

#[cfg(test)]
mod tests;
