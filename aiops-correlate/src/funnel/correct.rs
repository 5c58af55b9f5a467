//! Corrections by people: links by hand, and lessons that can be taken back.

use aiops_core::{AlertId, IncidentId};
use serde::{Deserialize, Serialize};

use super::Funnel;
use crate::correlator::Context;
use crate::dedup::NONE;
use crate::feedback::{Corrected, Correction, Subject};
use crate::group::{Link, Via};
use crate::{Error, Result};

/// A correction with what it takes to undo it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Made {
    pub(crate) told: Corrected,
    /// Firings that were hung elsewhere, with what they hung on before.
    moved: Vec<(u32, u32, Link)>,
    /// Lessons: kind, history, and the noise that was added to both (negative: taken away).
    taught: Vec<(u32, u32, f64)>,
}

impl Funnel {
    /// Makes a correction in the name of `by`. It holds until it is [undone](Self::undo): what was
    /// linked by hand is not linked otherwise by what arrives later.
    ///
    /// # Errors
    /// [`Error::Unknown`] for an incident or alert that is not kept (any more), [`Error::Refused`] for
    /// a correction that changes nothing or would leave an incident empty. Nothing changed then.
    pub fn correct(&mut self, correction: Correction, by: &str, ctx: &Context<'_>) -> Result<u32> {
        self.enter(ctx);
        self.work_off_timers();
        let number = self.corrections.len() as u32;
        let told = Corrected {
            number,
            correction: correction.clone(),
            by: by.to_owned(),
            at: self.now,
            undone: false,
            said: None,
        };
        self.corrections.push(Made { told, moved: Vec::new(), taught: Vec::new() });
        let done = match correction {
            Correction::Merge { from, into } => self.merge_by_hand(number, from, into),
            Correction::Split { incident, alerts } => self.split_by_hand(number, incident, &alerts),
            Correction::Move { alert, to } => self.move_by_hand(number, alert, to),
            Correction::NotNoise { subject } => self.not_noise(number, subject),
            Correction::Noise { subject } => self.noise(number, subject),
            Correction::Pin { name, pinned } => self.pin(&name, pinned),
        };
        match done {
            Ok(()) => Ok(number),
            Err(error) => {
                self.corrections.pop();
                Err(error)
            }
        }
    }

    /// Takes a correction back. Firings return to what they hung on before, as far as that is still
    /// kept; lessons are unlearned. An incident that was shown stays in sight.
    ///
    /// # Errors
    /// [`Error::Unknown`] for a number that no correction has, [`Error::Refused`] if it was undone.
    pub fn undo(&mut self, number: u32, ctx: &Context<'_>) -> Result<()> {
        self.enter(ctx);
        self.work_off_timers();
        let unknown = || Error::Unknown { what: "correction", id: number.to_string() };
        let made = self.corrections.get_mut(number as usize).ok_or_else(unknown)?;
        if made.told.undone {
            return Err(refused("undo", "it was undone before"));
        }
        made.told.undone = true;
        let (moved, taught) = (std::mem::take(&mut made.moved), std::mem::take(&mut made.taught));
        for (at, parent, link) in moved.into_iter().rev() {
            if self.forest.get(at).is_none() {
                continue;
            }
            self.forest.node_mut(at).hand = NONE;
            if parent != NONE && self.forest.get(parent).is_some() {
                if !self.forest.is_above(at, parent) {
                    let moved = self.forest.hang(at, parent, link);
                    self.regrouped(moved);
                }
            } else {
                self.leave(at);
            }
        }
        for (kind, history, noise) in taught {
            let of_series = &mut self.sessions.histories[history as usize];
            of_series.noise = (of_series.noise - noise).max(0.0);
            let of_kind = self.history.kind_mut(kind);
            of_kind.noise = (of_kind.noise - noise).max(0.0);
        }
        if let Correction::Pin { name, pinned } = &self.corrections[number as usize].told.correction
        {
            let (name, pinned) = (name.clone(), !*pinned);
            self.pin(&name, pinned)?;
        }
        Ok(())
    }

    /// The corrections made, undone ones included, in their order.
    pub fn corrections(&self) -> impl Iterator<Item = &Corrected> {
        self.corrections.iter().map(|made| &made.told)
    }

    fn group_of(&self, incident: IncidentId) -> Result<u32> {
        let unknown = || Error::Unknown { what: "incident", id: incident.to_string() };
        let group = self.by_incident.get(&incident).copied().ok_or_else(unknown)?;
        if self.forest.members(group).is_empty() {
            return Err(refused("correct the incident", "it was merged into another"));
        }
        Ok(group)
    }

    fn firing_of(&self, alert: AlertId) -> Result<u32> {
        let number = self.by_alert.get(&alert.as_u64());
        let record = number.and_then(|number| self.sessions.logged(*number));
        let at = record.map(|record| record.episode).filter(|at| self.forest.get(*at).is_some());
        at.ok_or_else(|| Error::Unknown { what: "alert", id: alert.to_string() })
    }

    fn group_of_subject(&self, subject: Subject) -> Result<u32> {
        match subject {
            Subject::Incident(incident) => self.group_of(incident),
            Subject::Alert(alert) => Ok(self.forest.node(self.firing_of(alert)?).group),
        }
    }

    /// A firing of the group that hangs on none.
    fn root_of(&self, group: u32) -> u32 {
        let members = self.forest.members(group);
        let root = members.iter().copied().find(|&m| self.forest.node(m).parent == NONE);
        root.unwrap_or(members[0])
    }

    /// Hangs `at` on `parent` by hand.
    fn hang_by_hand(&mut self, number: u32, at: u32, parent: u32) {
        let node = self.forest.node(at);
        self.corrections[number as usize].moved.push((at, node.parent, node.link));
        let link = Link { relation: Via::Hand, hops: 0, nats: 0.0, ends: 0.0 };
        let moved = self.forest.hang(at, parent, link);
        self.forest.node_mut(at).hand = number;
        self.regrouped(moved);
    }

    /// Makes `at` the root of a group of its own, by hand.
    fn leave_by_hand(&mut self, number: u32, at: u32) {
        let node = self.forest.node(at);
        self.corrections[number as usize].moved.push((at, node.parent, node.link));
        self.leave(at);
        self.forest.node_mut(at).hand = number;
    }

    fn merge_by_hand(&mut self, number: u32, from: IncidentId, into: IncidentId) -> Result<()> {
        let (from, into) = (self.group_of(from)?, self.group_of(into)?);
        if from == into {
            return Err(refused("merge", "they are one already"));
        }
        let root = self.root_of(into);
        for at in self.forest.members(from).to_vec() {
            if self.forest.node(at).group == from && self.forest.node(at).parent == NONE {
                self.hang_by_hand(number, at, root);
            }
        }
        Ok(())
    }

    fn split_by_hand(&mut self, number: u32, incident: IncidentId, of: &[AlertId]) -> Result<()> {
        let group = self.group_of(incident)?;
        let mut leaving = of.iter().map(|id| self.firing_of(*id)).collect::<Result<Vec<_>>>()?;
        leaving.sort_unstable();
        leaving.dedup();
        if leaving.is_empty() || leaving.iter().any(|at| self.forest.node(*at).group != group) {
            return Err(refused("split", "the alerts must be in the incident"));
        }
        let staying = self.forest.members(group).iter().find(|m| !leaving.contains(m)).copied();
        let Some(stays) = staying else {
            return Err(refused("split", "somebody must stay"));
        };
        self.free_from(number, &leaving, stays);
        let first = leaving[0];
        self.leave_by_hand(number, first);
        for &at in &leaving[1..] {
            self.hang_by_hand(number, at, first);
        }
        Ok(())
    }

    fn move_by_hand(&mut self, number: u32, alert: AlertId, to: IncidentId) -> Result<()> {
        let (at, to) = (self.firing_of(alert)?, self.group_of(to)?);
        let from = self.forest.node(at).group;
        if from == to {
            return Err(refused("move", "it is there already"));
        }
        let root = self.root_of(to);
        if let Some(&stays) = self.forest.members(from).iter().find(|m| **m != at) {
            self.free_from(number, &[at], stays);
        }
        self.hang_by_hand(number, at, root);
        Ok(())
    }

    /// Whatever hangs on one of `leaving` without leaving itself is hung on `stays`; where `stays`
    /// hangs on one of them, it becomes a root first.
    fn free_from(&mut self, number: u32, leaving: &[u32], stays: u32) {
        if leaving.iter().any(|at| self.forest.is_above(*at, stays)) {
            let node = self.forest.node(stays);
            self.corrections[number as usize].moved.push((stays, node.parent, node.link));
            self.forest.unhang(stays);
        }
        for &at in leaving {
            for child in self.forest.node(at).children.clone() {
                if !leaving.contains(&child) && child != stays {
                    self.hang_by_hand(number, child, stays);
                }
            }
        }
    }

    fn not_noise(&mut self, number: u32, subject: Subject) -> Result<()> {
        let group = self.group_of_subject(subject)?;
        if self.groups[group as usize].state.is_shown() {
            return Err(refused("show", "it is shown already"));
        }
        for at in self.forest.members(group).to_vec() {
            let of = self.sessions.series_of(at);
            let (kind, history) = (of.kind, of.history);
            // Half of what its series is held for, beside what `show` takes back of this firing.
            let half = self.sessions.histories[history as usize].noise / 2.0;
            self.teach_noise(number, kind, history, -half);
        }
        self.show(group, 1.0);
        Ok(())
    }

    fn noise(&mut self, number: u32, subject: Subject) -> Result<()> {
        let group = self.group_of_subject(subject)?;
        let needed = self.config.noise_after;
        let root = self.sessions.series_of(self.root_of(group)).history;
        let said = self.noise_said.entry(root).or_default();
        *said += 1;
        let said = *said;
        self.corrections[number as usize].told.said = Some((said, needed));
        if said < needed {
            return Ok(());
        }
        self.noise_said.remove(&root);
        for at in self.forest.members(group).to_vec() {
            let of = self.sessions.series_of(at);
            let (kind, history) = (of.kind, of.history);
            self.teach_noise(number, kind, history, f64::from(needed));
        }
        Ok(())
    }

    fn teach_noise(&mut self, number: u32, kind: u32, history: u32, noise: f64) {
        let of_series = &mut self.sessions.histories[history as usize];
        let noise = noise.max(-of_series.noise);
        of_series.noise += noise;
        let of_kind = self.history.kind_mut(kind);
        of_kind.noise = (of_kind.noise + noise).max(0.0);
        self.corrections[number as usize].taught.push((kind, history, noise));
    }

    fn pin(&mut self, name: &str, pinned: bool) -> Result<()> {
        let kind = self.kinds.intern(name);
        self.history.kind_mut(kind).pinned = pinned;
        for group in 0..self.groups.len() as u32 {
            if !self.groups[group as usize].state.is_final() && self.groups[group as usize].open > 0
            {
                self.settle(group);
            }
        }
        Ok(())
    }

    /// Who put a firing where it is, if a person did.
    pub(super) fn put_by(&self, at: u32) -> Option<&str> {
        let made = self.corrections.get(self.forest.node(at).hand as usize)?;
        Some(&made.told.by)
    }

    /// Whether a firing is of a kind that is never held.
    pub(super) fn is_pinned(&self, at: u32) -> bool {
        self.history.kind(self.sessions.series_of(at).kind).pinned
    }
}

fn refused(what: &'static str, reason: &str) -> Error {
    Error::Refused { what, reason: reason.to_owned() }
}
