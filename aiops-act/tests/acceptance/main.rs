//! The acceptance tests: one module for each of the twenty-seven, and the loop as a whole.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;
mod the_whole_loop;
