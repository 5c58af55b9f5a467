//! Any bytes as the saved state of every detector.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| aiops_detect::testing::load_any_state(bytes));
