//! An event: something that changed, as against something that broke.

use crate::hash::{CanonicalHasher, hash_id};
use crate::{Labels, Timestamp};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What kind of change it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EventKind {
    /// New code.
    Deploy,
    /// New settings or feature flags.
    Config,
    /// More or fewer instances, larger or smaller ones.
    Scaling,
    /// A process was restarted.
    Restart,
    /// A scheduled job ran.
    Job,
    /// Announced work, during which alerts of the service are expected.
    Maintenance,
    /// Somebody asked for silence.
    Silence,
    /// Any other change.
    Other,
}

impl EventKind {
    /// The name as it stands in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            EventKind::Deploy => "deploy",
            EventKind::Config => "config",
            EventKind::Scaling => "scaling",
            EventKind::Restart => "restart",
            EventKind::Job => "job",
            EventKind::Maintenance => "maintenance",
            EventKind::Silence => "silence",
            EventKind::Other => "other",
        }
    }

    /// Reads a name; anything unknown is [`EventKind::Other`], because a change of an unknown kind
    /// is still a candidate cause.
    pub fn from_name(name: &str) -> EventKind {
        match name.trim().to_ascii_lowercase().as_str() {
            "deploy" | "deployment" | "release" | "rollout" => EventKind::Deploy,
            "config" | "configuration" | "feature_flag" => EventKind::Config,
            "scaling" | "scale" => EventKind::Scaling,
            "restart" => EventKind::Restart,
            "job" | "cron" => EventKind::Job,
            "maintenance" => EventKind::Maintenance,
            "silence" => EventKind::Silence,
            _ => EventKind::Other,
        }
    }

    /// Whether such a change can itself be the root cause of an incident. Maintenance and silences
    /// announce trouble; they do not make it.
    pub const fn can_cause(self) -> bool {
        !matches!(self, EventKind::Maintenance | EventKind::Silence)
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

hash_id! {
    /// The identity of a change: hash(tenant, kind, service, title, start), so that the same change
    /// announced twice is one.
    EventId
}

impl EventId {
    /// The id of this change of `service` that takes effect at `starts_at`.
    pub fn of(
        tenant: &str,
        kind: EventKind,
        service: Option<&str>,
        title: &str,
        starts_at: Timestamp,
    ) -> Self {
        let hasher = CanonicalHasher::new("event")
            .text(tenant)
            .text(kind.name())
            .text(service.unwrap_or_default())
            .text(title)
            .number(starts_at.as_nanos() as u64);
        EventId::from_u64(hasher.finish())
    }
}

/// A change: it enters correlation and ranking beside alerts, and one on a dependency shortly
/// before the onset is a root-cause candidate of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Its identity.
    pub id: EventId,
    /// Whose it is; empty in a single-tenant deployment.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub tenant: String,
    /// What kind of change.
    pub kind: EventKind,
    /// The service that changed, a node of the topology, if it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// One line for people, for example `deploy api 1.4.2`.
    pub title: String,
    /// When it began to take effect.
    pub starts_at: Timestamp,
    /// When it was over; `None` for a change that stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<Timestamp>,
    /// Everything else: version, author, link.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
}

impl Event {
    /// A change of `service` at `starts_at`, of the empty tenant.
    pub fn new(
        kind: EventKind,
        service: Option<&str>,
        title: impl Into<String>,
        starts_at: Timestamp,
    ) -> Self {
        let title = title.into();
        Event {
            id: EventId::of("", kind, service, &title, starts_at),
            tenant: String::new(),
            kind,
            service: service.map(str::to_owned),
            title,
            starts_at,
            ends_at: None,
            labels: Labels::new(),
        }
    }
}
