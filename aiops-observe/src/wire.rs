//! The one shape of all decoders: bytes and limits in, core nouns into a sink, counts out.

use crate::{Rejection, Result, Tally};
use aiops_core::{Alert, Event, Sample, Timestamp};

/// Reads bodies of one wire format.
///
/// # For who implements it
/// - No bytes panic, and none make it hold more memory than its [`Limits`](crate::Limits) allow.
/// - Every sample, alert and event of the body is counted once: as accepted when the sink took it,
///   else under the reason why not. A fault of one row leaves the other rows alone.
/// - A fault of the whole body is an error that carries what was delivered before it was met:
///   decoders stream, they do not read the body twice.
/// - Calls [`Sink::begin`] first, once a body.
/// - Scratch space lives in the decoder and is reused: after warm-up no sample allocates.
///
/// # For who calls it
/// - `now` is when the body arrived: it becomes `received_at` of alerts, and the time of samples
///   that carry none. A decoder asks no clock.
/// - Keep one decoder per worker and feed it many bodies. Wrong: a new decoder for each body, which
///   allocates its scratch space again every time.
///
/// ```
/// use aiops_observe::{Decoder, Inbox, NormaliserConfig, decode::JsonLines};
/// # use aiops_core::Timestamp;
/// let mut decoder = JsonLines::default();
/// let mut normaliser = NormaliserConfig::default().build()?;
/// let mut inbox = Inbox::default();
/// let body = br#"{"time": 60, "name": "queue_depth", "value": 7, "labels": {"job": "mail"}}"#;
///
/// let tally = decoder.decode(body, Timestamp::from_secs(61), &mut normaliser.sink(&mut inbox))?;
/// assert_eq!(tally.accepted(), 1);
/// let (id, sample) = inbox.batch().iter().next().unwrap();
/// assert_eq!(normaliser.key(id).unwrap().service(), Some("mail"));
/// assert_eq!(sample.value, 7.0);
/// # Ok::<(), aiops_observe::Error>(())
/// ```
pub trait Decoder: Send {
    /// The format, for errors and metrics: `remote_write_v1`.
    fn format(&self) -> &'static str;

    /// Reads one body into `sink`.
    ///
    /// # Errors
    /// [`Error::Malformed`](crate::Error::Malformed) and [`Error::TooLarge`](crate::Error::TooLarge)
    /// for faults of the whole body.
    fn decode(&mut self, body: &[u8], now: Timestamp, sink: &mut dyn Sink) -> Result<Tally>;
}

/// Where decoders put what they read.
///
/// What a sink does not override it refuses as [`Rejection::NotWanted`], so that it is counted and
/// not lost.
pub trait Sink {
    /// A body of `format` that arrived at `now` begins. Called once, before anything else of it.
    fn begin(&mut self, _format: &'static str, _now: Timestamp) {}

    /// The identity that probably comes next, or nothing: a hint by which a decoder may recognise a
    /// series without walking over its labels. It is one that this decoder has handed over before.
    fn guess(&self) -> &[u8] {
        &[]
    }

    /// Points of one series, in the order of the body; the series may come again. Each point is to
    /// be counted in `tally`.
    fn points(&mut self, _series: &WireSeries<'_>, points: &[Sample], tally: &mut Tally) {
        tally.reject(Rejection::NotWanted, points.len());
    }

    /// What the sender declares of all series of a metric family, apart from their points.
    fn declare(&mut self, _family: &str, _declared: Declared<'_>) {}

    /// An alert.
    ///
    /// # Errors
    /// Why it was not taken.
    fn alert(&mut self, _alert: Alert) -> Result<(), Rejection> {
        Err(Rejection::NotWanted)
    }

    /// A change.
    ///
    /// # Errors
    /// Why it was not taken.
    fn event(&mut self, _event: Event) -> Result<(), Rejection> {
        Err(Rejection::NotWanted)
    }
}

/// A series as its wire format names it: bytes that identify it, and labels to be read only when
/// those bytes are new.
#[derive(Clone, Copy)]
pub struct WireSeries<'a> {
    /// Bytes that identify the series: within one format, equal bytes name equal series. Different
    /// bytes may name the same one, for example when labels change their order.
    pub identity: &'a [u8],
    /// Its labels.
    pub labels: &'a dyn WireLabels,
    /// What the sender says it is.
    pub declared: Declared<'a>,
}

impl std::fmt::Debug for WireSeries<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut map = f.debug_map();
        let said = self.labels.visit(&mut |name, value| {
            map.entry(&name, &value);
        });
        if let Err(reason) = said {
            map.entry(&"rejected", &reason);
        }
        map.finish()
    }
}

/// Labels that are still in the form of the wire.
pub trait WireLabels {
    /// Hands every label to `each`; the metric name under `__name__`, as Prometheus has it.
    ///
    /// # Errors
    /// Why the series cannot be taken; `each` may have seen some labels by then.
    fn visit(&self, each: &mut dyn FnMut(&str, &str)) -> Result<(), Rejection>;
}

impl<N: AsRef<str>, V: AsRef<str>> WireLabels for &[(N, V)] {
    fn visit(&self, each: &mut dyn FnMut(&str, &str)) -> Result<(), Rejection> {
        self.iter().for_each(|(name, value)| each(name.as_ref(), value.as_ref()));
        Ok(())
    }
}

/// The label under which decoders hand on the metric name.
pub const NAME: &str = "__name__";

/// What a sender says of a metric beside its name; nothing, for many formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Declared<'a> {
    /// How its values are to be read.
    pub form: Form,
    /// Its unit in the sender's words, `seconds` or UCUM (`ms`, `By`, `{request}`); empty if unknown.
    pub unit: &'a str,
}

/// How the values of a series are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Form {
    /// Not said; the name decides.
    #[default]
    Unknown,
    /// A value that goes up and down.
    Gauge,
    /// A total since some start, which only a restart sets back.
    Counter,
    /// An amount since the point before it.
    Delta,
    /// A family of a histogram or summary: its `_count`, `_sum` and `_bucket` are counters, its
    /// quantiles are gauges.
    Distribution,
}

impl Form {
    /// Reads the words of Prometheus and OpenMetrics; anything else is unknown.
    pub fn from_word(word: &str) -> Form {
        match word {
            "gauge" | "GAUGE" => Form::Gauge,
            "counter" | "COUNTER" => Form::Counter,
            "delta" => Form::Delta,
            "histogram" | "summary" => Form::Distribution,
            _ => Form::Unknown,
        }
    }
}
