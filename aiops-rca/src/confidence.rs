//! When a person should decide.

use crate::Result;
use crate::error::within;
use aiops_core::{Ranking, Reason};
use serde::{Deserialize, Serialize};

/// From where on a ranking is trusted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConfidenceConfig {
    /// The first candidate needs at least this probability. Default 0.5: more likely than not.
    pub probability: f64,
    /// And this much more than the best alternative. Default 0.15 (a guess).
    pub margin: f64,
}

impl Default for ConfidenceConfig {
    fn default() -> Self {
        ConfidenceConfig { probability: 0.5, margin: 0.15 }
    }
}

/// Whether to go by a ranking.
#[derive(Debug, Clone, PartialEq)]
pub enum Advice {
    /// Go by the first candidate.
    Trust,
    /// Show it to a person, and why.
    AskAPerson(Reason),
}

impl ConfidenceConfig {
    /// Judges a ranking.
    ///
    /// ```
    /// use aiops_core::Ranking;
    /// use aiops_rca::{Advice, ConfidenceConfig};
    /// let nothing = Ranking::from_weights("default", vec![], 1.0)?;
    /// let Advice::AskAPerson(why) = ConfidenceConfig::default().judge(&nothing)? else { panic!() };
    /// assert_eq!(why.code, "nothing_explains_it");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidConfig`](crate::Error::InvalidConfig) names the setting that is out of range.
    pub fn judge(&self, ranking: &Ranking) -> Result<Advice> {
        within("probability", self.probability, 0.0, 1.0)?;
        within("margin", self.margin, 0.0, 1.0)?;
        let Some(top) = ranking.top().filter(|top| top.probability > ranking.unknown) else {
            let sentence = "the cause is most likely outside of what was measured";
            let reason = Reason::new("nothing_explains_it", sentence);
            return Ok(Advice::AskAPerson(reason.with("unknown", ranking.unknown)));
        };
        let percent = |share: f64| format!("{:.0} %", share * 100.0);
        if top.probability < self.probability {
            let sentence = format!("{} is only {} likely", top.cause, percent(top.probability));
            let reason = Reason::new("low_probability", sentence);
            return Ok(Advice::AskAPerson(reason.with("probability", top.probability)));
        }
        let margin = ranking.margin();
        if margin < self.margin {
            let other = ranking.candidates.get(1).map(|c| c.cause.to_string());
            let other = other.unwrap_or_else(|| "the unknown".to_owned());
            let sentence =
                format!("{} leads {other} by only {} points", top.cause, percent(margin));
            return Ok(Advice::AskAPerson(
                Reason::new("small_margin", sentence).with("margin", margin),
            ));
        }
        Ok(Advice::Trust)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aiops_core::{Candidate, Cause};

    fn advice(weights: &[f64], unknown: f64) -> Advice {
        let candidate = |(i, &score): (usize, &f64)| Candidate {
            cause: Cause::Service { service: format!("s{i}") },
            probability: 0.0,
            score,
            evidence: vec![],
        };
        let candidates = weights.iter().enumerate().map(candidate).collect();
        let ranking = Ranking::from_weights("test", candidates, unknown).unwrap();
        ConfidenceConfig::default().judge(&ranking).unwrap()
    }

    #[test]
    fn doubt_has_a_reason() {
        assert_eq!(advice(&[8.0, 1.0], 1.0), Advice::Trust);
        let code = |advice| match advice {
            Advice::AskAPerson(reason) => reason.code,
            Advice::Trust => "trust".into(),
        };
        assert_eq!(code(advice(&[1.0], 2.0)), "nothing_explains_it");
        assert_eq!(code(advice(&[4.0, 3.0, 3.0], 0.0)), "low_probability");
        assert_eq!(code(advice(&[5.0, 4.5], 0.0)), "small_margin");
    }
}
