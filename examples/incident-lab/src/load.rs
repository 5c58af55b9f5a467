//! How much load, when: a seeded schedule of requests, known before the first one is sent.
//!
//! The client is open-loop: requests leave when the schedule says so, whether or not earlier ones
//! were answered. A closed loop would slow down with the system and so hide its trouble.

use std::time::Duration;

use crate::random::Random;

/// Shape of the offered load. The rate breathes: two slow waves with seeded phases around the
/// base, and a step that multiplies it for a while.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadConfig {
    /// Seed of phases, arrivals and the choice of requests.
    pub seed: u64,
    /// Mean requests per second before variation.
    pub base_rate: f64,
    /// Relative height of the slow waves, 0 to below 0.5 (0.08: a gentle swell).
    pub swell: f64,
    /// When the step begins, in seconds since the start; no step when `step_factor` is 1.
    pub step_at: f64,
    /// How long the step lasts, in seconds.
    pub step_seconds: f64,
    /// The rate is multiplied by this during the step.
    pub step_factor: f64,
}

impl Default for LoadConfig {
    fn default() -> Self {
        Self {
            seed: 1,
            base_rate: 45.0,
            swell: 0.08,
            step_at: 0.0,
            step_seconds: 0.0,
            step_factor: 1.0,
        }
    }
}

/// One request of the schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// A page of one category, `GET /products?category=N`.
    List {
        /// Category, 1 to [`CATEGORIES`].
        category: u64,
    },
    /// One product, `GET /products/N`.
    Detail {
        /// Product, 1 to [`PRODUCTS`].
        product: u64,
    },
    /// A purchase, `POST /checkout?user=U&product=N`.
    Checkout {
        /// The buyer, who may have one checkout at a time.
        user: u64,
        /// Product, 1 to [`PRODUCTS`].
        product: u64,
    },
}

/// Categories in the generated shop.
pub const CATEGORIES: u64 = 50;
/// Products in the generated shop.
pub const PRODUCTS: u64 = 20_000;

impl Request {
    /// HTTP method and path of the request.
    pub fn target(self) -> (&'static str, String) {
        match self {
            Request::List { category } => ("GET", format!("/products?category={category}")),
            Request::Detail { product } => ("GET", format!("/products/{product}")),
            Request::Checkout { user, product } => {
                ("POST", format!("/checkout?user={user}&product={product}"))
            }
        }
    }
}

/// Arrivals as an endless iterator of (time since start, request).
#[derive(Debug, Clone)]
pub struct Schedule {
    config: LoadConfig,
    phases: [f64; 2],
    arrivals: Random,
    choices: Random,
    now: f64,
}

/// Periods of the two waves in seconds; neither divides the other, so the pattern does not repeat
/// within a take.
const WAVES: [f64; 2] = [307.0, 83.0];

impl Schedule {
    /// A schedule from its configuration; the same configuration gives the same requests.
    pub fn new(config: LoadConfig) -> Self {
        let mut phases = Random::new(config.seed, 10);
        let phases = [phases.uniform(0.0, 1.0), phases.uniform(0.0, 1.0)];
        let (arrivals, choices) = (Random::new(config.seed, 11), Random::new(config.seed, 12));
        Self { config, phases, arrivals, choices, now: 0.0 }
    }

    /// Intended requests per second at `seconds` since the start.
    pub fn rate(&self, seconds: f64) -> f64 {
        let swell: f64 = WAVES
            .iter()
            .zip(self.phases)
            .map(|(period, phase)| (std::f64::consts::TAU * (seconds / period + phase)).sin())
            .sum();
        let since_step = seconds - self.config.step_at;
        let in_step = (0.0..self.config.step_seconds).contains(&since_step);
        let step = if in_step { self.config.step_factor } else { 1.0 };
        self.config.base_rate * (1.0 + self.config.swell * swell) * step
    }

    /// Half the traffic goes to the first tenth of the ids, as in most shops.
    fn skewed(&mut self, count: u64) -> u64 {
        let hot = self.choices.integer(0, 1) == 0;
        self.choices.integer(1, if hot { (count / 10).max(1) } else { count })
    }

    fn choose(&mut self) -> Request {
        match self.choices.integer(0, 99) {
            0..=39 => Request::List { category: self.choices.integer(1, CATEGORIES) },
            40..=77 => Request::Detail { product: self.skewed(PRODUCTS) },
            _ => Request::Checkout {
                user: self.choices.integer(1, 100_000),
                product: self.skewed(PRODUCTS),
            },
        }
    }
}

impl Iterator for Schedule {
    type Item = (Duration, Request);

    fn next(&mut self) -> Option<Self::Item> {
        // The rate changes over minutes and arrivals come within tens of milliseconds, so drawing
        // each gap from the rate at its beginning is as good as thinning.
        self.now += self.arrivals.exponential(self.rate(self.now));
        Some((Duration::from_secs_f64(self.now), self.choose()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_fixes_the_whole_schedule() {
        let take = |seed| {
            Schedule::new(LoadConfig { seed, ..LoadConfig::default() })
                .take(500)
                .collect::<Vec<_>>()
        };
        assert_eq!(take(3), take(3));
        assert_ne!(take(3), take(4));
    }

    #[test]
    fn the_offered_rate_follows_the_step() {
        let config = LoadConfig {
            step_at: 100.0,
            step_seconds: 100.0,
            step_factor: 2.0,
            ..LoadConfig::default()
        };
        let arrivals: Vec<f64> = Schedule::new(config)
            .map(|(at, _)| at.as_secs_f64())
            .take_while(|at| *at < 300.0)
            .collect();
        let count =
            |from: f64, to: f64| arrivals.iter().filter(|at| (from..to).contains(*at)).count();
        let (before, during, after) = (count(0.0, 100.0), count(100.0, 200.0), count(200.0, 300.0));
        assert!(during > before * 3 / 2 && during > after * 3 / 2, "{before} {during} {after}");
    }

    #[test]
    fn requests_stay_within_the_generated_shop() {
        for (_, request) in Schedule::new(LoadConfig::default()).take(5_000) {
            match request {
                Request::List { category } => assert!((1..=CATEGORIES).contains(&category)),
                Request::Detail { product } | Request::Checkout { product, .. } => {
                    assert!((1..=PRODUCTS).contains(&product));
                }
            }
        }
    }
}
