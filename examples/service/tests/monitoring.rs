//! The dashboard and the alert rules name metrics, labels and values that there are.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeSet;

const MANUAL: &str = include_str!("../../../docs/operating.md");
const FILES: [&str; 2] =
    [include_str!("../monitoring/alerts.yaml"), include_str!("../monitoring/grafana.json")];

/// The row of a metric in the manual.
fn row(metric: &str) -> &'static str {
    let named = format!("`{metric}`");
    MANUAL
        .lines()
        .find(|line| line.starts_with('|') && line.contains(&named))
        .unwrap_or_else(|| panic!("{metric} is not in docs/operating.md"))
}

#[test]
fn every_metric_and_label_is_in_the_manual() {
    let mut metrics = BTreeSet::new();
    for file in FILES {
        for (at, _) in file.match_indices("aiops_") {
            let name = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let rest = &file[at..];
            let metric = &rest[..rest.find(|c| !name(c)).unwrap()];
            metrics.insert(metric);
            let Some(labels) = rest[metric.len()..].strip_prefix('{') else { continue };
            let label = labels.split(['=', '!']).next().unwrap();
            assert!(row(metric).contains(&format!("`{label}`")), "{metric} has no label {label}");
            let value = labels.split('"').nth(1).unwrap();
            assert!(
                row(metric).contains(&format!("`{value}`")),
                "{metric}: {label} is never {value}"
            );
        }
        for (at, _) in file.match_indices("sum by (") {
            let (label, rest) = file[at + "sum by (".len()..].split_once(')').unwrap();
            let metric = &rest[rest.find("aiops_").unwrap()..rest.find('[').unwrap()];
            assert!(row(metric).contains(&format!("`{label}`")), "{metric} has no label {label}");
        }
    }
    assert!(metrics.len() > 10, "{metrics:?}");
    serde_json::from_str::<serde_json::Value>(FILES[1]).unwrap();
}
