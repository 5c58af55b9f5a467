//! After warm-up, a body of known series costs no allocation: neither in the decoder, nor in the
//! normaliser, nor in the inbox.
#![allow(clippy::unwrap_used, reason = "a test may")]
#![allow(unsafe_code, reason = "counting allocations needs an allocator")]

use aiops_core::Timestamp;
use aiops_observe::decode::{CsvSamples, Exposition, JsonLines, RemoteWriteV1};
use aiops_observe::{Decoder, Inbox, NormaliserConfig, Sender};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call is handed to the system's allocator unchanged; the counter beside it is a
// thread-local cell that needs no allocation of its own.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const SERIES: usize = 200;

/// Allocations of the third reading of bodies that `body(at)` makes for second `at`.
fn allocations(mut decoder: impl Decoder, body: impl Fn(usize) -> Vec<u8>) -> usize {
    let bodies: Vec<_> = (1..=3).map(body).collect();
    let mut normaliser = NormaliserConfig::default().build().unwrap();
    let (mut sender, mut inbox) = (Sender::new("acme"), Inbox::default());
    let mut last = 0;
    for body in &bodies {
        inbox.clear();
        let before = ALLOCATIONS.get();
        let mut sink = normaliser.sink_from(&mut sender, &mut inbox);
        let tally = decoder.decode(body, Timestamp::from_secs(10), &mut sink).unwrap();
        drop(sink);
        last = ALLOCATIONS.get() - before;
        assert_eq!(tally.accepted(), SERIES as u64, "{tally}");
    }
    assert_eq!(inbox.batch().len(), SERIES, "counters included");
    last
}

fn remote_write(at: usize) -> Vec<u8> {
    let field = |out: &mut Vec<u8>, tag: u8, bytes: &[u8]| {
        out.extend([tag, bytes.len() as u8]);
        out.extend(bytes);
    };
    let mut body = Vec::new();
    for series in 0..SERIES {
        let mut message = Vec::new();
        for (name, value) in [("__name__", "work_total".to_owned()), ("n", series.to_string())] {
            let mut label = Vec::new();
            field(&mut label, 0x0a, name.as_bytes());
            field(&mut label, 0x12, value.as_bytes());
            field(&mut message, 0x0a, &label);
        }
        let mut sample = vec![0x09];
        sample.extend((at as f64).to_le_bytes());
        sample.extend([0x10, 0xe8 | 0x80, (7 * at) as u8]); // about `at` seconds, in milliseconds
        field(&mut message, 0x12, &sample);
        field(&mut body, 0x0a, &message);
    }
    snap::raw::Encoder::new().compress_vec(&body).unwrap()
}

#[test]
fn remote_write_exposition_and_json_lines() {
    assert_eq!(allocations(RemoteWriteV1::default(), remote_write), 0);
    let text = |at: usize| {
        let line = |n: usize| format!("work_total{{n=\"{n}\"}} {at} {}\n", at * 1_000);
        (0..SERIES).map(line).collect::<String>().into_bytes()
    };
    assert_eq!(allocations(Exposition::text(), text), 0);
    let json = |at: usize| {
        let line = |n: usize| {
            format!(
                "{{\"time\": {at}, \"name\": \"work_total\", \"value\": {at}, \"labels\": {{\"n\": \"{n}\"}}}}\n"
            )
        };
        (0..SERIES).map(line).collect::<String>().into_bytes()
    };
    assert_eq!(allocations(JsonLines::default(), json), 0);
}

#[test]
fn csv_allocates_by_the_body_not_by_the_row() {
    let csv = |at: usize| {
        let row = |n: usize| format!("{at},work_total,{at},{n}\n");
        let rows: String = (0..SERIES).map(row).collect();
        format!("time,name,value,n\n{rows}").into_bytes()
    };
    let count = allocations(CsvSamples::default(), csv);
    assert!(count < 20, "{count} allocations for {SERIES} rows");
}
