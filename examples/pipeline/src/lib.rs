//! The reference pipeline.

pub mod recording;
