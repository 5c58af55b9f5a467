//! Delivery of what the outbox holds: at least once, in the order of the runs' transitions.

use std::time::Duration;

use super::Engine;
use crate::error::Result;
use crate::journal::Pending;
use crate::notify::SendError;

/// Pause before the second attempt; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause between two attempts.
const MAX_PAUSE: Duration = Duration::from_secs(300);

/// What one round of deliveries did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Delivered {
    /// Messages that their receivers took.
    pub sent: usize,
    /// Messages that will be tried again.
    pub later: usize,
    /// Messages that no receiver will ever take, or whose route is gone.
    pub dropped: usize,
}

impl Engine {
    /// Pages the next level where nobody acknowledged in time, and tries every message that is due,
    /// once. Call it every few seconds.
    ///
    /// # Errors
    /// The store failed.
    pub async fn deliver(&self) -> Result<Delivered> {
        self.escalate().await?;
        let mut delivered = Delivered::default();
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
                let later = match self.send(&pending.route, &pending.message).await {
                    Ok(()) => {
                        delivered.sent += 1;
                        None
                    }
                    Err(SendError::Later { after, .. }) => {
                        let doublings = 2_u32.saturating_pow(pending.attempts.min(20));
                        let pause = FIRST_PAUSE.saturating_mul(doublings).min(MAX_PAUSE);
                        pending.attempts += 1;
                        pending.not_before = now + after.unwrap_or(pause);
                        delivered.later += 1;
                        Some(pending)
                    }
                    Err(SendError::Never { .. }) => {
                        delivered.dropped += 1;
                        None
                    }
                };
                self.blocking(move |journal| journal.settle(&key, version, later.as_ref())).await?;
            }
        }
    }

    /// Brings every page that is due to its next level.
    async fn escalate(&self) -> Result<()> {
        let pages = self.blocking(|journal| journal.pages()).await?;
        let now = self.0.clock.now();
        for (key, version, mut stored) in pages {
            let routes = stored.page.tick(&self.0.config.escalation, now);
            if routes.is_empty() {
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

    async fn send(&self, route: &str, message: &crate::notify::Message) -> Result<(), SendError> {
        let Some(notifier) = self.0.notifiers.iter().find(|n| n.name() == route) else {
            return Err(SendError::Never { reason: format!("no route is called {route}") });
        };
        let timeout = self.0.config.delivery_timeout;
        match tokio::time::timeout(timeout, notifier.send(message)).await {
            Ok(result) => result,
            Err(_) => Err(SendError::Later { reason: "no answer".to_owned(), after: None }),
        }
    }
}
