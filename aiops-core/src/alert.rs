//! An alert: one firing, from a detector of ours or from somebody else's rules.

use crate::hash::{CanonicalHasher, hash_id};
use crate::{Labels, SeriesHash, Timestamp};
use serde::{Deserialize, Serialize};
use std::fmt;

/// How bad it is said to be. Ordered: `Critical` is the greatest.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Worth looking at.
    #[default]
    Warning,
    /// Worth waking someone.
    Critical,
}

impl Severity {
    /// Reads the words that monitoring systems use, in any case.
    ///
    /// `page`, `error`, `high`, `fatal`, `emergency`, `alert`, `p1`, `sev1` mean critical; `info`,
    /// `notice`, `low`, `none`, `debug`, `ok` mean info; anything else means warning: an unknown
    /// word must not hide an alert, nor page for it.
    pub fn from_word(word: &str) -> Severity {
        match word.trim().to_ascii_lowercase().as_str() {
            "critical" | "crit" | "page" | "error" | "err" | "high" | "fatal" | "emergency"
            | "disaster" | "alert" | "p1" | "sev1" => Severity::Critical,
            "info" | "informational" | "information" | "notice" | "low" | "none" | "debug"
            | "ok" => Severity::Info,
            _ => Severity::Warning,
        }
    }

    /// The word that JSON uses.
    pub const fn name(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Critical => "critical",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

hash_id! {
    /// What makes two firings "the same alert": tenant, name and sorted labels, never values or
    /// annotations. See [`Fingerprint::of`].
    Fingerprint
}

impl Fingerprint {
    /// The fingerprint of an alert, leaving out labels whose name is in `ignored`.
    ///
    /// Ignore what tells senders apart rather than problems: `prometheus_replica`, `pod` of a
    /// deployment, a build number.
    ///
    /// ```
    /// use aiops_core::{Fingerprint, Labels};
    /// let a = Labels::from([("service", "api"), ("replica", "0")]);
    /// let b = Labels::from([("service", "api"), ("replica", "1")]);
    /// let of = |labels, ignored| Fingerprint::of("", "HighLatency", labels, ignored);
    /// assert_ne!(of(&a, &[]), of(&b, &[]));
    /// assert_eq!(of(&a, &["replica"]), of(&b, &["replica"]), "an HA pair is one alert");
    /// ```
    pub fn of(tenant: &str, name: &str, labels: &Labels, ignored: &[&str]) -> Self {
        let head = CanonicalHasher::new("alert").text(tenant).text(name);
        let kept = labels.iter().filter(|(name, _)| !ignored.contains(name));
        let hasher = kept.fold(head, |h, (name, value)| h.text(name).text(value));
        Fingerprint::from_u64(hasher.finish())
    }
}

hash_id! {
    /// The identity of one firing: hash(tenant, series, rule, window start), so that replaying the
    /// same input produces the same ids and a receiver can drop what it has.
    AlertId
}

impl AlertId {
    /// The id of the firing of `rule` on `series` in the window that began at `window_start`.
    pub fn of(tenant: &str, series: SeriesHash, rule: &str, window_start: Timestamp) -> Self {
        let hasher = CanonicalHasher::new("alert id")
            .text(tenant)
            .number(series.as_u64())
            .text(rule)
            .number(window_start.as_nanos() as u64);
        AlertId::from_u64(hasher.finish())
    }
}

/// One firing. Serialises with every field named; unknown fields are ignored when read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// Its identity; equal when the same firing is delivered twice.
    pub id: AlertId,
    /// Whose alert it is; empty in a single-tenant deployment.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub tenant: String,
    /// What makes it the same alert as an earlier firing.
    pub fingerprint: Fingerprint,
    /// The rule or detector that fired, for example `HighLatency`.
    pub name: String,
    /// How bad it is said to be.
    #[serde(default)]
    pub severity: Severity,
    /// The service it is about, a node of the topology, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// What identifies it.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
    /// What describes it; never part of its identity.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub annotations: Labels,
    /// When the problem began, on the sender's clock.
    pub starts_at: Timestamp,
    /// When it ended; `None` while it fires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<Timestamp>,
    /// When it arrived here, on our clock. Equal to `starts_at` where nothing better is known.
    pub received_at: Timestamp,
    /// Who sent it, for example `alertmanager` or `detector:robust`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub source: String,
}

impl Alert {
    /// An alert that fires since `starts_at`, with identity and fingerprint derived from its name
    /// and labels, and its service taken from the label `service`.
    pub fn new(name: impl Into<String>, labels: Labels, starts_at: Timestamp) -> Self {
        let name = name.into();
        let fingerprint = Fingerprint::of("", &name, &labels, &[]);
        Alert {
            id: AlertId::of("", SeriesHash::from_u64(fingerprint.as_u64()), &name, starts_at),
            tenant: String::new(),
            fingerprint,
            severity: labels.get("severity").map(Severity::from_word).unwrap_or_default(),
            service: labels.get("service").map(str::to_owned),
            name,
            labels,
            annotations: Labels::new(),
            starts_at,
            ends_at: None,
            received_at: starts_at,
            source: String::new(),
        }
    }

    /// Whether it says that the problem is over.
    pub fn is_resolved(&self) -> bool {
        self.ends_at.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprint_is_frozen() {
        let labels = Labels::from([("alertname", "Down"), ("service", "db")]);
        let fingerprint = Fingerprint::of("acme", "Down", &labels, &[]);
        let golden = include_str!("../tests/golden/fingerprint.txt");
        assert_eq!(fingerprint.to_string(), golden.trim());
    }

    #[test]
    fn annotations_and_times_do_not_change_the_fingerprint() {
        let labels = Labels::from([("service", "db")]);
        let mut a = Alert::new("Down", labels.clone(), Timestamp::from_secs(1));
        a.annotations.insert("value", "17");
        let b = Alert::new("Down", labels, Timestamp::from_secs(2));
        assert_eq!(a.fingerprint, b.fingerprint);
        assert_ne!(a.id, b.id);
    }

    #[test]
    fn an_unknown_severity_is_a_warning() {
        assert_eq!(Severity::from_word("purple"), Severity::Warning);
        assert_eq!(Severity::from_word(" PAGE "), Severity::Critical);
    }
}
