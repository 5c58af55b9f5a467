//! Three tiers on the same trouble: what each sees, and what it costs in memory.
//!
//! `cargo run -p aiops-examples --example choose_a_tier`
#![allow(clippy::print_stdout, reason = "an example shows what a user would see")]

use aiops_core::{Frame, Sample, SeriesKey, Timestamp};
use aiops_detect::{
    BatchDetector, DetectorExt, testing::Noise, tier1::RobustConfig, tier2::SurpriseConfig,
    tier3::PcaConfig,
};

const STEPS: usize = 3_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Requests and processor time move together. At step 2000 a spike that anyone sees; at step 2500
    // the processor works as if there were more requests than there are, within its usual range.
    let mut noise = Noise::new(7);
    let load: Vec<f64> = (0..STEPS).map(|_| 100.0 + 20.0 * noise.normal()).collect();
    let mut requests: Vec<f64> = load.iter().map(|l| l + 0.5 * noise.normal()).collect();
    let mut cpu: Vec<f64> = load.iter().map(|l| 0.4 * l + 0.2 * noise.normal()).collect();
    requests[2_000] = 600.0;
    for step in 2_500..2_520 {
        cpu[step] = 0.4 * load[step] + 6.0;
    }

    let samples = |values: &[f64]| -> Vec<Sample> {
        let at = |step: usize| Timestamp::from_secs(step as i64);
        values.iter().enumerate().map(|(step, value)| Sample::new(at(step), *value)).collect()
    };
    let robust = RobustConfig::default().build()?.replay(samples(&requests));
    println!("tier 1, robust:   flags the spike: {}", robust[2_000].flagged);
    let surprise = SurpriseConfig::default().build()?.replay(samples(&cpu));
    let shifted = surprise[2_500..2_520].iter().filter(|v| v.flagged).count();
    println!("tier 2, surprise: flags {shifted} of 20 steps at which the processor alone is usual");

    let keys = ["requests", "cpu"].map(|name| SeriesKey::new(name, [("service", "api")]));
    let step = std::time::Duration::from_secs(1);
    let all = Frame::new(keys.to_vec(), Timestamp::EPOCH, step, [requests, cpu].concat())?;
    let model = PcaConfig { variance: 0.9, ..PcaConfig::default() }.train(&all.slice(0, 1_500)?)?;
    let mut scores = vec![0.0; STEPS];
    model.score(&all, &mut scores)?;
    let seen = (2_500..2_520).filter(|step| model.p_value(scores[*step]) <= 1e-2).count();
    println!("tier 3, pca:      flags {seen} of them, because requests do not explain them");
    println!("                  {}", model.explain(&all, 2_519, scores[2_519])?);

    assert!(robust[2_000].flagged && shifted <= 2 && seen >= 15);
    Ok(())
}
