//! Implementations of core's `Store`, and what they share.

mod group;
#[cfg(feature = "postgres")]
pub(crate) mod postgres;
mod record;
#[cfg(feature = "redb")]
pub(crate) mod redb;
