//! Delivery of what the outbox holds: at least once, in the order of the runs' transitions.

use std::collections::BTreeSet;
use std::time::Duration;

use aiops_core::{Version, report, telemetry};

use super::Engine;
use crate::error::{Error, Result};
use crate::heartbeat::{Beat, Heartbeat};
use crate::journal::{Pending, StoredPage};
use crate::notify::SendError;

/// Pause before the second attempt; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause between two attempts.
const MAX_PAUSE: Duration = Duration::from_secs(300);

/// Attempts, over half a minute, after which a message goes to the last resort as well.
const LAST_RESORT: u32 = 5;

/// What one round of deliveries did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Delivered {
    /// Messages that their receivers took.
    pub sent: usize,
    /// Messages that will be tried again.
    pub later: usize,
    /// Messages that no receiver will ever take, or whose route is gone.
    pub dropped: usize,
    /// Messages that went to the last resort: those that were dropped, and those that have been
    /// tried in vain for half a minute and go on being tried.
    pub last_resort: usize,
}

impl Engine {
    /// Pages the next level where nobody acknowledged in time, and tries every message that is due,
    /// once; all of a route on which nobody answers in time count as tried, so that a round takes one
    /// [`EngineConfig::delivery_timeout`](super::EngineConfig::delivery_timeout) for each such route.
    /// Call it every few seconds.
    ///
    /// # Errors
    /// The store failed.
    pub async fn deliver(&self) -> Result<Delivered> {
        self.escalate().await?;
        let mut delivered = Delivered::default();
        // Routes on which nobody answered in time: the others do not wait for them once more.
        let mut silent: BTreeSet<String> = BTreeSet::new();
        let mut after: Option<Vec<u8>> = None;
        loop {
            let from = after.take();
            let page = self.blocking(move |journal| journal.outbox(from.as_deref(), 100)).await?;
            let Some((last, _, _)) = page.last() else { return Ok(delivered) };
            after = Some(last.clone());
            for (key, version, mut pending) in page {
                let now = self.0.clock.now();
                if pending.not_before > now {
                    delivered.later += 1;
                    continue;
                }
                let sent = if silent.contains(&pending.route) {
                    Err(no_answer())
                } else {
                    let timeout = self.0.config.delivery_timeout;
                    let sent = self.send(&pending.route, &pending.message);
                    tokio::time::timeout(timeout, sent).await.unwrap_or_else(|_| {
                        silent.insert(pending.route.clone());
                        Err(no_answer())
                    })
                };
                let later = match sent {
                    Ok(()) => {
                        delivered.sent += 1;
                        None
                    }
                    Err(SendError::Later { after, .. }) => {
                        let doublings = 2_u32.saturating_pow(pending.attempts.min(20));
                        let pause = FIRST_PAUSE.saturating_mul(doublings).min(MAX_PAUSE);
                        pending.attempts += 1;
                        if pending.attempts == LAST_RESORT {
                            delivered.last_resort += 1;
                            self.resort(&pending).await;
                        }
                        pending.not_before = now + after.unwrap_or(pause);
                        delivered.later += 1;
                        Some(pending)
                    }
                    Err(SendError::Never { .. }) => {
                        delivered.dropped += 1;
                        delivered.last_resort += 1;
                        self.resort(&pending).await;
                        None
                    }
                };
                self.blocking(move |journal| journal.settle(&key, version, later.as_ref())).await?;
            }
        }
    }

    /// Brings every page that is due to its next level.
    async fn escalate(&self) -> Result<()> {
        let mut after: Option<Vec<u8>> = None;
        loop {
            let from = after.take();
            let pages = self.blocking(move |journal| journal.pages(from.as_deref(), 100)).await?;
            let Some((last, _, _)) = pages.last() else { return Ok(()) };
            after = Some(last.clone());
            self.escalate_these(pages).await?;
        }
    }

    async fn escalate_these(&self, pages: Vec<(Vec<u8>, Version, StoredPage)>) -> Result<()> {
        let now = self.0.clock.now();
        for (key, version, mut stored) in pages {
            let routes = stored.page.tick(&self.0.config.escalation, now);
            if routes.is_empty() {
                if stored.page.is_over(&self.0.config.escalation, now) {
                    let run = stored.message.run;
                    self.blocking(move |journal| journal.forget_page(&key, version, run)).await?;
                }
                continue;
            }
            let level = stored.page.level.unwrap_or_default();
            let mut message = stored.message.clone();
            // Another level is another message: its receivers have not seen it.
            message.key = format!("{}:{}:{level}", message.key, stored.page.rounds);
            let pending =
                |route| Pending { route, message: message.clone(), attempts: 0, not_before: now };
            let messages: Vec<Pending> = routes.into_iter().map(pending).collect();
            self.blocking(move |journal| journal.move_page(&key, version, &stored, &messages))
                .await?;
        }
        Ok(())
    }

    /// Hands a message to the last resort. There is nothing behind it.
    async fn resort(&self, pending: &Pending) {
        let route = &pending.route;
        telemetry::count("aiops_act_last_resort_total", "kind", pending.message.kind.name(), 1);
        report!(warn, "aiops_act", "a message went to the last resort"; route = route);
        let sent = self.0.last_resort.send(&pending.message);
        let _ = tokio::time::timeout(self.0.config.delivery_timeout, sent).await;
    }

    /// What this engine says of itself, with the outbox counted up to `most`.
    pub(crate) async fn as_beat(&self, most: usize) -> Result<Beat> {
        let (waiting, audit) = self
            .blocking(move |journal| {
                Ok::<_, Error>((journal.outbox(None, most)?, journal.audit_head()?))
            })
            .await?;
        let at = self.0.clock.now();
        let ages = waiting.iter().map(|(_, _, pending)| at.since(pending.message.at).as_secs());
        let oldest_waiting_s = ages.max().unwrap_or_default();
        telemetry::level("aiops_act_outbox_age_seconds", oldest_waiting_s as f64);
        let (engine, driving) = (self.0.config.name.clone(), self.0.driving.borrow().len());
        let (mode, waiting) = (self.mode(), waiting.len());
        Ok(Beat { engine, at, mode, driving, waiting, oldest_waiting_s, audit })
    }

    pub(crate) fn heartbeats(&self) -> &[std::sync::Arc<dyn Heartbeat>] {
        &self.0.heartbeats
    }

    pub(crate) fn delivery_timeout(&self) -> Duration {
        self.0.config.delivery_timeout
    }

    async fn send(&self, route: &str, message: &crate::notify::Message) -> Result<(), SendError> {
        let Some(notifier) = self.0.notifiers.iter().find(|n| n.name() == route) else {
            return Err(SendError::Never { reason: format!("no route is called {route}") });
        };
        notifier.send(message).await
    }
}

fn no_answer() -> SendError {
    SendError::Later { reason: "no answer".to_owned(), after: None }
}
