//! Alert storms with truth, made from a seed: for properties, for scale and for comparing
//! correlators under conditions that can be turned one by one.
//!
//! The model: a layered call graph with shared infrastructure on hosts; incidents that begin at
//! infrastructure, a service or a host, sometimes silently, and spread from callee to caller with a
//! chance and a delay a call; alerts that resend, come twice, late, out of order, with skewed clocks
//! and without labels; noise that means nothing, on single series, and series that flap for hours.
//!
//! ```
//! use aiops_correlate::sim::StormConfig;
//! let storm = StormConfig { hours: 2.0, ..StormConfig::default() }.generate(7);
//! assert_eq!(storm.alerts.len(), storm.truth.len());
//! assert!(storm.alerts.is_sorted_by_key(|alert| alert.received_at));
//! ```
//!
//! A good figure here is a hint, never a claim: the same hands wrote the generator and what is
//! measured on it. Replays of real alerts carry the claim.

mod dice;
mod graph;
mod incidents;
mod noise;
mod wire;

use aiops_core::{Alert, Event, Topology};
use serde::{Deserialize, Serialize};

use crate::eval::Truth;
use dice::Dice;
pub use incidents::TrueIncident;

/// What a storm is made of. Shares are between 0 and 1, times in seconds unless the name says
/// otherwise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StormConfig {
    /// Services, infrastructure included. Default 200.
    pub services: usize,
    /// Length in hours. Default 24.
    pub hours: f64,
    /// True incidents a day. Default 40.
    pub incidents_per_day: f64,
    /// Share of incidents that begin within five minutes of another. Default 0.3.
    pub concurrent: f64,
    /// Share of incidents that begin on the service of another, a few minutes later. Default 0.
    pub same_service: f64,
    /// Share of incidents whose root raises no alert. Default 0.2.
    pub silent: f64,
    /// Chance that trouble goes from a callee to a caller. Default 0.55.
    pub spreads: f64,
    /// Median seconds a call that it takes. Default 25.
    pub hop_s: f64,
    /// Share of symptom alerts that never fire. Default 0.15.
    pub dropped: f64,
    /// Resends of a firing at most. Default 12.
    pub resends: usize,
    /// Share of records that come twice. Default 0.12.
    pub duplicates: f64,
    /// Noise episodes an hour. Default 45.
    pub noise_per_hour: f64,
    /// Noise as operators know it: few series make most of it, each with a lifetime of its own.
    /// Default false: every series alike, lifetimes of 30 to 240 s.
    pub real_noise: bool,
    /// Series that flap, a day. Default 8.
    pub flapping_per_day: f64,
    /// Share of records that arrive late. Default 0.05.
    pub late: f64,
    /// How late at most. Default 900.
    pub late_s: f64,
    /// Standard deviation of the hosts' clocks. Default 3.
    pub skew_s: f64,
    /// The clock of one host is this far ahead. Default 0.
    pub one_host_ahead_s: f64,
    /// Share of records without the service label. Default 0.02.
    pub unlabelled: f64,
    /// Share of resolved records that never arrive. Default 0.
    pub lost_ends: f64,
    /// Share of calls that the topology does not know, and of calls it knows that are none.
    /// Default 0.
    pub stale: f64,
    /// Outages of everything on a third of the hosts, in all. Default 0.
    pub region_outages: usize,
    /// Times at which the monitoring itself fails and every service reports missing data. Default 0.
    pub monitor_failures: usize,
    /// Good deploys a day, each with a minute or two of harmless alerts. Default 0.
    pub deploys_per_day: f64,
    /// Whether noise and incidents follow the day: three times as much at noon as at midnight.
    /// Default false.
    pub daily_cycle: bool,
    /// A burst of this many alerts within one minute, at half time. Default 0.
    pub burst: usize,
    /// An alert of a kind never seen before fires once inside the largest incident. Default false.
    pub unseen_kind: bool,
}

impl Default for StormConfig {
    fn default() -> Self {
        StormConfig {
            services: 200,
            hours: 24.0,
            incidents_per_day: 40.0,
            concurrent: 0.3,
            same_service: 0.0,
            silent: 0.2,
            spreads: 0.55,
            hop_s: 25.0,
            dropped: 0.15,
            resends: 12,
            duplicates: 0.12,
            noise_per_hour: 45.0,
            real_noise: false,
            flapping_per_day: 8.0,
            late: 0.05,
            late_s: 900.0,
            skew_s: 3.0,
            one_host_ahead_s: 0.0,
            unlabelled: 0.02,
            lost_ends: 0.0,
            stale: 0.0,
            region_outages: 0,
            monitor_failures: 0,
            deploys_per_day: 0.0,
            daily_cycle: false,
            burst: 0,
            unseen_kind: false,
        }
    }
}

/// A generated storm. `alerts` and `truth` run in parallel, in order of arrival.
#[derive(Debug, Clone)]
pub struct Storm {
    /// The alerts; `received_at` is the arrival clock, `starts_at` the sender's.
    pub alerts: Vec<Alert>,
    /// The truth about each.
    pub truth: Vec<Truth>,
    /// The topology as a correlator may know it (stale, if so configured).
    pub topology: Topology,
    /// The incidents, also those without an alert.
    pub incidents: Vec<TrueIncident>,
    /// Changes, in order of their start.
    pub events: Vec<Event>,
}

/// The names that [`StormConfig::stress`] knows: each turns one thing far from its default.
pub const STRESSES: &[&str] = &[
    "few_services",
    "many_services",
    "few_incidents",
    "many_incidents",
    "concurrent",
    "same_service",
    "silent_causes",
    "spreads_little",
    "spreads_far",
    "slow_burn",
    "dropped_symptoms",
    "endless_resends",
    "duplicates",
    "no_noise",
    "much_noise",
    "flapping",
    "late",
    "skew",
    "unlabelled",
    "lost_ends",
    "stale_topology",
    "region_outage",
    "monitor_failure",
    "deploys",
    "daily_cycle",
    "burst",
    "unseen_kind",
    "real_noise",
];

impl StormConfig {
    /// The settings of a named stress, or of `default`, `funnel_10k` and `noise_N` (the default with `N`
    /// firings an hour that mean nothing, at most 10,000); `None` for another name.
    pub fn stress(name: &str) -> Option<StormConfig> {
        let base = StormConfig::default();
        Some(match name {
            "default" => base,
            "funnel_10k" => StormConfig { incidents_per_day: 300.0, noise_per_hour: 20.0, ..base },
            "few_services" => StormConfig { services: 50, ..base },
            "many_services" => StormConfig { services: 2_000, ..base },
            "few_incidents" => StormConfig { incidents_per_day: 5.0, ..base },
            "many_incidents" => StormConfig { incidents_per_day: 300.0, services: 1_000, ..base },
            "concurrent" => StormConfig { concurrent: 0.8, services: 500, ..base },
            "same_service" => StormConfig { same_service: 0.2, ..base },
            "silent_causes" => StormConfig { silent: 0.6, ..base },
            "spreads_little" => StormConfig { spreads: 0.2, ..base },
            "spreads_far" => StormConfig { spreads: 0.9, ..base },
            "slow_burn" => StormConfig { hop_s: 300.0, ..base },
            "dropped_symptoms" => StormConfig { dropped: 0.5, ..base },
            "endless_resends" => StormConfig { resends: usize::MAX, ..base },
            "duplicates" => StormConfig { duplicates: 0.6, ..base },
            "no_noise" => StormConfig { noise_per_hour: 0.0, ..base },
            "much_noise" => StormConfig { noise_per_hour: 300.0, ..base },
            "flapping" => StormConfig { flapping_per_day: 100.0, ..base },
            "late" => StormConfig { late: 0.3, late_s: 3_600.0, ..base },
            "skew" => StormConfig { skew_s: 100.0, one_host_ahead_s: 3_600.0, ..base },
            "unlabelled" => StormConfig { unlabelled: 0.3, ..base },
            "lost_ends" => StormConfig { lost_ends: 0.2, ..base },
            "stale_topology" => StormConfig { stale: 0.1, ..base },
            "region_outage" => StormConfig { region_outages: 1, ..base },
            "monitor_failure" => StormConfig { monitor_failures: 1, ..base },
            "deploys" => StormConfig { deploys_per_day: 100.0, ..base },
            "daily_cycle" => StormConfig { daily_cycle: true, ..base },
            "burst" => StormConfig { burst: 50_000, ..base },
            "unseen_kind" => StormConfig { unseen_kind: true, ..base },
            "real_noise" => StormConfig { real_noise: true, hours: 48.0, ..base },
            _ => {
                let noise: u32 =
                    name.strip_prefix("noise_")?.parse().ok().filter(|n| *n <= 10_000)?;
                StormConfig { noise_per_hour: f64::from(noise), ..base }
            }
        })
    }

    /// The storm of this seed. Degenerate settings (no services, no hours) give an empty one.
    pub fn generate(&self, seed: u64) -> Storm {
        let graph = graph::Graph::new(self, &mut Dice::new(seed, 1));
        let mut incidents = incidents::incidents(self, &graph, &mut Dice::new(seed, 2));
        let mut firings = incidents::firings(self, &graph, &mut incidents, &mut Dice::new(seed, 3));
        firings.extend(noise::noise(self, &graph, &mut Dice::new(seed, 4)));
        firings.extend(noise::flapping(self, &graph, &mut Dice::new(seed, 5)));
        let (events, after_deploys) = noise::deploys(self, &graph, &mut Dice::new(seed, 6));
        firings.extend(after_deploys);
        let (alerts, truth) = wire::records(self, &graph, firings, &mut Dice::new(seed, 7));
        let topology = graph.topology(self.stale, &mut Dice::new(seed, 8));
        Storm { alerts, truth, topology, incidents, events }
    }

    fn seconds(&self) -> f64 {
        self.hours * 3_600.0
    }

    fn days(&self) -> f64 {
        self.hours / 24.0
    }

    /// A time, uniform or by the daily cycle.
    fn time(&self, dice: &mut Dice) -> f64 {
        loop {
            let at = dice.between(0.0, self.seconds());
            let phase = (at / 86_400.0 * 2.0 * std::f64::consts::PI).cos();
            if !self.daily_cycle || dice.chance((2.0 - phase) / 3.0) {
                return at;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_can_be_any_number_an_hour() {
        let noise = |name| StormConfig::stress(name).map(|config| config.noise_per_hour);
        assert_eq!(noise("noise_10"), Some(10.0));
        assert!(["noise_", "noise_-1", "noise_10001", "noisy"].map(noise) == [None; 4]);
    }

    #[test]
    fn the_same_seed_is_the_same_storm_and_another_seed_is_not() {
        let config = StormConfig { hours: 3.0, ..StormConfig::default() };
        let (a, b, c) = (config.generate(1), config.generate(1), config.generate(2));
        assert_eq!(a.alerts, b.alerts);
        assert_ne!(a.alerts, c.alerts);
    }

    #[test]
    fn every_stress_is_known_and_makes_a_storm() {
        for name in STRESSES {
            let config = StormConfig::stress(name).unwrap_or_else(|| panic!("{name} is unknown"));
            let short = StormConfig { hours: 1.0, services: config.services.min(300), ..config };
            let short = StormConfig { burst: short.burst.min(500), ..short };
            let storm = short.generate(3);
            assert_eq!(storm.alerts.len(), storm.truth.len(), "{name}");
            assert!(storm.alerts.is_sorted_by_key(|alert| alert.received_at), "{name}");
        }
        assert_eq!(StormConfig::stress("nonsense"), None);
    }

    #[test]
    fn a_default_day_has_the_stated_size() {
        let storm = StormConfig::default().generate(1);
        let firing = storm.alerts.iter().filter(|alert| !alert.is_resolved()).count();
        assert!((3_000..8_000).contains(&firing), "{firing}");
        let with_alert: std::collections::BTreeSet<_> =
            storm.truth.iter().filter_map(|truth| truth.incident).collect();
        assert!((35..=40).contains(&with_alert.len()), "{}", with_alert.len());
        for incident in with_alert {
            let important = |t: &&Truth| t.incident == Some(incident) && t.important;
            assert!(storm.truth.iter().any(|t| important(&t)), "incident {incident}");
        }
    }

    #[test]
    fn nothing_comes_of_nothing() {
        let storm = StormConfig { services: 0, ..StormConfig::default() }.generate(1);
        assert!(storm.alerts.is_empty());
        let storm = StormConfig { hours: 0.0, ..StormConfig::default() }.generate(1);
        assert!(storm.alerts.is_empty());
    }
}
