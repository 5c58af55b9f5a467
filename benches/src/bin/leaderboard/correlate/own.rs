//! Anyone's own storm: alerts and a topology in, a line for each alert out.

use std::io::Write;
use std::path::Path;

use aiops_core::{Alert, Topology};
use aiops_correlate::eval::place;
use aiops_correlate::{CorrelatorExt, Funnel};
use serde::Serialize;

use super::load;
use crate::registry::Result;

#[derive(Debug, Serialize)]
struct Assignment<'a> {
    id: &'a str,
    decision: &'static str,
    incident: Option<String>,
    shown: bool,
    first_shown: Option<f64>,
    reason: String,
}

/// Runs the default correlator and prints the funnel; writes the assignments where asked.
pub(super) fn run(
    mut correlator: Funnel,
    alerts: &Path,
    topology: Option<&Path>,
    history: Option<&Path>,
    assignments: Option<&Path>,
) -> Result<()> {
    let topology = topology.map(load::topology).transpose()?.unwrap_or_default();
    let (mut alerts, ids) = load::alerts(alerts)?;
    if let Some(history) = history {
        let (mut earlier, _) = load::alerts(history)?;
        // Ids of the history must not meet those of the storm.
        for alert in &mut earlier {
            alert.id = aiops_core::AlertId::from_u64(alert.id.as_u64() | 1 << 62);
        }
        let begins = alerts.first().map(|alert| alert.received_at);
        earlier.retain(|alert| begins.is_none_or(|begins| alert.received_at < begins));
        learn(&mut correlator, &earlier, &topology);
    }
    alerts.sort_by_key(|alert| alert.received_at);
    let placed = place(&mut correlator, &alerts, &topology);
    let firing = alerts.iter().filter(|alert| !alert.is_resolved()).count();
    let shown = placed.iter().filter(|p| p.first_shown.is_some()).filter_map(|p| p.group);
    let shown: std::collections::BTreeSet<_> = shown.collect();
    let lost = placed.iter().filter(|p| !p.known).count();
    println!(
        "{} records, {firing} firing, {} shown groups, {lost} lost",
        alerts.len(),
        shown.len()
    );
    let Some(file) = assignments else { return Ok(()) };
    let out = std::fs::File::create(file).map_err(|e| format!("{}: {e}", file.display()))?;
    let mut out = std::io::BufWriter::new(out);
    for ((alert, id), placed) in alerts.iter().zip(&ids).zip(&placed) {
        let decision = aiops_correlate::Correlator::decision(&correlator, alert.id);
        let line = Assignment {
            id,
            decision: decision.as_ref().map_or("lost", |decision| decision.action.name()),
            incident: placed.group.map(|group| group.to_string()),
            shown: placed.first_shown.is_some(),
            first_shown: placed.first_shown.map(|at| at.as_nanos() as f64 / 1e9),
            reason: decision.map(|decision| decision.sentence()).unwrap_or_default(),
        };
        serde_json::to_writer(&mut out, &line)?;
        out.write_all(b"\n")?;
    }
    out.flush()?;
    Ok(())
}

/// Only what came before the storm, without letting its holds run out.
fn learn(correlator: &mut Funnel, alerts: &[Alert], topology: &Topology) {
    let mut updates = Vec::new();
    for alert in alerts {
        correlator.advance(alert.received_at, topology, &mut updates);
        let ctx = aiops_correlate::Context::new(alert.received_at, topology);
        aiops_correlate::Correlator::ingest(correlator, alert, &ctx);
    }
}
