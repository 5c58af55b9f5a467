//! Stage 3: how long to hold a group, weighed as evidence.
//!
//! A group is held while it may still be nothing. Three things speak, each as the natural logarithm
//! of a likelihood ratio (nats), and they add up:
//!
//! - how often the founding series fires for nothing, against how often incidents begin there;
//! - how long its firings have lasted by now, against how long such firings last when they mean
//!   nothing (a firing that ended counts by the length it had);
//! - every further member: how unlikely it is that this series fired just then by chance.
//!
//! The group is shown as soon as it is [sure](HoldConfig::sure) enough, or, when time is up
//! ([`decide_by`](HoldConfig::decide_by)), if it is [likely](HoldConfig::likely) enough. This is an
//! X-in-Y rule in which X (series or firings) and Y (time) are learned per series and trade against
//! each other.

use aiops_core::Prefer;
use serde::{Deserialize, Serialize};
use std::time::Duration;

use crate::{Error, Result, dedup::NONE};

/// When a group is shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Hold {
    /// At once: nothing is held.
    Never,
    /// Once it has `series` members or its firing has lasted: the same constants for everything.
    Static(StaticHold),
    /// Once the evidence is in, as learned per series. The default.
    Learned(HoldConfig),
}

impl Default for Hold {
    fn default() -> Self {
        Hold::Learned(HoldConfig::default())
    }
}

/// X in Y with constants.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StaticHold {
    /// X: shown at once with this many firings, of one series or several. Default 3.
    pub firings: u32,
    /// Y: shown when a firing has lasted this long. Default 4 minutes.
    pub lasting: Duration,
}

impl Default for StaticHold {
    fn default() -> Self {
        StaticHold { firings: 3, lasting: Duration::from_secs(240) }
    }
}

/// The learned hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HoldConfig {
    /// Shown at once from this probability of trouble on. Default 0.95.
    pub sure: f64,
    /// Shown at `decide_by` from this probability on. Default 0.03: one miss is taken to be as bad as
    /// thirty-two pages for nothing.
    pub likely: f64,
    /// Time after arrival by which a group is decided. Default 9.5 minutes: just less than the ten
    /// within which an incident counts as noticed.
    pub decide_by: Duration,
    /// Shown after `decide_by` from this probability on. Default 0.8: it is late anyway.
    pub late: f64,
    /// Alerts whose end nobody reports are shown at once if their series fires at most so often a day:
    /// waiting would tell nothing. Default 10; 0 for never.
    pub rare_per_day: f64,
    /// After this long, a kind of alert that never came up before is shown at once: it has no record of
    /// being nothing. Until something of it has ended, that is. Default 3 days.
    pub learning: Duration,
    /// Shown when it lasts this long, whatever the evidence: no hold is without an end. Default
    /// 2 hours.
    pub limit: Duration,
}

impl Default for HoldConfig {
    fn default() -> Self {
        HoldConfig {
            sure: 0.95,
            likely: 0.03,
            decide_by: Duration::from_secs(570),
            late: 0.8,
            rare_per_day: 10.0,
            learning: Duration::from_secs(3 * 86_400),
            limit: Duration::from_secs(7_200),
        }
    }
}

impl From<Prefer> for HoldConfig {
    /// Fewer misses: decide for trouble at 0.03, the default. Balanced: at 0.4. Fewer pages: at 0.8,
    /// and at once only at 0.99.
    fn from(prefer: Prefer) -> Self {
        let default = HoldConfig::default();
        match prefer {
            Prefer::FewerMisses => default,
            Prefer::Balanced => HoldConfig { likely: 0.4, ..default },
            Prefer::FewerPages => HoldConfig { sure: 0.99, likely: 0.8, late: 0.9, ..default },
        }
    }
}

impl Hold {
    pub(crate) fn check(&self) -> Result<()> {
        let Hold::Learned(hold) = self else { return Ok(()) };
        let shares =
            [("hold.sure", hold.sure), ("hold.likely", hold.likely), ("hold.late", hold.late)];
        for (field, share) in shares {
            if !(share > 0.0 && share < 1.0) {
                return Err(Error::config(field, format!("must be between 0 and 1, got {share}")));
            }
        }
        if hold.limit < hold.decide_by {
            return Err(Error::config(
                "hold.limit",
                format!("must not be less than decide_by, {:?}", hold.decide_by),
            ));
        }
        Ok(())
    }
}

/// One member of a group as evidence.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part {
    /// Index of the member that it hangs on, always smaller than its own; `NONE` for a root.
    pub(crate) parent: u32,
    /// Evidence if an incident began with it.
    pub(crate) founds: f64,
    /// Evidence from its link, if what it hangs on is trouble.
    pub(crate) follows: f64,
    /// Evidence from its lifetime.
    pub(crate) lasts: f64,
    /// Evidence from its lifetime, if what it hangs on is trouble: the two last and end together.
    pub(crate) lasts_with: f64,
    /// How many alerts should have followed it by now, if it is trouble.
    pub(crate) expected: f64,
}

/// For each member, ln of the odds that trouble began with it; `odds` is overwritten.
///
/// Any member may have begun it, not only the first: a noisy series may have been there before and
/// the incident hang on it by chance. Members that speak against are taken to be bystanders, which
/// costs nothing under either hypothesis.
pub(crate) fn log_odds(parts: &[Part], odds: &mut Vec<f64>) {
    odds.clear();
    odds.resize(parts.len(), 0.0);
    // Parents come before children, so going backwards sees every subtree before its root. Members
    // that followed each one are counted in the same pass.
    let mut followed = vec![0_u32; parts.len()];
    for at in (0..parts.len()).rev() {
        let part = &parts[at];
        let spread = spread_evidence(followed[at], part.expected);
        let below = odds[at] + spread;
        odds[at] = part.founds + part.lasts + below;
        if part.parent != NONE {
            let follows = part.follows + part.lasts_with + below;
            if follows > 0.0 {
                odds[part.parent as usize] += follows;
                followed[part.parent as usize] += 1;
            }
        }
    }
}

/// What the number of followers itself says, beside their times: ln of its likelihood when
/// `expected` were expected and trouble differs in how far it spreads.
///
/// The strength of the spread has a Gamma prior of shape 1 and mean 1, so for n followers this is
/// ln n! − (n + 1) ln(1 + expected). One alert among thirty silent neighbours speaks less than the
/// same alert where nobody else could have followed; and what has spread to many spreads on.
fn spread_evidence(followers: u32, expected: f64) -> f64 {
    let factorial: f64 = (2..=followers).map(|n| f64::from(n).ln()).sum();
    factorial - f64::from(followers + 1) * expected.ln_1p()
}

/// ln of the odds of a probability.
pub(crate) fn nats(probability: f64) -> f64 {
    (probability / (1.0 - probability)).ln()
}

/// The probability of odds given as their logarithm.
pub(crate) fn probability(nats: f64) -> f64 {
    1.0 / (1.0 + (-nats).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(parent: u32, founds: f64, follows: f64, lasts: f64) -> Part {
        Part { parent, founds, follows, lasts, lasts_with: lasts, expected: 0.0 }
    }

    #[test]
    fn evidence_adds_up_along_links() {
        let mut odds = Vec::new();
        let parts = [part(NONE, -3.0, 0.0, 1.0), part(0, -3.0, 4.0, 0.5), part(1, -3.0, 2.0, 0.0)];
        log_odds(&parts, &mut odds);
        let expected = [-3.0 + 1.0 + 4.0 + 0.5 + 2.0, -3.0 + 0.5 + 2.0, -3.0];
        assert!(odds.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{odds:?}");
    }

    #[test]
    fn a_noisy_bystander_does_not_drown_what_hangs_on_it() {
        let mut odds = Vec::new();
        let parts =
            [part(NONE, -9.0, 0.0, -1.0), part(0, -1.0, 3.0, 2.0), part(0, -3.0, -5.0, 0.0)];
        log_odds(&parts, &mut odds);
        assert!((odds[1] - 1.0).abs() < 1e-12);
        assert!((odds[0] - (-10.0 + 5.0)).abs() < 1e-12, "the bystander costs nothing");
    }

    /// Hand calculation: with shape 1, P(0) = 1/(1+Λ), and n events gain n!/(1+Λ)^(n+1).
    #[test]
    fn silence_where_many_should_have_followed_counts() {
        assert!((spread_evidence(0, 3.0) + 4.0_f64.ln()).abs() < 1e-12);
        assert!((spread_evidence(3, 1.0) - (6.0_f64.ln() - 4.0 * 2.0_f64.ln())).abs() < 1e-12);
        assert_eq!(spread_evidence(0, 0.0), 0.0);
    }

    #[test]
    fn nats_and_probability_are_inverse() {
        for p in [0.01, 0.5, 0.95] {
            assert!((probability(nats(p)) - p).abs() < 1e-12);
        }
    }
}
