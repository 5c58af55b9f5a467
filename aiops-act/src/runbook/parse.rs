//! Bytes to a [`Document`]: strict, bounded, and precise about what is wrong where.
//!
//! One parser reads YAML and JSON (JSON is a subset of YAML 1.2), so both get the same limits, the
//! same refusal of duplicate keys and the same positions in errors. Duplicate keys, aliases that
//! multiply, deep nesting, `yes`/`no` as booleans, merge keys, several documents and unknown
//! fields are all errors.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Error as YamlError, Spanned};

use super::schema::Document;

/// Largest document, in bytes.
pub const MAX_DOCUMENT: usize = 256 * 1024;

/// What is wrong with a document, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{at}{path}: {reason}{hint}", at = At(self), path = PathOr(self), hint = Hint(self))]
pub struct DocumentError {
    /// Line, from 1; 0 when the document could not be read at all.
    pub line: u64,
    /// Column, from 1; 0 when the document could not be read at all.
    pub column: u64,
    /// Where in the document, such as `steps[2].with.url`; empty for the document as a whole.
    pub path: String,
    /// What is wrong.
    pub reason: String,
    /// What may have been meant.
    pub did_you_mean: Option<String>,
}

struct At<'a>(&'a DocumentError);

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.line {
            0 => Ok(()),
            line => write!(f, "line {line}, column {}: ", self.0.column),
        }
    }
}

struct PathOr<'a>(&'a DocumentError);

impl fmt::Display for PathOr<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.path.is_empty() { "document" } else { &self.0.path })
    }
}

struct Hint<'a>(&'a DocumentError);

impl fmt::Display for Hint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.did_you_mean {
            Some(name) => write!(f, "; did you mean `{name}`?"),
            None => Ok(()),
        }
    }
}

impl DocumentError {
    /// An error of the document as a whole.
    pub(crate) fn whole(reason: impl Into<String>) -> DocumentError {
        DocumentError {
            line: 0,
            column: 0,
            path: String::new(),
            reason: reason.into(),
            did_you_mean: None,
        }
    }

    /// An error at `path`, whose position [`locate`] fills in.
    pub(crate) fn at(path: impl Into<String>, reason: impl Into<String>) -> DocumentError {
        DocumentError { path: path.into(), ..DocumentError::whole(reason) }
    }
}

/// Reads a document without checking what its fields mean together.
///
/// # Errors
/// Not UTF-8, larger than [`MAX_DOCUMENT`], not YAML or JSON, beyond the parser's budgets, or not
/// of the schema.
pub(crate) fn parse(bytes: &[u8]) -> Result<Document, DocumentError> {
    let text = check_bytes(bytes)?;
    let mut track = serde_path_to_error::Track::new();
    serde_saphyr::with_deserializer_from_str_with_options(text, options(), |de| {
        Document::deserialize(serde_path_to_error::Deserializer::new(de, &mut track))
    })
    .map_err(|error| describe(&error, &track.path().to_string()))
}

/// Fills in the line and column of `error.path`, so that an error found after parsing points to
/// the same place as one found while parsing. A path that is not in the document (a missing
/// field) points to its closest parent.
pub(crate) fn locate(bytes: &[u8], mut error: DocumentError) -> DocumentError {
    let Ok(text) = check_bytes(bytes) else { return error };
    let tree: Result<Spanned<Tree>, _> = serde_saphyr::from_str_with_options(text, options());
    if let Ok(tree) = tree {
        let mut node = &tree;
        for segment in segments(&error.path) {
            match node.value.child(segment) {
                Some(child) => node = child,
                None => break,
            }
        }
        error.line = node.referenced.line();
        error.column = node.referenced.column();
    }
    error
}

fn check_bytes(bytes: &[u8]) -> Result<&str, DocumentError> {
    if bytes.len() > MAX_DOCUMENT {
        return Err(DocumentError::whole(format!(
            "the document has {} bytes, more than {MAX_DOCUMENT}",
            bytes.len()
        )));
    }
    std::str::from_utf8(bytes).map_err(|e| {
        DocumentError::whole(format!(
            "not UTF-8: the first {} bytes are, the next is not",
            e.valid_up_to()
        ))
    })
}

fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: 32,
            max_documents: 1,
            max_events: 50_000,
            max_nodes: 25_000,
            max_aliases: 256,
            max_anchors: 64,
            max_merge_keys: 0,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 10_000,
            max_replay_stack_depth: 4,
        },
        merge_keys: serde_saphyr::MergeKeyPolicy::Error,
        strict_booleans: true,
        with_snippet: false,
    }
}

fn describe(error: &YamlError, path: &str) -> DocumentError {
    let error = error.without_snippet();
    let place = error.location().filter(|l| l.line() > 0);
    let (reason, did_you_mean) = match error {
        YamlError::SerdeUnknownField { field, expected, .. } => {
            (format!("no field is called `{field}` here"), closest(field, expected))
        }
        YamlError::SerdeUnknownVariant { variant, expected, .. } => {
            let reason = format!("`{variant}` is none of {}", expected.join(", "));
            (reason, closest(variant, expected))
        }
        YamlError::DuplicateMappingKey { key: Some(key), .. } => {
            (format!("the key `{key}` is given twice"), None)
        }
        other => {
            let rendered = other.render();
            let text = rendered.split_whitespace().collect::<Vec<_>>().join(" ");
            // The renderer appends "at line L, column C", which we say ourselves, first.
            (text.split(" at line ").next().unwrap_or(&text).to_owned(), None)
        }
    };
    DocumentError {
        line: place.map_or(0, |l| l.line()),
        column: place.map_or(0, |l| l.column()),
        path: if path == "." { String::new() } else { path.to_owned() },
        reason,
        did_you_mean,
    }
}

/// The candidate closest to `word`, if one is close enough to be a slip.
pub(crate) fn closest<S: AsRef<str>>(word: &str, candidates: &[S]) -> Option<String> {
    // A long word is no slip, and comparing it with every candidate would cost time.
    let slip = word.len() <= 64;
    let found = || aiops_core::text::closest(word, candidates.iter().map(AsRef::as_ref));
    slip.then(found).flatten().map(str::to_owned)
}

/// `steps[2].with.url` as `steps`, `2`, `with`, `url`.
fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.split(['.', '[', ']']).filter(|s| !s.is_empty())
}

/// A document as positions only: what [`locate`] walks.
enum Tree {
    Map(Vec<(String, Spanned<Tree>)>),
    Seq(Vec<Spanned<Tree>>),
    Leaf,
}

impl Tree {
    fn child(&self, segment: &str) -> Option<&Spanned<Tree>> {
        match self {
            Tree::Map(entries) => entries.iter().find(|(k, _)| k == segment).map(|(_, v)| v),
            Tree::Seq(items) => items.get(segment.parse::<usize>().ok()?),
            Tree::Leaf => None,
        }
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Tree, D::Error> {
        struct TreeVisitor;

        impl<'de> Visitor<'de> for TreeVisitor {
            type Value = Tree;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any value")
            }
            fn visit_bool<E>(self, _: bool) -> Result<Tree, E> {
                Ok(Tree::Leaf)
            }
            fn visit_i64<E>(self, _: i64) -> Result<Tree, E> {
                Ok(Tree::Leaf)
            }
            fn visit_u64<E>(self, _: u64) -> Result<Tree, E> {
                Ok(Tree::Leaf)
            }
            fn visit_f64<E>(self, _: f64) -> Result<Tree, E> {
                Ok(Tree::Leaf)
            }
            fn visit_str<E>(self, _: &str) -> Result<Tree, E> {
                Ok(Tree::Leaf)
            }
            fn visit_unit<E>(self) -> Result<Tree, E> {
                Ok(Tree::Leaf)
            }
            fn visit_none<E>(self) -> Result<Tree, E> {
                Ok(Tree::Leaf)
            }
            fn visit_some<D: Deserializer<'de>>(self, de: D) -> Result<Tree, D::Error> {
                Tree::deserialize(de)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Tree, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Tree::Seq(items))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
                let mut entries = Vec::new();
                while let Some(key) = map.next_key::<String>()? {
                    entries.push((key, map.next_value()?));
                }
                Ok(Tree::Map(entries))
            }
            fn visit_enum<A: serde::de::EnumAccess<'de>>(self, data: A) -> Result<Tree, A::Error> {
                data.variant::<IgnoredAny>().map(|_| Tree::Leaf)
            }
        }

        deserializer.deserialize_any(TreeVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised_and_strangers_are_not() {
        let fields = ["timeout", "retry", "effect", "undo", "with"];
        assert_eq!(closest("timeuot", &fields).as_deref(), Some("timeout"));
        assert_eq!(closest("efect", &fields).as_deref(), Some("effect"));
        assert_eq!(closest("something", &fields), None);
        assert_eq!(closest(&"x".repeat(65), &fields), None);
    }
}
