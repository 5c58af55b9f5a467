//! A batch on its way: sent, launched, waited for.

use std::{ops::Range, pin::Pin};

use cubecl::{
    bytes::Bytes,
    future::block_on,
    prelude::*,
    server::{Handle, ServerError},
};

use super::{Done, Fault, Page, Resident, array, cubes, words};
use crate::gpu::{
    kernels::{self, FLAG, IN, OUT},
    tables::Forest,
};

/// A part of a batch that is sent at once: columns of `IN` words, in rounds.
#[derive(Debug, Clone, Default)]
pub(in crate::gpu) struct Chunk {
    pub(in crate::gpu) words: Vec<u32>,
    /// Rows of different series in ascending order (or of any, where nothing is learnt).
    pub(in crate::gpu) rounds: Vec<Range<u32>>,
}

impl Chunk {
    pub(in crate::gpu) fn rows(&self) -> u32 {
        self.words.len() as u32 / IN
    }
}

/// What comes back of a chunk.
#[derive(Debug, Clone, Default)]
pub(in crate::gpu) struct Returned {
    /// Flagged, warming up, gaps, late.
    pub(in crate::gpu) counts: [u32; 4],
    pub(in crate::gpu) flags: Vec<u32>,
    /// All rows, where they were asked for: columns of `OUT` words.
    pub(in crate::gpu) rows: Option<Vec<u32>>,
}

/// A batch whose kernels are launched.
pub(in crate::gpu) struct Flight<'a> {
    chunks: Vec<(Handle, u32)>,
    columns: bool,
    reading: Pin<Box<dyn Future<Output = Result<Vec<Bytes>, ServerError>> + 'a>>,
}

/// A part of a batch on the device, with room for what is made of it.
pub(super) struct OnDevice {
    total: u32,
    input: Handle,
    rows: Handle,
    counters: Handle,
    flags: Handle,
    most_flags: u32,
}

/// Flags that are read with the counts; more are read in a second go.
const FIRST_FLAGS: u32 = 256;

impl<R: Runtime> Resident<R> {
    /// Launches the kernels of a batch, and asks for what they make.
    pub(in crate::gpu) fn launch<'a>(
        &self,
        reader: &'a ComputeClient<R>,
        chunks: &[Chunk],
        learn: bool,
        columns: bool,
        most_flags: u32,
    ) -> Flight<'a> {
        let mut flight = Vec::new();
        let mut wanted = Vec::new();
        for chunk in chunks.iter().filter(|chunk| !chunk.words.is_empty()) {
            let sent = self.send(chunk, most_flags);
            self.run(chunk, &sent, learn);
            // Not `size()`: it is rounded up, and a read would end before the last flag.
            let unread = 4 * u64::from(FLAG * sent.most_flags.saturating_sub(FIRST_FLAGS));
            wanted.push(sent.counters);
            wanted.push(sent.flags.clone().offset_end(unread));
            if columns {
                wanted.push(sent.rows);
            }
            flight.push((sent.flags, sent.most_flags));
        }
        if wanted.is_empty() {
            let reading = Box::pin(std::future::ready(Ok(Vec::new())));
            return Flight { chunks: flight, columns, reading };
        }
        // Asked for now, waited for later.
        Flight { chunks: flight, columns, reading: Box::pin(reader.read_async(wanted)) }
    }

    /// Copies a part of a batch to the device.
    pub(super) fn send(&self, chunk: &Chunk, most_flags: u32) -> OnDevice {
        let total = chunk.rows();
        let most_flags = most_flags.clamp(1, total);
        OnDevice {
            total,
            input: self.client.create_from_slice(u32::as_bytes(&chunk.words)),
            rows: self.client.empty((OUT * total) as usize * 4),
            counters: self.client.create_from_slice(&[0; 16]),
            flags: self.client.empty((FLAG * most_flags) as usize * 4),
            most_flags,
        }
    }

    pub(super) fn run(&self, chunk: &Chunk, sent: &OnDevice, learn: bool) {
        let series = &chunk.words[..sent.total as usize];
        for round in &chunk.rounds {
            for (page, part) in self.by_page(series, round.clone()) {
                self.step(page, sent, part.clone(), learn);
                self.judge(page, sent, part, learn);
            }
        }
    }

    fn step(&self, page: &Page, batch: &OnDevice, part: Range<u32>, learn: bool) {
        let (count, dim) = cubes(part.end - part.start);
        let model = &self.model;
        // SAFETY: threads beyond the part end at once; rows are below `total` and series below the
        // capacity of the page, as `by_page` split them; tables have the sizes that `hidden` says.
        unsafe {
            kernels::step::launch_unchecked::<R>(
                &self.client,
                count,
                dim,
                words(&batch.input),
                words(&page.columns),
                words(&page.h),
                words(&page.c),
                array(&self.sent.weights, 16),
                words(&self.sent.readout),
                words(&batch.rows),
                batch.total,
                part.start,
                part.end - part.start,
                page.first,
                page.capacity,
                model.alpha,
                model.warm_up,
                model.margin,
                model.bias,
                model.hidden,
                model.hidden <= kernels::UNROLLED,
                learn,
            );
        }
    }

    fn judge(&self, page: &Page, batch: &OnDevice, part: Range<u32>, learnt: bool) {
        let (count, dim) = cubes(part.end - part.start);
        let model = &self.model;
        let none = Forest::none();
        let forest = model.forest.as_ref().unwrap_or(&none);
        // SAFETY: as in `step`; walks stay inside the tables, as `check_forest` saw to.
        unsafe {
            kernels::judge::launch_unchecked::<R>(
                &self.client,
                count,
                dim,
                words(&batch.input),
                words(&page.columns),
                words(&self.sent.nodes),
                words(&self.sent.paths),
                words(&self.sent.tables),
                words(&batch.rows),
                words(&batch.counters),
                words(&batch.flags),
                batch.total,
                part.start,
                part.end - part.start,
                page.first,
                page.capacity,
                forest.trees,
                forest.depth,
                forest.usual,
                forest.start_sum,
                forest.start_score,
                forest.start_surprise,
                forest.per_path,
                forest.per_excess,
                model.vote[0],
                model.vote[1],
                model.vote[2],
                model.per_weight,
                model.enough,
                model.flagging,
                batch.most_flags,
                model.hidden > 0,
                model.forest.is_some(),
                learnt,
            );
        }
    }

    /// Waits for what a batch made.
    pub(in crate::gpu) fn finish(&self, flight: Flight<'_>) -> Done<Vec<Returned>> {
        let mut read = block_on(flight.reading)?.into_iter();
        let mut next = || -> Done<Vec<u32>> {
            let bytes = read.next().ok_or_else(|| Fault::Failed("a buffer is missing".into()))?;
            Ok(u32::from_bytes(&bytes).to_vec())
        };
        let mut returned = Vec::new();
        for (flags, most) in flight.chunks {
            let counts = next()?;
            let counts = [counts[0], counts[1], counts[2], counts[3]];
            let mut first = next()?;
            let flagged = counts[0].min(most);
            if flagged > FIRST_FLAGS {
                let bytes = self.client.read_one(flags)?;
                first = u32::from_bytes(&bytes).to_vec();
            }
            first.truncate((FLAG * flagged) as usize);
            let rows = if flight.columns { Some(next()?) } else { None };
            returned.push(Returned { counts, flags: first, rows });
        }
        Ok(returned)
    }
}
