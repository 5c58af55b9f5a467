//! The Bayesian posterior over services and changes, with an explicit unknown.

use super::evidence;
use super::graph::Graph;
use super::magnitude::{MagnitudeConfig, Weight, weigh};
use super::prior::{Prior, Rules};
use super::{changes, changes::ChangeConfig, hosts};
use crate::error::within;
use crate::experience::Trouble;
use crate::prepare::Prepared;
use crate::{Context, Error, FusionConfig, PrepareConfig, Result, RootCauseAnalyzer, Why};
use aiops_core::{Candidate, Cause, Frame, Ranking, report, telemetry};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The posterior of each suspect v, up to a constant:
///
/// ```text
/// 1 / (n(v) + 1)^a  ·  exp(−(onset(v) − first onset) / tau)  ·  magnitude(v)  ·  reach(v)
/// ```
///
/// n(v) counts the transitive **dependencies** of v (callees, hosts) that are themselves abnormal
/// in this incident and began no later: "how many other explanations does this trouble have?" With
/// none a suspect must explain itself. Members of a dependency cycle share their count. magnitude
/// is that of [`MagnitudeConfig`]; reach is 1, or `unreachable` for a suspect that no named symptom
/// depends on. Changes enter by [`ChangeConfig`]. The unknown weighs as much as a suspect of score
/// `unknown_score` that nothing explains. What people said of earlier incidents multiplies the prior
/// (see [`Experience`](crate::Experience)). Weights are raised to 1 / temperature and normalised.
///
/// Where two weigh the same, the larger score before the cap stands first, and then the name.
///
/// Finds the deepest abnormal service on the way from the symptom down. Fails when the culprit is
/// not measured (then see [`Ranking::unknown`]), when the topology points the wrong way, and
/// between services that began within one step with equal deviations and no edge.
///
/// Time O(rows x steps) for reading and O(services + edges) for each 64 abnormal services. Memory
/// O(services + edges): of a suspect with more than 256 abnormal dependencies the 256 weightiest count,
/// and what each service reaches is never kept.
///
/// Sources: prior and timing after the requirement that this crate answers (worked example in the
/// tests below); counting only *abnormal* dependencies, which on public data decides between
/// helping and harming, and weighing by impact are ours.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BayesConfig {
    /// The name in rankings. Default `bayes`.
    pub id: String,
    /// How the window is read.
    pub prepare: PrepareConfig,
    /// How deviations are weighed.
    pub magnitude: MagnitudeConfig,
    /// How changes are weighed.
    pub changes: ChangeConfig,
    /// The time after which a later onset has lost all but 1/e of its weight; `None` ignores onsets.
    /// Default 330 s (the worked example). Differences below one sampling step are ties.
    pub tau: Option<Duration>,
    /// `tau` is never shorter than so many sampling steps: with coarse steps the order of onsets
    /// says little. Default 10.
    pub tau_steps: u32,
    /// The exponent a of the prior; 0 ignores the topology. Default 1.
    pub prior_exponent: f64,
    /// Count a dependency as far as its weight reaches the suspect's own, instead of wholly.
    /// Default false.
    pub graded: bool,
    /// A slow dependency makes its dependents slow, not busy: a suspect whose own processor is
    /// abnormal (busy, or held back), and was no later than the dependencies that n counts, is weighed
    /// by its processor alone and without them where that weighs more, and counts in their n: they
    /// would leave it unexplained. Default false.
    pub own_load: bool,
    /// Influences that the data show count beside the topology, as far as they are believed. `None`,
    /// the default, goes by the topology alone: on the public sets they do not help (see
    /// `docs/benchmarks/rca.md`).
    pub fuse: Option<FusionConfig>,
    /// Factor for suspects that no named symptom depends on. Not zero: missing edges are normal.
    /// Default 0.05.
    pub unreachable: f64,
    /// Factor for a host whose trouble a guest explains: one whose own use of processor or memory is
    /// abnormal and began no later. Such a host explains nobody else's trouble either. 1 leaves
    /// hosts alone. Default 0.05.
    pub driven_host: f64,
    /// The score that the unknown weighs as much as; 0 leaves no room for it. Default 3.
    pub unknown_score: f64,
    /// Above 1 makes probabilities more cautious, below 1 bolder; the order stays. Default 1.
    pub temperature: f64,
    /// How many candidates get their evidence written out. Default 10.
    pub explained: usize,
}

impl Default for BayesConfig {
    fn default() -> Self {
        BayesConfig {
            id: "bayes".into(),
            prepare: PrepareConfig::default(),
            magnitude: MagnitudeConfig { share_exponent: 0.0, ..MagnitudeConfig::default() },
            changes: ChangeConfig::default(),
            tau: Some(Duration::from_secs(330)),
            tau_steps: 10,
            prior_exponent: 1.0,
            graded: false,
            own_load: false,
            fuse: None,
            unreachable: 0.05,
            driven_host: 0.05,
            unknown_score: 3.0,
            temperature: 1.0,
            explained: 10,
        }
    }
}

impl BayesConfig {
    /// Checks the values and builds the analyzer.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] names the field that is out of range.
    pub fn build(self) -> Result<Bayes> {
        self.prepare.check()?;
        self.magnitude.check()?;
        self.changes.check()?;
        if let Some(fusion) = &self.fuse {
            fusion.check()?;
        }
        if self.tau.is_some_and(|tau| tau.is_zero()) {
            return Err(Error::config("tau", "must be longer than zero"));
        }
        within("prior_exponent", self.prior_exponent, 0.0, 10.0)?;
        within("unreachable", self.unreachable, 0.0, 1.0)?;
        within("driven_host", self.driven_host, 0.0, 1.0)?;
        within("unknown_score", self.unknown_score, 0.0, 1e12)?;
        within("temperature", self.temperature, 1e-3, 1e3)?;
        Ok(Bayes { config: self })
    }
}

/// The analyzer of [`BayesConfig`].
#[derive(Debug, Clone)]
pub struct Bayes {
    config: BayesConfig,
}

impl Bayes {
    /// The configuration that was checked.
    pub fn config(&self) -> &BayesConfig {
        &self.config
    }

    pub(crate) fn rank_prepared(
        &self,
        context: &Context<'_>,
        prepared: &Prepared,
    ) -> Result<Ranking> {
        let config = &self.config;
        let suspects = &prepared.suspects;
        let mut weights: Vec<Weight> = suspects
            .iter()
            .map(|suspect| weigh(&config.magnitude, &config.prepare, prepared, suspect))
            .collect();
        let abnormal = config.prepare.abnormal;
        let driven = hosts::driven_by(context.topology, prepared, &weights, abnormal);
        for (weight, guest) in weights.iter_mut().zip(&driven) {
            if guest.is_some() && config.driven_host < 1.0 {
                weight.value *= config.driven_host;
                weight.own = None;
                weight.abnormal = false;
            }
        }
        let graph = Graph::new(context.topology, prepared);
        let discovered = self.discovered(context, prepared, &weights)?;
        let rules = Rules {
            exponent: config.prior_exponent,
            graded: config.graded,
            own_load: config.own_load,
            discovered: &discovered,
        };
        let priors = rules.priors(&graph, prepared, &weights);
        let reach = self.reach(&graph, prepared);
        let timing = self.timing(prepared);
        let posterior: Vec<f64> = (0..suspects.len())
            .map(|i| {
                let learned = self.learned(context, prepared, &suspects[i], weights[i].by);
                priors[i].value * timing[i] * weights[i].value * reach[i] * learned
            })
            .collect();

        let temper = |weight: f64| weight.powf(config.temperature.recip());
        let services = suspects.iter().zip(&posterior).map(|(suspect, &weight)| {
            let cause = Cause::Service { service: suspect.service.clone() };
            Candidate { cause, probability: 0.0, score: temper(weight), evidence: vec![] }
        });
        let changes = changes::weigh(&config.changes, context, &graph, prepared, &posterior);
        let changes = changes.into_iter().map(|(cause, weight)| Candidate {
            cause,
            probability: 0.0,
            score: temper(weight),
            evidence: vec![],
        });
        let candidates = services.chain(changes).filter(|c| c.score > 0.0).collect();
        let unknown = config.magnitude.of_score(config.unknown_score, config.prepare.abnormal);
        let mut ranking = Ranking::from_weights(&*config.id, candidates, temper(unknown))?;
        ranking.incident = context.incident;
        order_equals(&mut ranking, prepared, &weights);
        let case = Case {
            context,
            prepared,
            prepare: &config.prepare,
            heads: &evidence::heads(&graph, prepared, &weights),
            weights: &weights,
            priors: &priors,
            driven: &driven,
            temperature: config.temperature,
        };
        evidence::explain(&case, &mut ranking, config.explained)?;
        Ok(ranking)
    }

    /// For each suspect the suspects that influence it by what the data show, beyond the topology,
    /// with how far to believe it. Only abnormal suspects matter, each by its weightiest metric.
    fn discovered(
        &self,
        context: &Context<'_>,
        prepared: &Prepared,
        weights: &[Weight],
    ) -> Result<Vec<Vec<(usize, f64)>>> {
        let Some(fusion) = &self.config.fuse else { return Ok(vec![]) };
        let suspects = prepared.suspects.iter().zip(weights).filter(|(_, weight)| weight.abnormal);
        let rows: Vec<(usize, &str)> = suspects
            .filter_map(|(s, weight)| Some((prepared.deviations[weight.by?].row?, &*s.service)))
            .collect();
        let (before, _) = self.config.prepare.spans(context);
        let (frame, steps) = match context.normal {
            Some(normal) => (normal, 0..normal.n_steps()),
            None => (context.window, before),
        };
        let keys = rows.iter().map(|&(row, _)| frame.series()[row].clone()).collect();
        let values = rows.iter().flat_map(|&(row, _)| frame.row(row)[steps.clone()].to_vec());
        let data = Frame::new(keys, frame.start(), frame.step(), values.collect())?;
        let services: Vec<Option<&str>> = rows.iter().map(|&(_, service)| Some(service)).collect();
        let fused = fusion.fuse(context.topology, &data, &services)?;
        let mut found = vec![vec![]; prepared.suspects.len()];
        for edge in fused.edges.iter().filter(|e| matches!(e.why, Why::Discovered { .. })) {
            let ends = (prepared.suspect(&edge.cause), prepared.suspect(&edge.effect));
            if let (Some(cause), Some(effect)) = ends {
                found[effect].push((cause, edge.weight));
            }
        }
        Ok(found)
    }

    /// What people said of this service and this kind of trouble, as a factor.
    fn learned(
        &self,
        context: &Context<'_>,
        prepared: &Prepared,
        suspect: &crate::Suspect,
        by: Option<usize>,
    ) -> f64 {
        let Some(experience) = context.experience else { return 1.0 };
        let kind = by.map(|deviation| Trouble::Kind(prepared.deviations[deviation].kind));
        experience.factor(&suspect.service, kind.unwrap_or(Trouble::Any))
    }

    /// Whether a named symptom depends on the suspect, as a factor. Without a symptom in the
    /// topology nothing can be said against anyone.
    fn reach(&self, graph: &Graph, prepared: &Prepared) -> Vec<f64> {
        match graph.below_any(&prepared.symptom_suspects()) {
            None => vec![1.0; prepared.suspects.len()],
            Some(below) => {
                let factor = |below| if below { 1.0 } else { self.config.unreachable };
                below.into_iter().map(factor).collect()
            }
        }
    }

    /// exp(−delay / tau). A suspect without an onset counts as the last one.
    fn timing(&self, prepared: &Prepared) -> Vec<f64> {
        let Some(tau) = self.config.tau else { return vec![1.0; prepared.suspects.len()] };
        let tau = tau.max(prepared.step.saturating_mul(self.config.tau_steps));
        let delays: Vec<_> = prepared.suspects.iter().map(|s| prepared.delay(s)).collect();
        let last = delays.iter().flatten().max().copied().unwrap_or_default();
        let factor = |delay: &Option<Duration>| {
            (-delay.unwrap_or(last).as_secs_f64() / tau.as_secs_f64()).exp()
        };
        delays.iter().map(factor).collect()
    }
}

/// Candidates of one probability stand in the order of the scores that they are weighed by, as they were before
/// [`MagnitudeConfig::cap`], largest first: a name says nothing about guilt. Changes come behind services.
fn order_equals(ranking: &mut Ranking, prepared: &Prepared, weights: &[Weight]) {
    let score = |candidate: &Candidate| match &candidate.cause {
        Cause::Service { service } => prepared
            .suspect(service)
            .and_then(|index| weights[index].by)
            .map_or(0.0, |deviation| prepared.deviations[deviation].score),
        _ => 0.0,
    };
    ranking.candidates.sort_by(|a, b| {
        b.probability.total_cmp(&a.probability).then_with(|| score(b).total_cmp(&score(a)))
    });
}

/// Everything that the explanation of one ranking may look at.
pub(super) struct Case<'a> {
    pub(super) context: &'a Context<'a>,
    pub(super) prepared: &'a Prepared,
    pub(super) prepare: &'a PrepareConfig,
    /// The suspects at which trouble is felt.
    pub(super) heads: &'a [usize],
    pub(super) weights: &'a [Weight],
    pub(super) priors: &'a [Prior],
    /// For each suspect the guest that explains it, if it is a host with such a guest.
    pub(super) driven: &'a [Option<usize>],
    pub(super) temperature: f64,
}

impl RootCauseAnalyzer for Bayes {
    fn id(&self) -> &str {
        &self.config.id
    }

    fn rank(&self, context: &Context<'_>) -> Result<Ranking> {
        let prepared = self.config.prepare.prepare(context)?;
        let ranking = self.rank_prepared(context, &prepared)?;
        let answer = if ranking.candidates.is_empty() { "unknown" } else { "ranked" };
        telemetry::count("aiops_rca_rankings_total", "answer", answer, 1);
        report!(info, "aiops_rca", "an incident was ranked";
            method = self.config.id, answer = answer, unknown = ranking.unknown);
        Ok(ranking)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aiops_core::{
        Anomaly, Direction, Edge, EdgeKind, Frame, MetricKind, NodeKind, SeriesKey, Timestamp,
        Topology,
    };

    const INCIDENT: i64 = 1_000;

    fn calls(pairs: &[(&str, &str)]) -> Topology {
        let mut topology = Topology::new();
        for (caller, callee) in pairs {
            let [from, to] = [caller, callee]
                .map(|name| topology.upsert_node(name, NodeKind::Service, Timestamp::EPOCH));
            let edge = Edge::new(EdgeKind::Calls, "test", Timestamp::EPOCH);
            topology.upsert_edge(from, to, edge).unwrap();
        }
        topology
    }

    fn anomaly(service: &str, seconds: i64) -> Anomaly {
        let onset = Timestamp::from_secs(INCIDENT + seconds);
        Anomaly {
            series: SeriesKey::new("latency", [("service", service)]),
            kind: MetricKind::Latency,
            onset,
            onset_uncertainty: Duration::ZERO,
            last_seen: Timestamp::from_secs(INCIDENT),
            peak_score: 20.0,
            p_value: 1e-9,
            expected: 0.1,
            observed: 1.0,
            direction: Direction::Above,
            detector: "test".into(),
            reasons: vec![],
        }
    }

    /// The definition alone: unknown mass 0, no temperature.
    fn definition(tau: u64) -> BayesConfig {
        BayesConfig {
            tau: Some(Duration::from_secs(tau)),
            unknown_score: 0.0,
            ..BayesConfig::default()
        }
    }

    fn posterior(config: BayesConfig, topology: &Topology, anomalies: &[Anomaly]) -> Ranking {
        let nothing = Frame::new(vec![], Timestamp::EPOCH, Duration::from_secs(1), vec![]).unwrap();
        let began = Timestamp::from_secs(INCIDENT - 300);
        let mut context = Context::new(&nothing, &[], topology, began).unwrap();
        context.anomalies = anomalies;
        config.build().unwrap().rank(&context).unwrap()
    }

    fn percent(ranking: &Ranking, service: &str) -> f64 {
        let found = ranking.candidates.iter().find(|c| c.cause.service() == Some(service));
        (found.unwrap().probability * 1_000.0).round() / 10.0
    }

    #[test]
    fn golden_three_services() {
        // By hand: DB 1, API 1/2 e^(-240/330), gateway 1/3 e^(-270/330); over their sum.
        let topology = calls(&[("gateway", "api"), ("api", "db")]);
        let anomalies = [anomaly("db", -300), anomaly("api", -60), anomaly("gateway", -30)];
        let ranking = posterior(definition(330), &topology, &anomalies);
        assert_eq!(percent(&ranking, "db"), 72.0);
        assert_eq!(percent(&ranking, "api"), 17.4);
        assert_eq!(percent(&ranking, "gateway"), 10.6);
        assert_eq!(ranking.unknown, 0.0);
        let names: Vec<_> = ranking.candidates.iter().map(|c| c.cause.to_string()).collect();
        assert_eq!(names, ["db", "api", "gateway"]);
    }

    #[test]
    fn golden_four_events() {
        // By hand: 1 / (1 + 1/2 e^(-180/210) + 1/3 e^(-240/210) + 1/4 e^(-270/210)).
        let topology = calls(&[("gateway", "api"), ("api", "db"), ("db", "pool")]);
        let anomalies = [
            anomaly("pool", -300),
            anomaly("db", -120),
            anomaly("api", -60),
            anomaly("gateway", -30),
        ];
        let ranking = posterior(definition(210), &topology, &anomalies);
        assert_eq!(percent(&ranking, "pool"), 72.1);
        let sum: f64 = ranking.candidates.iter().map(|c| c.probability).sum();
        assert!((sum - 1.0).abs() < 1e-12);
    }

    #[test]
    fn topology_or_timing_alone_is_not_enough() {
        let topology = calls(&[("gateway", "api"), ("api", "db")]);
        let anomalies = [anomaly("db", -300), anomaly("api", -60), anomaly("gateway", -30)];
        let no_time = BayesConfig { tau: None, ..definition(330) };
        assert_eq!(percent(&posterior(no_time, &topology, &anomalies), "db"), 54.5);
        let no_graph = BayesConfig { prior_exponent: 0.0, ..definition(330) };
        assert_eq!(percent(&posterior(no_graph, &topology, &anomalies), "db"), 52.0);
    }

    #[test]
    fn a_cycle_shares_its_count_and_healthy_leaves_win_nothing() {
        let topology = calls(&[("a", "b"), ("b", "a"), ("b", "db"), ("a", "idle")]);
        let anomalies = [anomaly("a", -60), anomaly("b", -60), anomaly("db", -60)];
        let ranking = posterior(definition(330), &topology, &anomalies);
        // n: db 0, a and b 1 each (db), so 1 : 1/2 : 1/2.
        assert_eq!(percent(&ranking, "db"), 50.0);
        assert_eq!((percent(&ranking, "a"), percent(&ranking, "b")), (25.0, 25.0));
        assert!(ranking.candidates.iter().all(|c| c.cause.service() != Some("idle")));
    }

    #[test]
    fn a_dependency_that_began_later_explains_nothing() {
        let topology = calls(&[("api", "db")]);
        let ranking = posterior(
            BayesConfig { tau: None, ..definition(330) },
            &topology,
            &[anomaly("api", -300), anomaly("db", -60)],
        );
        assert_eq!((percent(&ranking, "api"), percent(&ranking, "db")), (50.0, 50.0));
    }

    #[test]
    fn when_nothing_is_wrong_the_unknown_has_it_all() {
        let ranking = posterior(BayesConfig::default(), &Topology::new(), &[]);
        assert!(ranking.candidates.is_empty());
        assert_eq!(ranking.unknown, 1.0);
    }

    #[test]
    fn beyond_the_cap_equals_stand_by_what_was_measured_and_not_by_name() {
        let topology = calls(&[("api", "db"), ("api", "redis")]);
        let magnitude = MagnitudeConfig { cap: 30.0, ..MagnitudeConfig::default() };
        let config = BayesConfig { magnitude, ..BayesConfig::default() };
        let with_score = |service, peak_score| Anomaly { peak_score, ..anomaly(service, -60) };
        for (first, second) in [("db", "redis"), ("redis", "db")] {
            let ranking = posterior(
                config.clone(),
                &topology,
                &[with_score(first, 900.0), with_score(second, 600.0)],
            );
            assert_eq!(percent(&ranking, first), percent(&ranking, second));
            assert_eq!(ranking.top().unwrap().cause.service(), Some(first));
        }
    }

    #[test]
    fn bad_values_are_refused_by_name() {
        for (bad, field) in [
            (BayesConfig { temperature: f64::NAN, ..Default::default() }, "temperature"),
            (BayesConfig { tau: Some(Duration::ZERO), ..Default::default() }, "tau"),
            (BayesConfig { unreachable: 2.0, ..Default::default() }, "unreachable"),
        ] {
            assert!(bad.build().unwrap_err().to_string().contains(field));
        }
    }
}
