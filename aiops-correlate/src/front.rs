//! Stage 2c: fronts, the moments at which very much begins at once.
//!
//! Where everything depends on everything, relations cannot tell two troubles apart that overlap: a
//! new alert always lies near an old one. Time can. Trouble that spreads raises its alerts at a rate
//! that changes slowly; when a dozen begin within seconds, several times faster than the half minute
//! before led to expect, that is a second root, and what begins from there on belongs to it.

use aiops_core::Timestamp;
use rustc_hash::FxHashSet;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::time::Duration;

/// When onsets are a front.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FrontConfig {
    /// At least this many begin within `within`. Default 12; 0 for no fronts.
    pub onsets: usize,
    /// Default 4 s.
    pub within: Duration,
    /// And at least this many times as many as the time before led to expect. Default 5.
    pub ratio: f64,
    /// That time. Default 30 s.
    pub before: Duration,
    /// Two fronts are at least this far apart: one burst is one front. Default 75 s.
    pub apart: Duration,
    /// An alert whose end nobody reports and that was silent for this long counts as beginning anew
    /// when it is heard again. Default 2 minutes.
    pub stale: Duration,
}

impl Default for FrontConfig {
    /// Chosen on the first part of three sets of recorded faults, replayed with 1 to 6 at a time.
    fn default() -> Self {
        FrontConfig {
            onsets: 12,
            within: Duration::from_secs(4),
            ratio: 5.0,
            before: Duration::from_secs(30),
            apart: Duration::from_secs(75),
            stale: Duration::from_secs(120),
        }
    }
}

/// A moment at which very much began at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Front {
    /// The first onset of it.
    pub(crate) at: Timestamp,
    /// The services that began, and those near them.
    #[serde(serialize_with = "crate::snapshot::sorted_set")]
    pub(crate) services: FxHashSet<u32>,
}

/// Finds fronts among onsets, in the order in which they arrive.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Fronts {
    config: FrontConfig,
    /// Onsets within the last moments, and those of the time before.
    fast: VecDeque<(Timestamp, u32)>,
    slow: VecDeque<Timestamp>,
    known: VecDeque<Front>,
}

/// Fronts that are remembered.
const KEEP: usize = 64;

impl Fronts {
    pub(crate) fn new(config: FrontConfig) -> Self {
        Fronts { config, ..Fronts::default() }
    }

    /// A firing begins at `onset`, or seems to. If that makes a front, the firings it is made of.
    ///
    /// Late onsets make none: whoever comes minutes late is no part of a rush.
    pub(crate) fn begins(&mut self, onset: Timestamp, firing: u32) -> Option<Vec<u32>> {
        let config = &self.config;
        let latest = self.fast.back().map_or(Timestamp::MIN, |(at, _)| *at);
        if config.onsets == 0 || onset + config.within < latest {
            return None;
        }
        let place = self.fast.partition_point(|(at, _)| *at <= onset);
        self.fast.insert(place, (onset, firing));
        let latest = latest.max(onset);
        while self.fast.front().is_some_and(|(at, _)| *at + config.within <= latest) {
            self.slow.extend(self.fast.pop_front().map(|(at, _)| at));
        }
        let from = latest - config.within - config.before;
        while self.slow.front().is_some_and(|at| *at < from) {
            self.slow.pop_front();
        }
        let expected =
            self.slow.len() as f64 * config.within.as_secs_f64() / config.before.as_secs_f64();
        let many = self.fast.len() as f64 >= config.ratio * expected.max(0.5);
        let begins = self.fast.front()?.0;
        let apart = self.known.back().is_none_or(|front| front.at + config.apart < begins);
        if self.fast.len() < config.onsets || !many || !apart {
            return None;
        }
        self.known.push_back(Front { at: begins, services: FxHashSet::default() });
        if self.known.len() > KEEP {
            self.known.pop_front();
        }
        // What began first is a front of its own if nothing was going on before.
        Some(self.fast.iter().map(|(_, firing)| *firing).collect())
    }

    /// The front that was found last.
    pub(crate) fn last_mut(&mut self) -> Option<&mut Front> {
        self.known.back_mut()
    }

    /// Whether a front of `service` lies between two onsets, the later one included.
    pub(crate) fn between(&self, earlier: Timestamp, later: Timestamp, service: u32) -> bool {
        let newest_first = self.known.iter().rev().skip_while(|front| front.at > later);
        let mut fronts = newest_first.take_while(|front| front.at > earlier);
        fronts.any(|front| front.services.contains(&service))
    }

    /// Whether an alert of `service` that was last heard at `last` begins anew at `now`.
    pub(crate) fn is_anew(&self, last: Timestamp, now: Timestamp, service: u32) -> bool {
        last + self.config.stale <= now && self.between(last, now, service)
    }

    /// Whether it was silent long enough to count as an onset.
    pub(crate) fn is_stale(&self, last: Timestamp, now: Timestamp) -> bool {
        self.config.onsets > 0 && last + self.config.stale <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milli: i64) -> Timestamp {
        Timestamp::from_millis(1_000_000 + milli)
    }

    #[test]
    fn a_dozen_at_once_after_quiet_is_a_front_and_a_steady_stream_is_none() {
        let mut fronts = Fronts::new(FrontConfig::default());
        let steady = (0..400).filter_map(|n| fronts.begins(at(i64::from(n) * 250), n)).count();
        assert_eq!(steady, 1, "four a second: the beginning is a front, what follows is not");
        let mut found = None;
        for n in 0..100 {
            found = found.or(fronts.begins(at(120_000 + i64::from(n) * 20), 1_000 + n));
        }
        let firings = found.expect("fifty a second after twenty quiet seconds");
        assert!(firings.contains(&1_000) && firings.len() >= 12, "{firings:?}");
        fronts.last_mut().unwrap().services.insert(7);
        assert!(fronts.between(at(119_000), at(121_000), 7));
        assert!(
            !fronts.between(at(120_500), at(121_000), 7) && !fronts.between(at(0), at(150_000), 8)
        );
    }

    #[test]
    fn late_onsets_make_no_front() {
        let mut fronts = Fronts::new(FrontConfig::default());
        assert_eq!(fronts.begins(at(600_000), 0), None);
        assert!((1..50).all(|n| fronts.begins(at(i64::from(n)), n).is_none()));
    }
}
