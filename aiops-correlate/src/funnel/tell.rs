//! Telling: incidents as the family's noun, decisions with their reasons.

use aiops_core::{AlertId, Incident, IncidentState, Reason, TimelineEntry, Timestamp};
use std::collections::BTreeSet;

use super::{Funnel, Story, quiet::Quiet};
use crate::decision::{Action, Because, Decision, span};
use crate::dedup::{Effect, NONE, Record};
use crate::group::{Link, Via};
use crate::hold::Hold;
use crate::near::Relation;

impl Funnel {
    pub(super) fn incident_of(&self, group: u32) -> Incident {
        let of = &self.groups[group as usize];
        let mut members = self.forest.members(group).to_vec();
        // In the order in which they joined: firings are numbered by their first record.
        members.sort_unstable_by_key(|&m| (self.first_record(m), m));
        let onset = members.iter().map(|&m| self.sessions.episode(m).onset).min();
        let services: BTreeSet<String> = members
            .iter()
            .filter_map(|&m| {
                let service = self.sessions.series_of(m).service;
                (service != NONE).then(|| self.services.word(service).to_owned())
            })
            .collect();
        let alerts: Vec<AlertId> =
            members.iter().map(|&m| self.sessions.episode(m).first_alert).collect();
        Incident {
            id: of.id,
            tenant: self.tenant.as_deref().unwrap_or_default().to_owned(),
            state: of.state,
            onset: onset.unwrap_or(of.founding_onset),
            shown_at: of.shown_at,
            resolved_at: of.resolved_at,
            severity: of.severity,
            title: self.title(group, &services),
            alerts,
            services,
            events: of.events.clone(),
            timeline: of
                .story
                .iter()
                .map(|(at, story)| TimelineEntry { at: *at, reason: self.story(story) })
                .collect(),
        }
    }

    fn first_record(&self, at: u32) -> Timestamp {
        let first = self.sessions.chain(at).last();
        first.map_or(Timestamp::MIN, |record| record.decided)
    }

    /// One line: the earliest firing, how far it spread, and the change before it.
    fn title(&self, group: u32, services: &BTreeSet<String>) -> String {
        let members = self.forest.members(group);
        let root = members.iter().copied().min_by_key(|&m| (self.sessions.episode(m).onset, m));
        let Some(root) = root else { return "moved elsewhere".to_owned() };
        let series = self.sessions.series_of(root);
        let name = self.kinds.word(series.kind);
        let mut title = match series.service {
            NONE => name.to_owned(),
            service => format!("{}: {name}", self.services.word(service)),
        };
        if services.len() > 1 {
            title.push_str(&format!(", {} services affected", services.len()));
        }
        let change = self.groups[group as usize].events.last();
        if let Some(change) = change.and_then(|event| self.changes.find(*event)) {
            title.push_str(&format!(", after {}", change.title));
        }
        title
    }

    fn story(&self, story: &Story) -> Reason {
        match story {
            Story::Held => Reason::new("held", "began; held for now"),
            Story::Shown { probability } => Reason::new(
                "shown",
                format!("shown: {:.0} % likely to be trouble", probability * 100.0),
            )
            .with("probability", *probability),
            Story::Expired => Reason::new("hold_expired", "the longest allowed hold is over"),
            Story::Unseen => Reason::new(
                "unseen_kind",
                "of a kind that never came up before, so without a record of being nothing",
            ),
            Story::Overslept => Reason::new(
                "overslept",
                "the clock jumped past the time at which it was to be decided",
            ),
            Story::Resolved => Reason::new("resolved", "nothing of it fires any more"),
            Story::Discarded { probability } => Reason::new(
                "discarded",
                format!(
                    "ended by itself while held; {:.0} % likely to have been trouble",
                    probability * 100.0
                ),
            )
            .with("probability", *probability),
            Story::Reopened => Reason::new("reopened", "it fires again"),
            Story::Closed => Reason::new("closed", "over for long enough"),
            Story::Absorbed { other } => {
                Reason::new("absorbed", format!("incident {other} turned out to be part of it"))
                    .with("incident", other.to_string())
            }
            Story::MergedInto { other } => {
                Reason::new("merged", format!("part of incident {other}"))
                    .with("incident", other.to_string())
            }
            Story::SplitFrom { other } => {
                Reason::new("split", format!("was part of incident {other}"))
                    .with("incident", other.to_string())
            }
            Story::Attention { alert } => Reason::new(
                "attention",
                format!("alert {alert} is of a new kind or worse than the others"),
            )
            .with("alert", alert.to_string()),
            Story::EndedQuiet => Reason::new("ended_quiet", "ended while silenced or inhibited"),
            Story::SilenceOver { event } => {
                let name = self.expired.iter().rev().find(|expired| expired.id == *event);
                let name = name.map_or("a silence", |expired| &expired.name);
                Reason::new("silence_expired", format!("no longer silenced: {name} is over"))
                    .with("event", event.to_string())
            }
            Story::Change { event } => {
                let change = self.changes.find(*event);
                let (title, kind) =
                    change.map_or(("a forgotten change", "other"), |c| (&*c.title, c.kind.name()));
                Reason::new("change", format!("preceded by {title}"))
                    .with("event", event.to_string())
                    .with("kind", kind)
            }
        }
    }

    /// The decision that the record with this number got, as of now.
    pub(super) fn describe(&self, number: u32) -> Decision {
        let record = *self.sessions.logged(number).expect("callers hold a number that is logged");
        let decision = |action, incident, because| Decision {
            alert: record.alert,
            at: record.decided,
            action,
            incident,
            because,
        };
        let Some(node) =
            (record.episode != NONE).then(|| self.forest.get(record.episode)).flatten()
        else {
            let rule = "an end without a beginning; kept in case its beginning is late".to_owned();
            return decision(Action::EndedUnseen, None, vec![Because::Rule { rule }]);
        };
        let episode = self.sessions.episode(record.episode);
        let incident = Some(self.groups[node.group as usize].id);
        let of = episode.first_alert;
        if record.sampled
            && let Some((storm, per_minute)) = self.storm_at(record.decided)
        {
            let same = Because::SameFiring { of, count: episode.firings };
            let because = vec![Because::Storm { per_minute, incident: storm }, same];
            return decision(Action::Sampled, incident, because);
        }
        match record.effect {
            Effect::Duplicate => {
                let because = vec![Because::SameFiring { of, count: episode.firings }];
                decision(Action::Duplicate, incident, because)
            }
            Effect::Repeat => {
                let because = vec![Because::SameFiring { of, count: episode.firings }];
                decision(Action::Repeated, incident, because)
            }
            Effect::End => {
                let seconds = episode.life_s() as i64;
                decision(Action::Ended, incident, vec![Because::Lasted { of, seconds }])
            }
            Effect::EndUnseen => {
                let rule =
                    "an end without a beginning; kept in case its beginning is late".to_owned();
                decision(Action::EndedUnseen, incident, vec![Because::Rule { rule }])
            }
            Effect::New => {
                let mut because = Vec::with_capacity(4);
                let action = if node.parent == NONE {
                    because.push(match node.service {
                        NONE => Because::UnknownService,
                        _ => Because::NothingRelated,
                    });
                    Action::Founded
                } else {
                    self.link_reasons(record.episode, node.parent, node.link, &mut because);
                    Action::Joined
                };
                let action = match self.quiet.get(&record.episode) {
                    Some(Quiet::Silenced { by, until }) => {
                        let (by, until) = (*by, *until);
                        let for_s = whole(until, record.decided);
                        because.insert(0, Because::Silenced { by, until, for_s });
                        Action::Suppressed
                    }
                    Some(Quiet::Inhibited { rule, by, .. }) => {
                        let rule = rule.to_string();
                        because.insert(0, Because::Inhibited { rule, by: *by });
                        Action::Suppressed
                    }
                    Some(Quiet::InCone { incident, service, hops }) => {
                        let service = self.services.word(*service).to_owned();
                        let (incident, hops) = (*incident, u32::from(*hops));
                        because.insert(0, Because::InCone { incident, service, hops });
                        Action::Suppressed
                    }
                    None => action,
                };
                self.standing(&record, node.group, &mut because);
                decision(action, incident, because)
            }
        }
    }

    fn link_reasons(&self, at: u32, parent: u32, link: Link, because: &mut Vec<Because>) {
        let (episode, other) = (self.sessions.episode(at), self.sessions.episode(parent));
        let service = self.services.word(self.forest.node(parent).service).to_owned();
        let hops = u32::from(link.hops);
        match link.relation {
            Via::Root => {}
            Via::Hand => {
                let by = self.put_by(at).unwrap_or_default().to_owned();
                because.push(Because::ByHand { by });
                return;
            }
            Via::Recurrence => {
                let after_s = episode.onset.seconds_after(other.ended).round() as i64;
                because.push(Because::CameBack { after_s });
                return;
            }
            Via::Near(relation) => because.push(match relation {
                Relation::SameService => Because::SameService { service },
                Relation::DependsOn => Because::DependsOn { service, hops },
                Relation::CalledBy => Because::CalledBy { service, hops },
                Relation::SharedDependency => Because::SharedDependency { service },
                Relation::SameHost => Because::SameHost { service },
            }),
        }
        let gap_s = episode.onset.seconds_after(other.onset).round() as i64;
        because.push(Because::Within { of: other.first_alert, gap_s });
        because.push(Because::Likelihood { nats: f64::from(link.nats) });
    }

    /// How the incident of a firing stands: held, shown or discarded, and what it would have taken.
    fn standing(&self, record: &Record, group: u32, because: &mut Vec<Because>) {
        let (at, decided) = (record.episode, record.decided);
        let of = &self.groups[group as usize];
        let probability = of.probability;
        let series = self.sessions.series_of(at);
        if self.is_pinned(at) {
            because.push(Because::Pinned);
        }
        if let Some(shown) = of.shown_at {
            if !self.history.says_when_over(series.kind) && self.is_rare(series) {
                because.push(Because::NoTransientRecord);
            }
            let after_s = whole(shown, decided);
            because.push(Because::Shown { at: shown, after_s, probability });
            return;
        }
        if of.state.is_shown()
            && let Some((incident, per_minute)) = self.storm_at(self.now)
        {
            because.push(Because::Storm { per_minute, incident });
        }
        match of.state {
            IncidentState::Held => {
                let onset = self.sessions.episode(at).onset;
                let life = self.history.noise_life(series.kind, self.sessions.history(series));
                because.push(Because::HeldUntil {
                    until: of.until,
                    for_s: whole(of.until, decided),
                    probability,
                    typical_life_s: life.median_s(),
                    expected_miss: self.history.incident_ends_before(of.until.seconds_after(onset)),
                });
                let sure = match &self.config.hold {
                    Hold::Learned(hold) => hold.sure,
                    _ => 1.0,
                };
                let window = self.config.spread.window.as_secs();
                because.push(Because::Counterfactual {
                    sentence: format!(
                        "would be shown before that if related alerts within {window} s brought it \
                         to {:.0} %",
                        sure * 100.0
                    ),
                });
            }
            IncidentState::Discarded => {
                because.push(Because::EndedByItself { probability });
                because.push(Because::Counterfactual {
                    sentence: format!(
                        "would have been shown had it lasted {}",
                        span(whole(of.until, self.sessions.episode(at).onset))
                    ),
                });
            }
            _ => {}
        }
    }
}

/// Whole seconds from one time to another.
fn whole(to: Timestamp, from: Timestamp) -> i64 {
    to.seconds_after(from).round() as i64
}
