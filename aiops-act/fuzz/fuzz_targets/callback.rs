#![no_main]
//! See `aiops_act::testing::check_bytes`.
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    aiops_act::testing::check_bytes("callback", bytes);
});
