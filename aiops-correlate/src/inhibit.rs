//! Stage 4a: rules by which one alert makes others pointless while it fires.

use aiops_core::{Alert, AlertId};
use rustc_hash::{FxHashMap, FxHasher};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};

use crate::matcher::value_of;
use crate::{Error, Matcher, Result};

/// While alerts that match every one of `sources` fire, those that match `target` are inhibited, if
/// the labels in `equal` agree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InhibitRule {
    /// What it is called in reasons.
    pub name: String,
    /// What must fire; several must all fire.
    pub sources: Vec<Matcher>,
    /// What is inhibited then.
    pub target: Matcher,
    /// Labels that must have the same value on both sides: `host`, or `device=router` where the
    /// source's label `device` must equal the target's label `router`. A label that is missing on
    /// either side never agrees.
    #[serde(default)]
    pub equal: Vec<String>,
}

/// The rules, with the sources that fire.
///
/// An alert never inhibits itself, and what is inhibited still inhibits others: rules are applied to
/// what fires, not to what is shown, so their order means nothing. Time O(rules) an alert, whatever
/// fires.
///
/// ```
/// use aiops_core::{Alert, Labels, Timestamp};
/// use aiops_correlate::{InhibitRule, Inhibitions};
///
/// let mut rules = Inhibitions::new(vec![InhibitRule {
///     name: "a router that is down".into(),
///     sources: vec!["name=RouterDown".parse()?],
///     target: "name=LinkDown".parse()?,
///     equal: vec!["device=router".into()],
/// }])?;
/// let alert = |name: &str, label: (&str, &str)| {
///     Alert::new(name, Labels::from([label]), Timestamp::EPOCH)
/// };
/// let (router, link) = (alert("RouterDown", ("device", "r1")), alert("LinkDown", ("router", "r1")));
/// rules.update(&router);
/// assert_eq!(rules.inhibitor(&link), Some(("a router that is down", router.id)));
/// assert_eq!(rules.inhibitor(&alert("LinkDown", ("router", "r2"))), None);
/// rules.update(&Alert { ends_at: Some(Timestamp::from_secs(9)), ..router });
/// assert_eq!(rules.inhibitor(&link), None);
/// # Ok::<(), aiops_correlate::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Inhibitions {
    rules: Vec<Active>,
}

#[derive(Debug, Clone)]
struct Active {
    rule: InhibitRule,
    /// Labels of the source and of the target that must agree.
    equal: Vec<(String, String)>,
    /// For each source matcher: what fires, by the values that must agree and by fingerprint.
    firing: Vec<FxHashMap<u64, BTreeMap<u64, AlertId>>>,
}

impl Inhibitions {
    /// Rules with nothing firing.
    ///
    /// # Errors
    /// [`Error::Malformed`] for a rule without a source or with a target that matches everything.
    pub fn new(rules: Vec<InhibitRule>) -> Result<Self> {
        let active = |rule: InhibitRule| {
            let malformed = |reason: &str| Error::Malformed {
                what: "inhibition rule",
                reason: format!("{:?}: {reason}", rule.name),
            };
            if rule.sources.is_empty() {
                return Err(malformed("it has no source"));
            }
            if rule.target.is_empty() || rule.sources.iter().any(Matcher::is_empty) {
                return Err(malformed("a side without a condition would match every alert"));
            }
            let pair = |text: &String| {
                let (source, target) = text.split_once('=').unwrap_or((text, text));
                (source.trim().to_owned(), target.trim().to_owned())
            };
            let equal = rule.equal.iter().map(pair).collect();
            let firing = vec![FxHashMap::default(); rule.sources.len()];
            Ok(Active { rule, equal, firing })
        };
        Ok(Inhibitions { rules: rules.into_iter().map(active).collect::<Result<_>>()? })
    }

    /// Takes note of a record: its alert fires, or no more. Returns whether that ended an inhibition
    /// that may have held others.
    pub fn update(&mut self, alert: &Alert) -> bool {
        let fingerprint = alert.fingerprint.as_u64();
        let mut ended = false;
        for active in &mut self.rules {
            let key = key(alert, active.equal.iter().map(|(source, _)| source));
            let Some(key) = key else { continue };
            for (source, firing) in active.rule.sources.iter().zip(&mut active.firing) {
                if !source.matches(alert) {
                    continue;
                }
                if !alert.is_resolved() {
                    firing.entry(key).or_default().entry(fingerprint).or_insert(alert.id);
                } else if let Some(of_key) = firing.get_mut(&key) {
                    ended |= of_key.remove(&fingerprint).is_some();
                    if of_key.is_empty() {
                        firing.remove(&key);
                    }
                }
            }
        }
        ended
    }

    /// The rule that inhibits `alert` at present, and the alert of its first source.
    pub fn inhibitor(&self, alert: &Alert) -> Option<(&str, AlertId)> {
        let fingerprint = alert.fingerprint.as_u64();
        self.rules.iter().find_map(|active| {
            if !active.rule.target.matches(alert) {
                return None;
            }
            let key = key(alert, active.equal.iter().map(|(_, target)| target))?;
            let others = |firing: &FxHashMap<u64, BTreeMap<u64, AlertId>>| {
                let of_key = firing.get(&key)?;
                of_key.iter().find(|(other, _)| **other != fingerprint).map(|(_, id)| *id)
            };
            let mut by = active.firing.iter().map(others);
            let first = by.next()??;
            by.all(|other| other.is_some()).then_some((active.rule.name.as_str(), first))
        })
    }

    /// What fires, by rule, source, key and fingerprint: what a snapshot keeps.
    pub(crate) fn saved(&self) -> Vec<(u32, u32, u64, u64, AlertId)> {
        let mut saved = Vec::new();
        for (rule, active) in (0..).zip(&self.rules) {
            for (source, firing) in (0..).zip(&active.firing) {
                for (key, of_key) in firing {
                    saved.extend(of_key.iter().map(|(of, id)| (rule, source, *key, *of, *id)));
                }
            }
        }
        saved.sort_unstable();
        saved
    }

    /// Takes back what [`saved`](Self::saved) gave.
    pub(crate) fn restore(&mut self, saved: Vec<(u32, u32, u64, u64, AlertId)>) {
        for (rule, source, key, fingerprint, id) in saved {
            let active = self.rules.get_mut(rule as usize);
            let firing = active.and_then(|active| active.firing.get_mut(source as usize));
            if let Some(firing) = firing {
                firing.entry(key).or_default().insert(fingerprint, id);
            }
        }
    }

    /// Whether there is no rule.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }
}

/// Hash of the values of these labels; `None` if one is missing.
fn key<'a>(alert: &Alert, labels: impl Iterator<Item = &'a String>) -> Option<u64> {
    let mut hasher = FxHasher::default();
    for label in labels {
        let value = value_of(alert, label);
        if value.is_empty() {
            return None;
        }
        value.hash(&mut hasher);
    }
    Some(hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use aiops_core::{Labels, Timestamp};

    fn alert(name: &str, labels: &[(&str, &str)]) -> Alert {
        Alert::new(name, labels.iter().copied().collect::<Labels>(), Timestamp::EPOCH)
    }

    fn rule(sources: &[&str], target: &str, equal: &[&str]) -> Result<Inhibitions> {
        Inhibitions::new(vec![InhibitRule {
            name: "rule".into(),
            sources: sources.iter().map(|text| text.parse()).collect::<Result<_>>()?,
            target: target.parse()?,
            equal: equal.iter().map(|text| (*text).to_owned()).collect(),
        }])
    }

    #[test]
    fn several_sources_must_all_fire() {
        let mut rules = rule(&["name=A", "name=B"], "name=C", &["host"]).unwrap();
        let target = alert("C", &[("host", "h")]);
        rules.update(&alert("A", &[("host", "h")]));
        assert_eq!(rules.inhibitor(&target), None);
        rules.update(&alert("B", &[("host", "other")]));
        assert_eq!(rules.inhibitor(&target), None, "on another host");
        rules.update(&alert("B", &[("host", "h")]));
        assert!(rules.inhibitor(&target).is_some());
    }

    #[test]
    fn nothing_inhibits_itself_and_a_missing_label_agrees_with_nothing() {
        let mut rules = rule(&["severity=critical"], "name~*", &["host"]).unwrap();
        let mut one = alert("A", &[("host", "h")]);
        one.severity = aiops_core::Severity::Critical;
        rules.update(&one);
        assert_eq!(rules.inhibitor(&one), None);
        assert!(rules.inhibitor(&alert("B", &[("host", "h")])).is_some());
        assert_eq!(rules.inhibitor(&alert("B", &[])), None);
    }

    #[test]
    fn of_two_that_fire_one_is_enough_and_the_last_end_is_told() {
        let mut rules = rule(&["name=A"], "name=B", &[]).unwrap();
        let (x, y) = (alert("A", &[("pod", "x")]), alert("A", &[("pod", "y")]));
        rules.update(&x);
        rules.update(&y);
        let over =
            |alert: &Alert| Alert { ends_at: Some(Timestamp::from_secs(1)), ..alert.clone() };
        assert!(rules.update(&over(&x)));
        assert!(rules.inhibitor(&alert("B", &[])).is_some());
        assert!(rules.update(&over(&y)) && !rules.update(&over(&y)));
        assert_eq!(rules.inhibitor(&alert("B", &[])), None);
    }

    #[test]
    fn a_rule_that_would_hide_everything_is_refused() {
        assert!(rule(&[], "name=B", &[]).is_err());
        assert!(rule(&["name=A"], "", &[]).is_err());
        assert!(rule(&[""], "name=B", &[]).is_err());
    }
}
