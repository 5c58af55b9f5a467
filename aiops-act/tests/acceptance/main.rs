//! The acceptance tests: one module for each of the twenty-seven, and the loop as a whole.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod a01_crash_at_every_write;
mod a02_crash_between_effect_and_result;
mod a05_late_approval;
mod a06_approval_misuse;
mod a07_world_moved_while_waiting;
mod a08_low_confidence;
mod a09_empty_targets;
mod a11_group_already_sick;
mod a12_gets_worse;
mod a13_rollback_fails_midway;
mod a24_broken_executors;
mod a25_dry_run;
mod a27_trust_ledger;
mod common;
mod the_whole_loop;
