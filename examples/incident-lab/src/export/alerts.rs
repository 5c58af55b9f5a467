//! Alert episodes from the history of Prometheus' `ALERTS` series.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::RawSeries;

/// Evaluations may be late by this much before a silence counts as the end.
const GAP_MS: i64 = 5_000;

/// One firing of one alert.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AlertEpisode {
    /// First evaluation at which it fired.
    pub starts_at_ms: i64,
    /// Last evaluation at which it fired; `None` when it still did at the end of the recording.
    pub ends_at_ms: Option<i64>,
    /// Name of the rule.
    pub name: String,
    /// `warning` or `critical`.
    pub severity: String,
    /// The service it is about.
    pub service: String,
    /// Other labels.
    pub labels: BTreeMap<String, String>,
    /// The rule's annotations.
    pub annotations: BTreeMap<String, String>,
}

/// Cuts each firing series at its silences; ordered by start, then name and labels.
pub fn episodes(
    firing: &[RawSeries],
    annotations: &BTreeMap<String, BTreeMap<String, String>>,
    (start_ms, end_ms): (i64, i64),
) -> Vec<AlertEpisode> {
    let mut found = Vec::new();
    for series in firing {
        let mut labels = series.labels.clone();
        let mut take = |name: &str| labels.remove(name).unwrap_or_default();
        let (name, severity, service) = (take("alertname"), take("severity"), take("service"));
        for internal in ["__name__", "alertstate", "instance", "job", "server"] {
            labels.remove(internal);
        }
        let mut times = series
            .samples
            .iter()
            .map(|(time, _)| *time)
            .filter(|time| (start_ms..=end_ms).contains(time));
        let Some(first) = times.next() else { continue };
        let mut close = |from: i64, to: i64| {
            found.push(AlertEpisode {
                starts_at_ms: from,
                ends_at_ms: (to + GAP_MS <= end_ms).then_some(to),
                name: name.clone(),
                severity: severity.clone(),
                service: service.clone(),
                labels: labels.clone(),
                annotations: annotations.get(&name).cloned().unwrap_or_default(),
            });
        };
        let (mut from, mut last) = (first, first);
        for time in times {
            if time - last > GAP_MS {
                close(from, last);
                from = time;
            }
            last = time;
        }
        close(from, last);
    }
    found.sort_by(|a, b| {
        (a.starts_at_ms, &a.name, &a.labels).cmp(&(b.starts_at_ms, &b.name, &b.labels))
    });
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silence_ends_an_episode_and_the_last_may_stay_open() {
        let labels = [
            ("alertname", "Slow"),
            ("severity", "warning"),
            ("service", "api"),
            ("instance", "x"),
            ("kind", "k"),
        ];
        let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let times = [0, 1_000, 2_000, 20_000, 21_000, 99_000, 100_000];
        let series = RawSeries { labels, samples: times.map(|time| (time, 1.0)).to_vec() };
        let found = episodes(&[series], &BTreeMap::new(), (1_000, 100_000));
        let spans: Vec<_> = found.iter().map(|e| (e.starts_at_ms, e.ends_at_ms)).collect();
        assert_eq!(spans, [(1_000, Some(2_000)), (20_000, Some(21_000)), (99_000, None)]);
        assert_eq!((found[0].name.as_str(), found[0].service.as_str()), ("Slow", "api"));
        assert_eq!(found[0].labels.keys().collect::<Vec<_>>(), ["kind"]);
    }
}
