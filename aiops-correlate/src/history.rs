//! What is remembered of each series and kind of alert: how often it fires for nothing, and for how
//! long. This is the learned half of the hold.

use aiops_core::{Severity, Timestamp};
use serde::{Deserialize, Serialize};
use std::time::Duration;

use crate::delay::Delays;
use crate::life::{Clusters, LogLogistic, Shape};

/// What is believed before anything was seen, and how fast beliefs fade.
///
/// Rates and lifetimes are learned from the alerts themselves; these values only decide the first
/// hours and the kinds of alert that are never seen. All of them are guesses about a service of
/// ordinary noise, unless said otherwise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Priors {
    /// Firings that mean nothing, per series and day. Default 1.
    pub noise_per_series_day: f64,
    /// Incidents that begin at a given series, per day. Default 0.05: one in twenty days.
    pub incidents_per_series_day: f64,
    /// Median seconds that a meaningless firing lasts. Default 90.
    pub noise_life_s: f64,
    /// Spread (standard deviation of the natural logarithm) of the above. Default 1.
    pub noise_sigma: f64,
    /// Median seconds that trouble lasts. Default 1,000.
    pub incident_life_s: f64,
    /// Spread of the above. Default 1.
    pub incident_sigma: f64,
    /// Share of incidents whose first alert is critical. Default 0.85.
    pub critical_incidents: f64,
    /// Share of an incident's further alerts that are critical. Default 0.35.
    pub critical_followers: f64,
    /// Share of meaningless firings that are critical. Default 0.25.
    pub critical_noise: f64,
    /// Time after which what was learned counts half. Default 14 days.
    pub half_life: Duration,
}

impl Default for Priors {
    fn default() -> Self {
        Priors {
            noise_per_series_day: 1.0,
            incidents_per_series_day: 0.05,
            noise_life_s: 90.0,
            noise_sigma: 1.0,
            incident_life_s: 1_000.0,
            incident_sigma: 1.0,
            critical_incidents: 0.85,
            critical_followers: 0.35,
            critical_noise: 0.25,
            half_life: Duration::from_secs(14 * 86_400),
        }
    }
}

/// The worth of each prior, in observations (rates, severity) or firings (lifetimes). A kind that
/// was seen a few times is already judged mostly by what was seen.
const KIND_RATE: f64 = 2.0;
const SERIES_RATE: f64 = 0.5;
const INCIDENT_RATE: f64 = 5.0;
const SEVERITY: f64 = 4.0;
const KIND_LIFE: f64 = 5.0;
const SPREAD: f64 = 20.0;
const SHAPE: f64 = 20.0;
const LATE: f64 = 20.0;
const FOLLOWER: f64 = 5.0;

/// Edges of the lateness histogram, in seconds.
pub(crate) const LATE_EDGES: [f64; 7] = [30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1_800.0];
/// Share of ends that are later than each edge, before anything was seen.
const LATE_PRIOR: [f64; 7] = [0.05, 0.045, 0.04, 0.03, 0.02, 0.01, 0.003];

/// Edges of the histogram of gaps between records, in seconds.
pub(crate) const GAP_EDGES: [f64; 9] =
    [20.0, 45.0, 75.0, 135.0, 255.0, 315.0, 615.0, 1_830.0, 3_700.0];
/// Firings that a hazard of resending is smoothed with.
const GAP_PRIOR: f64 = 5.0;
/// Share of resends that may go missing without meaning anything.
const LOST_RESEND: f64 = 0.05;

/// Gaps between the records of a firing, by length: followed by another record, or by the end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Gaps {
    pub(crate) resent: [f64; GAP_EDGES.len() + 1],
    pub(crate) cut: [f64; GAP_EDGES.len() + 1],
}

/// Times at which a firing may have ended unheard: the first piece is this long where no cadence is
/// known, later ones double.
const FIRST_STEP_S: f64 = 60.0;
const PIECES: usize = 5;
/// A resend counts as missed when this many intervals have passed. Each may be lost, or late like ends.
const MISSED_AT: f64 = 1.25;
const LOST: f64 = 0.02;
/// Share of senders that stop sending although the firing goes on, before any was seen, and the firings
/// that this is worth.
const STOPPED: f64 = 0.005;
const STOPPED_WORTH: f64 = 200.0;
/// Resends missing before an end that say that it had stopped.
const STOPPED_AFTER: f64 = 4.0;

/// Chance that a firing that was sent every `cadence_s` goes on and is silent for `seconds`, when each
/// resend goes missing with the chance `missed`.
fn still_going(seconds: f64, cadence_s: f64, missed: f64, stopped: f64) -> f64 {
    let resends = (seconds / cadence_s.max(1.0) - (MISSED_AT - 1.0)).max(0.0).floor();
    stopped + (1.0 - stopped) * missed.powf(resends)
}

/// What is remembered of one series (one fingerprint).
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct SeriesHistory {
    pub(crate) noise: f64,
    pub(crate) life_n: f64,
    pub(crate) life_sum: f64,
    /// Firings that ended, and how often it came back soon after.
    pub(crate) ends: f64,
    pub(crate) returns: f64,
    /// Hours since the start at which the above were last faded.
    pub(crate) hour: u32,
}

/// What is remembered of one kind of alert (one alert name).
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct KindHistory {
    pub(crate) series: u32,
    pub(crate) noise: f64,
    pub(crate) critical: f64,
    pub(crate) incidents: f64,
    pub(crate) life_n: f64,
    pub(crate) life_sum: f64,
    /// Firings that ended with a record that said so, and ones that just stopped.
    pub(crate) said_end: f64,
    pub(crate) fell_silent: f64,
    /// Firings that hung on another in an incident.
    pub(crate) followed: f64,
    /// Whether it was ever part of an incident.
    pub(crate) symptom: f64,
    /// A person said: never hold.
    pub(crate) pinned: bool,
}

impl KindHistory {
    /// Whether anything of this kind was ever over, or judged. Counts fade, but never to nothing.
    pub(crate) fn has_record(&self) -> bool {
        self.said_end + self.fell_silent + self.noise + self.incidents > 0.0
    }
}

/// The whole memory of one tenant.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct History {
    pub(crate) priors: Priors,
    pub(crate) started: Option<Timestamp>,
    pub(crate) kinds: Vec<KindHistory>,
    pub(crate) gaps: Vec<Gaps>,
    pub(crate) shape: Shape,
    #[serde(default)]
    pub(crate) clusters: Clusters,
    /// Sums of squares and weights: around a series' own mean, and around the kind's.
    pub(crate) within: (f64, f64),
    pub(crate) total: (f64, f64),
    pub(crate) hour: u32,
    /// Followers of all kinds, and the number of kinds.
    pub(crate) followed: (f64, f64),
    /// How late ends arrive: counts by [`LATE_EDGES`].
    pub(crate) late: [f64; LATE_EDGES.len() + 1],
    /// Services known, from the topology or from alerts: how many series a kind could have.
    pub(crate) services: u32,
    /// Firings of all kinds that ended with a record that said so, and ones that just stopped.
    pub(crate) ends: (f64, f64),
    /// Firings with a cadence that ended, and those that had stopped being sent long before.
    #[serde(default)]
    pub(crate) resent: (f64, f64),
    /// How long trouble takes along each call.
    #[serde(default)]
    pub(crate) delays: Delays,
    /// With learning frozen, answers stay the same whatever is seen.
    pub(crate) frozen: bool,
    incident_life: LogLogistic,
}

/// How long a firing of a series lasts when it means nothing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NoiseLife {
    mean: f64,
    sd: f64,
}

impl NoiseLife {
    pub(crate) fn median_s(&self) -> f64 {
        self.mean.exp()
    }
}

impl History {
    pub(crate) fn new(priors: Priors) -> Self {
        let incident_life = LogLogistic::new(priors.incident_life_s, priors.incident_sigma);
        History {
            started: None,
            kinds: Vec::new(),
            gaps: Vec::new(),
            shape: Shape::new(SHAPE),
            clusters: Clusters::default(),
            within: (0.0, 0.0),
            total: (0.0, 0.0),
            hour: 0,
            followed: (0.0, 0.0),
            late: [0.0; LATE_EDGES.len() + 1],
            services: 0,
            ends: (0.0, 0.0),
            resent: (0.0, 0.0),
            delays: Delays::default(),
            frozen: false,
            incident_life,
            priors,
        }
    }

    /// Moves to `now`: counts fade once an hour.
    pub(crate) fn advance(&mut self, now: Timestamp) {
        let started = *self.started.get_or_insert(now);
        let hour = (now.since(started).as_secs() / 3_600) as u32;
        if hour > self.hour && !self.frozen {
            let factor = self.fade_over(hour - self.hour);
            self.hour = hour;
            for kind in &mut self.kinds {
                let counts = [
                    &mut kind.noise,
                    &mut kind.critical,
                    &mut kind.incidents,
                    &mut kind.followed,
                    &mut kind.life_n,
                    &mut kind.life_sum,
                    &mut kind.said_end,
                    &mut kind.fell_silent,
                    &mut kind.symptom,
                ];
                counts.into_iter().for_each(|count| *count *= factor);
            }
            for pair in [&mut self.within, &mut self.total] {
                *pair = (pair.0 * factor, pair.1 * factor);
            }
            self.shape.fade(factor);
            self.clusters.fade(factor);
            self.delays.fade(factor);
            self.resent = (self.resent.0 * factor, self.resent.1 * factor);
            self.late.iter_mut().for_each(|count| *count *= factor);
            for gaps in &mut self.gaps {
                gaps.resent.iter_mut().chain(&mut gaps.cut).for_each(|count| *count *= factor);
            }
        }
    }

    fn fade_over(&self, hours: u32) -> f64 {
        let half = self.priors.half_life.as_secs_f64() / 3_600.0;
        (-std::f64::consts::LN_2 * f64::from(hours) / half).exp()
    }

    /// Days observed, counted as far as they are not forgotten.
    fn days(&self, now: Timestamp) -> f64 {
        let Some(started) = self.started else { return 0.0 };
        let half = self.priors.half_life.as_secs_f64() / 86_400.0;
        let days = now.seconds_after(started).max(0.0) / 86_400.0;
        let scale = half / std::f64::consts::LN_2;
        scale * (1.0 - (-days / scale).exp())
    }

    pub(crate) fn kind(&self, kind: u32) -> KindHistory {
        self.kinds.get(kind as usize).copied().unwrap_or_default()
    }

    pub(crate) fn kind_mut(&mut self, kind: u32) -> &mut KindHistory {
        let at = kind as usize;
        if at >= self.kinds.len() {
            self.kinds.resize(at + 1, KindHistory::default());
        }
        &mut self.kinds[at]
    }

    /// Meaningless firings of a series per second.
    ///
    /// Gamma-Poisson twice: the kind's rate over all series that could have it, then the series'
    /// own count around that. A kind that never fired in a week is rare although nothing of it was
    /// ever seen, which is why it is not held.
    pub(crate) fn noise_rate(&self, kind: u32, series: &SeriesHistory, now: Timestamp) -> f64 {
        let days = self.days(now);
        let of_kind = self.kind(kind);
        let could = f64::from(of_kind.series.max(self.services).max(1));
        let kind_rate = (KIND_RATE + of_kind.noise)
            / (KIND_RATE / self.priors.noise_per_series_day + days * could);
        let noise = series.noise * self.fade_over(self.hour - series.hour.min(self.hour));
        (SERIES_RATE + noise) / (SERIES_RATE / kind_rate + days) / 86_400.0
    }

    /// Incidents that begin at a series of this kind, per second.
    pub(crate) fn incident_rate(&self, kind: u32, now: Timestamp) -> f64 {
        let of_kind = self.kind(kind);
        // Over the series seen, not over all services: a kind that only databases have is judged
        // by what databases do.
        let could = f64::from(of_kind.series.max(1));
        let prior = self.priors.incidents_per_series_day;
        (INCIDENT_RATE + of_kind.incidents)
            / (INCIDENT_RATE / prior + self.days(now) * could)
            / 86_400.0
    }

    /// ln of the rate at which an alert like this one comes by chance, as noise or as the beginning
    /// of an incident of its own, over the chance that one that follows looks like it.
    pub(crate) fn chance(
        &self,
        kind: u32,
        series: &SeriesHistory,
        severity: Severity,
        now: Timestamp,
    ) -> f64 {
        let critical = severity == Severity::Critical;
        let share = |of_critical: f64| if critical { of_critical } else { 1.0 - of_critical };
        let noise = self.noise_rate(kind, series, now) * share(self.critical_noise(kind));
        let founds = self.incident_rate(kind, now) * share(self.priors.critical_incidents);
        let follows = self.follower_factor(kind) * share(self.priors.critical_followers);
        ((noise + founds) / follows).ln()
    }

    /// How often this kind of alert follows others, against the average kind. What only ever begins
    /// incidents (a full disk, a dead database) is no symptom of something else.
    pub(crate) fn follower_factor(&self, kind: u32) -> f64 {
        let (sum, kinds) = self.followed;
        let average = sum / kinds.max(1.0);
        ((FOLLOWER + self.kind(kind).followed) / (FOLLOWER + average)).clamp(0.05, 3.0)
    }

    /// Sums up again how often kinds follow; called when an incident is learned from.
    pub(crate) fn sum_followers(&mut self) {
        let seen = self.kinds.iter().filter(|kind| kind.symptom > 0.0);
        self.followed = seen.fold((0.0, 0.0), |(sum, n), kind| (sum + kind.followed, n + 1.0));
    }

    /// ln of how much likelier this severity is for the first alert of an incident than for noise.
    pub(crate) fn severity_evidence(&self, kind: u32, severity: Severity) -> f64 {
        let critical = self.critical_noise(kind);
        let trouble = self.priors.critical_incidents;
        if severity == Severity::Critical {
            (trouble / critical.max(1e-3)).ln()
        } else {
            ((1.0 - trouble) / (1.0 - critical).max(1e-3)).ln()
        }
    }

    /// Share of meaningless firings of this kind that are critical.
    fn critical_noise(&self, kind: u32) -> f64 {
        let of_kind = self.kind(kind);
        (SEVERITY * self.priors.critical_noise + of_kind.critical) / (SEVERITY + of_kind.noise)
    }

    /// How long meaningless firings of this series last.
    pub(crate) fn noise_life(&self, kind: u32, series: &SeriesHistory) -> NoiseLife {
        let of_kind = self.kind(kind);
        let mean_kind = self.kind_mean(&of_kind);
        let (within, between) = self.spread();
        let shrink = within / between;
        let fade = self.fade_over(self.hour - series.hour.min(self.hour));
        let (n, sum) = (series.life_n * fade, series.life_sum * fade);
        let mean = (shrink * mean_kind + sum) / (shrink + n);
        let sd = (within + between * shrink / (shrink + n)).sqrt();
        NoiseLife { mean, sd }
    }

    fn kind_mean(&self, kind: &KindHistory) -> f64 {
        let prior = self.priors.noise_life_s.max(1e-3).ln();
        (KIND_LIFE * prior + kind.life_sum) / (KIND_LIFE + kind.life_n)
    }

    /// Variance of ln lifetimes around a series' own mean, and of those means.
    fn spread(&self) -> (f64, f64) {
        let prior = self.priors.noise_sigma * self.priors.noise_sigma;
        let within = (SPREAD * prior / 2.0 + self.within.0) / (SPREAD + self.within.1);
        let total = (SPREAD * prior + self.total.0) / (SPREAD + self.total.1);
        (within.max(0.01), (total - within).max(0.02))
    }

    /// ln of how much likelier trouble is than noise to be known to fire for `known_s`, with no end
    /// heard by `age_s`, when its records came every `cadence_s` so far (`None` for a single one).
    ///
    /// Not hearing of an end is not the same as lasting: ends arrive late, and how often they do is
    /// learned. Without that, the few late ends among very many meaningless firings would pass for
    /// incidents. And what goes on is sent again: a firing that came once a minute and was not heard
    /// for six is over, whatever its end. With S the survival of either kind, G the chance to be
    /// silent so long while it goes on, and L that of an end to arrive so late,
    ///
    /// P = S(age) G(age − known) + Σ (S(tᵢ) − S(tᵢ₊₁)) G(tᵢ − known) L(age − tᵢ)
    ///
    /// over a few times tᵢ between `known_s` and `age_s`: it goes on unheard, or ended unheard.
    pub(crate) fn alive_evidence(
        &self,
        kind: u32,
        life: NoiseLife,
        known_s: f64,
        age_s: f64,
        cadence_s: Option<f64>,
    ) -> f64 {
        if age_s <= 0.0 {
            return 0.0;
        }
        let known_s = known_s.clamp(0.0, age_s);
        let missed = LOST + self.later_than(LATE_EDGES[0]);
        let silent = |seconds: f64| match cadence_s {
            Some(cadence) => still_going(seconds, cadence, missed, self.stopped()),
            None => self.silent_longer_than(kind, seconds),
        };
        let noise_survives = |t: f64| self.noise_survival(life, t);
        let trouble_survives = |t: f64| self.incident_life.ln_survival(t).exp();
        let (mut noise, mut trouble) = (0.0, 0.0);
        let step = cadence_s.unwrap_or(FIRST_STEP_S);
        let mut from = (known_s, noise_survives(known_s), trouble_survives(known_s));
        let mut length = step * MISSED_AT;
        for piece in 0..PIECES {
            if from.0 >= age_s {
                break;
            }
            let last = piece + 1 == PIECES;
            let to = if last { age_s } else { age_s.min(from.0 + length) };
            let to = (to, noise_survives(to), trouble_survives(to));
            let unheard = silent(from.0 - known_s) * self.later_than(age_s - from.0);
            noise += (from.1 - to.1).max(0.0) * unheard;
            trouble += (from.2 - to.2).max(0.0) * unheard;
            length = if piece == 0 { step } else { length * 2.0 };
            from = to;
        }
        let goes_on = silent(age_s - known_s);
        noise += from.1 * goes_on;
        trouble += from.2 * goes_on;
        (trouble.max(1e-12) / noise.max(1e-12)).ln()
    }

    /// Share of senders that stop sending although the firing goes on.
    fn stopped(&self) -> f64 {
        (STOPPED * STOPPED_WORTH + self.resent.1) / (STOPPED_WORTH + self.resent.0)
    }

    /// A firing that was sent every `cadence_s` ended by a record, `silent_s` after the last one.
    pub(crate) fn learn_stopped(&mut self, cadence_s: f64, silent_s: f64) {
        if !self.frozen {
            self.resent.0 += 1.0;
            self.resent.1 += f64::from(u8::from(silent_s > STOPPED_AFTER * cadence_s));
        }
    }

    fn noise_survival(&self, life: NoiseLife, t: f64) -> f64 {
        if t <= 0.0 { 1.0 } else { self.shape.survival((t.ln() - life.mean) / life.sd) }
    }

    /// Share of ends that arrive later than `seconds` after they happened.
    fn later_than(&self, seconds: f64) -> f64 {
        let edge = LATE_EDGES.partition_point(|edge| *edge <= seconds);
        let Some(prior) = edge.checked_sub(1).map(|at| LATE_PRIOR[at]) else { return 1.0 };
        let later: f64 = self.late[edge..].iter().sum();
        let all: f64 = self.late.iter().sum();
        (later + LATE * prior) / (all + LATE)
    }

    /// Share of firings that go on and are silent for longer than `seconds` between two records.
    ///
    /// Kaplan and Meier's estimate (1958) over the gaps between records, the last one of a firing
    /// being cut off by its end: a source that never resends is not taken for one that fell silent.
    fn silent_longer_than(&self, kind: u32, seconds: f64) -> f64 {
        let edge = GAP_EDGES.partition_point(|edge| *edge <= seconds);
        let none = Gaps::default();
        let own = self.gaps.get(kind as usize).unwrap_or(&none);
        let mut at_risk = own.resent.iter().chain(&own.cut).sum::<f64>();
        let mut going_on = 1.0;
        for bin in 0..edge {
            going_on *= 1.0 - own.resent[bin] / (at_risk + GAP_PRIOR);
            at_risk -= own.resent[bin] + own.cut[bin];
        }
        if edge > 0 && edge < GAP_EDGES.len() {
            // Inside the bin the hazard is spread evenly over ln of the time.
            let (low, high) = (GAP_EDGES[edge - 1], GAP_EDGES[edge]);
            let part = ((seconds / low).ln() / (high / low).ln()).clamp(0.0, 1.0);
            let all = 1.0 - own.resent[edge] / (at_risk + GAP_PRIOR);
            going_on *= all.powf(part);
        }
        // Never certain: a resend can be lost.
        LOST_RESEND + (1.0 - LOST_RESEND) * going_on
    }

    /// A firing of this kind was sent again (`resent`) or ended after this much silence.
    pub(crate) fn learn_gap(&mut self, kind: u32, seconds: f64, resent: bool) {
        if self.frozen {
            return;
        }
        let at = kind as usize;
        if at >= self.gaps.len() {
            self.gaps.resize(at + 1, Gaps::default());
        }
        let counts = if resent { &mut self.gaps[at].resent } else { &mut self.gaps[at].cut };
        counts[GAP_EDGES.partition_point(|edge| *edge <= seconds)] += 1.0;
    }

    /// An end arrived this long after it happened.
    pub(crate) fn learn_late(&mut self, seconds: f64) {
        if !self.frozen {
            self.late[LATE_EDGES.partition_point(|edge| *edge <= seconds)] += 1.0;
        }
    }

    /// ln of how much likelier trouble is than noise to end after exactly `life_s`.
    pub(crate) fn ended_evidence(&self, life: NoiseLife, life_s: f64) -> f64 {
        let life_s = life_s.max(1.0);
        let z = (life_s.ln() - life.mean) / life.sd;
        let noise = self.shape.density(z).max(1e-9) / life.sd * self.clusters.factor(life_s.ln());
        self.incident_life.ln_density(life_s) - noise.ln()
    }

    /// ln of the density, per second, with which a meaningless firing ends after exactly `life_s`.
    pub(crate) fn ln_noise_ends(&self, life: NoiseLife, life_s: f64) -> f64 {
        let life_s = life_s.max(1.0);
        let z = (life_s.ln() - life.mean) / life.sd;
        let noise = self.shape.density(z).max(1e-9) * self.clusters.factor(life_s.ln());
        (noise / life.sd / life_s).ln()
    }

    /// Share of incidents that are over before `age_s`.
    pub(crate) fn incident_ends_before(&self, age_s: f64) -> f64 {
        1.0 - self.incident_life.ln_survival(age_s).exp()
    }

    /// Whether ends of this kind are reported.
    /// Unknown kinds are taken to do as the others do.
    pub(crate) fn says_when_over(&self, kind: u32) -> bool {
        let of_kind = self.kind(kind);
        if of_kind.said_end + of_kind.fell_silent < 1.0 {
            return self.ends.0 >= 0.05 * self.ends.1;
        }
        of_kind.said_end >= 0.05 * of_kind.fell_silent
    }

    /// A firing that meant nothing with this `weight` (0 to 1) ended after `life_s`.
    pub(crate) fn learn_noise(
        &mut self,
        kind: u32,
        series: &mut SeriesHistory,
        severity: Severity,
        life_s: f64,
        weight: f64,
    ) {
        if self.frozen || weight <= 0.0 {
            return;
        }
        self.refresh(series);
        let x = life_s.max(1.0).ln();
        let life = self.noise_life(kind, series);
        let mean_kind = self.kind_mean(&self.kind(kind));
        if series.life_n > 0.0 {
            let off = x - series.life_sum / series.life_n;
            let n = series.life_n;
            self.within.0 += weight * off * off * n / (n + 1.0);
            self.within.1 += weight;
        }
        self.total.0 += weight * (x - mean_kind) * (x - mean_kind);
        self.total.1 += weight;
        self.shape.learn((x - life.mean) / life.sd, weight);
        self.clusters.learn(x, weight);
        series.noise += weight;
        series.life_n += weight;
        series.life_sum += weight * x;
        let kind = self.kind_mut(kind);
        kind.noise += weight;
        kind.life_n += weight;
        kind.life_sum += weight * x;
        if severity == Severity::Critical {
            kind.critical += weight;
        }
    }

    /// A firing of the series ended, or came back soon after it had.
    pub(crate) fn learn_return(&self, series: &mut SeriesHistory, came_back: bool) {
        if !self.frozen {
            self.refresh(series);
            *(if came_back { &mut series.returns } else { &mut series.ends }) += 1.0;
        }
    }

    /// Takes back a firing that was counted as noise with this weight.
    pub(crate) fn unlearn_noise(&mut self, kind: u32, series: &mut SeriesHistory, weight: f64) {
        if self.frozen {
            return;
        }
        self.refresh(series);
        series.noise = (series.noise - weight).max(0.0);
        let kind = self.kind_mut(kind);
        kind.noise = (kind.noise - weight).max(0.0);
    }

    fn refresh(&self, series: &mut SeriesHistory) {
        if series.hour < self.hour {
            let fade = self.fade_over(self.hour - series.hour);
            series.noise *= fade;
            series.life_n *= fade;
            series.life_sum *= fade;
            series.ends *= fade;
            series.returns *= fade;
            series.hour = self.hour;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn days(n: i64) -> Timestamp {
        Timestamp::from_secs(n * 86_400)
    }

    #[test]
    fn a_series_that_always_fires_is_told_from_one_that_never_does() {
        let mut history = History::new(Priors::default());
        history.advance(days(0));
        history.services = 100;
        let (mut loud, quiet) = (SeriesHistory::default(), SeriesHistory::default());
        for _ in 0..50 {
            history.learn_noise(0, &mut loud, Severity::Warning, 60.0, 1.0);
        }
        history.advance(days(1));
        let per_day = |s: &SeriesHistory| history.noise_rate(0, s, days(1)) * 86_400.0;
        assert!(per_day(&loud) > 20.0, "{}", per_day(&loud));
        assert!(per_day(&quiet) < 1.0, "{}", per_day(&quiet));
        let unseen = history.noise_rate(7, &quiet, days(1)) * 86_400.0;
        assert!(unseen < 0.05, "a kind never seen in a day is rare: {unseen}");
    }

    #[test]
    fn lasting_longer_than_noise_ever_did_is_evidence() {
        let mut history = History::new(Priors::default());
        history.advance(days(0));
        let mut series = SeriesHistory::default();
        for i in 0..200 {
            let life = [30.0, 60.0, 120.0, 240.0][i % 4];
            history.learn_noise(0, &mut series, Severity::Warning, life, 1.0);
        }
        let life = history.noise_life(0, &series);
        let at = |age| history.alive_evidence(0, life, age, age, Some(60.0));
        assert!(at(30.0) < 1.0 && at(300.0) > 2.0 && at(600.0) > at(300.0));
        let unheard = history.alive_evidence(0, life, 0.0, 600.0, None);
        assert!(unheard < at(600.0) - 1.0, "an end may be on its way: {unheard}");
        let silent = history.alive_evidence(0, life, 180.0, 600.0, Some(60.0));
        let seldom = history.alive_evidence(0, life, 180.0, 600.0, Some(180.0));
        assert!(silent < seldom - 0.2, "six resends are missing: {silent} and {seldom}");
        assert!(history.ended_evidence(life, 60.0) < 0.0);
        assert!(history.ended_evidence(life, 1_500.0) > 0.0);
    }

    #[test]
    fn what_was_learned_fades() {
        let mut history = History::new(Priors::default());
        history.advance(days(0));
        let mut series = SeriesHistory::default();
        history.learn_noise(0, &mut series, Severity::Warning, 60.0, 1.0);
        history.advance(days(14));
        assert!((history.kind(0).noise - 0.5).abs() < 1e-9);
        let halved = history.noise_life(0, &series);
        assert!(halved.median_s() > 60.0 && halved.median_s() < 90.0);
    }
}
