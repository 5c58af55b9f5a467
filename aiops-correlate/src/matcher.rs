//! Which alerts a rule is about: conditions on labels, written as `name=DiskFull, service~db-*`.

use aiops_core::Alert;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

use crate::Error;

/// Conditions that an alert must all meet; without any it matches every alert.
///
/// The text form is a list of `label=value`, `label!=value`, `label~pattern` and `label!~pattern`,
/// separated by commas. In a pattern `*` stands for any text and everything else for itself: no
/// regular expressions, so a rule cannot be slow and reads the same to everybody. The labels `name`,
/// `service`, `severity`, `source` and `tenant` are the fields of the alert; a label that is missing
/// is the empty text.
///
/// ```
/// use aiops_core::{Alert, Labels, Timestamp};
/// use aiops_correlate::Matcher;
///
/// let matcher: Matcher = "name=DiskFull, service~db-*, zone!=test".parse()?;
/// let alert = |service| Alert::new("DiskFull", Labels::from([("service", service)]), Timestamp::EPOCH);
/// assert!(matcher.matches(&alert("db-7")));
/// assert!(!matcher.matches(&alert("web-7")));
/// assert_eq!(matcher.to_string(), "name=DiskFull, service~db-*, zone!=test");
/// # Ok::<(), aiops_correlate::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Matcher {
    conditions: Vec<Condition>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Condition {
    label: String,
    holds: bool,
    pattern: bool,
    text: String,
}

impl Matcher {
    /// Whether `alert` meets every condition. Time O(conditions · length).
    pub fn matches(&self, alert: &Alert) -> bool {
        self.conditions.iter().all(|condition| {
            let value = value_of(alert, &condition.label);
            let equal = match condition.pattern {
                true => is_like(value, &condition.text),
                false => value == condition.text,
            };
            equal == condition.holds
        })
    }

    /// Whether it has no condition.
    pub fn is_empty(&self) -> bool {
        self.conditions.is_empty()
    }
}

/// The value of a label, or of the field that goes by that name; empty where there is none.
pub(crate) fn value_of<'a>(alert: &'a Alert, label: &str) -> &'a str {
    match label {
        "name" => &alert.name,
        "service" => alert.service.as_deref().unwrap_or_default(),
        "severity" => alert.severity.name(),
        "source" => &alert.source,
        "tenant" => &alert.tenant,
        label => alert.labels.get(label).unwrap_or_default(),
    }
}

/// Whether `text` is like `pattern`, in which `*` stands for anything.
///
/// Greedy with one remembered star: O(text · stars) at worst, and no recursion.
pub(crate) fn is_like(text: &str, pattern: &str) -> bool {
    let (text, pattern) = (text.as_bytes(), pattern.as_bytes());
    let (mut at, mut wanted) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while at < text.len() {
        if pattern.get(wanted) == Some(&b'*') {
            star = Some((wanted, at));
            wanted += 1;
        } else if pattern.get(wanted) == Some(&text[at]) {
            (at, wanted) = (at + 1, wanted + 1);
        } else if let Some((before, taken)) = star {
            star = Some((before, taken + 1));
            (at, wanted) = (taken + 1, before + 1);
        } else {
            return false;
        }
    }
    pattern[wanted..].iter().all(|&rest| rest == b'*')
}

impl FromStr for Matcher {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        Ok(Matcher { conditions: parts.map(condition).collect::<Result<_, _>>()? })
    }
}

fn condition(part: &str) -> Result<Condition, Error> {
    // Longest sign first, so that `!=` is not read as `=`.
    for (sign, holds, pattern) in
        [("!=", false, false), ("!~", false, true), ("=", true, false), ("~", true, true)]
    {
        if let Some((label, value)) = part.split_once(sign)
            && !label.contains(['=', '~', '!'])
        {
            let (label, text) = (label.trim(), value.trim());
            if label.is_empty() {
                break;
            }
            return Ok(Condition { label: label.into(), holds, pattern, text: text.into() });
        }
    }
    Err(Error::Malformed {
        what: "condition",
        reason: format!("{part:?} is none of label=value, label!=value, label~text*, label!~text*"),
    })
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, condition) in self.conditions.iter().enumerate() {
            let sign = match (condition.holds, condition.pattern) {
                (true, false) => "=",
                (false, false) => "!=",
                (true, true) => "~",
                (false, true) => "!~",
            };
            let comma = if number > 0 { ", " } else { "" };
            write!(f, "{comma}{}{sign}{}", condition.label, condition.text)?;
        }
        Ok(())
    }
}

impl TryFrom<String> for Matcher {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Matcher> for String {
    fn from(matcher: Matcher) -> String {
        matcher.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aiops_core::{Labels, Timestamp};

    #[test]
    fn a_star_stands_for_any_text() {
        for (text, pattern, like) in [
            ("", "", true),
            ("", "*", true),
            ("abc", "a*c", true),
            ("abcabc", "a*bc", true),
            ("abcab", "a*bc", false),
            ("abc", "*b*", true),
            ("abc", "ab", false),
            ("aaaa", "*a*a*a*a*a", false),
        ] {
            assert_eq!(is_like(text, pattern), like, "{text:?} like {pattern:?}");
        }
    }

    #[test]
    fn fields_and_labels_are_asked_alike() {
        let mut alert =
            Alert::new("Slow", Labels::from([("service", "api"), ("zone", "a")]), Timestamp::EPOCH);
        alert.severity = aiops_core::Severity::Critical;
        let matches = |text: &str| text.parse::<Matcher>().unwrap().matches(&alert);
        assert!(matches("name=Slow, service=api, severity=critical, zone=a, rack="));
        assert!(matches("zone!~b*") && matches("") && matches("service!=web"));
        assert!(!matches("service=api, zone=b"));
    }

    #[test]
    fn what_is_no_condition_is_refused_and_text_survives() {
        for bad in ["api", "=x", "service", "a=1, nothing"] {
            assert!(bad.parse::<Matcher>().is_err(), "{bad:?}");
        }
        let text = "service~db-*, zone!=test, name!~*Info, host=a=b";
        let matcher: Matcher = text.parse().unwrap();
        assert_eq!(matcher.to_string(), text);
        let json = serde_json::to_string(&matcher).unwrap();
        assert_eq!(serde_json::from_str::<Matcher>(&json).unwrap(), matcher);
    }
}
