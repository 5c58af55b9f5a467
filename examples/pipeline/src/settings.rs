//! Everything that can be set, in one place.

use std::time::Duration;

use aiops_core::{AlertRule, Prefer};
use aiops_correlate::FunnelConfig;
use aiops_detect::PolicyConfig;
use aiops_detect::Tier;
use aiops_detect::router::{Budget, RouterConfig};
use aiops_detect::tier1::{EwmaConfig, RobustConfig};
use aiops_rca::{BayesConfig, ChangeConfig, DefaultConfig, MagnitudeConfig, PrepareConfig};
use serde::{Deserialize, Serialize};

/// The settings of every stage. The defaults were chosen on the first take of each recording and
/// judged on the second; `README.md` has both results.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// The rolling median.
    pub robust: RobustConfig,
    /// The weighted mean.
    pub ewma: EwmaConfig,
    /// When samples that the median flagged are an anomaly.
    pub robust_policy: PolicyConfig,
    /// When samples that the mean flagged are an anomaly. A large step blinds it after two.
    pub ewma_policy: PolicyConfig,
    /// Who confirms whom. Default: both detectors for every series, since a recording has few, and
    /// both must see an anomaly begin within 30 s.
    pub router: RouterConfig,
    /// How an anomaly becomes an alert.
    pub alert_rule: AlertRule,
    /// How alerts become incidents.
    pub correlate: FunnelConfig,
    /// How causes are ranked.
    pub rank: DefaultConfig,
    /// How late the beginning of an incident may be that no detector saw, only an alarm. Default 1
    /// minute. Where a detector saw it, `rank` has the few seconds.
    pub alarm_delay: Duration,
    /// How much time before an incident counts as normal. Default 10 minutes.
    pub normal: Duration,
    /// How often an open incident is ranked again. Default 1 second.
    pub rank_every: Duration,
    /// How long the same remedy must have fitted the same cause before it is proposed. Default 20
    /// seconds: the first ranking rests on a few samples.
    pub act_after: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            // Two minutes before the first judgement: a series that is seldom not zero needs them.
            robust: RobustConfig { warm_up: 120, ..RobustConfig::default() },
            ewma: EwmaConfig { warm_up: 120, ..EwmaConfig::default() },
            robust_policy: PolicyConfig { confirm: 4, among: 6, ..PolicyConfig::default() },
            ewma_policy: PolicyConfig { confirm: 2, among: 3, ..PolicyConfig::default() },
            router: RouterConfig {
                wanted: [Tier::Two; 3],
                budget: Budget::UNLIMITED,
                ..RouterConfig::default()
            },
            alert_rule: AlertRule::default(),
            correlate: FunnelConfig::default(),
            rank: rank(),
            alarm_delay: Duration::from_secs(60),
            normal: Duration::from_secs(600),
            rank_every: Duration::from_secs(1),
            act_after: Duration::from_secs(20),
        }
    }
}

impl From<Prefer> for Settings {
    /// The defaults, with what detection and correlation document for the preference: how far off a
    /// sample must be to count, and how sure an incident must be to be shown.
    fn from(prefer: Prefer) -> Self {
        let default = Settings::default();
        let min_relative = PolicyConfig::from(prefer).min_relative;
        Settings {
            robust_policy: PolicyConfig { min_relative, ..default.robust_policy },
            ewma_policy: PolicyConfig { min_relative, ..default.ewma_policy },
            correlate: FunnelConfig::from(prefer),
            ..default
        }
    }
}

/// The default analyzer for detectors that look every second.
fn rank() -> DefaultConfig {
    let default = DefaultConfig::default();
    DefaultConfig {
        bayes: BayesConfig {
            // The onset comes from detectors that look every second, not from an alarm that waited.
            // A longer time lets the last noise before the incident pass for its beginning.
            prepare: PrepareConfig { alarm_delay: Duration::from_secs(1), ..default.bayes.prepare },
            // Ten minutes of normal life cannot tell thirty standard deviations from a million:
            // beyond this, who depends on whom decides.
            magnitude: MagnitudeConfig { cap: 30.0, ..default.bayes.magnitude },
            // A bad deploy shows within a minute or two on systems that are never idle.
            changes: ChangeConfig { tau: Duration::from_secs(100), ..default.bayes.changes },
            ..default.bayes
        },
    }
}
