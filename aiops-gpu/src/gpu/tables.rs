//! A model as a device reads it: the same packed tables as on the processor, and its numbers in `f32`.

use crate::{
    Error, LstmWeights, Model, Result, RunForest, Votes, cpu::check_forest, rule::Rule, simd::pack,
};

/// The longest half-life: beyond it a step of the moments is lost in the rounding of `f32`.
const LONGEST_HALF_LIFE: f64 = 1e5;

/// A model, ready to be sent.
#[derive(Debug, Clone, Default)]
pub(super) struct Tables {
    /// Hidden units; 0 without an LSTM.
    pub(super) hidden: u32,
    pub(super) weights: Vec<f32>,
    pub(super) readout: Vec<f32>,
    pub(super) bias: f32,
    pub(super) forest: Option<Forest>,
    pub(super) alpha: f32,
    pub(super) warm_up: u32,
    pub(super) margin: f32,
    /// Weights of statistics, LSTM and forest, where they are there.
    pub(super) vote: [f32; 3],
    pub(super) per_weight: f32,
    /// -ln of the rate at which a model votes.
    pub(super) enough: f32,
    /// A bit for each set of votes that makes a flag.
    pub(super) flagging: u32,
}

/// A forest in three tables.
#[derive(Debug, Clone)]
pub(super) struct Forest {
    /// Cut, then child and feature in one word.
    pub(super) nodes: Vec<u32>,
    pub(super) paths: Vec<f32>,
    /// Roots, thresholds of ranks, surprise of each rank.
    pub(super) tables: Vec<u32>,
    pub(super) trees: u32,
    pub(super) depth: u32,
    pub(super) usual: u32,
    /// Below this sum of paths the tail begins.
    pub(super) start_sum: f32,
    pub(super) start_score: f32,
    pub(super) start_surprise: f32,
    pub(super) per_path: f32,
    pub(super) per_excess: f32,
}

impl Tables {
    pub(super) fn of(model: &Model) -> Result<Self> {
        let rule = model.check()?;
        if model.rule.half_life > LONGEST_HALF_LIFE {
            let reason = format!("at most {LONGEST_HALF_LIFE} on a device");
            return Err(Error::config("half_life", reason));
        }
        let mut tables = Tables {
            alpha: rule.alpha as f32,
            warm_up: rule.warm_up,
            margin: rule.margin as f32,
            enough: -rule.rate.ln() as f32,
            ..Tables::default()
        };
        if let Some(weights) = &model.lstm {
            tables.lstm(weights);
        }
        tables.forest = model.forest.as_ref().map(Forest::of).transpose()?;
        tables.votes(&rule);
        Ok(tables)
    }

    fn lstm(&mut self, weights: &LstmWeights) {
        self.hidden = weights.hidden() as u32;
        self.weights = pack(weights, 1.0);
        self.readout = weights.readout().to_vec();
        self.bias = weights.readout_bias();
    }

    /// Decided here for every set of votes, in the arithmetic of `Rule::judge`, so that no rounding of a
    /// device decides a tie.
    fn votes(&mut self, rule: &Rule) {
        let there = [true, self.hidden > 0, self.forest.is_some()];
        let mut weight = 0.0;
        for (model, there) in there.into_iter().enumerate() {
            if there {
                weight += rule.weights[model];
                self.vote[model] = rule.weights[model] as f32;
            }
        }
        self.per_weight = (1.0 / weight) as f32;
        for votes in 0..8_u32 {
            let mut voted = 0.0;
            for (model, there) in there.into_iter().enumerate() {
                if there && votes >> model & 1 == 1 {
                    voted += rule.weights[model];
                }
            }
            if voted > 0.0 && voted >= rule.quorum * weight {
                self.flagging |= 1 << votes;
            }
        }
    }

    /// The models that vote.
    pub(super) fn models(&self) -> Votes {
        let lstm = if self.hidden > 0 { Votes::LSTM } else { Votes::NONE };
        let forest = if self.forest.is_some() { Votes::FOREST } else { Votes::NONE };
        Votes::STATISTICS.and(lstm).and(forest)
    }
}

impl Forest {
    /// No forest: numbers that nothing reads.
    pub(super) fn none() -> Self {
        Forest {
            nodes: Vec::new(),
            paths: Vec::new(),
            tables: Vec::new(),
            trees: 0,
            depth: 0,
            usual: 0,
            start_sum: 0.0,
            start_score: 0.0,
            start_surprise: 0.0,
            per_path: 0.0,
            per_excess: 0.0,
        }
    }

    fn of(forest: &RunForest) -> Result<Self> {
        let packed = forest.packed();
        check_forest(packed)?;
        if packed.nodes.len() >= 1 << 28 {
            return Err(Error::weights("a forest of more than 2^28 nodes"));
        }
        let run = crate::RUN as u32;
        let mut nodes = Vec::with_capacity(2 * packed.nodes.len());
        for node in &packed.nodes {
            // Nothing reaches the largest number, as nothing reaches infinity.
            nodes.push(node.cut.min(f32::MAX).to_bits());
            nodes.push(node.child * run + node.feature);
        }
        let (usual, start, tail, excess) = forest.ranks();
        let trees = packed.roots.len();
        let score = |sum: f32| (-(f64::from(sum) / trees as f64) / packed.normal).exp2();
        let mut tables = packed.roots.clone();
        tables.extend(usual.iter().map(|usual| first_sum(&score, *usual).to_bits()));
        let n = usual.len();
        // Falls from 1 to the share of the tail, and stays there.
        let surprise = |below: usize| -((n - below) as f64 / n as f64).clamp(tail, 1.0).ln();
        tables.extend((0..=n).map(|below| (surprise(below) as f32).to_bits()));
        Ok(Forest {
            nodes,
            paths: packed.paths.clone(),
            tables,
            trees: trees as u32,
            depth: packed.depth,
            usual: n as u32,
            start_sum: first_sum(&score, start),
            start_score: start as f32,
            start_surprise: -tail.ln() as f32,
            per_path: (std::f64::consts::LN_2 / (trees as f64 * packed.normal)) as f32,
            per_excess: (1.0 / excess) as f32,
        })
    }
}

/// The least sum of paths whose score is not above `usual`: scores fall as sums rise, so that a comparison
/// of sums, exact on a device, is one of scores.
fn first_sum(score: &dyn Fn(f32) -> f64, usual: f64) -> f32 {
    // Sums are not negative, and such floats ascend as their bits do.
    let (mut low, mut high) = (0_u32, f32::INFINITY.to_bits());
    while low < high {
        let middle = low + (high - low) / 2;
        if score(f32::from_bits(middle)) <= usual { high = middle } else { low = middle + 1 }
    }
    f32::from_bits(low)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::small_model;

    #[test]
    fn ranks_by_sums_are_ranks_by_scores() {
        let model = small_model();
        let forest = model.forest.as_ref().unwrap();
        let tables = Forest::of(forest).unwrap();
        let (usual, start, ..) = forest.ranks();
        let packed = forest.packed();
        let trees = packed.roots.len();
        for step in 0..20_000 {
            let sum = step as f32 * 0.01;
            let score = (-(f64::from(sum) / trees as f64) / packed.normal).exp2();
            let thresholds = &tables.tables[trees..trees + usual.len()];
            let rank = thresholds.partition_point(|t| sum < f32::from_bits(*t));
            assert_eq!(rank, usual.partition_point(|usual| *usual < score), "a sum of {sum}");
            assert_eq!(sum < tables.start_sum, score > start, "a sum of {sum}");
        }
    }

    #[test]
    fn every_set_of_votes_is_decided_as_the_rule_does() {
        let tables = Tables::of(&small_model()).unwrap();
        // Weights 1, 2, 1 and a quorum of a half: the LSTM alone, or any two.
        assert_eq!(tables.flagging, 0b1110_1100);
        let long = crate::RuleConfig { half_life: 1e6, ..Default::default() };
        assert!(Tables::of(&Model::statistics(long)).is_err());
    }
}
