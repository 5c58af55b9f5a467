//! Feedback changes a ranking, deterministically, and replay compares two methods.

use aiops_core::{Cause, Event, EventKind, Feedback, IncidentId, Said, Subject, Timestamp};
use aiops_rca::replay::{PastIncident, compare};
use aiops_rca::testing::SyntheticIncident;
use aiops_rca::{CorrelationRanking, DefaultConfig, ExperienceConfig, RootCauseAnalyzer};

#[test]
fn what_people_say_moves_the_next_ranking() {
    let incident = SyntheticIncident::named(str::to_owned);
    let analyzer = DefaultConfig::default().build().expect("valid");
    let mut context = incident.context();
    let before = analyzer.rank(&context).expect("ranks");
    let now = Timestamp::from_secs(10_000);
    let wrong = |person: &str| {
        let cause = Cause::Service { service: "db".into() };
        let incident = Subject::Incident(IncidentId::from_u64(1));
        Feedback::new(incident, Said::WrongCause { cause }, person, now)
    };
    let remarks: Vec<_> = ["ada", "grace", "edsger", "barbara"].map(wrong).to_vec();
    let experience = ExperienceConfig::default().learn(&remarks, now).expect("valid");
    context.experience = Some(&experience);
    let after = analyzer.rank(&context).expect("ranks");
    let probability = |ranking: &aiops_core::Ranking| {
        let db = ranking.candidates.iter().find(|c| c.cause.service() == Some("db"));
        db.expect("db is a candidate").probability
    };
    assert!(probability(&after) < probability(&before));
    assert_eq!(
        after,
        analyzer.rank(&context).expect("ranks"),
        "the same remarks, the same ranking"
    );
}

#[test]
fn a_deploy_right_before_the_onset_is_blamed_and_a_late_one_is_not() {
    let mut incident = SyntheticIncident::named(str::to_owned);
    let analyzer = DefaultConfig::default().build().expect("valid");
    let deploy = |seconds: i64| {
        Event::new(EventKind::Deploy, Some("db"), "deploy db 2", Timestamp::from_secs(seconds))
    };
    incident.changes = vec![deploy(595)];
    let ranking = analyzer.rank(&incident.context()).expect("ranks");
    assert!(
        matches!(ranking.candidates[0].cause, Cause::Change { .. }),
        "{:?}",
        ranking.candidates[0]
    );
    incident.changes = vec![deploy(640)];
    let ranking = analyzer.rank(&incident.context()).expect("ranks");
    assert!(ranking.candidates.iter().all(|c| !matches!(c.cause, Cause::Change { .. })));
}

#[test]
fn causal_ranking_is_compared_with_correlation() {
    let incidents: Vec<_> =
        (0..4).map(|i| SyntheticIncident::named(|name| format!("{name}-{i}"))).collect();
    let past: Vec<_> = incidents
        .iter()
        .map(|incident| PastIncident {
            context: incident.context(),
            causes: vec![incident.root.clone()],
        })
        .collect();
    let analyzer = DefaultConfig::default().build().expect("valid");
    let report = compare(&analyzer, &CorrelationRanking, &past, 1);
    assert_eq!((report.incidents, report.ac1[0]), (4, 1.0));
    assert!(report.lead.is_above_zero(), "{report:?}");
}
