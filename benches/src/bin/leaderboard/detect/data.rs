//! Labelled series from a folder, wherever the files lie in it.

use std::{
    collections::HashMap,
    io::Read,
    path::{Path, PathBuf},
};

use super::Failure;
use crate::registry::Result;

/// One file: a series of one or more metrics.
pub(crate) struct Series {
    /// The set it belongs to: the first folder below the data folder, or the data folder's name.
    pub(crate) set: String,
    /// Path relative to the data folder, without `.csv.gz`.
    pub(crate) path: String,
    /// The stamps as they stand in the file, one a row.
    pub(crate) stamps: Vec<String>,
    /// One column per metric; NaN where the file has no value.
    pub(crate) columns: Vec<Vec<f64>>,
    /// Inside a labelled anomaly? `None` without a label column.
    pub(crate) labels: Option<Vec<bool>>,
    /// Rows to train on, which are not evaluated for several metrics; 0 where not known.
    pub(crate) train_len: usize,
    /// Metrics that caused each anomaly, where a neighbour file `*.interpretation.txt` says so.
    pub(crate) causes: Vec<Cause>,
}

/// A labelled stretch and the metrics that caused it.
pub(crate) struct Cause {
    /// Rows of the file, end exclusive.
    pub(crate) rows: std::ops::Range<usize>,
    /// Metrics, counted from 0.
    pub(crate) metrics: Vec<usize>,
}

impl Series {
    /// How many rows it has.
    pub(crate) fn len(&self) -> usize {
        self.stamps.len()
    }
}

/// Every `*.csv.gz` under `dir`, in order of its path, of the sets wanted (all when empty).
pub(crate) fn find(dir: &Path, sets: &[String]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    walk(dir, ".csv.gz", &mut files)?;
    files.sort();
    files.retain(|file| sets.is_empty() || sets.contains(&set_of(dir, file)));
    if files.is_empty() {
        return Err(format!("no *.csv.gz of the wanted sets under {}", dir.display()).into());
    }
    Ok(files)
}

/// Every file under `dir` whose name ends in `suffix`.
pub(super) fn walk(dir: &Path, suffix: &str, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries = std::fs::read_dir(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            walk(&path, suffix, files)?;
        } else if path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(suffix)) {
            files.push(path);
        }
    }
    Ok(())
}

fn set_of(dir: &Path, file: &Path) -> String {
    let relative = file.strip_prefix(dir).unwrap_or(file);
    let mut parts = relative.components();
    let first = parts.next().map(|part| part.as_os_str().to_string_lossy().into_owned());
    match (first, parts.next()) {
        (Some(folder), Some(_)) => folder,
        _ => dir.file_name().map_or("data".into(), |name| name.to_string_lossy().into_owned()),
    }
}

/// Training rows by series name, from every `manifest*.csv` under `dir` and beside it.
pub(crate) struct Manifest(HashMap<String, Vec<(String, usize)>>);

impl Manifest {
    pub(crate) fn read(dir: &Path) -> Result<Self> {
        let mut files = Vec::new();
        walk(dir, ".csv", &mut files)?;
        // A set's own folder was given: the manifest lies above it.
        if let Some(parent) = dir.parent() {
            for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
                files.push(entry.path());
            }
        }
        let mut rows: HashMap<String, Vec<(String, usize)>> = HashMap::new();
        for file in files {
            let name = file.file_name().map(|n| n.to_string_lossy().into_owned());
            if !name.is_some_and(|n| n.starts_with("manifest") && n.ends_with(".csv")) {
                continue;
            }
            let text = std::fs::read_to_string(&file)?;
            let mut lines = text.lines();
            let header: Vec<&str> = lines.next().unwrap_or_default().split(',').collect();
            let column = |wanted: &str| header.iter().position(|name| name.trim() == wanted);
            let (Some(set), Some(series), Some(train)) =
                (column("set"), column("series"), column("train_len"))
            else {
                let shown = file.display();
                return Err(format!("{shown}: needs the columns set, series, train_len").into());
            };
            for line in lines.filter(|line| !line.trim().is_empty()) {
                let fields: Vec<&str> = line.split(',').map(str::trim).collect();
                let (Some(set), Some(series)) = (fields.get(set), fields.get(series)) else {
                    continue;
                };
                let train = fields.get(train).and_then(|n| n.parse().ok()).unwrap_or(0);
                rows.entry((*series).to_owned()).or_default().push(((*set).to_owned(), train));
            }
        }
        Ok(Manifest(rows))
    }

    fn train_len(&self, set: &str, series: &str) -> usize {
        let rows = self.0.get(series).map_or(&[][..], Vec::as_slice);
        let exact = rows.iter().find(|(name, _)| name == set);
        exact.or(rows.first()).map_or(0, |(_, train)| *train)
    }
}

/// Reads one file.
pub(crate) fn read(dir: &Path, file: &Path, manifest: &Manifest) -> Result<Series, Failure> {
    let shown = file.display();
    let compressed = std::fs::File::open(file).map_err(|error| format!("{shown}: {error}"))?;
    let mut text = String::new();
    flate2::read::MultiGzDecoder::new(compressed)
        .read_to_string(&mut text)
        .map_err(|error| format!("{shown}: {error}"))?;
    // Quotes, line ends of other systems and a byte order mark are the reader's business.
    let mut rows = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
    let header = rows.headers().map_err(|error| format!("{shown}: {error}"))?.clone();
    let stamp = header.iter().position(|name| name == "timestamp");
    let label = header.iter().position(|name| name == "label");
    // Metrics are `value`, or `v0`, `v1`, ...; every other column is no feature.
    let is_metric = |name: &str| {
        name == "value"
            || name.strip_prefix('v').is_some_and(|number| number.parse::<u32>().is_ok())
    };
    let metrics: Vec<usize> = (0..header.len()).filter(|i| is_metric(&header[*i])).collect();
    let Some(stamp) = stamp.filter(|_| !metrics.is_empty()) else {
        return Err(format!("{shown}: needs a column timestamp and value or v0, v1, ...").into());
    };
    let mut stamps = Vec::new();
    let mut columns = vec![Vec::new(); metrics.len()];
    let mut labels = label.map(|_| Vec::new());
    for (row, fields) in rows.records().enumerate() {
        let fields = fields.map_err(|error| format!("{shown}: {error}"))?;
        stamps.push(fields[stamp].to_owned());
        for (column, metric) in columns.iter_mut().zip(&metrics) {
            let field = &fields[*metric];
            let value = if field.is_empty() { Ok(f64::NAN) } else { field.parse() };
            column.push(value.map_err(|_| format!("{shown}, row {row}: no number: {field:?}"))?);
        }
        if let (Some(labels), Some(label)) = (&mut labels, label) {
            let field = &fields[label];
            let odd = is_anomaly(field)
                .ok_or_else(|| format!("{shown}, row {row}: no label: {field:?}"))?;
            labels.push(odd);
        }
    }
    let set = set_of(dir, file);
    let relative = file.strip_prefix(dir).unwrap_or(file).to_string_lossy();
    let path = relative.trim_end_matches(".csv.gz").to_owned();
    let name = path.rsplit('/').next().unwrap_or(&path);
    let train_len = manifest.train_len(&set, name).min(stamps.len());
    let causes = read_causes(file, train_len);
    Ok(Series { set, path, stamps, columns, labels, train_len, causes })
}

/// What a label says: a number that is not zero is an anomaly, nothing is none.
fn is_anomaly(field: &str) -> Option<bool> {
    match field {
        "" => Some(false),
        _ if field.eq_ignore_ascii_case("true") => Some(true),
        _ if field.eq_ignore_ascii_case("false") => Some(false),
        _ => field.parse::<f64>().ok().map(|number| number != 0.0 && !number.is_nan()),
    }
}

/// `start-end:metric,metric` lines: rows count from the end of training, metrics from 1.
fn read_causes(file: &Path, train_len: usize) -> Vec<Cause> {
    let name = file.to_string_lossy().replace(".csv.gz", ".interpretation.txt");
    let Ok(text) = std::fs::read_to_string(name) else { return Vec::new() };
    let parse = |line: &str| {
        let (rows, metrics) = line.trim().split_once(':')?;
        let (start, end) = rows.split_once('-')?;
        let start = train_len + start.trim().parse::<usize>().ok()?;
        let end = train_len + end.trim().parse::<usize>().ok()?;
        let numbers = metrics.split(',').filter_map(|m| m.trim().parse::<usize>().ok());
        Some(Cause {
            rows: start..end + 1,
            metrics: numbers.filter_map(|m| m.checked_sub(1)).collect(),
        })
    };
    text.lines().filter_map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn read_text(name: &str, text: &str) -> Result<Series, Failure> {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join(name);
        let mut out =
            flate2::write::GzEncoder::new(std::fs::File::create(&file)?, Default::default());
        out.write_all(text.as_bytes())?;
        out.finish()?;
        let manifest = Manifest::read(dir.path()).map_err(|error| error.to_string())?;
        read(dir.path(), &file, &manifest)
    }

    #[test]
    fn files_of_other_tools_are_read() {
        let quoted = "\u{feff}\"timestamp\",value,label,point\r\n\"Jan 1, 2020\", 1.5 ,False,9\r\nb,,1.0,9\r\n\r\n";
        let series = read_text("odd name [1].x.csv.gz", quoted).unwrap();
        assert_eq!((series.path.as_str(), series.stamps.len()), ("odd name [1].x", 2));
        assert_eq!(series.stamps[0], "Jan 1, 2020");
        assert!(series.columns[0][0] == 1.5 && series.columns[0][1].is_nan());
        assert_eq!(series.labels, Some(vec![false, true]));
        assert_eq!(read_text("a.csv.gz", "timestamp,v0,v1\n").unwrap().columns.len(), 2);
    }

    #[test]
    fn what_cannot_be_read_says_where() {
        for (text, says) in [
            ("", "needs a column timestamp"),
            ("timestamp,label\n1,0\n", "needs a column timestamp"),
            ("timestamp,value\n1,2\n3\n", "2 fields"),
            ("timestamp,value\n1,2\n3,x\n", "row 1: no number: \"x\""),
            ("timestamp,value,label\n1,2,maybe\n", "row 0: no label: \"maybe\""),
        ] {
            let error = read_text("a.csv.gz", text).err().unwrap().to_string();
            assert!(error.contains("a.csv.gz") && error.contains(says), "{error}");
        }
    }
}
