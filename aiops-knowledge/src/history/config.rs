//! How long history keeps what, and how much of it at once.

use super::HistoryError;
use serde::{Deserialize, Serialize};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// Settings of [`History`](super::History).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HistoryConfig {
    /// How much time a block covers, in whole seconds; 2 h, as Prometheus' head does.
    pub block: Duration,
    /// How long a block waits for stragglers after its end; 5 min (a guess).
    pub linger: Duration,
    /// Points older than this at their arrival are refused; 1 d. At most `retention.warm`, so that a
    /// block is complete when it moves to the cold shelf.
    pub late: Duration,
    /// Points further ahead of the clock than this are refused; 10 min (a guess).
    pub ahead: Duration,
    /// The width of a roll-up; 5 min, in whole seconds.
    pub rollup: Duration,
    /// Points in memory above which the largest block is sealed early; 50 million, about 1 GB.
    pub max_hot_points: usize,
    /// Points a file holds at most, but for its last series; 4 million, about 8 MB. A read of one
    /// series loads one file a block.
    pub max_file_points: usize,
    /// How long each tier keeps what.
    pub retention: Retention,
}

/// How long each tier keeps what, counted from the end of a block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Retention {
    /// Points on the local shelf; 7 d.
    pub warm: Duration,
    /// Points in all, on the cold shelf after `warm`; 30 d.
    pub raw: Duration,
    /// Roll-ups; 1 y.
    pub rollups: Duration,
}

impl Default for HistoryConfig {
    fn default() -> Self {
        HistoryConfig {
            block: 2 * HOUR,
            linger: Duration::from_secs(300),
            late: DAY,
            ahead: Duration::from_secs(600),
            rollup: Duration::from_secs(300),
            max_hot_points: 50_000_000,
            max_file_points: 4_000_000,
            retention: Retention::default(),
        }
    }
}

impl Default for Retention {
    fn default() -> Self {
        Retention { warm: 7 * DAY, raw: 30 * DAY, rollups: 365 * DAY }
    }
}

impl HistoryConfig {
    pub(super) fn check(&self) -> Result<(), HistoryError> {
        let whole = |d: Duration| d >= Duration::from_secs(1) && d.subsec_nanos() == 0;
        let Retention { warm, raw, rollups } = self.retention;
        let in_order = warm <= raw && raw <= rollups;
        let rules = [
            ("block", whole(self.block) && self.block <= DAY, "must be whole seconds, 1 s to 1 d"),
            (
                "rollup",
                whole(self.rollup) && self.rollup <= self.block,
                "must be whole seconds within a block",
            ),
            ("late", self.late <= warm, "must not exceed retention.warm"),
            ("max_hot_points", self.max_hot_points > 0, "must be above 0"),
            ("max_file_points", self.max_file_points > 0, "must be above 0"),
            ("retention", in_order, "must not shrink from warm to raw to rollups"),
        ];
        match rules.into_iter().find(|(_, holds, _)| !holds) {
            Some((field, _, rule)) => {
                Err(HistoryError::InvalidConfig { field, reason: format!("{rule}, got {self:?}") })
            }
            None => Ok(()),
        }
    }
}
