//! Secrets: values that nothing prints, serialises or journals.
//!
//! A document or a parameter only ever holds a reference, `secret://name`. The value exists
//! between a [`SecretSource`] and an executor, in a [`Secret`], whose `Debug` shows nothing and
//! which has no `Display` and no `Serialize`. What an executor returns goes through a
//! [`Redactor`], which knows the values themselves: masking by declared name misses the copy in an
//! error message.

use std::collections::BTreeMap;
use std::fmt;

use zeroize::Zeroizing;

/// How a reference begins.
pub const SCHEME: &str = "secret://";

/// Whether `text` is a reference to a secret: `secret://` and a name.
#[must_use]
pub fn is_reference(text: &str) -> bool {
    text.strip_prefix(SCHEME).is_some_and(|name| {
        !name.is_empty()
            && name.len() <= 128
            && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c))
    })
}

/// A secret value; its memory is wiped when it is dropped.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes a value in.
    #[must_use]
    pub fn new(value: String) -> Secret {
        Secret(Zeroizing::new(value))
    }

    /// The value. Hand it to the system it opens, and to nothing else.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Where executors get secrets from, by name.
pub trait SecretSource: Send + Sync {
    /// The secret of that name (without `secret://`), if there is one.
    fn secret(&self, name: &str) -> Option<Secret>;
}

/// Secrets in memory, for tests and small services.
#[derive(Debug, Clone, Default)]
pub struct StaticSecrets(BTreeMap<String, Secret>);

impl StaticSecrets {
    /// No secrets.
    #[must_use]
    pub fn new() -> StaticSecrets {
        StaticSecrets::default()
    }

    /// Adds one.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> StaticSecrets {
        self.0.insert(name.to_owned(), Secret::new(value.to_owned()));
        self
    }
}

impl SecretSource for StaticSecrets {
    fn secret(&self, name: &str) -> Option<Secret> {
        self.0.get(name).cloned()
    }
}
