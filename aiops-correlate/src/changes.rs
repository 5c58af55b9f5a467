//! Stage 5: changes (deploys, configuration, scaling) and the incidents they precede.

use aiops_core::{Event, EventId, EventKind, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::time::Duration;

use crate::dedup::NONE;

/// How changes are attached.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ChangeConfig {
    /// A change of the service itself or of a dependency is attached to an incident that begins at
    /// most this long after it. Default 15 minutes.
    pub before: Duration,
    /// Clocks differ: a change that seems to come up to this long after the onset still precedes
    /// it. Default 30 s.
    pub slack: Duration,
    /// How many calls away the changed service may be. Default 2.
    pub hops: u8,
    /// Changes that are remembered. Default 10,000.
    pub keep: usize,
}

impl Default for ChangeConfig {
    fn default() -> Self {
        ChangeConfig {
            before: Duration::from_secs(900),
            slack: Duration::from_secs(30),
            hops: 2,
            keep: 10_000,
        }
    }
}

/// A change as remembered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Change {
    pub(crate) id: EventId,
    pub(crate) kind: EventKind,
    pub(crate) service: u32,
    pub(crate) title: Box<str>,
    pub(crate) starts_at: Timestamp,
    pub(crate) ends_at: Option<Timestamp>,
}

/// The changes known, in order of their start.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Changes {
    pub(crate) known: VecDeque<Change>,
}

impl Changes {
    /// Remembers a change; the same one announced twice is one, and its end may be news.
    pub(crate) fn add(&mut self, event: &Event, service: u32, keep: usize) -> bool {
        if let Some(known) = self.known.iter_mut().rev().find(|known| known.id == event.id) {
            known.ends_at = event.ends_at.or(known.ends_at);
            return false;
        }
        let at = self.known.partition_point(|known| known.starts_at <= event.starts_at);
        let change = Change {
            id: event.id,
            kind: event.kind,
            service,
            title: event.title.as_str().into(),
            starts_at: event.starts_at,
            ends_at: event.ends_at,
        };
        self.known.insert(at, change);
        while self.known.len() > keep {
            self.known.pop_front();
        }
        true
    }

    /// Changes that can be causes and began within the configured time before `onset`.
    pub(crate) fn before<'a>(
        &'a self,
        onset: Timestamp,
        config: &ChangeConfig,
    ) -> impl Iterator<Item = &'a Change> + use<'a> {
        let (from, to) = (onset - config.before, onset + config.slack);
        let start = self.known.partition_point(|known| known.starts_at < from);
        let known = self.known.range(start..).take_while(move |known| known.starts_at <= to);
        known.filter(|known| known.kind.can_cause() && known.service != NONE)
    }

    pub(crate) fn find(&self, id: EventId) -> Option<&Change> {
        self.known.iter().rev().find(|known| known.id == id)
    }
}
