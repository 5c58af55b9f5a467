//! Weighing: the evidence for trouble in a group that is not shown, and when it will be enough.

use aiops_core::Timestamp;

use super::{Funnel, Story};
use crate::dedup::NONE;
use crate::group::Via;
use crate::history::NoiseLife;
use crate::hold::{self, Hold, HoldConfig, Part};

/// Members that are weighed, the earliest: they decide.
pub(super) const WEIGHED: usize = 64;
/// The most that a finished firing may speak for or against: a lifetime is one observation.
const ENDED_LIMIT: f64 = 4.0;
/// What a link by hand says for its members being one incident, in nats.
const HAND: f64 = 5.0;
/// How long the moment of decision lasts: after it, only stronger evidence shows a group.
const DECISION: std::time::Duration = std::time::Duration::from_secs(5);

/// A member with everything that its evidence at some time needs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Weighed {
    episode: u32,
    pub(super) kind: u32,
    life: NoiseLife,
    onset: Timestamp,
    arrived: Timestamp,
    is_open: bool,
    /// It is open, and its end would be reported.
    tells_end: bool,
    /// Known to have fired for this long.
    known_s: f64,
    /// Seconds between its records, if there were several.
    cadence_s: Option<f64>,
    /// How long it lasted, if its end was reported, and until when.
    ended_s: Option<f64>,
    ended_at: Option<Timestamp>,
    /// Nobody reports its end, so that waiting tells nothing, and it comes so seldom that showing it
    /// costs little.
    rare: bool,
}

impl Funnel {
    /// Weighs a group that is not shown, and shows, discards or plans.
    pub(super) fn weigh(&mut self, group: u32) {
        if self.is_quiet(group) {
            return self.keep_quiet(group);
        }
        let hold = match &self.config.hold {
            Hold::Never => return self.show(group, 1.0),
            Hold::Static(hold) => {
                let hold = hold.clone();
                return self.weigh_static(group, &hold);
            }
            Hold::Learned(hold) => hold.clone(),
        };
        let members = self.weighed(group);
        let now = self.now;
        let probability = self.probability_at(&members, now);
        self.groups[group as usize].probability = probability;
        self.groups[group as usize].dirty = false;
        if members.iter().any(|m| m.is_open && self.is_unseen(m.kind, &hold)) {
            self.note(group, Story::Unseen);
            return self.show(group, probability);
        }
        let waits_quietly = self.is_quiet_but_for_what_ended(group);
        let open = self.groups[group as usize].open > 0 && !waits_quietly;
        if self.is_enough(&members, &hold, now, open) {
            if open && self.stays_in_cone(group) {
                return;
            }
            return self.show(group, probability);
        }
        if waits_quietly {
            return self.keep_quiet(group);
        }
        if !open {
            return self.discard(group, probability);
        }
        let limit = members.iter().filter(|m| m.is_open).map(|m| m.arrived + hold.limit).min();
        let limit = limit.unwrap_or(now);
        if now >= limit {
            self.note(group, Story::Expired);
            return self.show(group, probability);
        }
        let until = self.plan(&members, &hold, limit);
        self.groups[group as usize].until = until;
        let silence = self.silence_due(group);
        self.schedule(group, until.min(silence));
    }

    /// Whether some member has enough evidence behind it for the time since it arrived.
    pub(super) fn is_enough(
        &mut self,
        members: &[Weighed],
        hold: &HoldConfig,
        at: Timestamp,
        open: bool,
    ) -> bool {
        self.weigh_members(members, at);
        let enough = |member: &Weighed, odds: &f64| {
            let decide_at = member.arrived + hold.decide_by;
            let share = if at < decide_at && open {
                hold.sure
            } else if at.since(decide_at) <= DECISION {
                hold.likely
            } else {
                hold.late
            };
            *odds >= hold::nats(share)
        };
        let at_once = |member: &Weighed| {
            member.is_open && (member.rare || self.history.kind(member.kind).pinned)
        };
        let mut odds = members.iter().zip(&self.scratch);
        odds.any(|(member, odds)| at_once(member) || enough(member, odds))
    }

    pub(super) fn weigh_static(&mut self, group: u32, hold: &hold::StaticHold) {
        let members = self.forest.members(group);
        let firings: u32 = members.iter().map(|&m| self.sessions.episode(m).firings).sum();
        let open = members.iter().map(|&m| self.sessions.episode(m)).filter(|e| e.is_open());
        let oldest = open.map(|e| e.onset).min();
        let lasted = oldest.is_some_and(|onset| onset + hold.lasting <= self.now);
        let series = members.len() as u32;
        if series >= hold.firings || (firings >= hold.firings && hold.firings <= 1) || lasted {
            return self.show(group, 1.0);
        }
        match oldest {
            None => self.discard(group, 0.0),
            Some(onset) => {
                let until = onset + hold.lasting;
                self.groups[group as usize].until = until;
                self.schedule(group, until);
            }
        }
    }

    /// When a held group will be shown if its firings last and nothing else happens.
    pub(super) fn plan(
        &mut self,
        members: &[Weighed],
        hold: &HoldConfig,
        limit: Timestamp,
    ) -> Timestamp {
        let now = self.now;
        let decisions = members.iter().map(|m| m.arrived + hold.decide_by);
        let mut times: Vec<Timestamp> = decisions.filter(|t| *t > now && *t < limit).collect();
        let mut step = 10.0;
        while now + std::time::Duration::from_secs_f64(step) < limit {
            times.push(now + std::time::Duration::from_secs_f64(step));
            step *= 1.25;
        }
        times.sort_unstable();
        let mut before = now;
        for at in times {
            if self.is_enough(members, hold, at, true) {
                return self.first_time(members, hold, before, at);
            }
            before = at;
        }
        limit
    }

    /// First time in `(from, to]` at which there is enough evidence, to the second; there is at `to`.
    pub(super) fn first_time(
        &mut self,
        members: &[Weighed],
        hold: &HoldConfig,
        from: Timestamp,
        to: Timestamp,
    ) -> Timestamp {
        let (mut low, mut high) = (0_u64, to.since(from).as_secs());
        let second = std::time::Duration::from_secs;
        while high > low + 1 {
            let middle = low + (high - low) / 2;
            let enough = self.is_enough(members, hold, from + second(middle), true);
            if enough { high = middle } else { low = middle }
        }
        if high == to.since(from).as_secs() { to } else { from + second(high) }
    }

    /// Whether a kind has come up for the first time after learning, and nothing of it is over yet.
    fn is_unseen(&self, kind: u32, hold: &HoldConfig) -> bool {
        let learned = self.history.started.is_some_and(|at| at + hold.learning <= self.now);
        learned && !self.history.kind(kind).has_record()
    }

    /// Whether a series fires so seldom that it is shown whenever it does.
    pub(super) fn is_rare(&self, series: &crate::dedup::Series) -> bool {
        let Hold::Learned(hold) = &self.config.hold else { return false };
        let rate = self.history.noise_rate(series.kind, self.sessions.history(series), self.now);
        rate * 86_400.0 <= hold.rare_per_day
    }

    /// The members of a group in order of onset, with what their evidence needs.
    pub(super) fn weighed(&self, group: u32) -> Vec<Weighed> {
        self.weighed_of(self.forest.members(group))
    }

    /// The same of any firings.
    pub(super) fn weighed_of(&self, members: &[u32]) -> Vec<Weighed> {
        let weighed = |&at: &u32| {
            let episode = self.sessions.episode(at);
            let series = &self.sessions.series[episode.series as usize];
            let said = self.history.says_when_over(series.kind);
            let known = episode.last.seconds_after(episode.onset);
            Weighed {
                episode: at,
                kind: series.kind,
                life: self.history.noise_life(series.kind, self.sessions.history(series)),
                onset: episode.onset,
                arrived: self.forest.node(at).arrived,
                is_open: episode.is_open(),
                tells_end: said && episode.is_open(),
                known_s: known,
                cadence_s: episode.cadence_s(),
                ended_s: episode.said_end.then(|| episode.life_s()),
                ended_at: episode.said_end.then_some(episode.ended),
                rare: !said && self.is_rare(series),
            }
        };
        // Of a series that comes and goes, what is over has had its say.
        let counts = |at: &&u32| {
            self.forest.node(**at).link.relation != Via::Recurrence
                || self.sessions.episode(**at).is_open()
                || self.sessions.series_of(**at).current == **at
        };
        let heard = |at: &&u32| self.quiet.is_empty() || !self.quiet.contains_key(*at);
        let mut members: Vec<Weighed> =
            members.iter().filter(counts).filter(heard).map(weighed).collect();
        members.sort_unstable_by_key(|m| (m.onset, self.sessions.rank(m.episode)));
        members.truncate(WEIGHED);
        members
    }

    /// Probability that a group is trouble: that of its most favourable member.
    pub(super) fn probability_at(&mut self, members: &[Weighed], at: Timestamp) -> f64 {
        self.weigh_members(members, at);
        let best = self.scratch.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        hold::probability(best)
    }

    /// Writes into `scratch`, for each member, ln of the odds that trouble began with it.
    pub(super) fn weigh_members(&mut self, members: &[Weighed], at: Timestamp) {
        let mut parts = std::mem::take(&mut self.parts);
        parts.clear();
        for (index, member) in members.iter().enumerate() {
            let node = self.forest.node(member.episode);
            let parent = members[..index].iter().position(|m| m.episode == node.parent);
            let episode = self.sessions.episode(member.episode);
            let series = &self.sessions.series[episode.series as usize];
            let known = member.known_s;
            let lasts = match member.ended_s {
                Some(life) => {
                    self.history.ended_evidence(member.life, life).clamp(-ENDED_LIMIT, ENDED_LIMIT)
                }
                None if member.tells_end => {
                    let age = at.seconds_after(member.onset);
                    let cadence = member.cadence_s;
                    self.history.alive_evidence(member.kind, member.life, known, age, cadence)
                }
                None => self.history.alive_evidence(member.kind, member.life, known, known, None),
            };
            let lasts_with = match (member.ended_s, parent.and_then(|p| members[p].ended_at)) {
                (Some(life), Some(other)) if self.config.spread.recovery_s > 0.0 => {
                    let apart = episode.ended.seconds_after(other);
                    let with = self.ln_apart(apart) - self.history.ln_noise_ends(member.life, life);
                    with.clamp(-ENDED_LIMIT, ENDED_LIMIT)
                }
                _ => lasts,
            };
            let rates = self.history.incident_rate(member.kind, self.now).ln()
                - self
                    .history
                    .noise_rate(member.kind, self.sessions.history(series), self.now)
                    .ln();
            let founds = rates + self.history.severity_evidence(member.kind, episode.severity);
            let follows = match node.link.relation {
                Via::Near(_) => f64::from(node.link.nats),
                Via::Hand => HAND,
                Via::Root | Via::Recurrence => 0.0,
            };
            let parent = parent.map_or(NONE, |p| p as u32);
            let until = at.min(episode.ended).seconds_after(member.onset);
            let expected = self.spread.expected(&self.near.followers(node.service), until);
            parts.push(Part { parent, founds, follows, lasts, lasts_with, expected });
        }
        hold::log_odds(&parts, &mut self.scratch);
        self.parts = parts;
    }
}
