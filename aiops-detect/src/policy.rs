//! From verdicts to anomalies: one set of rules for all detectors.
//!
//! A verdict judges one sample; people want to hear of a stretch of samples, once, when it matters.
//! The rules in between are the same whatever made the verdict, so they live here and nowhere else.

use std::time::Duration;

use aiops_core::{Direction, Harm, Sample, SeriesId, SnapshotReader, SnapshotWriter, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{Error, Result, State, Tier, Verdict, error::not_negative, saved};

/// The rules.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PolicyConfig {
    /// Least deviation from the expectation, in the unit of the series. Default 0: off.
    pub min_absolute: f64,
    /// Least deviation as a share of the expectation. Default 0.05 (a guess; OpenSearch ignores
    /// less than 20 %): nobody is paged for a change of two percent, however improbable.
    pub min_relative: f64,
    /// Which side counts. Default `None`: the side that hurts for the kind of the metric.
    pub harm: Option<Harm>,
    /// An anomaly needs this many flagged samples ... Default 2: one sample is often a scrape error.
    pub confirm: u32,
    /// ... among this many consecutive ones, 64 at most. Default 3.
    pub among: u32,
    /// It ends after this many consecutive samples that are not flagged. Default 10.
    pub recover_after: u32,
    /// A new excursion this soon after the end of the last one resumes that anomaly instead of
    /// raising another. Default 10 minutes.
    pub cool_down: Duration,
}

impl Default for PolicyConfig {
    fn default() -> Self {
        PolicyConfig {
            min_absolute: 0.0,
            min_relative: 0.05,
            harm: None,
            confirm: 2,
            among: 3,
            recover_after: 10,
            cool_down: Duration::from_secs(600),
        }
    }
}

impl PolicyConfig {
    /// The working policy, without any series yet.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] names the field that is out of range.
    pub fn build(self) -> Result<Policy> {
        not_negative("min_absolute", self.min_absolute)?;
        not_negative("min_relative", self.min_relative)?;
        if !(1..=64).contains(&self.among) {
            let reason = format!("must be between 1 and 64, got {}", self.among);
            return Err(Error::config("among", reason));
        }
        if !(1..=self.among).contains(&self.confirm) {
            let reason = format!("must be between 1 and among, got {}", self.confirm);
            return Err(Error::config("confirm", reason));
        }
        if self.recover_after == 0 {
            return Err(Error::config("recover_after", "must be at least 1, got 0"));
        }
        Ok(Policy { config: self, series: Vec::new() })
    }
}

/// What a sample did to the anomaly of its series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Confirmed: tell someone.
    Raised,
    /// It came back within the cool-down and is the same anomaly.
    Resumed,
    /// Its p-value fell by a factor of ten or more since the last change.
    Worsened,
    /// Back to normal for long enough.
    Ended,
}

impl Change {
    /// The change in one word, as in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Change::Raised => "raised",
            Change::Resumed => "resumed",
            Change::Worsened => "worsened",
            Change::Ended => "ended",
        }
    }
}

/// A stretch of abnormal samples of one series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Episode {
    /// First flagged sample of those that confirmed it.
    pub onset: Timestamp,
    /// Time from the sample before the onset to the onset: it began in between.
    pub onset_uncertainty: Duration,
    /// Last flagged sample.
    pub last_seen: Timestamp,
    /// The sample with the smallest p-value, or the highest score among equal ones.
    pub peak: Sample,
    /// Its verdict.
    pub verdict: Verdict,
    /// Flagged samples so far.
    pub flagged: u32,
}

/// The rules at work on many series.
///
/// State is 16 bytes a series, and a box for those with a recent flag.
#[derive(Debug, Clone)]
pub struct Policy {
    config: PolicyConfig,
    series: Vec<Track>,
}

/// What the policy knows of one series.
#[derive(Debug, Clone)]
pub(crate) struct Track {
    last: Timestamp,
    active: Option<Box<Active>>,
}

#[derive(Debug, Clone)]
struct Active {
    stage: Stage,
    episode: Episode,
    /// Flags of the latest samples, the newest in bit 0.
    recent: u64,
    /// Time of each of them and of the one before, newest first, to find the onset again.
    times: Vec<Timestamp>,
    quiet: u32,
    told_p_value: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Flags, too few to confirm.
    Pending,
    Open,
    /// Ended at this time; may resume during the cool-down.
    CoolingDown(Timestamp),
}

impl Policy {
    /// Takes in a flagged sample of a series whose metric hurts towards `harm`.
    ///
    /// Samples that were not judged (gaps, warm-up) say nothing either way and need not be handed
    /// in; samples that are not newer than the last one are ignored.
    pub fn observe_flagged(
        &mut self,
        id: SeriesId,
        sample: Sample,
        verdict: &Verdict,
        harm: Harm,
    ) -> Option<Change> {
        let counts = self.config.counts(sample, verdict, harm);
        self.observe(id, sample, counts.then_some(verdict))
    }

    /// Takes in a sample that was judged normal.
    pub fn observe_normal(&mut self, id: SeriesId, sample: Sample) -> Option<Change> {
        self.observe(id, sample, None)
    }

    fn observe(
        &mut self,
        id: SeriesId,
        sample: Sample,
        verdict: Option<&Verdict>,
    ) -> Option<Change> {
        if id.index() >= self.series.len() {
            let idle = Track { last: Timestamp::MIN, active: None };
            self.series.resize(id.index() + 1, idle);
        }
        let config = &self.config;
        let track = &mut self.series[id.index()];
        if sample.time <= track.last {
            return None;
        }
        let before = std::mem::replace(&mut track.last, sample.time);
        // Where samples are rare, the first one after the cool-down may be the next excursion.
        if track.active.as_ref().is_some_and(|active| active.is_over(config, sample.time)) {
            track.active = None;
        }
        let Some(active) = &mut track.active else {
            let verdict = *verdict?;
            let mut active = Active::begin(before, sample, verdict, config.among);
            let change = active.confirm(config);
            track.active = Some(Box::new(active));
            return change;
        };
        let change = active.step(config, sample, verdict);
        if active.is_over(config, sample.time) {
            track.active = None;
        }
        change
    }

    /// The anomaly of a series that is open, or ended so recently that it may resume.
    pub fn episode(&self, id: SeriesId) -> Option<&Episode> {
        let active = self.series.get(id.index())?.active.as_ref()?;
        (active.stage != Stage::Pending).then_some(&active.episode)
    }

    /// The series whose anomaly has not ended.
    pub fn open(&self) -> impl Iterator<Item = (SeriesId, &Episode)> {
        self.series.iter().enumerate().filter_map(|(i, track)| {
            let active = track.active.as_ref()?;
            (active.stage == Stage::Open).then_some((SeriesId(i as u32), &active.episode))
        })
    }

    /// Forgets these series.
    pub fn release(&mut self, ids: &[SeriesId]) {
        for id in ids {
            if let Some(track) = self.series.get_mut(id.index()) {
                *track = Track { last: Timestamp::MIN, active: None };
            }
        }
    }
}

/// Saved state.
impl Policy {
    /// Writes what is known of one series.
    pub(crate) fn save(&self, id: SeriesId, out: &mut SnapshotWriter) {
        let track = self.series.get(id.index());
        out.i64(track.map_or(Timestamp::MIN, |track| track.last).as_nanos());
        let active = track.and_then(|track| track.active.as_deref());
        let (stage, since) = match active.map(|active| active.stage) {
            None => (0, Timestamp::MIN),
            Some(Stage::Pending) => (1, Timestamp::MIN),
            Some(Stage::Open) => (2, Timestamp::MIN),
            Some(Stage::CoolingDown(since)) => (3, since),
        };
        out.u8(stage);
        let Some(active) = active else { return };
        out.i64(since.as_nanos());
        let Episode { onset, onset_uncertainty, last_seen, peak, verdict, flagged } =
            active.episode;
        out.i64(onset.as_nanos());
        out.u64(u64::try_from(onset_uncertainty.as_nanos()).unwrap_or(u64::MAX));
        out.i64(last_seen.as_nanos());
        out.i64(peak.time.as_nanos());
        out.f64(peak.value);
        out.u32(flagged);
        write_verdict(&verdict, out);
        out.u64(active.recent);
        out.u64(active.times.len() as u64);
        active.times.iter().for_each(|time| out.i64(time.as_nanos()));
        out.u32(active.quiet);
        out.f64(active.told_p_value);
    }

    /// Reads what [`save`](Self::save) wrote; [`put`](Self::put) takes it in.
    pub(crate) fn read(&self, from: &mut SnapshotReader<'_>) -> Result<Track> {
        let time =
            |from: &mut SnapshotReader<'_>| Ok::<_, Error>(Timestamp::from_nanos(from.i64()?));
        let last = time(from)?;
        let stage = from.u8()?;
        if stage == 0 {
            return Ok(Track { last, active: None });
        }
        let since = time(from)?;
        let stage = match stage {
            1 => Stage::Pending,
            2 => Stage::Open,
            3 => Stage::CoolingDown(since),
            _ => return Err(saved::invalid("stage of an anomaly", stage)),
        };
        let episode = Episode {
            onset: time(from)?,
            onset_uncertainty: Duration::from_nanos(from.u64()?),
            last_seen: time(from)?,
            peak: Sample::new(time(from)?, saved::within(from, "peak", f64::MAX)?),
            flagged: from.u32()?,
            verdict: read_verdict(from)?,
        };
        let recent = from.u64()?;
        let mut times = Vec::new();
        for _ in 0..from.count(8)? {
            times.push(time(from)?);
        }
        let bits = 64 - recent.leading_zeros();
        if bits > self.config.among || (times.len() as u64) < u64::from(bits) {
            return Err(saved::invalid("recent flags", recent));
        }
        let (quiet, told_p_value) = (from.u32()?, saved::not_negative(from, "p-value")?);
        let active = Active { stage, episode, recent, times, quiet, told_p_value };
        Ok(Track { last, active: Some(Box::new(active)) })
    }

    /// Replaces what is known of one series.
    pub(crate) fn put(&mut self, id: SeriesId, track: Track) {
        if id.index() >= self.series.len() {
            let idle = Track { last: Timestamp::MIN, active: None };
            self.series.resize(id.index() + 1, idle);
        }
        self.series[id.index()] = track;
    }
}

fn write_verdict(verdict: &Verdict, out: &mut SnapshotWriter) {
    out.u8(match verdict.tier {
        Tier::One => 1,
        Tier::Two => 2,
        Tier::Three => 3,
    });
    out.u8(match verdict.direction {
        Direction::None => 0,
        Direction::Above => 1,
        Direction::Below => 2,
    });
    for value in [verdict.score, verdict.p_value, verdict.expected, verdict.lower, verdict.upper] {
        out.f64(value);
    }
}

/// A flagged verdict; only those become part of an episode.
fn read_verdict(from: &mut SnapshotReader<'_>) -> Result<Verdict> {
    let tier = match from.u8()? {
        1 => Tier::One,
        2 => Tier::Two,
        3 => Tier::Three,
        other => return Err(saved::invalid("tier", other)),
    };
    let direction = match from.u8()? {
        0 => Direction::None,
        1 => Direction::Above,
        2 => Direction::Below,
        other => return Err(saved::invalid("direction", other)),
    };
    let score = saved::within(from, "score", f64::MAX)?;
    let p_value = saved::not_negative(from, "p-value")?;
    let [expected, lower, upper] = [from.f64()?, from.f64()?, from.f64()?];
    let state = State::Scored;
    Ok(Verdict { state, tier, direction, flagged: true, score, p_value, expected, lower, upper })
}

impl PolicyConfig {
    /// Whether a flagged sample deviates enough, and on the side that hurts.
    fn counts(&self, sample: Sample, verdict: &Verdict, harm: Harm) -> bool {
        let side_hurts = match (self.harm.unwrap_or(harm), verdict.direction) {
            (Harm::Up, Direction::Below) | (Harm::Down, Direction::Above) => false,
            (Harm::Up | Harm::Down | Harm::Both, _) => true,
        };
        if !verdict.flagged || !side_hurts {
            return false;
        }
        if !verdict.expected.is_finite() || !sample.value.is_finite() {
            return true; // without an expectation there is no deviation to measure
        }
        let deviation = (sample.value - verdict.expected).abs();
        deviation >= self.min_absolute && deviation >= self.min_relative * verdict.expected.abs()
    }
}

impl Active {
    fn begin(before: Timestamp, sample: Sample, verdict: Verdict, among: u32) -> Self {
        let mut times = Vec::with_capacity(among as usize + 1);
        times.extend([sample.time, before]);
        Active {
            stage: Stage::Pending,
            episode: Episode {
                onset: sample.time,
                onset_uncertainty: uncertainty(before, sample.time),
                last_seen: sample.time,
                peak: sample,
                verdict,
                flagged: 1,
            },
            recent: 1,
            times,
            quiet: 0,
            told_p_value: 1.0,
        }
    }

    fn step(
        &mut self,
        config: &PolicyConfig,
        sample: Sample,
        verdict: Option<&Verdict>,
    ) -> Option<Change> {
        let window = if config.among == 64 { u64::MAX } else { (1 << config.among) - 1 };
        self.recent = (self.recent << 1 | u64::from(verdict.is_some())) & window;
        self.times.insert(0, sample.time);
        self.times.truncate(config.among as usize + 1);
        self.quiet = if verdict.is_some() { 0 } else { self.quiet.saturating_add(1) };
        match (self.stage, verdict) {
            (Stage::Pending, Some(verdict)) => {
                self.note(sample, verdict);
                self.confirm(config)
            }
            (Stage::Open, Some(verdict)) => {
                self.note(sample, verdict);
                let p_value = self.episode.verdict.p_value;
                (p_value <= self.told_p_value / 10.0).then(|| {
                    self.told_p_value = p_value;
                    Change::Worsened
                })
            }
            (Stage::Open, None) if self.quiet >= config.recover_after => {
                self.stage = Stage::CoolingDown(sample.time);
                self.recent = 0;
                Some(Change::Ended)
            }
            (Stage::CoolingDown(_), Some(verdict)) => {
                if self.recent.count_ones() < config.confirm {
                    return None;
                }
                self.stage = Stage::Open;
                self.note(sample, verdict);
                Some(Change::Resumed)
            }
            (_, None) => None,
        }
    }

    /// Opens a pending episode once enough of the latest samples are flagged.
    fn confirm(&mut self, config: &PolicyConfig) -> Option<Change> {
        if self.recent.count_ones() < config.confirm {
            return None;
        }
        // Older flags fell out of the window: the onset is the oldest that is still in it.
        let oldest = 63 - self.recent.leading_zeros() as usize;
        self.episode.onset = self.times[oldest];
        if let Some(before) = self.times.get(oldest + 1) {
            self.episode.onset_uncertainty = uncertainty(*before, self.episode.onset);
        }
        self.stage = Stage::Open;
        self.told_p_value = self.episode.verdict.p_value;
        Some(Change::Raised)
    }

    fn note(&mut self, sample: Sample, verdict: &Verdict) {
        let episode = &mut self.episode;
        episode.last_seen = sample.time;
        episode.flagged = episode.flagged.saturating_add(1);
        let worse = verdict.p_value < episode.verdict.p_value
            || verdict.p_value == episode.verdict.p_value && verdict.score > episode.verdict.score;
        if worse {
            episode.peak = sample;
            episode.verdict = *verdict;
        }
    }

    fn is_over(&self, config: &PolicyConfig, now: Timestamp) -> bool {
        match self.stage {
            Stage::Pending => self.recent == 0,
            Stage::Open => false,
            Stage::CoolingDown(since) => self.recent == 0 && now.since(since) > config.cool_down,
        }
    }
}

/// How far before `onset` it may have begun; zero when there was no earlier sample.
fn uncertainty(before: Timestamp, onset: Timestamp) -> Duration {
    if before == Timestamp::MIN { Duration::ZERO } else { onset.since(before) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{State, Tier};

    fn flagged(p_value: f64, direction: Direction) -> Verdict {
        Verdict {
            state: State::Scored,
            direction,
            flagged: true,
            score: 10.0,
            p_value,
            expected: 100.0,
            ..Verdict::unjudged(State::Scored, Tier::One)
        }
    }

    /// Plays a row of samples a second apart: `x` flagged above, `.` normal. Returns the changes.
    fn play(policy: &mut Policy, from: i64, row: &str) -> Vec<(i64, Change)> {
        let mut changes = Vec::new();
        for (i, c) in row.chars().enumerate() {
            let second = from + i as i64;
            let sample = Sample::new(Timestamp::from_secs(second), 200.0);
            let change = if c == 'x' {
                let verdict = flagged(1e-4, Direction::Above);
                policy.observe_flagged(SeriesId(0), sample, &verdict, Harm::Up)
            } else {
                policy.observe_normal(SeriesId(0), sample)
            };
            changes.extend(change.map(|change| (second, change)));
        }
        changes
    }

    #[test]
    fn two_of_three_confirm_and_the_first_of_them_is_the_onset() {
        let mut policy = PolicyConfig::default().build().unwrap();
        assert_eq!(play(&mut policy, 0, "..x....x.x"), [(9, Change::Raised)]);
        let episode = policy.episode(SeriesId(0)).unwrap();
        assert_eq!(episode.onset, Timestamp::from_secs(7), "not the lone flag at 2");
        assert_eq!(episode.onset_uncertainty, Duration::from_secs(1));
    }

    #[test]
    fn an_anomaly_is_told_once_and_resumes_within_the_cool_down() {
        let config = PolicyConfig { recover_after: 3, ..PolicyConfig::default() };
        let mut policy = config.build().unwrap();
        let changes = play(&mut policy, 0, "xxxxx...xx...");
        use Change::{Ended, Raised, Resumed};
        assert_eq!(changes, [(1, Raised), (7, Ended), (9, Resumed), (12, Ended)]);
        assert_eq!(play(&mut policy, 1000, ".xx"), [(1002, Raised)], "after it, a new one");
    }

    #[test]
    fn small_or_harmless_deviations_do_not_count() {
        use Harm::{Down, Up};
        let (up, gap) = (Direction::Above, f64::NAN);
        let table = [
            (104.0, 100.0, up, Up, false, "4 % of the expectation"),
            (105.0, 100.0, up, Up, true, "5 % is enough"),
            (11.0, 10.0, up, Up, false, "a tenth, but of one unit"),
            (12.0, 10.0, up, Up, true, "two units are enough"),
            (200.0, 100.0, up, Down, false, "only drops hurt"),
            (20.0, 100.0, Direction::Below, Up, false, "only rises hurt"),
            (20.0, 100.0, Direction::Below, Harm::Both, true, "both hurt"),
            (1.0, gap, up, Up, true, "without an expectation nothing can be measured"),
            (gap, 100.0, Direction::None, Up, true, "what is absent has no deviation"),
        ];
        for (value, expected, direction, harm, counts, why) in table {
            let config = PolicyConfig { min_absolute: 2.0, ..PolicyConfig::default() };
            let mut policy = config.build().unwrap();
            let verdict = Verdict { expected, ..flagged(1e-9, direction) };
            let mut raised = false;
            for second in 0..3 {
                let sample = Sample::new(Timestamp::from_secs(second), value);
                raised |= policy.observe_flagged(SeriesId(0), sample, &verdict, harm).is_some();
            }
            assert_eq!(raised, counts, "{why}");
        }
    }

    #[test]
    fn the_onset_is_as_uncertain_as_the_sample_before_it_is_old() {
        let mut policy = PolicyConfig::default().build().unwrap();
        play(&mut policy, 0, "x..");
        assert_eq!(play(&mut policy, 10, "x.x"), [(12, Change::Raised)]);
        let episode = policy.episode(SeriesId(0)).unwrap();
        assert_eq!(episode.onset, Timestamp::from_secs(10));
        assert_eq!(episode.onset_uncertainty, Duration::from_secs(8), "it began after second 2");
    }

    #[test]
    fn the_peak_is_the_least_probable_sample_then_the_highest_score() {
        let mut policy = PolicyConfig::default().build().unwrap();
        let samples =
            [(1e-4, 5.0), (1e-6, 5.0), (1e-6, 4.0), (1e-6, 8.0), (1e-6, 8.0), (1e-5, 99.0)];
        for (second, (p_value, score)) in samples.into_iter().enumerate() {
            let sample = Sample::new(Timestamp::from_secs(second as i64), 200.0 + second as f64);
            let verdict = Verdict { score, ..flagged(p_value, Direction::Above) };
            policy.observe_flagged(SeriesId(0), sample, &verdict, Harm::Up);
        }
        let episode = policy.episode(SeriesId(0)).unwrap();
        let peak = (episode.peak.value, episode.verdict.p_value, episode.verdict.score);
        assert_eq!(peak, (203.0, 1e-6, 8.0), "the first of equals");
        assert_eq!((episode.last_seen, episode.flagged), (Timestamp::from_secs(5), 6));
    }

    #[test]
    fn the_cool_down_ends_on_time_however_rare_the_samples() {
        let cool_down = Duration::from_secs(10);
        let config = PolicyConfig { confirm: 1, recover_after: 3, cool_down, ..Default::default() };
        for (next, change) in [(13, Change::Resumed), (14, Change::Raised)] {
            let mut policy = config.clone().build().unwrap();
            assert_eq!(play(&mut policy, 0, "x..."), [(0, Change::Raised), (3, Change::Ended)]);
            assert_eq!(play(&mut policy, next, "x"), [(next, change)]);
        }
    }

    #[test]
    fn open_are_those_that_were_raised_and_neither_ended_nor_released() {
        let open = |policy: &Policy| policy.open().map(|(id, _)| id).collect::<Vec<_>>();
        let mut policy = PolicyConfig { recover_after: 3, ..Default::default() }.build().unwrap();
        play(&mut policy, 0, "x");
        assert!(open(&policy).is_empty() && policy.episode(SeriesId(0)).is_none(), "not confirmed");
        play(&mut policy, 1, "x");
        assert_eq!(open(&policy), [SeriesId(0)]);
        play(&mut policy, 2, "...");
        assert!(open(&policy).is_empty() && policy.episode(SeriesId(0)).is_some(), "may resume");
        policy.release(&[SeriesId(0), SeriesId(7)]);
        assert!(policy.episode(SeriesId(0)).is_none());
        assert_eq!(
            play(&mut policy, 0, "xx"),
            [(1, Change::Raised)],
            "another series, another time"
        );
    }

    fn saved(policy: &Policy) -> Vec<u8> {
        let mut out = SnapshotWriter::new();
        policy.save(SeriesId(0), &mut out);
        out.finish()
    }

    #[test]
    fn it_continues_from_saved_state_wherever_it_is_cut() {
        let config = PolicyConfig { recover_after: 3, ..PolicyConfig::default() };
        let row = "..x..xx.x....xx...";
        let mut whole = config.clone().build().unwrap();
        let expected = play(&mut whole, 0, row);
        assert_eq!(expected.len(), 4, "raised, ended, resumed, ended: {expected:?}");
        for cut in 0..row.len() {
            let mut before = config.clone().build().unwrap();
            let mut changes = play(&mut before, 0, &row[..cut]);
            let mut after = config.clone().build().unwrap();
            let track = after.read(&mut SnapshotReader::new(&saved(&before))).unwrap();
            after.put(SeriesId(0), track);
            let shown = |policy: &Policy| format!("{:?}", policy.episode(SeriesId(0)));
            assert_eq!(shown(&after), shown(&before));
            changes.extend(play(&mut after, cut as i64, &row[cut..]));
            assert_eq!(changes, expected, "cut at {cut}");
        }
    }

    #[test]
    fn saved_flags_must_fit_the_window_and_have_their_times() {
        let wide = PolicyConfig { confirm: 5, among: 8, ..PolicyConfig::default() };
        let mut policy = wide.clone().build().unwrap();
        play(&mut policy, 0, "x..x");
        let read = |config: &PolicyConfig, bytes: &[u8]| {
            config.clone().build().unwrap().read(&mut SnapshotReader::new(bytes)).is_ok()
        };
        assert!(read(&wide, &saved(&policy)));
        assert!(!read(&PolicyConfig::default(), &saved(&policy)), "four flags do not fit in three");
        for times in (0..5).rev() {
            policy.series[0].active.as_mut().unwrap().times.truncate(times);
            assert_eq!(read(&wide, &saved(&policy)), times >= 4, "{times} times for four flags");
        }
    }
}
