//! The acceptance tests: one module for each of the twenty-seven, and the loop as a whole.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod a01_crash_at_every_write;
mod a02_crash_between_effect_and_result;
mod a03_two_engines;
mod a05_late_approval;
mod a06_approval_misuse;
mod a07_world_moved_while_waiting;
mod a08_low_confidence;
mod a09_empty_targets;
mod a10_blast_radius;
mod a11_group_already_sick;
mod a12_gets_worse;
mod a13_rollback_fails_midway;
mod a14_storm;
mod a15_loop_guard;
mod a16_secret_canary;
mod a17_hostile_documents;
mod a18_process_limits;
mod a19_clock_jumps;
mod a20_store_failures;
mod a21_audit_tamper;
mod a22_notifiers;
mod a23_upgrade;
mod a24_broken_executors;
mod a25_dry_run;
mod a26_availability_drill;
mod a27_trust_ledger;
mod common;
mod corpus;
mod file_hands;
mod fine_print;
mod gates_table;
mod hostile_callers;
mod http_steps;
mod machine_table;
mod mail;
mod on_postgres;
mod on_redb;
#[path = "../../../aiops-knowledge/tests/support/postgres_server.rs"]
mod postgres_server;
mod remote_answers;
mod server;
mod shutdown;
mod simulator;
mod the_whole_loop;
