//! Public downloads into the layout that `detect --data` reads.

use std::{
    collections::BTreeMap,
    io::Write,
    path::{Path, PathBuf},
};

use super::Failure;
use crate::{args::Args, registry::Result};

pub(crate) const ABOUT: &str = "brings public downloads into the layout that detect --data reads\n\
            nab: SRC is a copy of the NAB repository, with data/ and labels/combined_windows.json.\n\
            tsb-ad: SRC holds the benchmark's files NNN_SET_..._tr_N_....csv; the row is the timestamp.\n\
            csv: any folder of *.csv with a header. The column timestamp, time, ts or date is the\n\
            timestamp, else the row is; label, is_anomaly or anomaly the label; every other column\n\
            of numbers a metric. OUT/SET/*.csv.gz and OUT/manifest.csv are written.";

/// Converts a download of that form.
pub(crate) fn run(from: &str, mut args: Args) -> Result<()> {
    let places = args.positional();
    args.finish()?;
    let [source, out] = &places[..] else {
        return Err("two folders are needed: SRC and OUT".into());
    };
    let (source, out) = (Path::new(source), Path::new(out));
    let series = match from {
        "nab" => nab(source),
        "tsb-ad" => tsb_ad(source),
        "csv" => csv(source),
        other => Err(format!("--from {other}: known are nab, tsb-ad, csv and rcaeval").into()),
    };
    let series = series.map_err(|failure| -> Box<dyn std::error::Error> { failure })?;
    write(out, &series).map_err(|failure| -> Box<dyn std::error::Error> { failure })?;
    let sets: std::collections::BTreeSet<&str> = series.iter().map(|s| s.set.as_str()).collect();
    println!("{} series of {} sets in {}", series.len(), sets.len(), out.display());
    Ok(())
}

/// One series as it will be written.
struct Converted {
    set: String,
    name: String,
    train_len: usize,
    rows: Vec<Row>,
    labelled: bool,
}

struct Row {
    stamp: String,
    values: Vec<String>,
    label: bool,
}

/// A file of NAB is `timestamp,value`; its windows, both ends included, lie in a file for all.
fn nab(source: &Path) -> Result<Vec<Converted>, Failure> {
    let labels = source.join("labels/combined_windows.json");
    let text =
        std::fs::read_to_string(&labels).map_err(|e| format!("{}: {e}", labels.display()))?;
    let windows: BTreeMap<String, Vec<[String; 2]>> = serde_json::from_str(&text)?;
    let mut all = Vec::new();
    for (file, windows) in &windows {
        let table = Table::read(&source.join("data").join(file))?;
        let (stamp, value) = (table.column(&["timestamp"])?, table.column(&["value"])?);
        let inside = |stamp: &str| {
            let bare = |window: &str| window.split('.').next().unwrap_or_default().to_owned();
            windows
                .iter()
                .any(|[from, to]| bare(from).as_str() <= stamp && stamp <= bare(to).as_str())
        };
        let rows: Vec<Row> = table
            .rows
            .iter()
            .map(|fields| Row {
                label: inside(&fields[stamp]),
                stamp: fields[stamp].clone(),
                values: vec![fields[value].clone()],
            })
            .collect();
        all.push(Converted {
            set: "nab".to_owned(),
            name: file.trim_end_matches(".csv").replace('/', "__"),
            // The probationary period of the benchmark.
            train_len: (rows.len() * 15 / 100).min(750),
            rows,
            labelled: true,
        });
    }
    Ok(all)
}

/// Files of TSB-AD carry set and training length in their name; the last column is the label.
fn tsb_ad(source: &Path) -> Result<Vec<Converted>, Failure> {
    let mut all = Vec::new();
    for file in files(source)? {
        let name = stem(&file);
        let parts: Vec<&str> = name.split('_').collect();
        let after = |word: &str| {
            let at = parts.iter().position(|part| *part == word)?;
            parts.get(at + 1)?.parse::<usize>().ok()
        };
        let (Some(set), Some(train_len)) = (parts.get(1), after("tr")) else {
            return Err(format!("{name}: not named NNN_SET_..._tr_N_...").into());
        };
        let table = Table::read(&file)?;
        let label = table.column(&["label"])?;
        all.push(Converted {
            set: (*set).to_owned(),
            train_len,
            rows: table.rows(None, Some(label)),
            labelled: true,
            name,
        });
    }
    Ok(all)
}

fn csv(source: &Path) -> Result<Vec<Converted>, Failure> {
    let set = source.file_name().map_or("data".into(), |name| name.to_string_lossy().into_owned());
    let mut all = Vec::new();
    for file in files(source)? {
        let table = Table::read(&file)?;
        let stamp = table.column(&["timestamp", "time", "ts", "date", "datetime"]).ok();
        let label = table.column(&["label", "is_anomaly", "anomaly"]).ok();
        let rows = table.rows(stamp, label);
        let (set, name) = (set.clone(), stem(&file));
        all.push(Converted { set, name, train_len: 0, rows, labelled: label.is_some() });
    }
    Ok(all)
}

fn files(source: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    super::data::walk(source, ".csv", &mut files).map_err(|error| error.to_string())?;
    files.sort();
    if files.is_empty() {
        return Err(format!("no *.csv under {}", source.display()).into());
    }
    Ok(files)
}

fn stem(file: &Path) -> String {
    file.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned())
}

/// A CSV file with its header.
struct Table {
    shown: String,
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    fn read(file: &Path) -> Result<Self, Failure> {
        let shown = file.display().to_string();
        let mut reader =
            ::csv::Reader::from_path(file).map_err(|error| format!("{shown}: {error}"))?;
        let header: Vec<String> =
            reader.headers()?.iter().map(|name| name.trim().to_owned()).collect();
        let mut rows = Vec::new();
        for record in reader.records() {
            let record = record.map_err(|error| format!("{shown}: {error}"))?;
            rows.push(record.iter().map(|field| field.trim().to_owned()).collect());
        }
        Ok(Table { shown, header, rows })
    }

    /// The first column with one of these names, whatever their case.
    fn column(&self, names: &[&str]) -> Result<usize, Failure> {
        let is = |column: &String| names.iter().any(|name| column.eq_ignore_ascii_case(name));
        let found = self.header.iter().position(is);
        found.ok_or_else(|| format!("{}: needs a column {}", self.shown, names.join(" or ")).into())
    }

    /// All rows, with every further column that holds numbers or nothing as a metric.
    fn rows(&self, stamp: Option<usize>, label: Option<usize>) -> Vec<Row> {
        let is_number = |column: &usize| {
            let mut fields = self.rows.iter().map(|fields| fields[*column].as_str());
            Some(*column) != stamp
                && Some(*column) != label
                && fields.all(|field| field.is_empty() || field.parse::<f64>().is_ok())
        };
        let metrics: Vec<usize> = (0..self.header.len()).filter(is_number).collect();
        let row = |(row, fields): (usize, &Vec<String>)| Row {
            stamp: stamp.map_or_else(|| row.to_string(), |stamp| fields[stamp].clone()),
            values: metrics.iter().map(|metric| fields[*metric].clone()).collect(),
            label: label.is_some_and(|label| {
                fields[label].parse::<f64>().map_or(fields[label] == "true", |label| label != 0.0)
            }),
        };
        self.rows.iter().enumerate().map(row).collect()
    }
}

fn write(out: &Path, series: &[Converted]) -> Result<(), Failure> {
    let mut manifest = String::from("set,series,train_len\n");
    for one in series {
        let folder = out.join(&one.set);
        std::fs::create_dir_all(&folder)?;
        let file = folder.join(format!("{}.csv.gz", one.name));
        let shown = |error: std::io::Error| format!("{}: {error}", file.display());
        let compressed = std::fs::File::create(&file).map_err(shown)?;
        let mut to = flate2::write::GzEncoder::new(compressed, flate2::Compression::default());
        let metrics = one.rows.first().map_or(0, |row| row.values.len());
        let names: Vec<String> = match metrics {
            1 => vec!["value".to_owned()],
            n => (0..n).map(|i| format!("v{i}")).collect(),
        };
        let label = if one.labelled { ",label" } else { "" };
        writeln!(to, "timestamp,{}{label}", names.join(","))?;
        for row in &one.rows {
            let stamp = row.stamp.replace(',', " ");
            write!(to, "{stamp},{}", row.values.join(","))?;
            let label = if one.labelled { [",0", ",1"][usize::from(row.label)] } else { "" };
            writeln!(to, "{label}")?;
        }
        to.finish()?;
        manifest.push_str(&format!("{},{},{}\n", one.set, one.name, one.train_len));
    }
    std::fs::write(out.join("manifest.csv"), manifest)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::data::{Manifest, find, read};
    use super::*;

    /// A folder of its own, removed at the end.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let dir = std::env::temp_dir().join(format!("aiops-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&dir).unwrap();
            Folder(dir)
        }

        fn file(&self, name: &str, text: &str) {
            let file = self.0.join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            _ = std::fs::remove_dir_all(&self.0);
        }
    }

    /// Converts and reads the one series back: values, labels, training rows.
    fn there_and_back(
        from: &str,
        folder: &Folder,
    ) -> (String, Vec<Vec<f64>>, Option<Vec<bool>>, usize) {
        let (source, out) = (folder.0.join("src"), folder.0.join("out"));
        let words = [source.to_string_lossy(), out.to_string_lossy()];
        run(from, Args::new(words.map(|word| word.into_owned()).to_vec())).unwrap();
        let files = find(&out, &[]).unwrap();
        let series = read(&out, &files[0], &Manifest::read(&out).unwrap()).unwrap();
        (series.path, series.columns, series.labels, series.train_len)
    }

    #[test]
    fn nab_with_its_windows() {
        let folder = Folder::new("nab");
        let rows: Vec<String> = (0..20).map(|i| format!("2014-01-01 00:{i:02}:00,{i}\n")).collect();
        folder.file("src/data/real/cpu.csv", &format!("timestamp,value\n{}", rows.concat()));
        let windows =
            r#"{"real/cpu.csv": [["2014-01-01 00:05:00.000000", "2014-01-01 00:06:00.000000"]]}"#;
        folder.file("src/labels/combined_windows.json", windows);
        let (path, columns, labels, train) = there_and_back("nab", &folder);
        assert_eq!((path.as_str(), columns[0][3], train), ("nab/real__cpu", 3.0, 3));
        let inside: Vec<usize> = (0..20).filter(|i| labels.as_ref().unwrap()[*i]).collect();
        assert_eq!(inside, [5, 6], "both ends belong to a window");
    }

    #[test]
    fn tsb_ad_says_the_training_rows_in_its_name() {
        let folder = Folder::new("tsb");
        folder.file("src/001_NAB_id_1_Facility_tr_2_1st_3.csv", "Data,Label\n1.5,0\n2,0\n9,1\n");
        let (path, columns, labels, train) = there_and_back("tsb-ad", &folder);
        assert_eq!((path.as_str(), train), ("NAB/001_NAB_id_1_Facility_tr_2_1st_3", 2));
        assert_eq!((columns, labels), (vec![vec![1.5, 2.0, 9.0]], Some(vec![false, false, true])));
    }

    #[test]
    fn any_csv_keeps_its_numbers() {
        let folder = Folder::new("csv");
        folder.file("src/host.csv", "Time,cpu,name,mem\n10,1,a,5\n20,,b,6\n");
        let (path, columns, labels, _) = there_and_back("csv", &folder);
        assert_eq!((path.as_str(), columns.len(), labels), ("src/host", 2, None));
        assert!(columns[0][1].is_nan() && columns[1] == [5.0, 6.0], "names are no metric");
    }
}
