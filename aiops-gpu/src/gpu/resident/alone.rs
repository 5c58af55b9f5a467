//! Windows and runs without series, and how long kernels take.

use std::time::Duration;

use aiops_core::{Clock, SystemClock, Timestamp};
use cubecl::{prelude::*, server::Handle};

use super::{Chunk, Done, Resident, Timed, array, cubes, words};
use crate::gpu::{kernels, tables::Forest};

impl<R: Runtime> Resident<R> {
    /// Predictions after whole windows, and how long so many launches of the kernel took.
    pub(in crate::gpu) fn windows(&self, windows: &[f32], length: u32, launches: u32) -> Timed {
        let count = windows.len() as u32 / length;
        let input = self.client.create_from_slice(f32::as_bytes(windows));
        let output = self.client.empty(count as usize * 4);
        self.timed(&output, launches, || {
            let (cubes, dim) = cubes(count);
            // SAFETY: threads beyond `count` end at once; the others read `length` inputs each.
            unsafe {
                kernels::windows::launch_unchecked::<R>(
                    &self.client,
                    cubes,
                    dim,
                    words(&input),
                    array(&self.sent.weights, 16),
                    words(&self.sent.readout),
                    words(&output),
                    count,
                    length,
                    self.model.bias,
                    self.model.hidden,
                    self.model.hidden <= kernels::UNROLLED,
                );
            }
        })
    }

    /// Sums of paths of runs, and how long so many launches of the kernel took.
    pub(in crate::gpu) fn runs(&self, runs: &[f32], launches: u32) -> Timed {
        let none = Forest::none();
        let forest = self.model.forest.as_ref().unwrap_or(&none);
        let count = (runs.len() / crate::RUN) as u32;
        let input = self.client.create_from_slice(f32::as_bytes(runs));
        let output = self.client.empty(count as usize * 4);
        self.timed(&output, launches, || {
            let (cubes, dim) = cubes(count);
            // SAFETY: threads beyond `count` end at once; walks stay inside the tables.
            unsafe {
                kernels::runs::launch_unchecked::<R>(
                    &self.client,
                    cubes,
                    dim,
                    words(&input),
                    words(&self.sent.nodes),
                    words(&self.sent.paths),
                    words(&self.sent.tables),
                    words(&output),
                    count,
                    forest.trees,
                    forest.depth,
                );
            }
        })
    }

    fn timed(&self, output: &Handle, launches: u32, launch: impl Fn()) -> Timed {
        if launches > 1 {
            self.settle()?;
        }
        let started = SystemClock.now();
        (0..launches).for_each(|_| launch());
        if launches > 1 {
            self.settle()?;
        }
        let took = since(started);
        Ok((f32::from_bytes(&self.client.read_one(output.clone())?).to_vec(), took))
    }

    /// How long the kernels of batches take when all is on the device already.
    pub(in crate::gpu) fn time(&mut self, chunks: &[Chunk], learn: bool) -> Done<Duration> {
        let sent: Vec<_> = chunks.iter().map(|chunk| self.send(chunk, u32::MAX)).collect();
        self.settle()?;
        let started = SystemClock.now();
        for (chunk, sent) in chunks.iter().zip(&sent) {
            self.run(chunk, sent, learn);
        }
        self.settle()?;
        Ok(since(started))
    }
}

/// For measurements of the kernels only; no judgement depends on it.
fn since(started: Timestamp) -> Duration {
    Duration::from_secs_f64(SystemClock.now().seconds_after(started).max(0.0))
}
