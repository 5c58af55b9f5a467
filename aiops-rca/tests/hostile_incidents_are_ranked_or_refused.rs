//! Whatever the numbers, the times and the topology: a ranking or a typed error, soon.

use aiops_core::{
    Anomaly, Direction, Edge, EdgeKind, Event, EventKind, Frame, MetricKind, NodeId, NodeKind,
    Ranking, SeriesKey, Timestamp, Topology,
};
use aiops_rca::testing::SyntheticIncident;
use aiops_rca::{
    BayesConfig, Context, CorrelationRanking, DefaultConfig, FusionConfig, HypothesisConfig,
    MetricInfo, PublishedScorer, RcdConfig, RobustConfig, RootCauseAnalyzer, Scale,
    TraversalConfig, WalkConfig,
};
use std::time::Duration;

fn analyzers() -> Vec<Box<dyn RootCauseAnalyzer>> {
    let fused =
        BayesConfig { fuse: Some(FusionConfig::default()), ..DefaultConfig::default().bayes };
    vec![
        Box::new(DefaultConfig::default().build().expect("valid")),
        Box::new(fused.build().expect("valid")),
        Box::new(BayesConfig::default().build().expect("valid")),
        Box::new(RobustConfig::default().build().expect("valid")),
        Box::new(PublishedScorer { scale: Scale::InterquartileRange }),
        Box::new(PublishedScorer { scale: Scale::StandardDeviation }),
        Box::new(TraversalConfig::default().build().expect("valid")),
        Box::new(RcdConfig::default().build().expect("valid")),
        Box::new(CorrelationRanking),
        Box::new(HypothesisConfig::default().build().expect("valid")),
        Box::new(WalkConfig::default().build().expect("valid")),
        Box::new(WalkConfig { order: 2, ..WalkConfig::default() }.build().expect("valid")),
    ]
}

fn sound(ranking: &Ranking, what: &str) {
    let all = ranking.candidates.iter().map(|c| c.probability).chain([ranking.unknown]);
    assert!(all.clone().all(|p| (0.0..=1.0).contains(&p)), "{what}: {ranking:?}");
    assert!((all.sum::<f64>() - 1.0).abs() < 1e-9, "{what}: {ranking:?}");
    assert!(ranking.candidates.iter().all(|c| c.score.is_finite() && c.score > 0.0), "{what}");
}

fn every(context: &Context<'_>, what: &str) {
    for analyzer in analyzers() {
        let what = format!("{} of {what}", analyzer.id());
        match analyzer.rank(context) {
            Ok(ranking) => sound(&ranking, &what),
            Err(error) => panic!("{what}: {error}"),
        }
    }
}

#[test]
fn odd_numbers() {
    for value in [
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::MAX,
        f64::MIN,
        f64::MIN_POSITIVE,
        5e-324,
        -0.0,
    ] {
        let mut incident = SyntheticIncident::named(str::to_owned);
        // Here and there in every row, then one row of it before and one of it after.
        for row in 0..incident.window.n_series() {
            let values = incident.window.row_mut(row);
            values.iter_mut().skip(row).step_by(7).for_each(|v| *v = value);
        }
        every(&incident.context(), &format!("{value} everywhere"));
        let mut incident = SyntheticIncident::named(str::to_owned);
        incident.window.row_mut(4)[..600].fill(value);
        incident.window.row_mut(5)[600..].fill(value);
        incident.window.row_mut(0).fill(value);
        every(&incident.context(), &format!("{value} before, after and throughout"));
    }
}

#[test]
fn odd_shapes() {
    let incident = SyntheticIncident::named(str::to_owned);
    for (from, to) in [(0, 0), (0, 1), (600, 601), (0, 2), (590, 605), (0, 11), (700, 720)] {
        let mut odd = incident.clone();
        odd.window = incident.window.slice(from, to).expect("inside");
        for began in [-1, 0, 1, 600, 719, 720, 100_000] {
            odd.began = Timestamp::from_secs(began);
            let mut context = odd.context();
            context.normal = Some(&incident.window);
            every(&context, &format!("steps {from}..{to}, began {began}, with a normal time"));
            context.normal = Some(&odd.window);
            every(&context, &format!("steps {from}..{to}, began {began}, itself as normal"));
        }
    }
    // Steps as long and as short as a duration can be.
    for step in [Duration::MAX, Duration::from_secs(u64::MAX / 2), Duration::from_nanos(1)] {
        let window = &incident.window;
        let (series, values) = (window.series().to_vec(), window.values().to_vec());
        let mut odd = incident.clone();
        for start in [Timestamp::MIN, Timestamp::EPOCH, Timestamp::MAX] {
            odd.window = Frame::new(series.clone(), start, step, values.clone()).expect("a frame");
            for began in [Timestamp::MIN, Timestamp::EPOCH, Timestamp::MAX] {
                odd.began = began;
                every(&odd.context(), &format!("steps of {step:?} from {start:?}, {began:?}"));
            }
        }
    }
}

#[test]
fn odd_company() {
    let incident = SyntheticIncident::named(str::to_owned);
    // Anomalies with numbers that are none, far from the window, of services nobody knows.
    let anomaly = |service: &str, score: f64, onset: Timestamp| Anomaly {
        series: SeriesKey::new("latency", [("service", service)]),
        kind: MetricKind::Latency,
        onset,
        onset_uncertainty: Duration::MAX,
        last_seen: Timestamp::MIN,
        peak_score: score,
        p_value: score,
        expected: score,
        observed: -score,
        direction: Direction::Above,
        detector: String::new(),
        reasons: vec![],
    };
    let scores = [f64::NAN, f64::INFINITY, -1.0, 0.0, f64::MAX, 1e-300];
    let onsets = [Timestamp::MIN, Timestamp::EPOCH, Timestamp::MAX];
    let anomalies: Vec<Anomaly> = scores
        .iter()
        .flat_map(|&score| onsets.map(|onset| anomaly("ghost", score, onset)))
        .chain(onsets.map(|onset| anomaly("db", f64::MAX, onset)))
        .collect();
    let change = |service: Option<&str>, at| Event::new(EventKind::Deploy, service, "a deploy", at);
    let changes: Vec<Event> = onsets
        .iter()
        .flat_map(|&at| [Some("db"), Some("ghost"), Some(""), None].map(|s| change(s, at)))
        .collect();
    let symptoms = ["gateway", "ghost", ""].map(|s| SeriesKey::new("latency", [("service", s)]));
    let mut context = incident.context();
    context.anomalies = &anomalies;
    context.changes = &changes;
    context.symptoms = &symptoms;
    every(&context, "strangers");
    // The same series twice, and metrics of nobody.
    let window = &incident.window;
    let series = vec![window.series()[4].clone(); window.n_series()];
    let values = window.values().to_vec();
    let twice = Frame::new(series, window.start(), window.step(), values).expect("a frame");
    let nobody = vec![MetricInfo::default(); window.n_series()];
    for metrics in [&incident.metrics, &nobody] {
        let mut context = Context::new(&twice, metrics, &incident.topology, incident.began)
            .expect("one info for each row");
        context.symptoms = &symptoms[..1];
        every(&context, "one series in every row");
    }
}

/// `n` services, all of them abnormal or every hundredth, over the given calls.
fn large(n: usize, every_nth: usize, calls: impl Iterator<Item = (usize, usize)>) -> Ranking {
    const STEPS: usize = 30;
    let mut topology = Topology::new();
    let name = |i: usize| format!("s{i}");
    let nodes: Vec<NodeId> = (0..n)
        .map(|i| topology.upsert_node(&name(i), NodeKind::Service, Timestamp::EPOCH))
        .collect();
    for (from, to) in calls {
        let edge = Edge::new(EdgeKind::Calls, "test", Timestamp::EPOCH);
        topology.upsert_edge(nodes[from], nodes[to], edge).expect("well formed");
    }
    let keys: Vec<_> = (0..n).map(|i| SeriesKey::new("latency", [("service", name(i))])).collect();
    let metrics: Vec<_> = (0..n).map(|i| MetricInfo::new(name(i), MetricKind::Latency)).collect();
    let value = |i: usize, t: usize| {
        let rise = if i.is_multiple_of(every_nth) && t >= 20 { 9.0 } else { 0.0 };
        1.0 + ((t * 7_919 + i) % 13) as f64 / 13.0 + rise
    };
    let values = (0..n).flat_map(|i| (0..STEPS).map(move |t| value(i, t))).collect();
    let window = Frame::new(keys, Timestamp::EPOCH, Duration::from_secs(60), values);
    let window = window.expect("rows of equal length");
    let began = Timestamp::from_secs(20 * 60);
    let mut context = Context::new(&window, &metrics, &topology, began).expect("fits");
    let change = |i: usize| Event::new(EventKind::Deploy, Some(&name(i)), "deploy", began);
    let changes: Vec<Event> = (0..n).step_by(7).map(change).collect();
    context.changes = &changes;
    for analyzer in analyzers().into_iter().skip(6).take(1) {
        sound(&analyzer.rank(&context).expect("ranks"), analyzer.id());
    }
    DefaultConfig::default().build().expect("valid").rank(&context).expect("ranks")
}

/// Nobody may keep what every service reaches: here that would be ten thousand millions.
#[test]
fn very_many_services() {
    let n = 20_000;
    // A chain, in which every service depends on all behind it: the last explains the most.
    let ranking = large(n, 1, (1..n).map(|i| (i - 1, i)));
    assert_eq!(ranking.top().and_then(|c| c.cause.service()), Some("s19999"));
    // Everyone calls two others, cycles included.
    sound(
        &large(
            n,
            100,
            (0..n).flat_map(|i| [(i, (i + 1) % n), (i, (i * 31 + 7) % n)]).filter(|(a, b)| a != b),
        ),
        "a net",
    );
    // One that all depend on.
    let ranking = large(n, 1, (1..n).map(|i| (i, 0)));
    assert_eq!(ranking.top().and_then(|c| c.cause.service()), Some("s0"));
}
