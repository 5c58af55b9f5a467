//! Escalation: who is paged next when nobody answers.
//!
//! Pure: time comes in, the routes to page come out. The engine keeps one [`Page`] in the store for
//! each run that needs a person, and follows it whenever it delivers messages.

use std::time::Duration;

use aiops_core::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::runbook::{Weekly, calendar};

/// Who is paged, in order, until somebody acknowledges.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EscalationPolicy {
    /// From the first to the last level. Without any, every notifier is told once.
    pub levels: Vec<EscalationLevel>,
    /// How often the levels are gone through again after the last one. Default 0.
    pub repeats: u32,
}

/// One level.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EscalationLevel {
    /// Names of the notifiers that page it.
    pub routes: Vec<String>,
    /// How long it has to acknowledge.
    #[serde(with = "crate::runbook::duration")]
    pub acknowledge_within: Duration,
    /// Only during these hours; outside of them the level is passed over. Default always.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hours: Option<Weekly>,
}

impl EscalationPolicy {
    /// Checks the policy; `known` are the names of the notifiers.
    ///
    /// # Errors
    /// A level without routes or time, an unknown route, or no level that is always reachable.
    pub fn build(self, known: &[&str]) -> Result<EscalationPolicy> {
        for level in &self.levels {
            if level.routes.is_empty() || level.acknowledge_within.is_zero() {
                return Err(Error::config("levels", "a level has routes and time to acknowledge"));
            }
            if let Some(route) = level.routes.iter().find(|r| !known.contains(&r.as_str())) {
                return Err(Error::config("levels", format!("no notifier is called {route:?}")));
            }
        }
        if !self.levels.is_empty() && self.levels.iter().all(|level| level.hours.is_some()) {
            return Err(Error::config("levels", "one level at least is there at any hour"));
        }
        Ok(self)
    }
}

/// A page that goes from level to level until somebody acknowledges it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// The level that was paged last; `None` before the first.
    pub level: Option<usize>,
    /// Times the last level was passed.
    pub rounds: u32,
    /// When the next level is paged.
    pub next_at: Timestamp,
    /// Who acknowledged it.
    pub acknowledged_by: Option<String>,
}

impl Page {
    /// A page that is due at once.
    #[must_use]
    pub fn new(now: Timestamp) -> Page {
        Page { level: None, rounds: 0, next_at: now, acknowledged_by: None }
    }

    /// Somebody takes it: nobody else is paged. The first one counts.
    pub fn acknowledge(&mut self, by: &str) {
        self.acknowledged_by.get_or_insert_with(|| by.to_owned());
    }

    /// Whether it pages nobody any more: somebody has it, or the last level has had its time.
    #[must_use]
    pub fn is_over(&self, policy: &EscalationPolicy, now: Timestamp) -> bool {
        let last = self.level.map_or(0, |level| level + 1) >= policy.levels.len();
        let exhausted = last && self.rounds >= policy.repeats && now >= self.next_at;
        self.acknowledged_by.is_some() || exhausted
    }

    /// The routes that are to be paged now; empty when nothing is due.
    pub fn tick(&mut self, policy: &EscalationPolicy, now: Timestamp) -> Vec<String> {
        if self.acknowledged_by.is_some() || now < self.next_at {
            return Vec::new();
        }
        // One level at least is there at any hour: it comes up before the levels were gone through
        // twice, wherever the page stands.
        for _ in 0..=2 * policy.levels.len() {
            let next = self.level.map_or(0, |level| level + 1);
            if next >= policy.levels.len() {
                if self.rounds >= policy.repeats {
                    return Vec::new();
                }
                self.rounds += 1;
                self.level = None;
                continue;
            }
            self.level = Some(next);
            let level = &policy.levels[next];
            let there = |hours: &Weekly| calendar::in_week(hours, now).unwrap_or(true);
            if level.hours.as_ref().is_none_or(there) {
                self.next_at = now + level.acknowledge_within;
                return level.routes.clone();
            }
        }
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runbook::Day;

    fn level(route: &str, minutes: u64, hours: Option<Weekly>) -> EscalationLevel {
        EscalationLevel {
            routes: vec![route.to_owned()],
            acknowledge_within: Duration::from_secs(minutes * 60),
            hours,
        }
    }

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_secs(1_800_000_000 + minutes * 60) // a Friday, 08:00 UTC
    }

    #[test]
    fn levels_follow_each_other_until_somebody_acknowledges() {
        let levels = vec![level("first", 5, None), level("second", 10, None)];
        let policy = EscalationPolicy { levels, repeats: 1 }.build(&["first", "second"]).unwrap();
        let mut page = Page::new(at(0));
        let mut story = Vec::new();
        for minute in 0..60 {
            for route in page.tick(&policy, at(minute)) {
                story.push((minute, route));
            }
        }
        let story: Vec<(i64, &str)> = story.iter().map(|(m, r)| (*m, r.as_str())).collect();
        assert_eq!(story, [(0, "first"), (5, "second"), (15, "first"), (20, "second")]);

        let mut page = Page::new(at(0));
        assert_eq!(page.tick(&policy, at(0)), ["first"]);
        page.acknowledge("ada");
        page.acknowledge("grace");
        assert_eq!(page.tick(&policy, at(60)), Vec::<String>::new());
        assert_eq!(page.acknowledged_by.as_deref(), Some("ada"));
    }

    #[test]
    fn a_level_outside_its_hours_is_passed_over_and_one_is_always_there() {
        let hours = Weekly {
            days: vec![Day::Mon],
            from: "09:00".to_owned(),
            until: "17:00".to_owned(),
            zone: "UTC".to_owned(),
        };
        let levels = vec![level("office", 5, Some(hours.clone())), level("oncall", 5, None)];
        let policy = EscalationPolicy { levels, repeats: 0 }.build(&["office", "oncall"]).unwrap();
        let mut page = Page::new(at(0));
        assert_eq!(page.tick(&policy, at(0)), ["oncall"], "it is Friday");
        // A last level that is not there does not end the rounds.
        let levels = vec![level("oncall", 5, None), level("office", 5, Some(hours.clone()))];
        let policy = EscalationPolicy { levels, repeats: 1 }.build(&["office", "oncall"]).unwrap();
        let mut page = Page::new(at(0));
        assert_eq!(page.tick(&policy, at(0)), ["oncall"]);
        assert_eq!(page.tick(&policy, at(5)), ["oncall"], "again");
        assert!(!page.is_over(&policy, at(9)));
        assert_eq!(page.tick(&policy, at(10)), Vec::<String>::new());
        assert!(page.is_over(&policy, at(10)));
        let only = vec![level("office", 5, Some(hours))];
        assert!(EscalationPolicy { levels: only, repeats: 0 }.build(&["office"]).is_err());
        let unknown = vec![level("nobody", 5, None)];
        assert!(EscalationPolicy { levels: unknown, repeats: 0 }.build(&["office"]).is_err());
    }
}
