//! Samples as CSV: one sample a row, or one series a column.

use crate::identity::Identity;
use crate::{Declared, Decoder, Error, Form, Limits, NAME, Rejection, Result, Sink, Tally, time};
use aiops_core::{Sample, SeriesKey, Timestamp};
use csv::ByteRecord;
use std::collections::BTreeMap;

/// Reads samples as CSV with a header.
///
/// The time stands in a column `time` or `timestamp` (Unix seconds or RFC 3339), `time_ms` or
/// `time_ns`. The rest of the header says which of two layouts it is:
///
/// - **long**, when there are columns `name` and `value`: one sample a row. `type` and `unit` declare
///   what they declare in [JSON lines](super::JsonLines); every other column is a label.
/// - **wide**, otherwise: one series a column, named by its header, or described by
///   [`describe`](Self::describe).
///
/// An empty cell is no sample, so that series of different step share a file; `NaN` is a gap. A row
/// or cell that cannot be read is rejected and the next one is read.
///
/// ```
/// use aiops_core::{SeriesKey, Timestamp};
/// use aiops_observe::{Decoder, Form, Inbox, NormaliserConfig};
/// use aiops_observe::decode::{CsvColumn, CsvSamples};
///
/// let mut decoder = CsvSamples::default();
/// let key = SeriesKey::new("http_requests", [("service", "shop")]);
/// decoder.describe("s1", CsvColumn { key, form: Form::Counter, unit: String::new() });
///
/// let mut normaliser = NormaliserConfig::default().build()?;
/// let mut inbox = Inbox::default();
/// let body = b"time_ms,s0,s1\n1000,0.5,100\n2000,,130\n";
/// decoder.decode(body, Timestamp::from_secs(2), &mut normaliser.sink(&mut inbox))?;
/// let rows: Vec<_> = inbox.batch().iter().collect();
/// assert_eq!(rows.len(), 2, "one of the gauge s0, one rate of the counter s1");
/// assert_eq!(rows[1].1.value, 30.0);
/// # Ok::<(), aiops_observe::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct CsvSamples {
    limits: Limits,
    described: BTreeMap<String, CsvColumn>,
    identity: Identity,
    record: ByteRecord,
}

/// What a column of the wide layout holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CsvColumn {
    /// The series. Its tenant is ignored: that is a matter of the sink.
    pub key: SeriesKey,
    /// How its values are to be read.
    pub form: Form,
    /// Its unit, in the words of Prometheus or UCUM; empty if unknown.
    pub unit: String,
}

impl CsvSamples {
    /// A decoder with these limits.
    pub fn new(limits: Limits) -> Self {
        CsvSamples { limits, ..CsvSamples::default() }
    }

    /// Says what the column `header` of the wide layout holds.
    pub fn describe(&mut self, header: impl Into<String>, column: CsvColumn) {
        self.described.insert(header.into(), column);
    }
}

const FORMAT: &str = "csv";

impl Decoder for CsvSamples {
    fn format(&self) -> &'static str {
        FORMAT
    }

    fn decode(&mut self, body: &[u8], now: Timestamp, sink: &mut dyn Sink) -> Result<Tally> {
        self.limits.check_body(FORMAT, body.len())?;
        sink.begin(FORMAT, now);
        let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(body);
        let mut tally = Tally::default();
        let header = reader.byte_headers().map_err(|error| malformed(&error, &tally))?.clone();
        let time = TimeColumn::find(&header).ok_or_else(|| Error::Malformed {
            format: FORMAT,
            offset: 0,
            reason: "no column time, timestamp, time_ms or time_ns".into(),
            before: Box::default(),
        })?;
        let layout = match (find(&header, "name"), find(&header, "value")) {
            (Some(name), Some(value)) => Layout::Long(Long { name, value, time }),
            _ => Layout::Wide(self.wide(&header, time)),
        };
        loop {
            let read = reader.read_byte_record(&mut self.record);
            if !read.map_err(|error| malformed(&error, &tally))? {
                return Ok(tally);
            }
            match &layout {
                Layout::Long(long) => self.long_row(&header, long, sink, &mut tally),
                Layout::Wide(columns) => self.wide_row(time, columns, sink, &mut tally),
            }
            self.limits.check_items(FORMAT, &tally)?;
        }
    }
}

enum Layout {
    Long(Long),
    Wide(Vec<Wide>),
}

struct Long {
    name: usize,
    value: usize,
    time: TimeColumn,
}

struct Wide {
    place: usize,
    identity: std::result::Result<Identity, Rejection>,
    form: Form,
    unit: String,
}

impl CsvSamples {
    fn long_row(
        &mut self,
        header: &ByteRecord,
        long: &Long,
        sink: &mut dyn Sink,
        tally: &mut Tally,
    ) {
        if self.record.len() != header.len() {
            return tally.reject(Rejection::Malformed, 1);
        }
        let (mut form, mut unit) = (Form::Unknown, "");
        self.identity.clear();
        for (place, (column, cell)) in header.iter().zip(&self.record).enumerate() {
            let (Ok(column), Ok(cell)) = (std::str::from_utf8(column), std::str::from_utf8(cell))
            else {
                return tally.reject(Rejection::NotUtf8, 1);
            };
            match column {
                _ if place == long.time.place || place == long.value => {}
                "name" => self.identity.push(NAME, cell),
                "type" => form = Form::from_word(cell),
                "unit" => unit = cell,
                _ if cell.is_empty() => {}
                _ => self.identity.push(column, cell),
            }
        }
        let sample = (|| {
            self.identity.check(&self.limits)?;
            if self.record[long.name].is_empty() {
                return Err(Rejection::MissingField);
            }
            let value = number(&self.record[long.value]).ok_or(Rejection::BadValue)?;
            let time = long.time.read(&self.record).ok_or(Rejection::BadTime)?;
            Ok(Sample::new(time, value))
        })();
        match sample {
            Ok(sample) => {
                let series = self.identity.series(Declared { form, unit });
                sink.points(&series, &[sample], tally);
            }
            Err(reason) => tally.reject(reason, 1),
        }
    }

    fn wide_row(&self, time: TimeColumn, columns: &[Wide], sink: &mut dyn Sink, tally: &mut Tally) {
        let time = time.read(&self.record);
        for column in columns {
            let Some(cell) = self.record.get(column.place).filter(|cell| !cell.is_empty()) else {
                continue;
            };
            let sample = (|| {
                let identity = column.identity.as_ref().map_err(|reason| *reason)?;
                let time = time.ok_or(Rejection::BadTime)?;
                let value = number(cell).ok_or(Rejection::BadValue)?;
                Ok((identity, Sample::new(time, value)))
            })();
            match sample {
                Ok((identity, sample)) => {
                    let declared = Declared { form: column.form, unit: &column.unit };
                    sink.points(&identity.series(declared), &[sample], tally);
                }
                Err(reason) => tally.reject(reason, 1),
            }
        }
    }

    fn wide(&self, header: &ByteRecord, time: TimeColumn) -> Vec<Wide> {
        let places = header.iter().enumerate().filter(|&(place, _)| place != time.place);
        let column = |(place, header)| {
            let mut identity = Identity::default();
            let Ok(header) = std::str::from_utf8(header) else {
                let (form, unit) = (Form::Unknown, String::new());
                return Wide { place, identity: Err(Rejection::NotUtf8), form, unit };
            };
            let described = self.described.get(header);
            identity.push(NAME, described.map_or(header, |column| &column.key.name));
            for (name, value) in described.iter().flat_map(|column| column.key.labels.iter()) {
                identity.push(name, value);
            }
            let (form, unit) = described.map_or((Form::Unknown, String::new()), |column| {
                (column.form, column.unit.clone())
            });
            Wide { place, identity: identity.check(&self.limits).map(|()| identity), form, unit }
        };
        places.map(column).collect()
    }
}

fn malformed(error: &csv::Error, before: &Tally) -> Error {
    let offset = error.position().map_or(0, |position| position.byte() as usize);
    let (reason, before) = (error.to_string(), Box::new(before.clone()));
    Error::Malformed { format: FORMAT, offset, reason, before }
}

fn find(header: &ByteRecord, name: &str) -> Option<usize> {
    header.iter().position(|column| column == name.as_bytes())
}

fn number(cell: &[u8]) -> Option<f64> {
    std::str::from_utf8(cell).ok()?.trim().parse().ok()
}

type ReadTime = fn(&str) -> Option<Timestamp>;

#[derive(Clone, Copy)]
struct TimeColumn {
    place: usize,
    read: ReadTime,
}

impl TimeColumn {
    fn find(header: &ByteRecord) -> Option<TimeColumn> {
        let known: [(&str, ReadTime); 4] = [
            ("time", time::any),
            ("timestamp", time::any),
            ("time_ms", |text| text.parse().ok().map(Timestamp::from_millis)),
            ("time_ns", |text| text.parse().ok().map(Timestamp::from_nanos)),
        ];
        known
            .into_iter()
            .find_map(|(name, read)| Some(TimeColumn { place: find(header, name)?, read }))
    }

    fn read(self, record: &ByteRecord) -> Option<Timestamp> {
        (self.read)(std::str::from_utf8(record.get(self.place)?).ok()?.trim())
    }
}
