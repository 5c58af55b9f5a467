//! The incident lab: a small real system on loopback, broken on purpose and recorded.
//!
//! nginx is the gateway, [`api`] a small HTTP service with a PostgreSQL pool and a Redis cache,
//! and Prometheus with the usual exporters watches them once a second. `run.sh` beside this crate
//! starts and stops the processes and injects the faults; the binaries here are the parts that
//! Debian does not package:
//!
//! - `lab-api`, the service under observation ([`api`]);
//! - `lab-load`, a seeded open-loop client ([`load`]);
//! - `lab-proxy`, a TCP proxy whose delay can be set while it runs ([`proxy`]);
//! - `lab-exporter`, gateway, control-group and probe metrics ([`exporter`]);
//! - `lab`, which draws the plan of a take from its seed ([`plan`]) and writes the recording
//!   from Prometheus' own history ([`export`]).
//!
//! Not for production, and not a benchmark: everything listens on 127.0.0.1 and the numbers are
//! those of one shared machine. The recordings are described in `examples/data/README.md`.

pub mod api;
pub mod export;
pub mod exporter;
pub mod http;
pub mod load;
pub mod plan;
pub mod process;
pub mod proxy;
pub mod random;
