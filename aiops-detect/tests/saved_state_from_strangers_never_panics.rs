//! Saved state is bytes from outside: whatever they are, loading gives a detector or an error, and a
//! detector that was loaded judges without panicking.

#![allow(clippy::unwrap_used, reason = "a test")]
use aiops_core::{Sample, SnapshotWriter, Timestamp};
use aiops_detect::testing::{Noise, every_detector, load_any_state};
use proptest::prelude::*;

/// The state of every detector after a minute of noise.
fn states(seed: u64) -> Vec<(&'static str, Vec<u8>)> {
    let state = |listed: aiops_detect::testing::Listed| {
        let mut noise = Noise::new(seed);
        let mut detector = (listed.make)();
        for second in 0..80 {
            detector.update(Sample::new(Timestamp::from_secs(second), noise.normal()));
        }
        let mut writer = SnapshotWriter::new();
        detector.save(&mut writer);
        (listed.name, writer.finish())
    };
    every_detector().into_iter().map(state).collect()
}

#[test]
fn the_corpus_of_the_fuzz_target() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/snapshots");
    let mut files = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        load_any_state(&std::fs::read(entry.unwrap().path()).unwrap());
        files += 1;
    }
    assert!(
        files >= every_detector().len(),
        "a file for each detector, made by `write_the_corpus`"
    );
}

/// `cargo test -p aiops-detect --test saved_state_from_strangers_never_panics -- --ignored`
#[test]
#[ignore = "writes files: run it when a detector is added"]
fn write_the_corpus() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/snapshots");
    std::fs::create_dir_all(&folder).unwrap();
    for (name, state) in states(1) {
        std::fs::write(folder.join(name.replace(' ', "_")), state).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        load_any_state(&bytes);
    }

    #[test]
    fn damaged_state(seed in 0_u64..20, at in any::<prop::sample::Index>(), bit in 0_u8..8) {
        for (_, mut bytes) in states(seed) {
            let place = at.index(bytes.len());
            bytes[place] ^= 1 << bit;
            load_any_state(&bytes);
        }
    }
}
