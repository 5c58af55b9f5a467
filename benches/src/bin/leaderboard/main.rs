//! One registry of measurements, one file an area.
fn main() {}
