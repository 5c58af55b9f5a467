//! What two tiers say of one series, and what of it was told.

use std::time::Duration;

use aiops_core::{Anomaly, SnapshotReader, SnapshotWriter, Timestamp};

use crate::{Change, Result, saved};

/// When two tiers speak of the same, and whether a higher one may speak alone.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rule {
    pub(super) agree_within: Duration,
    pub(super) higher_alone: bool,
}

/// What one level says: where it stands, and its anomaly if it has one.
#[derive(Debug, Clone)]
pub(super) struct Says {
    pub(super) level: usize,
    pub(super) anomaly: Option<Anomaly>,
}

/// The anomaly of a series that was told last.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Told {
    /// The level that decides its end, and the onset by that level.
    level: u8,
    base_onset: Timestamp,
    /// The level that agreed, and the p-value it gave.
    with: Option<(u8, f64)>,
    /// The onset that was told; it never moves, since alert ids are made of it.
    onset: Timestamp,
    pub(super) open: bool,
}

/// Takes in a change that level `from` saw, with what tier 1 and the serving tier say now. Returns
/// what to tell, and notes it in `told`.
///
/// `higher` is the level that serves the series, the base itself when it is alone; `names` are the
/// detectors by level.
pub(super) fn weigh(
    told: &mut Option<Told>,
    from: usize,
    change: Change,
    [base, higher]: [&Says; 2],
    names: &[&'static str],
    rule: Rule,
) -> Option<(Change, Anomaly)> {
    let serving = higher.level;
    if from != 0 && from != serving {
        return None; // it learns, and is asked when the one above it fails
    }
    let says = |level: u8| if level == 0 { &base.anomaly } else { &higher.anomaly };
    let other = |level: u8| if level == 0 { higher } else { base };
    if let Some(before) = told
        && let Some(own) = says(before.level)
        && own.onset == before.base_onset
    {
        let beside = other(before.level);
        let beside = beside.anomaly.as_ref().filter(|_| beside.level != usize::from(before.level));
        if change == Change::Ended {
            // The level that decides follows a shift for longer: its end is the end.
            if from != usize::from(before.level) || !before.open {
                return None;
            }
            before.open = false;
            return Some((change, before.shown(own, beside, names, rule)));
        }
        let change = match (before.open, before.with) {
            (true, _) => Change::Worsened,
            (false, None) => Change::Resumed,
            // What was confirmed once is not confirmed for ever: both must see it come back.
            (false, Some(_)) => {
                let back =
                    beside.is_some_and(|b| gap(b.last_seen, own.last_seen) <= rule.agree_within);
                if !back {
                    return None;
                }
                Change::Resumed
            }
        };
        before.open = true;
        return Some((change, before.shown(own, beside, names, rule)));
    }
    if change == Change::Ended {
        return None;
    }
    let agree = match (&base.anomaly, &higher.anomaly) {
        (Some(base), Some(higher)) => {
            serving > 0 && gap(base.onset, higher.onset) <= rule.agree_within
        }
        _ => false,
    };
    let level = if agree || (from == 0 && serving == 0) {
        0
    } else if from > 0 && rule.higher_alone {
        from as u8
    } else {
        return None;
    };
    let own = says(level).as_ref()?;
    let beside = if agree { higher.anomaly.as_ref() } else { None };
    let new = Told {
        level,
        base_onset: own.onset,
        with: beside.map(|beside| (serving as u8, beside.p_value)),
        onset: beside.map_or(own.onset, |beside| own.onset.min(beside.onset)),
        open: true,
    };
    *told = Some(new);
    Some((Change::Raised, new.shown(own, beside, names, rule)))
}

fn gap(a: Timestamp, b: Timestamp) -> Duration {
    a.since(b).max(b.since(a))
}

impl Told {
    /// What to show: the earlier onset, the less extreme of two p-values (neither can be trusted far into
    /// its tail), and the reasons of both where both have some.
    fn shown(
        &self,
        own: &Anomaly,
        beside: Option<&Anomaly>,
        names: &[&'static str],
        rule: Rule,
    ) -> Anomaly {
        let mut shown = Anomaly { onset: self.onset, ..own.clone() };
        let Some((level, p_value)) = self.with else { return shown };
        let name = |level: u8| names.get(usize::from(level)).copied().unwrap_or_default();
        shown.detector = format!("{}+{}", name(self.level), name(level));
        shown.p_value = own.p_value.max(p_value);
        // What the other says now belongs to it when it began around the same time, or during it.
        let began = |b: &&Anomaly| {
            b.onset + rule.agree_within >= own.onset && b.onset <= own.last_seen + rule.agree_within
        };
        if let Some(beside) = beside.filter(began) {
            if beside.onset <= self.onset {
                shown.onset_uncertainty = beside.onset_uncertainty;
            }
            shown.last_seen = own.last_seen.max(beside.last_seen);
            shown.peak_score = own.peak_score.min(beside.peak_score);
            shown.reasons.extend(beside.reasons.iter().cloned());
        }
        shown
    }
}

pub(super) fn save(told: Option<&Told>, out: &mut SnapshotWriter) {
    out.u8(told.map_or(0, |told| 1 + told.level));
    if let Some(told) = told {
        out.i64(told.base_onset.as_nanos());
        out.i64(told.onset.as_nanos());
        out.u8(u8::from(told.open));
        let (level, p_value) = told.with.unwrap_or((0, 1.0));
        out.u8(if told.with.is_some() { level } else { u8::MAX });
        out.f64(p_value);
    }
}

pub(super) fn load(levels: usize, from: &mut SnapshotReader<'_>) -> Result<Option<Told>> {
    let Some(level) = from.u8()?.checked_sub(1) else { return Ok(None) };
    let base_onset = Timestamp::from_nanos(from.i64()?);
    let onset = Timestamp::from_nanos(from.i64()?);
    let open = from.u8()? != 0;
    let (other, p_value) = (from.u8()?, saved::not_negative(from, "p-value")?);
    let with = (other != u8::MAX).then_some((other, p_value));
    if [Some(level), with.map(|with| with.0)]
        .into_iter()
        .flatten()
        .any(|l| usize::from(l) >= levels)
    {
        return Err(saved::invalid("level of an anomaly", level));
    }
    Ok(Some(Told { level, base_onset, with, onset, open }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use aiops_core::SeriesKey;

    const RULE: Rule = Rule { agree_within: Duration::from_secs(30), higher_alone: false };

    fn says(level: usize, onset: Option<i64>) -> Says {
        let anomaly = onset.map(|onset| Anomaly {
            series: SeriesKey::new("cpu", [("service", "api")]),
            kind: aiops_core::MetricKind::Cpu,
            onset: Timestamp::from_secs(onset),
            onset_uncertainty: Duration::ZERO,
            last_seen: Timestamp::from_secs(onset + 5),
            peak_score: 5.0,
            p_value: 1e-4,
            expected: 1.0,
            observed: 9.0,
            direction: aiops_core::Direction::Above,
            detector: ["robust", "ewma", "pca"][level].to_owned(),
            reasons: vec![],
        });
        Says { level, anomaly }
    }

    const NAMES: [&str; 3] = ["robust", "ewma", "pca"];

    #[test]
    fn two_must_agree_and_the_base_ends_it() {
        let mut told = None;
        let mut step = |from, change, base, higher| {
            let both = [&says(0, base), &says(1, higher)];
            weigh(&mut told, from, change, both, &NAMES, RULE)
                .map(|(change, anomaly)| (change, anomaly.onset.as_secs(), anomaly.detector))
        };
        use Change::{Ended, Raised, Resumed, Worsened};
        let both = |change| Some((change, 90, "robust+ewma".to_owned()));
        assert_eq!(step(0, Raised, Some(100), None), None, "one alone");
        assert_eq!(step(1, Raised, Some(100), Some(90)), both(Raised));
        assert_eq!(step(0, Worsened, Some(100), Some(90)), both(Worsened));
        assert_eq!(step(1, Ended, Some(100), Some(90)), None, "the base follows for longer");
        assert_eq!(step(1, Raised, Some(100), Some(120)), both(Worsened), "the same, same onset");
        assert_eq!(step(0, Ended, Some(100), None), both(Ended));
        assert_eq!(step(0, Resumed, Some(100), None), None, "one alone came back");
        assert_eq!(step(1, Raised, Some(100), Some(110)), both(Resumed), "and then the other");
        assert_eq!(step(0, Raised, Some(900), Some(500)), None, "400 s apart is not the same");
    }

    #[test]
    fn alone_only_where_no_other_can_judge_or_it_is_asked_for() {
        let mut told = None;
        let mut step = |from, change, both: [&Says; 2], rule| {
            weigh(&mut told, from, change, both, &NAMES, rule)
        };
        let (none, base, some) = (says(0, None), says(0, Some(5)), says(2, Some(9)));
        let alone = step(0, Change::Raised, [&base, &base], RULE);
        assert!(alone.is_some_and(|(_, anomaly)| anomaly.detector == "robust"));
        assert!(step(2, Change::Raised, [&none, &some], RULE).is_none());
        let rule = Rule { higher_alone: true, ..RULE };
        assert!(step(2, Change::Raised, [&none, &some], rule).is_some());
        assert!(step(2, Change::Ended, [&none, &some], rule).is_some());
        assert!(!told.unwrap().open);
    }

    #[test]
    fn a_higher_tier_may_speak_alone_but_tier_one_beside_it_may_not() {
        let (base, silent) = (says(0, Some(5)), says(2, None));
        let rule = Rule { higher_alone: true, ..RULE };
        let told = weigh(&mut None, 0, Change::Raised, [&base, &silent], &NAMES, rule);
        assert!(told.is_none(), "{told:?}");
    }

    #[test]
    fn the_other_tier_adds_what_it_saw_around_the_same_time_only() {
        let mut told = None;
        let raised = [&says(0, Some(100)), &says(1, Some(90))];
        weigh(&mut told, 1, Change::Raised, raised, &NAMES, RULE);
        let mut beside = |onset: i64| {
            let mut higher = says(1, Some(onset));
            let anomaly = higher.anomaly.as_mut().unwrap();
            anomaly.reasons = vec![aiops_core::Reason::new("band", "it left its band")];
            anomaly.onset_uncertainty = Duration::from_secs(7);
            let both = [&says(0, Some(100)), &higher];
            weigh(&mut told, 0, Change::Worsened, both, &NAMES, RULE).unwrap().1
        };
        // Tier one saw it from 100 to 105, and what is within 30 s is the same.
        for (onset, same) in [(69, false), (70, true), (135, true), (136, false)] {
            let shown = beside(onset);
            assert_eq!(!shown.reasons.is_empty(), same, "from {onset}");
            assert_eq!(shown.onset.as_secs(), 90, "the onset that was told never moves");
            // Who saw it first knows how uncertain its beginning is.
            let uncertainty = if onset == 70 { 7 } else { 0 };
            assert_eq!(shown.onset_uncertainty.as_secs(), uncertainty, "from {onset}");
        }
    }

    #[test]
    fn what_was_told_is_saved_whoever_told_it() {
        let at = Timestamp::from_secs;
        let (base_onset, onset) = (at(5), at(4));
        let alone = Told { level: 1, base_onset, with: None, onset, open: true };
        let both = Told { level: 0, with: Some((1, 1e-5)), open: false, ..alone };
        for told in [None, Some(alone), Some(both)] {
            let mut out = SnapshotWriter::new();
            save(told.as_ref(), &mut out);
            let bytes = out.finish();
            assert_eq!(load(2, &mut SnapshotReader::new(&bytes)).unwrap(), told);
            let fewer = load(1, &mut SnapshotReader::new(&bytes));
            assert_eq!(fewer.is_err(), told.is_some(), "a router of one tier has no level 1");
        }
    }
}
