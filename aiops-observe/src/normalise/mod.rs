//! The normaliser: one schema behind all formats.

mod complete;
mod config;
mod counter;
mod declared;
mod enrich;
mod kind;
mod known;
mod pattern;
mod sender;
mod series;
mod service;
mod unit;
mod words;

pub use config::NormaliserConfig;
pub use enrich::MappingTable;
pub use kind::{KindRule, SeriesInfo};
pub use pattern::Pattern;
pub use sender::{NormalisingSink, Sender};
pub use series::{Normaliser, NormaliserCounts};
pub use service::{ServiceRule, Take};
