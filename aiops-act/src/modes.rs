//! Availability modes: what the engine still does when a part of it is not well.

use std::collections::BTreeMap;
use std::time::Duration;

use aiops_core::Timestamp;
use serde::{Deserialize, Serialize};

/// What the engine does, from everything to nothing. Ordered: a later one does less.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Acts after approval.
    #[default]
    Full,
    /// Proposes, never acts: the topology is stale, the ranking uncalibrated, the store slow.
    SuggestOnly,
    /// Tells people about incidents, proposes nothing: the engine itself is at fault.
    NotifyOnly,
    /// Hands every alert on unchanged: better raw alerts than none.
    PassThrough,
}

impl Mode {
    /// The mode in words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Mode::Full => "full",
            Mode::SuggestOnly => "suggest-only",
            Mode::NotifyOnly => "notify-only",
            Mode::PassThrough => "pass-through",
        }
    }
}

/// Follows the health of the parts: down at once, up only after a hold time.
///
/// ```
/// use aiops_act::{Mode, ModeSwitch};
/// use aiops_core::Timestamp;
/// use std::time::Duration;
///
/// let mut switch = ModeSwitch::new(Duration::from_secs(60));
/// let at = |s| Timestamp::from_secs(s);
/// assert_eq!(switch.update(Mode::NotifyOnly, at(0)), Mode::NotifyOnly, "down at once");
/// assert_eq!(switch.update(Mode::Full, at(10)), Mode::NotifyOnly);
/// assert_eq!(switch.update(Mode::Full, at(69)), Mode::NotifyOnly);
/// assert_eq!(switch.update(Mode::Full, at(70)), Mode::Full, "well for 60 s");
/// ```
#[derive(Debug, Clone)]
pub struct ModeSwitch {
    hold: Duration,
    mode: Mode,
    /// The best mode that has been allowed without a break, and since when.
    better: Option<(Mode, Timestamp)>,
}

impl ModeSwitch {
    /// Starts in [`Mode::Full`]; goes up only after `hold` without trouble.
    #[must_use]
    pub fn new(hold: Duration) -> ModeSwitch {
        ModeSwitch { hold, mode: Mode::Full, better: None }
    }

    /// The mode now.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Takes in the best mode that the parts allow at `now`; returns the mode that holds.
    pub fn update(&mut self, allowed: Mode, now: Timestamp) -> Mode {
        if allowed >= self.mode {
            (self.mode, self.better) = (allowed, None);
            return self.mode;
        }
        // The worst of what was allowed meanwhile is what has held for the whole time.
        let (best, since) = match self.better {
            Some((mode, since)) => (mode.max(allowed), since),
            None => (allowed, now),
        };
        self.better = Some((best, since));
        if now.since(since) >= self.hold {
            (self.mode, self.better) = (best, None);
        }
        self.mode
    }
}

/// A part that the engine needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Part {
    /// The store: without it no intent is durable.
    Store,
    /// The topology: without it no blast radius is bounded.
    Topology,
    /// The model that ranks causes.
    Model,
    /// The notifiers: a run that nobody hears of must not begin.
    Notifier,
    /// The engine's own tasks.
    Engine,
}

impl Part {
    /// The most that is done without this part.
    #[must_use]
    pub const fn mode_without(self) -> Mode {
        match self {
            Part::Topology | Part::Model | Part::Notifier => Mode::SuggestOnly,
            Part::Store => Mode::NotifyOnly,
            Part::Engine => Mode::PassThrough,
        }
    }
}

/// Follows the parts: one that reports trouble, or has not reported for too long, is not well.
///
/// ```
/// use aiops_act::{Mode, modes::{Health, Part}};
/// use aiops_core::Timestamp;
/// use std::time::Duration;
///
/// let at = |s| Timestamp::from_secs(s);
/// let mut health = Health::new([Part::Store], Duration::from_secs(5), Duration::from_secs(60), at(0));
/// health.report(Part::Store, true, at(3));
/// assert_eq!(health.mode(at(8)), Mode::Full);
/// assert_eq!(health.mode(at(9)), Mode::NotifyOnly, "silent for more than 5 s");
/// ```
#[derive(Debug, Clone)]
pub struct Health {
    silence: Duration,
    /// When each part last said that it is well.
    well: BTreeMap<Part, Option<Timestamp>>,
    switch: ModeSwitch,
}

impl Health {
    /// Watches `parts`, all well at `now`. A part that is silent for longer than `silence` is not
    /// well; the mode goes up again after `hold`.
    #[must_use]
    pub fn new(
        parts: impl IntoIterator<Item = Part>,
        silence: Duration,
        hold: Duration,
        now: Timestamp,
    ) -> Health {
        let well = parts.into_iter().map(|part| (part, Some(now))).collect();
        Health { silence, well, switch: ModeSwitch::new(hold) }
    }

    /// A part says how it is.
    pub fn report(&mut self, part: Part, is_well: bool, now: Timestamp) {
        self.well.insert(part, is_well.then_some(now));
    }

    /// The mode that holds at `now`.
    pub fn mode(&mut self, now: Timestamp) -> Mode {
        let silence = self.silence;
        let is_well = |at: &Option<Timestamp>| at.is_some_and(|at| now.since(at) <= silence);
        let unwell = self.well.iter().filter(|(_, at)| !is_well(at));
        let allowed = unwell.map(|(part, _)| part.mode_without()).max().unwrap_or_default();
        self.switch.update(allowed, now)
    }
}
