//! [`Ensemble`]: several banks vote on calibrated p-values.

use aiops_core::{SampleBatch, SeriesId, SnapshotReader, SnapshotWriter, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    Calibrator, CalibratorConfig, DetectorBank, Error, Flagged, Result, State, Tally, Tier,
    Verdict, bank::same_length, error::probability, saved,
};

/// How votes become one score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Vote {
    /// The mean of `-log10 p`: Fisher's statistic. One very sure member carries the others.
    #[default]
    Mean,
    /// `-log10` of the smallest p-value: any member is enough.
    Any,
    /// `-log10` of the p-value that at least half of the members stay below.
    Half,
    /// `-log10` of the largest p-value: all members must agree.
    All,
}

/// Settings of [`Ensemble`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EnsembleConfig {
    /// How votes become one score. Default [`Vote::Mean`].
    pub vote: Vote,
    /// Members that must be warm before the ensemble judges. Default 1; the others join as they warm up.
    pub quorum: usize,
    /// Calibrates each member's scores, and the votes.
    pub calibrator: CalibratorConfig,
    /// Tolerated share of normal samples that are flagged. Default 0.001.
    pub false_positive_rate: f64,
}

impl Default for EnsembleConfig {
    fn default() -> Self {
        EnsembleConfig {
            vote: Vote::Mean,
            quorum: 1,
            calibrator: CalibratorConfig::default(),
            false_positive_rate: 1e-3,
        }
    }
}

impl EnsembleConfig {
    /// An ensemble of these banks.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] names the field that is out of range.
    pub fn build(self, members: Vec<Box<dyn DetectorBank>>) -> Result<Ensemble> {
        probability("false_positive_rate", self.false_positive_rate)?;
        if !(1..=members.len()).contains(&self.quorum) || members.len() > 64 {
            let (quorum, n) = (self.quorum, members.len());
            let reason = format!("must be 1 to the number of members, got {quorum} of {n}");
            return Err(Error::config("quorum", reason));
        }
        let fresh = self.calibrator.clone().build()?;
        Ok(Ensemble { config: self, members, fresh, series: Vec::new() })
    }
}

/// Banks that vote: any [`DetectorBank`] takes part, one on a device like one on a processor.
///
/// Each member's score becomes a p-value by a [`Calibrator`] of its own, so that members need not be
/// calibrated alike, or at all. The p-values become one score ([`Vote`]), and that score becomes a
/// p-value by another calibrator: members that look at the same samples depend on each other, and no
/// formula for independent tests holds. A vote needs members that fail in different ways; two that
/// fail alike only cost twice.
///
/// A member that is not warm yet does not vote. A gap is a gap, a late sample is late, whatever the
/// members say. The verdict of a flagged sample shows the expectation of its surest member.
/// Memory: about 1 KiB a series and member, 1 KiB for the votes, and what the members hold.
///
/// Sources: Fisher 1925, "Statistical methods for research workers" (the mean of log p-values);
/// deviation: calibrated on the series' own past instead of by χ².
///
/// ```
/// use aiops_core::{SampleBatch, SeriesId, Timestamp};
/// use aiops_detect::{DetectorBank, EnsembleConfig, Vote};
/// use aiops_detect::tier1::{EwmaConfig, RobustConfig};
/// let mut ensemble = EnsembleConfig { vote: Vote::All, ..Default::default() }.build(vec![
///     Box::new(EwmaConfig::default().build_bank()?),
///     Box::new(RobustConfig::default().build_bank()?),
/// ])?;
/// let times: Vec<_> = (0..600).map(Timestamp::from_secs).collect();
/// let mut values: Vec<f64> = (0..600).map(|i| 5.0 + ((i * 37) % 101) as f64 / 100.0).collect();
/// values[550] = 50.0;
/// let ids = [SeriesId(0); 600];
/// let (mut scores, mut flagged) = (vec![0.0; 600], Vec::new());
/// ensemble.update(&SampleBatch::new(&ids, &times, &values)?, &mut scores, &mut flagged)?;
/// assert_eq!(flagged.iter().map(|f| f.row).collect::<Vec<_>>(), [550]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Ensemble {
    config: EnsembleConfig,
    members: Vec<Box<dyn DetectorBank>>,
    fresh: Calibrator,
    series: Vec<Option<Box<Votes>>>,
}

/// What is kept of one series.
#[derive(Debug, Clone)]
struct Votes {
    last: Timestamp,
    /// Members that were warm once, a bit each.
    warm: u64,
    members: Vec<Calibrator>,
    votes: Calibrator,
}

/// What the members said of one batch.
#[derive(Debug, Default)]
struct Said {
    /// Scores of the rows, a column a member.
    scores: Vec<Vec<f64>>,
    flagged: Vec<Vec<Flagged>>,
}

impl std::fmt::Debug for Ensemble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.members.iter().map(|member| member.name()).collect();
        f.debug_struct("Ensemble").field("members", &names).finish_non_exhaustive()
    }
}

impl Ensemble {
    fn new_votes(&self) -> Votes {
        Votes {
            last: Timestamp::MIN,
            warm: 0,
            members: vec![self.fresh.clone(); self.members.len()],
            votes: self.fresh.clone(),
        }
    }

    fn get(&self, id: SeriesId) -> Option<&Votes> {
        self.series.get(id.index())?.as_deref()
    }

    /// Judges row `row` of `batch` by what the members said; `learn` takes it in as well.
    fn judge(
        &self,
        votes: &mut Votes,
        row: usize,
        batch: &SampleBatch<'_>,
        said: &Said,
        learn: bool,
    ) -> Verdict {
        let (id, time) = (batch.ids()[row], batch.times()[row]);
        if time <= votes.last {
            return Verdict::unjudged(State::Late, self.tier());
        }
        if learn {
            votes.last = time;
        }
        if !batch.values()[row].is_finite() {
            return Verdict::unjudged(State::Gap, self.tier());
        }
        let mut p_values = Vec::with_capacity(self.members.len());
        for (m, member) in self.members.iter().enumerate() {
            let score = said.scores[m][row];
            if votes.warm & 1 << m == 0 {
                // The score of a member that is not warm is zero and says nothing. A score says it is
                // warm; where it is zero the member is asked.
                if score == 0.0 && member.confidence(id) == 0.0 {
                    continue;
                }
                votes.warm |= 1 << m;
            }
            let own = &mut votes.members[m];
            p_values.push(own.p_value(score).unwrap_or_else(|| member.p_value(id, score)));
            if learn {
                own.learn(score);
            }
        }
        if p_values.len() < self.config.quorum {
            return Verdict::unjudged(State::WarmingUp, self.tier());
        }
        let score = self.config.vote.score(&mut p_values);
        let p_value = votes.votes.p_value(score).unwrap_or_else(|| 10_f64.powf(-score));
        if learn {
            votes.votes.learn(score);
        }
        let p_value = p_value.clamp(f64::MIN_POSITIVE, 1.0);
        let flagged = p_value <= self.config.false_positive_rate;
        let surest = said
            .flagged
            .iter()
            .filter_map(|of| {
                of.binary_search_by_key(&row, |flagged| flagged.row).ok().map(|i| of[i])
            })
            .min_by(|a, b| a.verdict.p_value.total_cmp(&b.verdict.p_value));
        let shown = match surest {
            Some(member) => member.verdict,
            None => Verdict::unjudged(State::Scored, self.tier()),
        };
        Verdict { state: State::Scored, tier: self.tier(), flagged, score, p_value, ..shown }
    }

    fn judge_all(
        &mut self,
        batch: &SampleBatch<'_>,
        said: &Said,
        scores: &mut [f64],
        flagged: &mut Vec<Flagged>,
    ) -> Tally {
        let mut tally = Tally::default();
        for (row, id) in batch.ids().iter().enumerate() {
            if id.index() >= self.series.len() {
                self.series.resize_with(id.index() + 1, || None);
            }
            let mut votes =
                self.series[id.index()].take().unwrap_or_else(|| Box::new(self.new_votes()));
            let verdict = self.judge(&mut votes, row, batch, said, true);
            self.series[id.index()] = Some(votes);
            crate::bank::record(row, *id, verdict, scores, flagged, &mut tally);
        }
        tally
    }
}

impl Vote {
    /// The score of a vote: larger is more abnormal, never negative.
    fn score(self, p_values: &mut [f64]) -> f64 {
        p_values.sort_unstable_by(f64::total_cmp);
        let rare = |p: f64| -p.max(f64::MIN_POSITIVE).log10() + 0.0;
        let n = p_values.len();
        match self {
            Vote::Mean => p_values.iter().map(|p| rare(*p)).sum::<f64>() / n as f64,
            Vote::Any => rare(p_values[0]),
            Vote::Half => rare(p_values[n.div_ceil(2) - 1]),
            Vote::All => rare(p_values[n - 1]),
        }
        .max(0.0)
    }
}

impl DetectorBank for Ensemble {
    fn name(&self) -> &'static str {
        "ensemble"
    }

    fn tier(&self) -> Tier {
        Tier::Three
    }

    fn update(
        &mut self,
        batch: &SampleBatch<'_>,
        scores: &mut [f64],
        flagged: &mut Vec<Flagged>,
    ) -> Result<Tally> {
        same_length(batch.len(), scores.len())?;
        // Warm or not is asked of the members after each of these parts, in which no series comes
        // twice; otherwise the answer would depend on how rows are batched.
        let mut tally = Tally::default();
        for part in parts(batch) {
            let rows = part.clone();
            let slice = SampleBatch::new(
                &batch.ids()[rows.clone()],
                &batch.times()[rows.clone()],
                &batch.values()[rows.clone()],
            )?;
            let mut said = Said::default();
            for member in &mut self.members {
                let (mut column, mut flags) = (vec![0.0; slice.len()], Vec::new());
                member.update(&slice, &mut column, &mut flags)?;
                said.scores.push(column);
                said.flagged.push(flags);
            }
            let before = flagged.len();
            tally += self.judge_all(&slice, &said, &mut scores[rows.clone()], flagged);
            flagged[before..].iter_mut().for_each(|found| found.row += rows.start);
        }
        Ok(tally)
    }

    fn assess(
        &self,
        batch: &SampleBatch<'_>,
        scores: &mut [f64],
        flagged: &mut Vec<Flagged>,
    ) -> Result<Tally> {
        same_length(batch.len(), scores.len())?;
        let mut said = Said::default();
        for member in &self.members {
            let (mut column, mut flags) = (vec![0.0; batch.len()], Vec::new());
            member.assess(batch, &mut column, &mut flags)?;
            said.scores.push(column);
            said.flagged.push(flags);
        }
        let mut tally = Tally::default();
        for (row, id) in batch.ids().iter().enumerate() {
            let mut votes = self.get(*id).cloned().unwrap_or_else(|| self.new_votes());
            let verdict = self.judge(&mut votes, row, batch, &said, false);
            crate::bank::record(row, *id, verdict, scores, flagged, &mut tally);
        }
        Ok(tally)
    }

    fn p_value(&self, id: SeriesId, score: f64) -> f64 {
        let votes = self.get(id).and_then(|votes| votes.votes.p_value(score));
        votes.unwrap_or_else(|| 10_f64.powf(-score)).clamp(f64::MIN_POSITIVE, 1.0)
    }

    fn confidence(&self, id: SeriesId) -> f64 {
        let Some(votes) = self.get(id) else { return 0.0 };
        let warm = (0..self.members.len()).filter(|m| votes.warm & 1 << m != 0).count();
        if warm < self.config.quorum { 0.0 } else { votes.votes.confidence().max(0.01) }
    }

    fn release(&mut self, ids: &[SeriesId]) {
        self.members.iter_mut().for_each(|member| member.release(ids));
        for id in ids {
            if let Some(slot) = self.series.get_mut(id.index()) {
                *slot = None;
            }
        }
    }

    fn bytes_per_series(&self) -> usize {
        let members: usize = self.members.iter().map(|member| member.bytes_per_series()).sum();
        members + size_of::<Votes>() + (self.members.len() + 1) * size_of::<Calibrator>()
    }

    fn save(&self, id: SeriesId, out: &mut SnapshotWriter) {
        let fresh;
        let votes = match self.get(id) {
            Some(votes) => votes,
            None => {
                fresh = self.new_votes();
                &fresh
            }
        };
        out.i64(votes.last.as_nanos());
        out.u64(votes.warm);
        votes.votes.save(out);
        votes.members.iter().for_each(|member| member.save(out));
        for member in &self.members {
            let mut state = SnapshotWriter::new();
            member.save(id, &mut state);
            out.bytes(&state.finish());
        }
    }

    fn load(&mut self, id: SeriesId, from: &mut SnapshotReader<'_>) -> Result<()> {
        let mut votes = self.new_votes();
        votes.last = Timestamp::from_nanos(from.i64()?);
        votes.warm = from.u64()?;
        if votes.warm.checked_shr(self.members.len() as u32).unwrap_or(0) != 0 {
            return Err(saved::invalid("warm members", votes.warm));
        }
        votes.votes.load(from)?;
        for member in &mut votes.members {
            member.load(from)?;
        }
        let mut before = Vec::new();
        for m in 0..self.members.len() {
            let mut own = SnapshotWriter::new();
            self.members[m].save(id, &mut own);
            before.push(own.finish());
            let loaded = from.bytes().map_err(Error::from).and_then(|state| {
                let mut reader = SnapshotReader::new(state);
                self.members[m].load(id, &mut reader)?;
                Ok(reader.end()?)
            });
            if let Err(error) = loaded {
                // What was loaded so far goes back.
                for (member, state) in self.members.iter_mut().zip(&before) {
                    member.load(id, &mut SnapshotReader::new(state))?;
                }
                return Err(error);
            }
        }
        if id.index() >= self.series.len() {
            self.series.resize_with(id.index() + 1, || None);
        }
        self.series[id.index()] = Some(Box::new(votes));
        Ok(())
    }
}

/// Ranges of rows in which no series comes twice.
fn parts(batch: &SampleBatch<'_>) -> Vec<std::ops::Range<usize>> {
    let mut parts = Vec::new();
    let mut seen = std::collections::HashSet::new();
    let mut start = 0;
    for (row, id) in batch.ids().iter().enumerate() {
        if !seen.insert(*id) {
            parts.push(start..row);
            start = row;
            seen.clear();
            seen.insert(*id);
        }
    }
    parts.push(start..batch.len());
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        PerSeries,
        testing::{Noise, check_bank_alone},
        tier1::{EwmaConfig, RobustConfig},
        tier2::SurpriseConfig,
    };

    fn members() -> Vec<Box<dyn DetectorBank>> {
        vec![
            Box::new(EwmaConfig::default().build_bank().unwrap()),
            Box::new(RobustConfig::default().build_bank().unwrap()),
            Box::new(PerSeries::new(Tier::Two, 10_240, || {
                SurpriseConfig::default().build().unwrap()
            })),
        ]
    }

    #[test]
    fn keeps_the_contract_of_a_bank() {
        for vote in [Vote::Mean, Vote::Any, Vote::Half, Vote::All] {
            let config = EnsembleConfig { vote, ..EnsembleConfig::default() };
            check_bank_alone(|| config.clone().build(members()).unwrap());
        }
    }

    #[test]
    fn votes_by_hand() {
        let p = [0.01, 0.1, 1.0];
        for (vote, wanted) in
            [(Vote::Mean, 1.0), (Vote::Any, 2.0), (Vote::Half, 1.0), (Vote::All, 0.0)]
        {
            assert!((vote.score(&mut p.clone()) - wanted).abs() < 1e-12, "{vote:?}");
        }
    }

    #[test]
    fn the_knob_means_the_same_for_dependent_members() {
        let mut noise = Noise::new(5);
        let n = 40_000;
        let ids = vec![SeriesId(0); n];
        let times: Vec<_> = (0..n as i64).map(Timestamp::from_secs).collect();
        let values: Vec<f64> = (0..n).map(|_| 10.0 + noise.normal()).collect();
        for vote in [Vote::Mean, Vote::All] {
            let config = EnsembleConfig { vote, false_positive_rate: 0.01, ..Default::default() };
            let mut ensemble = config.build(members().drain(..2).collect()).unwrap();
            let (mut scores, mut flagged) = (vec![0.0; n], Vec::new());
            let batch = SampleBatch::new(&ids, &times, &values).unwrap();
            let tally = ensemble.update(&batch, &mut scores, &mut flagged).unwrap();
            let share = tally.flagged as f64 / tally.scored as f64;
            assert!((share / 0.01 - 1.0).abs() < 0.3, "{vote:?}: {share}");
        }
    }
}
