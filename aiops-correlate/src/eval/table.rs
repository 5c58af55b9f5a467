//! The contingency table of true classes and predicted groups, and what is computed from it.

use std::collections::BTreeMap;

use super::Row;

/// The contingency table of true classes and predicted groups.
pub(super) struct Table {
    cells: BTreeMap<(u64, u64), f64>,
    classes: BTreeMap<u64, f64>,
    groups: BTreeMap<u64, f64>,
    total: f64,
}

impl Table {
    pub(super) fn new(rows: &[&Row]) -> Self {
        let mut table = Table {
            cells: BTreeMap::new(),
            classes: BTreeMap::new(),
            groups: BTreeMap::new(),
            total: rows.len() as f64,
        };
        for row in rows {
            *table.cells.entry((row.class, row.group)).or_default() += 1.0;
            *table.classes.entry(row.class).or_default() += 1.0;
            *table.groups.entry(row.group).or_default() += 1.0;
        }
        table
    }

    fn sums(&self) -> (f64, f64, f64, f64) {
        let pairs = |n: &f64| n * (n - 1.0) / 2.0;
        (
            self.cells.values().map(pairs).sum(),
            self.classes.values().map(pairs).sum(),
            self.groups.values().map(pairs).sum(),
            pairs(&self.total),
        )
    }

    /// Precision, recall and F1 over pairs of records.
    pub(super) fn pairs(&self) -> (f64, f64, f64) {
        let (both, classes, groups, _) = self.sums();
        let precision = if groups > 0.0 { both / groups } else { 1.0 };
        let recall = if classes > 0.0 { both / classes } else { 1.0 };
        (precision, recall, harmonic(precision, recall))
    }

    /// Hubert and Arabie's adjusted Rand index (1985, equation 5).
    pub(super) fn ari(&self) -> f64 {
        let (both, classes, groups, all) = self.sums();
        let expected = if all > 0.0 { classes * groups / all } else { 0.0 };
        let most = (classes + groups) / 2.0;
        if most == expected { 1.0 } else { (both - expected) / (most - expected) }
    }

    /// Rosenberg and Hirschberg's homogeneity and completeness (2007).
    pub(super) fn entropies(&self) -> (f64, f64) {
        let entropy = |parts: &BTreeMap<u64, f64>| -> f64 {
            parts.values().map(|n| -n / self.total * (n / self.total).ln()).sum()
        };
        let (of_classes, of_groups) = (entropy(&self.classes), entropy(&self.groups));
        let (mut class_given_group, mut group_given_class) = (0.0, 0.0);
        for ((class, group), n) in &self.cells {
            class_given_group -= n / self.total * (n / self.groups[group]).ln();
            group_given_class -= n / self.total * (n / self.classes[class]).ln();
        }
        let rest = |part: f64, whole: f64| if whole > 0.0 { 1.0 - part / whole } else { 1.0 };
        (rest(class_given_group, of_classes), rest(group_given_class, of_groups))
    }

    /// B-cubed F1 (Bagga and Baldwin 1998) of the records of each incident, averaged over incidents.
    pub(super) fn b_cubed(&self, rows: &[&Row]) -> f64 {
        let mut sums: BTreeMap<u32, (f64, f64, f64)> = BTreeMap::new();
        for row in rows {
            let Some(incident) = row.incident else { continue };
            let both = self.cells[&(row.class, row.group)];
            let sum = sums.entry(incident).or_default();
            sum.0 += both / self.groups[&row.group];
            sum.1 += both / self.classes[&row.class];
            sum.2 += 1.0;
        }
        let total: f64 = sums.values().map(|(p, r, n)| harmonic(p / n, r / n)).sum();
        if sums.is_empty() { 1.0 } else { total / sums.len() as f64 }
    }
}

fn harmonic(a: f64, b: f64) -> f64 {
    if a + b > 0.0 { 2.0 * a * b / (a + b) } else { 0.0 }
}
