//! The table over many recordings.

use std::path::PathBuf;

use aiops_act::approver::visible;
use aiops_pipeline::judge::Score;
use aiops_pipeline::words;
use aiops_pipeline::{Settings, bundled_runbooks};
use serde_json::json;

use crate::{Failure, replay_dir, say};

/// Replays every recording and prints a table, or one JSON document.
pub(crate) fn run(
    recordings: &[PathBuf],
    settings: &Settings,
    as_json: bool,
) -> Result<(), Failure> {
    let library = bundled_runbooks()?;
    let mut rows = Vec::new();
    for dir in recordings {
        let story = replay_dir(dir, &library, settings)?;
        let top = story
            .main_incident()
            .and_then(|main| main.top())
            .map(|top| format!("{} {}", top.cause, words::percent(top.probability)));
        rows.push((story.name, story.score, story.funnel, top.unwrap_or_default()));
    }
    if as_json {
        let rows: Vec<_> = rows
            .iter()
            .map(|(name, score, funnel, top)| json!({"recording": name, "score": score, "funnel": funnel, "first": top}))
            .collect();
        return say(&format!("{:#}\n", json!({"format": "aiops.evaluation/v1", "rows": rows})));
    }
    let mut table =
        "| recording | rank of the true root | probability | to incident | to cause | for good \
                     | other incidents | acted in error | ranked first |\n\
                     | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n"
            .to_owned();
    for (name, score, _, top) in &rows {
        table += &row(&cell(name), score.as_ref(), &cell(top));
        table.push('\n');
    }
    say(&table)
}

/// Text from a recording as it may stand in a cell.
fn cell(text: &str) -> String {
    visible(text).replace('|', "\\|")
}

fn row(name: &str, score: Option<&Score>, top: &str) -> String {
    let Some(score) = score else {
        return format!("| {name} | no truth | | | | | | | {top} |");
    };
    let seconds = |s: Option<f64>| s.map_or("never".to_owned(), |s| format!("{s:.0} s"));
    let (beside, error) = (score.shown_beside, score.acted_in_error);
    if score.fault.is_none() {
        return format!("| {name} | harmless | | | | | {beside} | {error} | {top} |");
    }
    format!(
        "| {name} | {} | {} | {} | {} | {} | {beside} | {error} | {top} |",
        score.rank.map_or("not ranked".to_owned(), |rank| rank.to_string()),
        words::percent(score.probability),
        seconds(score.to_incident_s),
        seconds(score.to_cause_s),
        seconds(score.to_lasting_cause_s),
    )
}
