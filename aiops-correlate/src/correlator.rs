//! The contract: alerts and changes in, incidents and explained decisions out.

use aiops_core::{
    Alert, AlertId, Event, EventId, Incident, IncidentId, Severity, Timestamp, Topology,
};
use serde::{Deserialize, Serialize};

use crate::Decision;

/// What a correlator may know besides the input itself.
///
/// Time is an argument: `now` is the driver's clock (the arrival clock), and a correlator never
/// asks another. It should not run backwards; when it does, correlators go on with the latest time
/// that they have seen.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The time on the arrival clock.
    pub now: Timestamp,
    /// Who depends on whom. An empty one is allowed: grouping then falls back to what the alerts
    /// say of themselves.
    pub topology: &'a Topology,
}

impl<'a> Context<'a> {
    /// A context at `now`.
    pub fn new(now: Timestamp, topology: &'a Topology) -> Self {
        Context { now, topology }
    }
}

/// Groups alerts into incidents and decides which of them to show.
///
/// # For callers
///
/// Feed alerts in the order in which they *arrive* (resolved records too: an alert with `ends_at`
/// ends its firing), changes with [`observe`](Correlator::observe) as they become known, and call
/// [`tick`](Correlator::tick) regularly: holds end by time, so without ticks nothing held is ever
/// shown. A driver that wants to be exact ticks at [`next_due`](Correlator::next_due).
///
/// ```
/// use aiops_correlate::{Context, Correlator, FunnelConfig};
/// use aiops_core::{Alert, Labels, Timestamp, Topology};
///
/// let topology = Topology::default();
/// let mut correlator = FunnelConfig::default().build()?;
/// let at = Timestamp::from_secs(1_000);
/// let alert = Alert::new("HighLatency", Labels::from([("service", "api")]), at);
/// let decision = correlator.ingest(&alert, &Context::new(at, &topology));
/// let mut updates = Vec::new();
/// correlator.tick(&Context::new(at, &topology), &mut updates);
/// assert_eq!(correlator.decision(alert.id), Some(decision));
/// # Ok::<(), aiops_correlate::Error>(())
/// ```
///
/// Wrong: reading incidents out of [`ingest`](Correlator::ingest)'s answer alone. A decision says
/// what happened to one alert *then*; a hold that ends, a merge or a late alert changes the
/// incident afterwards, and only [`tick`](Correlator::tick) reports it.
///
/// ```
/// # use aiops_correlate::{Context, Correlator, FunnelConfig};
/// # use aiops_core::{Alert, Labels, Timestamp, Topology};
/// # let topology = Topology::default();
/// # let mut correlator = FunnelConfig::default().build()?;
/// let at = Timestamp::from_secs(1_000);
/// let alert = Alert::new("HighLatency", Labels::from([("service", "api")]), at);
/// let decision = correlator.ingest(&alert, &Context::new(at, &topology));
/// let incident = decision.incident.and_then(|id| correlator.incident(id));
/// assert!(incident.is_some_and(|i| i.shown_at.is_none()), "held: nobody has seen it yet");
/// # Ok::<(), aiops_correlate::Error>(())
/// ```
///
/// # For implementers
///
/// - Same inputs in the same order give the same answers; no clock, no thread, no randomness.
/// - Every alert that was ingested is reachable for as long as its incident is kept:
///   [`decision`](Correlator::decision) knows it, and its incident, if any, is known to
///   [`incident`](Correlator::incident). Nothing is dropped without such a record.
/// - Nothing looks ahead, and nothing is dated back: a state change carries the time of the call
///   that made it, and a run on the first part of an input says exactly what the whole run said by
///   then.
/// - An answer carries its reasons as data, never an empty list.
///
/// `testing::check_correlator` (feature `testing`) judges all of that.
pub trait Correlator: Send {
    /// Takes in one alert record: a firing, a repetition of one, or its end.
    fn ingest(&mut self, alert: &Alert, ctx: &Context<'_>) -> Decision;

    /// Takes in a change: a deploy, a configuration change, maintenance, a silence.
    fn observe(&mut self, event: &Event, ctx: &Context<'_>);

    /// Does what time alone brings about, then appends everything that happened to incidents since
    /// the last call, oldest first. It never clears `updates`.
    fn tick(&mut self, ctx: &Context<'_>, updates: &mut Vec<Update>);

    /// When the next hold or other deadline ends, if one is pending.
    fn next_due(&self) -> Option<Timestamp>;

    /// An incident as it stands; one that was merged away is still known and says into which.
    fn incident(&self, id: IncidentId) -> Option<Incident>;

    /// Every incident that is known, held and discarded ones too, oldest first.
    fn incidents(&self) -> Vec<IncidentId>;

    /// What became of an alert, as of now: its incident is the one it is in at present.
    fn decision(&self, alert: AlertId) -> Option<Decision>;

    /// The decisions of all alerts that are in an incident at present, in order of arrival.
    fn decisions(&self, incident: IncidentId) -> Vec<Decision>;
}

/// Something that happened to an incident; the full state is [`Correlator::incident`]'s to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Update {
    /// When, on the arrival clock.
    pub at: Timestamp,
    /// To which incident.
    pub incident: IncidentId,
    /// What.
    pub news: News,
}

/// What can happen to an incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum News {
    /// It came into being and is held.
    Held,
    /// It is shown for the first time.
    Shown,
    /// It is over.
    Resolved,
    /// It resolved by itself while held.
    Discarded,
    /// The trouble returned.
    Reopened,
    /// It is over for good.
    Closed,
    /// A shown incident got a member whose kind of alert it did not have, or a higher severity.
    Attention {
        /// The alert that did it.
        alert: AlertId,
        /// The severity of the incident now.
        severity: Severity,
    },
    /// It became part of an older one.
    Merged {
        /// The one that goes on.
        into: IncidentId,
    },
    /// It was split off.
    Split {
        /// The incident that held its alerts before.
        from: IncidentId,
    },
    /// Some of its firings came from another incident, because a late onset explains them better.
    Regrouped,
    /// It would be shown, but a storm is on: it is counted there, and shown afterwards if it lasts.
    Sampled {
        /// The meta-incident of the storm.
        into: IncidentId,
    },
    /// A silence that hid some of it has ended.
    SilenceExpired {
        /// The silence.
        event: EventId,
    },
    /// A change was attached to it.
    ChangeAttached {
        /// The change.
        event: EventId,
    },
}

impl News {
    /// The news in one snake_case word, as in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            News::Held => "held",
            News::Shown => "shown",
            News::Resolved => "resolved",
            News::Discarded => "discarded",
            News::Reopened => "reopened",
            News::Closed => "closed",
            News::Attention { .. } => "attention",
            News::Merged { .. } => "merged",
            News::Split { .. } => "split",
            News::Regrouped => "regrouped",
            News::Sampled { .. } => "sampled",
            News::SilenceExpired { .. } => "silence_expired",
            News::ChangeAttached { .. } => "change_attached",
        }
    }
}

/// Comfort for every correlator.
pub trait CorrelatorExt: Correlator {
    /// Ingests alerts in order of `received_at`, ticking exactly at every deadline on the way and
    /// until none is left. Returns all updates.
    fn replay<'a, I>(&mut self, alerts: I, topology: &Topology) -> Vec<Update>
    where
        I: IntoIterator<Item = &'a Alert>,
    {
        let mut updates = Vec::new();
        for alert in alerts {
            self.advance(alert.received_at, topology, &mut updates);
            self.ingest(alert, &Context::new(alert.received_at, topology));
            self.advance(alert.received_at, topology, &mut updates);
        }
        self.advance(Timestamp::MAX, topology, &mut updates);
        updates
    }

    /// Ticks at every deadline that ends at or before `now`, in order.
    fn advance(&mut self, now: Timestamp, topology: &Topology, updates: &mut Vec<Update>) {
        while let Some(due) = self.next_due().filter(|due| *due <= now) {
            self.tick(&Context::new(due, topology), updates);
        }
        if now < Timestamp::MAX {
            self.tick(&Context::new(now, topology), updates);
        }
    }

    /// The incidents that people can see, oldest first.
    fn shown(&self) -> Vec<Incident> {
        let all = self.incidents().into_iter().filter_map(|id| self.incident(id));
        all.filter(|incident| incident.shown_at.is_some() && incident.state.name() != "merged")
            .collect()
    }
}

impl<C: Correlator + ?Sized> CorrelatorExt for C {}
