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

/// What stands where a secret was.
const REDACTED: &str = "[redacted]";

/// Removes secret values, and their base64 and URL forms, from texts.
///
/// Values shorter than four characters are not removed: they would take half of every text with them.
#[derive(Clone, Default)]
pub struct Redactor(Vec<Zeroizing<String>>);

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Redactor({} forms)", self.0.len())
    }
}

impl Redactor {
    /// A redactor for these secrets.
    #[must_use]
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a Secret>) -> Redactor {
        let mut forms = Vec::new();
        for secret in secrets {
            let value = secret.expose();
            if value.chars().count() < 4 {
                continue;
            }
            let json = serde_json::Value::from(value).to_string();
            forms.extend([
                value.to_owned(),
                url_encode(value, "-_.~"),
                url_encode(value, "-_.~!*'()"),
                json[1..json.len() - 1].to_owned(),
            ]);
            // Base64 of a text in which the secret stands at each of the three alignments: what does
            // not depend on its neighbours is the middle.
            for (skip, pad) in [(0, ""), (2, "\0"), (3, "\0\0")] {
                let encoded = base64(format!("{pad}{value}").as_bytes());
                let whole = (pad.len() + value.len()) / 3 * 4;
                if let Some(middle) = encoded.get(skip..whole).filter(|m| m.len() >= 4) {
                    forms.push(middle.to_owned());
                    forms.push(middle.replace('+', "-").replace('/', "_"));
                }
            }
        }
        // Longest first, so that a form inside another does not leave its rest behind.
        forms.sort_by(|a, b| b.len().cmp(&a.len()).then(a.cmp(b)));
        forms.dedup();
        Redactor(forms.into_iter().map(Zeroizing::new).collect())
    }

    /// The text without the secrets.
    #[must_use]
    pub fn text(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, form| match text.contains(form.as_str()) {
            true => text.replace(form.as_str(), REDACTED),
            false => text,
        })
    }

    /// The value without the secrets, in keys too.
    #[must_use]
    pub fn value(&self, value: serde_json::Value) -> serde_json::Value {
        use serde_json::Value;
        if self.0.is_empty() {
            return value;
        }
        match value {
            Value::String(text) => Value::String(self.text(&text)),
            Value::Array(items) => items.into_iter().map(|v| self.value(v)).collect(),
            Value::Object(map) => {
                map.into_iter().map(|(k, v)| (self.text(&k), self.value(v))).collect()
            }
            // A number may be a secret as well (a PIN).
            Value::Number(n) if self.0.iter().any(|form| **form == n.to_string()) => {
                Value::String(REDACTED.to_owned())
            }
            other => other,
        }
    }
}

/// The names of all references in a value.
pub(crate) fn references(value: &serde_json::Value, found: &mut Vec<String>) {
    use serde_json::Value;
    match value {
        Value::String(text) if is_reference(text) => found.push(text[SCHEME.len()..].to_owned()),
        Value::Array(items) => items.iter().for_each(|v| references(v, found)),
        Value::Object(map) => map.values().for_each(|v| references(v, found)),
        _ => {}
    }
}

/// Percent-encodes everything but letters, digits and `kept`.
fn url_encode(text: &str, kept: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || kept.as_bytes().contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// Base64 with padding (RFC 4648, section 4).
pub(crate) fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte))
            << (8 * (3 - chunk.len()));
        for place in 0..4 {
            if place <= chunk.len() {
                out.push(char::from(ALPHABET[(word >> (18 - 6 * place)) as usize & 63]));
            } else {
                out.push('=');
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_rfc_4648() {
        // Source: RFC 4648, section 10.
        for (text, encoded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(text.as_bytes()), encoded);
        }
    }

    #[test]
    fn a_secret_is_removed_in_every_form_and_at_every_alignment() {
        let secret = Secret::new("s3cr&t/ value\"+".to_owned());
        let redactor = Redactor::new([&secret]);
        let plain = secret.expose();
        for text in
            [plain.to_owned(), url_encode(plain, "-_.~"), serde_json::to_string(plain).unwrap()]
        {
            let out = redactor.text(&format!("before {text} after"));
            assert!(out.contains(REDACTED) && !out.contains("s3cr"), "{out}");
        }
        for before in ["", "x", "xy", "xyz"] {
            let encoded = base64(format!("{before}{plain} and more").as_bytes());
            assert!(redactor.text(&encoded).contains(REDACTED), "{before}");
        }
        let value = serde_json::json!({"s3cr&t/ value\"+": ["s3cr&t/ value\"+", 5]});
        assert_eq!(redactor.value(value), serde_json::json!({"[redacted]": ["[redacted]", 5]}));
        assert_eq!(format!("{secret:?}"), "Secret(..)");
        assert!(!format!("{redactor:?}").contains("s3cr"));
    }
}
