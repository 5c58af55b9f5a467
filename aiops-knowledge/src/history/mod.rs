//! Metric history in tiers, for root-cause analysis, backtests and training.
//!
//! | tier | what | where | how long by default |
//! | --- | --- | --- | --- |
//! | hot | points of blocks that still take some | memory, and a local log | the block, 2 h |
//! | warm | sealed blocks in compressed columns | Parquet in a local folder | 7 d |
//! | cold | the same, and roll-ups of 5 minutes | Parquet on a [`Shelf`]: a folder, or S3 (feature `s3`) | points 30 d, roll-ups 1 y |
//!
//! Blocks are cut by tenant and time, files within a block by series hash, all visible in the paths
//! (`raw/tenant=acme/day=2026-11-24/points-...`), so that any Parquet tool finds its way:
//!
//! ```sql
//! -- DuckDB
//! select name, avg(value) from 'warm/raw/*/*/points-*.parquet'
//!   join 'warm/raw/*/*/series-*.parquet' using (series) group by name;
//! ```
//!
//! ```
//! use aiops_core::{Interner, Labels, SampleBatch, SeriesKey, Timestamp};
//! use aiops_knowledge::history::{History, HistoryConfig, Shelf};
//!
//! let folder = tempfile::tempdir()?;
//! let cold = Shelf::folder(folder.path().join("cold"))?;
//! let mut history = History::open(folder.path(), cold, HistoryConfig::default())?;
//!
//! let mut series = Interner::new(1_000);
//! let key = SeriesKey::new("cpu", Labels::from([("service", "api")]));
//! let start = Timestamp::from_secs(1_700_000_000);
//! let id = series.intern(&key, start)?;
//! let appended = history.append(start, &series, SampleBatch::new(&[id], &[start], &[0.25])?)?;
//! assert_eq!(appended.accepted, 1);
//!
//! // Three hours later the block is a Parquet file, and reads as before.
//! let later = Timestamp::from_secs(1_700_010_800);
//! assert_eq!(history.tend(later)?.sealed_points, 1);
//! let found = history.points(&[key], start, later)?;
//! assert_eq!(found.items[0][0].value, 0.25);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Encoding
//! Chosen for each file by its values: a dictionary where they come back (rounded gauges, counts,
//! states), byte-stream-split where they do not, zstd over both. Times are milliseconds where all of
//! them are, nanoseconds otherwise. The formulas and figures are in `docs/benchmarks/observe.md`.
//!
//! # Damage
//! Every file carries the checksum of its content in its name. A file that does not match is moved
//! to `quarantine/` and named in what the call returns; the rest is read as if it were not there.
//!
//! # When not to use it
//! For queries over very many series and long ranges: point DataFusion or DuckDB at the files.
//! One process at a time may write.

mod block;
mod catalogue;
mod config;
mod driver;
mod error;
mod log;
mod part;
mod rollup;
mod shelf;
mod table;

pub use config::{HistoryConfig, Retention};
pub use driver::{Appended, Found, History, Recovered, Tended};
pub use error::HistoryError;
pub use rollup::Rollup;
pub use shelf::Shelf;
