//! `leaderboard -- convert`: other people's downloads into the layout that `rca` reads.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::args::Args;
use crate::registry::Result;

pub(crate) const ABOUT: &str = "Brings a public download into the layout of `leaderboard -- rca --data OUT`.

rcaeval: every folder <service>_<fault>/<n>/ below SRC with inject_time.txt and data.csv (or
simple_metrics.csv). Each folder above them becomes a set. Columns <service>_<metric> are kept, the
median latency is dropped and latency-90 becomes latency, as in that benchmark's own script. The root
metric is the fault's own (cpu, mem, socket; disk is diskio where there is one), latency for delay,
loss and disks that nobody measured, and none for code faults.

  --minutes N   length of the window, half before and half after the fault; 10 if not given, as in the
                published tables";

/// Converts a download of RCAEval.
pub(crate) fn run(mut args: Args) -> Result<()> {
    let minutes: f64 = args.value("--minutes")?.map_or(Ok(10.0), |n| n.parse())?;
    let paths = args.positional();
    args.finish()?;
    let [source, out] = paths.as_slice() else {
        return Err("convert needs two folders, SRC and OUT".into());
    };
    if !(minutes > 0.0 && minutes.is_finite()) {
        return Err(format!("--minutes must be above 0, got {minutes}").into());
    }
    let converted = rcaeval(Path::new(source), Path::new(out), minutes * 60.0)?;
    println!("{converted} cases in {out}");
    Ok(())
}

/// A case as it lies in the download.
struct Found {
    metrics: PathBuf,
    inject_time: PathBuf,
    /// The folders between the root and the case, joined: the system.
    set: String,
    service: String,
    fault: String,
    number: String,
}

fn rcaeval(source: &Path, out: &Path, length: f64) -> Result<usize> {
    let mut cases = find(source)?;
    if cases.is_empty() {
        return Err(format!("no <service>_<fault>/<n>/ below {}", source.display()).into());
    }
    let order = |case: &Found| (case.set.clone(), case.service.clone(), case.fault.clone());
    cases.sort_by_key(|case| (order(case), case.number.clone()));
    for set in cases.chunk_by(|a, b| a.set == b.set) {
        let folder = out.join(&set[0].set).join("cases");
        std::fs::create_dir_all(&folder)
            .map_err(|error| format!("{}: {error}", folder.display()))?;
        let mut list = csv::Writer::from_path(folder.join("cases.csv"))?;
        list.write_record(["case", "inject_time", "root_service", "root_metric", "fault"])?;
        for case in set {
            let name = format!("{}_{}_{}", case.service, case.fault, case.number);
            let told = std::fs::read_to_string(&case.inject_time)?;
            let told = told.lines().next().unwrap_or_default().trim();
            let began: f64 = told.parse().map_err(|_| format!("{name}: begins at {told:?}"))?;
            let columns = write_case(case, &folder.join(format!("{name}.csv.gz")), began, length)?;
            let root = root_metric(&case.service, &case.fault, &columns);
            list.write_record([&*name, told, &*case.service, root, &*case.fault])?;
        }
        list.flush()?;
    }
    Ok(cases.len())
}

fn find(source: &Path) -> Result<Vec<Found>> {
    let mut found = vec![];
    let mut folders = vec![source.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries =
            std::fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        folders.extend(entries.filter_map(|e| Some(e.ok()?.path())).filter(|path| path.is_dir()));
        let inject_time = folder.join("inject_time.txt");
        let metrics = ["data.csv", "simple_metrics.csv"].map(|name| folder.join(name));
        let Some(metrics) = metrics.into_iter().find(|path| path.is_file()) else { continue };
        let text = |path: &Path| Some(path.file_name()?.to_string_lossy().into_owned());
        let kind = folder.parent().and_then(text).unwrap_or_default();
        let (Some((service, fault)), true) = (kind.rsplit_once('_'), inject_time.is_file()) else {
            continue;
        };
        let above = folder.parent().and_then(Path::parent).unwrap_or(source);
        let between = above.strip_prefix(source).unwrap_or(above);
        let parts = between.components().map(|c| c.as_os_str().to_string_lossy().into_owned());
        let mut set = parts.collect::<Vec<_>>().join("-");
        if set.is_empty() {
            set = source
                .canonicalize()?
                .file_name()
                .map_or("rcaeval".into(), |name| name.to_string_lossy().into_owned());
        }
        let number = text(&folder).unwrap_or_default();
        let (service, fault) = (service.to_owned(), fault.to_owned());
        found.push(Found { metrics, inject_time, set, service, fault, number });
    }
    Ok(found)
}

/// Writes the window of one case and returns the columns that it has.
fn write_case(case: &Found, to: &Path, began: f64, length: f64) -> Result<BTreeSet<String>> {
    let mut reader = csv::Reader::from_path(&case.metrics)?;
    let header = reader.headers()?.clone();
    // Some downloads have the time twice; the first one counts.
    let time = header.iter().position(|name| name == "time");
    let time = time.ok_or_else(|| format!("{}: no column time", case.metrics.display()))?;
    let mut seen = BTreeSet::new();
    let mut kept = vec![];
    for (at, name) in header.iter().enumerate() {
        if let Some(name) = column(name).filter(|name| seen.insert(name.clone())) {
            kept.push((at, name));
        }
    }
    let file = std::fs::File::create(to).map_err(|error| format!("{}: {error}", to.display()))?;
    let mut out = csv::Writer::from_writer(GzEncoder::new(file, Compression::default()));
    let names = kept.iter().map(|(_, name)| name.as_str());
    out.write_record(std::iter::once("time").chain(names))?;
    for record in reader.records() {
        let record = record?;
        let at: f64 = record.get(time).unwrap_or_default().trim().parse().unwrap_or(f64::NAN);
        if !(at >= began - length / 2.0 && at < began + length / 2.0) {
            continue;
        }
        let number = |at: usize| {
            let cell = record.get(at).unwrap_or_default().trim();
            let finite = cell.parse::<f64>().is_ok_and(f64::is_finite);
            if finite { cell } else { "" }
        };
        let cells = kept.iter().map(|&(column, _)| number(column));
        out.write_record(std::iter::once(record.get(time).unwrap_or_default()).chain(cells))?;
    }
    let mut gz = out.into_inner().map_err(|error| error.to_string())?;
    gz.flush()?;
    gz.finish()?;
    Ok(seen)
}

/// `service_metric` as `service|metric`; `None` for the time, for what has no metric and for medians.
fn column(name: &str) -> Option<String> {
    let (service, metric) = name.split_once('_')?;
    let metric = match metric {
        "latency-50" => return None,
        "latency-90" => "latency",
        metric => metric,
    };
    (!service.is_empty() && !metric.is_empty()).then(|| format!("{service}|{metric}"))
}

fn root_metric<'a>(service: &str, fault: &'a str, columns: &BTreeSet<String>) -> &'a str {
    match fault {
        "cpu" | "mem" | "socket" => fault,
        "disk" if columns.contains(&format!("{service}|diskio")) => "diskio",
        "disk" | "delay" | "loss" => "latency",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rca_data::{self, Cache};

    #[test]
    fn a_download_becomes_cases_that_rca_reads() {
        let root = std::env::temp_dir().join(format!("aiops-convert-{}", std::process::id()));
        let case = root.join("RE1-OB/cart-service_delay/1");
        std::fs::create_dir_all(&case).expect("a folder");
        let header = "time,cart-service_cpu,cart-service_latency-50,cart-service_latency-90,time";
        let rows =
            (0..1_200).map(|t| format!("{t},0.5,1,{},{t}", if t < 700 { "2" } else { "inf" }));
        let text: Vec<String> = std::iter::once(header.to_owned()).chain(rows).collect();
        std::fs::write(case.join("data.csv"), text.join("\n")).expect("written");
        std::fs::write(case.join("inject_time.txt"), "600\n").expect("written");

        let out = root.join("out");
        assert_eq!(rcaeval(&root, &out, 600.0).expect("converts"), 1);
        let listed = rca_data::list(&out).expect("lists");
        let loaded = listed[0].load(&mut Cache::default()).expect("loads");
        std::fs::remove_dir_all(&root).expect("cleans up");
        assert_eq!((loaded.set.as_str(), loaded.name.as_str()), ("RE1-OB", "cart-service_delay_1"));
        assert_eq!(loaded.root_service.as_deref(), Some("cart-service"));
        assert_eq!(loaded.root_metric.as_deref(), Some("latency"));
        let window = &loaded.case.window;
        assert_eq!((window.n_series(), window.n_steps()), (2, 600), "five minutes either side");
        let latency = window.series().iter().position(|s| s.name == "latency").expect("kept");
        assert_eq!(window.row(latency)[399], 2.0);
        assert!(window.row(latency)[400].is_nan(), "infinities are gaps");
    }

    #[test]
    fn nothing_to_convert_is_an_error() {
        let empty = std::env::temp_dir().join(format!("aiops-convert-none-{}", std::process::id()));
        std::fs::create_dir_all(&empty).expect("a folder");
        assert!(rcaeval(&empty, &empty, 600.0).is_err());
        std::fs::remove_dir_all(&empty).expect("cleans up");
    }
}
