//! Grouping where no topology helps: alerts that read alike and begin together.

use aiops_core::{Alert, Topology};
use linfa::prelude::*;
use linfa_clustering::Dbscan;
use ndarray16::Array2;
use serde::{Deserialize, Serialize};
use std::hash::{Hash, Hasher};
use std::time::Duration;

use crate::{Error, Result};

/// Groups of alerts of services that the topology does not know, by onset and wording.
///
/// Finds the same trouble on many services of which nobody said how they depend on each other: the
/// one certificate that expired under forty names. Fails to see a cause that shows in differently
/// worded alerts, and takes two troubles of one wording that overlap for one. Alerts of services with
/// neighbours in the topology are left out: relations say more than words.
///
/// Every alert becomes a point: its onset in units of [`window`](Self::window), and a direction of
/// length 1 from the words of its name and of its labels (numbers, the service, the host and the pod
/// left out), hashed into 16 dimensions. DBSCAN joins points that lie within
/// [`reach`](Self::reach) of each other. Two alerts of one wording half a window apart are 0.5 apart;
/// two with nothing in common about 1.4. Time O(n log n) to O(n²), memory O(n).
///
/// It is a proposal, made for a batch: what to do with it is the caller's choice, usually
/// [`Correction::Merge`](crate::Correction::Merge), which can be undone.
///
/// ```
/// use aiops_core::{Alert, Labels, Timestamp, Topology};
/// use aiops_correlate::SimilarConfig;
/// let alert = |service, name, second| {
///     Alert::new(name, Labels::from([("service", service)]), Timestamp::from_secs(second))
/// };
/// let alerts = [
///     alert("a", "CertificateExpired", 0),
///     alert("b", "CertificateExpired", 20),
///     alert("c", "DiskFull", 25),
///     alert("d", "CertificateExpired", 4_000),
/// ];
/// let groups = SimilarConfig::default().groups(&alerts, &Topology::new())?;
/// assert_eq!(groups, [Some(0), Some(0), None, None]);
/// # Ok::<(), aiops_correlate::Error>(())
/// ```
///
/// Source: Ester, Kriegel, Sander & Xu 1996, "A density-based algorithm for discovering clusters"; the
/// clustering is that of `linfa-clustering`, the features are ours (hashing as in Weinberger et al.
/// 2009, unsigned).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SimilarConfig {
    /// Onsets this far apart are 1 apart. Default 5 minutes, as for links.
    pub window: Duration,
    /// Points this close are neighbours. Default 0.5 (a guess: less than one differing word in two).
    pub reach: f64,
    /// Neighbours, itself included, that make an alert the core of a group. Default 2.
    pub at_least: usize,
}

impl Default for SimilarConfig {
    fn default() -> Self {
        SimilarConfig { window: Duration::from_secs(300), reach: 0.5, at_least: 2 }
    }
}

/// Dimensions of the wording.
const WORDING: usize = 16;
/// Labels that say where, not what.
const PLACES: [&str; 5] = ["service", "host", "instance", "pod", "node"];

impl SimilarConfig {
    /// The group of each alert, numbered from 0 in the order in which they first occur; `None` for one that
    /// is alone, resolved, or of a service with neighbours in `topology`.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] for settings out of range; nothing was grouped.
    pub fn groups(&self, alerts: &[Alert], topology: &Topology) -> Result<Vec<Option<usize>>> {
        let window = self.window.as_secs_f64();
        if self.window.is_zero() {
            return Err(Error::config("window", "must be longer than nothing"));
        }
        if !(self.reach > 0.0 && self.reach.is_finite()) {
            let reason = format!("must be finite and > 0, got {}", self.reach);
            return Err(Error::config("reach", reason));
        }
        if self.at_least < 2 {
            return Err(Error::config("at_least", format!("must be >= 2, got {}", self.at_least)));
        }
        let of: Vec<usize> =
            (0..alerts.len()).filter(|at| is_alone(&alerts[*at], topology)).collect();
        let Some(first) = of.iter().map(|at| alerts[*at].starts_at).min() else {
            return Ok(vec![None; alerts.len()]);
        };
        let mut points = Vec::with_capacity(of.len() * (WORDING + 1));
        for &at in &of {
            points.push(alerts[at].starts_at.seconds_after(first) / window);
            points.extend(wording(&alerts[at]));
        }
        let table = Array2::from_shape_vec((of.len(), WORDING + 1), points)
            .expect("as many values as alerts times dimensions");
        let clusters = Dbscan::params(self.at_least)
            .tolerance(self.reach)
            .transform(&table)
            .map_err(|error| Error::config("reach", error.to_string()))?;
        let mut numbers = Vec::new();
        let mut groups = vec![None; alerts.len()];
        for (at, cluster) in of.into_iter().zip(&clusters) {
            groups[at] = cluster.map(|cluster| {
                numbers.iter().position(|known| *known == cluster).unwrap_or_else(|| {
                    numbers.push(cluster);
                    numbers.len() - 1
                })
            });
        }
        Ok(groups)
    }
}

/// Whether nothing is known of what the alert's service depends on.
fn is_alone(alert: &Alert, topology: &Topology) -> bool {
    let node = alert.service.as_deref().and_then(|service| topology.node_id(service));
    let near = node.is_some_and(|node| {
        use aiops_core::Depends::{Dependencies, Dependents};
        !topology.neighbours(node, Dependencies).is_empty()
            || !topology.neighbours(node, Dependents).is_empty()
    });
    !alert.is_resolved() && !near
}

/// The words of an alert as a direction: its name split at capitals and separators, and its labels.
fn wording(alert: &Alert) -> [f64; WORDING] {
    let mut counts = [0.0; WORDING];
    let mut word = String::new();
    let mut end = |word: &mut String| {
        if word.chars().any(char::is_alphabetic) {
            let mut hasher = rustc_hash::FxHasher::default();
            word.hash(&mut hasher);
            // The high bits are the mixed ones.
            counts[(hasher.finish() >> 60) as usize % WORDING] += 1.0;
        }
        word.clear();
    };
    let labels = alert.labels.iter().filter(|(key, _)| !PLACES.contains(key));
    for text in std::iter::once(alert.name.as_str()).chain(labels.map(|(_, value)| value)) {
        let mut lower = false;
        for letter in text.chars() {
            if !letter.is_alphabetic() || letter.is_uppercase() && lower {
                end(&mut word);
            }
            if letter.is_alphabetic() {
                word.extend(letter.to_lowercase());
            }
            lower = letter.is_lowercase();
        }
        end(&mut word);
    }
    let length = counts.iter().map(|c| c * c).sum::<f64>().sqrt().max(1.0);
    counts.map(|count| count / length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use aiops_core::{Edge, EdgeKind, Labels, NodeKind, Timestamp};

    fn alert(service: &str, name: &str, second: i64) -> Alert {
        Alert::new(name, Labels::from([("service", service)]), Timestamp::from_secs(second))
    }

    #[test]
    fn numbers_and_places_are_no_words() {
        let mut one = alert("a", "Queue7Backlog", 0);
        one.labels.insert("pod", "a-77f");
        one.labels.insert("what", "queue 12 is 90% full");
        let mut other = alert("b", "queue_backlog", 0);
        other.labels.insert("what", "queue 3 is 71% full");
        assert_eq!(wording(&one), wording(&other));
        assert_eq!(wording(&alert("a", "42", 0)), [0.0; WORDING]);
    }

    #[test]
    fn services_with_neighbours_and_what_is_over_are_left_out() {
        let now = Timestamp::EPOCH;
        let mut topology = Topology::new();
        let [a, b] = ["a", "b"].map(|name| topology.upsert_node(name, NodeKind::Service, now));
        topology.upsert_edge(a, b, Edge::new(EdgeKind::Calls, "test", now)).unwrap();
        let mut over = alert("e", "Slow", 3);
        over.ends_at = Some(Timestamp::from_secs(9));
        let alerts = [
            alert("a", "Slow", 0),
            alert("b", "Slow", 1),
            alert("c", "Slow", 2),
            over,
            alert("d", "Slow", 4),
        ];
        let groups = SimilarConfig::default().groups(&alerts, &topology).unwrap();
        assert_eq!(groups, [None, None, Some(0), None, Some(0)]);
        assert_eq!(SimilarConfig::default().groups(&[], &topology).unwrap(), []);
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        let bad = [
            SimilarConfig { window: Duration::ZERO, ..SimilarConfig::default() },
            SimilarConfig { reach: f64::NAN, ..SimilarConfig::default() },
            SimilarConfig { at_least: 1, ..SimilarConfig::default() },
        ];
        for config in bad {
            let refused = config.groups(&[alert("a", "Slow", 0)], &Topology::new());
            assert!(matches!(refused, Err(Error::InvalidConfig { .. })), "{config:?}");
        }
    }
}
