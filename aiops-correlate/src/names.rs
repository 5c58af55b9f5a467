//! Interned words: services, alert names and hosts as dense numbers (crate-private).

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

/// Word to number and back. Numbers are dense and never reused.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(from = "Vec<Box<str>>", into = "Vec<Box<str>>")]
pub(crate) struct Names {
    words: Vec<Box<str>>,
    numbers: FxHashMap<Box<str>, u32>,
}

impl From<Vec<Box<str>>> for Names {
    fn from(words: Vec<Box<str>>) -> Self {
        let numbers = words.iter().cloned().zip(0..).collect();
        Names { words, numbers }
    }
}

impl From<Names> for Vec<Box<str>> {
    fn from(names: Names) -> Self {
        names.words
    }
}

impl Names {
    pub(crate) fn intern(&mut self, word: &str) -> u32 {
        if let Some(number) = self.numbers.get(word) {
            return *number;
        }
        let number = u32::try_from(self.words.len()).expect("fewer than 2^32 different words");
        self.words.push(word.into());
        self.numbers.insert(word.into(), number);
        number
    }

    /// The number of a word that was interned.
    pub(crate) fn number(&self, word: &str) -> Option<u32> {
        self.numbers.get(word).copied()
    }

    /// The word; empty for a number that was never given out.
    pub(crate) fn word(&self, number: u32) -> &str {
        self.words.get(number as usize).map_or("", |word| word)
    }

    pub(crate) fn len(&self) -> usize {
        self.words.len()
    }

    #[cfg(test)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        self.words.iter().map(|word| &**word)
    }
}
