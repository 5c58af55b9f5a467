//! How a value stands on disk: format 1 is `version u64 LE, xxh3-64 of (place, version, value) LE,
//! value`. The place is hashed too, so that a page which ends up under another key is noticed.

use aiops_core::{StoreError, Version, Versioned};
use xxhash_rust::xxh3::Xxh3;

const HEADER: usize = 16;

pub(crate) fn encode(place: &[u8], version: Version, value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + value.len());
    bytes.extend_from_slice(&version.to_le_bytes());
    bytes.extend_from_slice(&checksum(place, version, value).to_le_bytes());
    bytes.extend_from_slice(value);
    bytes
}

pub(crate) fn decode(place: &[u8], bytes: &[u8]) -> Result<Versioned, StoreError> {
    let damaged = |what: &str| StoreError::Damaged {
        reason: format!("{what} under {:?}", String::from_utf8_lossy(place)),
    };
    let (version, rest) = bytes.split_first_chunk().ok_or_else(|| damaged("a cut value"))?;
    let (found, value) = rest.split_first_chunk().ok_or_else(|| damaged("a cut value"))?;
    let version = u64::from_le_bytes(*version);
    if u64::from_le_bytes(*found) != checksum(place, version, value) {
        return Err(damaged("a value that does not match its checksum"));
    }
    Ok(Versioned { version, value: value.to_vec() })
}

fn checksum(place: &[u8], version: Version, value: &[u8]) -> u64 {
    let mut hasher = Xxh3::new();
    hasher.update(&(place.len() as u64).to_le_bytes());
    hasher.update(place);
    hasher.update(&version.to_le_bytes());
    hasher.update(value);
    hasher.digest()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flipped_bit_a_cut_and_another_place_are_noticed() {
        let good = encode(b"k", 7, b"value");
        assert_eq!(decode(b"k", &good).unwrap(), Versioned { version: 7, value: b"value".into() });
        assert!(decode(b"j", &good).is_err());
        for len in 0..good.len() {
            assert!(decode(b"k", &good[..len]).is_err());
        }
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(b"k", &bad).is_err());
        }
    }
}
