//! Hosts: whoever runs on a machine also loads it, so blame may have to travel the other way.

use super::magnitude::Weight;
use crate::prepare::{Deviation, Prepared, Suspect};
use aiops_core::{EdgeKind, MetricKind, Topology};
use std::collections::BTreeMap;

/// How many steps the onsets of a guest and its host may be apart when they are one. A guess: two
/// for rates over one step, read up to a step apart, and a detector's own step or two.
const APART: u32 = 5;

/// For each suspect the guest whose load explains it, if it is a host with such a guest.
///
/// A service depends on its host, so an abnormal host counts as an explanation of its guests: a full
/// disk, a noisy neighbour. But a guest that uses more processor or memory than before moves the same
/// series of its host, usually by more robust deviations because the host adds up all of them. So a
/// host is explained by a guest whose own use of either is abnormal and began no later, by a few steps
/// at most: the two are read by different exporters at different moments, and rates smear. A host in
/// trouble whose guests use no more than before explains itself. Of several guests the one that
/// weighs most, then the first by node, stands for all.
pub(super) fn driven_by(
    topology: &Topology,
    prepared: &Prepared,
    weights: &[Weight],
    abnormal: f64,
) -> Vec<Option<usize>> {
    let suspects = &prepared.suspects;
    let by_node: BTreeMap<_, usize> =
        suspects.iter().enumerate().filter_map(|(i, s)| Some((s.node?, i))).collect();
    let mut driven: Vec<Option<usize>> = vec![None; suspects.len()];
    let runs_on = topology.edges().filter(|(_, _, edge)| edge.kind == EdgeKind::RunsOn);
    for (guest, host, _) in runs_on {
        let (Some(&guest), Some(&host)) = (by_node.get(&guest), by_node.get(&host)) else {
            continue;
        };
        let heavier = |other: usize| weights[guest].value > weights[other].value;
        if loads(prepared, &suspects[guest], &suspects[host], abnormal)
            && driven[host].is_none_or(heavier)
        {
            driven[host] = Some(guest);
        }
    }
    driven
}

/// Whether the guest's own use of the machine is abnormal and began no later than the host's trouble.
fn loads(prepared: &Prepared, guest: &Suspect, host: &Suspect, abnormal: f64) -> bool {
    let Some(host_onset) = host.onset else { return false };
    let rose = |deviation: &Deviation| {
        matches!(deviation.kind, MetricKind::Cpu | MetricKind::Memory)
            && deviation.score >= abnormal
            && deviation.onset.is_none_or(|onset| {
                let uncertain = deviation.onset_uncertainty.max(host.onset_uncertainty);
                onset <= host_onset + uncertain.max(prepared.step.saturating_mul(APART))
            })
    };
    guest.deviations.iter().any(|&index| rose(&prepared.deviations[index]))
}

#[cfg(test)]
mod tests {
    use crate::{Context, DefaultConfig, MetricInfo, RootCauseAnalyzer};
    use aiops_core::{Edge, EdgeKind, Frame, MetricKind, NodeKind, SeriesKey, Timestamp, Topology};
    use std::time::Duration;

    /// Who is blamed when the processor of a host rises at 600 and that of its guest at `guest`.
    fn blamed(guest: Option<usize>) -> String {
        let mut topology = Topology::new();
        let [host, api] = [("host", NodeKind::Host), ("api", NodeKind::Service)]
            .map(|(name, kind)| topology.upsert_node(name, kind, Timestamp::EPOCH));
        let edge = Edge::new(EdgeKind::RunsOn, "test", Timestamp::EPOCH);
        topology.upsert_edge(api, host, edge).unwrap();
        let noise = |t: usize, row: usize| ((t * 7_919 + row * 31) % 13) as f64 / 130.0;
        let row = |number: usize, from: Option<usize>, by: f64| {
            (0..720).map(move |t| {
                1.0 + noise(t, number) + if from.is_some_and(|f| t >= f) { by } else { 0.0 }
            })
        };
        let rows = [
            ("host", MetricKind::Cpu, Some(600), 9.0),
            ("api", MetricKind::Cpu, guest, 3.0),
            ("api", MetricKind::Latency, Some(605), 3.0),
        ];
        let keys = rows.map(|r| SeriesKey::new(format!("{:?}", r.1), [("service", r.0)])).to_vec();
        let infos = rows.map(|r| MetricInfo::new(r.0, r.1));
        let values = rows.iter().enumerate().flat_map(|(i, r)| row(i, r.2, r.3)).collect();
        let window = Frame::new(keys, Timestamp::EPOCH, Duration::from_secs(1), values).unwrap();
        let began = Timestamp::from_secs(600);
        let context = Context::new(&window, &infos, &topology, began).unwrap();
        let ranking = DefaultConfig::default().build().unwrap().rank(&context).unwrap();
        ranking.candidates[0].cause.to_string()
    }

    #[test]
    fn a_guest_that_loads_its_host_is_blamed_and_a_host_in_trouble_is_too() {
        assert_eq!(blamed(Some(600)), "api", "the guest rose no later");
        assert_eq!(blamed(None), "host", "no guest uses more than before");
        assert_eq!(blamed(Some(660)), "host", "the guest rose a minute later");
    }
}
