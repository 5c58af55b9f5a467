//! Correlation: suppression, missed and hidden incidents and noise, beside simple correlators.

mod load;
mod own;
mod plot;
mod real;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use aiops_core::{Alert, Timestamp, Topology};
use aiops_correlate::eval::Truth;
use aiops_correlate::eval::{
    Counting, Measures, evaluate, mean, measure, place, shown_groups, shuffled,
};
use aiops_correlate::sim::{STRESSES, StormConfig};
use aiops_correlate::{Correlator, Funnel, FunnelConfig, GroupBy, Hold, SimpleConfig, StaticHold};
use serde::Serialize;

use crate::{
    args::Args,
    registry::{Area, Result},
};

pub(crate) const AREA: Area = Area {
    name: "correlate",
    usage: "[--storm [--seeds A..B] [--stress NAME,...|all]] [--data DIR] [--json FILE]\n\
            [--frontier [--svg FILE]] [--alerts FILE --topology FILE [--history FILE] [--assignments FILE]]",
    about: "suppression, missed incidents and noise of the default correlator, beside simple ones\n\
            --storm   generated storms of these seeds (default 11..31) and stresses (default: default);\n\
            \x20         real_noise counts its second day only\n\
            --frontier  adds rows for thresholds from careful to bold; --svg draws them (the last set)\n\
            --data    folders found recursively: storms (NAME.jsonl, .topology.json, .truth.json), faults\n\
            \x20         (alerts.jsonl, topology.json; replayed with 1 to 6 overlapping), csv with attack\n\
            \x20         phases, alarms.csv without truth\n\
            --alerts  your own storm, one JSON object a line: id, arrival, at (seconds), service, name,\n\
            \x20         severity, host, status (firing or resolved), fingerprint, labels; --topology has\n\
            \x20         calls [[caller, callee]] and runs_on {service: host}\n\
            Words are defined in aiops_correlate::eval.",
    unattended: true,
    run,
};

/// A correlator of the table.
struct Entry {
    name: &'static str,
    make: fn() -> Result<Box<dyn Correlator>>,
    shuffled: bool,
}

const ENTRIES: &[Entry] = &[
    Entry { name: "ours", make: ours, shuffled: false },
    Entry { name: "ours, shuffled topology", make: ours, shuffled: true },
    Entry { name: "our groups, one constant hold", make: constant, shuffled: false },
    Entry {
        name: "dedup only, 5 min",
        make: || simple(GroupBy::Fingerprint, true),
        shuffled: false,
    },
    Entry { name: "by service, 5 min", make: || simple(GroupBy::Service, true), shuffled: false },
    Entry { name: "by name, 5 min", make: || simple(GroupBy::Name, true), shuffled: false },
    Entry {
        name: "time window, 5 min",
        make: || simple(GroupBy::Everything, false),
        shuffled: false,
    },
    Entry { name: "alertmanager, by service", make: alertmanager, shuffled: false },
];

/// The default, with nothing forgotten before the figures are taken.
fn config() -> FunnelConfig {
    FunnelConfig { retention: Duration::from_secs(60 * 86_400), ..FunnelConfig::default() }
}

fn funnel() -> Result<Funnel> {
    Ok(config().build()?)
}

fn ours() -> Result<Box<dyn Correlator>> {
    Ok(Box::new(funnel()?))
}

fn constant() -> Result<Box<dyn Correlator>> {
    let hold = StaticHold { firings: 2, lasting: Duration::from_millis(240_500) };
    Ok(Box::new(FunnelConfig { hold: Hold::Static(hold), ..config() }.build()?))
}

fn simple(by: GroupBy, rolling: bool) -> Result<Box<dyn Correlator>> {
    Ok(Box::new(SimpleConfig { by, rolling, ..SimpleConfig::default() }.build()?))
}

fn alertmanager() -> Result<Box<dyn Correlator>> {
    Ok(Box::new(SimpleConfig::alertmanager(GroupBy::Service).build()?))
}

#[derive(Debug, Serialize)]
struct Row {
    set: String,
    correlator: String,
    #[serde(flatten)]
    measures: Measures,
}

/// One storm with its truth, however it came about.
struct Case {
    alerts: Vec<Alert>,
    truth: Vec<Truth>,
    topology: Topology,
    counting: Counting,
}

fn run(mut args: Args) -> Result<()> {
    let storm = args.flag("--storm");
    let quick = args.flag("--quick");
    let frontier = args.flag("--frontier");
    let seeds = args.value("--seeds")?;
    let stresses = args.list("--stress")?;
    let data = args.value("--data")?;
    let json = args.value("--json")?;
    let svg = args.value("--svg")?;
    let own = ["--alerts", "--topology", "--history", "--assignments"]
        .map(|option| args.value(option))
        .into_iter()
        .collect::<Result<Vec<_>>>()?;
    args.finish()?;
    if let Some(alerts) = &own[0] {
        let path = |at: usize| own[at].as_deref().map(Path::new);
        return own::run(funnel()?, Path::new(alerts), path(1), path(2), path(3));
    }
    let mut rows = Vec::new();
    if storm || data.is_none() {
        let seeds = seeds_of(seeds.as_deref(), quick)?;
        let names = match stresses.first().map(String::as_str) {
            None => vec!["default".to_owned(), "real_noise".to_owned()],
            Some("all") => STRESSES.iter().map(|name| (*name).to_owned()).collect(),
            Some(_) => stresses,
        };
        for name in names {
            let config = StormConfig::stress(&name).ok_or_else(|| {
                format!("no stress {name:?}; known are noise_N and {}", STRESSES.join(", "))
            })?;
            let after = if name == "real_noise" { 86_400 } else { i64::MIN / 1_000_000_000 };
            let counting = Counting { after: Timestamp::from_secs(after), ..Counting::default() };
            let case = |seed| {
                let storm = config.generate(seed);
                let (alerts, truth, topology) = (storm.alerts, storm.truth, storm.topology);
                Case { alerts, truth, topology, counting }
            };
            let set = format!("{name}, seeds {}..{}", seeds.start, seeds.end);
            compare(&set, &seeds.clone().map(case).collect::<Vec<_>>(), frontier, &mut rows)?;
        }
    }
    if let Some(data) = &data {
        on_data(Path::new(data), frontier, &mut rows)?;
    }
    if let (Some(file), Some(last)) = (svg, rows.last()) {
        let picture = plot::frontier(&last.set, &rows);
        std::fs::write(&file, picture).map_err(|error| format!("{file}: {error}"))?;
    }
    if let Some(file) = json {
        let text = serde_json::to_string_pretty(&rows)?;
        std::fs::write(&file, text + "\n").map_err(|error| format!("{file}: {error}"))?;
    }
    Ok(())
}

fn seeds_of(text: Option<&str>, quick: bool) -> Result<std::ops::Range<u64>> {
    let Some(text) = text else { return Ok(if quick { 11..13 } else { 11..31 }) };
    let parse = |(a, b): (&str, &str)| Some(a.parse().ok()?..b.parse().ok()?);
    text.split_once("..")
        .and_then(parse)
        .ok_or_else(|| format!("--seeds wants A..B, got {text:?}").into())
}

/// Runs every correlator over every case and prints the means.
fn compare(set: &str, cases: &[Case], frontier: bool, rows: &mut Vec<Row>) -> Result<()> {
    println!("\n{set}\n{}", header());
    let mut record = |name: String, all: &[Measures]| {
        let measures = mean(all);
        println!("{}", line(&name, &measures));
        rows.push(Row { set: set.to_owned(), correlator: name, measures });
    };
    for entry in ENTRIES {
        let mut all = Vec::new();
        for (seed, case) in cases.iter().enumerate() {
            let wrong = entry.shuffled.then(|| shuffled(&case.topology, seed as u64));
            let topology = wrong.as_ref().unwrap_or(&case.topology);
            let mut correlator = (entry.make)()?;
            let correlator = &mut *correlator;
            all.push(evaluate(correlator, &case.alerts, &case.truth, topology, &case.counting));
        }
        record(entry.name.to_owned(), &all);
    }
    if frontier {
        for likely in [0.01, 0.03, 0.06, 0.1, 0.15, 0.25, 0.4, 0.6, 0.8, 0.95] {
            let mut all = Vec::new();
            for case in cases {
                let mut config = config();
                if let Hold::Learned(hold) = &mut config.hold {
                    hold.likely = likely;
                    hold.late = hold.late.max(likely);
                    hold.sure = hold.sure.max(likely);
                }
                let (alerts, truth) = (&case.alerts, &case.truth);
                let mut funnel = config.build()?;
                all.push(evaluate(&mut funnel, alerts, truth, &case.topology, &case.counting));
            }
            record(format!("ours, shown from {likely}"), &all);
        }
    }
    let oracle: Vec<Measures> = cases.iter().map(oracle).collect();
    record("oracle: one group for each incident".to_owned(), &oracle);
    Ok(())
}

/// What a correlator that knows the truth would get.
fn oracle(case: &Case) -> Measures {
    use aiops_core::IncidentId;
    use aiops_correlate::eval::Placed;
    let place = |(alert, truth): (&Alert, &Truth)| {
        let noise = truth.episode | 1 << 62;
        Placed {
            known: true,
            group: Some(IncidentId::from_u64(truth.incident.map_or(noise, u64::from))),
            first_shown: truth.incident.map(|_| alert.received_at),
        }
    };
    let placed: Vec<_> = case.alerts.iter().zip(&case.truth).map(place).collect();
    measure(&case.alerts, &case.truth, &placed, &case.counting)
}

fn on_data(root: &Path, frontier: bool, rows: &mut Vec<Row>) -> Result<()> {
    let storms = load::storms(root)?;
    let set =
        |name: &str| name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '-').to_owned();
    let sets: BTreeSet<String> = storms.iter().map(|storm| set(&storm.name)).collect();
    for name in sets {
        let case = |storm: &load::Storm| {
            let learned = if storm.name.starts_with("real-noise") { 86_400 } else { -86_400 };
            Case {
                alerts: storm.alerts.clone(),
                truth: storm.truth.clone(),
                topology: storm.topology.clone(),
                counting: Counting { after: Timestamp::from_secs(learned), ..Counting::default() },
            }
        };
        let of = storms.iter().filter(|storm| set(&storm.name) == name);
        compare(&format!("storms {name}"), &of.map(case).collect::<Vec<_>>(), frontier, rows)?;
    }
    for faults in real::faults(root)? {
        for overlap in [1, 2, 4, 6] {
            let storm = faults.replay(overlap);
            let (alerts, truth, topology) = (storm.alerts, storm.truth, storm.topology);
            let case = Case { alerts, truth, topology, counting: Counting::default() };
            compare(&format!("replayed faults, {}", storm.name), &[case], false, rows)?;
        }
    }
    for (storm, phases) in real::intrusions(root)? {
        intrusions(&storm, &phases, rows)?;
    }
    for storm in real::telecom(root)? {
        let shown = shown_groups(&mut funnel()?, &storm.alerts, &storm.topology);
        let records = storm.alerts.len();
        println!("\ntelecom {}: {records} records, {shown} shown groups (no truth)", storm.name);
    }
    Ok(())
}

/// Attack phases: each must be visible, the ones with a single alert too.
fn intrusions(storm: &load::Storm, phases: &[String], rows: &mut Vec<Row>) -> Result<()> {
    let mut correlator = funnel()?;
    let placed = place(&mut correlator, &storm.alerts, &storm.topology);
    let measures = measure(&storm.alerts, &storm.truth, &placed, &Counting::default());
    println!(
        "\nintrusions {}: {} records, {} phases",
        storm.name,
        storm.alerts.len(),
        phases.len()
    );
    println!("{}\n{}", header(), line("ours", &measures));
    for (number, phase) in phases.iter().enumerate() {
        let of = storm.truth.iter().zip(&placed).zip(&storm.alerts);
        let of: Vec<_> = of.filter(|((t, _), _)| t.incident == Some(number as u32)).collect();
        let shown = of.iter().filter(|((_, placed), _)| placed.first_shown.is_some()).count();
        let first = of.iter().map(|(_, alert)| alert.received_at).min();
        let seen = of.iter().filter_map(|((_, placed), _)| placed.first_shown).min();
        let delay = seen.zip(first).map(|(seen, first)| seen.seconds_after(first));
        let delay = delay.map_or("never".to_owned(), |s| format!("after {s:.0} s"));
        println!(
            "  {phase:<20} {:>7} alerts, {shown:>7} stood in a shown group, first {delay}",
            of.len()
        );
    }
    rows.push(Row {
        set: format!("intrusions {}", storm.name),
        correlator: "ours".into(),
        measures,
    });
    Ok(())
}

fn header() -> String {
    format!(
        "{:<36} {:>7} {:>7} {:>6} {:>6} {:>6} {:>5} {:>7} {:>7} {:>7} {:>6} {:>6} {:>6} {:>6} {:>6}",
        "correlator",
        "groups",
        "suppr%",
        "rep%",
        "FN1%",
        "FN2%",
        "lost",
        "noise%",
        "wrong%",
        "gr/inc",
        "F1",
        "ARI",
        "bcub",
        "p50 s",
        "p95 s"
    )
}

fn line(name: &str, m: &Measures) -> String {
    let percent = |share: f64| share * 100.0;
    format!(
        "{name:<36} {:>7} {:>7.2} {:>6.1} {:>6.2} {:>6.2} {:>5} {:>7.1} {:>7.1} {:>7.2} {:>6.3} {:>6.3} \
         {:>6.3} {:>6.0} {:>6.0}",
        m.shown_groups,
        percent(m.suppression),
        percent(m.repeated),
        percent(m.missed),
        percent(m.hidden),
        m.lost,
        percent(m.noise_groups),
        percent(m.wrong_members),
        m.groups_per_incident,
        m.f1,
        m.ari,
        m.b_cubed_f1,
        m.delay_p50_s,
        m.delay_p95_s,
    )
}
