//! Prometheus remote write 2.0: a snappy block around a protobuf `io.prometheus.write.v2.Request`.

use super::remote_write_v1::{form_of, sample};
use crate::proto::{Broken, Kind, Reader, Tag, unexpected};
use crate::{
    Declared, Decoder, Error, Limits, NAME, Rejection, Result, Sink, Tally, WireLabels, WireSeries,
};
use aiops_core::{Sample, Timestamp};
use xxhash_rust::xxh3::xxh3_64;

/// Reads Prometheus remote write 2.0.
///
/// Texts stand once in a table, and series refer to them by number; the numbers change from body to
/// body. So every text of the table is hashed once (64 bits of xxh3), and a series is told by what is
/// mixed from the hashes of its labels. Two texts with one hash would be taken for one: a chance of
/// one in 10^7 at a million texts, as for series themselves.
/// Type and unit come with each series. Stale markers arrive as gaps; native histograms and exemplars
/// are counted as [`Rejection::Unsupported`]. A reference beyond the table rejects its series.
///
/// Source: the Prometheus remote write 2.0 specification, `io/prometheus/write/v2/types.proto`.
#[derive(Debug, Default)]
pub struct RemoteWriteV2 {
    limits: Limits,
    snappy: super::snappy::Snappy,
    walk: Walk,
}

/// Scratch space of one walk.
#[derive(Debug, Default)]
struct Walk {
    symbols: Vec<Symbol>,
    /// The hash of each symbol, close together.
    hashes: Vec<u64>,
    points: Vec<Sample>,
    tally: Tally,
    items: usize,
}

/// A text of the table: where it stands in the body.
#[derive(Debug, Clone, Copy)]
struct Symbol {
    start: usize,
    len: usize,
}

const FORMAT: &str = "remote_write_v2";

const SYMBOL: Tag = Tag::new(4, Kind::Bytes);
const TIMESERIES: Tag = Tag::new(5, Kind::Bytes);
const REFS: Tag = Tag::new(1, Kind::Bytes);
const REF: Tag = Tag::new(1, Kind::Varint);
const SAMPLE: Tag = Tag::new(2, Kind::Bytes);
const HISTOGRAM: Tag = Tag::new(3, Kind::Bytes);
const EXEMPLAR: Tag = Tag::new(4, Kind::Bytes);
const METADATA: Tag = Tag::new(5, Kind::Bytes);

impl RemoteWriteV2 {
    /// A decoder with these limits.
    pub fn new(limits: Limits) -> Self {
        RemoteWriteV2 { limits, ..RemoteWriteV2::default() }
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

impl Decoder for RemoteWriteV2 {
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
        // The table may stand behind the series that refer to it, so it is read first.
        let mut walked = self.table(body, limits);
        if walked.is_ok() && self.symbols.len() <= limits.items {
            walked = self.request(body, limits, sink);
        }
        let before = Box::new(std::mem::take(&mut self.tally));
        let too_large = |what, got| {
            let before = before.clone();
            Err(Error::TooLarge { format: FORMAT, what, limit: limits.items, got, before })
        };
        match walked {
            Ok(()) if self.symbols.len() > limits.items => too_large("symbols", self.symbols.len()),
            Ok(()) if self.items > limits.items => too_large("items", self.items),
            Ok(()) => Ok(*before),
            Err(broken) => Err(Error::Malformed {
                format: FORMAT,
                offset: broken.offset_in(body),
                reason: broken.reason.into(),
                before,
            }),
        }
    }

    fn table(&mut self, body: &[u8], limits: &Limits) -> Result<(), Broken> {
        self.symbols.clear();
        self.hashes.clear();
        let mut reader = Reader::new(body);
        while let Some(tag) = reader.tag()? {
            if tag != SYMBOL {
                unexpected(&mut reader, tag, if tag == TIMESERIES { &[] } else { &[4, 5] })?;
                continue;
            }
            let text = reader.bytes()?;
            let start = body.len() - reader.rest().len() - text.len();
            self.symbols.push(Symbol { start, len: text.len() });
            self.hashes.push(xxh3_64(text));
            if self.symbols.len() > limits.items {
                break;
            }
        }
        Ok(())
    }

    /// Ends early, without an error of its own, when there are more items than allowed.
    fn request(&mut self, body: &[u8], limits: &Limits, sink: &mut dyn Sink) -> Result<(), Broken> {
        let mut reader = Reader::new(body);
        while let Some(tag) = reader.tag()? {
            if tag != TIMESERIES {
                reader.skip(tag)?;
                continue;
            }
            self.series(body, reader.bytes()?, limits, sink)?;
            if self.items > limits.items {
                break;
            }
        }
        Ok(())
    }

    fn series(
        &mut self,
        body: &[u8],
        series: &[u8],
        limits: &Limits,
        sink: &mut dyn Sink,
    ) -> Result<(), Broken> {
        self.points.clear();
        let mut identity = Mix::default();
        let mut unsupported = 0;
        let (mut metric_type, mut unit) = (0, 0);
        let mut reader = Reader::new(series);
        while let Some(tag) = reader.tag()? {
            match tag {
                SAMPLE => self.points.push(sample(reader.bytes()?)?),
                REFS => {
                    let mut packed = Reader::new(reader.bytes()?);
                    while !packed.rest().is_empty() {
                        identity.add(packed.varint()?, &self.hashes);
                    }
                }
                REF => identity.add(reader.varint()?, &self.hashes),
                METADATA => (metric_type, unit) = metadata(reader.bytes()?, (metric_type, unit))?,
                HISTOGRAM | EXEMPLAR => {
                    reader.bytes()?;
                    unsupported += 1;
                }
                _ => unexpected(&mut reader, tag, &[1, 2, 3, 4, 5])?,
            }
        }
        self.items += self.points.len() + unsupported;
        if unsupported > 0 {
            self.tally.reject(Rejection::Unsupported, unsupported);
        }
        if self.points.is_empty() || self.items > limits.items {
            return Ok(());
        }
        if identity.lost || identity.count % 2 == 1 {
            self.tally.reject(Rejection::Malformed, self.points.len());
            return Ok(());
        }
        let labels = Referred { body, series, symbols: &self.symbols, limits };
        let declared =
            Declared { form: form_of(metric_type), unit: labels.text(unit).unwrap_or_default() };
        let identity = identity.bytes();
        let series = WireSeries { identity: &identity, labels: &labels, declared };
        sink.points(&series, &self.points, &mut self.tally);
        Ok(())
    }
}

/// `Metadata {type = 1; help_ref = 3; unit_ref = 4}`, merged into what an earlier one said.
fn metadata(message: &[u8], earlier: (u64, u32)) -> Result<(u64, u32), Broken> {
    const TYPE: Tag = Tag::new(1, Kind::Varint);
    const HELP: Tag = Tag::new(3, Kind::Varint);
    const UNIT: Tag = Tag::new(4, Kind::Varint);
    let (mut metric_type, mut unit) = earlier;
    let mut reader = Reader::new(message);
    while let Some(tag) = reader.tag()? {
        match tag {
            TYPE => metric_type = reader.varint()?,
            UNIT => unit = reader.varint()? as u32,
            HELP => drop(reader.varint()?),
            _ => unexpected(&mut reader, tag, &[1, 3, 4])?,
        }
    }
    Ok((metric_type, unit))
}

/// An identity that grows with each reference to the table. The order counts.
#[derive(Default)]
struct Mix {
    low: u64,
    high: u64,
    /// The hash of a name whose value comes next.
    name: u64,
    count: usize,
    /// Whether a reference led beyond the table.
    lost: bool,
}

impl Mix {
    #[inline]
    fn add(&mut self, symbol: u64, hashes: &[u64]) {
        // Numbers wider than 32 bits are cut, as every protobuf decoder does.
        let Some(&hash) = hashes.get(symbol as u32 as usize) else {
            self.lost = true;
            return;
        };
        self.count += 1;
        if self.count % 2 == 1 {
            self.name = hash;
        } else {
            self.pair(self.name, hash);
        }
    }

    /// Two folded multiplications that do not wait for each other, with the odd constants of the golden
    /// ratio and of splitmix64. Name and value play other parts in the second.
    #[inline]
    fn pair(&mut self, name: u64, value: u64) {
        self.low = fold(self.low ^ name, value ^ 0x9e37_79b9_7f4a_7c15);
        self.high = fold(self.high.wrapping_add(value), name ^ 0xbf58_476d_1ce4_e5b9);
    }

    fn bytes(&self) -> [u8; 24] {
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&self.low.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.high.to_le_bytes());
        bytes[16..].copy_from_slice(&(self.count as u64).to_le_bytes());
        bytes
    }
}

/// Both halves of the product, so that no bit of one factor is lost to the other, and both factors, so that a
/// zero loses nothing either.
#[inline]
fn fold(x: u64, y: u64) -> u64 {
    let product = u128::from(x) * u128::from(y);
    (product as u64)
        ^ ((product >> 64) as u64).rotate_left(32)
        ^ x.rotate_left(17)
        ^ y.rotate_left(41)
}

/// Labels as numbers of texts in the fields 1 of a series: name, value, name, value.
struct Referred<'a> {
    body: &'a [u8],
    series: &'a [u8],
    symbols: &'a [Symbol],
    limits: &'a Limits,
}

impl<'a> Referred<'a> {
    fn text(&self, symbol: u32) -> Result<&'a str, Rejection> {
        let Symbol { start, len } =
            *self.symbols.get(symbol as usize).ok_or(Rejection::Malformed)?;
        if len > self.limits.label_bytes {
            return Err(Rejection::LabelTooLong);
        }
        std::str::from_utf8(&self.body[start..start + len]).map_err(|_| Rejection::NotUtf8)
    }
}

impl Referred<'_> {
    /// Hands out all references, in order. The series was walked over before, so nothing is damaged.
    fn refs(&self, mut each: impl FnMut(u32) -> Result<(), Rejection>) -> Result<(), Rejection> {
        let damaged = |_: Broken| Rejection::Malformed;
        let mut reader = Reader::new(self.series);
        while let Some(tag) = reader.tag().map_err(damaged)? {
            match tag {
                REFS => {
                    let mut packed = Reader::new(reader.bytes().map_err(damaged)?);
                    while !packed.rest().is_empty() {
                        each(packed.varint().map_err(damaged)? as u32)?;
                    }
                }
                REF => each(reader.varint().map_err(damaged)? as u32)?,
                _ => reader.skip(tag).map_err(damaged)?,
            }
        }
        Ok(())
    }
}

impl WireLabels for Referred<'_> {
    fn visit(&self, each: &mut dyn FnMut(&str, &str)) -> Result<(), Rejection> {
        let (mut name, mut count) = (None, 0);
        self.refs(|symbol| {
            let text = self.text(symbol)?;
            let Some(name) = name.take() else {
                name = Some(text);
                return Ok(());
            };
            count += usize::from(name != NAME);
            if count > self.limits.labels {
                return Err(Rejection::TooManyLabels);
            }
            each(name, text);
            Ok(())
        })
    }
}
