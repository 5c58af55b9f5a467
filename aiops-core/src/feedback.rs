//! Feedback: what a person said about a decision, kept so that it can be counted and undone.

use crate::hash::{CanonicalHasher, hash_id};
use crate::{AlertId, Cause, IncidentId, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

hash_id! {
    /// The identity of one piece of feedback: hash(who, when, about what).
    FeedbackId
}

/// What the feedback is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// An incident.
    Incident(IncidentId),
    /// A single alert.
    Alert(AlertId),
}

/// What was said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "said", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Said {
    /// This was the root cause.
    TrueCause {
        /// The cause.
        cause: Cause,
    },
    /// This was ranked first and was not the cause.
    WrongCause {
        /// What was ranked.
        cause: Cause,
    },
    /// Nothing was wrong.
    Noise,
    /// It mattered although it was hidden or called noise.
    NotNoise,
    /// Something was wrong and nothing was said.
    Missed {
        /// What was missed, in words.
        what: String,
    },
    /// The action did not help.
    ActionFailed {
        /// The run.
        run: String,
    },
    /// The action made things worse.
    ActionHarmed {
        /// The run.
        run: String,
    },
    /// An earlier piece of feedback is taken back.
    Undo {
        /// Which one.
        feedback: FeedbackId,
    },
}

/// What a person said, with everything needed to weigh it later: who, when, about which version of
/// which model, and the features that the model saw.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Feedback {
    /// Its identity.
    pub id: FeedbackId,
    /// What it is about.
    pub subject: Subject,
    /// What was said.
    #[serde(flatten)]
    pub said: Said,
    /// Who said it; needed so that no one person's labels dominate.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// The model or configuration that made the decision.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub model_version: String,
    /// What the model saw, by feature name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub features: BTreeMap<String, f64>,
}

impl Feedback {
    /// Feedback of `by` about `subject`, without model version and features.
    pub fn new(subject: Subject, said: Said, by: impl Into<String>, at: Timestamp) -> Self {
        let by = by.into();
        let (tag, number) = match subject {
            Subject::Incident(id) => ("incident", id.as_u64()),
            Subject::Alert(id) => ("alert", id.as_u64()),
        };
        let hasher = CanonicalHasher::new("feedback")
            .text(&by)
            .number(at.as_nanos() as u64)
            .text(tag)
            .number(number)
            .text(said_tag(&said));
        let id = FeedbackId::from_u64(hasher.finish());
        Feedback {
            id,
            subject,
            said,
            by,
            at,
            model_version: String::new(),
            features: BTreeMap::new(),
        }
    }
}

fn said_tag(said: &Said) -> &'static str {
    match said {
        Said::TrueCause { .. } => "true_cause",
        Said::WrongCause { .. } => "wrong_cause",
        Said::Noise => "noise",
        Said::NotNoise => "not_noise",
        Said::Missed { .. } => "missed",
        Said::ActionFailed { .. } => "action_failed",
        Said::ActionHarmed { .. } => "action_harmed",
        Said::Undo { .. } => "undo",
    }
}

/// The feedback that stands: everything that is neither an undo nor undone, in the order given.
///
/// An undo can itself be undone, which makes the original stand again; chains are followed from
/// the latest remark backwards. An undo of something unknown changes nothing.
pub fn standing(feedback: &[Feedback]) -> Vec<&Feedback> {
    let mut undone = std::collections::BTreeSet::new();
    for item in feedback.iter().rev() {
        if let Said::Undo { feedback: target } = item.said
            && !undone.contains(&item.id)
        {
            undone.insert(target);
        }
    }
    let stands = |f: &&Feedback| !undone.contains(&f.id) && !matches!(f.said, Said::Undo { .. });
    feedback.iter().filter(stands).collect()
}

/// What verification found after an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The trouble is over and no guard metric got worse.
    Ok,
    /// Things are worse than before: roll back.
    Worse,
    /// Neither can be said; missing data ends here, never at `Ok`.
    Inconclusive,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_undo_of_an_undo_restores() {
        let subject = Subject::Incident(IncidentId::from_u64(1));
        let at = Timestamp::from_secs;
        let said = Feedback::new(subject, Said::Noise, "kim", at(1));
        let undo = Feedback::new(subject, Said::Undo { feedback: said.id }, "kim", at(2));
        let redo = Feedback::new(subject, Said::Undo { feedback: undo.id }, "kim", at(3));
        let log = [said, undo, redo];
        assert_eq!(standing(&log[..1]).len(), 1);
        assert_eq!(standing(&log[..2]).len(), 0);
        assert_eq!(standing(&log), [&log[0]]);
    }

    #[test]
    fn json_is_flat() {
        let subject = Subject::Alert(AlertId::from_u64(2));
        let feedback = Feedback::new(subject, Said::NotNoise, "kim", Timestamp::EPOCH);
        let json = serde_json::to_value(&feedback).unwrap();
        assert_eq!(json["said"], "not_noise");
        assert_eq!(json["subject"]["alert"], "0000000000000002");
        assert_eq!(serde_json::from_value::<Feedback>(json).unwrap(), feedback);
    }
}
