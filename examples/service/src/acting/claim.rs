//! Which run an incident got: services on one store agree on one.

use std::sync::Arc;
use std::time::Duration;

use aiops_act::{Engine, RunId};
use aiops_core::{Batch, IncidentId, Store, StoreError, Timestamp, Version};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// After so long a claim without a run is one whose service died in between.
const PATIENCE: Duration = Duration::from_secs(60);

/// What became of a claim.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// The run is ours to submit.
    Ours,
    /// The incident has this run already.
    Theirs(RunId),
    /// Somebody claimed it and has not submitted it yet.
    Wait,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    run: RunId,
    at: Timestamp,
}

/// Claims in the store: one key an incident, moved by compare-and-swap.
#[derive(Clone)]
pub(super) struct Claims {
    store: Arc<dyn Store>,
}

impl Claims {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Claims { store }
    }

    /// Claims an incident for a run that is about to be submitted.
    pub(super) async fn claim(
        &self,
        engine: &Engine,
        incident: IncidentId,
        run: RunId,
        now: Timestamp,
    ) -> Result<Claim> {
        let known = self.read(incident).await?;
        let version = match known {
            None => 0,
            Some((version, kept)) => match engine.run(kept.run).await {
                Ok(_) => return Ok(Claim::Theirs(kept.run)),
                Err(aiops_act::Error::UnknownRun(_)) if now.since(kept.at) >= PATIENCE => version,
                Err(aiops_act::Error::UnknownRun(_)) => return Ok(Claim::Wait),
                Err(error) => return Err(Error::stage("act")(error)),
            },
        };
        let value = serde_json::to_vec(&Kept { run, at: now }).expect("nouns are JSON");
        let batch = Batch::new().expect(name_of(incident), version).put(name_of(incident), value);
        let store = self.store.clone();
        match blocking(move || store.commit(batch)).await {
            Ok(_) => Ok(Claim::Ours),
            Err(StoreError::Conflict { .. }) => Ok(Claim::Wait),
            Err(source) => Err(Error::Store { operation: "claiming an incident", source }),
        }
    }

    /// The run of an incident.
    pub(super) async fn of(&self, incident: IncidentId) -> Result<Option<RunId>> {
        Ok(self.read(incident).await?.map(|(_, kept)| kept.run))
    }

    async fn read(&self, incident: IncidentId) -> Result<Option<(Version, Kept)>> {
        let store = self.store.clone();
        let read = blocking(move || store.get(name_of(incident).as_bytes())).await;
        let found = read.map_err(|source| Error::Store { operation: "reading a claim", source })?;
        let Some(found) = found else { return Ok(None) };
        let kept = serde_json::from_slice(&found.value).map_err(|error| Error::Damaged {
            reason: format!("the claim of incident {incident}: {error}"),
        })?;
        Ok(Some((found.version, kept)))
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("a store does not panic")
}

fn name_of(incident: IncidentId) -> String {
    format!("remedy/{incident}")
}
