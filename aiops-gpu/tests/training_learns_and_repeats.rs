//! Training predicts what can be predicted, stops when it should, and gives the same weights again.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use aiops_core::MetricClass;
use aiops_gpu::{
    Autoencoder,
    train::{Progress, TrainConfig},
};

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
fn an_autoencoder_learns_what_windows_look_like() {
    const LENGTH: usize = 16;
    let series = waves();
    let series: Vec<&[f64]> = series.iter().map(Vec::as_slice).collect();
    let config = TrainConfig { hidden: 10, epochs: 30, learning_rate: 1e-2, ..Default::default() };
    let trained = config.train_autoencoder(&series, LENGTH, &mut |_| true).unwrap();
    assert!(
        trained.validation_loss < 0.3 * trained.mean_loss,
        "{} against {}",
        trained.validation_loss,
        trained.mean_loss
    );
    let autoencoder = Autoencoder::new(&trained.encoder, &trained.decoder).unwrap();
    let wave = |t: usize| (t as f32 * 0.5).sin() * 1.4;
    let usual: Vec<f32> = (0..LENGTH).map(wave).collect();
    // The same values in another order: no single one is unusual.
    let torn: Vec<f32> = (0..LENGTH).map(|i| wave(i * 7 % LENGTH)).collect();
    let mut scores = [f64::NAN; 2];
    autoencoder.score(&[usual, torn].concat(), LENGTH, &mut scores).unwrap();
    assert!(scores[1] > 3.0 * scores[0], "{scores:?}");
    let few = TrainConfig { epochs: 2, ..config.clone() };
    let again = few.train_autoencoder(&series, LENGTH, &mut |_| true).unwrap();
    assert_eq!(few.train_autoencoder(&series, LENGTH, &mut |_| true).unwrap(), again);
    assert!(config.train_autoencoder(&series, 1, &mut |_| true).is_err());
    assert!(config.train_autoencoder(&series, 1000, &mut |_| true).is_err());
}

#[test]
fn each_class_of_metrics_gets_a_network() {
    let series = waves();
    let classed: Vec<(MetricClass, &[f64])> = series
        .iter()
        .enumerate()
        .map(|(i, values)| {
            let class =
                if i % 2 == 0 { MetricClass::Infrastructure } else { MetricClass::Critical };
            (class, values.as_slice())
        })
        .collect();
    let config = TrainConfig { hidden: 4, epochs: 1, ..Default::default() };
    let trained = config.train_classes(&classed, &mut |_, _| true).unwrap();
    assert_eq!(trained.len(), 2);
    let [a, b] = [MetricClass::Infrastructure, MetricClass::Critical].map(|c| &trained[&c]);
    assert_ne!(a.weights, b.weights);
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
