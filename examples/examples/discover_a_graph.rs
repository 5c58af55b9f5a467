//! Nobody wrote down who calls whom. Five series are watched for a quarter of an hour: a queue feeds
//! a worker, the worker feeds a database and a report; a clock has nothing to do with any of it.
//! What can be learnt from the numbers, and what does it cost to trust them too soon?
//!
//! ```text
//! cargo run -p aiops-examples --example discover_a_graph
//! ```
#![allow(clippy::print_stdout, reason = "an example shows what a user would see")]
use aiops_core::{Frame, Labels, SeriesKey, Timestamp};
use aiops_rca::{
    Adjust, CausalDiscovery, CausalGraph, ConditionalGrangerConfig, GrangerConfig, Knowledge,
    LagChoice, PcmciConfig,
};
use std::collections::BTreeSet;
use std::time::Duration;

const NAMES: [&str; 5] = ["queue", "worker", "database", "report", "clock"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let data = watch(900)?;
    let truth: BTreeSet<_> = [(0, 1), (1, 2), (1, 3)].into();

    // Pair by pair, each test on its own: the queue seems to drive the database as well, because it
    // drives the worker that does.
    let pairs = GrangerConfig { lags: LagChoice::Fixed(2), adjust: Adjust::None, level: 0.05 };
    let naive = pairs.build()?.discover(&data, &Knowledge::none())?;
    show("each pair alone, p < .05", &naive);
    assert!(naive.pairs().contains(&(0, 2)), "the indirect influence looks direct");

    // All at once, with the false discoveries under control.
    let conditional = ConditionalGrangerConfig::default().build()?;
    let graph = conditional.discover(&data, &Knowledge::none())?;
    show("given the past of everything else", &graph);
    assert_eq!(graph.pairs(), truth);

    let pcmci = PcmciConfig::default().build()?.discover(&data, &Knowledge::none())?;
    show("PCMCI agrees", &pcmci);
    assert_eq!(pcmci.pairs(), truth);

    // Somebody knows that the report only reads: nothing may be blamed on it.
    let forbidden = (0..NAMES.len()).map(|effect| (3, effect)).collect();
    let knowledge = Knowledge { forbidden, ..Knowledge::none() };
    let (dag, dropped) = conditional.discover(&data, &knowledge)?.without_cycles(&knowledge);
    assert!(dropped.is_empty() && dag.parents(2) == [1]);
    println!("database is fed by {}", NAMES[dag.parents(2)[0]]);
    Ok(())
}

fn show(title: &str, graph: &CausalGraph) {
    println!("{title}:");
    for edge in &graph.edges {
        let (from, to) = (NAMES[edge.from], NAMES[edge.to]);
        println!("  {from} -> {to} after {} s, p = {:.1e}", edge.lag, edge.p_value);
    }
}

fn watch(steps: usize) -> Result<Frame, aiops_core::Error> {
    let mut state = 11_u64;
    let mut noise = move || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f64 / f64::from(1 << 24) - 0.5
    };
    let mut rows = vec![vec![0.0; steps]; NAMES.len()];
    for t in 2..steps {
        rows[0][t] = 0.5 * rows[0][t - 1] + noise();
        rows[1][t] = 0.3 * rows[1][t - 1] + 0.6 * rows[0][t - 1] + noise();
        rows[2][t] = 0.3 * rows[2][t - 1] + 0.6 * rows[1][t - 1] + noise();
        rows[3][t] = 0.7 * rows[1][t - 2] + noise();
        rows[4][t] = noise();
    }
    let series = NAMES.map(|name| SeriesKey::new(name, Labels::new())).to_vec();
    Frame::new(series, Timestamp::EPOCH, Duration::from_secs(1), rows.concat())
}
