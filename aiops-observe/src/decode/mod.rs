//! Decoders, one file a format.

mod csv;
mod json_lines;

pub use csv::{CsvColumn, CsvSamples};
pub use json_lines::JsonLines;
