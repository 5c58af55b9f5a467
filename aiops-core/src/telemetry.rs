//! How a stage reports of itself: counts and levels through the `metrics` facade, events through
//! `tracing`, each behind the feature of that name. Without a feature a report costs nothing, and no
//! crate of the family installs an exporter or a subscriber: that is the application's choice.
//!
//! A stage crate forwards the features (`metrics = ["aiops-core/metrics"]`) and calls these
//! functions once a batch or a decision, never once a sample. Names of metrics are
//! `aiops_<stage>_<what>`, with `_total` where they only grow; targets of events are
//! `aiops_<stage>`. All of them are listed in `docs/operating.md`.
//!
//! ```
//! use aiops_core::{report, telemetry};
//!
//! let (accepted, late) = (512, 3);
//! telemetry::count("aiops_mine_rows_total", "state", "accepted", accepted);
//! telemetry::count("aiops_mine_rows_total", "state", "late", late);
//! telemetry::level("aiops_mine_open_series", 12.0);
//! report!(debug, "aiops_mine", "batch taken"; rows = accepted + late);
//! ```

#[cfg(feature = "tracing")]
#[doc(hidden)]
pub use tracing;

/// Adds `n` to the counter `name` for one value of one label. Nothing is added for zero, so that a
/// state which never occurred is no series.
#[inline]
pub fn count(name: &'static str, label: &'static str, value: &'static str, n: u64) {
    #[cfg(feature = "metrics")]
    if n > 0 {
        metrics::counter!(name, label => value).increment(n);
    }
    #[cfg(not(feature = "metrics"))]
    let _ = (name, label, value, n);
}

/// Sets the gauge `name`.
#[inline]
pub fn level(name: &'static str, value: f64) {
    #[cfg(feature = "metrics")]
    metrics::gauge!(name).set(value);
    #[cfg(not(feature = "metrics"))]
    let _ = (name, value);
}

/// Reports an event with its fields, each shown by its `Display`: level (`error`, `warn`, `info`,
/// `debug`, `trace`), target, message, and after a semicolon the fields.
///
/// See [`telemetry`](crate::telemetry) for an example.
#[macro_export]
#[cfg(feature = "tracing")]
macro_rules! report {
    ($level:ident, $target:literal, $message:literal $(; $($field:ident = $value:expr),+ $(,)?)?) => {
        $crate::telemetry::tracing::$level!(
            target: $target, $($($field = %$value,)+)? $message
        )
    };
}

/// Reports an event with its fields, each shown by its `Display`: level (`error`, `warn`, `info`,
/// `debug`, `trace`), target, message, and after a semicolon the fields.
///
/// See [`telemetry`](crate::telemetry) for an example.
#[macro_export]
#[cfg(not(feature = "tracing"))]
macro_rules! report {
    ($level:ident, $target:literal, $message:literal $(; $($field:ident = $value:expr),+ $(,)?)?) => {{
        $($(let _ = || $crate::telemetry::shown(&$value);)+)?
    }};
}

/// Holds a field of an event that nobody listens to against the bound that it would need.
#[doc(hidden)]
pub fn shown(_: &dyn std::fmt::Display) {}

#[cfg(test)]
mod tests {
    #[test]
    fn fields_are_evaluated_only_when_somebody_may_listen() {
        let mut evaluated = 0;
        let mut field = || {
            evaluated += 1;
            evaluated
        };
        report!(debug, "aiops_core", "tested"; field = field());
        // No subscriber is installed: neither form asks for the field.
        assert_eq!(evaluated, 0);
    }
}
