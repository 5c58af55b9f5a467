//! Settings of a [`Normaliser`].

use super::kind::KindRule;
use super::series::Normaliser;
use super::{MappingTable, ServiceRule};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How a [`Normaliser`] reads names, and how much it holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NormaliserConfig {
    /// The label that names the tenant, where one does; it is taken out of the labels. Without it,
    /// or where it is missing, the tenant is that of the [`Sender`](super::Sender). Default none: a label is
    /// whatever the sender says, so trust it only behind a proxy that sets it.
    pub tenant_label: Option<String>,
    /// How the service is found. Default [`ServiceRule::defaults`].
    pub services: Vec<ServiceRule>,
    /// What is known of metrics beyond the conventions. Default none.
    pub kinds: Vec<KindRule>,
    /// Labels to add. Applied in order, before the service is resolved and again after it, so that
    /// a table may give a service and another may look one up. Default none.
    pub tables: Vec<MappingTable>,
    /// Labels to leave out of every series: those that tell senders apart rather than series, such
    /// as `prometheus_replica`. Default none.
    pub drop_labels: Vec<String>,
    /// Labels that do not count for the fingerprint of an alert, beside `drop_labels`. Default none.
    pub fingerprint_ignores: Vec<String>,
    /// Live series of all tenants together. Default 2,000,000.
    pub max_series: usize,
    /// Live series of one tenant. Default 2,000,000: no limit of its own until you set one.
    pub max_series_per_tenant: usize,
    /// Tenants that have or had series. Default 10,000.
    pub max_tenants: usize,
    /// Metric families of one tenant of which declarations are remembered. Default 100,000.
    pub max_families_per_tenant: usize,
    /// Memory for remembering how series are named on the wire. When it is full it is forgotten and
    /// learnt anew. Default 1 GiB.
    pub max_known_bytes: usize,
    /// After a longer silence a counter starts anew. Default 5 minutes, Prometheus' look-back.
    pub max_gap: Duration,
    /// Points further ahead of the clock than this are refused. Default 10 minutes (a guess).
    pub max_ahead: Duration,
}

impl Default for NormaliserConfig {
    fn default() -> Self {
        NormaliserConfig {
            tenant_label: None,
            services: ServiceRule::defaults(),
            kinds: Vec::new(),
            tables: Vec::new(),
            drop_labels: Vec::new(),
            fingerprint_ignores: Vec::new(),
            max_series: 2_000_000,
            max_series_per_tenant: 2_000_000,
            max_tenants: 10_000,
            max_families_per_tenant: 100_000,
            max_known_bytes: 1 << 30,
            max_gap: Duration::from_secs(300),
            max_ahead: Duration::from_secs(600),
        }
    }
}

impl NormaliserConfig {
    /// A normaliser that knows no series yet.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] when a limit is zero or a rule reads no label.
    pub fn build(self) -> Result<Normaliser> {
        for (field, limit) in [
            ("max_series", self.max_series),
            ("max_series_per_tenant", self.max_series_per_tenant),
            ("max_tenants", self.max_tenants),
            ("max_known_bytes", self.max_known_bytes),
        ] {
            if limit == 0 {
                return Err(Error::config(field, "must be above zero"));
            }
        }
        if self.max_gap.is_zero() {
            return Err(Error::config("max_gap", "must be longer than zero"));
        }
        if self.services.iter().any(|rule| rule.label.is_empty() && rule.service.is_none()) {
            return Err(Error::config("services", "a rule needs a label to read or a service"));
        }
        if self.tables.iter().any(|table| table.on.is_empty()) {
            return Err(Error::config("tables", "a table needs labels to look up in `on`"));
        }
        Ok(Normaliser::with(self))
    }
}
