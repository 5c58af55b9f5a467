//! Incidents: where they begin, whom they reach, and which alerts that raises.

use aiops_core::Severity;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use super::graph::Graph;
use super::{Dice, StormConfig};
use crate::eval::Kind;

/// The alerts that any service can raise.
pub(super) const SYMPTOMS: [&str; 4] =
    ["HighLatency", "HighErrorRate", "QueueBacklog", "PodCrashLoop"];
const INFRASTRUCTURE: [&str; 4] = ["DbConnSaturated", "ReplicationLag", "DbDown", "DiskFull"];
const HOST: [&str; 2] = ["NodeNotReady", "NodeMemoryPressure"];

/// An incident that really happens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrueIncident {
    /// Its number; [`Truth::incident`](crate::eval::Truth::incident) names it.
    pub number: u32,
    /// The service where it begins.
    pub root: String,
    /// When, in seconds from the start of the storm.
    pub start_s: f64,
    /// When it is over.
    pub end_s: f64,
    /// The services that it reaches, the root among them.
    pub reaches: Vec<String>,
    /// Whether its root raises no alert.
    pub silent: bool,
}

/// One firing to be put on the wire.
#[derive(Debug, Clone)]
pub(super) struct Firing {
    pub(super) service: usize,
    pub(super) name: &'static str,
    pub(super) severity: Severity,
    pub(super) start: f64,
    pub(super) end: f64,
    pub(super) incident: Option<u32>,
    pub(super) kind: Kind,
    pub(super) episode: u64,
    /// Resends at most; noise resends once a minute for as long as it lasts.
    pub(super) resend_every: f64,
}

pub(super) fn incidents(config: &StormConfig, graph: &Graph, dice: &mut Dice) -> Vec<TrueIncident> {
    let count = (config.incidents_per_day * config.days()).round() as usize;
    let mut made: Vec<(usize, TrueIncident)> = Vec::new();
    if graph.services == 0 {
        return Vec::new();
    }
    for number in 0..count + config.region_outages + config.monitor_failures {
        let mut start = config.time(dice);
        let mut root = root(graph, dice);
        if let Some((service, other)) = (!made.is_empty()).then(|| dice.pick(&made).clone()) {
            if dice.chance(config.concurrent) {
                start = other.start_s + dice.between(-300.0, 300.0);
            }
            if dice.chance(config.same_service) {
                root = service;
                start = other.start_s + dice.between(300.0, 900.0);
            }
        }
        let start = start.clamp(0.0, config.seconds());
        let lasts = dice.log_normal(1_200.0, 0.9).clamp(180.0, 14_400.0);
        let incident = TrueIncident {
            number: number as u32,
            root: Graph::service(root),
            start_s: start,
            end_s: start + lasts,
            reaches: Vec::new(),
            silent: dice.chance(config.silent) && number < count,
        };
        made.push((root, incident));
    }
    made.into_iter().map(|(_, incident)| incident).collect()
}

fn root(graph: &Graph, dice: &mut Dice) -> usize {
    let infrastructure = graph.services - graph.infrastructure;
    if infrastructure > 0 && dice.chance(0.45) {
        graph.infrastructure + dice.below(infrastructure)
    } else {
        dice.below(graph.services)
    }
}

/// The firings of all incidents; fills in whom they reach.
pub(super) fn firings(
    config: &StormConfig,
    graph: &Graph,
    incidents: &mut [TrueIncident],
    dice: &mut Dice,
) -> Vec<Firing> {
    let ordinary =
        incidents.len() - (config.region_outages + config.monitor_failures).min(incidents.len());
    let mut firings = Vec::new();
    let mut episode = 0;
    let mut largest = (0, None);
    for (at, incident) in incidents.iter_mut().enumerate() {
        let root: usize = incident.root[4..].parse().unwrap_or_default();
        let on_host = at < ordinary && root < graph.infrastructure && dice.chance(0.27);
        let outage = at >= ordinary && at < ordinary + config.region_outages;
        let blind = at >= ordinary + config.region_outages;
        let mut reached = BTreeMap::from([(root, 0.0)]);
        if outage {
            for host in (0..graph.on_host.len()).step_by(3) {
                for &service in &graph.on_host[host] {
                    reached.insert(service, dice.exponential(20.0));
                }
            }
        } else if blind {
            for service in 0..graph.services {
                reached.insert(service, dice.exponential(30.0));
            }
        } else if on_host {
            for &service in &graph.on_host[graph.host_of[root]] {
                if service != root && dice.chance(0.8) {
                    reached.insert(service, dice.exponential(10.0));
                }
            }
        }
        if !blind {
            spread(config, graph, &mut reached, incident.end_s - incident.start_s, dice);
        }
        incident.reaches = reached.keys().map(|service| Graph::service(*service)).collect();
        if reached.len() > largest.0 {
            largest =
                (reached.len(), Some((incident.number, root, incident.start_s, incident.end_s)));
        }
        let every = *dice.pick(&[60.0, 120.0, 240.0]);
        let lasts = incident.end_s - incident.start_s;
        let resend_every: f64 =
            if config.resends == usize::MAX { every } else { (lasts / 12.0).max(every) };
        for (&service, &delay) in &reached {
            let is_root = service == root && !blind;
            if is_root && incident.silent {
                continue;
            }
            let count = if is_root || blind { 1 } else { 1 + dice.below(3) };
            let mut names = SYMPTOMS.to_vec();
            for _ in 0..count {
                let at = dice.below(names.len());
                let mut name = names.swap_remove(at);
                if blind {
                    name = "NoData";
                } else if is_root && on_host {
                    name = HOST[dice.below(HOST.len())];
                } else if is_root && service >= graph.infrastructure {
                    name = INFRASTRUCTURE[dice.below(INFRASTRUCTURE.len())];
                }
                if !is_root && dice.chance(config.dropped) {
                    continue;
                }
                let critical = is_root || dice.chance(0.33);
                let jitter = if is_root { dice.exponential(1.0) } else { dice.exponential(15.0) };
                let start = incident.start_s + delay + jitter;
                if start + 10.0 >= incident.end_s {
                    continue;
                }
                firings.push(Firing {
                    service,
                    name,
                    severity: if critical { Severity::Critical } else { Severity::Warning },
                    start,
                    end: incident.end_s + dice.exponential(20.0),
                    incident: Some(incident.number),
                    kind: if is_root { Kind::Cause } else { Kind::Symptom },
                    episode,
                    resend_every,
                });
                episode += 1;
            }
        }
    }
    if let (true, (_, Some((number, root, start, end)))) = (config.unseen_kind, largest) {
        firings.push(Firing {
            service: root,
            name: "NeverSeenBefore",
            severity: Severity::Warning,
            start: start + 120.0,
            end: end.min(start + 200.0),
            incident: Some(number),
            kind: Kind::Cause,
            episode,
            resend_every: 60.0,
        });
    }
    firings
}

/// From callee to caller, with a chance and a delay a call, for as long as the incident lasts.
fn spread(
    config: &StormConfig,
    graph: &Graph,
    reached: &mut BTreeMap<usize, f64>,
    lasts: f64,
    dice: &mut Dice,
) {
    let mut front: Vec<usize> = reached.keys().copied().collect();
    while let Some(service) = front.pop() {
        let delay = reached[&service];
        for &caller in &graph.callers[service] {
            if reached.contains_key(&caller) || !dice.chance(config.spreads) {
                continue;
            }
            let at = delay + dice.log_normal(config.hop_s, 0.5);
            if at < lasts {
                reached.insert(caller, at);
                front.push(caller);
            }
        }
    }
}
