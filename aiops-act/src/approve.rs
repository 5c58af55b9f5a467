//! Approval: people's answers, the policy that weighs them, and the only door to execution.
//!
//! A [`Plan`] is data; what the engine runs is an [`Approved<Plan>`]. Its only constructor is
//! [`Plan::approve`], which wants an [`Approval`], which only [`ApprovalPolicy::decide`] mints.
//! Neither can be deserialised: a journal keeps the *answers*, and after a restart the policy
//! decides again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aiops_core::{Reason, Timestamp};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::plan::{Binding, Plan};
use crate::runbook::Risk;

/// What one person said about one plan, as a channel delivered it.
///
/// The channel vouches for `by`: it knows who typed or clicked. Roles are not part of an answer;
/// the policy looks them up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// Who answered.
    pub by: String,
    /// Approve or reject.
    pub says: Says,
    /// What they were shown. An answer to anything else does not count.
    pub to: Binding,
    /// When the answer arrived.
    pub at: Timestamp,
    /// The channel that delivered it.
    pub via: String,
    /// Why, in their words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comment: String,
}

/// Approve or reject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Says {
    /// Do it.
    Approve,
    /// Do not.
    Reject,
}

/// What people are asked: this plan, by then, so many of you.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// What an answer must be bound to.
    pub binding: Binding,
    /// Who or what proposed the plan.
    pub proposer: String,
    /// How many different people must approve, as people are told. The policy applies its own
    /// floor for the tier when it decides, so a question with a smaller number gains nothing.
    pub count: u32,
    /// Whether the runbook had earned to run unasked when the question was made. For people to read:
    /// the policy goes by an [`Earned`], which this is not.
    #[serde(default)]
    pub earned: bool,
    /// Roles of which each must have one; empty for any known person.
    pub roles: Vec<String>,
    /// When it was asked.
    pub asked_at: Timestamp,
    /// An answer that arrives at this instant or later is too late, and so is an execution.
    pub expires_at: Timestamp,
}

/// Who may approve, and how many it takes.
///
/// ```
/// use aiops_act::ApprovalPolicy;
/// let policy = ApprovalPolicy::default()
///     .with_person("ada", &["oncall"])
///     .with_person("grace", &["oncall", "lead"]);
/// assert!(policy.build().is_ok());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ApprovalPolicy {
    /// Known people and their roles. Nobody else's answer counts.
    pub people: BTreeMap<String, BTreeSet<String>>,
    /// Approvals that a plan of tier 0, 1, 2, 3 takes at least; a document can ask for more.
    /// Default 0, 1, 1, 2: reading is free, what cannot be undone takes two.
    pub count_by_tier: [u32; 4],
    /// How long a granted approval may wait for execution. Default 30 min.
    #[serde(with = "crate::runbook::duration")]
    pub valid_for: Duration,
}

impl Default for ApprovalPolicy {
    fn default() -> ApprovalPolicy {
        ApprovalPolicy {
            people: BTreeMap::new(),
            count_by_tier: [0, 1, 1, 2],
            valid_for: Duration::from_secs(30 * 60),
        }
    }
}

/// What the policy makes of the answers so far.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Ruling {
    /// Enough of the right people approved.
    Approved(Approval),
    /// One person with the right to approve said no.
    Rejected {
        /// Who.
        by: String,
        /// Why, in their words.
        comment: String,
    },
    /// More people are needed.
    Waiting {
        /// How many approved.
        have: u32,
        /// How many it takes.
        need: u32,
    },
    /// Nobody may answer any more.
    Expired,
}

/// A ruling, and the answers that did not count with the reason for each.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// What holds.
    pub ruling: Ruling,
    /// Indices of answers that did not count, and why.
    pub refused: Vec<(usize, Reason)>,
}

/// Proof that the policy approved one exact plan. Only [`ApprovalPolicy::decide`] makes one. It is
/// never written down: what outlives the process is the answers, which are judged anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    binding: Binding,
    by: Vec<String>,
    granted_at: Timestamp,
    expires_at: Timestamp,
}

impl Approval {
    /// What it is for.
    #[must_use]
    pub fn binds(&self) -> &Binding {
        &self.binding
    }

    /// Who approved, in the order they did; empty for a tier that asks nobody.
    #[must_use]
    pub fn by(&self) -> &[String] {
        &self.by
    }

    /// From then on it permits nothing.
    #[must_use]
    pub fn expires_at(&self) -> Timestamp {
        self.expires_at
    }
}

/// Proof that the record of a plan's remedy lets it run without asking. Only an engine makes one, for
/// one exact plan, from the ledger in its store and for the moment at which it is needed.
///
/// ```compile_fail,E0277
/// // What is written in a question, an event or a store is no proof.
/// let earned: aiops_act::approve::Earned = serde_json::from_str("{}").unwrap();
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Earned {
    binding: Binding,
}

impl Earned {
    pub(crate) fn by(plan: &Plan) -> Earned {
        Earned { binding: plan.binding() }
    }
}

/// Something that was approved as it is. For plans, [`Plan::approve`] is the only way to one.
///
/// ```compile_fail,E0423
/// // A plan cannot approve itself: the field is private and nothing deserialises into it.
/// let plan: aiops_act::Plan = todo!();
/// let approved = aiops_act::Approved(plan);
/// ```
/// ```compile_fail,E0277
/// let approved: aiops_act::Approved<aiops_act::Plan> = serde_json::from_str("{}").unwrap();
/// ```
/// ```compile_fail,E0277
/// let approval: aiops_act::Approval = serde_json::from_str("{}").unwrap();
/// ```
/// ```compile_fail,E0277
/// fn write_down(approval: &aiops_act::Approval) { serde_json::to_string(approval).unwrap(); }
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Approved<T>(T);

impl<T> Approved<T> {
    /// What was approved.
    #[must_use]
    pub fn get(&self) -> &T {
        &self.0
    }
}

/// The approval is not for this plan as it is now, or no longer valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StaleApproval {
    /// The plan differs from the one that was approved.
    #[error("the approval is for another {what}")]
    Differs {
        /// What differs: run, document, parameters, targets or tier.
        what: &'static str,
    },
    /// It expired.
    #[error("the approval expired")]
    Expired,
}

impl Plan {
    /// Turns a plan into one that may run, if `approval` is for exactly this plan and still valid.
    ///
    /// # Errors
    /// [`StaleApproval`]: it is for other steps, parameters, targets or a lower tier, or expired.
    pub fn approve(
        self,
        approval: &Approval,
        now: Timestamp,
    ) -> Result<Approved<Plan>, StaleApproval> {
        let (for_plan, given) = (self.binding(), &approval.binding);
        let same = [
            ("run", for_plan.run == given.run),
            ("document", for_plan.document == given.document),
            ("parameters", for_plan.params == given.params),
            ("set of targets", for_plan.targets == given.targets),
            ("tier", for_plan.risk == given.risk),
        ];
        if let Some((what, _)) = same.into_iter().find(|(_, same)| !same) {
            return Err(StaleApproval::Differs { what });
        }
        if now >= approval.expires_at {
            return Err(StaleApproval::Expired);
        }
        Ok(Approved(self))
    }
}

impl ApprovalPolicy {
    /// Adds a person with roles.
    #[must_use]
    pub fn with_person(mut self, name: &str, roles: &[&str]) -> ApprovalPolicy {
        self.people.insert(name.to_owned(), roles.iter().map(|r| (*r).to_owned()).collect());
        self
    }

    /// Checks the policy.
    ///
    /// # Errors
    /// A tier that takes fewer approvals than a lower one, tier 3 without any, or an empty name.
    pub fn build(self) -> Result<ApprovalPolicy> {
        if !self.count_by_tier.is_sorted() {
            return Err(Error::config(
                "count_by_tier",
                "a higher tier must not take fewer approvals",
            ));
        }
        if self.count_by_tier[3] == 0 {
            return Err(Error::config("count_by_tier", "tier 3 takes at least one approval"));
        }
        if self.valid_for.is_zero() {
            return Err(Error::config("valid_for", "must be above 0"));
        }
        if self.people.keys().any(|name| name.trim().is_empty()) {
            return Err(Error::config("people", "a person has a name"));
        }
        Ok(self)
    }

    /// The question that a plan takes. A plan of tier 0 to 2 that has earned it asks nobody.
    #[must_use]
    pub fn question(&self, plan: &Plan, earned: Option<&Earned>, now: Timestamp) -> Question {
        let approvals = &plan.runbook.document().safety.approvals;
        let binding = plan.binding();
        let floor = self.floor(&binding, earned);
        let earned = may_run_unasked(&binding, earned);
        // A read-only plan asks nobody unless its document insists on roles.
        let reads = plan.risk == Risk::ReadOnly && approvals.roles.is_empty();
        let count = if earned || reads { floor } else { approvals.count.max(floor) };
        Question {
            binding,
            proposer: plan.proposer.clone(),
            count,
            earned,
            roles: approvals.roles.clone(),
            asked_at: now,
            expires_at: now + approvals.timeout,
        }
    }

    /// Weighs `answers` in the order in which they were journaled: the first ruling stands, and an
    /// answer after it changes nothing.
    ///
    /// An answer counts when it is bound to the question, arrived before its end, comes from a
    /// known person other than the proposer who has one of the roles, and is that person's first.
    /// To reject takes the same rights as to approve.
    ///
    /// It takes as many approvals as the question says, and never fewer than the policy asks for
    /// the tier: a question that was made by hand or changed in a store lowers no quorum. Only what
    /// was `earned`, as an engine finds it in its ledger now, replaces people.
    #[must_use]
    pub fn decide(
        &self,
        question: &Question,
        answers: &[Answer],
        earned: Option<&Earned>,
        now: Timestamp,
    ) -> Decision {
        let need = question.count.max(self.floor(&question.binding, earned));
        let mut refused = Vec::new();
        let mut by: Vec<String> = Vec::new();
        let mut granted_at = question.asked_at;
        for (i, answer) in answers.iter().enumerate() {
            if by.len() >= need as usize {
                refused.push((i, refusal("too_late", "the approval was already granted")));
                continue;
            }
            if let Err(reason) = self.counts(question, answer, &by) {
                refused.push((i, reason));
                continue;
            }
            if answer.says == Says::Reject {
                refused
                    .extend((i + 1..answers.len()).map(|later| {
                        (later, refusal("too_late", "the plan was already rejected"))
                    }));
                let (by, comment) = (answer.by.clone(), answer.comment.clone());
                return Decision { ruling: Ruling::Rejected { by, comment }, refused };
            }
            by.push(answer.by.clone());
            granted_at = answer.at;
        }
        let have = by.len() as u32;
        let ruling = if have >= need {
            let approval = Approval {
                binding: question.binding.clone(),
                by,
                granted_at,
                expires_at: granted_at + self.valid_for,
            };
            Ruling::Approved(approval)
        } else if now >= question.expires_at {
            Ruling::Expired
        } else {
            Ruling::Waiting { have, need }
        };
        Decision { ruling, refused }
    }

    /// Approvals that a tier takes at least. Earned trust replaces people up to tier 2 only.
    fn floor(&self, binding: &Binding, earned: Option<&Earned>) -> u32 {
        if may_run_unasked(binding, earned) {
            0
        } else {
            self.count_by_tier[usize::from(binding.risk.tier())]
        }
    }

    fn counts(&self, question: &Question, answer: &Answer, by: &[String]) -> Result<(), Reason> {
        if answer.to != question.binding {
            return Err(refusal("other_plan", "it answers another plan, or another version of it"));
        }
        if answer.at >= question.expires_at {
            return Err(refusal("too_late", "it arrived after the question had expired"));
        }
        let Some(roles) = self.people.get(&answer.by) else {
            return Err(refusal("unknown_person", "nobody of that name may answer"));
        };
        if answer.by == question.proposer {
            return Err(refusal("own_proposal", "nobody answers their own proposal"));
        }
        if !question.roles.is_empty() && !question.roles.iter().any(|role| roles.contains(role)) {
            return Err(refusal("missing_role", "it takes a role that this person does not have"));
        }
        if by.contains(&answer.by) {
            return Err(refusal("same_person", "this person has already approved"));
        }
        Ok(())
    }
}

fn may_run_unasked(binding: &Binding, earned: Option<&Earned>) -> bool {
    binding.risk < Risk::Irreversible && earned.is_some_and(|earned| earned.binding == *binding)
}

fn refusal(code: &'static str, sentence: &str) -> Reason {
    Reason::new(code, sentence)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canonical::Digest;

    #[test]
    fn nobody_earns_to_do_unasked_what_cannot_be_undone_or_another_plan() {
        let binding = |risk| Binding {
            run: "0000000000000001".parse().unwrap(),
            document: Digest::of_bytes(b"document"),
            params: Digest::ZERO,
            targets: Digest::ZERO,
            risk,
        };
        for (risk, may) in [
            (Risk::ReadOnly, true),
            (Risk::Reversible, true),
            (Risk::Stateful, true),
            (Risk::Irreversible, false),
        ] {
            let earned = Earned { binding: binding(risk) };
            assert_eq!(may_run_unasked(&binding(risk), Some(&earned)), may, "{risk:?}");
            assert!(!may_run_unasked(&binding(risk), None));
        }
        let other = Earned { binding: binding(Risk::ReadOnly) };
        assert!(!may_run_unasked(&binding(Risk::Reversible), Some(&other)));
    }
}
