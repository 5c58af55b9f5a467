//! Cases of root cause analysis from files: `cases.csv`, `common/`, one csv.gz a case.
//!
//! What a method may see is in [`Case`]; the truth and the case's name are beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aiops_core::{
    Edge, EdgeKind, Frame, Labels, MetricKind, NodeKind, SeriesKey, Timestamp, Topology,
};
use aiops_rca::{Context, MetricInfo};

use crate::registry::Result;

/// What a method may see of one case.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) window: Frame,
    pub(crate) metrics: Vec<MetricInfo>,
    pub(crate) normal: Option<Frame>,
    pub(crate) began: Timestamp,
    pub(crate) topology: Topology,
    pub(crate) symptoms: Vec<SeriesKey>,
}

impl Case {
    pub(crate) fn context(&self) -> Result<Context<'_>> {
        let mut context = Context::new(&self.window, &self.metrics, &self.topology, self.began)?;
        context.normal = self.normal.as_ref();
        context.symptoms = &self.symptoms;
        Ok(context)
    }

    /// The services that have a metric.
    pub(crate) fn services(&self) -> BTreeSet<&str> {
        self.metrics.iter().filter_map(|info| info.service.as_deref()).collect()
    }

    pub(crate) fn has_graph(&self) -> bool {
        self.topology.edges().next().is_some()
    }
}

impl Case {
    /// The same system with nothing wrong: a stretch of its normal time, as long as the case, taken
    /// at a place that `draw` (any number) decides, against the rest of the normal time. For a case
    /// without a normal period of its own, the time before its fault, with a beginning in the last
    /// third. `None` where that is too short.
    pub(crate) fn nothing_wrong(&self, draw: u64) -> Option<Case> {
        let mut quiet = self.clone();
        let steps_before = (0..self.window.n_steps())
            .take_while(|&j| self.window.time(j) + self.window.step() <= self.began)
            .count();
        let Some(normal) = &self.normal else {
            quiet.window = self.window.slice(0, steps_before).ok()?;
            let third = steps_before / 3;
            let begin = steps_before - third + (draw as usize % (third / 2).max(1));
            quiet.began = quiet.window.time(begin);
            return (third > 10).then_some(quiet);
        };
        let steps = self.window.n_steps();
        let places = normal.n_steps().checked_sub(steps).filter(|places| *places > 0)?;
        let start = draw as usize % places;
        quiet.window = normal.slice(start, start + steps).ok()?;
        quiet.began = quiet.window.time(steps_before.min(steps - 1));
        let mut rest = normal.clone();
        for row in 0..rest.n_series() {
            rest.row_mut(row)[start..start + steps].fill(f64::NAN);
        }
        quiet.normal = Some(rest);
        Some(quiet)
    }
}

/// A case with what only the judge may see.
#[derive(Debug)]
pub(crate) struct Labelled {
    /// The data set: the folder above the one with `cases.csv`.
    pub(crate) set: String,
    /// A part of the set that is reported apart, such as an application.
    pub(crate) group: String,
    /// The name in `cases.csv`.
    pub(crate) name: String,
    pub(crate) case: Case,
    pub(crate) root_service: Option<String>,
    pub(crate) root_metric: Option<String>,
}

/// One line of `cases.csv`, found but not loaded.
#[derive(Debug)]
pub(crate) struct Listed {
    pub(crate) set: String,
    folder: PathBuf,
    fields: BTreeMap<String, String>,
}

/// Every case below `root`, in the order of paths and lines.
pub(crate) fn list(root: &Path) -> Result<Vec<Listed>> {
    let mut found = vec![];
    // Resolved, because `common` lies beside a folder that may have been given as `.`.
    let root = root.canonicalize().map_err(|error| format!("{}: {error}", root.display()))?;
    let mut names = BTreeSet::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        let entries =
            std::fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let mut inner: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
        inner.sort();
        folders.extend(inner.iter().rev().filter(|path| path.is_dir()).cloned());
        let file = folder.join("cases.csv");
        if !file.is_file() {
            continue;
        }
        let set = folder.parent().and_then(Path::file_name).unwrap_or_default();
        let set = set.to_string_lossy().into_owned();
        let mut reader = csv::Reader::from_path(&file)?;
        let header = reader.headers()?.clone();
        let at = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
        if !header.iter().any(|name| name == "case") {
            return Err(at(&"no column case").into());
        }
        for record in reader.records() {
            let record = record.map_err(|error| at(&error))?;
            let fields = header.iter().zip(record.iter());
            let fields = fields.map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
            let case = Listed { set: set.clone(), folder: folder.clone(), fields };
            if !names.insert((set.clone(), case.name().to_owned())) {
                let twice = format!("a second case {:?} of the set {set}", case.name());
                return Err(at(&twice).into());
            }
            found.push(case);
        }
    }
    if found.is_empty() {
        return Err(format!("no cases.csv below {}", root.display()).into());
    }
    Ok(found)
}

impl Listed {
    fn field(&self, names: &[&str]) -> Option<&str> {
        let given = names.iter().find_map(|name| self.fields.get(*name));
        given.map(String::as_str).filter(|value| !value.is_empty())
    }

    pub(crate) fn name(&self) -> &str {
        self.field(&["case"]).unwrap_or_default()
    }

    pub(crate) fn root_service(&self) -> Option<String> {
        self.field(&["root_service", "root_node"]).map(str::to_owned)
    }

    pub(crate) fn root_metric(&self) -> Option<String> {
        self.field(&["root_metric"]).map(str::to_owned)
    }

    /// The part of the set that it is reported with.
    pub(crate) fn group(&self) -> String {
        match (self.field(&["app", "scenario"]), self.field(&["target_metric"])) {
            (Some(part), Some(metric)) => format!("{part}/{metric}"),
            (Some(part), None) => part.to_owned(),
            _ => String::new(),
        }
    }

    /// The folder with normal periods and call graphs, and which of them are those of this case.
    fn common(&self) -> (PathBuf, Option<&str>) {
        let common = self.folder.parent().unwrap_or(&self.folder).join("common");
        (common, self.field(&["day", "scenario"]))
    }

    pub(crate) fn has_graph(&self) -> bool {
        let (common, key) = self.common();
        key.is_some_and(|key| common.join(format!("{key}.calls.csv")).is_file())
    }

    /// Reads the files of the case. `cache` keeps the normal periods, which many cases share.
    pub(crate) fn load(&self, cache: &mut Cache) -> Result<Labelled> {
        let name = self.name();
        let began = self.field(&["inject_time", "target_time"]);
        let began = began.ok_or("neither inject_time nor target_time")?;
        let began: f64 = began.trim().parse().map_err(|_| format!("begins at {began:?}"))?;
        let table = Table::read(&self.folder.join(format!("{name}.csv.gz")))?;
        let (common, key) = self.common();
        let shared = key.map(|key| cache.shared(&common, key)).transpose()?.unwrap_or_default();

        let stat = self.field(&["target_stat"]);
        let columns: Vec<Column> =
            table.columns.iter().filter_map(|header| Column::of(header)).collect();
        let columns: Vec<Column> = columns.into_iter().filter(|c| c.is_of(stat)).collect();
        let keys: Vec<SeriesKey> = columns.iter().map(Column::key).collect();
        let step = table.step()?;
        let start = table.times.iter().copied().fold(f64::INFINITY, f64::min);
        let last = table.times.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let steps = ((last - start) / step).round();
        // A time of a thousand years later is a wrong time, not a long gap.
        let limit = 100.0 * table.times.len() as f64 + 10_000.0;
        if !(began.is_finite() && steps < limit) {
            return Err(format!("from {start} to {last} by {step} s, began {began}").into());
        }
        let n_steps = steps as usize + 1;
        let to_time = |seconds: f64| Timestamp::from_millis((seconds * 1e3).round() as i64);
        let step_s = Duration::try_from_secs_f64(step)?;
        let mut window = Frame::gaps(keys.clone(), to_time(start), step_s, n_steps)?;
        for (row, column) in columns.iter().enumerate() {
            let values = table.column(&column.header);
            for (time, value) in table.times.iter().zip(values).filter(|(t, _)| t.is_finite()) {
                let at = (((time - start) / step).round() as usize).min(n_steps - 1);
                window.row_mut(row)[at] = *value * column.unit;
            }
        }
        // Of a normal period only the values matter, not the days between them.
        let normal = shared.normal.as_ref().map(|normal| -> Result<Frame> {
            let n = normal.times.len();
            let mut frame = Frame::gaps(keys.clone(), Timestamp::EPOCH, step_s, n)?;
            for (row, column) in columns.iter().enumerate() {
                let values = normal.column(&column.header);
                for (to, value) in frame.row_mut(row).iter_mut().zip(values) {
                    *to = *value * column.unit;
                }
            }
            Ok(frame)
        });
        let target = match (self.field(&["target_node"]), self.field(&["target_metric"])) {
            (Some(node), Some(metric)) => columns
                .iter()
                .position(|c| c.service == node && c.metric == metric && c.seen_by.is_none()),
            _ => None,
        };
        Ok(Labelled {
            set: self.set.clone(),
            group: self.group(),
            name: name.to_owned(),
            root_service: self.root_service(),
            root_metric: self.root_metric(),
            case: Case {
                window,
                metrics: columns.iter().map(Column::info).collect(),
                normal: normal.transpose()?,
                began: to_time(began),
                topology: topology(&shared.calls)?,
                symptoms: target.map(|row| keys[row].clone()).into_iter().collect(),
            },
        })
    }
}

/// Services that call each other, as a topology.
pub(crate) fn topology(calls: &[(String, String)]) -> Result<Topology> {
    let mut topology = Topology::new();
    for (caller, callee) in calls {
        let [from, to] = [caller, callee]
            .map(|name| topology.upsert_node(name, NodeKind::Service, Timestamp::EPOCH));
        if from != to {
            topology.upsert_edge(
                from,
                to,
                Edge::new(EdgeKind::Calls, "given", Timestamp::EPOCH),
            )?;
        }
    }
    Ok(topology)
}

/// A column as a metric of a service.
#[derive(Debug, Clone)]
struct Column {
    header: String,
    service: String,
    metric: String,
    stat: Option<String>,
    seen_by: Option<String>,
    kind: MetricKind,
    /// What values are multiplied by: memory in bytes becomes megabytes, as in RCAEval, because the
    /// published scorers replace a scale of zero by one *in whatever unit*. Ours do not care.
    unit: f64,
}

impl Column {
    /// `service|metric[|stat]`. `EDGE-x|a_b` is what a sees of its calls to b: a metric of b, seen
    /// by a. `FRONT|` belongs to no service and is left out, as are columns of another form.
    fn of(header: &str) -> Option<Column> {
        let mut parts = header.split('|');
        let (first, second) = (parts.next()?, parts.next()?);
        let stat = parts.next().map(str::to_owned);
        let column = |service: &str, seen_by: Option<&str>, kind| Column {
            header: header.to_owned(),
            service: service.to_owned(),
            metric: second.to_owned(),
            stat: stat.clone(),
            seen_by: seen_by.map(str::to_owned),
            kind,
            unit: if second == "mem" { 1e-6 } else { 1.0 },
        };
        // The median and the 99th percentile of Sock Shop repeat the 90th; RCAEval drops them too.
        if first == "FRONT" || matches!(second, "lat_50" | "lat_99") {
            return None;
        }
        if first.starts_with("EDGE") {
            let (caller, callee) = second.split_once('_')?;
            let end = first.trim_start_matches("EDGE-");
            return Some(column(callee, Some(&format!("{caller} ({end})")), MetricKind::Latency));
        }
        Some(column(first, None, kind_of(second)))
    }

    /// Of a metric with several statistics the one that the target is given in, and sums.
    fn is_of(&self, stat: Option<&str>) -> bool {
        match (self.stat.as_deref(), stat) {
            (Some(own), Some(wanted)) => own == wanted || own == "Sum",
            _ => true,
        }
    }

    fn key(&self) -> SeriesKey {
        let mut labels = Labels::from([("service", self.service.as_str())]);
        if let Some(stat) = &self.stat {
            labels.insert("stat", stat.as_str());
        }
        if let Some(caller) = &self.seen_by {
            labels.insert("seen_by", caller.as_str());
        }
        SeriesKey::new(self.metric.as_str(), labels)
    }

    fn info(&self) -> MetricInfo {
        MetricInfo { seen_by: self.seen_by.clone(), ..MetricInfo::new(&self.service, self.kind) }
    }
}

/// What a metric measures, from its name: the vocabulary of the public sets.
fn kind_of(metric: &str) -> MetricKind {
    let name = metric.to_ascii_lowercase();
    let has = |parts: &[&str]| parts.iter().any(|part| name.contains(part));
    if has(&["client"]) {
        // How long the calls that it makes take: what it waits for, not what it does.
        MetricKind::Other
    } else if has(&["latency", "lat_", "duration", "delay"]) || name == "lat" {
        MetricKind::Latency
    } else if has(&["avail", "success"]) {
        MetricKind::Availability
    } else if has(&["error", "fail"]) {
        MetricKind::Errors
    } else if has(&["cpu"]) {
        MetricKind::Cpu
    } else if has(&["mem"]) {
        MetricKind::Memory
    } else if has(&["requests", "workload", "load"]) || name == "lod" {
        MetricKind::Throughput
    } else if has(&["disk", "socket", "saturation"]) {
        MetricKind::Saturation
    } else {
        MetricKind::Other
    }
}

/// Normal periods and call graphs, read once.
#[derive(Debug, Default)]
pub(crate) struct Cache(BTreeMap<PathBuf, Shared>);

#[derive(Debug, Default, Clone)]
struct Shared {
    normal: Option<std::sync::Arc<Table>>,
    calls: Vec<(String, String)>,
}

impl Cache {
    fn shared(&mut self, common: &Path, key: &str) -> Result<Shared> {
        let path = common.join(key);
        if let Some(shared) = self.0.get(&path) {
            return Ok(shared.clone());
        }
        let mut shared = Shared::default();
        let normal = common.join(format!("{key}.normal.csv.gz"));
        if normal.is_file() {
            shared.normal = Some(std::sync::Arc::new(Table::read(&normal)?));
        }
        let calls = common.join(format!("{key}.calls.csv"));
        if calls.is_file() {
            for record in csv::Reader::from_path(&calls)?.records() {
                let record = record?;
                if let (Some(caller), Some(callee)) = (record.get(0), record.get(1)) {
                    shared.calls.push((caller.to_owned(), callee.to_owned()));
                }
            }
        }
        self.0.insert(path, shared.clone());
        Ok(shared)
    }
}

/// A csv.gz with a `time` column.
#[derive(Debug, Default)]
struct Table {
    times: Vec<f64>,
    columns: Vec<String>,
    values: BTreeMap<String, Vec<f64>>,
}

impl Table {
    fn read(path: &Path) -> Result<Table> {
        let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let mut text = vec![];
        flate2::read::GzDecoder::new(&*bytes)
            .read_to_end(&mut text)
            .map_err(|error| format!("{}: {error}", path.display()))?;
        let mut reader = csv::Reader::from_reader(&*text);
        let header: Vec<String> = reader.headers()?.iter().map(str::to_owned).collect();
        let time = header.iter().position(|name| name == "time");
        let time = time.ok_or_else(|| format!("{}: no column time", path.display()))?;
        let mut columns = vec![vec![]; header.len()];
        for record in reader.records() {
            for (column, field) in columns.iter_mut().zip(record?.iter()) {
                column.push(field.trim().parse().unwrap_or(f64::NAN));
            }
        }
        let times = columns[time].clone();
        let values = header.iter().cloned().zip(columns).collect();
        let columns = header.into_iter().filter(|name| name != "time").collect();
        Ok(Table { times, columns, values })
    }

    fn column(&self, header: &str) -> &[f64] {
        self.values.get(header).map(Vec::as_slice).unwrap_or_default()
    }

    /// The usual distance of two rows: the median, because a row may be missing.
    fn step(&self) -> Result<f64> {
        let mut gaps: Vec<f64> =
            self.times.windows(2).map(|w| w[1] - w[0]).filter(|gap| *gap > 0.0).collect();
        gaps.sort_by(f64::total_cmp);
        gaps.get(gaps.len() / 2)
            .copied()
            .filter(|gap| gap.is_finite())
            .ok_or_else(|| "fewer than two rows".into())
    }
}
