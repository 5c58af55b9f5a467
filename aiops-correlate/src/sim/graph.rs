//! The system that storms happen in: layers of services over shared infrastructure, on hosts.

use aiops_core::{Edge, EdgeKind, NodeKind, Timestamp, Topology};

use super::{Dice, StormConfig};

/// Share of services that are infrastructure: databases, queues, caches.
const INFRASTRUCTURE: f64 = 0.2;
const LAYERS: usize = 4;

#[derive(Debug)]
pub(super) struct Graph {
    pub(super) services: usize,
    /// First service that is infrastructure.
    pub(super) infrastructure: usize,
    pub(super) callers: Vec<Vec<usize>>,
    calls: Vec<(usize, usize)>,
    pub(super) host_of: Vec<usize>,
    pub(super) on_host: Vec<Vec<usize>>,
}

impl Graph {
    pub(super) fn new(config: &StormConfig, dice: &mut Dice) -> Self {
        let n = config.services;
        let infrastructure = n - (n as f64 * INFRASTRUCTURE) as usize;
        let mut callers = vec![Vec::new(); n];
        let mut calls = Vec::new();
        // Preferential attachment: every call to a piece of infrastructure makes the next likelier.
        let mut popular: Vec<usize> = (infrastructure..n).collect();
        for service in 0..infrastructure {
            let layer = service * LAYERS / infrastructure.max(1);
            let below = (layer + 1) * infrastructure / LAYERS;
            for _ in 0..1 + dice.below(4).min(dice.below(4)) {
                let to_infrastructure = below >= infrastructure || dice.chance(0.35);
                let callee = if to_infrastructure {
                    if popular.is_empty() {
                        continue;
                    }
                    let callee = *dice.pick(&popular);
                    popular.push(callee);
                    callee
                } else {
                    let next = ((layer + 2) * infrastructure / LAYERS).max(below + 1);
                    below + dice.below(next - below)
                };
                if callee != service && !callers[callee].contains(&service) {
                    callers[callee].push(service);
                    calls.push((service, callee));
                }
            }
        }
        let hosts = n.div_ceil(6);
        let host_of: Vec<usize> = (0..n).map(|_| dice.below(hosts)).collect();
        let mut on_host = vec![Vec::new(); hosts];
        host_of.iter().enumerate().for_each(|(service, host)| on_host[*host].push(service));
        Graph { services: n, infrastructure, callers, calls, host_of, on_host }
    }

    pub(super) fn service(number: usize) -> String {
        format!("svc-{number:03}")
    }

    pub(super) fn host(number: usize) -> String {
        format!("host-{number:02}")
    }

    /// The topology as it is known: with `stale` of its calls missing and as many that are none.
    pub(super) fn topology(&self, stale: f64, dice: &mut Dice) -> Topology {
        let now = Timestamp::EPOCH;
        let mut topology = Topology::new();
        let services: Vec<_> = (0..self.services)
            .map(|s| topology.upsert_node(&Graph::service(s), NodeKind::Service, now))
            .collect();
        let hosts: Vec<_> = (0..self.on_host.len())
            .map(|h| topology.upsert_node(&Graph::host(h), NodeKind::Host, now))
            .collect();
        let mut connect = |from, to, kind| {
            // Ends exist and differ, so nothing is refused; a call drawn twice is one.
            let _ = topology.upsert_edge(from, to, Edge::new(kind, "sim", now));
        };
        for (caller, callee) in &self.calls {
            if !dice.chance(stale) {
                connect(services[*caller], services[*callee], EdgeKind::Calls);
            }
            if dice.chance(stale) {
                let (a, b) = (dice.below(self.services), dice.below(self.services));
                if a != b {
                    connect(services[a], services[b], EdgeKind::Calls);
                }
            }
        }
        for (service, host) in self.host_of.iter().enumerate() {
            connect(services[service], hosts[*host], EdgeKind::RunsOn);
        }
        topology
    }
}
