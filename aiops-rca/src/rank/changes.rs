//! Changes as candidates: what was done shortly before it began.

use super::graph::{Above, Graph};
use crate::error::within;
use crate::experience::Trouble;
use crate::prepare::Prepared;
use crate::{Context, Error, Result};
use aiops_core::{Cause, Event, Topology};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::time::Duration;

/// How a change is weighed:
///
/// ```text
/// gain · exp(−(first onset − change) / tau) · blame(service of the change)
/// ```
///
/// blame(s) is the largest of the posterior weight of s itself and `indirect` times that of any
/// service that depends on s: a change accounts for trouble where it was made, and less surely for
/// trouble of those who depend on it. A change without a service counts as one that everything
/// depends on. A change after the first onset, by more than one step and more than the onset is
/// uncertain, caused nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ChangeConfig {
    /// How much likelier a change right before the onset is as the cause than its service breaking
    /// by itself. Default 3 (a guess; most outages follow a change).
    pub gain: f64,
    /// The time after which a change has lost all but 1/e of its weight. Default 5 minutes.
    pub tau: Duration,
    /// Share of the blame of dependents. Default 0.3.
    pub indirect: f64,
}

impl Default for ChangeConfig {
    fn default() -> Self {
        ChangeConfig { gain: 3.0, tau: Duration::from_secs(300), indirect: 0.3 }
    }
}

impl ChangeConfig {
    /// Checks the values.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] names the field that is out of range.
    pub fn check(&self) -> Result<()> {
        within("gain", self.gain, 0.0, 1e6)?;
        within("indirect", self.indirect, 0.0, 1.0)?;
        match self.tau.is_zero() {
            true => Err(Error::config("tau of changes", "must be longer than zero")),
            false => Ok(()),
        }
    }
}

/// The weight of each change that can cause trouble; those without any are left out. `blame` holds
/// the posterior weight of each suspect.
pub(super) fn weigh(
    config: &ChangeConfig,
    context: &Context<'_>,
    graph: &Graph,
    prepared: &Prepared,
    blame: &[f64],
) -> Vec<(Cause, f64)> {
    let above = graph.largest_above(blame);
    let mut weighed: Vec<(Cause, f64)> = vec![];
    let mut known = BTreeSet::new();
    for change in context.changes.iter().filter(|change| change.kind.can_cause()) {
        let Some(age) = age(context, prepared, change) else { continue };
        let recency = (-age.as_secs_f64() / config.tau.as_secs_f64()).exp();
        let learned = match (context.experience, change.service.as_deref()) {
            (Some(experience), Some(service)) => experience.factor(service, Trouble::Change),
            _ => 1.0,
        };
        let blame = blame_of(config, context.topology, &above, prepared, change, blame);
        let weight = config.gain * recency * learned * blame;
        let (service, event, title) = (change.service.clone(), change.id, change.title.clone());
        let cause = Cause::Change { service, event, title };
        // The same change announced twice is one.
        if weight > 0.0 && known.insert(cause.clone()) {
            weighed.push((cause, weight));
        }
    }
    weighed
}

/// How long before the first onset a change was; zero for a tie, `None` when it came later.
fn age(context: &Context<'_>, prepared: &Prepared, change: &Event) -> Option<Duration> {
    let onset = prepared.first_onset.unwrap_or(context.began);
    if change.starts_at > onset + prepared.step.max(prepared.first_onset_uncertainty) {
        return None;
    }
    Some(onset.since(change.starts_at))
}

fn blame_of(
    config: &ChangeConfig,
    topology: &Topology,
    above: &Above<'_>,
    prepared: &Prepared,
    change: &Event,
    blame: &[f64],
) -> f64 {
    let Some(service) = change.service.as_deref() else {
        return config.indirect * blame.iter().copied().fold(0.0, f64::max);
    };
    let own = prepared.suspect(service).map_or(0.0, |index| blame[index]);
    let above = topology.node_id(service).map_or(0.0, |node| above.or_own(node));
    own.max(config.indirect * above)
}
