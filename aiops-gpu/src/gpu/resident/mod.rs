//! [`Resident`]: the state of all series on a device, and what is launched on it.
//!
//! State lies in pages, each with room for a range of series: growing never moves what is there, no buffer
//! is larger than a device binds, and 32 bits are enough to find a number in it.

use std::{ops::Range, time::Duration};

use cubecl::{
    future::block_on,
    prelude::*,
    server::{Handle, IoError, ServerError},
};

mod alone;
mod flight;

pub(super) use flight::{Chunk, Flight, Returned};

use super::{
    kernels::{self, THREADS, TILE, word},
    tables::Tables,
};

/// Why a device did not do what it was told.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Fault {
    /// No memory for it.
    Full,
    /// Anything else, in words.
    Failed(String),
}

impl From<ServerError> for Fault {
    fn from(error: ServerError) -> Self {
        if let ServerError::Io(IoError::BufferTooBig { .. }) = error {
            return Fault::Full;
        }
        let text = error.to_string();
        // What follows is a backtrace.
        let text = text.split("Backtrace").next().unwrap_or_default();
        Fault::Failed(text.split_whitespace().collect::<Vec<_>>().join(" "))
    }
}

pub(super) type Done<T> = Result<T, Fault>;
/// What a kernel made, and how long it took.
pub(super) type Timed = Done<(Vec<f32>, Duration)>;

/// Series in a page at most.
const LARGEST_PAGE: u64 = 1 << 22;

struct Page {
    first: u32,
    capacity: u32,
    columns: Handle,
    h: Handle,
    c: Handle,
}

struct Sent {
    weights: Handle,
    readout: Handle,
    nodes: Handle,
    paths: Handle,
    tables: Handle,
}

/// State and model on a device. Lives on the thread that made it: cubecl has a stream a thread.
pub(super) struct Resident<R: Runtime> {
    client: ComputeClient<R>,
    model: Tables,
    sent: Sent,
    pages: Vec<Page>,
    registered: u32,
}

fn array<R: Runtime>(handle: &Handle, size: usize) -> ArrayArg<R> {
    let elements = handle.size_in_used() as usize / size;
    // SAFETY: every element is within the handle.
    unsafe { ArrayArg::from_raw_parts(handle.clone(), elements) }
}

fn words<R: Runtime>(handle: &Handle) -> ArrayArg<R> {
    array(handle, 4)
}

fn cubes(threads: u32) -> (CubeCount, CubeDim) {
    (CubeCount::Static(threads.div_ceil(THREADS), 1, 1), CubeDim::new_1d(THREADS))
}

impl<R: Runtime> Resident<R> {
    pub(super) fn new(client: ComputeClient<R>) -> Self {
        let one = |client: &ComputeClient<R>| client.create_from_slice(&[0; 16]);
        let sent = Sent {
            weights: one(&client),
            readout: one(&client),
            nodes: one(&client),
            paths: one(&client),
            tables: one(&client),
        };
        Resident { sent, client, model: Tables::default(), pages: Vec::new(), registered: 0 }
    }

    /// Uses a model from now on; all series start anew.
    pub(super) fn load(&mut self, model: Tables) -> Done<()> {
        let send = |words: &[u8]| {
            self.client.create_from_slice(if words.is_empty() { &[0; 16] } else { words })
        };
        let none = (Vec::new(), Vec::new(), Vec::new());
        let (nodes, paths, tables) = match &model.forest {
            Some(forest) => (forest.nodes.clone(), forest.paths.clone(), forest.tables.clone()),
            None => none,
        };
        self.sent = Sent {
            weights: send(f32::as_bytes(&model.weights)),
            readout: send(f32::as_bytes(&model.readout)),
            nodes: send(u32::as_bytes(&nodes)),
            paths: send(f32::as_bytes(&paths)),
            tables: send(u32::as_bytes(&tables)),
        };
        self.model = model;
        let series = std::mem::take(&mut self.registered);
        self.pages.clear();
        self.register(series)?;
        self.settle()
    }

    /// Waits until the device did everything, and says what went wrong.
    fn settle(&self) -> Done<()> {
        Ok(block_on(self.client.sync())?)
    }

    fn page_limit(&self) -> u64 {
        let binding = self.client.properties().memory.max_page_size;
        let largest = u64::from(word::COUNT.max(self.model.hidden)) * 4;
        let index = u64::from(u32::MAX) / u64::from(word::COUNT.max(self.model.hidden));
        let limit = (binding / largest).min(index).min(LARGEST_PAGE);
        limit / u64::from(TILE) * u64::from(TILE)
    }

    pub(super) fn register(&mut self, series: u32) -> Done<()> {
        let limit = self.page_limit();
        if limit == 0 {
            return Err(Fault::Full);
        }
        let mut room = self.pages.last().map_or(0, |page| page.first + page.capacity);
        let before = self.pages.len();
        while room < series {
            // As much again as there is, so that growing one by one makes few pages.
            let wanted = u64::from(series - room).max(u64::from(room).min(LARGEST_PAGE)).max(1024);
            let capacity = wanted.next_multiple_of(u64::from(TILE)).min(limit) as u32;
            let size = capacity as usize * 4;
            let page = Page {
                first: room,
                capacity,
                columns: self.client.empty(size * word::COUNT as usize),
                h: self.client.empty(size * self.model.hidden.max(1) as usize),
                c: self.client.empty(size * self.model.hidden.max(1) as usize),
            };
            self.clear_page(&page);
            self.pages.push(page);
            room += capacity;
        }
        if self.pages.len() > before
            && let Err(fault) = self.settle()
        {
            self.pages.truncate(before);
            return Err(fault);
        }
        self.registered = self.registered.max(series);
        Ok(())
    }

    fn clear_page(&self, page: &Page) {
        self.clear(page, &page.columns, 0..page.capacity, true);
    }

    fn clear(&self, page: &Page, list: &Handle, range: Range<u32>, all: bool) {
        let (count, dim) = cubes(range.end - range.start);
        // A kernel must not read what it writes through another name.
        let list = if all { self.sent.tables.clone() } else { list.clone() };
        // SAFETY: threads beyond the range end at once; the others stay below `capacity` series.
        unsafe {
            kernels::clear::launch_unchecked::<R>(
                &self.client,
                count,
                dim,
                words(&list),
                words(&page.columns),
                words(&page.h),
                words(&page.c),
                range.start,
                range.end - range.start,
                page.first,
                page.capacity,
                self.model.bias,
                self.model.hidden,
                all,
            );
        }
    }

    /// The parts of an ascending column of series that lie in one page each.
    fn by_page<'a>(
        &'a self,
        series: &'a [u32],
        rows: Range<u32>,
    ) -> impl Iterator<Item = (&'a Page, Range<u32>)> + 'a {
        let mut from = rows.start;
        let end = rows.end;
        let first = series.get(from as usize).copied().unwrap_or(0);
        let at = self.pages.partition_point(|page| page.first + page.capacity <= first);
        self.pages[at..].iter().map_while(move |page| {
            if from == end {
                return None;
            }
            let rest = &series[from as usize..end as usize];
            let within = rest.partition_point(|s| *s < page.first + page.capacity) as u32;
            let part = from..from + within;
            from = part.end;
            Some((page, part))
        })
    }

    /// Makes series as they are before their first sample. `list` ascends.
    pub(super) fn release(&mut self, list: &[u32]) -> Done<()> {
        if list.is_empty() {
            return Ok(());
        }
        let sent = self.client.create_from_slice(u32::as_bytes(list));
        for (page, part) in self.by_page(list, 0..list.len() as u32) {
            self.clear(page, &sent, part, false);
        }
        Ok(())
    }

    /// A client for [`launch`](Self::launch) to read with, on the same thread.
    pub(super) fn reader(&self) -> ComputeClient<R> {
        self.client.clone()
    }

    /// All that is known of the series in an ascending list, [`width`](Self::width) words each.
    pub(super) fn save(&mut self, list: &[u32]) -> Done<Vec<u32>> {
        if list.is_empty() {
            return Ok(Vec::new());
        }
        let outside = self.client.empty(list.len() * self.width() * 4);
        self.transfer(list, &outside, true);
        let bytes = self.client.read_one(outside)?;
        Ok(u32::from_bytes(&bytes).to_vec())
    }

    /// Replaces it.
    pub(super) fn restore(&mut self, list: &[u32], known: &[u32]) -> Done<()> {
        if !list.is_empty() {
            let outside = self.client.create_from_slice(u32::as_bytes(known));
            self.transfer(list, &outside, false);
        }
        self.settle()
    }

    /// Words that are known of a series.
    fn width(&self) -> usize {
        (word::COUNT + 2 * self.model.hidden) as usize
    }

    fn transfer(&self, list: &[u32], outside: &Handle, out: bool) {
        let sent = self.client.create_from_slice(u32::as_bytes(list));
        for (page, part) in self.by_page(list, 0..list.len() as u32) {
            let (count, dim) = cubes(part.end - part.start);
            // SAFETY: as in `step`; `outside` has room for every series of the list.
            unsafe {
                kernels::transfer::launch_unchecked::<R>(
                    &self.client,
                    count,
                    dim,
                    words(&sent),
                    words(&page.columns),
                    words(&page.h),
                    words(&page.c),
                    words(outside),
                    part.start,
                    part.end - part.start,
                    page.first,
                    page.capacity,
                    self.model.hidden,
                    out,
                );
            }
        }
    }
}
