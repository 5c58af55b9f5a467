//! Who may use the costly tiers: seats, given to the most critical series first.

use std::collections::BTreeSet;

use aiops_core::{MetricClass, SeriesId};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The share of series that each costly tier may serve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Budget {
    /// Share of all series that tier 2 may serve, 0 to 1. Default 0.25 (a guess: at a microsecond a
    /// sample it costs about what tier 1 costs for all).
    pub two: f64,
    /// Share of all series that tier 3 may serve, 0 to 1. Default 0.05: the usual 95 to 5.
    pub three: f64,
    /// The load, as told to [`Router::set_load`](super::Router::set_load), above which seats are
    /// taken away. Default 1: batches take longer than they arrive.
    pub high_load: f64,
    /// The load below which seats are given back. Default 0.7.
    pub low_load: f64,
}

impl Default for Budget {
    fn default() -> Self {
        Budget { two: 0.25, three: 0.05, high_load: 1.0, low_load: 0.7 }
    }
}

impl Budget {
    /// Every series in every tier: for a few hundred series.
    pub const UNLIMITED: Budget = Budget { two: 1.0, three: 1.0, high_load: 1.0, low_load: 0.7 };

    pub(super) fn check(&self) -> Result<()> {
        for (field, share) in [("budget.two", self.two), ("budget.three", self.three)] {
            if !(0.0..=1.0).contains(&share) {
                return Err(Error::config(field, format!("must be 0 to 1, got {share}")));
            }
        }
        if !(0.0 < self.low_load && self.low_load < self.high_load && self.high_load.is_finite()) {
            let (low, high) = (self.low_load, self.high_load);
            let reason = format!("must be above low_load, which is above 0; got {high} and {low}");
            return Err(Error::config("budget.high_load", reason));
        }
        Ok(())
    }
}

/// The seats of one tier.
///
/// Within a class, who came first (the smaller id) sits first, so that seats do not depend on the
/// order of batches. A seat changes hands only upwards: a more critical series takes the seat of the
/// latest of the least critical ones.
#[derive(Debug, Clone)]
pub(super) struct Seats {
    share: f64,
    /// Share of the seats that an overload leaves.
    left: f64,
    seated: [BTreeSet<SeriesId>; 3],
    waiting: [BTreeSet<SeriesId>; 3],
}

impl Seats {
    pub(super) fn new(share: f64) -> Self {
        Seats { share, left: 1.0, seated: Default::default(), waiting: Default::default() }
    }

    /// Lets a series wait for a seat; [`settle`](Self::settle) gives it one.
    pub(super) fn join(&mut self, id: SeriesId, class: MetricClass) {
        self.leave(id);
        self.waiting[rank(class)].insert(id);
    }

    pub(super) fn leave(&mut self, id: SeriesId) {
        for sets in [&mut self.seated, &mut self.waiting] {
            sets.iter_mut().for_each(|set| _ = set.remove(&id));
        }
    }

    pub(super) fn has(&self, id: SeriesId) -> bool {
        self.seated.iter().any(|set| set.contains(&id))
    }

    /// Whether an overload has taken seats away.
    pub(super) fn is_cut(&self) -> bool {
        self.left < 1.0
    }

    /// Halves the seats, down to none below a sixty-fourth.
    pub(super) fn cut(&mut self) {
        self.left = if self.left > 1.0 / 64.0 { self.left / 2.0 } else { 0.0 };
    }

    /// Doubles the seats until all are back.
    pub(super) fn grow(&mut self) {
        self.left = (self.left * 2.0).clamp(1.0 / 64.0, 1.0);
    }

    /// Whether no seats are left to take away.
    pub(super) fn is_empty(&self) -> bool {
        self.left == 0.0 || self.share == 0.0
    }

    /// Seats as many of those who wait as there is room for among `series`, and returns whose seat
    /// was taken and whose was given.
    pub(super) fn settle(&mut self, series: usize) -> (Vec<SeriesId>, Vec<SeriesId>) {
        let room = (self.share * self.left * series as f64).ceil() as usize;
        let (mut lost, mut won) = (Vec::new(), Vec::new());
        let mut taken: usize = self.seated.iter().map(BTreeSet::len).sum();
        while taken > room {
            lost.extend(self.unseat(3));
            taken -= 1;
        }
        for class in (0..3).rev() {
            while let Some(id) = self.waiting[class].first().copied() {
                if taken >= room {
                    match self.unseat(class) {
                        Some(id) => lost.push(id),
                        None => break,
                    }
                } else {
                    taken += 1;
                }
                self.waiting[class].remove(&id);
                self.seated[class].insert(id);
                won.push(id);
            }
        }
        (lost, won)
    }

    /// Takes the seat of the latest of the least critical series below `class`.
    fn unseat(&mut self, class: usize) -> Option<SeriesId> {
        for below in 0..class {
            if let Some(id) = self.seated[below].pop_last() {
                self.waiting[below].insert(id);
                return Some(id);
            }
        }
        None
    }
}

fn rank(class: MetricClass) -> usize {
    match class {
        MetricClass::Infrastructure => 0,
        MetricClass::Business => 1,
        MetricClass::Critical => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use MetricClass::{Business, Critical, Infrastructure};

    fn seats_of(classes: &[MetricClass], share: f64) -> Seats {
        let mut seats = Seats::new(share);
        for (i, class) in classes.iter().enumerate() {
            seats.join(SeriesId(i as u32), *class);
            seats.settle(i + 1);
        }
        seats
    }

    fn seated(seats: &Seats) -> Vec<u32> {
        (0..100).filter(|i| seats.has(SeriesId(*i))).collect()
    }

    #[test]
    fn the_critical_sit_first_whenever_they_come() {
        let classes = [Infrastructure, Infrastructure, Business, Critical, Business, Critical];
        let mut seats = seats_of(&classes, 0.5);
        assert_eq!(seated(&seats), [2, 3, 5]);
        seats.leave(SeriesId(3));
        seats.settle(6);
        assert_eq!(seated(&seats), [2, 4, 5], "the next in line takes a free seat");
    }

    #[test]
    fn an_overload_takes_the_least_critical_first_and_gives_back() {
        let mut classes = vec![Infrastructure; 6];
        classes.extend([Critical, Business]);
        let mut seats = seats_of(&classes, 1.0);
        seats.cut();
        let (lost, _) = seats.settle(8);
        assert_eq!(lost, [5, 4, 3, 2].map(SeriesId));
        seats.cut();
        seats.settle(8);
        assert_eq!(seated(&seats), [6, 7]);
        seats.cut();
        seats.settle(8);
        assert_eq!(seated(&seats), [6], "the critical one last");
        (0..5).for_each(|_| seats.grow());
        let (lost, won) = seats.settle(8);
        assert_eq!((lost.len(), won.len()), (0, 7));
        assert!(!seats.is_cut());
    }

    #[test]
    fn overload_by_overload_half_the_seats_then_none_and_back_the_same_way() {
        let mut seats = seats_of(&[Infrastructure; 64], 1.0);
        let left = |seats: &mut Seats| {
            seats.settle(64);
            seated(seats).len()
        };
        for expected in [32, 16, 8, 4, 2, 1, 0] {
            assert!(!seats.is_empty());
            seats.cut();
            assert_eq!(left(&mut seats), expected);
        }
        assert!(seats.is_empty());
        for expected in [1, 2, 4, 8, 16, 32, 64] {
            assert!(seats.is_cut());
            seats.grow();
            assert_eq!(left(&mut seats), expected);
        }
    }

    #[test]
    fn shares_and_loads_out_of_range_are_refused() {
        let budget = Budget::default();
        let bad = [
            Budget { two: 1.1, ..budget },
            Budget { three: f64::NAN, ..budget },
            Budget { low_load: 0.0, ..budget },
            Budget { low_load: 1.0, ..budget },
            Budget { low_load: f64::NAN, ..budget },
            Budget { high_load: f64::INFINITY, ..budget },
        ];
        for budget in bad {
            assert!(matches!(budget.check(), Err(Error::InvalidConfig { .. })), "{budget:?}");
        }
        Budget::UNLIMITED.check().unwrap();
    }
}
