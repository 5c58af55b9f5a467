//! Stable 64-bit identities: the one place where canonical bytes are hashed.
//!
//! Everything that outlives the process (shards, snapshots, alert ids) is named by such a hash, so
//! the bytes below are a format: changing them means a new [`HASH_VERSION`], never an edit.

use xxhash_rust::xxh3::Xxh3;

/// Version of the canonical bytes; part of every hash.
pub const HASH_VERSION: u8 = 1;

/// Feeds fields to a hash so that no two different field lists give the same bytes.
///
/// Each field is preceded by its length. Joining with a separator instead would let a label value
/// that contains the separator imitate two labels.
pub(crate) struct CanonicalHasher(Xxh3);

impl CanonicalHasher {
    /// `domain` keeps equal fields of different nouns apart.
    pub(crate) fn new(domain: &str) -> Self {
        let mut hasher = CanonicalHasher(Xxh3::new());
        hasher.0.update(&[HASH_VERSION]);
        hasher.text(domain)
    }

    pub(crate) fn text(self, text: &str) -> Self {
        self.bytes(text.as_bytes())
    }

    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.update(&(bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
        self
    }

    pub(crate) fn number(mut self, number: u64) -> Self {
        self.0.update(&number.to_le_bytes());
        self
    }

    pub(crate) fn finish(&self) -> u64 {
        self.0.digest()
    }
}

/// Declares a 64-bit identity that reads and serialises as 16 hexadecimal digits.
///
/// Text, because JavaScript and many JSON tools round integers above 2^53 and would silently
/// confuse two ids.
macro_rules! hash_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(u64);

        impl $name {
            /// From a value that [`Self::as_u64`] gave.
            pub const fn from_u64(value: u64) -> Self {
                $name(value)
            }

            /// The raw 64 bits.
            pub const fn as_u64(self) -> u64 {
                self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{:016x}", self.0)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!(stringify!($name), "({:016x})"), self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                // from_str_radix alone would accept a sign and fewer digits.
                if text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit()) {
                    if let Ok(value) = u64::from_str_radix(text, 16) {
                        return Ok($name(value));
                    }
                }
                Err($crate::Error::malformed(
                    stringify!($name),
                    format!("expected 16 hexadecimal digits, got {text:?}"),
                ))
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str> as serde::Deserialize>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use hash_id;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_separator_inside_a_field_imitates_nothing() {
        let joined = CanonicalHasher::new("t").text("a,b").finish();
        let apart = CanonicalHasher::new("t").text("a").text("b").finish();
        assert_ne!(joined, apart);
        assert_ne!(
            CanonicalHasher::new("t").text("ab").text("").finish(),
            CanonicalHasher::new("t").text("a").text("b").finish()
        );
    }
}
