//! A moment's check of an instruction set on the processor at hand, before it is used.

use super::{
    Lines, Simd,
    lstm::{Packed, Tile},
};
use crate::LstmWeights;

/// Whether the LSTM kernel gives on `simd` what the portable twin gives. Tests do this at length, but only
/// on the processors they run on.
pub(super) fn agrees(simd: Simd) -> bool {
    let weights = LstmWeights::random(19, 1);
    let (ours, twin) = (some_steps(&weights, simd), some_steps(&weights, Simd::Portable));
    ours.len() == twin.len() && ours.iter().zip(&twin).all(|(a, b)| (a - b).abs() < 1e-5)
}

/// Predictions of eight series over five steps, some beyond the usual size.
fn some_steps(weights: &LstmWeights, simd: Simd) -> Vec<f32> {
    const SERIES: usize = 8;
    let packed = Packed::new(weights, simd);
    let (width, size) = (packed.width(), packed.width() * packed.hidden());
    let [mut h, mut h_next, mut c] = [(); 3].map(|()| Lines::zeros(size));
    let mut out = vec![f32::NAN; width];
    let mut all = Vec::new();
    for step in 0..5_u8 {
        let x: Vec<f32> = (0..width)
            .map(|lane| ((lane % SERIES) as f32 - 3.5) * f32::from(step) * 1.7 - 1.0)
            .collect();
        packed.step(
            Tile { h: &h, c: &mut c, h_next: &mut h_next, ahead: [&[]; 2] },
            &x,
            None,
            &mut out,
        );
        std::mem::swap(&mut h, &mut h_next);
        all.extend_from_slice(&out[..SERIES]);
    }
    all
}
