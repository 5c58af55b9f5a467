//! Snappy blocks, within limits.

use crate::{Error, Limits, Result};

/// Decompresses into a buffer that is kept.
#[derive(Default)]
pub(super) struct Snappy {
    decoder: snap::raw::Decoder,
    body: Vec<u8>,
}

impl std::fmt::Debug for Snappy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snappy").field("capacity", &self.body.capacity()).finish()
    }
}

impl Snappy {
    pub(super) fn decompress(
        &mut self,
        format: &'static str,
        block: &[u8],
        limits: &Limits,
    ) -> Result<&[u8]> {
        let malformed = |error: snap::Error| Error::Malformed {
            format,
            offset: 0,
            reason: format!("not a snappy block: {error}"),
            before: Box::default(),
        };
        limits.check_body(format, block.len())?;
        // The block says how long it will be; believe it only within the limit.
        let len = snap::raw::decompress_len(block).map_err(malformed)?;
        limits.check_body(format, len)?;
        // Only ever grown: clearing would pay for zeroing the buffer on every body.
        if self.body.len() < len {
            self.body.resize(len, 0);
        }
        let written = self.decoder.decompress(block, &mut self.body).map_err(malformed)?;
        Ok(&self.body[..written])
    }
}
