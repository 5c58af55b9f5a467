//! What a step gives back: a value, and a bounded piece of its text.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::canonical::{Digest, to_canonical_json};

/// Most bytes of text that a [`Clip`] keeps, and most bytes of a value.
pub const MAX_OUTPUT: usize = 64 * 1024;

/// What a step gave back.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Output {
    /// What `outputs` pointers read.
    #[serde(default)]
    pub value: Value,
    /// Its text, clipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<Clip>,
}

impl Output {
    /// A value without text.
    #[must_use]
    pub fn of(value: Value) -> Output {
        Output { value, log: None }
    }

    /// The same, with a value that is too large replaced by its size and hash: what is journaled
    /// has a limit, whatever the other side sends.
    #[must_use]
    pub fn bounded(mut self) -> Output {
        let size = to_canonical_json(&self.value);
        if size.len() > MAX_OUTPUT {
            self.value = serde_json::json!({
                "too_large": size.len(), "sha256": Digest::of_bytes(size.as_bytes()),
            });
        }
        self
    }
}

/// The beginning and the end of a text, with its full length and hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clip {
    /// The first part, all of a short text.
    pub head: String,
    /// The last part, when something between was left out.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub tail: String,
    /// Bytes in all.
    pub bytes: u64,
    /// Hash of all bytes.
    pub sha256: Digest,
}

/// Collects a [`Clip`] from a stream in constant memory.
#[derive(Debug)]
pub struct Clipper {
    head: Vec<u8>,
    tail: std::collections::VecDeque<u8>,
    bytes: u64,
    hash: Sha256,
    half: usize,
}

impl Clipper {
    /// Keeps at most `limit` bytes, half from the beginning and half from the end.
    #[must_use]
    pub fn new(limit: usize) -> Clipper {
        Clipper {
            head: Vec::new(),
            tail: std::collections::VecDeque::new(),
            bytes: 0,
            hash: Sha256::new(),
            half: limit / 2,
        }
    }

    /// Takes the next bytes.
    pub fn push(&mut self, mut bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.hash.update(bytes);
        let room = self.half.saturating_sub(self.head.len()).min(bytes.len());
        self.head.extend_from_slice(&bytes[..room]);
        bytes = &bytes[room..];
        if bytes.len() >= self.half {
            self.tail.clear();
            bytes = &bytes[bytes.len() - self.half..];
        }
        let over = (self.tail.len() + bytes.len()).saturating_sub(self.half);
        self.tail.drain(..over);
        self.tail.extend(bytes);
    }

    /// The clip. Bytes that are not UTF-8 become replacement characters.
    #[must_use]
    pub fn finish(mut self) -> Clip {
        let hash: [u8; 32] = self.hash.finalize().into();
        if self.bytes == (self.head.len() + self.tail.len()) as u64 {
            // Nothing was left out: one text, so that no character is cut in two.
            self.head.extend(self.tail.drain(..));
        }
        Clip {
            head: String::from_utf8_lossy(&self.head).into_owned(),
            tail: String::from_utf8_lossy(self.tail.make_contiguous()).into_owned(),
            bytes: self.bytes,
            sha256: Digest::from_bytes(hash),
        }
    }
}

impl Clip {
    /// Clips a text that is already in memory.
    #[must_use]
    pub fn of(text: &[u8]) -> Clip {
        let mut clipper = Clipper::new(MAX_OUTPUT);
        clipper.push(text);
        clipper.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_texts_are_whole_and_long_ones_keep_both_ends_and_their_hash() {
        let whole = Clip::of("grüße".as_bytes());
        assert_eq!((whole.head.as_str(), whole.tail.as_str(), whole.bytes), ("grüße", "", 7));
        let mut clipper = Clipper::new(8);
        for chunk in [&b"01"[..], b"23456789", b"abcdef"] {
            clipper.push(chunk);
        }
        let clip = clipper.finish();
        assert_eq!((clip.head.as_str(), clip.tail.as_str(), clip.bytes), ("0123", "cdef", 16));
        assert_eq!(clip.sha256, Digest::of_bytes(b"0123456789abcdef"));
    }

    #[test]
    fn a_value_that_is_too_large_is_replaced_by_its_size() {
        let large = Output::of(Value::String("x".repeat(MAX_OUTPUT)));
        assert_eq!(large.bounded().value["too_large"], MAX_OUTPUT + 2);
        let small = Output::of(Value::from(1));
        assert_eq!(small.clone().bounded(), small);
    }
}
