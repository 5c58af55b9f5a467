//! Reasons as data: why something was flagged, grouped, held, ranked, matched or refused.

use crate::Timestamp;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

/// One fact that a reason rests on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Fact {
    /// Yes or no.
    Flag(bool),
    /// A whole number: counts, hops, identifiers.
    Count(i64),
    /// A measured number. Serialises as `null` when it is not finite, which JSON cannot say.
    Number(#[serde(with = "crate::nan_as_null")] f64),
    /// Text: names, ids, states.
    Text(String),
    /// Several names.
    Names(Vec<String>),
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fact::Flag(flag) => write!(f, "{flag}"),
            Fact::Count(count) => write!(f, "{count}"),
            // Six significant digits say all that a reader can use.
            Fact::Number(number) if *number != 0.0 && number.abs() < 1e-3 => {
                write!(f, "{number:.3e}")
            }
            Fact::Number(number) => write!(f, "{}", (number * 1e3).round() / 1e3),
            Fact::Text(text) => f.write_str(text),
            Fact::Names(names) => f.write_str(&names.join(", ")),
        }
    }
}

macro_rules! fact_from {
    ($($from:ty => $variant:ident($convert:expr)),+ $(,)?) => {
        $(impl From<$from> for Fact {
            fn from(value: $from) -> Fact {
                Fact::$variant(($convert)(value))
            }
        })+
    };
}
fact_from! {
    bool => Flag(|v| v),
    i64 => Count(|v| v),
    u32 => Count(i64::from),
    usize => Count(|v| i64::try_from(v).unwrap_or(i64::MAX)),
    u64 => Count(|v| i64::try_from(v).unwrap_or(i64::MAX)),
    f64 => Number(|v| v),
    &str => Text(str::to_owned),
    String => Text(|v| v),
    Timestamp => Text(|v: Timestamp| v.to_string()),
    Vec<String> => Names(|v| v),
}

/// Why a stage decided what it decided; one serialised form for all stages.
///
/// `code` is for programs and stays stable, `facts` are what the sentence was made of, `sentence`
/// is for people. Each stage has an enum of its own that converts into this.
///
/// ```
/// use aiops_core::Reason;
/// let reason = Reason::new("depends_on", "api depends on db-1, 2 hops away")
///     .with("service", "db-1")
///     .with("hops", 2_u32);
/// assert_eq!(reason.to_string(), "api depends on db-1, 2 hops away");
/// assert_eq!(serde_json::to_value(&reason)?["facts"]["hops"], 2);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reason {
    /// A stable, snake_case code.
    pub code: Cow<'static, str>,
    /// The facts, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub facts: BTreeMap<Cow<'static, str>, Fact>,
    /// One sentence without a full stop at its end.
    pub sentence: String,
}

impl Reason {
    /// A reason without facts.
    pub fn new(code: &'static str, sentence: impl Into<String>) -> Self {
        Reason { code: Cow::Borrowed(code), facts: BTreeMap::new(), sentence: sentence.into() }
    }

    /// Adds a fact.
    #[must_use]
    pub fn with(mut self, name: &'static str, fact: impl Into<Fact>) -> Self {
        self.facts.insert(Cow::Borrowed(name), fact.into());
        self
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

/// What speaks for or against a candidate cause, as data that a report can draw.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Evidence {
    /// When trouble began here.
    Onset {
        /// What began: a series, a service or a change.
        subject: String,
        /// When.
        at: Timestamp,
        /// Half the width of the interval that surely holds it, in seconds.
        #[serde(with = "crate::nan_as_null")]
        uncertainty_s: f64,
        /// Seconds after the first onset of the incident.
        #[serde(with = "crate::nan_as_null")]
        after_first_s: f64,
    },
    /// How far a metric left its normal range.
    Magnitude {
        /// The metric.
        metric: String,
        /// Robust standard deviations in the harmful direction.
        #[serde(with = "crate::nan_as_null")]
        score: f64,
        /// What was expected.
        #[serde(with = "crate::nan_as_null")]
        expected: f64,
        /// The worst value seen.
        #[serde(with = "crate::nan_as_null")]
        observed: f64,
    },
    /// A causal path from the candidate to a symptom, candidate first.
    Path {
        /// Node names.
        nodes: Vec<String>,
    },
    /// A statistical test.
    Test {
        /// Its name, for example `granger_f`.
        name: String,
        /// Whose influence is tested.
        cause: String,
        /// On whom.
        effect: String,
        /// The test statistic.
        #[serde(with = "crate::nan_as_null")]
        statistic: f64,
        /// Chance of such a statistic without influence.
        #[serde(with = "crate::nan_as_null")]
        p_value: f64,
        /// Lag in steps at which it is strongest, if the test has lags.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lag: Option<u32>,
    },
    /// A change shortly before the onset.
    Change {
        /// Its title.
        title: String,
        /// The service that changed.
        service: String,
        /// Seconds from the change to the first onset; negative when the change came later.
        #[serde(with = "crate::nan_as_null")]
        before_onset_s: f64,
    },
    /// What would change the answer.
    Counterfactual {
        /// One sentence.
        sentence: String,
    },
    /// Anything else that a stage wants to say.
    Other {
        /// The reason.
        reason: Reason,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_keep_their_type_through_json() {
        let reason = Reason::new("x", "y")
            .with("count", 3_usize)
            .with("number", 0.5)
            .with("flag", true)
            .with("names", vec!["a".to_owned()])
            .with("text", "a");
        let json = serde_json::to_string(&reason).unwrap();
        assert_eq!(serde_json::from_str::<Reason>(&json).unwrap(), reason);
    }

    #[test]
    fn a_number_that_json_cannot_say_is_null() {
        let json = serde_json::to_string(&Reason::new("x", "y").with("z", f64::NAN)).unwrap();
        assert!(json.contains(r#""z":null"#));
        let back: Reason = serde_json::from_str(&json).unwrap();
        assert!(matches!(back.facts["z"], Fact::Number(z) if z.is_nan()));
    }
}
