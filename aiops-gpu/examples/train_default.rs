//! The recipe of `models/default.safetensors`.
//!
//! `cargo run --release -p aiops-gpu --features train --example train_default -- examples/data [OUT [EPOCHS]]`
//!
//! Trains on generated series and on the first takes of the recordings under the folder (the second are
//! for judging), in at most EPOCHS passes (12), and writes the weights to OUT, or nowhere.
#![allow(clippy::print_stdout, reason = "a recipe says how far it is")]

use std::{error::Error, io::Read, path::Path};

use aiops_gpu::{pretrained::generated, train::TrainConfig, weights::to_safetensors};

/// Series of a take, evenly over those that move.
const A_TAKE: usize = 30;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("the folder of the recordings is needed")?;
    let (out, epochs) = (arguments.next(), arguments.next());
    let epochs = epochs.as_deref().unwrap_or("12").parse()?;
    let mut series = generated(1, 105, 1500);
    let mut takes: Vec<_> = std::fs::read_dir(&folder)?.collect::<Result<_, _>>()?;
    takes.sort_by_key(std::fs::DirEntry::file_name);
    for take in takes.iter().filter(|t| t.file_name().to_string_lossy().ends_with("-1")) {
        let moving = moving(&take.path().join("metrics.csv.gz"))?;
        let every = moving.len().div_ceil(A_TAKE).max(1);
        series.extend(moving.into_iter().step_by(every));
    }
    println!("{} series, {} samples", series.len(), series.iter().map(Vec::len).sum::<usize>());
    let series: Vec<&[f64]> = series.iter().map(Vec::as_slice).collect();
    let config = TrainConfig { epochs, patience: 3, ..TrainConfig::default() };
    let trained = config.train(&series, &mut |now| {
        println!(
            "{:>3} of {}: training {:.4}, validation {:.4}, best {:.4}",
            now.epoch, now.epochs, now.training_loss, now.validation_loss, now.best
        );
        true
    })?;
    println!(
        "validation {:.4}; predicting the mean {:.4}, the last value again {:.4}",
        trained.validation_loss, trained.mean_loss, trained.last_loss
    );
    if let Some(out) = out {
        let loss = format!("{:.4}", trained.validation_loss);
        let about =
            [("recipe", "aiops-gpu/examples/train_default.rs"), ("validation_loss", &*loss)];
        std::fs::write(&out, to_safetensors(&trained.weights, &about))?;
        println!("{out} written");
    }
    Ok(())
}

/// The columns of a recording that move; counters as their differences.
fn moving(file: &Path) -> Result<Vec<Vec<f64>>, Box<dyn Error>> {
    let mut text = String::new();
    flate2::read::GzDecoder::new(std::fs::File::open(file)?).read_to_string(&mut text)?;
    let mut lines = text.lines();
    let width = lines.next().ok_or("an empty recording")?.split(',').count();
    let mut columns = vec![Vec::new(); width];
    for line in lines {
        for (column, field) in columns.iter_mut().zip(line.split(',')) {
            column.push(field.parse().unwrap_or(f64::NAN));
        }
    }
    let columns = columns.into_iter().skip(1).map(|column: Vec<f64>| {
        let counts = !column.windows(2).any(|pair| pair[1] < pair[0]);
        if counts { column.windows(2).map(|pair| pair[1] - pair[0]).collect() } else { column }
    });
    Ok(columns
        .filter(|column: &Vec<f64>| {
            column.windows(2).filter(|pair| pair[0] != pair[1]).count() * 10 > column.len()
        })
        .collect())
}
