//! Machine learning on every metric: picks the best engine that is compiled in, says why, and finds one
//! broken series among twenty thousand.
//!
//! `cargo run --release -p aiops-examples --example gpu_batch`, and with `--features cuda,wgpu` where there is
//! a device.
#![allow(clippy::print_stdout, reason = "an example shows what a user would see")]

use std::time::Duration;

use aiops_core::{SampleBatch, SeriesId, Timestamp};
use aiops_gpu::{Ask, BatchEngine, RuleConfig, choose, pretrained, run};

const SERIES: u32 = 20_000;
const STEPS: i64 = 45;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let model = pretrained::model(RuleConfig::default())?;
    let choice = choose(&model)?;
    println!("{}", choice.why);
    for (engine, reason) in &choice.others {
        println!("not {engine}: {reason}");
    }
    let mut chain = choice.chain;
    let able = chain.capabilities();
    println!("{}: {} bytes a series, history included", able.device, able.bytes_per_series);

    chain.register(SERIES as usize)?;
    let ids: Vec<SeriesId> = (0..SERIES).map(SeriesId).collect();
    let season = |id: u32, step: i64| (step as f64 * 0.4 + f64::from(id)).sin();
    let mut last = None;
    for step in 0..STEPS {
        let times = vec![Timestamp::from_secs(15 * step); ids.len()];
        let mut values: Vec<f64> = (0..SERIES).map(|id| 100.0 + 5.0 * season(id, step)).collect();
        if step == STEPS - 1 {
            values[12_345] = 400.0;
        }
        let batch = SampleBatch::new(&ids, &times, &values)?;
        last = Some(run(&mut chain, &batch, Ask::UPDATE, Duration::from_secs(60))?);
    }
    let outcome = last.ok_or("no step was made")?;
    let mut flags = outcome.flags;
    flags.sort_by(|a, b| b.score.total_cmp(&a.score));
    let worst = flags.first().ok_or("nothing was flagged")?;
    println!(
        "{} judged {} series: {} is at {}, expected {:.1}, say {}",
        outcome.engine,
        outcome.tally.scored,
        worst.id.0,
        worst.actual,
        worst.expected,
        worst.votes.names().collect::<Vec<_>>().join(", ")
    );
    assert_eq!(worst.id, SeriesId(12_345));
    Ok(())
}
