//! Gzip, within limits.

use crate::{Error, Limits, Result};
use flate2::bufread::MultiGzDecoder;
use std::io::Read;

/// Decompresses what is compressed into a buffer that is kept, and passes on what is not.
#[derive(Debug, Default)]
pub(crate) struct Gzip {
    body: Vec<u8>,
}

impl Gzip {
    pub(crate) fn decompress<'a>(
        &'a mut self,
        format: &'static str,
        body: &'a [u8],
        limits: &Limits,
    ) -> Result<&'a [u8]> {
        limits.check_body(format, body.len())?;
        // No other format here begins like this: 0x1f is a reserved kind of protobuf field, and no JSON.
        if !body.starts_with(&[0x1f, 0x8b]) {
            return Ok(body);
        }
        self.body.clear();
        // One byte more than allowed tells "exactly full" from "more to come".
        let mut reader = MultiGzDecoder::new(body).take(limits.body_bytes as u64 + 1);
        reader.read_to_end(&mut self.body).map_err(|error| Error::Malformed {
            format,
            offset: 0,
            reason: format!("not gzip: {error}"),
            before: Box::default(),
        })?;
        limits.check_body(format, self.body.len())?;
        Ok(&self.body)
    }
}
