//! One block in columns, and its two Parquet tables.
//!
//! The **points** table holds `series` (u64, the [`SeriesHash`]), `time` (UTC timestamp) and `value`
//! (double), sorted by series and time; a **roll-up** holds `min`, `max`, `mean` and `count` instead
//! of the value. The **series** table says what each hash is called and where its rows begin. Three
//! columns of points cost about as much as the values alone: the series is one run a series, and a
//! regular clock has one second difference.

use super::HistoryError;
use super::rollup::Rollup;
use aiops_core::{Labels, SeriesHash, SeriesKey};
use bytes::Bytes;
use parquet::basic::{Compression, Encoding, Repetition, ZstdLevel};
use parquet::column::reader::get_typed_column_reader;
use parquet::data_type::{ByteArray, DataType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::file::reader::{FileReader, RowGroupReader, SerializedFileReader};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::ColumnPath;
use rustc_hash::FxHashSet;
use std::sync::Arc;

/// Rows of several series: all of the first one by time, then the next one, by ascending hash.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Table<V> {
    pub(super) series: Vec<Run>,
    pub(super) times: Vec<i64>,
    pub(super) values: Vec<V>,
}

/// A series and how many rows it has.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Run {
    pub(super) hash: SeriesHash,
    pub(super) key: Arc<SeriesKey>,
    pub(super) rows: usize,
}

/// What the last columns of a table hold.
pub(super) trait Values: Sized + Copy {
    const SCHEMA: &'static str;
    fn tune(properties: WriterPropertiesBuilder, values: &[Self]) -> WriterPropertiesBuilder;
    fn write(
        group: &mut SerializedRowGroupWriter<'_, Vec<u8>>,
        values: &[Self],
    ) -> Result<(), ParquetError>;
    fn read(
        group: &dyn RowGroupReader,
        skip: usize,
        take: usize,
        out: &mut Vec<Self>,
    ) -> Result<(), ParquetError>;
}

/// Rows a row group: large enough for a dictionary to pay, small enough to skip to a series.
const GROUP: usize = 1 << 20;

impl<V: Values> Table<V> {
    /// Each series with its rows.
    pub(super) fn runs(&self) -> impl Iterator<Item = (&Run, &[i64], &[V])> {
        let mut first = 0;
        self.series.iter().map(move |run| {
            let rows = first..first + run.rows;
            first = rows.end;
            (run, &self.times[rows.clone()], &self.values[rows])
        })
    }

    /// Appends the rows of the next series.
    pub(super) fn push(&mut self, run: &Run, times: &[i64], values: &[V]) {
        self.series.push(Run { rows: times.len(), ..run.clone() });
        self.times.extend_from_slice(times);
        self.values.extend_from_slice(values);
    }

    /// The points or roll-ups as a Parquet file.
    pub(super) fn to_parquet(&self) -> Result<Vec<u8>, ParquetError> {
        let millis = self.times.iter().all(|time| time % 1_000_000 == 0);
        let unit = if millis { "MILLIS" } else { "NANOS" };
        let schema = Arc::new(parse_message_type(&V::SCHEMA.replace("UNIT", unit))?);
        let properties = V::tune(properties(), &self.values);
        let mut file = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties.build()))?;
        let mut hashes = Vec::with_capacity(GROUP.min(self.times.len()));
        let (mut run, mut left) = (0, self.series.first().map_or(0, |run| run.rows));
        for (times, values) in self.times.chunks(GROUP).zip(self.values.chunks(GROUP)) {
            hashes.clear();
            while hashes.len() < times.len() {
                let rows = left.min(times.len() - hashes.len());
                hashes.resize(hashes.len() + rows, self.series[run].hash.as_u64() as i64);
                left -= rows;
                if left == 0 {
                    run += 1;
                    left = self.series.get(run).map_or(0, |run| run.rows);
                }
            }
            let mut group = file.next_row_group()?;
            write::<Int64Type>(&mut group, &hashes)?;
            if millis {
                let times: Vec<_> = times.iter().map(|time| time / 1_000_000).collect();
                write::<Int64Type>(&mut group, &times)?;
            } else {
                write::<Int64Type>(&mut group, times)?;
            }
            V::write(&mut group, values)?;
            group.close()?;
        }
        file.into_inner()
    }

    /// The names of the series as a Parquet file.
    pub(super) fn names_to_parquet(&self) -> Result<Vec<u8>, ParquetError> {
        let schema = Arc::new(parse_message_type(
            "message series { required int64 series (INTEGER(64,false)); required binary tenant (STRING);
             required binary name (STRING); required binary labels (JSON);
             required int64 first_row; required int64 rows; }",
        )?);
        let properties = Arc::new(properties().build());
        let mut file = SerializedFileWriter::new(Vec::new(), schema, properties)?;
        let column = |of: fn(&Run) -> i64| self.series.iter().map(of).collect::<Vec<_>>();
        let texts = |of: fn(&SeriesKey) -> String| -> Vec<ByteArray> {
            self.series.iter().map(|run| ByteArray::from(of(&run.key).into_bytes())).collect()
        };
        let firsts: Vec<_> = self
            .series
            .iter()
            .scan(0, |next, run| {
                let first = *next;
                *next += run.rows as i64;
                Some(first)
            })
            .collect();
        let mut group = file.next_row_group()?;
        write::<Int64Type>(&mut group, &column(|run| run.hash.as_u64() as i64))?;
        for of in [
            (|key| key.tenant.clone()) as fn(&SeriesKey) -> String,
            |key| key.name.clone(),
            |key| serde_json::to_string(&key.labels).unwrap_or_default(),
        ] {
            write::<parquet::data_type::ByteArrayType>(&mut group, &texts(of))?;
        }
        write::<Int64Type>(&mut group, &firsts)?;
        write::<Int64Type>(&mut group, &column(|run| run.rows as i64))?;
        group.close()?;
        file.into_inner()
    }
}

/// The series of a part, and the first row of each.
pub(super) fn read_names(name: &str, bytes: Bytes) -> Result<Vec<(Run, usize)>, HistoryError> {
    let damaged = |error: ParquetError| HistoryError::damaged(name, error);
    let file = SerializedFileReader::new(bytes).map_err(damaged)?;
    let mut found = Vec::new();
    for number in 0..file.num_row_groups() {
        let group = file.get_row_group(number).map_err(damaged)?;
        let group = group.as_ref();
        let rows = usize::try_from(group.metadata().num_rows()).unwrap_or(0);
        let hashes = read_all::<Int64Type>(group, 0, rows).map_err(damaged)?;
        let texts = |column| read_all::<parquet::data_type::ByteArrayType>(group, column, rows);
        let tenants = texts(1).map_err(damaged)?;
        let names = texts(2).map_err(damaged)?;
        let labels = texts(3).map_err(damaged)?;
        let firsts = read_all::<Int64Type>(group, 4, rows).map_err(damaged)?;
        let counts = read_all::<Int64Type>(group, 5, rows).map_err(damaged)?;
        for row in 0..rows {
            let text = |bytes: &ByteArray| String::from_utf8_lossy(bytes.data()).into_owned();
            let labels: Labels = serde_json::from_slice(labels[row].data())
                .map_err(|error| HistoryError::damaged(name, error))?;
            let key = SeriesKey { tenant: text(&tenants[row]), name: text(&names[row]), labels };
            let hash = SeriesHash::from_u64(hashes[row] as u64);
            if key.hash() != hash {
                return Err(HistoryError::damaged(name, format!("{key} does not hash to {hash}")));
            }
            let count = |value| usize::try_from(value).unwrap_or(0);
            let run = Run { hash, key: Arc::new(key), rows: count(counts[row]) };
            found.push((run, count(firsts[row])));
        }
    }
    Ok(found)
}

/// A file of points or roll-ups, open for reading rows by their number.
pub(super) struct Rows {
    name: String,
    file: SerializedFileReader<Bytes>,
    millis: bool,
}

impl Rows {
    pub(super) fn open(name: &str, bytes: Bytes) -> Result<Self, HistoryError> {
        let file = SerializedFileReader::new(bytes).map_err(|e| HistoryError::damaged(name, e))?;
        let schema = file.metadata().file_metadata().schema_descr();
        let millis =
            (schema.num_columns() > 1).then(|| schema.column(1).logical_type_ref().cloned());
        let millis = match millis.flatten() {
            Some(parquet::basic::LogicalType::Timestamp(timestamp)) => {
                matches!(timestamp.unit, parquet::basic::TimeUnit::MILLIS)
            }
            _ => return Err(HistoryError::damaged(name, "its second column is no timestamp")),
        };
        Ok(Rows { name: name.to_owned(), file, millis })
    }

    /// Appends `count` rows from row `first` on.
    pub(super) fn read<V: Values>(
        &self,
        first: usize,
        count: usize,
        times: &mut Vec<i64>,
        values: &mut Vec<V>,
    ) -> Result<(), HistoryError> {
        let damaged = |error: ParquetError| HistoryError::damaged(&self.name, error);
        let (mut skip, mut left) = (first, count);
        for number in 0..self.file.num_row_groups() {
            let group = self.file.get_row_group(number).map_err(damaged)?;
            let rows = usize::try_from(group.metadata().num_rows()).unwrap_or(0);
            if skip >= rows {
                skip -= rows;
                continue;
            }
            let take = left.min(rows - skip);
            let from = times.len();
            read_some::<Int64Type>(group.as_ref(), 1, skip, take, times).map_err(damaged)?;
            if self.millis {
                times[from..].iter_mut().for_each(|time| *time = time.saturating_mul(1_000_000));
            }
            V::read(group.as_ref(), skip, take, values).map_err(damaged)?;
            (skip, left) = (0, left - take);
            if left == 0 {
                return Ok(());
            }
        }
        if left > 0 {
            return Err(HistoryError::damaged(&self.name, format!("it ends {left} rows early")));
        }
        Ok(())
    }
}

impl Values for f64 {
    const SCHEMA: &'static str = "message points { required int64 series (INTEGER(64,false));
        required int64 time (TIMESTAMP(UNIT,true)); required double value; }";

    fn tune(properties: WriterPropertiesBuilder, values: &[f64]) -> WriterPropertiesBuilder {
        let value = ColumnPath::from("value");
        if repeats(values) {
            return properties
                .set_column_dictionary_enabled(value.clone(), true)
                .set_column_dictionary_page_size_limit(value, 16 << 20);
        }
        properties.set_column_encoding(value, Encoding::BYTE_STREAM_SPLIT)
    }

    fn write(
        group: &mut SerializedRowGroupWriter<'_, Vec<u8>>,
        values: &[f64],
    ) -> Result<(), ParquetError> {
        write::<DoubleType>(group, values)
    }

    fn read(
        group: &dyn RowGroupReader,
        skip: usize,
        take: usize,
        out: &mut Vec<f64>,
    ) -> Result<(), ParquetError> {
        read_some::<DoubleType>(group, 2, skip, take, out)
    }
}

impl Values for Rollup {
    const SCHEMA: &'static str = "message rollup { required int64 series (INTEGER(64,false));
        required int64 time (TIMESTAMP(UNIT,true)); required double min; required double max;
        required double mean; required int64 count (INTEGER(64,false)); }";

    fn tune(properties: WriterPropertiesBuilder, _: &[Rollup]) -> WriterPropertiesBuilder {
        ["min", "max", "mean"].into_iter().fold(properties, |properties, column| {
            properties.set_column_encoding(ColumnPath::from(column), Encoding::BYTE_STREAM_SPLIT)
        })
    }

    fn write(
        group: &mut SerializedRowGroupWriter<'_, Vec<u8>>,
        values: &[Rollup],
    ) -> Result<(), ParquetError> {
        for of in [(|r| r.min) as fn(&Rollup) -> f64, |r| r.max, |r| r.mean] {
            write::<DoubleType>(group, &values.iter().map(of).collect::<Vec<_>>())?;
        }
        write::<Int64Type>(group, &values.iter().map(|r| r.count as i64).collect::<Vec<_>>())
    }

    fn read(
        group: &dyn RowGroupReader,
        skip: usize,
        take: usize,
        out: &mut Vec<Rollup>,
    ) -> Result<(), ParquetError> {
        let mut columns = [Vec::new(), Vec::new(), Vec::new()];
        for (number, column) in columns.iter_mut().enumerate() {
            read_some::<DoubleType>(group, 2 + number, skip, take, column)?;
        }
        let mut counts = Vec::new();
        read_some::<Int64Type>(group, 5, skip, take, &mut counts)?;
        let [min, max, mean] = columns;
        out.extend((0..take).map(|row| Rollup {
            min: min[row],
            max: max[row],
            mean: mean[row],
            count: counts[row] as u64,
        }));
        Ok(())
    }
}

/// Whether a dictionary pays: with `d` different values among `n` it costs `8 d / n` bytes a value
/// and an index, while values that are kept as they are cost about seven; it pays below `d = n / 2`.
/// `d` is estimated from the repetitions `r` among `k` evenly spaced values, as in the birthday
/// problem: `d = k^2 / 2 r`.
fn repeats(values: &[f64]) -> bool {
    const SAMPLE: usize = 1 << 14;
    // Odd, so that it does not keep step with a round number of rows a series.
    let step = (values.len() / SAMPLE) | 1;
    let mut seen = FxHashSet::default();
    let mut picked = 0;
    for value in values.iter().step_by(step) {
        picked += 1;
        seen.insert(value.to_bits());
    }
    let repetitions = picked - seen.len();
    picked * picked <= repetitions * values.len().min(GROUP)
}

fn properties() -> WriterPropertiesBuilder {
    let [series, time] = ["series", "time"].map(ColumnPath::from);
    WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_dictionary_enabled(false)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_column_statistics_enabled(series.clone(), EnabledStatistics::Chunk)
        .set_column_statistics_enabled(time.clone(), EnabledStatistics::Chunk)
        .set_column_dictionary_enabled(series, true)
        .set_column_encoding(time, Encoding::DELTA_BINARY_PACKED)
        .set_data_page_row_count_limit(1 << 16)
        .set_write_batch_size(1 << 13)
}

fn write<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, Vec<u8>>,
    values: &[T::T],
) -> Result<(), ParquetError> {
    let missing = || ParquetError::General("more columns than the schema has".into());
    let mut column = group.next_column()?.ok_or_else(missing)?;
    column.typed::<T>().write_batch(values, None, None)?;
    column.close()
}

fn read_some<T: DataType>(
    group: &dyn RowGroupReader,
    column: usize,
    skip: usize,
    take: usize,
    out: &mut Vec<T::T>,
) -> Result<(), ParquetError> {
    let schema = group.metadata().schema_descr();
    let wrong = |what| Err(ParquetError::General(format!("column {column} {what}")));
    if column >= schema.num_columns()
        || schema.column(column).physical_type() != T::get_physical_type()
    {
        return wrong("is not of the type that it should have");
    }
    if schema.column(column).self_type().get_basic_info().repetition() != Repetition::REQUIRED {
        return wrong("may be absent");
    }
    let mut reader = get_typed_column_reader::<T>(group.get_column_reader(column)?);
    let from = out.len();
    reader.skip_records(skip)?;
    reader.read_records(take, None, None, out)?;
    if out.len() - from == take { Ok(()) } else { wrong("ends early") }
}

fn read_all<T: DataType>(
    group: &dyn RowGroupReader,
    column: usize,
    rows: usize,
) -> Result<Vec<T::T>, ParquetError> {
    let mut out = Vec::new();
    read_some::<T>(group, column, 0, rows, &mut out)?;
    Ok(out)
}
