//! `leaderboard -- rca`: who is blamed, over folders of labelled incidents.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use aiops_core::{Cause, Evidence, Ranking, TopologyDocument};
use aiops_rca::eval::{
    Judged, ac_at_k, avg_at_k, brier, calibration_curve, chance_ac_at_k,
    expected_calibration_error, fit_temperature, mean_reciprocal_rank, paired_bootstrap,
};
use aiops_rca::{
    BayesConfig, CorrelationRanking, DefaultConfig, HypothesisConfig, PublishedScorer, RcdConfig,
    RobustConfig, RootCauseAnalyzer, Scale, TraversalConfig, WalkConfig,
};
use rayon::prelude::*;
use serde_json::json;

use crate::args::Args;
use crate::rca_data::{self, Cache, Labelled};
use crate::rca_plot::{Axis, Series, chart};
use crate::registry::{Area, Result};
use crate::stopwatch::wall_seconds;

pub(crate) const AREA: Area = Area {
    name: "rca",
    usage: "--data DIR [--method ID ...|all] [--delay SECONDS] [--shuffle-graph SEED] [--quiet N] [--misses] \
            [--config JSON] [--plot FILE] [--json FILE] [--rankings FILE] [--foreign FILE]",
    about: "Root cause analysis over labelled incidents: who is blamed, and how surely.

Reads every cases.csv below DIR with its csv.gz files and common/ (normal periods, call graphs).
Root columns are optional: without them cases are ranked and no quality is printed. Failures, cases
that cannot be read among them, and abstentions with an empty list count as misses; x-db counts as x.

  --method ID ...       default, bayes, robust, hypothesis, traversal, rcd, page_rank, random_walk,
                        baro, n_sigma, correlation; all of them if not given
  --quiet N             also ranks N stretches of normal time per set, in which nothing should be
                        blamed: `quiet` is the share on which the unknown leads; 40 if not given
  --delay SECONDS       moves the given fault time: how robust is a method to a late alarm?
  --shuffle-graph SEED  deals the node names anew: a method that lives off the graph must get worse
  --config JSON         settings of `default` that differ, such as {\"bayes\":{\"tau\":null}}
  --plot FILE           draws how often the first candidate was right against what was claimed (SVG)
  --misses              prints every case whose root is not first
  --rankings FILE       writes set,case,method,rank,service,metric,score,probability, so that anyone
                        can recompute the figures, and one line with an empty service where a method
                        abstains or fails; --foreign FILE adds the rows of other tools in that form",
    unattended: true,
    run,
};

const BOOTSTRAP: (f64, usize, u64) = (0.95, 10_000, 2_026);

struct Options {
    methods: Vec<String>,
    delay: Duration,
    shuffle: Option<u64>,
    misses: bool,
    quiet: usize,
    config: DefaultConfig,
}

fn run(mut args: Args) -> Result<()> {
    let data = args.value("--data")?.ok_or("--data DIR is needed")?;
    let (json, rankings) = (args.value("--json")?, args.value("--rankings")?);
    let (foreign, plot) = (args.value("--foreign")?, args.value("--plot")?);
    let delay = args.value("--delay")?.map_or(Ok(0.0), |t| t.parse::<f64>())?;
    let delay = Duration::try_from_secs_f64(delay)
        .map_err(|error| format!("--delay must be seconds from 0 on, got {delay}: {error}"))?;
    let mut options = Options {
        methods: args.list("--method")?,
        delay,
        shuffle: args.value("--shuffle-graph")?.map(|t| t.parse()).transpose()?,
        misses: args.flag("--misses"),
        quiet: args.value("--quiet")?.map_or(Ok(40), |t| t.parse())?,
        config: args.value("--config")?.map_or(Ok(DefaultConfig::default()), |t| overridden(&t))?,
    };
    // `--method default robust`: the words behind the first are methods too.
    options.methods.extend(args.positional());
    args.finish()?;
    if options.methods.is_empty() || options.methods.iter().any(|m| m == "all") {
        options.methods = METHODS.iter().map(|(id, _)| (*id).to_owned()).collect();
    }

    let methods: Vec<_> =
        options.methods.iter().map(|id| method(id, &options.config)).collect::<Result<_>>()?;
    let listed = rca_data::list(Path::new(&data))?;
    let (facts, mut rows, quiet) = judge_all(&listed, &methods, &options)?;
    if let Some(path) = &foreign {
        let mut foreign = read_foreign(path)?;
        let before = foreign.len();
        foreign.retain(|said| facts.iter().any(|facts| facts.key == said.key));
        if foreign.len() < before {
            eprintln!("{path}: {} rankings of cases that are not here", before - foreign.len());
        }
        for said in foreign.iter_mut().filter(|said| options.methods.contains(&said.method)) {
            said.method.push_str("-foreign");
        }
        rows.extend(foreign);
    }
    if let Some(path) = &rankings {
        write_rankings(path, &rows)?;
    }
    let report = report(&facts, &rows, &quiet);
    print(&report, &options);
    if options.misses {
        print_misses(&facts, &rows);
    }
    if let Some(path) = plot {
        std::fs::write(&path, calibration_chart(&facts, &rows))?;
    }
    if let Some(path) = json {
        std::fs::write(&path, serde_json::to_string_pretty(&to_json(&report, &options))?)?;
    }
    Ok(())
}

/// Every case judged by every method, and stretches of normal time as well. A case that cannot be read
/// is a miss for all of them.
fn judge_all(
    listed: &[rca_data::Listed],
    methods: &[Box<dyn RootCauseAnalyzer>],
    options: &Options,
) -> Result<(Vec<Facts>, Vec<Said>, Quiet)> {
    let mut rows = vec![];
    let mut facts = vec![];
    let mut quiet = Quiet::default();
    let of_set = |set: &str| listed.iter().filter(|case| case.set == set).count().max(1);
    let mut cache = Cache::default();
    // In pieces: a case of 700 metrics is some megabytes.
    for chunk in listed.chunks(16) {
        let mut loaded = vec![];
        for case in chunk {
            match case.load(&mut cache) {
                Ok(mut case) => {
                    disturb(&mut case, options)?;
                    facts.push(Facts::of(&case));
                    loaded.push(case);
                }
                Err(error) => {
                    eprintln!("{}/{} counts as missed: {error}", case.set, case.name());
                    facts.push(Facts::unread(case));
                    rows.extend(methods.iter().map(|method| Said::failed(&**method, case)));
                }
            }
        }
        for method in methods {
            for case in &loaded {
                quiet.add(&**method, case, options.quiet.div_ceil(of_set(&case.set)));
            }
            rows.extend(loaded.par_iter().map(|case| judge(&**method, case)).collect::<Vec<_>>());
        }
    }
    Ok((facts, rows, quiet))
}

type Build = fn(&DefaultConfig) -> Result<Box<dyn RootCauseAnalyzer>>;

const METHODS: &[(&str, Build)] = &[
    ("default", |config| Ok(Box::new(all_explained(config.bayes.clone()).build()?))),
    ("bayes", |_| Ok(Box::new(all_explained(BayesConfig::default()).build()?))),
    ("robust", |_| Ok(Box::new(RobustConfig::default().build()?))),
    ("hypothesis", |_| Ok(Box::new(HypothesisConfig::default().build()?))),
    ("traversal", |_| Ok(Box::new(TraversalConfig::default().build()?))),
    ("rcd", |_| Ok(Box::new(RcdConfig::default().build()?))),
    ("page_rank", |_| Ok(Box::new(WalkConfig::default().build()?))),
    ("random_walk", |_| Ok(Box::new(WalkConfig { order: 2, ..WalkConfig::default() }.build()?))),
    ("baro", |_| Ok(Box::new(PublishedScorer { scale: Scale::InterquartileRange }))),
    ("n_sigma", |_| Ok(Box::new(PublishedScorer { scale: Scale::StandardDeviation }))),
    ("correlation", |_| Ok(Box::new(CorrelationRanking))),
];

/// The default with the fields of `text` laid over it, field by field at any depth.
fn overridden(text: &str) -> Result<DefaultConfig> {
    fn lay(over: serde_json::Value, onto: &mut serde_json::Value) -> Result<()> {
        match (over, onto) {
            (serde_json::Value::Object(over), serde_json::Value::Object(onto)) => {
                for (key, value) in over {
                    let field = onto.get_mut(&key).ok_or_else(|| format!("no setting {key:?}"))?;
                    lay(value, field)?;
                }
            }
            (over, onto) => *onto = over,
        }
        Ok(())
    }
    let mut config = serde_json::to_value(DefaultConfig::default())?;
    lay(serde_json::from_str(text)?, &mut config)?;
    Ok(serde_json::from_value(config)?)
}

/// The metric of every candidate is wanted here, not of the first ten.
fn all_explained(config: BayesConfig) -> BayesConfig {
    BayesConfig { explained: usize::MAX, ..config }
}

fn method(id: &str, config: &DefaultConfig) -> Result<Box<dyn RootCauseAnalyzer>> {
    let known = METHODS.iter().find(|(known, _)| *known == id);
    let (_, build) = known.ok_or_else(|| {
        let ids: Vec<_> = METHODS.iter().map(|(id, _)| *id).collect();
        format!("no method {id:?}; known are {}", ids.join(", "))
    })?;
    build(config)
}

fn disturb(case: &mut Labelled, options: &Options) -> Result<()> {
    case.case.began += options.delay;
    if let Some(seed) = options.shuffle {
        let mut document = TopologyDocument::from(&case.case.topology);
        let mut names: Vec<String> = document.nodes.iter().map(|n| n.name.clone()).collect();
        names.sort();
        let mut dealt = names.clone();
        let mut state = seed;
        for i in (1..dealt.len()).rev() {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            dealt.swap(i, (state >> 33) as usize % (i + 1));
        }
        let dealt: BTreeMap<String, String> = names.into_iter().zip(dealt).collect();
        let rename = |name: &mut String| name.clone_from(&dealt[name.as_str()]);
        document.nodes.iter_mut().for_each(|node| rename(&mut node.name));
        for edge in &mut document.edges {
            rename(&mut edge.from);
            rename(&mut edge.to);
        }
        case.case.topology = document.try_into()?;
    }
    Ok(())
}

/// What the judge knows of a case.
struct Facts {
    key: (String, String),
    group: String,
    root_service: Option<String>,
    root_metric: Option<String>,
    services: usize,
    metrics: usize,
    has_graph: bool,
}

impl Facts {
    fn of(case: &Labelled) -> Facts {
        let services: BTreeSet<&str> = case.case.services().into_iter().map(plain).collect();
        Facts {
            key: (case.set.clone(), case.name.clone()),
            group: case.group.clone(),
            root_service: case.root_service.clone(),
            root_metric: case.root_metric.clone(),
            services: services.len(),
            metrics: case.case.metrics.len(),
            has_graph: case.case.has_graph(),
        }
    }

    /// Of a case whose files could not be read: nobody can know how many services it has.
    fn unread(case: &rca_data::Listed) -> Facts {
        Facts {
            key: (case.set.clone(), case.name().to_owned()),
            group: case.group(),
            root_service: case.root_service(),
            root_metric: case.root_metric(),
            services: 0,
            metrics: 0,
            has_graph: case.has_graph(),
        }
    }
}

/// A database is counted with its service, as in the published tables.
fn plain(service: &str) -> &str {
    service.strip_suffix("-db").unwrap_or(service)
}

/// What one method said of one case.
struct Said {
    key: (String, String),
    method: String,
    /// Service, metric, score and probability, most suspect first.
    lines: Vec<(String, String, f64, f64)>,
    unknown: Option<f64>,
    failed: bool,
    seconds: Option<f64>,
}

impl Said {
    fn failed(method: &dyn RootCauseAnalyzer, case: &rca_data::Listed) -> Said {
        Said {
            key: (case.set.clone(), case.name().to_owned()),
            method: method.id().to_owned(),
            lines: vec![],
            unknown: None,
            failed: true,
            seconds: None,
        }
    }
}

fn judge(method: &dyn RootCauseAnalyzer, labelled: &Labelled) -> Said {
    let mut outcome = Err("not run".into());
    let seconds = wall_seconds(|| {
        outcome = labelled.case.context().and_then(|context| Ok(method.rank(&context)?));
    });
    let failed = outcome.is_err();
    let ranking = outcome.ok();
    Said {
        key: (labelled.set.clone(), labelled.name.clone()),
        method: method.id().to_owned(),
        unknown: ranking.as_ref().map(|ranking| ranking.unknown),
        lines: ranking.as_ref().map(lines).unwrap_or_default(),
        failed,
        seconds: Some(seconds),
    }
}

/// Services with their metrics in the order of suspicion: the first metric of a service stands
/// where the service stands, a further one where the logarithm of its own score puts it.
fn lines(ranking: &Ranking) -> Vec<(String, String, f64, f64)> {
    let mut lines = vec![];
    for candidate in &ranking.candidates {
        let Cause::Service { service } = &candidate.cause else { continue };
        let metrics = candidate.evidence.iter().filter_map(|evidence| match evidence {
            Evidence::Magnitude { metric, score, .. } => Some((short(metric), score.ln_1p())),
            Evidence::Test { name, cause, statistic, .. } if name == "pearson" => {
                Some((short(cause), *statistic))
            }
            _ => None,
        });
        let metrics: Vec<(String, f64)> = metrics.collect();
        let first = metrics.first().map_or(1.0, |(_, weight)| *weight);
        if metrics.is_empty() {
            lines.push((service.clone(), String::new(), candidate.score, candidate.probability));
        }
        for (metric, weight) in metrics {
            let share = if first > 0.0 { (weight / first).clamp(0.0, 1.0) } else { 0.0 };
            let line = (service.clone(), metric, candidate.score * share, candidate.probability);
            lines.push(line);
        }
    }
    lines.sort_by(|a, b| b.2.total_cmp(&a.2));
    lines
}

/// The metric's name without labels.
fn short(metric: &str) -> String {
    metric.split('{').next().unwrap_or_default().to_owned()
}

/// One line of the table.
struct Row {
    set: String,
    group: String,
    level: &'static str,
    method: String,
    cases: usize,
    failed: usize,
    ac: [f64; 3],
    avg5: f64,
    mrr: f64,
    chance: f64,
    seconds: Option<f64>,
    calibration: Option<(f64, f64, f64)>,
    /// Share of the cases on which the unknown leads although there is a fault.
    abstained: Option<f64>,
    /// Share of the stretches of normal time on which it leads, as it should.
    quiet: Option<f64>,
}

/// How often each method blames nobody where nothing is wrong.
#[derive(Default)]
struct Quiet(BTreeMap<(String, String), (usize, usize)>);

impl Quiet {
    fn add(&mut self, method: &dyn RootCauseAnalyzer, labelled: &Labelled, windows: usize) {
        let judge = |draw: usize| {
            // Any multiplier that scatters the places will do; the seed is the case's name.
            let seed = labelled.name.bytes().fold(17_u64, |h, b| h.wrapping_mul(31) + u64::from(b));
            let place = seed.wrapping_add(draw as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20;
            let case = labelled.case.nothing_wrong(place)?;
            let ranking = method.rank(&case.context().ok()?).ok()?;
            Some(ranking.top().is_none_or(|top| top.probability <= ranking.unknown))
        };
        let judged: Vec<bool> = (0..windows).into_par_iter().filter_map(judge).collect();
        let key = (labelled.set.clone(), method.id().to_owned());
        let entry = self.0.entry(key).or_default();
        entry.0 += judged.iter().filter(|abstained| **abstained).count();
        entry.1 += judged.len();
    }

    fn share(&self, set: &str, method: &str) -> Option<f64> {
        let &(abstained, of) = self.0.get(&(set.to_owned(), method.to_owned()))?;
        (of > 0).then(|| abstained as f64 / of as f64)
    }
}

struct Report {
    rows: Vec<Row>,
    /// For each method the temperature that fits all labelled cases best, and its cases.
    temperatures: Vec<(String, f64, usize)>,
    versus: Vec<serde_json::Value>,
}

fn report(facts: &[Facts], said: &[Said], quiet: &Quiet) -> Report {
    let mut methods: Vec<&str> = vec![];
    for line in said {
        if !methods.contains(&line.method.as_str()) {
            methods.push(&line.method);
        }
    }
    let by_key: BTreeMap<(&str, &(String, String)), &Said> =
        said.iter().map(|s| ((s.method.as_str(), &s.key), s)).collect();
    let mut parts: Vec<(String, String, Vec<&Facts>)> = vec![];
    let mut sets: Vec<&str> = facts.iter().map(|f| f.key.0.as_str()).collect();
    sets.dedup();
    for set in sets {
        let of_set: Vec<&Facts> = facts.iter().filter(|f| f.key.0 == set).collect();
        let groups: BTreeSet<&str> = of_set.iter().map(|f| f.group.as_str()).collect();
        if groups.len() > 1 {
            for group in &groups {
                let of_group = of_set.iter().copied().filter(|f| f.group == *group).collect();
                parts.push((set.to_owned(), (*group).to_owned(), of_group));
            }
        }
        parts.push((set.to_owned(), "all".into(), of_set));
    }
    let graphs: Vec<&Facts> = facts.iter().filter(|f| f.has_graph).collect();
    if !graphs.is_empty() {
        parts.push(("with a graph".into(), "all".into(), graphs));
    }

    let mut rows = vec![];
    let mut versus = vec![];
    for (set, group, of) in parts {
        let labelled: Vec<&Facts> = of.into_iter().filter(|f| f.root_service.is_some()).collect();
        if labelled.is_empty() {
            continue;
        }
        let fine = labelled.iter().all(|f| f.root_metric.is_some());
        let mut scores: BTreeMap<&str, Vec<(f64, f64)>> = BTreeMap::new();
        for method in &methods {
            let of: Vec<Option<&Said>> =
                labelled.iter().map(|f| by_key.get(&(*method, &f.key)).copied()).collect();
            if of.iter().all(Option::is_none) {
                continue;
            }
            let coarse: Vec<Judged> =
                labelled.iter().zip(&of).map(|(f, s)| service_level(f, *s)).collect();
            let sizes: Vec<(usize, usize)> = labelled.iter().map(|f| (f.services, 1)).collect();
            let mut service = row(&set, &group, "service", method, &coarse, &of, &sizes);
            service.quiet = quiet.share(&set, method).filter(|_| group == "all");
            rows.push(service);
            let each = coarse.iter().map(|c| (c.ac_at_k(1), c.avg_at_k(5)));
            scores.insert(method, each.collect());
            if fine {
                let metrics: Vec<Judged> =
                    labelled.iter().zip(&of).map(|(f, s)| metric_level(f, *s)).collect();
                let sizes: Vec<(usize, usize)> = labelled.iter().map(|f| (f.metrics, 1)).collect();
                rows.push(row(&set, &group, "metric", method, &metrics, &of, &sizes));
            }
        }
        for other in ["robust", "correlation", "n_sigma", "baro"] {
            let (Some(ours), Some(theirs)) = (scores.get("default"), scores.get(other)) else {
                continue;
            };
            if group != "all" {
                continue;
            }
            for (measure, pick) in [("ac1", 0), ("avg5", 1)] {
                let of = |scores: &[(f64, f64)]| -> Vec<f64> {
                    scores.iter().map(|s| if pick == 0 { s.0 } else { s.1 }).collect()
                };
                let (confidence, draws, seed) = BOOTSTRAP;
                let found = paired_bootstrap(&of(ours), &of(theirs), confidence, draws, seed);
                versus.push(json!({
                    "set": set, "ours": "default", "theirs": other, "measure": measure,
                    "cases": ours.len(), "mean": found.mean, "low": found.low, "high": found.high,
                    "confidence": confidence,
                }));
            }
        }
    }
    let temperatures = methods.iter().filter_map(|method| {
        let labelled = facts.iter().filter(|f| f.root_service.is_some());
        let of = |f: &Facts| Some(weights(f, by_key.get(&(*method, &f.key))?)).flatten();
        let cases: Vec<(Vec<f64>, bool)> = labelled.filter_map(of).collect();
        (!cases.is_empty()).then(|| ((*method).to_owned(), fit_temperature(&cases), cases.len()))
    });
    let temperatures = temperatures.collect();
    Report { rows, temperatures, versus }
}

/// The probabilities of the services and of the unknown, and whether the first is the true one.
fn weights(facts: &Facts, said: &Said) -> Option<(Vec<f64>, bool)> {
    let unknown = said.unknown?;
    let mut services: Vec<(&str, f64)> = vec![];
    for (service, _, _, probability) in &said.lines {
        if services.iter().all(|(known, _)| known != service) {
            services.push((service, *probability));
        }
    }
    let root = plain(facts.root_service.as_deref()?);
    let hit = services.first().is_some_and(|(service, _)| plain(service) == root);
    let weights = services.iter().map(|(_, p)| *p).chain([unknown]).collect();
    Some((weights, hit))
}

/// Claims of the first candidate in tenths, against the share that was right, for the methods whose
/// probabilities are meant; the diagonal is honesty.
fn calibration_chart(facts: &[Facts], said: &[Said]) -> String {
    let facts: BTreeMap<_, _> = facts.iter().map(|f| (&f.key, f)).collect();
    let axis = |label| Axis {
        label,
        low: 0.0,
        high: 1.0,
        log: false,
        ticks: (0..=5).map(|i| (f64::from(i) / 5.0, format!("{} %", i * 20))).collect(),
    };
    let mut series =
        vec![Series { name: "honest".into(), points: vec![(0.0, 0.0), (1.0, 1.0)], joined: true }];
    for method in ["default", "bayes", "robust"] {
        let claims: Vec<(f64, bool)> = said
            .iter()
            .filter(|s| s.method == method)
            .filter_map(|s| {
                let facts = facts.get(&s.key).filter(|f| f.root_service.is_some())?;
                Some((s.lines.first()?.3, service_level(facts, Some(s)).ac_at_k(1) == 1.0))
            })
            .collect();
        let points: Vec<(f64, f64)> = calibration_curve(&claims, 10)
            .into_iter()
            .map(|bin| (bin.claimed, bin.observed))
            .collect();
        if !points.is_empty() {
            series.push(Series { name: method.into(), points, joined: true });
        }
    }
    let title = "How often the first candidate is right";
    chart(title, &axis("claimed probability"), &axis("share that was right"), &series)
}

fn service_level(facts: &Facts, said: Option<&Said>) -> Judged {
    let lines = said.map(|s| s.lines.as_slice()).unwrap_or_default();
    let root = facts.root_service.as_deref().unwrap_or_default();
    Judged::new(lines.iter().map(|line| plain(&line.0)), plain(root))
}

fn metric_level(facts: &Facts, said: Option<&Said>) -> Judged {
    let name = |service: &str, metric: &str| format!("{}|{metric}", plain(service));
    let lines = said.map(|s| s.lines.as_slice()).unwrap_or_default();
    let root = facts.root_service.as_deref().unwrap_or_default();
    let metric = facts.root_metric.as_deref().unwrap_or_default();
    Judged::new(lines.iter().map(|line| name(&line.0, &line.1)), &name(root, metric))
}

fn row(
    set: &str,
    group: &str,
    level: &'static str,
    method: &str,
    judged: &[Judged],
    said: &[Option<&Said>],
    sizes: &[(usize, usize)],
) -> Row {
    let present = || said.iter().flatten();
    let seconds: Vec<f64> = present().filter_map(|s| s.seconds).collect();
    let claims: Vec<(f64, bool)> = present()
        .zip(judged)
        .filter_map(|(s, j)| Some((s.lines.first()?.3, j.ac_at_k(1) == 1.0)))
        .collect();
    let calibrated = present().all(|s| s.unknown.is_some() || s.failed) && level == "service";
    let mean_claim = claims.iter().map(|c| c.0).sum::<f64>() / claims.len().max(1) as f64;
    Row {
        set: set.to_owned(),
        group: group.to_owned(),
        level,
        method: method.to_owned(),
        cases: judged.len(),
        failed: said.iter().filter(|s| s.is_none_or(|s| s.failed)).count(),
        ac: [1, 3, 5].map(|k| ac_at_k(judged, k)),
        avg5: avg_at_k(judged, 5),
        mrr: mean_reciprocal_rank(judged),
        chance: (1..=5).map(|k| chance_ac_at_k(sizes, k)).sum::<f64>() / 5.0,
        seconds: (!seconds.is_empty()).then(|| seconds.iter().sum::<f64>() / seconds.len() as f64),
        abstained: calibrated.then(|| {
            let leads =
                |s: &&&Said| s.unknown.is_some() && s.unknown >= s.lines.first().map(|line| line.3);
            present().filter(leads).count() as f64 / judged.len() as f64
        }),
        quiet: None,
        calibration: calibrated
            .then(|| (mean_claim, brier(&claims), expected_calibration_error(&claims, 10))),
    }
}

fn print(report: &Report, options: &Options) {
    if !options.delay.is_zero() {
        println!("fault times given {} s late", options.delay.as_secs_f64());
    }
    if let Some(seed) = options.shuffle {
        println!("node names of every graph dealt anew, seed {seed}");
    }
    println!(
        "{:<14} {:<26} {:<8} {:<12} {:>5} {:>5} {:>5} {:>5} {:>5} {:>5} {:>5} {:>5} {:>8} {:>6} {:>5} {:>5} {:>5}",
        "set",
        "group",
        "level",
        "method",
        "cases",
        "fail",
        "ac@1",
        "ac@3",
        "ac@5",
        "avg@5",
        "lift",
        "mrr",
        "ms/case",
        "claim",
        "ece",
        "abst",
        "quiet"
    );
    for row in &report.rows {
        let seconds = row.seconds.map_or(String::new(), |s| format!("{:.1}", s * 1e3));
        let (claim, ece) = row.calibration.map_or((String::new(), String::new()), |c| {
            (format!("{:.2}", c.0), format!("{:.2}", c.2))
        });
        println!(
            "{:<14} {:<26} {:<8} {:<12} {:>5} {:>5} {:>5.2} {:>5.2} {:>5.2} {:>5.2} {:>5.1} {:>5.2} {:>8} {:>6} {:>5} {:>5} {:>5}",
            row.set,
            row.group,
            row.level,
            row.method,
            row.cases,
            row.failed,
            row.ac[0],
            row.ac[1],
            row.ac[2],
            row.avg5,
            row.avg5 / row.chance.max(1e-9),
            row.mrr,
            seconds,
            claim,
            ece,
            share(row.abstained),
            share(row.quiet)
        );
    }
    println!(
        "\nlift: avg@5 over that of chance; claim: mean probability of the first candidate; abst: share \
         of faults on which the unknown leads; quiet: the same on normal time, where it should"
    );
    for (method, temperature, cases) in &report.temperatures {
        println!(
            "{method}: temperature {temperature:.3} would fit best, relative to the one it has, over {cases} cases"
        );
    }
    for versus in &report.versus {
        println!(
            "{:<14} default - {:<12} {:<5} {:+.3} [{:+.3}, {:+.3}] over {} cases",
            versus["set"].as_str().unwrap_or_default(),
            versus["theirs"].as_str().unwrap_or_default(),
            versus["measure"].as_str().unwrap_or_default(),
            versus["mean"].as_f64().unwrap_or_default(),
            versus["low"].as_f64().unwrap_or_default(),
            versus["high"].as_f64().unwrap_or_default(),
            versus["cases"],
        );
    }
}

fn share(value: Option<f64>) -> String {
    value.map_or(String::new(), |value| format!("{value:.2}"))
}

fn print_misses(facts: &[Facts], said: &[Said]) {
    let facts: BTreeMap<_, _> = facts.iter().map(|f| (&f.key, f)).collect();
    println!("\nroots that are not first:");
    for said in said {
        let Some(facts) = facts.get(&said.key) else { continue };
        let judged = service_level(facts, Some(said));
        if facts.root_service.is_none() || judged.ac_at_k(1) == 1.0 {
            continue;
        }
        let rank = judged.ranked.iter().position(|name| judged.truth.contains(name));
        let top: Vec<String> =
            said.lines.iter().take(3).map(|l| format!("{}|{} {:.2}", l.0, l.1, l.2)).collect();
        println!(
            "{:<12} {:<28} rank {:<4} root {:<40} before it: {}",
            said.method,
            said.key.1,
            rank.map_or("-".to_owned(), |r| (r + 1).to_string()),
            judged.truth.first().map_or("", String::as_str),
            top.join(", ")
        );
    }
}

fn to_json(report: &Report, options: &Options) -> serde_json::Value {
    let rows: Vec<_> = report
        .rows
        .iter()
        .map(|row| {
            json!({
                "set": row.set, "group": row.group, "level": row.level, "method": row.method,
                "cases": row.cases, "failed": row.failed, "ac1": row.ac[0], "ac3": row.ac[1],
                "ac5": row.ac[2], "avg5": row.avg5, "mrr": row.mrr, "chance_avg5": row.chance,
                "lift": row.avg5 / row.chance.max(1e-9), "seconds_per_case": row.seconds,
                "mean_claim": row.calibration.map(|c| c.0), "brier": row.calibration.map(|c| c.1),
                "ece": row.calibration.map(|c| c.2), "abstained": row.abstained, "quiet": row.quiet,
            })
        })
        .collect();
    json!({
        "area": "rca", "delay_s": options.delay.as_secs_f64(), "shuffle_graph": options.shuffle,
        "rows": rows, "versus": report.versus,
        "temperatures": report.temperatures.iter().map(|(method, t, n)| {
            json!({"method": method, "relative_temperature": t, "cases": n})
        }).collect::<Vec<_>>(),
    })
}

/// Everything that was said of each case, and one line with an empty service where that is nothing.
fn write_rankings(path: &str, said: &[Said]) -> Result<()> {
    let mut out = csv::Writer::from_path(path)?;
    out.write_record([
        "set",
        "case",
        "method",
        "rank",
        "service",
        "metric",
        "score",
        "probability",
    ])?;
    for said in said {
        let mut write = |rank: usize, service: &str, metric: &str, score: f64, p: f64| {
            let (rank, score, p) = (rank.to_string(), score.to_string(), p.to_string());
            out.write_record([
                &*said.key.0,
                &*said.key.1,
                &*said.method,
                &*rank,
                service,
                metric,
                &*score,
                &*p,
            ])
        };
        if said.lines.is_empty() {
            write(1, "", "", 0.0, said.unknown.unwrap_or(f64::NAN))?;
        }
        for (index, (service, metric, score, probability)) in said.lines.iter().enumerate() {
            write(index + 1, service, metric, *score, *probability)?;
        }
    }
    Ok(out.flush()?)
}

fn read_foreign(path: &str) -> Result<Vec<Said>> {
    let mut reader = csv::Reader::from_path(path)?;
    let header = reader.headers()?.clone();
    let at = |name: &str| header.iter().position(|h| h == name);
    let need = |name: &str| at(name).ok_or_else(|| format!("{path}: no column {name}"));
    let (set, case, method) = (need("set")?, need("case")?, need("method")?);
    let (rank, service, metric) = (need("rank")?, need("service")?, need("metric")?);
    let (score, probability) = (at("score"), at("probability"));
    /// Rank, service, metric, score, probability.
    type Line = (u32, String, String, f64, f64);
    // By set, case and method.
    let mut found: BTreeMap<(String, String, String), Vec<Line>> = BTreeMap::new();
    for record in reader.records() {
        let record = record?;
        let text = |at: usize| record.get(at).unwrap_or_default().to_owned();
        let number =
            |at: Option<usize>| at.and_then(|at| record.get(at)?.parse().ok()).unwrap_or(f64::NAN);
        let lines = found.entry((text(set), text(case), text(method))).or_default();
        if !text(service).is_empty() {
            let rank = text(rank).parse().map_err(|_| format!("{path}: rank {:?}", text(rank)))?;
            lines.push((rank, text(service), text(metric), number(score), number(probability)));
        }
    }
    let said = found.into_iter().map(|((set, case, method), mut lines)| {
        lines.sort_by_key(|line| line.0);
        Said {
            key: (set, case),
            method,
            lines: lines.into_iter().map(|l| (l.1, l.2, l.3, l.4)).collect(),
            unknown: None,
            failed: false,
            seconds: None,
        }
    });
    Ok(said.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write;

    #[test]
    fn a_case_that_cannot_be_read_is_a_miss_and_has_a_line() {
        let root = std::env::temp_dir().join(format!("aiops-unread-{}", std::process::id()));
        let folder = root.join("set/open");
        std::fs::create_dir_all(&folder).expect("a folder");
        let cases = "case,inject_time,root_service\ngood,300,db\ngone,300,db\ncut,300,api\n";
        std::fs::write(folder.join("cases.csv"), cases).expect("written");
        let level = |t: usize, rise: usize| (t * 7_919) % 13 + if t < 300 { 0 } else { rise };
        let rows = (0..400).map(|t| format!("{t},{},{}\n", level(t, 90), level(t, 20)));
        let text = format!("time,db|cpu,api|cpu\n{}", rows.collect::<String>());
        let mut gz = GzEncoder::new(vec![], Compression::fast());
        gz.write_all(text.as_bytes()).expect("compressed");
        let bytes = gz.finish().expect("compressed");
        std::fs::write(folder.join("good.csv.gz"), &bytes).expect("written");
        std::fs::write(folder.join("cut.csv.gz"), &bytes[..bytes.len() / 2]).expect("written");

        let config = DefaultConfig::default();
        let methods = [method("default", &config).expect("known")];
        let options = Options {
            methods: vec!["default".into()],
            delay: Duration::ZERO,
            shuffle: None,
            misses: false,
            quiet: 0,
            config,
        };
        let listed = rca_data::list(&root).expect("lists");
        let (facts, said, quiet) = judge_all(&listed, &methods, &options).expect("judges");
        let report = report(&facts, &said, &quiet);
        let row = &report.rows[0];
        assert_eq!((row.cases, row.failed), (3, 2));
        assert!((row.ac[0] - 1.0 / 3.0).abs() < 1e-12, "{}", row.ac[0]);
        let file = root.join("rankings.csv");
        write_rankings(&file.to_string_lossy(), &said).expect("written");
        let written = std::fs::read_to_string(&file).expect("reads");
        let foreign = read_foreign(&file.to_string_lossy()).expect("reads again");
        std::fs::remove_dir_all(&root).expect("cleans up");
        let lines = |start: &str| written.lines().filter(|line| line.starts_with(start)).count();
        assert_eq!(lines("set,good,default,1,db,cpu,"), 1, "{written}");
        assert_eq!((lines("set,gone,default,1,,,"), lines("set,cut,default,1,,,")), (1, 1));
        assert_eq!(foreign.len(), 3, "what one run writes another can read");
    }
}
