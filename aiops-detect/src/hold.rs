//! Memory for what is rare: how long a deviation stays in the score.

use std::collections::VecDeque;

use aiops_core::{SnapshotReader, SnapshotWriter};

use crate::{Result, saved};

/// Holds each peak for a while that grows with the time since such a peak was last seen.
///
/// A single bad minute of a series that has one every hour is over when it is over; the first in a
/// week is worth a look for longer. After a peak `v` the held value falls in a straight line to zero
/// within `max(least, share · g)` samples, where `g` is the number of samples since a value of at
/// least `alike · v` was last seen.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Hold {
    rule: HoldRule,
    held: f64,
    fall: f64,
    /// Samples so far.
    now: u64,
    /// Earlier values that no later one exceeds by a tenth, and when they were: falling, bounded.
    heights: VecDeque<(u64, f64)>,
}

/// What stays the same.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct HoldRule {
    pub(crate) least: f64,
    pub(crate) share: f64,
    pub(crate) alike: f64,
}

/// Values this far below the highest are forgotten, which bounds the heights to about 150.
const NEGLIGIBLE: f64 = 1e-6;

impl Hold {
    pub(crate) fn new(rule: HoldRule) -> Self {
        Hold { rule, held: 0.0, fall: 0.0, now: 0, heights: VecDeque::new() }
    }

    /// The held value if `value` came now.
    pub(crate) fn peek(&self, value: f64) -> f64 {
        value.max(self.held - self.fall).max(0.0)
    }

    /// Takes a value in and returns the held one.
    pub(crate) fn push(&mut self, value: f64) -> f64 {
        self.held = (self.held - self.fall).max(0.0);
        if value >= self.held {
            let alike = self.rule.alike * value;
            let seen = self.heights.partition_point(|(_, height)| *height >= alike);
            let since = match seen.checked_sub(1) {
                Some(last) => self.now - self.heights[last].0,
                None => self.now,
            };
            self.held = value;
            self.fall = value / self.rule.least.max(self.rule.share * since as f64);
        }
        if value > 0.0 {
            while self.heights.back().is_some_and(|(_, height)| *height <= 1.1 * value) {
                self.heights.pop_back();
            }
            let highest = self.heights.front().map_or(0.0, |(_, height)| *height);
            if value > NEGLIGIBLE * highest {
                self.heights.push_back((self.now, value));
            }
        }
        self.now = self.now.saturating_add(1);
        self.held
    }

    pub(crate) fn save(&self, out: &mut SnapshotWriter) {
        out.f64(self.held);
        out.f64(self.fall);
        out.u64(self.now);
        out.u64(self.heights.len() as u64);
        for (when, height) in &self.heights {
            out.u64(*when);
            out.f64(*height);
        }
    }

    pub(crate) fn load(rule: HoldRule, from: &mut SnapshotReader<'_>) -> Result<Self> {
        let mut hold = Hold::new(rule);
        hold.held = saved::not_negative(from, "held value")?;
        hold.fall = saved::not_negative(from, "fall")?;
        hold.now = from.u64()?;
        for _ in 0..from.count(16)? {
            let when = from.u64()?;
            let height = saved::not_negative(from, "height")?;
            let in_order = hold.heights.back().is_none_or(|last| last.0 < when && last.1 > height);
            if when >= hold.now || !in_order {
                return Err(saved::invalid("height", height));
            }
            hold.heights.push_back((when, height));
        }
        Ok(hold)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rare_peak_is_held_longer_than_a_usual_one() {
        let rule = HoldRule { least: 4.0, share: 0.125, alike: 0.5 };
        let mut hold = Hold::new(rule);
        let mut run = |peaks: &[usize], n: usize| -> usize {
            (0..n)
                .map(|i| hold.push(if peaks.contains(&i) { 8.0 } else { 0.0 }))
                .filter(|h| *h > 0.0)
                .count()
        };
        assert_eq!(run(&[199], 299), 25, "the first in 199: an eighth of that");
        assert_eq!(run(&[0], 100), 13, "a hundred after it: an eighth of that");
        assert_eq!(run(&[5, 15], 90), 10 + 4, "ten after one like it: the least");
    }

    #[test]
    fn memory_is_bounded() {
        let mut hold = Hold::new(HoldRule { least: 4.0, share: 0.1, alike: 0.5 });
        for i in 0..100_000 {
            hold.push(1e300 * 0.999_f64.powi(i));
        }
        assert!(hold.heights.len() < 200, "{}", hold.heights.len());
    }
}
