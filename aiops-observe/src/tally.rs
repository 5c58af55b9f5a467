//! What became of the parts of a body: accepted, or rejected for a typed and counted reason.

use aiops_core::telemetry;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::AddAssign;

/// Why one sample, alert or event was not taken. The rest of its body was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Rejection {
    /// It does not have the form that the format asks for.
    Malformed,
    /// A name, label or field that must be there is missing or empty.
    MissingField,
    /// Text is not UTF-8.
    NotUtf8,
    /// A label name occurs twice.
    DuplicateLabel,
    /// More labels than the limit.
    TooManyLabels,
    /// A label name or value longer than the limit.
    LabelTooLong,
    /// A time that cannot be read or represented.
    BadTime,
    /// A value that cannot be read.
    BadValue,
    /// A kind of data that the decoder leaves out, such as native histograms and exemplars.
    Unsupported,
    /// The sink does not take this kind of data.
    NotWanted,
    /// The tenant has as many series as it may have.
    TenantLimit,
    /// All tenants together have as many series as fit.
    SeriesLimit,
    /// Two different series have the same 64-bit hash; the later one is refused.
    HashCollision,
    /// A point of a counter that is not newer than the one before it.
    Late,
    /// A time so far ahead of ours that it would make all later points late.
    TooFarAhead,
    /// Left out by the sender, which says how many there were.
    CutBySender,
}

impl Rejection {
    /// Every reason, in the order of declaration.
    pub const ALL: [Rejection; 16] = [
        Rejection::Malformed,
        Rejection::MissingField,
        Rejection::NotUtf8,
        Rejection::DuplicateLabel,
        Rejection::TooManyLabels,
        Rejection::LabelTooLong,
        Rejection::BadTime,
        Rejection::BadValue,
        Rejection::Unsupported,
        Rejection::NotWanted,
        Rejection::TenantLimit,
        Rejection::SeriesLimit,
        Rejection::HashCollision,
        Rejection::Late,
        Rejection::TooFarAhead,
        Rejection::CutBySender,
    ];

    /// The name as it stands in JSON and in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Rejection::Malformed => "malformed",
            Rejection::MissingField => "missing_field",
            Rejection::NotUtf8 => "not_utf8",
            Rejection::DuplicateLabel => "duplicate_label",
            Rejection::TooManyLabels => "too_many_labels",
            Rejection::LabelTooLong => "label_too_long",
            Rejection::BadTime => "bad_time",
            Rejection::BadValue => "bad_value",
            Rejection::Unsupported => "unsupported",
            Rejection::NotWanted => "not_wanted",
            Rejection::TenantLimit => "tenant_limit",
            Rejection::SeriesLimit => "series_limit",
            Rejection::HashCollision => "hash_collision",
            Rejection::Late => "late",
            Rejection::TooFarAhead => "too_far_ahead",
            Rejection::CutBySender => "cut_by_sender",
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What became of the parts of one or more bodies. Nothing is lost: accepted and rejected add up to
/// what the bodies held.
///
/// ```
/// use aiops_observe::{Rejection, Tally};
/// let mut tally = Tally::default();
/// tally.accept(3);
/// tally.reject(Rejection::Late, 2);
/// assert_eq!((tally.accepted(), tally.rejected(), tally.items()), (3, 2, 5));
/// assert_eq!(tally.to_string(), "3 accepted, 2 rejected (2 late)");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tally {
    accepted: u64,
    rejected: [u64; Rejection::ALL.len()],
}

impl Tally {
    /// Counts `items` that the sink took.
    #[inline]
    pub fn accept(&mut self, items: usize) {
        self.accepted += items as u64;
    }

    /// Counts `items` that were not taken.
    #[inline]
    pub fn reject(&mut self, reason: Rejection, items: usize) {
        self.rejected[reason as usize] += items as u64;
    }

    /// Counts `items` by what a sink said of them.
    #[inline]
    pub fn count(&mut self, said: Result<(), Rejection>, items: usize) {
        match said {
            Ok(()) => self.accept(items),
            Err(reason) => self.reject(reason, items),
        }
    }

    /// How many were taken.
    pub fn accepted(&self) -> u64 {
        self.accepted
    }

    /// How many were not taken, for any reason.
    pub fn rejected(&self) -> u64 {
        self.rejected.iter().sum()
    }

    /// How many were not taken for this reason.
    pub fn rejected_as(&self, reason: Rejection) -> u64 {
        self.rejected[reason as usize]
    }

    /// The reasons that occurred, with their counts, in the order of declaration.
    pub fn reasons(&self) -> impl Iterator<Item = (Rejection, u64)> {
        let counted = Rejection::ALL.into_iter().map(|reason| (reason, self.rejected_as(reason)));
        counted.filter(|&(_, count)| count > 0)
    }

    /// Adds the counts to what the process reports of itself (feature `metrics`); once a body.
    /// [`Intake`](crate::Intake) does so for the bodies that it reads.
    pub fn report(&self) {
        telemetry::count("aiops_observe_items_total", "state", "accepted", self.accepted);
        for (reason, count) in self.reasons() {
            telemetry::count("aiops_observe_items_total", "state", reason.name(), count);
        }
    }

    /// How many there were.
    pub fn items(&self) -> u64 {
        self.accepted + self.rejected()
    }
}

impl AddAssign<&Tally> for Tally {
    fn add_assign(&mut self, other: &Tally) {
        self.accepted += other.accepted;
        for (mine, theirs) in self.rejected.iter_mut().zip(other.rejected) {
            *mine += theirs;
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} accepted, {} rejected", self.accepted, self.rejected())?;
        let mut open = " (";
        for (reason, count) in self.reasons() {
            write!(f, "{open}{count} {reason}")?;
            open = ", ";
        }
        if open == ", " { f.write_str(")") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_listed_at_its_place() {
        for (place, reason) in Rejection::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, place, "{reason} indexes its own count");
            assert_eq!(serde_json::to_string(&reason).unwrap(), format!("{:?}", reason.name()));
        }
    }

    #[test]
    fn tallies_of_several_bodies_add_up() {
        let mut a = Tally::default();
        a.accept(1);
        a.reject(Rejection::Late, 1);
        let mut b = a.clone();
        b.reject(Rejection::BadTime, 2);
        a += &b;
        assert_eq!((a.accepted(), a.rejected()), (2, 4));
        assert_eq!(
            a.reasons().collect::<Vec<_>>(),
            [(Rejection::BadTime, 2), (Rejection::Late, 2)]
        );
        assert_eq!(Tally::default().to_string(), "0 accepted, 0 rejected");
    }
}
