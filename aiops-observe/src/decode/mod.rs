//! Decoders, one file a format.

mod csv;
mod json_lines;
mod remote_write_v1;
mod snappy;

pub use csv::{CsvColumn, CsvSamples};
pub use json_lines::JsonLines;
pub use remote_write_v1::RemoteWriteV1;
