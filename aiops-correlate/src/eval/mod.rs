//! How good a correlator is, measured against the truth; every word is defined here.
//!
//! - **Suppression**: 1 − shown groups / firing records in. Resends inflate it, so the share of
//!   repeated records stands beside it, and the value of an oracle that shows one group for each
//!   true incident.
//! - A group is **owned** by the incident with most firing records in it. A group is **shown** when
//!   it first appears to people; a held one is not shown.
//! - **Missed (FN1)**: no shown group that the incident owns contains one of its alerts within ten
//!   minutes of the arrival of its first alert. Over incidents with at least one alert.
//! - **Hidden (FN2)**: the incident has an important alert (of its cause, or its first) whose series
//!   is, ten minutes after that alert's arrival, only in held groups or in groups owned by another
//!   incident. This is where merging two incidents shows. Over incidents with at least one alert.
//! - **Delay (FN3)**: from the arrival of the first alert to the first showing; median and 95th
//!   percentile over incidents that were shown at all.
//! - **Lost (FN4)**: records that the correlator knows nothing of. Must be 0.
//! - **Noise groups (FP1)**: shown groups without any alert of an incident, over shown groups.
//!   **Wrong members (FP2)**: firing records that are not of the owner, over firing records, in
//!   owned shown groups. **Groups an incident (FP3)**: owned shown groups, over incidents that own
//!   at least one.
//! - **Pairwise F1, adjusted Rand index, homogeneity, completeness** over all firing records; a
//!   noise or flapping episode is a class of its own, a record without a group a group of its own.
//!   One giant storm dominates pairs, so **B-cubed F1** is given averaged over incidents too.
//!
//! Judge foreign results with [`measure`] alone; [`place`] runs a [`Correlator`]
//! over a storm and says where everything went.

mod place;
mod shuffled;
mod table;

use aiops_core::{Alert, IncidentId, Timestamp, Topology};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::Correlator;
pub use place::{place, shown_groups};
pub use shuffled::shuffled;
use table::Table;

/// What a record really was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The alert of an incident's root.
    Cause,
    /// An alert that the incident brought about elsewhere.
    Symptom,
    /// The same record delivered twice.
    #[serde(rename = "dup")]
    Duplicate,
    /// Nothing.
    Noise,
    /// Nothing, again and again.
    Flap,
}

/// The truth about one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Truth {
    /// The incident it belongs to.
    pub incident: Option<u32>,
    /// What it was.
    pub kind: Kind,
    /// Whether hiding it hides the incident: of the cause, or the incident's first.
    pub important: bool,
    /// The firing or noise episode it belongs to; a noise episode is a class of its own.
    pub episode: u64,
}

/// Where one record ended up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// Whether the correlator knows it.
    pub known: bool,
    /// The incident it is in at the end.
    pub group: Option<IncidentId>,
    /// When it first stood in a shown group, on the arrival clock.
    pub first_shown: Option<Timestamp>,
}

/// What [`measure`] counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counting {
    /// Only records that arrive after this time count, and incidents whose first alert does: what
    /// came before is there to learn from.
    pub after: Timestamp,
    /// Time within which an incident must be shown. Ten minutes.
    pub within: Duration,
}

impl Default for Counting {
    fn default() -> Self {
        Counting { after: Timestamp::MIN, within: Duration::from_secs(600) }
    }
}

/// The measures, shares between 0 and 1.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[allow(missing_docs, reason = "each is defined in the module documentation")]
pub struct Measures {
    pub firing: usize,
    pub incidents: usize,
    pub repeated: f64,
    pub shown_groups: usize,
    pub suppression: f64,
    pub oracle_suppression: f64,
    pub missed: f64,
    pub hidden: f64,
    pub lost: usize,
    pub noise_groups: f64,
    pub wrong_members: f64,
    pub groups_per_incident: f64,
    pub delay_p50_s: f64,
    pub delay_p95_s: f64,
    pub precision: f64,
    pub recall: f64,
    pub f1: f64,
    pub ari: f64,
    pub homogeneity: f64,
    pub completeness: f64,
    pub b_cubed_f1: f64,
}

/// The mean of several runs; lost records are added up instead, because one is too many.
pub fn mean(all: &[Measures]) -> Measures {
    let n = all.len().max(1) as f64;
    let share = |of: fn(&Measures) -> f64| all.iter().map(of).sum::<f64>() / n;
    let count = |of: fn(&Measures) -> usize| {
        (all.iter().map(of).sum::<usize>() as f64 / n).round() as usize
    };
    Measures {
        firing: count(|m| m.firing),
        incidents: count(|m| m.incidents),
        repeated: share(|m| m.repeated),
        shown_groups: count(|m| m.shown_groups),
        suppression: share(|m| m.suppression),
        oracle_suppression: share(|m| m.oracle_suppression),
        missed: share(|m| m.missed),
        hidden: share(|m| m.hidden),
        lost: all.iter().map(|m| m.lost).sum(),
        noise_groups: share(|m| m.noise_groups),
        wrong_members: share(|m| m.wrong_members),
        groups_per_incident: share(|m| m.groups_per_incident),
        delay_p50_s: share(|m| m.delay_p50_s),
        delay_p95_s: share(|m| m.delay_p95_s),
        precision: share(|m| m.precision),
        recall: share(|m| m.recall),
        f1: share(|m| m.f1),
        ari: share(|m| m.ari),
        homogeneity: share(|m| m.homogeneity),
        completeness: share(|m| m.completeness),
        b_cubed_f1: share(|m| m.b_cubed_f1),
    }
}

/// Runs and measures in one go.
pub fn evaluate(
    correlator: &mut dyn Correlator,
    alerts: &[Alert],
    truth: &[Truth],
    topology: &Topology,
    counting: &Counting,
) -> Measures {
    let placed = place(correlator, alerts, topology);
    measure(alerts, truth, &placed, counting)
}

/// Measures where alerts ended up against the truth. The three slices run in parallel, in order of
/// arrival; surplus entries of a longer one are ignored.
pub fn measure(
    alerts: &[Alert],
    truth: &[Truth],
    placed: &[Placed],
    counting: &Counting,
) -> Measures {
    let all: Vec<Row> = alerts
        .iter()
        .zip(truth)
        .zip(placed)
        .enumerate()
        .map(|(at, ((alert, truth), placed))| Row::new(at, alert, truth, placed))
        .collect();
    let lost = all.iter().filter(|row| !row.known).count();
    let firing: Vec<&Row> = all.iter().filter(|row| row.firing).collect();
    let mut first_arrival: BTreeMap<u32, Timestamp> = BTreeMap::new();
    for row in &firing {
        if let Some(incident) = row.incident {
            let first = first_arrival.entry(incident).or_insert(row.arrived);
            *first = row.arrived.min(*first);
        }
    }
    first_arrival.retain(|_, first| *first > counting.after);
    let rows: Vec<&Row> = firing
        .into_iter()
        .filter(|row| row.arrived > counting.after)
        .filter(|row| row.incident.is_none_or(|i| first_arrival.contains_key(&i)))
        .collect();
    let groups = Groups::new(&rows);
    let incidents = first_arrival.len();
    let shown_groups = groups.shown.len();
    let noise = groups.shown.iter().filter(|g| !groups.owner.contains_key(*g)).count();
    let owned: Vec<u32> =
        groups.shown.iter().filter_map(|g| groups.owner.get(g)).copied().collect();
    let owners: BTreeSet<u32> = owned.iter().copied().collect();
    let (missed, hidden, mut delays) = misses(&rows, &groups, &first_arrival, counting.within);
    delays.sort_by(f64::total_cmp);
    let (wrong, members) = rows.iter().fold((0, 0), |(wrong, members), row| {
        let owner = groups.shown.get(&row.group).and_then(|g| groups.owner.get(g));
        match owner {
            Some(owner) => (wrong + usize::from(row.incident != Some(*owner)), members + 1),
            None => (wrong, members),
        }
    });
    let distinct: BTreeSet<(u64, u64)> = rows.iter().map(|row| (row.class, row.series)).collect();
    let table = Table::new(&rows);
    let (precision, recall, f1) = table.pairs();
    let (homogeneity, completeness) = table.entropies();
    Measures {
        firing: rows.len(),
        incidents,
        repeated: 1.0 - share(distinct.len(), rows.len()),
        shown_groups,
        suppression: 1.0 - share(shown_groups, rows.len()),
        oracle_suppression: 1.0 - share(incidents, rows.len()),
        missed: share(missed, incidents),
        hidden: share(hidden, incidents),
        lost,
        noise_groups: share(noise, shown_groups),
        wrong_members: share(wrong, members),
        groups_per_incident: share(owned.len(), owners.len()),
        delay_p50_s: quantile(&delays, 0.5),
        delay_p95_s: quantile(&delays, 0.95),
        precision,
        recall,
        f1,
        ari: table.ari(),
        homogeneity,
        completeness,
        b_cubed_f1: table.b_cubed(&rows),
    }
}

/// One record, reduced to what is measured.
#[derive(Debug)]
struct Row {
    arrived: Timestamp,
    firing: bool,
    known: bool,
    series: u64,
    incident: Option<u32>,
    important: bool,
    /// The true class: an incident, or a noise episode.
    class: u64,
    /// The predicted group; records without one are alone.
    group: u64,
    first_shown: Option<Timestamp>,
}

/// Set in the numbers of classes and groups that are not incidents.
const ALONE: u64 = 1 << 63;

impl Row {
    fn new(at: usize, alert: &Alert, truth: &Truth, placed: &Placed) -> Self {
        Row {
            arrived: alert.received_at,
            firing: !alert.is_resolved(),
            known: placed.known,
            series: alert.fingerprint.as_u64(),
            incident: truth.incident,
            important: truth.important,
            class: truth.incident.map_or(ALONE | truth.episode, u64::from),
            group: placed.group.map_or(ALONE | at as u64, |group| group.as_u64() & !ALONE),
            first_shown: placed.first_shown,
        }
    }
}

/// Which groups were shown, and whose they are.
struct Groups {
    shown: BTreeSet<u64>,
    owner: BTreeMap<u64, u32>,
}

impl Groups {
    fn new(rows: &[&Row]) -> Self {
        let mut shown = BTreeSet::new();
        let mut counts: BTreeMap<u64, BTreeMap<u32, usize>> = BTreeMap::new();
        for row in rows {
            if row.first_shown.is_some() {
                shown.insert(row.group);
            }
            if let Some(incident) = row.incident {
                *counts.entry(row.group).or_default().entry(incident).or_default() += 1;
            }
        }
        let most = |counts: &BTreeMap<u32, usize>| {
            // The first incident among those with equally many.
            counts
                .iter()
                .max_by_key(|(incident, n)| (**n, std::cmp::Reverse(**incident)))
                .map(|m| *m.0)
        };
        let owner = counts.iter().filter_map(|(group, c)| Some((*group, most(c)?))).collect();
        Groups { shown, owner }
    }
}

/// Counts missed and hidden incidents, and the delays of those that were shown, in seconds.
fn misses(
    rows: &[&Row],
    groups: &Groups,
    first_arrival: &BTreeMap<u32, Timestamp>,
    within: Duration,
) -> (usize, usize, Vec<f64>) {
    let mut shown_at: BTreeMap<u32, Timestamp> = BTreeMap::new();
    let mut series_shown: BTreeMap<(u32, u64), Timestamp> = BTreeMap::new();
    for row in rows {
        let Some(incident) = row.incident else { continue };
        let Some(at) = row.first_shown else { continue };
        if groups.owner.get(&row.group) == Some(&incident) {
            let earliest = shown_at.entry(incident).or_insert(at);
            *earliest = at.min(*earliest);
            let earliest = series_shown.entry((incident, row.series)).or_insert(at);
            *earliest = at.min(*earliest);
        }
    }
    let in_time = |incident: &u32, first: Timestamp| {
        shown_at.get(incident).is_some_and(|at| *at <= first + within)
    };
    let missed = first_arrival.iter().filter(|(i, first)| !in_time(i, **first)).count();
    let mut hidden = BTreeSet::new();
    for row in rows.iter().filter(|row| row.important) {
        let Some(incident) = row.incident else { continue };
        let at = series_shown.get(&(incident, row.series));
        if at.is_none_or(|at| *at > row.arrived + within) {
            hidden.insert(incident);
        }
    }
    let delays = shown_at.iter().filter_map(|(incident, at)| {
        first_arrival.get(incident).map(|first| at.seconds_after(*first))
    });
    (missed, hidden.len(), delays.collect())
}

/// 0 of 0 is 0.
fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

fn quantile(sorted: &[f64], q: f64) -> f64 {
    let last = sorted.len().saturating_sub(1) as f64;
    sorted.get((q * last).round() as usize).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use aiops_core::Labels;

    fn row(
        second: i64,
        service: &str,
        incident: Option<u32>,
        group: u64,
    ) -> (Alert, Truth, Placed) {
        let at = Timestamp::from_secs(second);
        let alert = Alert::new("Slow", Labels::from([("service", service)]), at);
        let truth = Truth {
            incident,
            kind: if incident.is_some() { Kind::Cause } else { Kind::Noise },
            important: incident.is_some(),
            episode: second as u64,
        };
        let group = Some(IncidentId::from_u64(group));
        (alert, truth, Placed { known: true, group, first_shown: Some(at) })
    }

    fn measured(rows: Vec<(Alert, Truth, Placed)>) -> Measures {
        let alerts: Vec<_> = rows.iter().map(|r| r.0.clone()).collect();
        let truth: Vec<_> = rows.iter().map(|r| r.1).collect();
        let placed: Vec<_> = rows.iter().map(|r| r.2).collect();
        measure(&alerts, &truth, &placed, &Counting::default())
    }

    #[test]
    fn one_group_for_each_incident_is_perfect() {
        let m = measured(vec![
            row(1, "a", Some(0), 10),
            row(2, "b", Some(0), 10),
            row(3, "c", Some(1), 11),
            row(4, "d", Some(1), 11),
        ]);
        assert_eq!((m.missed, m.hidden, m.noise_groups, m.wrong_members), (0.0, 0.0, 0.0, 0.0));
        assert_eq!(
            (m.f1, m.ari, m.homogeneity, m.completeness, m.b_cubed_f1),
            (1.0, 1.0, 1.0, 1.0, 1.0)
        );
        assert_eq!((m.suppression, m.oracle_suppression, m.groups_per_incident), (0.5, 0.5, 1.0));
    }

    /// Hand calculation: classes {a,b,c} {d,e}, groups {a,b} {c,d,e}: pairs in both 1 + 1 = 2, in
    /// classes 3 + 1 = 4, in groups 1 + 3 = 4, of 10; expected 1.6; ARI = 0.4 / 2.4 = 1/6.
    #[test]
    fn ari_and_pairs_by_hand() {
        let m = measured(vec![
            row(1, "a", Some(0), 10),
            row(2, "b", Some(0), 10),
            row(3, "c", Some(0), 11),
            row(4, "d", Some(1), 11),
            row(5, "e", Some(1), 11),
        ]);
        assert!((m.ari - 1.0 / 6.0).abs() < 1e-12);
        assert!((m.f1 - 0.5).abs() < 1e-12);
    }

    #[test]
    fn merging_two_incidents_misses_the_smaller_one() {
        let m = measured(vec![
            row(1, "a", Some(0), 10),
            row(2, "b", Some(0), 10),
            row(3, "c", Some(1), 10),
        ]);
        assert_eq!(m.missed, 0.5, "a group that another incident owns does not count");
        assert_eq!(m.hidden, 0.5);
        assert!((m.wrong_members - 1.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn held_late_and_noise_count_as_defined() {
        let mut held = row(1, "a", Some(0), 10);
        held.2.first_shown = None;
        let mut late = row(2, "b", Some(1), 11);
        late.2.first_shown = Some(Timestamp::from_secs(603));
        let mut in_time = row(3, "c", Some(2), 12);
        in_time.2.first_shown = Some(Timestamp::from_secs(603));
        let mut lost = row(5, "e", None, 14);
        lost.2 = Placed { known: false, group: None, first_shown: None };
        let m = measured(vec![held, late, in_time, row(4, "d", None, 13), lost]);
        assert!((m.missed - 2.0 / 3.0).abs() < 1e-12);
        assert!((m.noise_groups - 1.0 / 3.0).abs() < 1e-12, "one of the three shown");
        assert_eq!(m.lost, 1);
        assert_eq!(m.delay_p95_s, 601.0);
    }
}
