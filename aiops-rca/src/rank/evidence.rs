//! Evidence as data: why a candidate stands where it stands, and what would change that.

use super::bayes::Case;
use aiops_core::{Cause, Depends, Evidence, NodeId, Ranking, Reason, Topology};
use std::collections::{BTreeMap, VecDeque};

/// How many metrics, and how many symptoms, one candidate may bring forward.
const METRICS: usize = 3;
const SYMPTOMS: usize = 3;

/// Writes out the evidence of the first `limit` candidates.
pub(super) fn explain(case: &Case<'_>, ranking: &mut Ranking, limit: usize) {
    let runner_up = match ranking.candidates.as_slice() {
        // Scores are tempered; what they are made of is compared.
        [first, second, ..] => {
            let ratio = (first.score / second.score).powf(case.temperature);
            Some((second.cause.clone(), ratio))
        }
        _ => None,
    };
    for (rank, candidate) in ranking.candidates.iter_mut().take(limit).enumerate() {
        let mut evidence = match &candidate.cause {
            Cause::Change { service, event, title } => {
                let change = case.context.changes.iter().find(|change| change.id == *event);
                let onset = case.prepared.first_onset.unwrap_or(case.context.began);
                let mut evidence = vec![];
                if let Some(change) = change {
                    let before = onset.since(change.starts_at).as_secs_f64()
                        - change.starts_at.since(onset).as_secs_f64();
                    evidence.push(Evidence::Change {
                        title: title.clone(),
                        service: service.clone().unwrap_or_default(),
                        before_onset_s: before,
                    });
                }
                evidence.extend(service.iter().flat_map(|service| of_service(case, service)));
                evidence
            }
            cause => cause.service().map(|s| of_service(case, s)).unwrap_or_default(),
        };
        if let (0, Some((other, ratio))) = (rank, &runner_up) {
            evidence.push(counterfactual(&candidate.cause, other, *ratio));
        }
        candidate.evidence = evidence;
    }
}

fn of_service(case: &Case<'_>, service: &str) -> Vec<Evidence> {
    let prepared = case.prepared;
    let mut evidence = vec![];
    let Some(index) = prepared.suspect(service) else {
        // A change of a service without metrics: only its path can be shown.
        if let Some(node) = case.graph.topology().node_id(service) {
            evidence.extend(paths(case, node, None));
        }
        return evidence;
    };
    let suspect = &prepared.suspects[index];
    if let (Some(at), Some(first)) = (suspect.onset, prepared.first_onset) {
        evidence.push(Evidence::Onset {
            subject: service.to_owned(),
            at,
            uncertainty_s: suspect.onset_uncertainty.as_secs_f64(),
            after_first_s: at.since(first).as_secs_f64(),
        });
    }
    let weight = case.weights[index];
    let others = suspect.deviations.iter().copied().filter(|d| Some(*d) != weight.by);
    for deviation in weight.by.into_iter().chain(others).take(METRICS) {
        let deviation = &prepared.deviations[deviation];
        if deviation.score > 0.0 {
            evidence.push(Evidence::Magnitude {
                metric: deviation.metric(),
                score: deviation.score,
                expected: deviation.expected,
                observed: deviation.observed,
            });
        }
    }
    if let Some(share) = weight.share {
        let percent = share * 100.0;
        let sentence =
            format!("trouble of {service} is enough for {percent:.0} % of what users feel");
        let reason = Reason::new("explains_symptom", sentence).with("share", share);
        evidence.push(Evidence::Other { reason: reason.with("service", service) });
    }
    if let Some(guest) = case.driven[index] {
        let guest = &prepared.suspects[guest].service;
        let sentence = format!(
            "{guest} runs on {service} and began to use more of it no later than {service} showed it"
        );
        let reason = Reason::new("driven_by_guest", sentence).with("guest", guest.as_str());
        evidence.push(Evidence::Other { reason: reason.with("host", service) });
    }
    if let Some(node) = suspect.node {
        evidence.extend(paths(case, node, Some(index)));
        evidence.push(explained(case, index));
    }
    evidence
}

fn explained(case: &Case<'_>, index: usize) -> Evidence {
    let suspects = &case.prepared.suspects;
    let (prior, service) = (&case.priors[index], &suspects[index].service);
    let names: Vec<String> =
        prior.explained_by.iter().map(|&i| suspects[i].service.clone()).collect();
    let sentence = match names.as_slice() {
        [] => format!("nothing that {service} depends on is abnormal, so it explains itself"),
        [one] => format!("{service} depends on {one}, which is abnormal too and began no later"),
        many => format!(
            "{service} depends on {} services that are abnormal too and began no later",
            many.len()
        ),
    };
    let reason = Reason::new("abnormal_dependencies", sentence)
        .with("count", names.len())
        .with("prior", prior.value)
        .with("services", names);
    Evidence::Other { reason }
}

/// The shortest ways from a node to the symptoms, or, when none was named, to the abnormal services
/// that no abnormal service depends on.
fn paths(case: &Case<'_>, from: NodeId, own: Option<usize>) -> Vec<Evidence> {
    let prepared = case.prepared;
    let mut heads = prepared.symptom_suspects();
    if heads.is_empty() {
        let abnormal = |i: &usize| case.weights[*i].abnormal;
        heads = (0..prepared.suspects.len()).filter(abnormal).collect();
        heads.retain(|&i| {
            let node = prepared.suspects[i].node;
            let above = node.map(|node| case.graph.suspects_above(node)).unwrap_or_default();
            !above.iter().any(|other| *other != i && case.weights[*other].abnormal)
        });
    }
    let heads = heads.into_iter().filter(|head| Some(*head) != own);
    let nodes = heads.filter_map(|head| prepared.suspects[head].node);
    let topology = case.graph.topology();
    nodes
        .filter_map(|to| shortest(topology, from, to))
        .take(SYMPTOMS)
        .map(|nodes| Evidence::Path { nodes })
        .collect()
}

/// The way that trouble takes: from a dependency to its dependents. Among equally short ones the
/// one over the earlier nodes.
fn shortest(topology: &Topology, from: NodeId, to: NodeId) -> Option<Vec<String>> {
    let mut came_from: BTreeMap<NodeId, NodeId> = BTreeMap::new();
    let mut frontier = VecDeque::from([from]);
    while let Some(node) = frontier.pop_front() {
        if node == to {
            break;
        }
        let mut next = topology.neighbours(node, Depends::Dependents);
        next.sort_unstable();
        for other in next {
            if other != from && !came_from.contains_key(&other) {
                came_from.insert(other, node);
                frontier.push_back(other);
            }
        }
    }
    let mut way = vec![to];
    while *way.last()? != from {
        way.push(*came_from.get(way.last()?)?);
    }
    way.reverse();
    (way.len() > 1)
        .then(|| way.iter().filter_map(|n| topology.name(*n)).map(str::to_owned).collect())
}

/// How much less the evidence against the first would have to weigh for the second to lead.
fn counterfactual(cause: &Cause, other: &Cause, ratio: f64) -> Evidence {
    let sentence = match ratio.is_finite() {
        true => format!(
            "{other} would come first if what speaks against {cause} weighed {ratio:.1} times less"
        ),
        false => format!("nothing else comes near {cause}"),
    };
    Evidence::Counterfactual { sentence }
}
