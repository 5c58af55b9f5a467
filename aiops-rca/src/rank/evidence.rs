//! Evidence as data: why a candidate stands where it stands, and what would change that.

use super::bayes::Case;
use super::graph::Graph;
use super::magnitude::Weight;
use crate::discover::longest_run;
use crate::prepare::Prepared;
use crate::{DrillConfig, Finding, Granger, GrangerConfig, Result};
use aiops_core::{Cause, Depends, Evidence, NodeId, Ranking, Reason, Topology};
use std::collections::{BTreeMap, VecDeque};

/// How many metrics, and how many symptoms, one candidate may bring forward.
const METRICS: usize = 3;
const SYMPTOMS: usize = 3;

/// How many candidates are looked at more closely: by dimension, and by tests against the symptoms.
const CLOSELY: usize = 3;

/// How many services one sentence may name.
const NAMED: usize = 5;

/// Writes out the evidence of the first `limit` candidates.
pub(super) fn explain(case: &Case<'_>, ranking: &mut Ranking, limit: usize) -> Result<()> {
    let drill = DrillConfig { prepare: case.prepare.clone(), ..DrillConfig::default() }.build()?;
    let granger = GrangerConfig::default().build()?;
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
        if let Some(service) = candidate.cause.service().filter(|_| rank < CLOSELY) {
            let findings = drill.drill(case.context, service)?;
            evidence.extend(findings.first().map(Finding::evidence));
            evidence.extend(tests(case, &granger, service));
        }
        candidate.evidence = evidence;
    }
    Ok(())
}

/// Whether the past of the service's weightiest metric helps to predict the symptoms, over the whole
/// window. A test across the onset says that one moved before the other, not more.
fn tests(case: &Case<'_>, granger: &Granger, service: &str) -> Vec<Evidence> {
    let prepared = case.prepared;
    let row_of = |index: usize| prepared.deviations[case.weights[index].by?].row;
    let Some(index) = prepared.suspect(service) else { return vec![] };
    let Some(cause) = row_of(index) else { return vec![] };
    let mut effects: Vec<usize> =
        prepared.symptoms.iter().filter_map(|&s| prepared.deviations[s].row).collect();
    if effects.is_empty() {
        let heads = case.heads.iter().copied();
        effects = heads.filter(|head| *head != index).filter_map(row_of).collect();
    }
    let frame = case.context.window;
    let test = |effect: usize| {
        let whole =
            |&t: &usize| frame.row(cause)[t].is_finite() && frame.row(effect)[t].is_finite();
        let steps: Vec<usize> = (0..frame.n_steps()).filter(whole).collect();
        let stretch = longest_run(&steps);
        let series = |row: usize| &frame.row(row)[stretch.clone()];
        // Too short, or constant: there is nothing to test.
        let test = granger.test(series(cause), series(effect)).ok()?;
        Some(Evidence::Test {
            name: "granger_f".into(),
            cause: frame.series()[cause].to_string(),
            effect: frame.series()[effect].to_string(),
            statistic: test.f,
            p_value: test.f_p_value,
            lag: Some(test.lags as u32),
        })
    };
    let effects = effects.into_iter().filter(|effect| *effect != cause);
    effects.take(SYMPTOMS).filter_map(test).collect()
}

fn of_service(case: &Case<'_>, service: &str) -> Vec<Evidence> {
    let prepared = case.prepared;
    let mut evidence = vec![];
    let Some(index) = prepared.suspect(service) else {
        // A change of a service without metrics: only its path can be shown.
        if let Some(node) = case.context.topology.node_id(service) {
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
        evidence.extend(unexplained(case, index));
    }
    evidence
}

fn unexplained(case: &Case<'_>, index: usize) -> Option<Evidence> {
    let suspects = &case.prepared.suspects;
    let names: Vec<String> =
        case.priors[index].unexplained.iter().map(|&i| suspects[i].service.clone()).collect();
    let some = names.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    let others = match names.len().saturating_sub(NAMED) {
        0 => String::new(),
        others => format!(" and {others} others"),
    };
    let sentence = format!(
        "{} would not explain why the processor of {some}{others} was abnormal no later",
        suspects[index].service
    );
    let reason = Reason::new("leaves_unexplained", sentence).with("services", names.clone());
    (!names.is_empty()).then_some(Evidence::Other { reason })
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
    if let Some(deviation) = prior.by_itself {
        let metric = case.prepared.deviations[deviation].metric();
        let sentence = format!(
            "{metric} of {service} is abnormal and began no later; waiting for {} makes no processor busy",
            names.join(", ")
        );
        let reason = Reason::new("own_load", sentence).with("metric", metric);
        return Evidence::Other { reason: reason.with("services", names) };
    }
    let reason = Reason::new("abnormal_dependencies", sentence)
        .with("count", names.len())
        .with("prior", prior.value)
        .with("services", names);
    Evidence::Other { reason }
}

/// The shortest ways from a node to the symptoms, or, when none was named, to the abnormal services
/// that no abnormal service depends on.
fn paths(case: &Case<'_>, from: NodeId, own: Option<usize>) -> Vec<Evidence> {
    let heads = case.heads.iter().copied().filter(|head| Some(*head) != own);
    let nodes = heads.filter_map(|head| case.prepared.suspects[head].node);
    let topology = case.context.topology;
    let ways = Ways::of(topology, from);
    nodes
        .filter_map(|to| ways.to(topology, to))
        .take(SYMPTOMS)
        .map(|nodes| Evidence::Path { nodes })
        .collect()
}

/// The suspects that the named symptoms belong to, or, when none was named, the abnormal ones that no
/// abnormal one depends on, but such as they depend on themselves.
pub(super) fn heads(graph: &Graph, prepared: &Prepared, weights: &[Weight]) -> Vec<usize> {
    let mut heads = prepared.symptom_suspects();
    if heads.is_empty() {
        let abnormal: Vec<f64> =
            weights.iter().map(|weight| f64::from(u8::from(weight.abnormal))).collect();
        let above = graph.largest_above(&abnormal);
        heads = (0..weights.len()).filter(|&i| weights[i].abnormal).collect();
        heads.retain(|&i| prepared.suspects[i].node.is_none_or(|node| above.outside(node) == 0.0));
    }
    heads
}

/// The shortest ways that trouble takes from one node: from a dependency to its dependents. Among
/// equally short ones the one over the earlier nodes.
struct Ways {
    from: NodeId,
    came_from: BTreeMap<NodeId, NodeId>,
}

impl Ways {
    fn of(topology: &Topology, from: NodeId) -> Ways {
        let mut came_from: BTreeMap<NodeId, NodeId> = BTreeMap::new();
        let mut frontier = VecDeque::from([from]);
        while let Some(node) = frontier.pop_front() {
            for other in topology.neighbours(node, Depends::Dependents) {
                if other != from && !came_from.contains_key(&other) {
                    came_from.insert(other, node);
                    frontier.push_back(other);
                }
            }
        }
        Ways { from, came_from }
    }

    fn to(&self, topology: &Topology, to: NodeId) -> Option<Vec<String>> {
        let mut way = vec![to];
        while *way.last()? != self.from {
            way.push(*self.came_from.get(way.last()?)?);
        }
        way.reverse();
        let names = way.iter().filter_map(|node| topology.name(*node)).map(str::to_owned);
        (way.len() > 1).then(|| names.collect())
    }
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
