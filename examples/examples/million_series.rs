//! A million series on one core: a sweep of one step, its cost in bytes, and what it flags.
//!
//! `cargo run --release -p aiops-examples --example million_series`
#![allow(clippy::print_stdout, reason = "an example shows what a user would see")]

use std::time::Duration;

use aiops_core::Timestamp;
use aiops_detect::{DetectorBank, Tally, testing::Noise, tier1::EwmaConfig};

const SERIES: usize = 1_000_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut bank = EwmaConfig { warm_up: 4, ..EwmaConfig::default() }.build_bank()?;
    let mut noise = Noise::new(1);
    // A small pool of noise, read at shifting places, keeps the example about detection.
    let pool: Vec<f64> = (0..SERIES + 64).map(|_| 50.0 + noise.normal()).collect();
    let mut scores = vec![0.0; SERIES];
    let mut flagged = Vec::new();
    let mut now = Timestamp::EPOCH;
    let mut tally = Tally::default();
    for step in 0..20 {
        now += Duration::from_secs(15);
        tally += bank.sweep(now, &pool[step..step + SERIES], &mut scores, &mut flagged)?;
    }
    println!("{} samples judged, {} bytes a series", tally.scored, bank.bytes_per_series());

    // One of the million goes wrong.
    let mut values = pool[..SERIES].to_vec();
    values[123_456] = 500.0;
    flagged.clear();
    now += Duration::from_secs(15);
    bank.sweep(now, &values, &mut scores, &mut flagged)?;
    flagged.sort_by(|a, b| b.verdict.score.total_cmp(&a.verdict.score));
    let worst = flagged.first().ok_or("nothing was flagged")?;
    println!(
        "series {} is at {}, expected {:.1}",
        worst.id.0, values[worst.row], worst.verdict.expected
    );
    assert_eq!(worst.row, 123_456);
    Ok(())
}
