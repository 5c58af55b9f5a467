//! Patterns of rules: text in which `*` stands for anything.

use serde::{Deserialize, Serialize};

/// Text in which `*` stands for any run of characters, the empty one included. Matches whole names.
///
/// ```
/// use aiops_observe::Pattern;
/// assert!(Pattern::from("pg_*_seconds").matches("pg_wal_sync_seconds"));
/// assert!(!Pattern::from("pg_*").matches("go_pg_pool"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pattern(String);

impl From<&str> for Pattern {
    fn from(text: &str) -> Self {
        Pattern(text.to_owned())
    }
}

impl Default for Pattern {
    /// Anything.
    fn default() -> Self {
        Pattern("*".into())
    }
}

impl Pattern {
    /// Whether the whole of `text` has this form. Time O(pattern x text) at worst.
    pub fn matches(&self, text: &str) -> bool {
        let (pattern, text) = (self.0.as_bytes(), text.as_bytes());
        let (mut p, mut t) = (0, 0);
        // After the latest star: what it has swallowed can only grow.
        let mut retry = None;
        while t < text.len() {
            match pattern.get(p) {
                Some(b'*') => {
                    retry = Some((p + 1, t));
                    p += 1;
                }
                Some(&byte) if byte == text[t] => (p, t) = (p + 1, t + 1),
                _ => match &mut retry {
                    Some((after, from)) => {
                        *from += 1;
                        (p, t) = (*after, *from);
                    }
                    None => return false,
                },
            }
        }
        pattern[p..].iter().all(|&byte| byte == b'*')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_backtrack() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("a*b*c", "aXbXbXc", true),
            ("a*b*c", "aXbXbX", false),
            ("*ab", "aab", true),
            ("*.total", "requests.total", true),
            ("a", "ab", false),
        ] {
            assert_eq!(Pattern::from(pattern).matches(text), expected, "{pattern} on {text}");
        }
    }
}
