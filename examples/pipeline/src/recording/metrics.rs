//! The metrics: which columns there are, and their values.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use aiops_core::{Labels, SeriesKey, Timestamp, Topology};
use csv::{ByteRecord, Reader, ReaderBuilder};
use flate2::read::MultiGzDecoder;

use super::context::too_large;
use super::{Flaw, Flaws, RecordedSeries, RecordingError, Result, context, grid};

/// Most columns.
const MAX_SERIES: usize = 10_000;
/// Most values, 400 MB of them: series times steps from the first row to the last.
const MAX_VALUES: usize = 50_000_000;
/// Most bytes of text in one archive: a small file may unpack to anything.
const MAX_TEXT: u64 = 2 << 30;

/// Most bytes of one row: 10 000 cells of a hundred bytes. Cells cost memory before they can be
/// counted, so this is what bounds them.
const MAX_ROW: u64 = 1 << 20;

type Text = io::Take<MultiGzDecoder<std::fs::File>>;
type Rows = Reader<RowLimit<Text>>;

/// Fails when more than [`MAX_ROW`] bytes were read since the last row was complete.
struct RowLimit<R> {
    text: R,
    left: u64,
}

impl<R: Read> Read for RowLimit<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.text.read(&mut buffer[..most])?;
        self.left -= read as u64;
        Ok(read)
    }
}

/// Columns by the name that `metrics.csv.gz` gives them; `None` for one that is left out.
pub(super) type Columns = BTreeMap<String, Option<RecordedSeries>>;

/// Values with their columns and times.
pub(super) struct Table {
    pub(super) series: Vec<RecordedSeries>,
    pub(super) times: Vec<Timestamp>,
    pub(super) values: Vec<f64>,
}

/// Reads `series.csv.gz`; its columns may stand in any order.
pub(super) fn columns(file: &Path, topology: &Topology, flaws: &mut Flaws) -> Result<Columns> {
    let mut rows = open(file)?;
    let header = header(file, &mut rows)?;
    let at = |wanted: &str| {
        let position = header.iter().position(|name| name == wanted);
        position.ok_or_else(|| {
            let found: Vec<&str> = header.iter().take(20).map(String::as_str).collect();
            let reason = format!("no column {wanted:?}; found {}", found.join(", "));
            RecordingError::Columns { file: file.to_owned(), reason }
        })
    };
    let [series, name, service] = [at("series")?, at("name")?, at("service")?];
    let [labels, kind, unit] = [at("labels")?, at("kind")?, at("unit")?];

    let mut columns = Columns::new();
    let mut keys = BTreeSet::new();
    let mut row = ByteRecord::new();
    while next(file, &mut rows, &mut row)? {
        let text = |index: usize| String::from_utf8_lossy(row.get(index).unwrap_or_default());
        if row.len() != header.len() {
            flaws.add(Flaw::RowWidth, || format!("series.csv.gz line {}", line(&row)));
            continue;
        }
        let parsed: Labels = match serde_json::from_str(&text(labels)) {
            Ok(labels) => labels,
            Err(error) => {
                flaws.add(Flaw::Unreadable, || format!("labels of {}: {error}", text(series)));
                columns.insert(text(series).into_owned(), None);
                continue;
            }
        };
        context::note_unknown(&text(service), &format!("series {}", text(name)), topology, flaws);
        let mut labels = parsed;
        if !text(service).is_empty() {
            labels.insert("service", text(service));
        }
        if text(name).is_empty() {
            let reason = format!("line {}: the name of a metric is empty", line(&row));
            return Err(RecordingError::Columns { file: file.to_owned(), reason });
        }
        let key = SeriesKey::new(text(name), labels);
        let is_new = keys.insert(key.hash());
        if !is_new {
            flaws.add(Flaw::SeriesDuplicated, || key.to_string());
        }
        let is_counter = text(kind) == "counter";
        let found = RecordedSeries { key, is_counter, unit: text(unit).into_owned() };
        if columns.insert(text(series).into_owned(), is_new.then_some(found)).is_some() {
            let reason = format!("series {:?} is described twice", text(series));
            return Err(RecordingError::Columns { file: file.to_owned(), reason });
        }
        if columns.len() > MAX_SERIES {
            return Err(too_large(file, "series", MAX_SERIES));
        }
    }
    Ok(columns)
}

/// Reads `metrics.csv.gz`, rows `step` apart.
pub(super) fn table(
    file: &Path,
    mut columns: Columns,
    step: Duration,
    flaws: &mut Flaws,
) -> Result<Table> {
    let mut rows = open(file)?;
    let header = header(file, &mut rows)?;
    let wrong = |reason: String| RecordingError::Columns { file: file.to_owned(), reason };
    if header.first().is_none_or(|name| name != "time_ms") {
        let found = header.first().map_or("", String::as_str);
        return Err(wrong(format!("the first column must be \"time_ms\", found {found:?}")));
    }
    let mut series = Vec::new();
    let mut kept = Vec::new();
    for (index, name) in header.iter().enumerate().skip(1) {
        let described = columns.remove(name).ok_or_else(|| {
            wrong(format!("column {name:?} is described nowhere in series.csv.gz, or stands twice"))
        })?;
        if let Some(described) = described {
            series.push(described);
            kept.push(index);
        }
    }
    if let Some(missing) = columns.keys().next() {
        return Err(wrong(format!("no column for series {missing:?} of series.csv.gz")));
    }

    let (mut times, mut lines, mut values) = (Vec::<Timestamp>::new(), Vec::new(), Vec::new());
    let mut row = ByteRecord::new();
    while next(file, &mut rows, &mut row)? {
        let Some(time) = time_of(&row, header.len(), flaws) else { continue };
        if times.len() == MAX_VALUES || values.len() + kept.len() > MAX_VALUES {
            return Err(too_large(file, "values", MAX_VALUES));
        }
        times.push(time);
        lines.push(line(&row));
        for &index in &kept {
            values.push(value_of(&row, index, &header, flaws));
        }
    }
    agrees(file, &times, step)?;
    let (times, values) = on_the_grid(times, values, &lines, step, flaws);
    if times.is_empty() || series.is_empty() {
        let flaws = (!flaws.is_empty()).then(|| flaws.to_string());
        return Err(RecordingError::Empty { file: file.to_owned(), flaws });
    }
    let steps = grid::n_steps(&times, step);
    if steps.checked_mul(series.len()).is_none_or(|values| values > MAX_VALUES) {
        return Err(too_large(file, "series times steps", MAX_VALUES));
    }
    let missing = steps.saturating_sub(times.len()) as u64;
    flaws.add_many(Flaw::RowMissing, missing, || {
        let after = times.windows(2).find(|pair| pair[1].since(pair[0]) >= step * 2);
        format!("after {}", after.map_or(0, |pair| pair[0].as_millis()))
    });
    Ok(Table { series, times, values })
}

/// The rows that fit together, with a flaw counted for each of the others.
fn on_the_grid(
    times: Vec<Timestamp>,
    mut values: Vec<f64>,
    lines: &[u64],
    step: Duration,
    flaws: &mut Flaws,
) -> (Vec<Timestamp>, Vec<f64>) {
    let width = values.len() / times.len().max(1);
    let mut kept = Vec::with_capacity(times.len());
    for (row, flaw) in grid::judge(&times, step).into_iter().enumerate() {
        if let Some(flaw) = flaw {
            flaws.add(flaw, || {
                format!("metrics.csv.gz line {}: time {}", lines[row], times[row].as_millis())
            });
        } else {
            values.copy_within(row * width..(row + 1) * width, kept.len() * width);
            kept.push(times[row]);
        }
    }
    values.truncate(kept.len() * width);
    (kept, values)
}

/// Refuses a step that the rows contradict: on a coarser grid rows would fall together, on a much
/// finer one nearly everything would be a gap.
fn agrees(file: &Path, times: &[Timestamp], step: Duration) -> Result<()> {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let Some(usual) = grid::median_distance(&sorted).filter(|_| times.len() > 3) else {
        return Ok(());
    };
    if usual * 2 >= step && usual <= step * 10 {
        return Ok(());
    }
    let reason = format!("is {} ms, rows are {} ms apart", step.as_millis(), usual.as_millis());
    Err(RecordingError::Field {
        file: file.with_file_name("recording.json"),
        field: "step_ms",
        reason,
    })
}

/// The time of a row that can be read; `None` with a flaw counted for one that cannot.
fn time_of(row: &ByteRecord, width: usize, flaws: &mut Flaws) -> Option<Timestamp> {
    let mut reject = |flaw, what: String| {
        flaws.add(flaw, || format!("metrics.csv.gz line {}: {what}", line(row)));
        None
    };
    if row.len() != width {
        return reject(Flaw::RowWidth, format!("{} cells, the header has {width}", row.len()));
    }
    let text = String::from_utf8_lossy(&row[0]);
    let Ok(millis) = text.trim().parse::<i64>() else {
        return reject(Flaw::RowTime, format!("time {text:?}"));
    };
    Some(Timestamp::from_millis(millis))
}

/// The value of a cell; NaN where there is none, with a flaw counted unless the cell is empty.
fn value_of(row: &ByteRecord, index: usize, header: &[String], flaws: &mut Flaws) -> f64 {
    let cell = &row[index];
    if cell.is_empty() {
        return f64::NAN;
    }
    let parsed = std::str::from_utf8(cell).ok().and_then(|text| text.trim().parse::<f64>().ok());
    let flaw = match parsed {
        Some(value) if value.is_finite() => return value,
        Some(_) => Flaw::NotFinite,
        None => Flaw::NotANumber,
    };
    flaws.add(flaw, || {
        let text = String::from_utf8_lossy(cell);
        format!("metrics.csv.gz line {}, {}: {text:?}", line(row), header[index])
    });
    f64::NAN
}

fn open(file: &Path) -> Result<Rows> {
    let text = MultiGzDecoder::new(context::open(file)?).take(MAX_TEXT);
    let text = RowLimit { text, left: MAX_ROW };
    // Flexible: a row of the wrong width is one lost row, not the end of the file.
    Ok(ReaderBuilder::new().flexible(true).has_headers(false).from_reader(text))
}

fn header(file: &Path, rows: &mut Rows) -> Result<Vec<String>> {
    let mut row = ByteRecord::new();
    if !next(file, rows, &mut row)? {
        return Err(RecordingError::Empty { file: file.to_owned(), flaws: None });
    }
    if row.len() > MAX_SERIES + 1 {
        return Err(too_large(file, "columns", MAX_SERIES + 1));
    }
    Ok(row.iter().map(|cell| String::from_utf8_lossy(cell).trim().to_owned()).collect())
}

/// Reads the next row; `false` at the end.
fn next(file: &Path, rows: &mut Rows, row: &mut ByteRecord) -> Result<bool> {
    let line = rows.position().line();
    // What was read ahead belongs to rows to come: a row is allowed that much more.
    rows.get_mut().left = MAX_ROW;
    match rows.read_byte_record(row) {
        Ok(true) => Ok(true),
        Ok(false) if rows.get_ref().text.limit() == 0 => {
            Err(too_large(file, "bytes of text", MAX_TEXT as usize))
        }
        Ok(false) => Ok(false),
        Err(_) if rows.get_ref().left == 0 => {
            Err(RecordingError::RowTooLong { file: file.to_owned(), line, limit: MAX_ROW })
        }
        Err(source) => {
            let (file, source) = (file.to_owned(), source.into());
            Err(RecordingError::Truncated { file, line: line.saturating_sub(1), source })
        }
    }
}

fn line(row: &ByteRecord) -> u64 {
    row.position().map_or(0, csv::Position::line)
}
