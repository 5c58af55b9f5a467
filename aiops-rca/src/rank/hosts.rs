//! Hosts: whoever runs on a machine also loads it, so blame may have to travel the other way.

use super::magnitude::Weight;
use crate::prepare::{Deviation, Prepared, Suspect};
use aiops_core::{EdgeKind, MetricKind, Topology};
use std::collections::BTreeMap;

/// For each suspect the guest whose load explains it, if it is a host with such a guest.
///
/// A service depends on its host, so an abnormal host counts as an explanation of its guests: a full
/// disk, a noisy neighbour. But a guest that uses more processor or memory than before moves the same
/// series of its host, usually by more robust deviations because the host adds up all of them. So a
/// host is explained by a guest whose own use of either is abnormal and began no later. A host in
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
                onset <= host_onset + uncertain.max(prepared.step)
            })
    };
    guest.deviations.iter().any(|&index| rose(&prepared.deviations[index]))
}
