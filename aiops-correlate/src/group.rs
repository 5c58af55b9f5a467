//! Stage 2b: firings become groups. Each firing hangs on at most one earlier onset, the one that
//! explains it best; a group is a tree of such links.
//!
//! A forest of best links instead of a union of all possible ones, for three reasons: the link is
//! the explanation; one weak coincidence cannot glue two incidents together when a better parent
//! exists; and the result depends on the onsets alone, not on the order of arrival, because a late
//! onset that explains a firing better takes it over, subtree and all.

use aiops_core::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

use crate::dedup::NONE;
use crate::near::Relation;

/// Why a firing hangs on another.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Link {
    pub(crate) relation: Via,
    pub(crate) hops: u8,
    /// ln of the likelihood ratio against chance, from the onsets.
    pub(crate) nats: f32,
    /// The same from the ends, as far as both are known; 0 before.
    pub(crate) ends: f32,
}

/// The kinds of link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Via {
    /// Nothing: a root.
    Root,
    /// Related services, onsets close together.
    Near(Relation),
    /// The same series came back.
    Recurrence,
    /// A person hung it there.
    Hand,
}

impl Link {
    pub(crate) const ROOT: Link = Link { relation: Via::Root, hops: 0, nats: 0.0, ends: 0.0 };

    /// All evidence for it, in nats.
    pub(crate) fn total(&self) -> f32 {
        self.nats + self.ends
    }
}

/// One firing as the forest sees it; indexed like the firings of [`crate::dedup`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Node {
    pub(crate) service: u32,
    pub(crate) onset: Timestamp,
    pub(crate) parent: u32,
    pub(crate) link: Link,
    pub(crate) children: Vec<u32>,
    pub(crate) group: u32,
    /// Position in the member list of its group.
    slot: u32,
    /// When it arrived.
    pub(crate) arrived: Timestamp,
    /// How much of it was counted as noise already.
    pub(crate) counted: f32,
    /// The correction that put it where it is.
    pub(crate) hand: u32,
}

/// What moving a subtree did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moved {
    pub(crate) from: u32,
    pub(crate) to: u32,
    /// Nothing is left behind.
    pub(crate) emptied: bool,
}

/// Trees of firings, their groups' member lists, and recent onsets by service.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Forest {
    pub(crate) nodes: Vec<Option<Node>>,
    pub(crate) members: Vec<Vec<u32>>,
    /// Onsets and firings by service, sorted by onset.
    recent: Vec<Vec<(Timestamp, u32)>>,
}

impl Forest {
    pub(crate) fn node(&self, at: u32) -> &Node {
        self.nodes[at as usize].as_ref().expect("a firing that is in use has a node")
    }

    pub(crate) fn node_mut(&mut self, at: u32) -> &mut Node {
        self.nodes[at as usize].as_mut().expect("a firing that is in use has a node")
    }

    pub(crate) fn get(&self, at: u32) -> Option<&Node> {
        self.nodes.get(at as usize)?.as_ref()
    }

    /// Opens an empty group, reusing a number that was freed.
    pub(crate) fn open_group(&mut self, reuse: Option<u32>) -> u32 {
        if let Some(group) = reuse {
            self.members[group as usize].clear();
            return group;
        }
        self.members.push(Vec::new());
        (self.members.len() - 1) as u32
    }

    pub(crate) fn members(&self, group: u32) -> &[u32] {
        &self.members[group as usize]
    }

    /// Adds a firing as a root of `group`.
    pub(crate) fn add(
        &mut self,
        at: u32,
        service: u32,
        onset: Timestamp,
        group: u32,
        arrived: Timestamp,
    ) {
        let slot = self.members[group as usize].len() as u32;
        let node = Node {
            service,
            onset,
            parent: NONE,
            link: Link::ROOT,
            children: Vec::new(),
            group,
            slot,
            arrived,
            counted: 0.0,
            hand: NONE,
        };
        if at as usize >= self.nodes.len() {
            self.nodes.resize(at as usize + 1, None);
        }
        self.nodes[at as usize] = Some(node);
        self.members[group as usize].push(at);
        if service != NONE {
            self.list(at, service, onset);
        }
    }

    fn list(&mut self, at: u32, service: u32, onset: Timestamp) {
        if service as usize >= self.recent.len() {
            self.recent.resize(service as usize + 1, Vec::new());
        }
        let list = &mut self.recent[service as usize];
        let place = match list.last() {
            Some((last, _)) if *last > onset => list.partition_point(|(other, _)| *other <= onset),
            _ => list.len(),
        };
        list.insert(place, (onset, at));
    }

    fn unlist(&mut self, at: u32, service: u32) {
        if let Some(list) = self.recent.get_mut(service as usize)
            && let Some(place) = list.iter().position(|(_, other)| *other == at)
        {
            list.remove(place);
        }
    }

    /// All onsets of `service` that are still listed: recent ones and those that still fire.
    pub(crate) fn all_onsets(&self, service: u32) -> &[(Timestamp, u32)] {
        self.recent.get(service as usize).map_or(&[], Vec::as_slice)
    }

    /// Onsets of `service` within `window` of `around`, earliest first; where there are more than
    /// `limit`, those nearest to it, at most half of them after it.
    pub(crate) fn onsets(
        &self,
        service: u32,
        around: Timestamp,
        window: Duration,
        limit: usize,
    ) -> &[(Timestamp, u32)] {
        let Some(list) = self.recent.get(service as usize) else { return &[] };
        let Some((last, _)) = list.last() else { return &[] };
        let (low, high) = (around - window, around + window);
        if *last < low {
            return &[];
        }
        let from = list.partition_point(|(onset, _)| *onset < low);
        let to = if *last <= high {
            list.len()
        } else {
            list.partition_point(|(onset, _)| *onset <= high)
        };
        if to - from <= limit {
            return &list[from..to];
        }
        let middle = list[from..to].partition_point(|(onset, _)| *onset < around) + from;
        let after = (to - middle).min(limit / 2);
        let low = middle.saturating_sub(limit - after).max(from);
        &list[low..(low + limit).min(to)]
    }

    /// Hangs `at` on `parent` and moves its subtree into the parent's group.
    pub(crate) fn hang(&mut self, at: u32, parent: u32, link: Link) -> Option<Moved> {
        self.unhang(at);
        let node = self.node_mut(at);
        node.parent = parent;
        node.link = link;
        self.node_mut(parent).children.push(at);
        let to = self.node(parent).group;
        self.relocate(at, to)
    }

    /// Cuts `at` off its parent; its subtree stays in the group until it is relocated.
    pub(crate) fn unhang(&mut self, at: u32) {
        let parent = self.node(at).parent;
        if parent != NONE {
            let children = &mut self.node_mut(parent).children;
            if let Some(place) = children.iter().position(|c| *c == at) {
                children.swap_remove(place);
            }
            let node = self.node_mut(at);
            node.parent = NONE;
            node.link = Link::ROOT;
        }
    }

    /// Moves `at` and everything that hangs on it into group `to`.
    pub(crate) fn relocate(&mut self, at: u32, to: u32) -> Option<Moved> {
        let from = self.node(at).group;
        if from == to {
            return None;
        }
        let mut stack = vec![at];
        while let Some(one) = stack.pop() {
            stack.extend_from_slice(&self.node(one).children);
            self.leave(one);
            let slot = self.members[to as usize].len() as u32;
            self.members[to as usize].push(one);
            let node = self.node_mut(one);
            node.group = to;
            node.slot = slot;
        }
        Some(Moved { from, to, emptied: self.members[from as usize].is_empty() })
    }

    fn leave(&mut self, at: u32) {
        let (group, slot) = (self.node(at).group as usize, self.node(at).slot as usize);
        self.members[group].swap_remove(slot);
        if let Some(&swapped) = self.members[group].get(slot) {
            self.node_mut(swapped).slot = slot as u32;
        }
    }

    /// Whether `ancestor` is `at` or above it.
    pub(crate) fn is_above(&self, ancestor: u32, at: u32) -> bool {
        let mut one = at;
        while one != NONE {
            if one == ancestor {
                return true;
            }
            one = self.node(one).parent;
        }
        false
    }

    /// The onset of `at` became earlier (or its service known).
    pub(crate) fn replace(&mut self, at: u32, service: u32, onset: Timestamp) {
        let old = self.node(at).service;
        if old != NONE {
            self.unlist(at, old);
        }
        let node = self.node_mut(at);
        node.onset = onset;
        node.service = service;
        if service != NONE {
            self.list(at, service, onset);
        }
    }

    /// Forgets a firing that nothing refers to any more.
    pub(crate) fn remove(&mut self, at: u32) {
        let children = std::mem::take(&mut self.node_mut(at).children);
        for child in children {
            let node = self.node_mut(child);
            node.parent = NONE;
        }
        self.unhang(at);
        self.leave(at);
        let service = self.node(at).service;
        if service != NONE {
            self.unlist(at, service);
        }
        self.nodes[at as usize] = None;
    }

    /// Drops onsets before `before` from the lists that links are looked up in, but for those that
    /// may still be needed.
    pub(crate) fn forget_onsets(&mut self, before: Timestamp, keep: impl Fn(u32) -> bool) {
        for list in &mut self.recent {
            if list.first().is_some_and(|(onset, _)| *onset < before) {
                list.retain(|(onset, at)| *onset >= before || keep(*at));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forest(onsets: &[(u32, i64)]) -> Forest {
        let mut forest = Forest::default();
        for (at, (service, onset)) in onsets.iter().enumerate() {
            let group = forest.open_group(None);
            let onset = Timestamp::from_secs(*onset);
            forest.add(at as u32, *service, onset, group, onset);
        }
        forest
    }

    const NEAR: Link =
        Link { relation: Via::Near(Relation::SameService), hops: 0, nats: 3.0, ends: 0.0 };

    #[test]
    fn a_subtree_moves_as_a_whole() {
        let mut forest = forest(&[(0, 0), (0, 10), (0, 20), (1, 5)]);
        assert_eq!(forest.hang(1, 0, NEAR), Some(Moved { from: 1, to: 0, emptied: true }));
        forest.hang(2, 1, NEAR);
        let moved = forest.hang(1, 3, NEAR).unwrap();
        assert_eq!(moved, Moved { from: 0, to: 3, emptied: false });
        assert_eq!(forest.members(0), [0]);
        assert_eq!(forest.members(3), [3, 1, 2]);
        assert!(forest.is_above(3, 2) && !forest.is_above(0, 2));
    }

    #[test]
    fn onsets_are_found_by_time_whatever_the_order_of_arrival() {
        let mut forest = forest(&[(0, 100), (0, 50), (0, 900), (0, 70)]);
        let near = |forest: &Forest, t| -> Vec<u32> {
            let minute = Duration::from_secs(60);
            let onsets = forest.onsets(0, Timestamp::from_secs(t), minute, 8);
            onsets.iter().map(|(_, at)| *at).collect()
        };
        let around = |t| near(&forest, t);
        assert_eq!(around(60), [1, 3, 0]);
        assert_eq!(around(900), [2]);
        assert!(forest.onsets(7, Timestamp::EPOCH, Duration::MAX, 8).is_empty());
        forest.replace(2, 0, Timestamp::from_secs(40));
        assert_eq!(near(&forest, 60), [2, 1, 3, 0]);
        forest.forget_onsets(Timestamp::from_secs(60), |_| false);
        assert_eq!(near(&forest, 60), [3, 0]);
    }
}
