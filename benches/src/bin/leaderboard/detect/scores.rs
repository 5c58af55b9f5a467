//! Scores as files: ours for others to recompute every figure, other tools' to stand beside ours.

use std::{
    fmt::Write,
    path::{Path, PathBuf},
};

use aiops_core::{Harm, Sample, SeriesId, Timestamp};
use aiops_detect::{Change, PolicyConfig, State, Tier, Verdict};

use super::{Failure, contender::Output, data::Series};
use crate::registry::Result;

fn path(dir: &Path, id: &str, series: &Series) -> PathBuf {
    dir.join(id).join(format!("{}.csv", series.path))
}

/// Writes `timestamp,score,p_value,flag,label`, one row per row of the input. Score and p-value are
/// empty where nothing was judged, the label where there is none.
pub(crate) fn write(dir: &Path, id: &str, series: &Series, output: &Output) -> Result<(), Failure> {
    let flags = flags(series, output);
    let mut text = String::from("timestamp,score,p_value,flag,label\n");
    for (row, verdict) in output.verdicts.iter().enumerate() {
        push_field(&mut text, &series.stamps[row]);
        if verdict.is_scored() {
            write!(text, ",{:e},{:e}", verdict.score, verdict.p_value)?;
        } else {
            text.push_str(",,");
        }
        let label = series.labels.as_ref().map(|labels| u8::from(labels[row]).to_string());
        writeln!(text, ",{},{}", u8::from(flags[row]), label.unwrap_or_default())?;
    }
    let file = path(dir, id, series);
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(&file, text).map_err(|error| format!("{}: {error}", file.display()).into())
}

/// A field as CSV wants it: quoted where it must be.
fn push_field(text: &mut String, field: &str) {
    if field.contains([',', '"', '\n', '\r']) {
        text.push('"');
        text.push_str(&field.replace('"', "\"\""));
        text.push('"');
    } else {
        text.push_str(field);
    }
}

/// Rows at which the default policy, with p <= 0.001, would tell someone of an anomaly.
pub(crate) fn flags(series: &Series, output: &Output) -> Vec<bool> {
    let Ok(mut policy) = PolicyConfig::default().build() else { return Vec::new() };
    let value =
        |row: usize| if series.columns.len() == 1 { series.columns[0][row] } else { f64::NAN };
    let raises = |(row, verdict): (usize, &Verdict)| {
        let sample = Sample::new(Timestamp::from_secs(row as i64), value(row));
        let change = if !verdict.is_scored() {
            None
        } else if verdict.p_value <= 1e-3 {
            let verdict = Verdict { flagged: true, ..*verdict };
            policy.observe_flagged(SeriesId(0), sample, &verdict, Harm::Both)
        } else {
            policy.observe_normal(SeriesId(0), sample)
        };
        change == Some(Change::Raised)
    };
    output.verdicts.iter().enumerate().map(raises).collect()
}

/// The tools whose files lie under `dir`: its folders.
pub(crate) fn foreign_ids(dir: &Path) -> Result<Vec<String>> {
    let entries = std::fs::read_dir(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let mut ids = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.path().is_dir() {
            ids.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    ids.sort();
    Ok(ids)
}

/// Another tool's scores of a series; `None` when it has no file for it.
pub(crate) fn read_foreign(
    dir: &Path,
    id: &str,
    series: &Series,
) -> Result<Option<Output>, Failure> {
    let file = path(dir, id, series);
    if !file.is_file() {
        return Ok(None);
    }
    let shown = file.display();
    let text = std::fs::read_to_string(&file).map_err(|error| format!("{shown}: {error}"))?;
    let mut rows = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
    let header = rows.headers().map_err(|error| format!("{shown}: {error}"))?.clone();
    let column = |name: &str| header.iter().position(|column| column == name);
    let score = column("score").ok_or_else(|| format!("{shown}: needs a column score"))?;
    let p_value = column("p_value");
    let mut verdicts = Vec::with_capacity(series.len());
    for (row, fields) in rows.records().enumerate() {
        let fields = fields.map_err(|error| format!("{shown}: {error}"))?;
        let number = |column: usize| -> Result<Option<f64>, Failure> {
            match &fields[column] {
                "" => Ok(None),
                field => match field.parse::<f64>() {
                    Ok(value) if value.is_finite() => Ok(Some(value)),
                    _ => Err(format!("{shown}, row {row}: no finite number: {field:?}").into()),
                },
            }
        };
        let mut verdict = Verdict::unjudged(State::WarmingUp, Tier::One);
        if let Some(score) = number(score)? {
            verdict.state = State::Scored;
            verdict.score = score;
            if let Some(p) = p_value.map(number).transpose()?.flatten() {
                verdict.p_value = p.clamp(f64::MIN_POSITIVE, 1.0);
            }
        }
        verdicts.push(verdict);
    }
    if verdicts.len() != series.len() {
        let (got, expected) = (verdicts.len(), series.len());
        return Err(format!("{shown}: {got} rows, the series has {expected}").into());
    }
    Ok(Some(Output { verdicts, ..Output::default() }))
}
