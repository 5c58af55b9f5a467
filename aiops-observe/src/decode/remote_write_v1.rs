//! Prometheus remote write 1.0: a snappy block around a protobuf `prometheus.WriteRequest`.

use crate::proto::{Broken, Kind, Reader, Tag, unexpected};
use crate::{
    Declared, Decoder, Error, Form, Limits, NAME, Rejection, Result, Sink, Tally, WireLabels,
    WireSeries,
};
use aiops_core::{Sample, Timestamp};

/// Reads Prometheus remote write 1.0.
///
/// Walks the bytes without building messages: a series whose labels were seen before is told by the
/// bytes of its labels, which are not taken apart again. Stale markers and other NaNs arrive as gaps.
/// Metadata is handed to [`Sink::declare`]. Native histograms and exemplars are counted as
/// [`Rejection::Unsupported`].
///
/// Accepts what a generated decoder accepts: unknown fields, fields in any order, and repeated ones
/// (the last counts). Text that is not UTF-8 rejects its series instead of the whole body.
///
/// Source: the Prometheus remote write 1.0 specification, and `prompb/remote.proto` and
/// `prompb/types.proto` of Prometheus.
#[derive(Debug, Default)]
pub struct RemoteWriteV1 {
    limits: Limits,
    snappy: super::snappy::Snappy,
    walk: Walk,
}

/// Scratch space of one walk.
#[derive(Debug, Default)]
struct Walk {
    points: Vec<Sample>,
    /// Labels of a series that does not write them in one run.
    labels: Vec<u8>,
    tally: Tally,
    items: usize,
}

const FORMAT: &str = "remote_write_v1";

const TIMESERIES: Tag = Tag::new(1, Kind::Bytes);
const METADATA: Tag = Tag::new(3, Kind::Bytes);
const LABEL: Tag = Tag::new(1, Kind::Bytes);
const SAMPLE: Tag = Tag::new(2, Kind::Bytes);
const EXEMPLAR: Tag = Tag::new(3, Kind::Bytes);
const HISTOGRAM: Tag = Tag::new(4, Kind::Bytes);

impl RemoteWriteV1 {
    /// A decoder with these limits.
    pub fn new(limits: Limits) -> Self {
        RemoteWriteV1 { limits, ..RemoteWriteV1::default() }
    }

    /// Reads a body that is not compressed, or no longer.
    ///
    /// # Errors
    /// As [`decode`](Decoder::decode).
    pub fn decode_protobuf(
        &mut self,
        body: &[u8],
        now: Timestamp,
        sink: &mut dyn Sink,
    ) -> Result<Tally> {
        self.limits.check_body(FORMAT, body.len())?;
        sink.begin(FORMAT, now);
        self.walk.decode(body, &self.limits, sink)
    }
}

impl Decoder for RemoteWriteV1 {
    fn format(&self) -> &'static str {
        FORMAT
    }

    fn decode(&mut self, body: &[u8], now: Timestamp, sink: &mut dyn Sink) -> Result<Tally> {
        let body = self.snappy.decompress(FORMAT, body, &self.limits)?;
        sink.begin(FORMAT, now);
        self.walk.decode(body, &self.limits, sink)
    }
}

impl Walk {
    fn decode(&mut self, body: &[u8], limits: &Limits, sink: &mut dyn Sink) -> Result<Tally> {
        (self.tally, self.items) = (Tally::default(), 0);
        let walked = self.request(body, limits, sink);
        let tally = std::mem::take(&mut self.tally);
        match walked {
            Ok(()) if self.items <= limits.items => Ok(tally),
            Ok(()) => {
                let (what, limit, got) = ("items", limits.items, self.items);
                Err(Error::TooLarge { format: FORMAT, what, limit, got, before: Box::new(tally) })
            }
            Err(broken) => Err(Error::Malformed {
                format: FORMAT,
                offset: broken.offset_in(body),
                reason: broken.reason.into(),
                before: Box::new(tally),
            }),
        }
    }

    /// Ends early, without an error of its own, when there are more items than allowed.
    fn request(&mut self, body: &[u8], limits: &Limits, sink: &mut dyn Sink) -> Result<(), Broken> {
        let mut reader = Reader::new(body);
        while let Some(tag) = reader.tag()? {
            match tag {
                TIMESERIES => {
                    self.series(reader.bytes()?, limits, sink)?;
                    if self.items > limits.items {
                        return Ok(());
                    }
                }
                METADATA => declare(reader.bytes()?, sink)?,
                _ => unexpected(&mut reader, tag, &[1, 3])?,
            }
        }
        Ok(())
    }

    fn series(
        &mut self,
        series: &[u8],
        limits: &Limits,
        sink: &mut dyn Sink,
    ) -> Result<(), Broken> {
        self.points.clear();
        // Senders write all labels first: where the run of labels ends, the identity ends.
        let mut identity = &series[..run_of_labels(series, sink.guess())];
        let mut reader = Reader::new(&series[identity.len()..]);
        let mut scattered = false;
        let mut unsupported = 0;
        loop {
            let start = reader;
            let Some(tag) = reader.tag()? else { break };
            match tag {
                SAMPLE => {
                    let point = sample(reader.bytes()?)?;
                    self.points.push(point);
                }
                LABEL => {
                    reader.bytes()?;
                    let field = &start.rest()[..start.rest().len() - reader.rest().len()];
                    let run = series.len() - start.rest().len() == identity.len();
                    if run && !scattered {
                        identity = &series[..identity.len() + field.len()];
                    } else {
                        self.gather(identity, field, &mut scattered);
                    }
                }
                EXEMPLAR | HISTOGRAM => {
                    reader.bytes()?;
                    unsupported += 1;
                }
                _ => unexpected(&mut reader, tag, &[1, 2, 3, 4])?,
            }
        }
        self.items += self.points.len() + unsupported;
        if unsupported > 0 {
            self.tally.reject(Rejection::Unsupported, unsupported);
        }
        if self.points.is_empty() || self.items > limits.items {
            return Ok(());
        }
        let identity = if scattered { &self.labels } else { identity };
        let labels = LabelFields { fields: identity, limits };
        let series = WireSeries { identity, labels: &labels, declared: Declared::default() };
        sink.points(&series, &self.points, &mut self.tally);
        Ok(())
    }

    /// Copies labels that do not stand in one run. The copy reads like a run.
    fn gather(&mut self, run: &[u8], field: &[u8], scattered: &mut bool) {
        if !std::mem::replace(scattered, true) {
            self.labels.clear();
            self.labels.extend_from_slice(run);
        }
        self.labels.extend_from_slice(field);
    }
}

/// How many bytes from the start are labels for certain. Labels behind them are found by the general
/// walk; this one is only quick.
#[inline]
fn run_of_labels(series: &[u8], guess: &[u8]) -> usize {
    // The guess is a run of labels itself, so that a series that begins with it begins with a run.
    if !guess.is_empty() && series.starts_with(guess) {
        return guess.len();
    }
    let mut rest = series;
    while let [0x0a, len @ 0..0x80, after @ ..] = rest {
        match after.get(usize::from(*len)..) {
            Some(after) => rest = after,
            None => break,
        }
    }
    series.len() - rest.len()
}

/// `Sample {double value = 1; int64 timestamp = 2}`, in milliseconds. The start time that 2.0 adds in
/// field 3 is skipped: a reset is seen by the value.
#[inline]
pub(super) fn sample(message: &[u8]) -> Result<Sample, Broken> {
    const VALUE: Tag = Tag::new(1, Kind::Fixed64);
    const TIMESTAMP: Tag = Tag::new(2, Kind::Varint);
    let (mut value, mut millis) = (0.0, 0);
    let mut reader = Reader::new(message);
    // The usual order, without asking for tags.
    if let [0x09, b0, b1, b2, b3, b4, b5, b6, b7, 0x10, time @ ..] = message {
        value = f64::from_le_bytes([*b0, *b1, *b2, *b3, *b4, *b5, *b6, *b7]);
        reader = Reader::new(time);
        millis = reader.varint()? as i64;
    }
    while let Some(tag) = reader.tag()? {
        match tag {
            VALUE => value = reader.double()?,
            TIMESTAMP => millis = reader.varint()? as i64,
            _ => unexpected(&mut reader, tag, &[1, 2])?,
        }
    }
    Ok(Sample::new(Timestamp::from_millis(millis), value))
}

/// Labels as they stand in the body: `Label {string name = 1; string value = 2}` one after another.
struct LabelFields<'a> {
    fields: &'a [u8],
    limits: &'a Limits,
}

impl WireLabels for LabelFields<'_> {
    fn visit(&self, each: &mut dyn FnMut(&str, &str)) -> Result<(), Rejection> {
        let mut reader = Reader::new(self.fields);
        let mut count = 0;
        while let Ok(Some(LABEL)) = reader.tag() {
            let label = reader.bytes().map_err(|_| Rejection::Malformed)?;
            let (name, value) = name_and_value(label).map_err(|_| Rejection::Malformed)?;
            if name.len().max(value.len()) > self.limits.label_bytes {
                return Err(Rejection::LabelTooLong);
            }
            let name = std::str::from_utf8(name).map_err(|_| Rejection::NotUtf8)?;
            let value = std::str::from_utf8(value).map_err(|_| Rejection::NotUtf8)?;
            count += usize::from(name != NAME);
            if count > self.limits.labels {
                return Err(Rejection::TooManyLabels);
            }
            each(name, value);
        }
        Ok(())
    }
}

fn name_and_value(label: &[u8]) -> Result<(&[u8], &[u8]), Broken> {
    const VALUE: Tag = Tag::new(2, Kind::Bytes);
    let (mut name, mut value) = (&label[..0], &label[..0]);
    let mut reader = Reader::new(label);
    while let Some(tag) = reader.tag()? {
        match tag {
            LABEL => name = reader.bytes()?,
            VALUE => value = reader.bytes()?,
            _ => unexpected(&mut reader, tag, &[1, 2])?,
        }
    }
    Ok((name, value))
}

/// `MetricMetadata {type = 1; metric_family_name = 2; help = 4; unit = 5}`.
fn declare(message: &[u8], sink: &mut dyn Sink) -> Result<(), Broken> {
    const TYPE: Tag = Tag::new(1, Kind::Varint);
    const FAMILY: Tag = Tag::new(2, Kind::Bytes);
    const HELP: Tag = Tag::new(4, Kind::Bytes);
    const UNIT: Tag = Tag::new(5, Kind::Bytes);
    let (mut form, mut family, mut unit) = (0, &message[..0], &message[..0]);
    let mut reader = Reader::new(message);
    while let Some(tag) = reader.tag()? {
        match tag {
            TYPE => form = reader.varint()?,
            FAMILY => family = reader.bytes()?,
            UNIT => unit = reader.bytes()?,
            HELP => drop(reader.bytes()?),
            _ => unexpected(&mut reader, tag, &[1, 2, 4, 5])?,
        }
    }
    if let (Ok(family), Ok(unit)) = (std::str::from_utf8(family), std::str::from_utf8(unit)) {
        sink.declare(family, Declared { form: form_of(form), unit });
    }
    Ok(())
}

/// Prometheus' `MetricType`, the same numbers in both versions of remote write. Info metrics, state
/// sets and the parts of gauge histograms (4) go up and down.
pub(super) fn form_of(metric_type: u64) -> Form {
    match metric_type {
        1 => Form::Counter,
        2 | 4 | 6 | 7 => Form::Gauge,
        3 | 5 => Form::Distribution,
        _ => Form::Unknown,
    }
}
