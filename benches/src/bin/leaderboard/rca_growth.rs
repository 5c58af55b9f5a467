//! `leaderboard -- growth`: how the time of ranking and of discovery grows with the system.

use std::hint::black_box;

use aiops_rca::{
    CausalDiscovery, ConditionalGrangerConfig, Context, DefaultConfig, Knowledge, PcConfig,
    PcmciConfig, RootCauseAnalyzer,
};
use serde_json::json;

use crate::args::Args;
use crate::discovery::{Noise, var};
use crate::rca_plot::{Axis, Series, chart, decades};
use crate::registry::{Area, Result};
use crate::speed_rca::incident;
use crate::stopwatch::cpu_seconds;

pub(crate) const AREA: Area = Area {
    name: "growth",
    usage: "[--quick] [--svg FILE] [--json FILE]",
    about: "How the time of root cause analysis grows: seconds of one thread, the best of three runs.

Ranking by the default: services with 5 metrics of 1,200 samples each, two calls a service. Discovery:
a sparse VAR(2) of 1,000 samples with 1.5 links a variable.

  --quick      the smaller sizes, one run
  --svg FILE   draws it",
    unattended: true,
    run,
};

fn run(mut args: Args) -> Result<()> {
    let quick = args.flag("--quick");
    let (svg, json_file) = (args.value("--svg")?, args.value("--json")?);
    args.finish()?;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build()?;
    let series = pool.install(|| measure(quick).map_err(|error| error.to_string()))?;
    println!("{:<24} {:>8} {:>10}", "what", "size", "seconds");
    for line in &series {
        for (size, seconds) in &line.points {
            println!("{:<24} {size:>8} {seconds:>10.5}", line.name);
        }
    }
    if let Some(path) = svg {
        let x = Axis {
            label: "services, or variables",
            low: 8.0,
            high: 1_200.0,
            log: true,
            ticks: decades(1, 3, ""),
        };
        let y = Axis {
            label: "seconds of one thread",
            low: 1e-4,
            high: 2.0,
            log: true,
            ticks: decades(-4, 0, " s"),
        };
        std::fs::write(&path, chart("How the time grows", &x, &y, &series))?;
    }
    if let Some(path) = json_file {
        let rows: Vec<_> = series
            .iter()
            .flat_map(|s| {
                s.points.iter().map(move |(n, t)| json!({"what": s.name, "size": n, "seconds": t}))
            })
            .collect();
        let report = json!({"area": "growth", "rows": rows});
        std::fs::write(path, serde_json::to_string_pretty(&report)?)?;
    }
    Ok(())
}

fn measure(quick: bool) -> Result<Vec<Series>> {
    let rounds = if quick { 1 } else { 3 };
    let best = |work: &mut dyn FnMut()| {
        (0..rounds).map(|_| cpu_seconds(&mut *work)).fold(f64::INFINITY, f64::min)
    };
    let mut ranking = vec![];
    let services: &[usize] = if quick { &[10, 100] } else { &[10, 30, 100, 300, 1_000] };
    for &n in services {
        let incident = incident(n, 5, 1_200)?;
        let context =
            Context::new(&incident.window, &incident.infos, &incident.topology, incident.began)?;
        let analyzer = DefaultConfig::default().build()?;
        let seconds = best(&mut || drop(black_box(analyzer.rank(black_box(&context)))));
        ranking.push((n as f64, seconds));
    }
    let mut series = vec![Series { name: "ranking".into(), points: ranking, joined: true }];
    let variables: &[usize] = if quick { &[10, 30] } else { &[10, 25, 50, 100, 200] };
    let methods: Vec<(&str, Box<dyn CausalDiscovery>)> = vec![
        ("conditional Granger", Box::new(ConditionalGrangerConfig::default().build()?)),
        ("PCMCI", Box::new(PcmciConfig::default().build()?)),
        ("PC", Box::new(PcConfig::default().build()?)),
    ];
    for (name, method) in methods {
        let mut points = vec![];
        for &n in variables {
            let data = var(1, n, 1_000, n * 3 / 2, Noise::Gaussian, false)?.data;
            let mut work =
                || drop(black_box(method.discover(black_box(&data), &Knowledge::none())));
            points.push((n as f64, best(&mut work)));
        }
        series.push(Series { name: name.into(), points, joined: true });
    }
    Ok(series)
}
