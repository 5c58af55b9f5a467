//! Everything that can be set, in one place.

use std::time::Duration;

use aiops_core::AlertRule;
use aiops_correlate::FunnelConfig;
use aiops_detect::PolicyConfig;
use aiops_detect::tier1::{EwmaConfig, RobustConfig};
use aiops_rca::DefaultConfig;

/// The settings of every stage. The defaults were chosen on the first take of each recording and
/// judged on the second; `README.md` has both results.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The rolling median.
    pub robust: RobustConfig,
    /// The weighted mean.
    pub ewma: EwmaConfig,
    /// When flagged samples are an anomaly.
    pub policy: PolicyConfig,
    /// How an anomaly becomes an alert.
    pub alert_rule: AlertRule,
    /// How alerts become incidents.
    pub correlate: FunnelConfig,
    /// How causes are ranked.
    pub rank: DefaultConfig,
    /// How much time before an incident counts as normal. Default 10 minutes.
    pub normal: Duration,
    /// How often an open incident is ranked again. Default 1 second.
    pub rank_every: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            robust: RobustConfig::default(),
            ewma: EwmaConfig::default(),
            policy: PolicyConfig::default(),
            alert_rule: AlertRule::default(),
            correlate: FunnelConfig::default(),
            rank: DefaultConfig::default(),
            normal: Duration::from_secs(600),
            rank_every: Duration::from_secs(1),
        }
    }
}
