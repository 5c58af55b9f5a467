//! Who sends, and the sink that normalises what they send.

use super::known::NONE;
use super::series::Normaliser;
use crate::{Declared, Inbox, Rejection, Sink, Tally, WireSeries};
use aiops_core::{Alert, Event, Sample, Timestamp};

/// A sender: its tenant, and where it stands in its usual order of series.
///
/// Keep one per connection or remote address. It costs nothing to lose one: its repetitions are
/// then found by hash once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sender {
    pub(crate) tenant: String,
    pub(crate) source: u32,
    pub(crate) last: u32,
}

impl Default for Sender {
    fn default() -> Self {
        Sender::new("")
    }
}

impl Sender {
    /// A sender of this tenant; empty in a single-tenant deployment.
    pub fn new(tenant: impl Into<String>) -> Self {
        Sender { tenant: tenant.into(), source: NONE, last: NONE }
    }

    /// Its tenant.
    pub fn tenant(&self) -> &str {
        &self.tenant
    }
}

/// A [`Sink`] that normalises into an [`Inbox`]; made by [`Normaliser::sink`].
#[derive(Debug)]
pub struct NormalisingSink<'a> {
    normaliser: &'a mut Normaliser,
    inbox: &'a mut Inbox,
    sender: Lent<'a>,
    latest: Timestamp,
}

/// The caller's sender, or the normaliser's own while the sink lives.
#[derive(Debug)]
enum Lent<'a> {
    Yours(&'a mut Sender),
    Own(Sender),
}

impl Lent<'_> {
    #[inline]
    fn get(&mut self) -> &mut Sender {
        match self {
            Lent::Yours(sender) => sender,
            Lent::Own(sender) => sender,
        }
    }
}

impl<'a> NormalisingSink<'a> {
    pub(crate) fn new(
        normaliser: &'a mut Normaliser,
        sender: &'a mut Sender,
        inbox: &'a mut Inbox,
    ) -> Self {
        let sender = Lent::Yours(sender);
        NormalisingSink { normaliser, inbox, sender, latest: Timestamp::MAX }
    }

    pub(crate) fn of_default(normaliser: &'a mut Normaliser, inbox: &'a mut Inbox) -> Self {
        let sender = Lent::Own(normaliser.take_default_sender());
        NormalisingSink { normaliser, inbox, sender, latest: Timestamp::MAX }
    }
}

impl Drop for NormalisingSink<'_> {
    fn drop(&mut self) {
        self.normaliser.settle_declarations();
        if let Lent::Own(sender) = &mut self.sender {
            self.normaliser.put_default_sender(std::mem::take(sender));
        }
    }
}

impl Sink for NormalisingSink<'_> {
    fn begin(&mut self, format: &'static str, now: Timestamp) {
        let sender = self.sender.get();
        sender.source = self.normaliser.source(&sender.tenant, format);
        self.latest = self.normaliser.latest(now);
    }

    fn guess(&self) -> &[u8] {
        let sender = match &self.sender {
            Lent::Yours(sender) => sender,
            Lent::Own(sender) => sender,
        };
        self.normaliser.guess(sender)
    }

    fn points(&mut self, series: &WireSeries<'_>, points: &[Sample], tally: &mut Tally) {
        match self.normaliser.resolve(series, self.sender.get()) {
            Ok(id) => self.normaliser.take_points(id, points, self.latest, self.inbox, tally),
            Err(reason) => tally.reject(reason, points.len()),
        }
    }

    fn declare(&mut self, family: &str, declared: Declared<'_>) {
        let tenant = &self.sender.get().tenant;
        self.normaliser.declare(tenant, family, declared);
    }

    fn alert(&mut self, mut alert: Alert) -> Result<(), Rejection> {
        self.normaliser.complete_alert(&self.sender.get().tenant, &mut alert);
        self.inbox.alerts.push(alert);
        Ok(())
    }

    fn event(&mut self, mut event: Event) -> Result<(), Rejection> {
        self.normaliser.complete_event(&self.sender.get().tenant, &mut event);
        self.inbox.events.push(event);
        Ok(())
    }
}
