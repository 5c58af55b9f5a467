//! Everything that can be set, in one place.

use std::time::Duration;

use aiops_core::{AlertRule, BoxError, MetricKind, Prefer, SeriesKey, text};
use aiops_correlate::{FrontConfig, FunnelConfig};
use aiops_detect::router::{Budget, RouterConfig};
use aiops_detect::tier1::{EwmaConfig, RobustConfig};
use aiops_detect::{PolicyConfig, Tier, Watcher};
use aiops_rca::{BayesConfig, ChangeConfig, DefaultConfig, MagnitudeConfig, PrepareConfig};
use serde::de::Error as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;

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
    /// Ask the LSTM and the isolation forest of `aiops-gpu` as well, as the third tier, on the best engine that
    /// works here. Default false: on labelled series they add nothing to the two detectors above.
    pub network: bool,
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

impl Settings {
    /// Reads settings; what `text` leaves out keeps its default.
    ///
    /// # Errors
    /// [`SettingsError`] when it is not JSON of this form, a name is unknown (in any depth), or a
    /// value is out of range: nothing is guessed.
    pub fn from_json(text: &str) -> Result<Settings, SettingsError> {
        let given: Value = serde_json::from_str(text)?;
        if !given.is_object() {
            let no_object = serde_json::Error::custom("settings must be an object");
            return Err(SettingsError::Json(no_object));
        }
        let settings = Settings::deserialize(&given)?;
        known("", &given, &serde_json::to_value(&settings)?)?;
        settings.check()?;
        Ok(settings)
    }

    /// Builds every stage once, which is what refuses values out of range.
    ///
    /// # Errors
    /// That of the first stage that refuses its part.
    pub fn check(&self) -> Result<(), SettingsError> {
        let wrong = SettingsError::Value;
        let bank = self.robust.clone().build_bank().map_err(|e| wrong(e.into()))?;
        let policy = self.robust_policy.clone().build().map_err(|e| wrong(e.into()))?;
        let kind_of = |_: &SeriesKey| MetricKind::default();
        let watcher = Watcher::new(Box::new(bank), policy, Box::new(kind_of));
        self.router.clone().build(watcher).map_err(|e| wrong(e.into()))?;
        self.ewma.clone().build_bank().map_err(|e| wrong(e.into()))?;
        self.ewma_policy.clone().build().map_err(|e| wrong(e.into()))?;
        self.correlate.clone().build().map_err(|e| wrong(e.into()))?;
        self.rank.clone().build().map_err(|e| wrong(e.into()))?;
        let mut alarmed = self.rank.clone();
        alarmed.bayes.prepare.alarm_delay = self.alarm_delay;
        alarmed.build().map_err(|e| wrong(e.into()))?;
        if self.normal.is_zero() {
            return Err(wrong("normal must be longer than zero".into()));
        }
        Ok(())
    }
}

/// Why settings were refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// Not JSON, or a value of the wrong kind.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// A name that means nothing here.
    #[error("there is no setting {name}{}", closest.as_deref().map(|c| format!("; did you mean {c}?")).unwrap_or_default())]
    Unknown {
        /// The whole name, with dots.
        name: String,
        /// A setting of nearly that name.
        closest: Option<String>,
    },
    /// A value out of range.
    #[error("{0}")]
    Value(BoxError),
}

/// Whether every name of `given` is one of `read`, the settings as they were understood.
fn known(path: &str, given: &Value, read: &Value) -> Result<(), SettingsError> {
    let (Value::Object(given), Value::Object(read)) = (given, read) else { return Ok(()) };
    for (name, value) in given {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let Some(read) = read.get(name) else {
            let closest = text::closest(name, read.keys().map(String::as_str));
            return Err(SettingsError::Unknown { name: path, closest: closest.map(str::to_owned) });
        };
        known(&path, value, read)?;
    }
    Ok(())
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
            network: false,
            alert_rule: AlertRule::default(),
            correlate: correlate(Prefer::default()),
            rank: rank(Prefer::default()),
            alarm_delay: Duration::from_secs(60),
            normal: Duration::from_secs(600),
            rank_every: Duration::from_secs(1),
            act_after: Duration::from_secs(20),
        }
    }
}

impl From<Prefer> for Settings {
    /// The defaults, with what the stages document for the preference: how far off a sample must be to
    /// count, how sure an incident must be to be shown, and how plain a cause to be named.
    fn from(prefer: Prefer) -> Self {
        let default = Settings::default();
        let min_relative = PolicyConfig::from(prefer).min_relative;
        Settings {
            robust_policy: PolicyConfig { min_relative, ..default.robust_policy },
            ewma_policy: PolicyConfig { min_relative, ..default.ewma_policy },
            correlate: correlate(prefer),
            rank: rank(prefer),
            ..default
        }
    }
}

/// The default funnel, without fronts: where everything is looked at every second and there are few services, each
/// fault begins with very much at once, and would be taken for a second one.
pub fn correlate(prefer: Prefer) -> FunnelConfig {
    let default = FunnelConfig::from(prefer);
    FunnelConfig { front: FrontConfig { onsets: 0, ..default.front }, ..default }
}

/// The default analyzer for detectors that look every second.
fn rank(prefer: Prefer) -> DefaultConfig {
    let default = DefaultConfig::from(prefer);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_names_and_values_out_of_range_are_refused() {
        assert_eq!(Settings::from_json("{}").unwrap(), Settings::default());
        let some = Settings::from_json(r#"{"robust": {"warm_up": 90}}"#).unwrap();
        assert_eq!(some.robust.warm_up, 90);
        assert_eq!(some.ewma, Settings::default().ewma);
        for (text, reason) in [
            (r#"{"robst": {}}"#, "no setting robst; did you mean robust?"),
            (r#"{"robust": {"warmup": 90}}"#, "no setting robust.warmup; did you mean warm_up?"),
            (r#"{"robust": {"false_positive_rate": 2.0}}"#, "false_positive_rate"),
            (r#"{"ewma": {"half_life": 0.0}}"#, "half_life"),
            (r#"{"rank": {"bayes": {"temperature": -1.0}}}"#, "temperature"),
            (r#"{"normal": {"secs": 0, "nanos": 0}}"#, "normal"),
            ("[]", "an object"),
        ] {
            let error = Settings::from_json(text).unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
