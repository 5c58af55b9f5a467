//! [`States`]: the LSTM state of the series of an engine, in tiles, and steps of any subset of them.

use crate::{
    LstmWeights, Simd,
    simd::{
        Lines,
        lstm::{Packed, Tile},
    },
};

/// Resident `h`, `c` and prediction of every series.
#[derive(Debug, Clone)]
pub(crate) struct States {
    packed: Packed,
    h: Lines,
    c: Lines,
    predicted: Vec<f32>,
    /// What a series predicts that has seen nothing.
    fresh: f32,
    here: Here,
    gathered: Gathered,
}

/// Buffers for a tile that is stepped where it lies.
#[derive(Debug, Clone)]
struct Here {
    h: Lines,
    x: Vec<f32>,
    mask: Vec<f32>,
    out: Vec<f32>,
}

/// A tile of series from several tiles, one a lane. It fills while other tiles are stepped where they lie,
/// so it shares no buffer with them.
#[derive(Debug, Clone)]
struct Gathered {
    h: Lines,
    h_next: Lines,
    c: Lines,
    x: Vec<f32>,
    out: Vec<f32>,
    series: Vec<usize>,
}

/// Lanes a tile must have at work to be stepped where it lies; below, its lanes are gathered with others.
const FEWEST_SHARE: usize = 3;

/// The mask of a lane at work: all bits.
const AT_WORK: f32 = f32::from_bits(u32::MAX);

impl States {
    pub(crate) fn new(weights: &LstmWeights, simd: Simd) -> Self {
        let packed = Packed::new(weights, simd);
        let (width, size) = (packed.width(), packed.width() * packed.hidden());
        let lanes = || vec![0.0; width];
        let here = Here { h: Lines::zeros(size), x: lanes(), mask: lanes(), out: lanes() };
        let [h, h_next, c] = [(); 3].map(|()| Lines::zeros(size));
        let gathered = Gathered { h, h_next, c, x: lanes(), out: lanes(), series: Vec::new() };
        // With no output to read yet, the readout is its bias.
        let fresh = weights.readout_bias();
        let (h, c) = (Lines::default(), Lines::default());
        States { packed, h, c, predicted: Vec::new(), fresh, here, gathered }
    }

    pub(crate) fn hidden(&self) -> usize {
        self.packed.hidden()
    }

    pub(crate) fn bytes_per_series(&self) -> usize {
        (2 * self.hidden() + 1) * size_of::<f32>()
    }

    pub(crate) fn grow(&mut self, series: usize) {
        let tiles = series.div_ceil(self.packed.width());
        self.h.grow(tiles * self.here.h.len());
        self.c.grow(tiles * self.here.h.len());
        if series > self.predicted.len() {
            self.predicted.resize(series, self.fresh);
        }
    }

    pub(crate) fn predicted(&self, series: usize) -> f32 {
        self.predicted[series]
    }

    /// Where unit 0 of a series lies; the others follow at steps of a tile's width.
    fn place(&self, series: usize) -> usize {
        let width = self.packed.width();
        series / width * self.here.h.len() + series % width
    }

    /// State and prediction of a series, `h` then `c`.
    pub(crate) fn get(&self, series: usize) -> (Vec<f32>, Vec<f32>, f32) {
        let (first, width) = (self.place(series), self.packed.width());
        let column = |of: &[f32]| (0..self.hidden()).map(|unit| of[first + unit * width]).collect();
        (column(&self.h), column(&self.c), self.predicted[series])
    }

    pub(crate) fn set(&mut self, series: usize, h: &[f32], c: &[f32], predicted: f32) {
        let (first, width) = (self.place(series), self.packed.width());
        for unit in 0..self.hidden() {
            self.h[first + unit * width] = h[unit];
            self.c[first + unit * width] = c[unit];
        }
        self.predicted[series] = predicted;
    }

    pub(crate) fn forget(&mut self, series: usize) {
        let zero = vec![0.0; self.hidden()];
        self.set(series, &zero, &zero, self.fresh);
    }

    /// Steps the given series, ascending and each once, by one input each.
    ///
    /// A series' result does not depend on its neighbours nor on the way it takes: lanes are
    /// independent, and every way runs the same instructions on them.
    pub(crate) fn step(&mut self, series: &[usize], inputs: &[f32]) {
        let width = self.packed.width();
        let mut from = 0;
        while from < series.len() {
            let tile = series[from] / width;
            let to = from + series[from..].partition_point(|s| s / width == tile);
            if (to - from) * FEWEST_SHARE >= width {
                self.step_in_place(tile, &series[from..to], &inputs[from..to]);
            } else {
                for (series, input) in series[from..to].iter().zip(&inputs[from..to]) {
                    self.gather(*series, *input);
                }
            }
            from = to;
        }
        self.step_gathered();
    }

    fn step_in_place(&mut self, tile: usize, series: &[usize], inputs: &[f32]) {
        let (width, size) = (self.packed.width(), self.here.h.len());
        let Here { h: before, x, mask, out } = &mut self.here;
        mask.fill(0.0);
        for (series, input) in series.iter().zip(inputs) {
            x[series % width] = *input;
            mask[series % width] = AT_WORK;
        }
        let (h, next_h) = self.h[tile * size..].split_at_mut(size);
        let (c, next_c) = self.c[tile * size..].split_at_mut(size);
        before.copy_from_slice(h);
        let ahead: [&[f32]; 2] = [next_h, next_c];
        let whole = series.len() == width;
        let work = Tile { h: before, c, h_next: h, ahead };
        self.packed.step(work, x, (!whole).then_some(&mask[..]), out);
        for series in series {
            self.predicted[*series] = out[series % width];
        }
    }

    fn gather(&mut self, series: usize, input: f32) {
        let (first, width) = (self.place(series), self.packed.width());
        let lane = self.gathered.series.len();
        for unit in 0..self.hidden() {
            self.gathered.h[unit * width + lane] = self.h[first + unit * width];
            self.gathered.c[unit * width + lane] = self.c[first + unit * width];
        }
        self.gathered.x[lane] = input;
        self.gathered.series.push(series);
        if self.gathered.series.len() == width {
            self.step_gathered();
        }
    }

    fn step_gathered(&mut self) {
        if self.gathered.series.is_empty() {
            return;
        }
        let (hidden, width) = (self.hidden(), self.packed.width());
        let Gathered { h, h_next, c, x, out, .. } = &mut self.gathered;
        // Lanes without a series compute what nobody reads, on what an earlier step left there.
        self.packed.step(Tile { h, c, h_next, ahead: [&[]; 2] }, x, None, out);
        for lane in 0..self.gathered.series.len() {
            let series = self.gathered.series[lane];
            let first = self.place(series);
            for unit in 0..hidden {
                self.h[first + unit * width] = self.gathered.h_next[unit * width + lane];
                self.c[first + unit * width] = self.gathered.c[unit * width + lane];
            }
            self.predicted[series] = self.gathered.out[lane];
        }
        self.gathered.series.clear();
    }
}
