//! Conformance functions: what any implementation of this crate's traits must hold.
//!
//! They panic with the promise that was broken, so call them in a test.

use crate::{
    CausalDiscovery, CausalGraph, Context, Error, Knowledge, Mark, MetricInfo, RootCauseAnalyzer,
};
use aiops_core::{
    Edge, EdgeKind, Event, EventKind, Frame, MetricKind, NodeKind, Ranking, SeriesKey, Timestamp,
    Topology,
};
use std::time::Duration;

/// A small incident of known cause: `gateway` calls `api` and `auth`, `api` calls `db`. Ten minutes
/// normal, then the processor and the latency of `db` rise, those who depend on it follow more
/// weakly and later, and `auth` stays as it was. One metric is flat, one mostly gaps.
#[derive(Debug, Clone)]
pub struct SyntheticIncident {
    /// The metrics, one second a step.
    pub window: Frame,
    /// What they are.
    pub metrics: Vec<MetricInfo>,
    /// Who calls whom.
    pub topology: Topology,
    /// When the gateway's alarm fired.
    pub began: Timestamp,
    /// A good deploy of `auth` an hour before.
    pub changes: Vec<Event>,
    /// The true root cause.
    pub root: String,
}

impl SyntheticIncident {
    /// The incident with its services named by `name`, so that a test can rename them.
    ///
    /// # Panics
    /// When `name` gives two services the same name.
    #[must_use]
    pub fn named(name: impl Fn(&str) -> String) -> Self {
        const NORMAL: i64 = 600;
        const STEPS: i64 = 720;
        let [gateway, api, db, auth] = ["gateway", "api", "db", "auth"].map(&name);
        // metric, service, kind, level, noise, rise, seconds after the beginning
        let rows: [(&str, &str, MetricKind, f64, f64, f64, i64); 9] = [
            ("latency", &gateway, MetricKind::Latency, 0.30, 0.02, 0.25, 30),
            ("errors", &gateway, MetricKind::Errors, 0.0, 0.0, 2.0, 40),
            ("latency", &api, MetricKind::Latency, 0.20, 0.02, 0.28, 20),
            ("cpu", &api, MetricKind::Cpu, 0.30, 0.05, 0.0, 0),
            ("latency", &db, MetricKind::Latency, 0.05, 0.005, 0.30, 0),
            ("cpu", &db, MetricKind::Cpu, 0.20, 0.03, 0.70, 0),
            ("latency", &auth, MetricKind::Latency, 0.02, 0.002, 0.0, 0),
            ("up", &auth, MetricKind::Availability, 1.0, 0.0, 0.0, 0),
            ("sparse", &auth, MetricKind::Other, f64::NAN, 0.0, 0.0, 0),
        ];
        let mut values = vec![];
        for (row, (.., level, noise, rise, late)) in rows.iter().enumerate() {
            values.extend((0..STEPS).map(|t| {
                let spread = (hash(row as u64, t as u64) % 1_000) as f64 / 1_000.0 - 0.5;
                level + noise * spread + if t >= NORMAL + late { *rise } else { 0.0 }
            }));
        }
        let series: Vec<_> =
            rows.iter().map(|row| SeriesKey::new(row.0, [("service", row.1)])).collect();
        let metrics = rows.iter().map(|row| MetricInfo::new(row.1, row.2)).collect();
        let window = Frame::new(series, Timestamp::EPOCH, Duration::from_secs(1), values);
        let mut topology = Topology::new();
        for (from, to) in [(&gateway, &api), (&gateway, &auth), (&api, &db)] {
            let [from, to] =
                [from, to].map(|n| topology.upsert_node(n, NodeKind::Service, Timestamp::EPOCH));
            let edge = Edge::new(EdgeKind::Calls, "synthetic", Timestamp::EPOCH);
            topology.upsert_edge(from, to, edge).expect("the edge is well formed");
        }
        let deployed = Timestamp::from_secs(NORMAL - 3_600);
        SyntheticIncident {
            window: window.expect("rows of equal length"),
            metrics,
            topology,
            began: Timestamp::from_secs(NORMAL + 30),
            changes: vec![Event::new(EventKind::Deploy, Some(&auth), "deploy auth", deployed)],
            root: db,
        }
    }

    /// The incident as a context.
    ///
    /// # Panics
    /// When the public fields were changed so that they no longer fit together.
    #[must_use]
    pub fn context(&self) -> Context<'_> {
        let context = Context::new(&self.window, &self.metrics, &self.topology, self.began);
        let mut context = context.expect("one metric info for each row");
        context.changes = &self.changes;
        context
    }
}

/// SplitMix64 of a cell: noise that any language can repeat.
fn hash(row: u64, step: u64) -> u64 {
    let mut z = (row << 32 | step).wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Judges an analyzer by the manual of [`RootCauseAnalyzer`]; it says nothing about quality.
///
/// # Panics
/// When a promise of the manual is broken, naming it.
pub fn check_analyzer<A: RootCauseAnalyzer + ?Sized>(analyzer: &A) {
    let rank = |context: &Context<'_>| match analyzer.rank(context) {
        Ok(ranking) => ranking,
        Err(error) => panic!("a well-formed context is ranked, not refused: {error}"),
    };
    let plain = SyntheticIncident::named(str::to_owned);
    let ranking = rank(&plain.context());
    assert_eq!(ranking.method, analyzer.id(), "the ranking names its method");
    check_ranking(&ranking);
    assert_eq!(ranking, rank(&plain.context()), "same context, same ranking");

    // Names that sort the other way round.
    let renamed =
        SyntheticIncident::named(|name| format!("{}-x", name.chars().rev().collect::<String>()));
    let renamed_ranking = rank(&renamed.context());
    let expected = scores(&ranking, |s| format!("{}-x", s.chars().rev().collect::<String>()));
    assert_eq!(scores(&renamed_ranking, str::to_owned), expected, "names carry no information");

    let permuted = permuted(&plain);
    let same = scores(&rank(&permuted.context()), str::to_owned);
    assert_eq!(same, scores(&ranking, str::to_owned), "the order of rows carries no information");

    // Nothing to look at: no rows, no topology.
    let nothing = Frame::new(vec![], Timestamp::EPOCH, Duration::from_secs(1), vec![]);
    let nothing = nothing.expect("an empty frame");
    let empty = Topology::new();
    let context = Context::new(&nothing, &[], &empty, plain.began).expect("no rows, no infos");
    let ranking = rank(&context);
    check_ranking(&ranking);
    assert_eq!(ranking.unknown, 1.0, "with nothing to look at the cause is unknown");

    // Only gaps, and only constants, a cycle in the topology, a beginning outside of the window.
    for level in [f64::NAN, 5.0] {
        let mut odd = plain.clone();
        for row in 0..odd.window.n_series() {
            odd.window.row_mut(row).fill(level);
        }
        let [db, gateway] = ["db", "gateway"]
            .map(|n| odd.topology.upsert_node(n, NodeKind::Service, Timestamp::EPOCH));
        let edge = Edge::new(EdgeKind::Calls, "synthetic", Timestamp::EPOCH);
        odd.topology.upsert_edge(db, gateway, edge).expect("the edge is well formed");
        for began in [plain.began, Timestamp::EPOCH, Timestamp::MAX, Timestamp::MIN] {
            odd.began = began;
            check_ranking(&rank(&odd.context()));
        }
    }

    // Fields that do not fit are refused, not indexed.
    let mut wrong = plain.context();
    wrong.metrics = &plain.metrics[1..];
    assert!(analyzer.rank(&wrong).is_err(), "metric infos that do not fit the rows are an error");
}

fn check_ranking(ranking: &Ranking) {
    let probabilities = ranking.candidates.iter().map(|c| c.probability).chain([ranking.unknown]);
    let sum: f64 = probabilities.clone().sum();
    assert!((sum - 1.0).abs() < 1e-9, "probabilities and unknown sum to one, got {sum}");
    assert!(probabilities.into_iter().all(|p| (0.0..=1.0).contains(&p)), "all are in 0..=1");
    let falling = ranking.candidates.windows(2).all(|w| w[0].probability >= w[1].probability);
    assert!(falling, "most probable first");
    assert!(ranking.candidates.iter().all(|c| c.score > 0.0), "no candidate without any weight");
    let mut causes: Vec<_> = ranking.candidates.iter().map(|c| &c.cause).collect();
    causes.sort();
    assert!(causes.windows(2).all(|w| w[0] != w[1]), "each cause once");
}

/// Service and score, rounded to what a different order of summation may change.
fn scores(ranking: &Ranking, name: impl Fn(&str) -> String) -> Vec<(String, String)> {
    let service = |c: &aiops_core::Candidate| name(c.cause.service().unwrap_or_default());
    let mut scores: Vec<_> =
        ranking.candidates.iter().map(|c| (service(c), format!("{:.9e}", c.score))).collect();
    scores.sort();
    scores
}

fn permuted(incident: &SyntheticIncident) -> SyntheticIncident {
    let mut other = incident.clone();
    let n = incident.window.n_series();
    let order: Vec<usize> = (0..n).map(|i| (i * 4 + 3) % n).collect();
    let series = order.iter().map(|&row| incident.window.series()[row].clone()).collect();
    let values = order.iter().flat_map(|&row| incident.window.row(row).to_vec()).collect();
    let window = Frame::new(series, incident.window.start(), incident.window.step(), values);
    other.window = window.expect("rows of equal length");
    other.metrics = order.iter().map(|&row| incident.metrics[row].clone()).collect();
    other
}

/// Judges a discovery method by the manual of [`CausalDiscovery`]; it says nothing about quality.
///
/// # Panics
/// When a promise of the manual is broken, naming it.
pub fn check_discovery<D: CausalDiscovery + ?Sized>(method: &D) {
    let discover = |data: &Frame, knowledge: &Knowledge| match method.discover(data, knowledge) {
        Ok(graph) => graph,
        Err(error) => panic!("three hundred whole samples are enough: {error}"),
    };
    let data = chain(300);
    let graph = discover(&data, &Knowledge::none());
    check_graph(&graph, &data);
    assert_eq!(graph, discover(&data, &Knowledge::none()), "same data, same graph");
    let constant = 3;
    let touches =
        |g: &CausalGraph, row: usize| g.edges.iter().any(|e| e.from == row || e.to == row);
    assert!(!touches(&graph, constant), "constant rows get no edge");

    // Gaps are left out: the graph of what remains, and never NaN.
    let mut gappy = data.clone();
    for t in [7, 150, 151] {
        gappy.row_mut(1)[t] = f64::NAN;
    }
    check_graph(&discover(&gappy, &Knowledge::none()), &gappy);

    let forbidden = [(0, 1), (1, 0), (0, 2), (2, 0)].into();
    let knowledge = Knowledge { forbidden, required: [(2, 1)].into(), ..Knowledge::none() };
    let graph = discover(&data, &knowledge);
    let pairs = graph.pairs();
    assert!(pairs.iter().all(|&(a, b)| knowledge.permits(a, b)), "no forbidden edge");
    let required = |e: &crate::CausalEdge| (e.from, e.to, e.mark) == (2, 1, Mark::Directed);
    assert!(graph.edges.iter().any(required), "every required edge");

    let foreign = Knowledge { required: [(0, 99)].into(), ..Knowledge::none() };
    assert!(method.discover(&data, &foreign).is_err(), "knowledge of other rows is an error");
    let short = method.discover(&chain(3), &Knowledge::none());
    assert!(
        matches!(short, Err(Error::NotEnoughData { .. })),
        "three samples are too few: {short:?}"
    );
}

/// Row 0 drives row 1, row 1 drives row 2, row 3 is constant.
fn chain(steps: usize) -> Frame {
    let noise = |row: u64, t: usize| (hash(row, t as u64) % 10_000) as f64 / 10_000.0 - 0.5;
    let mut rows = [vec![0.0; steps], vec![0.0; steps], vec![0.0; steps], vec![4.2; steps]];
    for t in 0..steps {
        rows[0][t] = noise(0, t);
        rows[1][t] = noise(1, t) + if t > 0 { 0.9 * rows[0][t - 1] } else { 0.0 };
        rows[2][t] = noise(2, t) + if t > 0 { 0.9 * rows[1][t - 1] } else { 0.0 };
    }
    let keys = (0..4).map(|i| SeriesKey::new(format!("row{i}"), aiops_core::Labels::new()));
    let frame = Frame::new(keys.collect(), Timestamp::EPOCH, Duration::from_secs(1), rows.concat());
    frame.expect("rows of equal length")
}

fn check_graph(graph: &CausalGraph, data: &Frame) {
    assert_eq!(graph.variables, data.series(), "the graph is over the rows of the data");
    for edge in &graph.edges {
        let rows = data.n_series();
        assert!(edge.from < rows && edge.to < rows, "edges join rows");
        assert!(edge.strength.is_finite(), "no strength is NaN");
        assert!((0.0..=1.0).contains(&edge.p_value), "a p-value is a probability");
    }
    let order = |e: &crate::CausalEdge| (e.from, e.to, e.lag);
    assert!(graph.edges.windows(2).all(|w| order(&w[0]) <= order(&w[1])), "edges are in order");
}
