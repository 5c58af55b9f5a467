//! Nothing here: every story is an example of its own. Try `cargo run --example quickstart`.
//!
//! The README of the project and the manual of embedding are tested as part of this crate, which knows
//! all the others.

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

#[cfg(doctest)]
#[doc = include_str!("../../docs/embedding.md")]
struct Embedding;
