//! Stage 6: what people see while a storm is on: samples and exact counts, never a lost alert.

use aiops_core::{Alert, Reason, Severity, Timestamp};
use rustc_hash::FxHashSet;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

use crate::{Error, Result};

/// When a storm is on, and what is displayed during it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BreakerConfig {
    /// A storm begins with this many alert records within a minute. Default 10,000; 0 for never.
    pub alerts_per_minute: u64,
    /// It also begins with this many groups shown within a minute: nobody reads more. Default 60;
    /// 0 for never.
    pub shown_per_minute: u64,
    /// It is over when both rates have been below this share of their limits for `calm`.
    /// Default 0.5.
    pub release: f64,
    /// Default 2 minutes.
    pub calm: Duration,
    /// Of the repetitions of an alert, one in this many is displayed while it is on. Default 100.
    pub one_in: u64,
    /// Groups that get a notice of their own within a minute while it is on; the others are counted,
    /// and get theirs when it is over if they last. Default 20.
    pub notices_per_minute: u64,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        BreakerConfig {
            alerts_per_minute: 10_000,
            shown_per_minute: 60,
            release: 0.5,
            calm: Duration::from_secs(120),
            one_in: 100,
            notices_per_minute: 20,
        }
    }
}

/// What was counted during one storm. Exact: sampling never touches a counter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StormCounts {
    /// When it began.
    pub since: Timestamp,
    /// Alert records since, those displayed included.
    pub alerts: u64,
    /// Those of them that were not displayed.
    pub sampled_out: u64,
    /// Groups whose notice waits for the end of the storm, or was never needed.
    pub groups_waiting: u64,
    /// Different alerts (fingerprints) among the records.
    pub different: u64,
    /// The most records within one minute so far.
    pub peak_per_minute: u64,
    /// Records by service; the empty text for alerts that name none.
    pub by_service: BTreeMap<String, u64>,
    /// Records by alert name.
    pub by_name: BTreeMap<String, u64>,
    /// Records by severity.
    pub by_severity: BTreeMap<Severity, u64>,
}

impl StormCounts {
    fn new(since: Timestamp) -> Self {
        StormCounts {
            since,
            alerts: 0,
            sampled_out: 0,
            groups_waiting: 0,
            different: 0,
            peak_per_minute: 0,
            by_service: BTreeMap::new(),
            by_name: BTreeMap::new(),
            by_severity: BTreeMap::new(),
        }
    }

    /// The counts as a reason: what a meta-incident says of itself.
    pub fn reason(&self) -> Reason {
        let most = |of: &BTreeMap<String, u64>| {
            let top = of.iter().max_by_key(|(name, n)| (**n, std::cmp::Reverse(*name)));
            top.map_or_else(String::new, |(name, n)| format!("{name} {n}"))
        };
        let critical = self.by_severity.get(&Severity::Critical).copied().unwrap_or(0);
        let sentence = format!(
            "{} alerts ({} different, {critical} critical) on {} services, up to {} a minute; most \
             on {}, most often {}",
            self.alerts,
            self.different,
            self.by_service.len(),
            self.peak_per_minute,
            most(&self.by_service),
            most(&self.by_name),
        );
        Reason::new("storm", sentence)
            .with("alerts", self.alerts)
            .with("different", self.different)
            .with("sampled_out", self.sampled_out)
            .with("groups_waiting", self.groups_waiting)
            .with("peak_per_minute", self.peak_per_minute)
    }
}

/// What the breaker says of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Display {
    /// Whether to display it. Always true outside storms and for the first record of a fingerprint.
    pub shown: bool,
    /// Records within the last minute, this one included.
    pub per_minute: u64,
    /// Whether a storm is on.
    pub storm: bool,
}

/// Something that changed by the passing of records or of time.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BreakerNews {
    /// A storm has begun.
    Tripped,
    /// It is over; these are its final counts.
    Released(StormCounts),
}

/// Decides what is displayed while alerts come faster than anybody reads.
///
/// Only *display* is sampled. Every record is still counted here and evaluated by whoever calls this;
/// the first record of a fingerprint that has not been seen in this storm is always displayed, so
/// that nothing new drowns. The limits are left with hysteresis: a storm is over only after both
/// rates have stayed below a share of them for a while.
///
/// Time O(log names) a record during a storm, O(1) otherwise; memory one entry for each fingerprint,
/// service and name of the storm.
///
/// ```
/// use aiops_core::{Alert, Labels, Timestamp};
/// use aiops_correlate::{Breaker, BreakerConfig};
///
/// let mut breaker = BreakerConfig { alerts_per_minute: 100, ..BreakerConfig::default() }.build()?;
/// let alert = |name: &str| Alert::new(name, Labels::new(), Timestamp::EPOCH);
/// for milli in 0..1_000 {
///     breaker.record(&alert("Loud"), Timestamp::from_millis(milli));
/// }
/// let counts = breaker.storm().expect("a thousand in a second are a storm");
/// assert_eq!(counts.alerts, 901, "counted from the record that began it");
/// assert_eq!(counts.sampled_out, 891);
/// let new = breaker.record(&alert("Rare"), Timestamp::from_secs(1));
/// assert!(new.storm && new.shown, "what is new is always displayed");
/// # Ok::<(), aiops_correlate::Error>(())
/// ```
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Breaker {
    config: BreakerConfig,
    records: Minute,
    shown: Minute,
    notices: Minute,
    storm: Option<StormCounts>,
    #[serde(serialize_with = "crate::snapshot::sorted_set")]
    seen: FxHashSet<u64>,
    /// Since when both rates have been low.
    calm_since: Option<Timestamp>,
}

impl BreakerConfig {
    /// Checks the settings and makes a [`Breaker`].
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] for a `release` outside (0, 1] or a `one_in` of zero.
    pub fn build(self) -> Result<Breaker> {
        if !(self.release > 0.0 && self.release <= 1.0) {
            let reason = format!("must be in (0, 1], got {}", self.release);
            return Err(Error::config("breaker.release", reason));
        }
        if self.one_in == 0 {
            return Err(Error::config("breaker.one_in", "must be at least 1"));
        }
        Ok(Breaker {
            config: self,
            records: Minute::default(),
            shown: Minute::default(),
            notices: Minute::default(),
            storm: None,
            seen: FxHashSet::default(),
            calm_since: None,
        })
    }
}

impl Breaker {
    /// Counts a record and says whether to display it.
    pub fn record(&mut self, alert: &Alert, now: Timestamp) -> Display {
        let per_minute = self.records.add(now);
        let limit = self.config.alerts_per_minute;
        if self.storm.is_none() && limit > 0 && per_minute >= limit {
            self.trip(now);
        }
        let Some(storm) = &mut self.storm else {
            return Display { shown: true, per_minute, storm: false };
        };
        storm.alerts += 1;
        storm.peak_per_minute = storm.peak_per_minute.max(per_minute);
        count(&mut storm.by_service, alert.service.as_deref().unwrap_or_default());
        count(&mut storm.by_name, &alert.name);
        *storm.by_severity.entry(alert.severity).or_default() += 1;
        let first = self.seen.insert(alert.fingerprint.as_u64());
        storm.different += u64::from(first);
        let shown = first || storm.alerts.is_multiple_of(self.config.one_in);
        storm.sampled_out += u64::from(!shown);
        Display { shown, per_minute, storm: true }
    }

    /// A group is about to be shown; `new` if it has a kind of alert that this storm did not have.
    /// Returns whether it gets a notice of its own now.
    pub fn group(&mut self, new: bool, now: Timestamp) -> bool {
        let shown = self.shown.add(now);
        let limit = self.config.shown_per_minute;
        if self.storm.is_none() && limit > 0 && shown >= limit {
            self.trip(now);
        }
        let Some(storm) = &mut self.storm else { return true };
        if new || self.notices.within(now) < self.config.notices_per_minute {
            self.notices.add(now);
            return true;
        }
        storm.groups_waiting += 1;
        false
    }

    /// Moves the clock; says what changed since the last call that did.
    pub fn tick(&mut self, now: Timestamp) -> Option<BreakerNews> {
        let storm = self.storm.as_ref()?;
        let low = |of: &mut Minute, limit: u64| {
            limit == 0 || (of.within(now) as f64) < self.config.release * limit as f64
        };
        let calm = low(&mut self.records, self.config.alerts_per_minute)
            && low(&mut self.shown, self.config.shown_per_minute);
        if !calm {
            self.calm_since = None;
            return None;
        }
        let since = *self.calm_since.get_or_insert(now.max(storm.since));
        if now.since(since) < self.config.calm {
            return None;
        }
        self.calm_since = None;
        self.seen.clear();
        self.storm.take().map(BreakerNews::Released)
    }

    /// The counts of the storm that is on, if one is.
    pub fn storm(&self) -> Option<&StormCounts> {
        self.storm.as_ref()
    }

    /// When to [`tick`](Self::tick) next; `None` outside storms.
    pub fn next_due(&self, now: Timestamp) -> Option<Timestamp> {
        self.storm.as_ref()?;
        let due = match self.calm_since {
            Some(since) => since + self.config.calm,
            None => now + Duration::from_secs(10),
        };
        Some(due.max(now + Duration::from_secs(1)))
    }

    fn trip(&mut self, now: Timestamp) {
        self.storm = Some(StormCounts::new(now));
        self.calm_since = None;
        self.seen.clear();
    }
}

fn count(of: &mut BTreeMap<String, u64>, name: &str) {
    match of.get_mut(name) {
        Some(n) => *n += 1,
        None => {
            of.insert(name.to_owned(), 1);
        }
    }
}

/// Events within the last minute, by second.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Minute {
    seconds: Vec<u64>,
    /// The second up to which the ring is current.
    at: i64,
    sum: u64,
}

impl Default for Minute {
    fn default() -> Self {
        Minute { seconds: vec![0; 60], at: i64::MIN, sum: 0 }
    }
}

impl Minute {
    fn add(&mut self, now: Timestamp) -> u64 {
        self.advance(now.as_secs());
        // A clock that went back counts in the latest second.
        self.seconds[self.at.rem_euclid(60) as usize] += 1;
        self.sum += 1;
        self.sum
    }

    fn within(&mut self, now: Timestamp) -> u64 {
        self.advance(now.as_secs());
        self.sum
    }

    fn advance(&mut self, second: i64) {
        if second <= self.at {
            return;
        }
        if self.at == i64::MIN || second - self.at >= 60 {
            self.seconds.fill(0);
            self.sum = 0;
        } else {
            for old in self.at + 1..=second {
                self.sum -= std::mem::take(&mut self.seconds[old.rem_euclid(60) as usize]);
            }
        }
        self.at = second;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aiops_core::Labels;

    fn alert(name: &str, service: &str) -> Alert {
        Alert::new(name, Labels::from([("service", service)]), Timestamp::EPOCH)
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_secs(second)
    }

    fn small() -> Breaker {
        let config = BreakerConfig {
            alerts_per_minute: 60,
            shown_per_minute: 5,
            notices_per_minute: 1,
            ..BreakerConfig::default()
        };
        config.build().unwrap()
    }

    #[test]
    fn counters_are_exact_whatever_is_displayed() {
        let mut breaker = small();
        let mut displayed = 0;
        for number in 0..1_000_i64 {
            let of = alert(["A", "B"][number as usize % 2], ["x", "y", "z"][number as usize % 3]);
            displayed += u64::from(breaker.record(&of, at(number / 100)).shown);
        }
        let storm = breaker.storm().unwrap();
        assert_eq!(storm.alerts, 1_000 - 59);
        assert_eq!(displayed, 1_000 - storm.sampled_out);
        assert_eq!(storm.different, 6);
        assert_eq!(storm.by_name.values().sum::<u64>(), storm.alerts);
        assert_eq!(storm.by_service.values().sum::<u64>(), storm.alerts);
        assert_eq!(storm.by_severity.values().sum::<u64>(), storm.alerts);
        assert_eq!(storm.peak_per_minute, 1_000);
    }

    #[test]
    fn a_storm_ends_after_a_calm_and_not_in_a_lull() {
        let mut breaker = small();
        for _ in 0..100 {
            breaker.record(&alert("A", "x"), at(0));
        }
        assert_eq!(breaker.tick(at(30)), None, "the minute is still full");
        assert_eq!(breaker.tick(at(61)), None, "calm begins");
        for _ in 0..40 {
            breaker.record(&alert("A", "x"), at(100));
        }
        assert_eq!(breaker.tick(at(101)), None, "half the limit is no calm: it begins anew");
        assert_eq!(breaker.tick(at(182)), None);
        assert_eq!(breaker.tick(at(301)), None);
        let Some(BreakerNews::Released(counts)) = breaker.tick(at(302)) else {
            panic!("two calm minutes end it")
        };
        assert_eq!(counts.alerts, 41 + 40);
        assert!(breaker.storm().is_none() && breaker.next_due(at(302)).is_none());
    }

    #[test]
    fn too_many_groups_are_a_storm_as_well_and_new_kinds_get_their_notice() {
        let mut breaker = small();
        assert!((0..4).all(|_| breaker.group(false, at(0))));
        assert!(breaker.group(false, at(1)), "the fifth trips it and is the one of this minute");
        assert!(!breaker.group(false, at(2)) && breaker.group(true, at(3)));
        assert_eq!(breaker.storm().unwrap().groups_waiting, 1);
        assert!(breaker.group(false, at(70)), "one a minute");
    }

    #[test]
    fn settings_that_never_end_or_show_nothing_are_refused() {
        assert!(BreakerConfig { release: f64::NAN, ..BreakerConfig::default() }.build().is_err());
        assert!(BreakerConfig { one_in: 0, ..BreakerConfig::default() }.build().is_err());
    }
}
