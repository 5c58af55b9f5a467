//! State as it is before the first sample, and on its way out and in.

use cubecl::prelude::*;

use super::{TILE, word};

/// Series of a page as they are before their first sample: those in `list`, or the first `count`.
#[cube(launch_unchecked)]
pub(in crate::gpu) fn clear(
    list: &Array<u32>,
    columns: &mut Array<u32>,
    h: &mut Array<f32>,
    c: &mut Array<f32>,
    start: u32,
    count: u32,
    first: u32,
    capacity: u32,
    fresh: f32,
    #[comptime] hidden: u32,
    #[comptime] all: bool,
) {
    if ABSOLUTE_POS as u32 >= count {
        terminate!();
    }
    let at = start + ABSOLUTE_POS as u32;
    let series = RuntimeCell::<u32>::new(at);
    if !all {
        series.store(list[at as usize] - first);
    }
    let series = series.read();
    for word in 0..word::COUNT {
        columns[(word * capacity + series) as usize] = 0u32;
    }
    columns[(word::ERROR * capacity + series) as usize] = u32::reinterpret(1.0f32);
    columns[(word::PREDICTED * capacity + series) as usize] = u32::reinterpret(fresh);
    let place = (series / TILE * hidden) * TILE + series % TILE;
    for unit in 0..hidden {
        h[(place + unit * TILE) as usize] = 0.0f32;
        c[(place + unit * TILE) as usize] = 0.0f32;
    }
}

/// Copies all that is known of the series in `list` out of a page, or in.
#[cube(launch_unchecked)]
pub(in crate::gpu) fn transfer(
    list: &Array<u32>,
    columns: &mut Array<u32>,
    h: &mut Array<f32>,
    c: &mut Array<f32>,
    outside: &mut Array<u32>,
    start: u32,
    count: u32,
    first: u32,
    capacity: u32,
    #[comptime] hidden: u32,
    #[comptime] out: bool,
) {
    if ABSOLUTE_POS as u32 >= count {
        terminate!();
    }
    let at = start + ABSOLUTE_POS as u32;
    let series = list[at as usize] - first;
    let base = at * (word::COUNT + 2 * hidden);
    for word in 0..word::COUNT {
        let here = (word * capacity + series) as usize;
        if out {
            outside[(base + word) as usize] = columns[here];
        } else {
            columns[here] = outside[(base + word) as usize];
        }
    }
    let place = (series / TILE * hidden) * TILE + series % TILE;
    for unit in 0..hidden {
        let here = (place + unit * TILE) as usize;
        let there = (base + word::COUNT + unit) as usize;
        if out {
            outside[there] = u32::reinterpret(h[here]);
            outside[there + hidden as usize] = u32::reinterpret(c[here]);
        } else {
            h[here] = f32::reinterpret(outside[there]);
            c[here] = f32::reinterpret(outside[there + hidden as usize]);
        }
    }
}
