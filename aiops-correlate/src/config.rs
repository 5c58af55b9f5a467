//! The configuration of the [`Funnel`]; `build` is the only door to it.

use serde::{Deserialize, Serialize};
use std::time::Duration;

use crate::{
    BreakerConfig, ConeConfig, DedupConfig, Error, FrontConfig, Funnel, Hold, HoldConfig,
    InhibitRule, Inhibitions, MapRule, Mapping, Priors, Result, Silence, Silences, SkewConfig,
    SpreadConfig, changes::ChangeConfig, funnel::Stages,
};
use aiops_core::Prefer;

/// Settings of a [`Funnel`]. The defaults suit request-driven services; they were chosen on
/// generated storms (seeds 1 to 10), see `docs/benchmarks.md`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FunnelConfig {
    /// How records fold into firings.
    pub dedup: DedupConfig,
    /// How trouble spreads between services.
    pub spread: SpreadConfig,
    /// What is believed before anything was seen.
    pub priors: Priors,
    /// When a group is shown.
    pub hold: Hold,
    /// How changes are attached to incidents.
    pub changes: ChangeConfig,
    /// When very much that begins at once is a second root.
    pub front: FrontConfig,
    /// When alerts near an incident in sight are more of its symptoms.
    pub cone: ConeConfig,
    /// How the clocks of senders are corrected; a sender is the label `host`, or else the source.
    pub skew: SkewConfig,
    /// When a storm is on.
    pub breaker: BreakerConfig,
    /// Services of alerts that name none. Default: none is filled in.
    pub mapping: Vec<MapRule>,
    /// Alerts that make others pointless. Default none.
    pub inhibit: Vec<InhibitRule>,
    /// Silences and maintenance windows; more can be added later. Default none.
    pub silences: Vec<Silence>,
    /// How often alerts of one fingerprint must be said to be noise until that is learned. Default 3.
    pub noise_after: u32,
    /// A link is made when it is at least this much likelier than chance, in nats. Default 2.
    pub link_nats: f64,
    /// The same for links that do not follow a dependency: callers noticed first, shared
    /// dependencies, shared hosts. Default 3: they glue incidents together that have nothing to do
    /// with each other.
    pub sideways_nats: f64,
    /// A series that comes back within this time after its end can hang on its earlier firing.
    /// Default 450 s.
    pub return_within: Duration,
    /// Chance that a series comes back within that time, before any is known to. Default 0.02: most
    /// never do, and one that flaps is known after its first return.
    pub returns: f64,
    /// Records may arrive this long after their own time and still be linked. Default 1 hour.
    pub lateness: Duration,
    /// An incident that has been over for this long is closed. Default 30 minutes.
    pub close_after: Duration,
    /// Firings, incidents and decisions are forgotten this long after their incident was closed or
    /// discarded. Default 24 hours.
    pub retention: Duration,
    /// The rest of what is remembered of closed incidents is cut when this many records are kept.
    /// Default 10 million.
    pub max_records: usize,
    /// Learn from what is seen. Off, the priors (or what was learned before) stay as they are.
    /// Default on.
    pub learn: bool,
}

impl Default for FunnelConfig {
    fn default() -> Self {
        FunnelConfig {
            dedup: DedupConfig::default(),
            spread: SpreadConfig::default(),
            priors: Priors::default(),
            hold: Hold::default(),
            changes: ChangeConfig::default(),
            front: FrontConfig::default(),
            cone: ConeConfig::default(),
            skew: SkewConfig::default(),
            breaker: BreakerConfig::default(),
            mapping: Vec::new(),
            inhibit: Vec::new(),
            silences: Vec::new(),
            noise_after: 3,
            link_nats: 2.0,
            sideways_nats: 3.0,
            returns: 0.02,
            return_within: Duration::from_secs(450),
            lateness: Duration::from_secs(3_600),
            close_after: Duration::from_secs(1_800),
            retention: Duration::from_secs(86_400),
            max_records: 10_000_000,
            learn: true,
        }
    }
}

impl From<Prefer> for FunnelConfig {
    /// The default with the hold that [`HoldConfig`] documents for the preference.
    fn from(prefer: Prefer) -> Self {
        FunnelConfig { hold: Hold::Learned(HoldConfig::from(prefer)), ..FunnelConfig::default() }
    }
}

impl FunnelConfig {
    /// Checks the settings and makes a [`Funnel`].
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] names the first field that is out of range.
    pub fn build(self) -> Result<Funnel> {
        let positive = [
            ("spread.hop_s", self.spread.hop_s),
            ("spread.hop_sigma", self.spread.hop_sigma),
            ("spread.same_service_s", self.spread.same_service_s),
            ("priors.noise_per_series_day", self.priors.noise_per_series_day),
            ("priors.incidents_per_series_day", self.priors.incidents_per_series_day),
            ("priors.noise_life_s", self.priors.noise_life_s),
            ("priors.noise_sigma", self.priors.noise_sigma),
            ("priors.incident_life_s", self.priors.incident_life_s),
            ("priors.incident_sigma", self.priors.incident_sigma),
            ("priors.half_life", self.priors.half_life.as_secs_f64()),
            ("max_records", self.max_records as f64),
        ];
        for (field, value) in positive {
            if !(value > 0.0 && value.is_finite()) {
                return Err(Error::config(field, format!("must be finite and > 0, got {value}")));
            }
        }
        let shares = [
            ("spread.depends_on", self.spread.depends_on),
            ("spread.called_by", self.spread.called_by),
            ("spread.same_service", self.spread.same_service),
            ("spread.shared_dependency", self.spread.shared_dependency),
            ("spread.same_host", self.spread.same_host),
            ("spread.second_hop", self.spread.second_hop),
            ("returns", self.returns),
            ("priors.critical_incidents", self.priors.critical_incidents),
            ("priors.critical_followers", self.priors.critical_followers),
            ("priors.critical_noise", self.priors.critical_noise),
        ];
        for (field, value) in shares {
            if !(value > 0.0 && value < 1.0) {
                return Err(Error::config(field, format!("must be between 0 and 1, got {value}")));
            }
        }
        let window = self.spread.window.as_secs_f64();
        if !(1.0..=7_200.0).contains(&window) {
            return Err(Error::config(
                "spread.window",
                format!("must be between 1 s and 2 h, got {window} s"),
            ));
        }
        for (field, nats) in [("link_nats", self.link_nats), ("sideways_nats", self.sideways_nats)]
        {
            if !nats.is_finite() {
                return Err(Error::config(field, format!("must be finite, got {nats}")));
            }
        }
        if self.cone.seen.is_nan() || self.cone.seen < 0.0 || self.cone.hops > 2 {
            let ConeConfig { hops, seen } = self.cone;
            let reason = format!("wants hops up to 2 and seen >= 0, got {hops} and {seen}");
            return Err(Error::config("cone", reason));
        }
        self.hold.check()?;
        let mut silences = Silences::default();
        for silence in self.silences.clone() {
            silences.add(silence)?;
        }
        let stages = Stages {
            mapping: Mapping::new(self.mapping.clone())?,
            breaker: self.breaker.clone().build()?,
            silences,
            inhibitions: Inhibitions::new(self.inhibit.clone())?,
        };
        Ok(Funnel::new(self, stages))
    }
}
