//! Who depends on whom, callers above what they call, with the ranked causes marked.

use std::collections::{BTreeMap, BTreeSet};

use aiops_core::{Depends, NodeId, NodeKind, Ranking, Topology};
use maud::{Markup, html};

use super::chart::one;
use crate::words;

const NODE_WIDTH: f64 = 128.0;
const NODE_HEIGHT: f64 = 46.0;
const GAP_X: f64 = 22.0;
const GAP_Y: f64 = 44.0;
/// A drawing of more nodes than this helps nobody; then only the incident's services are drawn.
const MOST: usize = 24;

/// Nodes from callers to callees: the position of each name.
pub(super) fn order(topology: &Topology) -> BTreeMap<&str, usize> {
    let mut nodes: Vec<_> = topology.nodes().collect();
    let layers = layers(topology);
    nodes.sort_by_key(|(id, node)| (layers[id], *id, node.name.as_str()));
    nodes.iter().enumerate().map(|(index, (_, node))| (node.name.as_str(), index)).collect()
}

/// How deep a node lies below the entry points: the longest way from one. Members of a cycle share
/// a layer.
fn layers(topology: &Topology) -> BTreeMap<NodeId, usize> {
    let components = topology.components();
    let mut layers: BTreeMap<NodeId, usize> = BTreeMap::new();
    // Components are numbered dependencies first: walk from the callers down.
    let mut nodes: Vec<_> = topology.nodes().map(|(id, _)| id).collect();
    nodes.sort_by_key(|id| (std::cmp::Reverse(components.of(*id)), *id));
    for &id in &nodes {
        let above = topology.neighbours(id, Depends::Dependents);
        let outside = above.iter().filter(|other| components.of(**other) != components.of(id));
        let layer =
            outside.filter_map(|other| layers.get(other)).max().map_or(0, |layer| layer + 1);
        layers.insert(id, layer);
    }
    layers
}

/// The drawing, as inline SVG of the class `topology`: `services` are those of the incident, and the causes of
/// `ranking` are marked with rank and probability.
pub fn drawing(
    topology: &Topology,
    services: &BTreeSet<String>,
    ranking: Option<&Ranking>,
) -> Markup {
    let is_drawn = |name: &str| topology.len() <= MOST || services.contains(name);
    let layers = layers(topology);
    let mut rows: BTreeMap<usize, Vec<(NodeId, &str, NodeKind)>> = BTreeMap::new();
    for (id, node) in topology.nodes().filter(|(_, node)| is_drawn(&node.name)) {
        rows.entry(layers[&id]).or_default().push((id, &node.name, node.kind));
    }
    let widest = rows.values().map(Vec::len).max().unwrap_or(1) as f64;
    let width = widest.max(2.0) * (NODE_WIDTH + GAP_X) + 20.0;
    let height = rows.len() as f64 * (NODE_HEIGHT + GAP_Y) - GAP_Y + 24.0;
    let mut place: BTreeMap<NodeId, (f64, f64)> = BTreeMap::new();
    for (index, row) in rows.values().enumerate() {
        let row_width = row.len() as f64 * (NODE_WIDTH + GAP_X) - GAP_X;
        for (column, (id, _, _)) in row.iter().enumerate() {
            let x =
                (width - row_width) / 2.0 + column as f64 * (NODE_WIDTH + GAP_X) + NODE_WIDTH / 2.0;
            place.insert(*id, (x, 12.0 + index as f64 * (NODE_HEIGHT + GAP_Y) + NODE_HEIGHT / 2.0));
        }
    }
    let suspicion = suspicion(ranking);
    html! {
        svg.topology viewBox=(format!("0 0 {width} {height}")) role="img"
            aria-label="Topology: arrows point from a service to what it depends on" style=(format!("max-width:{width}px")) {
            defs { marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto" { path d="M0 0L8 4L0 8z" {} } }
            @for (from, to, edge) in topology.edges() {
                @if let (Some(a), Some(b)) = (place.get(&from), place.get(&to)) {
                    path class={ "edge " (if edge.kind == aiops_core::EdgeKind::Calls { "calls" } else { "other" }) }
                        d=(curve(*a, *b)) marker-end="url(#arrow)" {}
                }
            }
            @for (id, name, kind) in rows.values().flatten() {
                @let (x, y) = place[id];
                @let suspect = suspicion.get(name);
                g class={ "node " (if services.contains(*name) { "hit " } else { "" }) (match suspect { Some((1, _)) => "first", Some(_) => "suspect", None => "" }) } {
                    rect x=(one(x - NODE_WIDTH / 2.0)) y=(one(y - NODE_HEIGHT / 2.0)) width=(NODE_WIDTH) height=(NODE_HEIGHT) rx=(if *kind == NodeKind::Host { 3 } else { 10 }) {}
                    @if let Some((rank, probability)) = suspect {
                        rect.fill x=(one(x - NODE_WIDTH / 2.0)) y=(one(y + NODE_HEIGHT / 2.0 - 6.0)) width=(one(NODE_WIDTH * probability)) height="6" rx="3" {}
                        text.name x=(one(x)) y=(one(y - 3.0)) text-anchor="middle" { (name) }
                        text.note x=(one(x)) y=(one(y + 12.0)) text-anchor="middle" { "no. " (rank) " · " (words::percent(*probability)) }
                    } @else {
                        text.name x=(one(x)) y=(one(y + if *kind == NodeKind::Host { -2.0 } else { 4.0 })) text-anchor="middle" { (name) }
                        @if *kind == NodeKind::Host { text.note x=(one(x)) y=(one(y + 12.0)) text-anchor="middle" { "host" } }
                    }
                }
            }
        }
    }
}

/// The best rank of each service and the probability of all candidates at it together.
fn suspicion(ranking: Option<&Ranking>) -> BTreeMap<&str, (usize, f64)> {
    let mut found: BTreeMap<&str, (usize, f64)> = BTreeMap::new();
    let candidates = ranking.map(|r| r.candidates.as_slice()).unwrap_or_default();
    for (index, candidate) in candidates.iter().enumerate() {
        if let Some(service) = candidate.cause.service() {
            let entry = found.entry(service).or_insert((index + 1, 0.0));
            entry.1 += candidate.probability;
        }
    }
    found
}

/// From the lower edge of one node to the upper edge of another, or around when they stand side by
/// side.
fn curve((ax, ay): (f64, f64), (bx, by): (f64, f64)) -> String {
    let half = NODE_HEIGHT / 2.0;
    if (ay - by).abs() < 1.0 {
        let (left, right) = if ax < bx { (ax, bx) } else { (bx, ax) };
        return format!(
            "M{} {}Q{} {} {} {}",
            one(left),
            one(ay - half),
            one((ax + bx) / 2.0),
            one(ay - half - 24.0),
            one(right),
            one(ay - half)
        );
    }
    let (from, to) = if ay < by { (ay + half, by - half) } else { (ay - half, by + half) };
    let middle = (from + to) / 2.0;
    format!(
        "M{} {}C{} {} {} {} {} {}",
        one(ax),
        one(from),
        one(ax),
        one(middle),
        one(bx),
        one(middle),
        one(bx),
        one(to)
    )
}
