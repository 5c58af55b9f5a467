//! Every analyzer of the crate passes the conformance function, and finds the root of the incident
//! that everyone should find.

use aiops_rca::testing::{SyntheticIncident, check_analyzer};
use aiops_rca::{
    BayesConfig, CorrelationRanking, DefaultConfig, HypothesisConfig, PublishedScorer, RcdConfig,
    RobustConfig, RootCauseAnalyzer, Scale, TraversalConfig, WalkConfig,
};

fn analyzers() -> Vec<Box<dyn RootCauseAnalyzer>> {
    vec![
        Box::new(DefaultConfig::default().build().expect("defaults are valid")),
        Box::new(BayesConfig::default().build().expect("defaults are valid")),
        Box::new(RobustConfig::default().build().expect("defaults are valid")),
        Box::new(PublishedScorer { scale: Scale::InterquartileRange }),
        Box::new(PublishedScorer { scale: Scale::StandardDeviation }),
        Box::new(TraversalConfig::default().build().expect("defaults are valid")),
        Box::new(RcdConfig::default().build().expect("defaults are valid")),
        Box::new(CorrelationRanking),
        Box::new(HypothesisConfig::default().build().expect("valid")),
        Box::new(WalkConfig::default().build().expect("valid")),
        Box::new(WalkConfig { order: 2, ..WalkConfig::default() }.build().expect("valid")),
    ]
}

#[test]
fn the_manual_holds() {
    for analyzer in analyzers() {
        check_analyzer(&analyzer);
    }
}

#[test]
fn the_plain_incident_is_solved() {
    let incident = SyntheticIncident::named(str::to_owned);
    // The others are controls: nobody promises that they find it.
    for analyzer in analyzers().into_iter().take(3) {
        let ranking = analyzer.rank(&incident.context()).expect("a well-formed context");
        let top = ranking.top().and_then(|c| c.cause.service());
        assert_eq!(top, Some(incident.root.as_str()), "{}", analyzer.id());
    }
}
