//! What producers and consumers share: brokers, settings, errors.

use crate::scale_out::ScaleError;
use aiops_core::StoreError;
use rdkafka::ClientConfig;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// How to reach the brokers.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct KafkaClientConfig {
    /// `host:port`, several separated by commas. Default `127.0.0.1:9092`.
    pub brokers: String,
    /// Settings of librdkafka by its names, such as `security.protocol`, applied before ours: what
    /// correctness depends on cannot be changed. Default none.
    pub settings: BTreeMap<String, String>,
}

impl Default for KafkaClientConfig {
    fn default() -> Self {
        KafkaClientConfig { brokers: "127.0.0.1:9092".into(), settings: BTreeMap::new() }
    }
}

impl fmt::Debug for KafkaClientConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Values may be passwords.
        let names: Vec<_> = self.settings.keys().collect();
        f.debug_struct("KafkaClientConfig")
            .field("brokers", &self.brokers)
            .field("settings", &names)
            .finish()
    }
}

impl KafkaClientConfig {
    pub(super) fn client(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        self.settings.iter().for_each(|(name, value)| {
            client.set(name, value);
        });
        client.set("bootstrap.servers", &self.brokers);
        client
    }
}

/// What failed between us and the brokers, or behind them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KafkaError {
    /// The client refused: a setting, or an operation that it could not do.
    #[error("kafka, while {doing}")]
    Client {
        /// What was being done.
        doing: &'static str,
        /// Why it could not be.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Messages were not confirmed by the brokers in time. What they were made from is read again.
    #[error("{failed} messages were not delivered, {waiting} are still waiting")]
    Undelivered {
        /// Given up by the client.
        failed: u64,
        /// In its queue.
        waiting: usize,
    },
    /// Leases, state or the worker; see [`ScaleError`].
    #[error(transparent)]
    Scale(#[from] ScaleError),
    /// A setting is out of range.
    #[error(transparent)]
    Config(#[from] crate::Error),
}

impl KafkaError {
    pub(super) fn client(doing: &'static str) -> impl Fn(rdkafka::error::KafkaError) -> KafkaError {
        move |source| KafkaError::Client { doing, source: Box::new(source) }
    }
}

impl From<StoreError> for KafkaError {
    fn from(error: StoreError) -> Self {
        KafkaError::Scale(error.into())
    }
}
