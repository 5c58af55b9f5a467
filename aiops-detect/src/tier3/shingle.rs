//! The last few samples of a series as one point.

use std::collections::VecDeque;

use aiops_core::{SnapshotReader, SnapshotWriter};

use crate::{Result, saved};

/// The samples before the next one, as `f32` differences from the first value ever seen: a counter of
/// 10⁹ keeps the digits that matter.
#[derive(Debug, Clone)]
pub(super) struct Shingle {
    size: usize,
    origin: Option<f64>,
    /// Oldest first.
    latest: VecDeque<f32>,
}

impl Shingle {
    pub(super) fn new(size: usize) -> Self {
        Shingle { size, origin: None, latest: VecDeque::with_capacity(size + 1) }
    }

    /// Half the difference from the first value; sums of a few of them stay finite in `f32`.
    pub(super) fn half(&self, value: f64) -> f64 {
        let origin = self.origin.unwrap_or(value);
        (value / 2.0 - origin / 2.0).clamp(-1e30, 1e30)
    }

    fn relative(&self, value: f64) -> f32 {
        self.half(value) as f32 * 2.0
    }

    /// The point that `value` would make; `None` while there are too few samples before it.
    pub(super) fn point(&self, value: f64) -> Option<Vec<f32>> {
        let enough = self.latest.len() + 1 >= self.size;
        let last = std::iter::once(self.relative(value));
        enough.then(|| self.latest.iter().copied().chain(last).collect())
    }

    pub(super) fn push(&mut self, value: f64) {
        self.latest.push_back(self.relative(value));
        self.origin.get_or_insert(value);
        if self.latest.len() >= self.size {
            self.latest.pop_front();
        }
    }

    pub(super) fn save(&self, out: &mut SnapshotWriter) {
        out.f64(self.origin.unwrap_or(f64::NAN));
        save_points(self.latest.iter(), out);
    }

    /// Reads what [`save`](Self::save) wrote of one of the same size.
    pub(super) fn load(&self, from: &mut SnapshotReader<'_>) -> Result<Self> {
        let origin = from.f64()?;
        if origin.is_infinite() {
            return Err(saved::invalid("origin", origin));
        }
        let latest: VecDeque<f32> = load_points(from, self.size - 1)?.into();
        if origin.is_nan() && !latest.is_empty() {
            return Err(saved::invalid("origin", origin));
        }
        Ok(Shingle { size: self.size, origin: (!origin.is_nan()).then_some(origin), latest })
    }
}

pub(super) fn save_points<'a>(
    values: impl ExactSizeIterator<Item = &'a f32>,
    out: &mut SnapshotWriter,
) {
    out.u32(values.len() as u32);
    values.for_each(|value| out.f32(*value));
}

/// Reads what [`save_points`] wrote: at most `most` finite values.
pub(super) fn load_points(from: &mut SnapshotReader<'_>, most: usize) -> Result<Vec<f32>> {
    let len = from.u32()? as usize;
    if len > most {
        return Err(saved::invalid("values of points", len));
    }
    let finite = |_| match from.f32()? {
        value if value.is_finite() => Ok(value),
        value => Err(saved::invalid("value of a point", value)),
    };
    (0..len).map(finite).collect()
}
