//! What one body may cost.

use crate::{Error, Result, Tally};
use serde::{Deserialize, Serialize};

/// The most that one body may contain. Whatever the bytes say, a binary decoder holds no more memory
/// than about twice `body_bytes`, and one that builds JSON values about twenty times.
///
/// The defaults are guesses with room: a Prometheus sender of 2.42 sends at most 500 samples or
/// about 100 KB a request, and an OpenTelemetry collector about 8,000 points, at most 4 MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Bytes of a body after decompression. Default 16 MiB.
    pub body_bytes: usize,
    /// Samples, alerts or events in a body. Default 1,000,000. What exceeds it ends the decoding.
    pub items: usize,
    /// Labels of one series or alert; one with more is rejected. Default 128.
    pub labels: usize,
    /// Bytes of one label name or value; a series or alert with a longer one is rejected. Default
    /// 4,096.
    pub label_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { body_bytes: 16 << 20, items: 1_000_000, labels: 128, label_bytes: 4_096 }
    }
}

impl Limits {
    pub(crate) fn check_body(&self, format: &'static str, got: usize) -> Result<()> {
        let limit = self.body_bytes;
        if got <= limit {
            return Ok(());
        }
        Err(Error::TooLarge { format, what: "body bytes", limit, got, before: Box::default() })
    }

    pub(crate) fn check_items(&self, format: &'static str, tally: &Tally) -> Result<()> {
        let (got, limit) = (tally.items() as usize, self.items);
        if got <= limit {
            return Ok(());
        }
        Err(Error::TooLarge { format, what: "items", limit, got, before: Box::new(tally.clone()) })
    }
}
