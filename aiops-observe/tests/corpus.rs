//! The corpora of the fuzz targets, as an ordinary test: what a fuzzer once found stays fixed.
#![allow(clippy::unwrap_used, reason = "a test may")]

use aiops_observe::testing::{TARGETS, check_by_name};
use proptest::prelude::*;
use std::path::Path;

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let files = std::fs::read_dir(&folder).unwrap_or_else(|_| panic!("no {}", folder.display()));
    files.map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect()
}

#[test]
fn every_target_replays_its_corpus() {
    for target in TARGETS {
        let bodies = corpus(target);
        assert!(!bodies.is_empty(), "{target} has no corpus");
        bodies.iter().for_each(|body| check_by_name(target, body));
    }
}

proptest! {
    /// What a fuzzer does, for a second: bodies of the corpus, edited.
    #[test]
    fn every_target_survives_edits(
        target in prop::sample::select(TARGETS.as_slice()),
        which in any::<prop::sample::Index>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4u8), 1..8),
    ) {
        let bodies = corpus(target);
        let mut body = which.get(&bodies).clone();
        for (place, byte, how) in edits {
            let place = place.index(body.len() + 1);
            match how {
                0 if place < body.len() => body[place] = byte,
                1 if place < body.len() => drop(body.remove(place)),
                2 => body.truncate(place),
                _ => body.insert(place, byte),
            }
        }
        check_by_name(target, &body);
    }
}
