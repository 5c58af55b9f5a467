//! Counters to rates.

use crate::Form;
use aiops_core::Timestamp;
use std::time::Duration;

/// What is remembered of one series between its points.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Track {
    /// The time of the latest point.
    pub(crate) time: Timestamp,
    /// The latest raw value of a counter; NaN when the next point has nothing to be compared with.
    raw: f64,
    /// To the canonical unit.
    pub(crate) factor: f64,
    pub(crate) form: Form,
}

/// What a point became.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Step {
    /// A value to be handed on; NaN for a gap.
    Value(f64),
    /// The first point of a counter, or the first after a gap: remembered, nothing to hand on.
    First,
    /// A counter that was set back: remembered, nothing to hand on.
    Reset,
    /// Not newer than the point before it.
    Late,
}

impl Track {
    pub(crate) fn new(form: Form, factor: f64) -> Self {
        Track { time: Timestamp::MIN, raw: f64::NAN, factor, form }
    }

    /// Starts anew with another reading, at the time where it stood.
    pub(crate) fn reread(&mut self, form: Form, factor: f64) {
        *self = Track { time: self.time, ..Track::new(form, factor) };
    }

    /// Takes the next point.
    ///
    /// A reset gives no rate. Prometheus would count from zero, which is right when the process
    /// started anew and wrong by the whole total when two replicas take turns behind one address;
    /// for detection a missing point is harmless and a spike that never was is not. After a silence
    /// longer than `max_gap` the average over the silence is no news, and is left out likewise.
    #[inline]
    pub(crate) fn step(&mut self, time: Timestamp, value: f64, max_gap: Duration) -> Step {
        let value = if value.is_finite() { value } else { f64::NAN };
        match self.form {
            Form::Counter => self.count(time, value, max_gap),
            Form::Delta => self.delta(time, value, max_gap),
            _ => {
                self.time = self.time.max(time);
                Step::Value(value * self.factor)
            }
        }
    }

    fn count(&mut self, time: Timestamp, value: f64, max_gap: Duration) -> Step {
        if time <= self.time {
            return Step::Late;
        }
        let (since, before) = (time.since(self.time), self.raw);
        (self.time, self.raw) = (time, value);
        if value.is_nan() {
            return Step::Value(f64::NAN);
        }
        if before.is_nan() || since > max_gap {
            return Step::First;
        }
        if value < before {
            return Step::Reset;
        }
        Step::Value((value - before) / since.as_secs_f64() * self.factor)
    }

    /// An amount since the point before it: the first one covers an unknown time.
    fn delta(&mut self, time: Timestamp, value: f64, max_gap: Duration) -> Step {
        if time <= self.time {
            return Step::Late;
        }
        let since = time.since(self.time);
        let first = self.time == Timestamp::MIN || since > max_gap;
        self.time = time;
        if first && !value.is_nan() {
            return Step::First;
        }
        Step::Value(value / since.as_secs_f64() * self.factor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GAP: Duration = Duration::from_secs(300);

    fn replay(form: Form, points: &[(i64, f64)]) -> Vec<Step> {
        let mut track = Track::new(form, 1.0);
        points.iter().map(|&(at, value)| track.step(Timestamp::from_secs(at), value, GAP)).collect()
    }

    #[test]
    fn a_counter_yields_rates_between_its_points() {
        let steps = replay(Form::Counter, &[(0, 100.0), (10, 150.0), (15, 150.0), (10, 160.0)]);
        assert_eq!(steps, [Step::First, Step::Value(5.0), Step::Value(0.0), Step::Late]);
    }

    #[test]
    fn a_reset_and_a_long_silence_yield_no_rate() {
        let points = [(0, 100.0), (10, 20.0), (20, 40.0), (2_000, 50.0), (2_010, 60.0)];
        let expected = [Step::First, Step::Reset, Step::Value(2.0), Step::First, Step::Value(1.0)];
        assert_eq!(replay(Form::Counter, &points), expected);
    }

    #[test]
    fn a_gap_is_handed_on_and_breaks_the_comparison() {
        let steps = replay(Form::Counter, &[(0, 1.0), (1, f64::INFINITY), (2, 5.0), (3, 6.0)]);
        assert!(matches!(steps[1], Step::Value(value) if value.is_nan()));
        assert_eq!((steps[2], steps[3]), (Step::First, Step::Value(1.0)));
    }

    #[test]
    fn deltas_are_spread_over_their_time() {
        let steps = replay(Form::Delta, &[(0, 9.0), (10, 30.0), (5, 1.0), (400, 2.0)]);
        assert_eq!(steps, [Step::First, Step::Value(3.0), Step::Late, Step::First]);
    }

    #[test]
    fn gauges_are_scaled_and_keep_no_order() {
        let mut track = Track::new(Form::Gauge, 0.01);
        assert_eq!(track.step(Timestamp::from_secs(9), 50.0, GAP), Step::Value(0.5));
        assert_eq!(track.step(Timestamp::from_secs(3), 10.0, GAP), Step::Value(0.1));
        assert_eq!(track.time, Timestamp::from_secs(9), "the latest");
    }
}
