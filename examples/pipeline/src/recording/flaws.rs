//! What was wrong with parts of a recording: counted by kind, with the first of each in words.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

/// A kind of flaw, and what became of the part that had it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Flaw {
    /// A cell is neither empty nor a number. Treated as no sample.
    NotANumber,
    /// A cell is NaN or infinite. Treated as no sample.
    NotFinite,
    /// A row has another number of cells than the header. Left out.
    RowWidth,
    /// A row has no readable time. Left out.
    RowTime,
    /// A row goes back in time against the rows around it. Left out; of rows that contradict each
    /// other the fewest are.
    RowOutOfOrder,
    /// A row has the time of the one before it, or falls into the same step. Left out; the first one
    /// counts.
    RowDuplicated,
    /// A row is hours or years away from all others. Left out.
    RowFarOff,
    /// Between the first row and the last, the grid has a step without a row. Read as a gap.
    RowMissing,
    /// A line or entry cannot be read. Left out.
    Unreadable,
    /// A series has name and labels of an earlier one. Left out with its column.
    SeriesDuplicated,
    /// An alert lies outside the recorded time, or a change comes after it. Left out.
    OutsideRecording,
    /// A service is not in the topology. Kept: such a service has no neighbours.
    UnknownService,
}

impl Flaw {
    /// The flaw and its consequence in a few words.
    pub const fn sentence(self) -> &'static str {
        match self {
            Flaw::NotANumber => "cells are not numbers; read as gaps",
            Flaw::NotFinite => "cells are NaN or infinite; read as gaps",
            Flaw::RowWidth => "rows have the wrong number of cells; left out",
            Flaw::RowTime => "rows have no readable time; left out",
            Flaw::RowOutOfOrder => "rows go back in time; left out",
            Flaw::RowDuplicated => "rows repeat a time; the first one counts",
            Flaw::RowFarOff => "rows are far away in time from all others; left out",
            Flaw::RowMissing => "rows are missing on the grid of time; read as gaps",
            Flaw::OutsideRecording => "alerts or changes lie outside the recorded time; left out",
            Flaw::Unreadable => "entries cannot be read; left out",
            Flaw::SeriesDuplicated => "series occur twice; the first one counts",
            Flaw::UnknownService => {
                "series, alerts or changes name a service that is not in the topology; \
                 kept, as a service without neighbours"
            }
        }
    }

    /// Whether what had the flaw was left out.
    pub const fn is_rejection(self) -> bool {
        !matches!(self, Flaw::UnknownService | Flaw::RowMissing)
    }
}

/// How often a flaw occurred.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FlawCount {
    /// How often.
    pub count: u64,
    /// The first occurrence, in words.
    pub first: String,
}

/// All flaws of a recording.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(transparent)]
pub struct Flaws(BTreeMap<Flaw, FlawCount>);

impl Flaws {
    /// Counts one; `first` describes it and is asked only the first time.
    pub fn add(&mut self, flaw: Flaw, first: impl FnOnce() -> String) {
        self.add_many(flaw, 1, first);
    }

    /// Counts several at once; none is none.
    pub fn add_many(&mut self, flaw: Flaw, count: u64, first: impl FnOnce() -> String) {
        if count > 0 {
            let entry = self.0.entry(flaw);
            entry.or_insert_with(|| FlawCount { count: 0, first: first() }).count += count;
        }
    }

    /// How often a flaw occurred.
    pub fn count(&self, flaw: Flaw) -> u64 {
        self.0.get(&flaw).map_or(0, |found| found.count)
    }

    /// Every flaw that occurred, in the order of declaration.
    pub fn iter(&self) -> impl Iterator<Item = (Flaw, &FlawCount)> {
        self.0.iter().map(|(flaw, count)| (*flaw, count))
    }

    /// Whether there was none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Flaws {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (flaw, FlawCount { count, first })) in self.iter().enumerate() {
            let separator = if i == 0 { "" } else { "; " };
            write!(f, "{separator}{count} {} (first: {first})", flaw.sentence())?;
        }
        Ok(())
    }
}
