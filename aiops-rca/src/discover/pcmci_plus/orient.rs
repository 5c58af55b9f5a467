//! Directions of the links within one step: colliders first, then what follows from them.

use super::Link;
use crate::discover::Knowledge;
use crate::discover::pcmci::Node;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// From the smaller row to the larger.
    Forward,
    Backward,
    /// Two demands contradict each other; it stays undirected and decides nothing.
    Conflict,
}

/// Links within a step, smaller row first, with their states, and the lagged parents of each row.
pub(super) struct Orientation {
    states: BTreeMap<(usize, usize), State>,
    lagged: BTreeSet<Link>,
    /// Triples (one, middle, other) of which nobody knows whether they are colliders.
    ambiguous: BTreeSet<(Node, usize, usize)>,
}

impl Orientation {
    pub(super) fn new(links: &BTreeSet<Link>, knowledge: &Knowledge) -> Self {
        let state = |a: usize, b: usize| {
            let only = |x, y| {
                knowledge.permits(x, y)
                    && (!knowledge.permits(y, x) || knowledge.required.contains(&(x, y)))
            };
            match (only(a, b), only(b, a)) {
                (true, _) => State::Forward,
                (_, true) => State::Backward,
                _ => State::Open,
            }
        };
        let near = links.iter().filter(|((_, lag), _)| *lag == 0);
        Orientation {
            states: near.map(|&((a, _), b)| ((a, b), state(a, b))).collect(),
            lagged: links.iter().copied().filter(|((_, lag), _)| *lag > 0).collect(),
            ambiguous: BTreeSet::new(),
        }
    }

    /// Cause and effect of a link within the step, if it is directed.
    pub(super) fn of(&self, a: usize, b: usize) -> Option<(usize, usize)> {
        let (a, b) = (a.min(b), a.max(b));
        match self.states.get(&(a, b))? {
            State::Forward => Some((a, b)),
            State::Backward => Some((b, a)),
            State::Open | State::Conflict => None,
        }
    }

    fn open(&self, a: usize, b: usize) -> bool {
        self.states.get(&(a.min(b), a.max(b))) == Some(&State::Open)
    }

    fn directed(&self, from: usize, to: usize) -> bool {
        self.of(from, to) == Some((from, to))
    }

    fn near(&self, row: usize) -> Vec<usize> {
        let other = |&(a, b): &(usize, usize)| match row {
            _ if a == row => Some(b),
            _ if b == row => Some(a),
            _ => None,
        };
        self.states.keys().filter_map(other).collect()
    }

    fn adjacent(&self, one: Node, row: usize) -> bool {
        match one.1 {
            0 => self.states.contains_key(&(one.0.min(row), one.0.max(row))),
            _ => self.lagged.contains(&(one, row)),
        }
    }

    /// Triples one − middle − other with the ends apart and the second link within the step; one of
    /// the two orders when both are.
    fn triples(&self) -> Vec<(Node, usize, usize)> {
        let rows: BTreeSet<usize> = self.states.keys().flat_map(|&(a, b)| [a, b]).collect();
        let mut found = vec![];
        for &middle in &rows {
            let near = self.near(middle);
            let earlier = self.lagged.iter().filter(|(_, effect)| *effect == middle);
            let earlier: Vec<Node> =
                earlier.map(|(cause, _)| *cause).filter(|cause| cause.0 != middle).collect();
            for &other in &near {
                let before = near.iter().filter(|&&one| one < other).map(|&one| (one, 0));
                let ends = before.chain(earlier.iter().copied());
                // The end's own past is one like any other.
                found.extend(
                    ends.filter(|&one| !self.adjacent(one, other)).map(|one| (one, middle, other)),
                );
            }
        }
        found
    }

    /// Directs what the majority of separating sets says; `share` is how many of them contain the
    /// middle.
    pub(super) fn colliders(&mut self, share: impl Fn(Node, usize, usize) -> Option<f64>) {
        let mut demands = BTreeSet::new();
        for triple in self.triples() {
            let (one, middle, other) = triple;
            match share(one, middle, other) {
                Some(share) if share < 0.5 => {
                    demands.insert((other, middle));
                    if one.1 == 0 {
                        demands.insert((one.0, middle));
                    }
                }
                Some(share) if share > 0.5 => {}
                _ => {
                    self.ambiguous.insert(triple);
                }
            }
        }
        self.demand(&demands);
    }

    /// Directs every open link that one demand speaks of, and marks those of two that contradict.
    fn demand(&mut self, demands: &BTreeSet<(usize, usize)>) -> bool {
        let mut changed = false;
        for &(from, to) in demands {
            let key = (from.min(to), from.max(to));
            if self.states.get(&key) != Some(&State::Open) {
                continue;
            }
            let state = match (demands.contains(&(to, from)), from < to) {
                (true, _) => State::Conflict,
                (false, true) => State::Forward,
                (false, false) => State::Backward,
            };
            changed |= self.states.insert(key, state) != Some(state);
        }
        changed
    }

    /// Repeats the three rules until none directs anything more.
    pub(super) fn close(&mut self) {
        loop {
            let rules = [Self::no_new_collider, Self::no_cycle, Self::no_way_back];
            let mut changed = false;
            for rule in rules {
                let demands = rule(self);
                changed |= self.demand(&demands);
            }
            if !changed {
                return;
            }
        }
    }

    /// one → middle − other, ends apart and no collider: middle → other.
    fn no_new_collider(&self) -> BTreeSet<(usize, usize)> {
        let mut demands = BTreeSet::new();
        for triple in self.triples() {
            let (one, middle, other) = triple;
            if self.ambiguous.contains(&triple) {
                continue;
            }
            let into = one.1 > 0 || self.directed(one.0, middle);
            if into && self.open(middle, other) {
                demands.insert((middle, other));
            }
            if one.1 == 0 && self.directed(other, middle) && self.open(middle, one.0) {
                demands.insert((middle, one.0));
            }
        }
        demands
    }

    /// a → b → c and a − c: a → c.
    fn no_cycle(&self) -> BTreeSet<(usize, usize)> {
        let mut demands = BTreeSet::new();
        for &(x, y) in self.states.keys().filter(|&&(x, y)| self.open(x, y)) {
            for (a, c) in [(x, y), (y, x)] {
                if self.near(a).iter().any(|&b| self.directed(a, b) && self.directed(b, c)) {
                    demands.insert((a, c));
                }
            }
        }
        demands
    }

    /// a − b → c and a − d → c with b, d apart, and a − c: a → c.
    fn no_way_back(&self) -> BTreeSet<(usize, usize)> {
        let mut demands = BTreeSet::new();
        for &(x, y) in self.states.keys().filter(|&&(x, y)| self.open(x, y)) {
            for (a, c) in [(x, y), (y, x)] {
                let ways: Vec<usize> = self
                    .near(a)
                    .into_iter()
                    .filter(|&b| self.open(a, b) && self.directed(b, c))
                    .collect();
                let apart = |&(b, d): &(usize, usize)| {
                    let (b, d) = (b.min(d), b.max(d));
                    !self.adjacent((b, 0), d) && !self.ambiguous.contains(&((b, 0), a, d))
                };
                let pairs = ways.iter().enumerate();
                let mut pairs =
                    pairs.flat_map(|(i, &b)| ways[i + 1..].iter().map(move |&d| (b, d)));
                if pairs.any(|pair| apart(&pair)) {
                    demands.insert((a, c));
                }
            }
        }
        demands
    }
}
