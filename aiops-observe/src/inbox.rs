//! What was read and normalised, ready to be handed to the next stage.

use aiops_core::{Alert, Event, SampleBatch, SeriesId, Timestamp};

/// Columns of samples, alerts and events, filled by a [`Normaliser`](crate::Normaliser) and emptied
/// by the caller.
///
/// Reuse one: [`clear`](Self::clear) keeps the memory, so that a warm inbox does not allocate.
#[derive(Debug, Default)]
pub struct Inbox {
    ids: Vec<SeriesId>,
    times: Vec<Timestamp>,
    values: Vec<f64>,
    /// Alerts, with tenant, service and labels filled in.
    pub alerts: Vec<Alert>,
    /// Changes, with tenant and service filled in.
    pub events: Vec<Event>,
}

impl Inbox {
    /// The samples, in the order they came. A gap has the value NaN.
    pub fn batch(&self) -> SampleBatch<'_> {
        SampleBatch::new(&self.ids, &self.times, &self.values)
            .expect("an inbox grows its three columns together")
    }

    /// Forgets everything, but keeps the memory.
    pub fn clear(&mut self) {
        self.ids.clear();
        self.times.clear();
        self.values.clear();
        self.alerts.clear();
        self.events.clear();
    }

    #[inline]
    pub(crate) fn push(&mut self, id: SeriesId, time: Timestamp, value: f64) {
        self.ids.push(id);
        self.times.push(time);
        self.values.push(value);
    }
}
