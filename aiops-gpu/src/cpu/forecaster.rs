//! [`Forecaster`]: the LSTM of very many series, with resident state.

use crate::{
    Error, LstmWeights, Result, Simd,
    simd::{
        Lines,
        lstm::{Packed, Tile},
    },
};

/// One LSTM, run for very many series at once; each series has a state of its own.
///
/// State lies in tiles: per hidden unit, as many neighbouring series as the kernel takes at a time.
/// A step costs 33,280 floating-point operations and 320 exponentials a series with 64 units, and
/// `8 · hidden` bytes a series are kept. Results are within 1e-5 of [`LstmReference`](crate::LstmReference),
/// relative to one, whatever the stream's length: gates contract, so rounding does not build up.
///
/// ```
/// use aiops_gpu::{Forecaster, LstmReference, LstmWeights};
/// let weights = LstmWeights::random(64, 1);
/// let mut forecaster = Forecaster::new(&weights, 100);
/// let mut next = vec![0.0; 100];
/// forecaster.step(&vec![0.5; 100], &mut next)?;
/// let expected = LstmReference::new(&weights).step(0.5);
/// assert!((f64::from(next[99]) - expected).abs() < 1e-5);
/// # Ok::<(), aiops_gpu::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Forecaster {
    packed: Packed,
    series: usize,
    h: Lines,
    c: Lines,
    /// `h` of the tile at work.
    before: Lines,
}

impl Forecaster {
    /// All states zero, on the widest instructions that this processor has.
    pub fn new(weights: &LstmWeights, series: usize) -> Self {
        Forecaster::on(weights, series, Simd::detect()).expect("detected instructions are there")
    }

    /// All states zero, on given instructions.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when this processor does not have them.
    pub fn on(weights: &LstmWeights, series: usize, simd: Simd) -> Result<Self> {
        let packed = Packed::new(weights, simd.check()?);
        let tiles = series.div_ceil(packed.width());
        let size = packed.width() * packed.hidden();
        let (h, c) = (Lines::zeros(tiles * size), Lines::zeros(tiles * size));
        Ok(Forecaster { packed, series, h, c, before: Lines::zeros(size) })
    }

    /// How many series.
    pub fn series(&self) -> usize {
        self.series
    }

    /// Takes one input of every series in, and writes what is predicted to come next.
    ///
    /// # Errors
    /// [`Error::ShapeMismatch`] when a column has another length than there are series.
    pub fn step(&mut self, inputs: &[f32], predictions: &mut [f32]) -> Result<()> {
        for (what, got) in [("inputs", inputs.len()), ("predictions", predictions.len())] {
            if got != self.series {
                return Err(Error::ShapeMismatch { what, expected: self.series, got });
            }
        }
        let (width, size) = (self.packed.width(), self.packed.width() * self.packed.hidden());
        let rows = inputs.chunks(width).zip(predictions.chunks_mut(width));
        for (tile, (x, out)) in rows.enumerate() {
            let end = (tile + 1) * size;
            let (h, ahead_h) = self.h.split_at_mut(end);
            let (c, ahead_c) = self.c.split_at_mut(end);
            let (h, c) = (&mut h[end - size..], &mut c[end - size..]);
            self.before.copy_from_slice(h);
            let work = Tile { h: &self.before, c, h_next: h, ahead: [ahead_h, ahead_c] };
            if x.len() == width {
                self.packed.step(work, x, None, out);
            } else {
                // The last tile: lanes without a series compute what nobody reads.
                let (mut all_x, mut all_out) = ([0.0; 64], [0.0; 64]);
                all_x[..x.len()].copy_from_slice(x);
                self.packed.step(work, &all_x[..width], None, &mut all_out[..width]);
                out.copy_from_slice(&all_out[..out.len()]);
            }
        }
        Ok(())
    }

    /// All states zero again.
    pub fn reset(&mut self) {
        self.h.fill(0.0);
        self.c.fill(0.0);
    }

    /// Predictions after whole windows, each from zero state: `windows` holds `length` inputs a window.
    ///
    /// For comparison with other tools and for models that were trained so; a stream is served by
    /// [`step`](Self::step), which does the work of one step instead of `length`. States of the series
    /// are not touched.
    ///
    /// # Errors
    /// [`Error::ShapeMismatch`] when `windows` is not `length` inputs for each of `predictions`.
    pub fn windows(&self, windows: &[f32], length: usize, predictions: &mut [f32]) -> Result<()> {
        if windows.len() != length * predictions.len() {
            let (expected, got) = (length * predictions.len(), windows.len());
            return Err(Error::ShapeMismatch { what: "inputs of windows", expected, got });
        }
        let (width, size) = (self.packed.width(), self.packed.width() * self.packed.hidden());
        let [mut a, mut b, mut c] = [(); 3].map(|()| Lines::zeros(size));
        let (mut x, mut out) = (vec![0.0; width], vec![0.0; width]);
        for (first, predictions) in predictions.chunks_mut(width).enumerate() {
            a.fill(0.0);
            c.fill(0.0);
            let windows = &windows[first * width * length..];
            for step in 0..length {
                for lane in 0..predictions.len() {
                    x[lane] = windows[lane * length + step];
                }
                self.packed.step(
                    Tile { h: &a, c: &mut c, h_next: &mut b, ahead: [&[]; 2] },
                    &x,
                    None,
                    &mut out,
                );
                std::mem::swap(&mut a, &mut b);
            }
            predictions.copy_from_slice(&out[..predictions.len()]);
        }
        Ok(())
    }
}
