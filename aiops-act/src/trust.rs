//! Trust: earned by verified outcomes, lost by one bad one.
//!
//! Trust belongs to exactly one remedy: these document bytes, these executor versions, these targets,
//! this tier. Approvals prove nothing about it; only verified outcomes do. With none of `n` outcomes
//! bad, the exact one-sided binomial bound says with confidence `c` that at least a share `p` of
//! future ones is good, where `p^n = 1 - c`: 29 clean outcomes prove 90 %, 59 prove 95 %, 299 prove
//! 99 %, 2,995 prove 99.9 % (at 95 % confidence; Clopper & Pearson 1934, no failures).

use std::collections::BTreeMap;

use aiops_core::Timestamp;
use serde::{Deserialize, Serialize};

use crate::canonical::Digest;
use crate::error::{Error, Result};
use crate::machine::{Ending, Run, State};
use crate::plan::Plan;
use crate::runbook::calendar;
use crate::runbook::{Auto, Risk, Weekly};

/// What a remedy may do.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Its plans are recorded, and shown to nobody.
    Observe,
    /// Its plans are shown and never run.
    Suggest,
    /// It runs when people approve it.
    #[default]
    Approve,
    /// It runs without asking.
    Auto,
}

/// What trust belongs to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TrustKey {
    /// The runbook's id, for people.
    pub runbook: String,
    /// Hash of the document.
    pub document: Digest,
    /// Executors with their versions.
    pub executors: String,
    /// The targets.
    pub targets: String,
    /// The effective tier.
    pub risk: Risk,
}

impl TrustKey {
    /// The key of a plan whose executors have these versions, `name@version` each.
    #[must_use]
    pub fn of(plan: &Plan, executors: &[String]) -> TrustKey {
        let targets: Vec<&str> = plan.targets.iter().collect();
        TrustKey {
            runbook: plan.runbook.id().to_owned(),
            document: plan.runbook.hash(),
            executors: executors.join(","),
            targets: targets.join(","),
            risk: plan.risk,
        }
    }

    fn name(&self) -> String {
        let risk = [self.risk.tier()];
        let parts: [&[u8]; 4] =
            [self.document.as_bytes(), self.executors.as_bytes(), self.targets.as_bytes(), &risk];
        Digest::of_parts(&parts).to_string()
    }
}

/// When trust is enough.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrustPolicy {
    /// Share of good outcomes that must be proven before a person may let it run by itself.
    /// Default 0.95.
    pub proof: f64,
    /// Confidence of that proof. Default 0.95; with both defaults 59 clean outcomes are needed.
    pub confidence: f64,
    /// Where a remedy begins. Default [`Level::Approve`].
    pub initial: Level,
    /// When a remedy of tier 2 may run by itself. Default never; outside of it people are asked.
    pub tier_2_hours: Option<Weekly>,
}

impl Default for TrustPolicy {
    fn default() -> TrustPolicy {
        TrustPolicy { proof: 0.95, confidence: 0.95, initial: Level::Approve, tier_2_hours: None }
    }
}

impl TrustPolicy {
    /// Checks the policy.
    ///
    /// # Errors
    /// A share that is not between 0 and 1, or an initial level that was not earned.
    pub fn build(self) -> Result<TrustPolicy> {
        for (field, value) in [("proof", self.proof), ("confidence", self.confidence)] {
            let within = value > 0.0 && value < 1.0;
            if !within {
                return Err(Error::config(
                    field,
                    format!("must be above 0 and below 1, got {value}"),
                ));
            }
        }
        if self.initial == Level::Auto {
            return Err(Error::config("initial", "running without asking is earned, not given"));
        }
        Ok(self)
    }

    /// Clean outcomes that prove enough: the least `n` with `proof^n <= 1 - confidence`.
    #[must_use]
    pub fn clean_needed(&self) -> u32 {
        ((1.0 - self.confidence).ln() / self.proof.ln()).ceil() as u32
    }
}

/// What is known of one remedy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrustRecord {
    /// Whose record it is.
    pub key: TrustKey,
    /// What it may do.
    pub level: Level,
    /// Verified good outcomes since the last bad one.
    pub clean: u32,
    /// All verified good outcomes.
    pub good: u32,
    /// All bad outcomes.
    pub bad: u32,
    /// Who let it run by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promoted_by: Option<String>,
    /// When it last changed.
    pub changed_at: Timestamp,
}

/// How a run counts towards trust.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counts {
    /// It ran and was verified to help.
    Good,
    /// A step failed, it was rolled back, or a person had to take over.
    Bad,
    /// Verification said "worse", or its rollback failed.
    Worse,
    /// It did not run, or nothing was verified.
    Not,
}

/// How the transition from `before` to `after` counts: every run counts once as good or bad, when
/// it first leaves the way of success or reaches its end.
#[must_use]
pub fn counts(before: &Run, after: &Run, worse: bool) -> Counts {
    if before.started_at.is_none() || before.state == after.state {
        return Counts::Not;
    }
    let went_wrong = |run: &Run| match run.state {
        State::NeedsHuman { .. }
        | State::Undoing { .. }
        | State::UndoPausing { .. }
        | State::UndoUnknown { .. } => true,
        State::Ended { ending } => !matches!(ending, Ending::Succeeded | Ending::Completed),
        _ => false,
    };
    match (went_wrong(before), went_wrong(after), after.ending()) {
        (false, false, Some(Ending::Succeeded)) => Counts::Good,
        (_, true, _) if worse => Counts::Worse,
        (false, true, _) => Counts::Bad,
        _ => Counts::Not,
    }
}

/// All records.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Ledger(BTreeMap<String, TrustRecord>);

impl Ledger {
    /// What the remedy may do.
    #[must_use]
    pub fn level(&self, key: &TrustKey, policy: &TrustPolicy) -> Level {
        self.0.get(&key.name()).map_or(policy.initial, |record| record.level)
    }

    /// All records, in a stable order.
    pub fn iter(&self) -> impl Iterator<Item = &TrustRecord> {
        self.0.values()
    }

    /// The record of a remedy, if it has one.
    #[must_use]
    pub fn get(&self, key: &TrustKey) -> Option<&TrustRecord> {
        self.0.get(&key.name())
    }

    /// Share of verified outcomes that were good, by document, for the matcher.
    #[must_use]
    pub fn precision(&self) -> BTreeMap<Digest, f64> {
        let mut sums: BTreeMap<Digest, (u32, u32)> = BTreeMap::new();
        for record in self.0.values() {
            let (good, all) = sums.entry(record.key.document).or_default();
            *good += record.good;
            *all += record.good + record.bad;
        }
        let known = sums.into_iter().filter(|(_, (_, all))| *all > 0);
        known.map(|(document, (good, all))| (document, f64::from(good) / f64::from(all))).collect()
    }

    /// Counts an outcome. One bad outcome ends [`Level::Auto`]; "worse" also ends
    /// [`Level::Approve`]: it is only suggested until a person looked.
    pub fn count(&mut self, key: &TrustKey, counts: Counts, policy: &TrustPolicy, at: Timestamp) {
        if counts == Counts::Not {
            return;
        }
        let record = self.entry(key, policy, at);
        record.changed_at = at;
        if counts == Counts::Good {
            record.good += 1;
            record.clean += 1;
            return;
        }
        record.bad += 1;
        record.clean = 0;
        record.promoted_by = None;
        let most = if counts == Counts::Worse { Level::Suggest } else { Level::Approve };
        record.level = record.level.min(most);
    }

    /// A person sets the level. Up to [`Level::Approve`] anything goes; [`Level::Auto`] must have
    /// been earned, and never goes to tier 3.
    ///
    /// # Errors
    /// It was not earned.
    pub fn set(
        &mut self,
        key: &TrustKey,
        level: Level,
        by: &str,
        policy: &TrustPolicy,
        at: Timestamp,
    ) -> Result<()> {
        let needed = policy.clean_needed();
        let record = self.entry(key, policy, at);
        if level == Level::Auto {
            if key.risk == Risk::Irreversible {
                return Err(Error::NotEarned {
                    reason: "tier 3 never runs without asking".to_owned(),
                });
            }
            if record.clean < needed {
                let reason = format!("{} clean outcomes, {needed} are needed", record.clean);
                return Err(Error::NotEarned { reason });
            }
            record.promoted_by = Some(by.to_owned());
        } else {
            record.promoted_by = None;
        }
        record.level = level;
        record.changed_at = at;
        Ok(())
    }

    fn entry(&mut self, key: &TrustKey, policy: &TrustPolicy, at: Timestamp) -> &mut TrustRecord {
        self.0.entry(key.name()).or_insert_with(|| TrustRecord {
            key: key.clone(),
            level: policy.initial,
            clean: 0,
            good: 0,
            bad: 0,
            promoted_by: None,
            changed_at: at,
        })
    }

    /// Whether the plan may run without asking now.
    #[must_use]
    pub fn runs_alone(
        &self,
        plan: &Plan,
        key: &TrustKey,
        policy: &TrustPolicy,
        now: Timestamp,
    ) -> bool {
        let opted_in = plan.runbook.document().safety.auto == Auto::WhenTrusted;
        let tier = match plan.risk {
            Risk::ReadOnly | Risk::Reversible => true,
            Risk::Stateful => policy
                .tier_2_hours
                .as_ref()
                .is_some_and(|hours| calendar::in_week(hours, now).unwrap_or(false)),
            Risk::Irreversible => false,
        };
        opted_in && tier && self.level(key, policy) == Level::Auto
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_needs_as_many_clean_outcomes_as_the_tables_say() {
        // Source: hand calculation, n = ceil(ln 0.05 / ln p); the "rule of three" in exact form.
        for (proof, needed) in [(0.90, 29), (0.95, 59), (0.99, 299), (0.999, 2_995)] {
            let policy = TrustPolicy { proof, ..TrustPolicy::default() };
            assert_eq!(policy.clean_needed(), needed);
        }
        assert!(TrustPolicy { proof: f64::NAN, ..TrustPolicy::default() }.build().is_err());
        assert!(TrustPolicy { initial: Level::Auto, ..TrustPolicy::default() }.build().is_err());
    }
}
