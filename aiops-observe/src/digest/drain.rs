//! Log lines to templates: `user 17 logged in` and `user 23 logged in` are one.

use crate::{Error, Result};
use aiops_core::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Settings of the template miner.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DrainConfig {
    /// Share of a template's words that a line must have at their places to belong to it, 0 to 1.
    /// Default 0.5, the paper's value for most of its sets.
    pub similarity: f64,
    /// Leading words without a digit by which templates are sorted into leaves. Default 1 (depth 4 of
    /// the implementation drain3, which counts the root, the length and the leaf).
    pub depth: usize,
    /// Templates kept at most. Lines that would need another one belong to the template `other`.
    /// Default 2,000, about 4 MB at worst.
    pub max_templates: usize,
    /// Templates of one leaf at most: each is compared with every line that comes to the leaf. Default
    /// 100, as in the authors' implementation.
    pub max_in_leaf: usize,
    /// Words of a line that are looked at; what follows does not tell lines apart. Default 64.
    pub max_words: usize,
    /// Bytes of a line that are looked at. Default 1,024.
    pub max_line_bytes: usize,
}

impl Default for DrainConfig {
    fn default() -> Self {
        DrainConfig {
            similarity: 0.5,
            depth: 1,
            max_templates: 2_000,
            max_in_leaf: 100,
            max_words: 64,
            max_line_bytes: 1_024,
        }
    }
}

impl DrainConfig {
    pub(super) fn build(self) -> Result<Drain> {
        if !(0.0..=1.0).contains(&self.similarity) {
            let reason = format!("must be 0 to 1, got {}", self.similarity);
            return Err(Error::config("drain.similarity", reason));
        }
        for (field, limit) in [
            ("drain.max_templates", self.max_templates),
            ("drain.max_in_leaf", self.max_in_leaf),
            ("drain.max_words", self.max_words),
            ("drain.max_line_bytes", self.max_line_bytes),
        ] {
            if limit == 0 {
                return Err(Error::config(field, "must be above zero"));
            }
        }
        Ok(Drain { config: self, leaves: BTreeMap::new(), live: 0, found: 0 })
    }
}

/// A template's name: the hash of its text when it was first seen. It stays when the template becomes
/// more general, and is the same in every process that first sees the same line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TemplateId(pub u64);

impl TemplateId {
    /// What lines that found no room belong to.
    pub const OTHER: TemplateId = TemplateId(0);
}

impl fmt::Display for TemplateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            TemplateId::OTHER => f.write_str("other"),
            TemplateId(hash) => write!(f, "{hash:016x}"),
        }
    }
}

/// A template and how often it was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// Its name.
    pub id: TemplateId,
    /// Its words, `*` where they differ.
    pub text: String,
    /// Lines so far.
    pub lines: u64,
}

/// Drain: a tree of fixed depth (length, then leading words), and in its leaves templates that are
/// compared word by word.
///
/// A line costs a hash of its leading words and a comparison with each template of its leaf.
///
/// Source: P. He, J. Zhu, Z. Zheng, M. R. Lyu, "Drain: An Online Log Parsing Approach with Fixed Depth
/// Tree", ICWS 2017, section III. Deviations: words with a digit are variable from the start, in the
/// template too, where the paper leaves that to regular expressions of the user; they are skipped on the
/// way to the leaf, so that lines which begin with a time do not all meet in one; a line that is a
/// template word for word belongs to it, however many words are variable; the tree is one map from the
/// hash of the path to the leaf, so that not its nodes but its leaves have a limit of children; the
/// number of templates is bounded; lines are cut.
#[derive(Debug)]
pub(super) struct Drain {
    config: DrainConfig,
    /// By the hash of length and leading words; two that fall together only share a list. Not a hash
    /// map: its keys are chosen by senders.
    leaves: BTreeMap<u64, Vec<Known>>,
    live: usize,
    found: u64,
}

#[derive(Debug)]
struct Known {
    id: TemplateId,
    /// `None` where they differ.
    words: Vec<Option<Box<str>>>,
    lines: u64,
    /// How many were found before it.
    number: u64,
    seen: Timestamp,
}

impl Drain {
    /// The template of a line; it becomes more general if it must.
    pub(super) fn learn(&mut self, line: &str, now: Timestamp) -> TemplateId {
        let line = &line[..line.floor_char_boundary(self.config.max_line_bytes)];
        let words = line.split_ascii_whitespace().take(self.config.max_words);
        let words: Vec<_> = words.map(constant).collect();
        let path = path(words.iter().flatten().take(self.config.depth), words.len());
        let leaf = self.leaves.get_mut(&path).map(Vec::as_mut_slice).unwrap_or_default();
        // The most equal words win; among those the template with more variables, as in the paper.
        let similar = |known: &&mut Known| known.similar(&words, self.config.similarity);
        if let Some(known) =
            leaf.iter_mut().filter(|k| similar(k)).max_by_key(|k| k.likeness(&words))
        {
            known.join(&words);
            (known.lines, known.seen) = (known.lines + 1, now);
            return known.id;
        }
        if leaf.len() >= self.config.max_in_leaf || self.live >= self.config.max_templates {
            return TemplateId::OTHER;
        }
        let id = TemplateId(xxh3_64_with_seed(text(words.iter().copied()).as_bytes(), 0).max(1));
        let words = words.into_iter().map(|word| word.map(Box::from)).collect();
        let known = Known { id, words, lines: 1, number: self.found, seen: now };
        self.leaves.entry(path).or_default().push(known);
        self.live += 1;
        self.found += 1;
        id
    }

    /// Forgets templates that were last seen before a time.
    pub(super) fn forget(&mut self, before: Timestamp) {
        self.leaves.retain(|_, leaf| {
            let known = leaf.len();
            leaf.retain(|known| known.seen >= before);
            self.live -= known - leaf.len();
            !leaf.is_empty()
        });
    }

    /// Every template, in the order of discovery.
    pub(super) fn templates(&self) -> Vec<Template> {
        let mut known: Vec<_> = self.leaves.values().flatten().collect();
        known.sort_by_key(|known| known.number);
        let words = |known: &Known| text(known.words.iter().map(Option::as_deref));
        let template = |k: &Known| Template { id: k.id, text: words(k), lines: k.lines };
        known.into_iter().map(template).collect()
    }
}

impl Known {
    /// Equal words, then variables.
    fn likeness(&self, words: &[Option<&str>]) -> (usize, usize) {
        let equal =
            self.words.iter().zip(words).filter(|(a, b)| a.is_some() && a.as_deref() == **b);
        (equal.count(), self.words.iter().filter(|word| word.is_none()).count())
    }

    /// A line that founded a template is similar to it for ever: the words that are left of it are at
    /// least the share that the last line had, which was similar.
    fn similar(&self, words: &[Option<&str>], share: f64) -> bool {
        let known = self.words.iter().map(Option::as_deref);
        let enough = self.likeness(words).0 as f64 >= share * words.len() as f64;
        self.words.len() == words.len() && (enough || known.eq(words.iter().copied()))
    }

    fn join(&mut self, words: &[Option<&str>]) {
        for (known, word) in self.words.iter_mut().zip(words) {
            if known.as_deref() != *word {
                *known = None;
            }
        }
    }
}

/// The word, unless it is variable: one that holds a digit.
fn constant(word: &str) -> Option<&str> {
    (!word.bytes().any(|byte| byte.is_ascii_digit())).then_some(word)
}

fn path<'a>(leading: impl Iterator<Item = &'a &'a str>, words: usize) -> u64 {
    leading.fold(words as u64, |path, word| xxh3_64_with_seed(word.as_bytes(), path))
}

fn text<'a>(words: impl Iterator<Item = Option<&'a str>>) -> String {
    words.map(|word| word.unwrap_or("*")).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(60);

    fn drain(config: DrainConfig) -> Drain {
        config.build().unwrap()
    }

    #[test]
    fn lines_become_templates() {
        let mut drain = drain(DrainConfig::default());
        let ids = [
            "user 17 logged in from 10.0.0.1",
            "user 23 logged in from 10.0.0.2",
            "connection to db-1 lost after 3 retries",
            "user 17 logged out from 10.0.0.1",
            "connection to db-2 lost after 9 retries",
            "starting",
        ]
        .map(|line| drain.learn(line, NOW));
        assert_eq!(ids[0], ids[1]);
        assert_eq!(ids[2], ids[4]);
        assert_eq!(ids[0], ids[3], "three of six words are half");
        let texts = drain.templates().into_iter().map(|t| (t.text, t.lines));
        let expected = [
            ("user * logged * from *", 3),
            ("connection to * lost after * retries", 2),
            ("starting", 1),
        ];
        assert!(texts.eq(expected.map(|(text, lines)| (text.to_owned(), lines))));
    }

    #[test]
    fn a_template_keeps_its_name_and_their_number_is_bounded() {
        let mut drain = drain(DrainConfig { max_templates: 2, ..DrainConfig::default() });
        let first = drain.learn("cache miss for alpha", NOW);
        assert_eq!(drain.learn("cache miss for beta", NOW), first);
        assert_ne!(drain.learn("one", NOW), first);
        assert_eq!(drain.learn("two words", NOW), TemplateId::OTHER);
        assert_eq!(drain.learn("cache miss for gamma", NOW), first);
        assert_eq!(drain.leaves.len(), 2, "a line without a template leaves nothing behind");
        drain.forget(NOW);
        assert_eq!(drain.templates().len(), 2, "seen at that very time");
        drain.learn("one", Timestamp::from_secs(70));
        drain.forget(Timestamp::from_secs(61));
        assert_eq!((drain.templates().len(), drain.leaves.len()), (1, 1));
        assert_ne!(drain.learn("two words", NOW), TemplateId::OTHER, "there is room again");
    }

    #[test]
    fn a_hostile_line_is_cut() {
        let mut drain = drain(DrainConfig { max_line_bytes: 10, ..DrainConfig::default() });
        drain.learn(&"ü".repeat(1 << 20), NOW);
        drain.learn(&"x ".repeat(1 << 20), NOW);
        assert_eq!(drain.templates()[0].text, "ü".repeat(5));
        assert_eq!(drain.templates()[1].text, "x x x x x");
        // Words that never repeat and stand behind the leading ones share a leaf.
        let mut drain = self::drain(DrainConfig { max_in_leaf: 3, ..DrainConfig::default() });
        for word in ["a", "b", "c", "d", "e"] {
            drain.learn(&format!("one two {word} {word}x {word}y"), NOW);
        }
        assert_eq!(drain.templates().len(), 3);
    }

    #[test]
    fn two_templates_never_share_a_name() {
        // The most equal template is not similar enough; the one that this line founded is.
        let mut drain = drain(DrainConfig { depth: 0, similarity: 0.6, ..DrainConfig::default() });
        for line in ["a b c d e", "a b c x y", "a q c x y", "a q r x y", "a b c d e", "z q r d e"] {
            drain.learn(line, NOW);
        }
        let mut ids: Vec<_> = drain.templates().iter().map(|t| t.id).collect();
        ids.sort();
        let all = ids.len();
        ids.dedup();
        assert_eq!(ids.len(), all);
    }
}
