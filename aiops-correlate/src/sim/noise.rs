//! What fires and means nothing: episodes of single series, flapping, the aftermath of good deploys.

use aiops_core::{Event, EventKind, Severity, Timestamp};
use std::time::Duration;

use super::graph::Graph;
use super::incidents::{Firing, SYMPTOMS};
use super::{Dice, StormConfig};
use crate::eval::Kind;

/// Numbers of episodes that are no incident start here, so that they never meet those of incidents.
const NOISE: u64 = 1_000_000_000;

pub(super) fn noise(config: &StormConfig, graph: &Graph, dice: &mut Dice) -> Vec<Firing> {
    let count = (config.noise_per_hour * config.hours).round() as u64;
    if graph.services == 0 || config.hours <= 0.0 {
        return Vec::new();
    }
    let series = Series::new(config, graph, dice);
    let episode = |number: u64| {
        let (service, name, lasts) = series.draw(dice);
        let start = config.time(dice);
        Firing {
            service,
            name,
            severity: if dice.chance(0.25) { Severity::Critical } else { Severity::Warning },
            start,
            end: start + lasts,
            incident: None,
            kind: Kind::Noise,
            episode: NOISE + number,
            resend_every: 60.0,
        }
    };
    let mut firings: Vec<Firing> = (0..count).map(episode).collect();
    let half = config.seconds() / 2.0;
    for _ in 0..config.burst {
        // Everything at once and nothing wrong: a monitoring rule gone mad.
        let start = half + dice.between(0.0, 60.0);
        firings.push(Firing {
            service: dice.below(graph.services),
            name: SYMPTOMS[dice.below(4)],
            severity: Severity::Warning,
            start,
            end: start + dice.between(20.0, 60.0),
            incident: None,
            kind: Kind::Noise,
            // The burst is one thing.
            episode: NOISE + count,
            resend_every: 60.0,
        });
    }
    firings
}

/// Which series are noisy, and for how long each.
struct Series {
    services: usize,
    /// Cumulative weights and (service, name, median life), if series differ.
    weighted: Vec<(f64, usize, &'static str, f64)>,
}

impl Series {
    fn new(config: &StormConfig, graph: &Graph, dice: &mut Dice) -> Self {
        let mut weighted = Vec::new();
        if config.real_noise {
            let mut all: Vec<(usize, &'static str)> =
                (0..graph.services).flat_map(|s| SYMPTOMS.map(|name| (s, name))).collect();
            for at in (1..all.len()).rev() {
                all.swap(at, dice.below(at + 1));
            }
            let mut sum = 0.0;
            for (rank, (service, name)) in all.into_iter().enumerate() {
                // Zipf with exponent 1.1: a few series make most of the noise.
                sum += ((rank + 1) as f64).powf(-1.1);
                weighted.push((sum, service, name, dice.log_normal(75.0, 0.8)));
            }
        }
        Series { services: graph.services, weighted }
    }

    fn draw(&self, dice: &mut Dice) -> (usize, &'static str, f64) {
        let Some(&(sum, ..)) = self.weighted.last() else {
            let lasts = *dice.pick(&[30.0, 60.0, 120.0, 240.0]);
            return (dice.below(self.services), SYMPTOMS[dice.below(4)], lasts);
        };
        let at = dice.between(0.0, sum);
        let place = self.weighted.partition_point(|series| series.0 <= at);
        let (_, service, name, median) = self.weighted[place.min(self.weighted.len() - 1)];
        (service, name, dice.log_normal(median, 0.6).clamp(10.0, 7_200.0))
    }
}

pub(super) fn flapping(config: &StormConfig, graph: &Graph, dice: &mut Dice) -> Vec<Firing> {
    let count = (config.flapping_per_day * config.days()).round() as u64;
    let mut firings = Vec::new();
    if graph.services == 0 {
        return firings;
    }
    for number in 0..count {
        let (service, name) = (dice.below(graph.services), SYMPTOMS[dice.below(4)]);
        let mut at = config.time(dice);
        let end = at + dice.between(3_600.0, 18_000.0);
        while at < end.min(config.seconds()) {
            let lasts = dice.between(20.0, 120.0);
            firings.push(Firing {
                service,
                name,
                severity: Severity::Warning,
                start: at,
                end: at + lasts,
                incident: None,
                kind: Kind::Flap,
                episode: 2 * NOISE + number,
                resend_every: 60.0,
            });
            at += lasts + dice.between(30.0, 240.0);
        }
    }
    firings
}

/// Good deploys, each with harmless alerts of the service for a minute or two.
pub(super) fn deploys(
    config: &StormConfig,
    graph: &Graph,
    dice: &mut Dice,
) -> (Vec<Event>, Vec<Firing>) {
    let count = (config.deploys_per_day * config.days()).round() as u64;
    let (mut events, mut firings) = (Vec::new(), Vec::new());
    if graph.services == 0 {
        return (events, firings);
    }
    for number in 0..count {
        let (service, at) = (dice.below(graph.services), config.time(dice));
        let name = Graph::service(service);
        let time = Timestamp::EPOCH + Duration::from_secs_f64(at);
        events.push(Event::new(EventKind::Deploy, Some(&name), format!("deploy {name}"), time));
        for _ in 0..1 + dice.below(2) {
            let start = at + dice.between(5.0, 60.0);
            firings.push(Firing {
                service,
                name: SYMPTOMS[dice.below(4)],
                severity: Severity::Warning,
                start,
                end: start + dice.between(30.0, 120.0),
                incident: None,
                kind: Kind::Noise,
                episode: 3 * NOISE + number,
                resend_every: 60.0,
            });
        }
    }
    events.sort_by_key(|event| event.starts_at);
    (events, firings)
}
