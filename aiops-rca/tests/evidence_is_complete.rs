//! The first candidate brings everything that a person would ask for.

use aiops_core::Evidence;
use aiops_rca::testing::SyntheticIncident;
use aiops_rca::{DefaultConfig, RootCauseAnalyzer};

#[test]
fn time_line_path_tests_and_what_would_change_the_answer() {
    let incident = SyntheticIncident::named(str::to_owned);
    let symptoms = [incident.window.series()[0].clone()]; // the gateway's latency
    let mut context = incident.context();
    context.symptoms = &symptoms;
    let ranking = DefaultConfig::default().build().expect("valid").rank(&context).expect("ranks");
    let first = ranking.top().expect("a candidate");
    assert_eq!(first.cause.service(), Some("db"));
    let has = |what: fn(&Evidence) -> bool| first.evidence.iter().any(what);
    assert!(has(|e| matches!(e, Evidence::Onset { .. })), "{:?}", first.evidence);
    assert!(has(|e| matches!(e, Evidence::Magnitude { .. })));
    assert!(has(|e| matches!(e, Evidence::Path { nodes } if nodes == &["db", "api", "gateway"])));
    assert!(has(|e| matches!(e, Evidence::Test { name, lag: Some(1..), p_value, .. }
        if name == "granger_f" && (0.0..=1.0).contains(p_value))));
    assert!(has(|e| matches!(e, Evidence::Counterfactual { .. })));
}
