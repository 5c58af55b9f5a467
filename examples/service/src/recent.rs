//! The last hour of every series, for charts and rankings.

use std::time::Duration;

use aiops_core::{Frame, SampleBatch, SeriesId, SeriesKey, Timestamp};

/// One value per series and step, in a ring of fixed size: the last value within the step, a gap
/// where there was none. Memory is 8 bytes a series and slot.
#[derive(Debug)]
pub struct Recent {
    step: Duration,
    slots: usize,
    rings: Vec<Option<Ring>>,
}

#[derive(Debug)]
struct Ring {
    /// The number of the newest step, counted from the epoch.
    newest: i64,
    values: Vec<f64>,
}

impl Recent {
    /// Nothing yet.
    pub fn new(step: Duration, slots: usize) -> Self {
        Recent { step, slots, rings: Vec::new() }
    }

    /// The distance of points.
    pub fn step(&self) -> Duration {
        self.step
    }

    /// The first step that begins at or after `from`'s and is still held, and how many have ended since, so that
    /// nothing is expected for them any more; `None` when none has.
    pub fn ended(&self, from: Timestamp, now: Timestamp) -> Option<(Timestamp, usize)> {
        let next = self.step_of(now);
        let first = self.step_of(from).max(next - self.slots as i64);
        (next > first).then(|| (self.time_of(first), (next - first) as usize))
    }

    /// The values of a series in so many steps from `first` on; `None` when there is none.
    pub fn values(&self, id: SeriesId, first: Timestamp, steps: usize) -> Option<Vec<f64>> {
        let ring = self.rings.get(id.index())?.as_ref()?;
        let (first, slots) = (self.step_of(first), self.slots as i64);
        let value = |step: i64| {
            let is_held = step > ring.newest - slots && step <= ring.newest;
            if is_held { ring.values[step.rem_euclid(slots) as usize] } else { f64::NAN }
        };
        let values: Vec<f64> = (first..first + steps as i64).map(value).collect();
        values.iter().any(|value| value.is_finite()).then_some(values)
    }

    fn step_of(&self, time: Timestamp) -> i64 {
        time.as_nanos().div_euclid(self.step.as_nanos() as i64)
    }

    fn time_of(&self, step: i64) -> Timestamp {
        Timestamp::from_nanos(step.saturating_mul(self.step.as_nanos() as i64))
    }

    /// Takes in samples; one that is older than the ring is left out.
    pub fn push(&mut self, batch: &SampleBatch<'_>) {
        for (id, sample) in batch.iter() {
            if sample.is_gap() {
                continue;
            }
            let step = self.step_of(sample.time);
            let slots = self.slots as i64;
            if self.rings.len() <= id.index() {
                self.rings.resize_with(id.index() + 1, || None);
            }
            let ring = self.rings[id.index()]
                .get_or_insert_with(|| Ring { newest: step, values: vec![f64::NAN; self.slots] });
            // Steps that were jumped over hold values of a turn ago.
            for passed in (ring.newest + 1).max(step - slots + 1)..=step {
                ring.values[passed.rem_euclid(slots) as usize] = f64::NAN;
            }
            ring.newest = ring.newest.max(step);
            if ring.newest - step < slots {
                ring.values[step.rem_euclid(slots) as usize] = sample.value;
            }
        }
    }

    /// Forgets series whose ids will be used for others.
    pub fn release(&mut self, ids: &[SeriesId]) {
        for id in ids {
            if let Some(ring) = self.rings.get_mut(id.index()) {
                *ring = None;
            }
        }
    }

    /// The rows of these series from the step of `from` to the step of `to`, both included, cut to
    /// what is kept.
    pub fn frame(
        &self,
        rows: &[(SeriesId, SeriesKey)],
        from: Timestamp,
        to: Timestamp,
    ) -> aiops_core::Result<Frame> {
        let last = self.step_of(to);
        let first = self.step_of(from).clamp(last - self.slots as i64 + 1, last);
        let keys = rows.iter().map(|(_, key)| key.clone()).collect();
        let steps = (last - first + 1) as usize;
        let mut frame = Frame::gaps(keys, self.time_of(first), self.step, steps)?;
        for (row, (id, _)) in rows.iter().enumerate() {
            let Some(Some(ring)) = self.rings.get(id.index()) else { continue };
            let slots = self.slots as i64;
            for step in first.max(ring.newest - slots + 1)..=last.min(ring.newest) {
                let value = ring.values[step.rem_euclid(slots) as usize];
                frame.row_mut(row)[(step - first) as usize] = value;
            }
        }
        Ok(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(recent: &mut Recent, samples: &[(i64, f64)]) {
        let ids = vec![SeriesId(2); samples.len()];
        let times: Vec<_> = samples.iter().map(|(t, _)| Timestamp::from_secs(*t)).collect();
        let values: Vec<_> = samples.iter().map(|(_, v)| *v).collect();
        recent.push(&SampleBatch::new(&ids, &times, &values).unwrap());
    }

    fn row(recent: &Recent, from: i64, to: i64) -> Vec<f64> {
        let rows = [(SeriesId(2), SeriesKey::new("x", [("service", "api")]))];
        let (from, to) = (Timestamp::from_secs(from), Timestamp::from_secs(to));
        recent.frame(&rows, from, to).unwrap().row(0).iter().map(|v| v.max(-1.0)).collect()
    }

    #[test]
    fn the_last_value_of_a_step_counts_and_old_turns_are_forgotten() {
        let mut recent = Recent::new(Duration::from_secs(10), 4);
        push(&mut recent, &[(0, 1.0), (9, 2.0), (20, 3.0)]);
        // -1 stands for a gap: `max` ignores NaN.
        assert_eq!(row(&recent, 0, 39), [2.0, -1.0, 3.0, -1.0]);
        push(&mut recent, &[(60, 4.0), (50, 5.0)]);
        assert_eq!(row(&recent, 0, 69), [-1.0, -1.0, 5.0, 4.0], "cut to what is kept");
        push(&mut recent, &[(20, 9.0)]);
        assert_eq!(row(&recent, 30, 60), [-1.0, -1.0, 5.0, 4.0], "too old to be kept");
        push(&mut recent, &[(1_000, 6.0)]);
        assert_eq!(row(&recent, 970, 1_000), [-1.0, -1.0, -1.0, 6.0]);
        let at = Timestamp::from_secs;
        assert_eq!(recent.ended(at(0), at(1_001)), Some((at(960), 4)), "no more than is kept");
        recent.release(&[SeriesId(2), SeriesId(99)]);
        assert_eq!(row(&recent, 1_000, 1_000), [-1.0]);
    }
}
