//! Command line options of an area: flags, values, lists, and an error for what nobody asked for.

use crate::registry::Result;

/// The words after the area's name, taken out one option at a time.
#[derive(Debug)]
pub(crate) struct Args {
    words: Vec<String>,
}

impl Args {
    pub(crate) fn new(words: Vec<String>) -> Self {
        Self { words }
    }

    /// Whether `name` was given; takes it out.
    pub(crate) fn flag(&mut self, name: &str) -> bool {
        let before = self.words.len();
        self.words.retain(|word| word != name);
        self.words.len() < before
    }

    /// The value of `--name VALUE` or `--name=VALUE`; the last one wins.
    pub(crate) fn value(&mut self, name: &str) -> Result<Option<String>> {
        Ok(self.values(name)?.pop())
    }

    /// Every value of a repeated option, `--name A --name B`.
    pub(crate) fn values(&mut self, name: &str) -> Result<Vec<String>> {
        let mut found = Vec::new();
        let mut rest = Vec::new();
        let mut words = std::mem::take(&mut self.words).into_iter();
        while let Some(word) = words.next() {
            if word == name {
                found.push(words.next().ok_or_else(|| format!("{name} needs a value"))?);
            } else if let Some(value) = word.strip_prefix(name).and_then(|w| w.strip_prefix('=')) {
                found.push(value.to_owned());
            } else {
                rest.push(word);
            }
        }
        self.words = rest;
        Ok(found)
    }

    /// A list option: `--name A,B`, `--name A --name B` or both. Empty when it was not given.
    pub(crate) fn list(&mut self, name: &str) -> Result<Vec<String>> {
        let values = self.values(name)?;
        let parts = values.iter().flat_map(|value| value.split(','));
        Ok(parts.map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect())
    }

    /// The words that are no option, taken out: file names, further list items.
    #[allow(dead_code, reason = "for areas with positional arguments")]
    pub(crate) fn positional(&mut self) -> Vec<String> {
        let (positional, rest) =
            std::mem::take(&mut self.words).into_iter().partition(|word| !word.starts_with("--"));
        self.words = rest;
        positional
    }

    /// Complains about anything left over: a misspelt option must not be ignored.
    pub(crate) fn finish(self) -> Result<()> {
        match self.words.first() {
            None => Ok(()),
            Some(word) => {
                Err(format!("unknown argument {word:?}; --help lists the options").into())
            }
        }
    }
}
