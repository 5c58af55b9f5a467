//! OpenTelemetry's protocol for metrics: a protobuf `ExportMetricsServiceRequest`.

use super::distribution::{Distribution, Part};
use super::otlp_value::{attributes_of, resource_labels};
use crate::proto::{Broken, Kind, Reader, Tag, unexpected};
use crate::{
    Declared, Decoder, Error, Form, Limits, NAME, Rejection, Result, Sink, Tally, WireLabels,
    WireSeries,
};
use aiops_core::{Sample, Timestamp};
use xxhash_rust::xxh3::xxh3_128;

/// Reads OpenTelemetry metrics as protobuf, compressed with gzip or not.
///
/// | point | samples |
/// | --- | --- |
/// | gauge; sum that may fall | the value |
/// | sum that only grows | a counter, or deltas, as its temporality says |
/// | histogram, exponential histogram | `_count` and `_sum`, `_min` and `_max` where they are; quantiles 0.5, 0.95 and 0.99 (label `quantile`) of deltas |
/// | summary | `_count`, `_sum`, and its quantiles |
///
/// Quantiles of cumulative histograms are left out: they would describe the whole life of the
/// process. The attributes of the resource and the point become labels, as does the scope's name
/// (`otel.scope.name`). A point that says that it has no value is a gap.
///
/// Each sample counts; a histogram's point gives several. Text that is not UTF-8 rejects its series.
///
/// Source: `opentelemetry/proto/metrics/v1/metrics.proto` of opentelemetry-proto 1.5.
#[derive(Debug, Default)]
pub struct Otlp {
    limits: Limits,
    gzip: super::gzip::Gzip,
    walk: Walk,
}

#[derive(Debug, Default)]
struct Walk {
    identity: Vec<u8>,
    distribution: Distribution,
    tally: Tally,
    /// Samples beyond the limit: counted, and no longer delivered.
    over: usize,
}

const FORMAT: &str = "otlp";

/// Field 1 of requests, resources, scopes and data; the container of each level.
const FIRST: Tag = Tag::new(1, Kind::Bytes);
const SECOND: Tag = Tag::new(2, Kind::Bytes);

impl Otlp {
    /// A decoder with these limits.
    pub fn new(limits: Limits) -> Self {
        Otlp { limits, ..Otlp::default() }
    }
}

impl Decoder for Otlp {
    fn format(&self) -> &'static str {
        FORMAT
    }

    fn decode(&mut self, body: &[u8], now: Timestamp, sink: &mut dyn Sink) -> Result<Tally> {
        let body = self.gzip.decompress(FORMAT, body, &self.limits)?;
        sink.begin(FORMAT, now);
        (self.walk.tally, self.walk.over) = (Tally::default(), 0);
        let walked = self.walk.request(body, &self.limits, sink);
        let tally = std::mem::take(&mut self.walk.tally);
        if self.walk.over > 0 {
            let limit = self.limits.items;
            let (what, got, before) = ("items", limit + self.walk.over, Box::new(tally));
            return Err(Error::TooLarge { format: FORMAT, what, limit, got, before });
        }
        walked.map(|()| tally.clone()).map_err(|broken| Error::Malformed {
            format: FORMAT,
            offset: broken.offset_in(body),
            reason: broken.reason.into(),
            before: Box::new(tally),
        })
    }
}

/// What stands above a point.
#[derive(Clone, Copy)]
struct Above<'a> {
    /// The `ResourceMetrics` whose `resource` fields hold the attributes.
    resource: &'a [u8],
    resource_hash: u128,
    scope: &'a [u8],
    metric: &'a [u8],
    unit: &'a [u8],
    limits: &'a Limits,
}

impl Walk {
    fn request(&mut self, body: &[u8], limits: &Limits, sink: &mut dyn Sink) -> Result<(), Broken> {
        let mut reader = Reader::new(body);
        while let Some(tag) = reader.tag()? {
            match tag {
                FIRST => self.resource(reader.bytes()?, limits, sink)?,
                _ => unexpected(&mut reader, tag, &[1])?,
            }
        }
        Ok(())
    }

    /// `ResourceMetrics {resource = 1; scope_metrics = 2; schema_url = 3}`.
    fn resource(
        &mut self,
        message: &[u8],
        limits: &Limits,
        sink: &mut dyn Sink,
    ) -> Result<(), Broken> {
        // The resource may stand behind its metrics, and protobuf merges several into one.
        let mut resource_hash = 0;
        let mut reader = Reader::new(message);
        while let Some(tag) = reader.tag()? {
            match tag {
                FIRST => resource_hash = chain(resource_hash, reader.bytes()?),
                _ => unexpected(&mut reader, tag, &[1])?,
            }
        }
        let above =
            Above { resource: message, resource_hash, scope: &[], metric: &[], unit: &[], limits };
        let mut reader = Reader::new(message);
        while let Some(tag) = reader.tag()? {
            match tag {
                SECOND => self.scope(reader.bytes()?, above, sink)?,
                _ => unexpected(&mut reader, tag, &[2])?,
            }
        }
        Ok(())
    }

    /// `ScopeMetrics {scope = 1; metrics = 2; schema_url = 3}`, the scope being `{name = 1; ...}`.
    fn scope<'a>(
        &mut self,
        message: &'a [u8],
        mut above: Above<'a>,
        sink: &mut dyn Sink,
    ) -> Result<(), Broken> {
        let mut reader = Reader::new(message);
        while let Some(tag) = reader.tag()? {
            match tag {
                FIRST => {
                    let mut scope = Reader::new(reader.bytes()?);
                    while let Some(tag) = scope.tag()? {
                        match tag {
                            FIRST => above.scope = scope.bytes()?,
                            _ => unexpected(&mut scope, tag, &[1])?,
                        }
                    }
                }
                _ => unexpected(&mut reader, tag, &[1])?,
            }
        }
        let mut reader = Reader::new(message);
        while let Some(tag) = reader.tag()? {
            match tag {
                SECOND => self.metric(reader.bytes()?, above, sink)?,
                _ => unexpected(&mut reader, tag, &[2])?,
            }
        }
        Ok(())
    }

    /// `Metric {name = 1; description = 2; unit = 3; oneof data = 5, 7, 9, 10, 11}`.
    fn metric<'a>(
        &mut self,
        message: &'a [u8],
        mut above: Above<'a>,
        sink: &mut dyn Sink,
    ) -> Result<(), Broken> {
        const UNIT: Tag = Tag::new(3, Kind::Bytes);
        const DATA: [u32; 5] = [GAUGE, SUM, HISTOGRAM, EXPONENTIAL, SUMMARY];
        // Of the alternatives the last counts, merged with those of the same kind right before it.
        let (mut kind, mut start) = (0, message);
        let mut reader = Reader::new(message);
        loop {
            let here = reader.rest();
            let Some(tag) = reader.tag()? else { break };
            match tag {
                FIRST => above.metric = reader.bytes()?,
                UNIT => above.unit = reader.bytes()?,
                _ if DATA.contains(&tag.field()) && tag == Tag::new(tag.field(), Kind::Bytes) => {
                    reader.bytes()?;
                    if tag.field() != kind {
                        (kind, start) = (tag.field(), here);
                    }
                }
                _ => unexpected(
                    &mut reader,
                    tag,
                    &[1, 3, GAUGE, SUM, HISTOGRAM, EXPONENTIAL, SUMMARY],
                )?,
            }
        }
        let data = Tag::new(kind.max(1), Kind::Bytes);
        let mut fields = Reader::new(start);
        let mut sum = Aggregation::default();
        while let Some(tag) = fields.tag()? {
            if tag == data && kind != 0 {
                sum.read(fields.bytes()?, kind)?;
            } else {
                fields.skip(tag)?;
            }
        }
        let form = sum.form(kind);
        let mut fields = Reader::new(start);
        while let Some(tag) = fields.tag()? {
            if tag != data || kind == 0 {
                fields.skip(tag)?;
                continue;
            }
            let mut points = Reader::new(fields.bytes()?);
            while let Some(tag) = points.tag()? {
                match tag {
                    FIRST if matches!(kind, GAUGE | SUM) => {
                        self.number(points.bytes()?, form, above, sink)?;
                    }
                    FIRST => self.distribution(points.bytes()?, kind, form, above, sink)?,
                    _ => points.skip(tag)?,
                }
            }
        }
        Ok(())
    }

    /// `NumberDataPoint {attributes = 7; time_unix_nano = 3; as_double = 4; as_int = 6; flags = 8}`.
    fn number(
        &mut self,
        message: &[u8],
        form: Form,
        above: Above<'_>,
        sink: &mut dyn Sink,
    ) -> Result<(), Broken> {
        const DOUBLE: Tag = Tag::new(4, Kind::Fixed64);
        const INT: Tag = Tag::new(6, Kind::Fixed64);
        const FLAGS: Tag = Tag::new(8, Kind::Varint);
        let (mut time, mut value, mut flags) = (0, None, 0);
        let mut reader = Reader::new(message);
        while let Some(tag) = reader.tag()? {
            match tag {
                START => drop(reader.fixed64()?),
                TIME => time = reader.fixed64()?,
                DOUBLE => value = Some(reader.double()?),
                INT => value = Some(reader.fixed64()? as i64 as f64),
                FLAGS => flags = reader.varint()?,
                _ => unexpected(
                    &mut reader,
                    tag,
                    if tag.field() == 7 { &[] } else { &[2, 3, 4, 6, 8] },
                )?,
            }
        }
        let sample = Sample::new(
            moment(time),
            if flags & 1 == 1 { f64::NAN } else { value.unwrap_or(f64::NAN) },
        );
        let series = Series { above, point: message, attributes: 7, part: Part::Whole };
        self.emit(series, form, sample, sink);
        Ok(())
    }

    fn distribution(
        &mut self,
        message: &[u8],
        kind: u32,
        form: Form,
        above: Above<'_>,
        sink: &mut dyn Sink,
    ) -> Result<(), Broken> {
        let mut distribution = std::mem::take(&mut self.distribution);
        let (attributes, read) = match kind {
            HISTOGRAM => (9, distribution.read_histogram(message)),
            EXPONENTIAL => (1, distribution.read_exponential(message)),
            _ => (7, distribution.read_summary(message)),
        };
        if read.is_ok() {
            let time = moment(distribution.time);
            distribution.samples(form == Form::Delta, &mut |part, value| {
                let series = Series { above, point: message, attributes, part };
                let form = if part.grows() { form } else { Form::Gauge };
                self.emit(series, form, Sample::new(time, value), sink);
            });
        }
        self.distribution = distribution;
        read
    }

    fn emit(&mut self, series: Series<'_>, form: Form, sample: Sample, sink: &mut dyn Sink) {
        if self.tally.items() as usize >= series.above.limits.items {
            self.over += 1;
            return;
        }
        series.identify(&mut self.identity);
        let unit = std::str::from_utf8(series.above.unit).unwrap_or_default();
        let declared = Declared { form, unit };
        let wire = WireSeries { identity: &self.identity, labels: &series, declared };
        sink.points(&wire, &[sample], &mut self.tally);
    }
}

const GAUGE: u32 = 5;
const SUM: u32 = 7;
const HISTOGRAM: u32 = 9;
const EXPONENTIAL: u32 = 10;
const SUMMARY: u32 = 11;
const START: Tag = Tag::new(2, Kind::Fixed64);
const TIME: Tag = Tag::new(3, Kind::Fixed64);

/// A hash of all parts of a resource, in their order.
fn chain(before: u128, part: &[u8]) -> u128 {
    before.wrapping_mul(31) ^ xxh3_128(part)
}

fn moment(nanos: u64) -> Timestamp {
    Timestamp::from_nanos(i64::try_from(nanos).unwrap_or(i64::MAX))
}

/// `Sum {aggregation_temporality = 2; is_monotonic = 3}`; histograms have the former.
#[derive(Default)]
struct Aggregation {
    temporality: u64,
    monotonic: bool,
}

impl Aggregation {
    fn read(&mut self, message: &[u8], kind: u32) -> Result<(), Broken> {
        const TEMPORALITY: Tag = Tag::new(2, Kind::Varint);
        const MONOTONIC: Tag = Tag::new(3, Kind::Varint);
        let mut reader = Reader::new(message);
        while let Some(tag) = reader.tag()? {
            match tag {
                FIRST => drop(reader.bytes()?),
                TEMPORALITY if kind != GAUGE && kind != SUMMARY => {
                    self.temporality = reader.varint()?;
                }
                MONOTONIC if kind == SUM => self.monotonic = reader.varint()? != 0,
                _ => {
                    let known: &[u32] = match kind {
                        GAUGE | SUMMARY => &[1],
                        SUM => &[1, 2, 3],
                        _ => &[1, 2],
                    };
                    unexpected(&mut reader, tag, known)?;
                }
            }
        }
        Ok(())
    }

    fn form(&self, kind: u32) -> Form {
        const DELTA: u64 = 1;
        const CUMULATIVE: u64 = 2;
        match (kind, self.temporality) {
            (GAUGE, _) => Form::Gauge,
            (SUMMARY, _) => Form::Counter,
            // What may fall and comes as changes is watched as its speed.
            (_, DELTA) => Form::Delta,
            (SUM, CUMULATIVE) if !self.monotonic => Form::Gauge,
            (_, CUMULATIVE) => Form::Counter,
            _ => Form::Unknown,
        }
    }
}

/// One series of a point.
#[derive(Clone, Copy)]
struct Series<'a> {
    above: Above<'a>,
    point: &'a [u8],
    /// The field of the point that holds its attributes.
    attributes: u32,
    part: Part,
}

impl Series<'_> {
    /// Bytes that identify the series: the hash of the resource, scope, metric, part and the bytes of
    /// the attributes. Texts are preceded by their lengths.
    fn identify(&self, out: &mut Vec<u8>) {
        out.clear();
        out.extend_from_slice(&self.above.resource_hash.to_le_bytes());
        for text in [self.above.scope, self.above.metric, self.part.suffix().as_bytes()] {
            out.extend_from_slice(&(text.len() as u32).to_le_bytes());
            out.extend_from_slice(text);
        }
        out.extend_from_slice(&self.part.quantile().unwrap_or(-1.0).to_le_bytes());
        let mut reader = Reader::new(self.point);
        let attribute = Tag::new(self.attributes, Kind::Bytes);
        while let Ok(Some(tag)) = reader.tag() {
            if tag != attribute {
                let _ = reader.skip(tag);
            } else if let Ok(bytes) = reader.bytes() {
                out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
                out.extend_from_slice(bytes);
            }
        }
    }
}

impl WireLabels for Series<'_> {
    fn visit(&self, each: &mut dyn FnMut(&str, &str)) -> Result<(), Rejection> {
        let text = |bytes| std::str::from_utf8(bytes).map_err(|_| Rejection::NotUtf8);
        let Above { metric, scope, resource, limits, .. } = self.above;
        let mut count = 0;
        let mut checked = |name: &str, value: &str| {
            if name.len().max(value.len()) > limits.label_bytes {
                return Err(Rejection::LabelTooLong);
            }
            count += 1;
            if count > limits.labels + 1 {
                return Err(Rejection::TooManyLabels);
            }
            each(name, value);
            Ok(())
        };
        checked(NAME, &format!("{}{}", text(metric)?, self.part.suffix()))?;
        if !scope.is_empty() {
            checked("otel.scope.name", text(scope)?)?;
        }
        if let Some(quantile) = self.part.quantile() {
            checked("quantile", &quantile.to_string())?;
        }
        resource_labels(resource, &mut checked)?;
        attributes_of(self.point, self.attributes, &mut checked)
    }
}
