//! Identities of series in formats that spell them out in text.

use crate::{Declared, Limits, Rejection, WireLabels, WireSeries};

/// Labels written one after the other into bytes that serve as their identity, too.
///
/// Each name and each value is preceded by its length, so that no two lists of labels give the same
/// bytes. Reused from series to series: pushing allocates only until it has grown.
#[derive(Debug, Default)]
pub(crate) struct Identity {
    bytes: Vec<u8>,
}

const LENGTH: usize = size_of::<u32>();

impl Identity {
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
    }

    pub(crate) fn push(&mut self, name: &str, value: &str) {
        for text in [name, value] {
            // A body is never longer than 4 GiB; a text cut short by the cast could not be read back.
            self.bytes.extend_from_slice(&(text.len() as u32).to_le_bytes());
            self.bytes.extend_from_slice(text.as_bytes());
        }
    }

    pub(crate) fn series<'a>(&'a self, declared: Declared<'a>) -> WireSeries<'a> {
        WireSeries { identity: &self.bytes, labels: self, declared }
    }

    /// The labels, in the order they were pushed.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut rest = self.bytes.as_slice();
        let mut text = move || {
            let (length, after) = rest.split_first_chunk::<LENGTH>()?;
            let (text, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize)?;
            rest = after;
            std::str::from_utf8(text).ok()
        };
        std::iter::from_fn(move || Some((text()?, text()?)))
    }

    /// Whether number and length of the labels are within the limits; the name does not count.
    pub(crate) fn check(&self, limits: &Limits) -> Result<(), Rejection> {
        let mut count = 0;
        for (name, value) in self.iter() {
            if name.len() > limits.label_bytes || value.len() > limits.label_bytes {
                return Err(Rejection::LabelTooLong);
            }
            count += 1;
        }
        if count > limits.labels + 1 { Err(Rejection::TooManyLabels) } else { Ok(()) }
    }
}

impl WireLabels for Identity {
    fn visit(&self, each: &mut dyn FnMut(&str, &str)) -> Result<(), Rejection> {
        self.iter().for_each(|(name, value)| each(name, value));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_pushed_is_read_back() {
        let mut identity = Identity::default();
        identity.push("resource", "a");
        identity.push("", "grün\n");
        identity.push("x", "");
        let labels: Vec<_> = identity.iter().collect();
        assert_eq!(labels, [("resource", "a"), ("", "grün\n"), ("x", "")]);
        identity.clear();
        assert_eq!(identity.iter().count(), 0);
    }

    #[test]
    fn limits_are_checked() {
        let mut identity = Identity::default();
        identity.push("__name__", "m");
        identity.push("a", "1234");
        let limits = |labels, label_bytes| Limits { labels, label_bytes, ..Limits::default() };
        assert_eq!(identity.check(&limits(1, 8)), Ok(()));
        assert_eq!(identity.check(&limits(0, 8)), Err(Rejection::TooManyLabels));
        assert_eq!(identity.check(&limits(1, 3)), Err(Rejection::LabelTooLong));
    }
}
