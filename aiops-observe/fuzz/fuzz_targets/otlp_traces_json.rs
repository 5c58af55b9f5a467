#![no_main]
//! See `aiops_observe::testing::check_by_name`.
libfuzzer_sys::fuzz_target!(|body: &[u8]| {
    aiops_observe::testing::check_by_name("otlp_traces_json", body);
});
