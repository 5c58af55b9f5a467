//! Training predicts what can be predicted, stops when it should, and gives the same weights again.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use aiops_gpu::train::{Progress, TrainConfig};

fn waves() -> Vec<Vec<f64>> {
    let wave = |phase: usize| (0..300).map(move |t| ((t + phase) as f64 * 0.5).sin() * 3.0 + 10.0);
    (0..24).map(|phase| wave(phase * 5).collect()).collect()
}

#[test]
fn waves_are_learnt_and_a_seed_repeats() {
    let series = waves();
    let series: Vec<&[f64]> = series.iter().map(Vec::as_slice).collect();
    let config = TrainConfig { hidden: 10, epochs: 15, learning_rate: 1e-2, ..Default::default() };
    let mut seen: Vec<Progress> = Vec::new();
    let trained = config
        .train(&series, &mut |progress| {
            seen.push(progress);
            true
        })
        .unwrap();
    assert_eq!(seen.len(), trained.epochs);
    assert!(
        trained.validation_loss < 0.3 * trained.last_loss.min(trained.mean_loss),
        "{} against {} and {}",
        trained.validation_loss,
        trained.last_loss,
        trained.mean_loss
    );
    assert_eq!(config.train(&series, &mut |_| true).unwrap(), trained);
    let stopped = config.train(&series, &mut |progress| progress.epoch < 2).unwrap();
    assert_eq!(stopped.epochs, 2);
}

#[test]
fn bad_settings_and_too_little_data_are_refused() {
    let series = waves();
    let series: Vec<&[f64]> = series.iter().map(Vec::as_slice).collect();
    for config in [
        TrainConfig { hidden: 0, ..Default::default() },
        TrainConfig { learning_rate: f64::NAN, ..Default::default() },
        TrainConfig { validation: 1.0, ..Default::default() },
    ] {
        assert!(config.train(&series, &mut |_| true).is_err());
    }
    assert!(TrainConfig::default().train(&series[..1], &mut |_| true).is_err());
    assert!(TrainConfig::default().train(&[&[1.0; 500], &[2.0; 500]], &mut |_| true).is_err());
}
