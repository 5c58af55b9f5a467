//! The vocabulary of the aiops crate family: series, alerts, incidents, topology, stores
