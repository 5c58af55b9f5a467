//! Two faults at once are both named, and one abnormal step is enough.

use aiops_core::{Frame, Timestamp};
use aiops_rca::testing::SyntheticIncident;
use aiops_rca::{DefaultConfig, RootCauseAnalyzer};

#[test]
fn two_faults_at_once_are_both_ahead_of_their_victims() {
    let mut incident = SyntheticIncident::named(str::to_owned);
    // `auth`, which nothing broken depends on and which depends on nothing, fails beside `db`.
    let rows = incident.window.n_series();
    let auth = (0..rows).find(|&row| {
        let key = &incident.window.series()[row];
        key.name == "latency" && key.service() == Some("auth")
    });
    let auth = auth.expect("auth has a latency");
    incident.window.row_mut(auth)[600..].iter_mut().for_each(|v| *v += 0.3);
    let analyzer = DefaultConfig::default().build().expect("valid");
    let ranking = analyzer.rank(&incident.context()).expect("ranks");
    let mut first: Vec<&str> =
        ranking.candidates.iter().take(2).filter_map(|c| c.cause.service()).collect();
    first.sort_unstable();
    assert_eq!(first, ["auth", "db"], "{:?}", ranking.candidates);
    assert!(ranking.candidates[1].probability > 0.2 && ranking.margin() < 0.5);
}

#[test]
fn one_abnormal_step_is_enough() {
    let mut incident = SyntheticIncident::named(str::to_owned);
    let window = &incident.window;
    let rows = (0..window.n_series()).flat_map(|row| window.row(row)[..601].to_vec()).collect();
    let series = window.series().to_vec();
    incident.window =
        Frame::new(series, window.start(), window.step(), rows).expect("rows of equal length");
    incident.began = Timestamp::from_secs(600);
    let analyzer = DefaultConfig::default().build().expect("valid");
    let ranking = analyzer.rank(&incident.context()).expect("ranks");
    assert_eq!(ranking.top().and_then(|c| c.cause.service()), Some("db"));
    assert!(ranking.unknown < 0.2, "{}", ranking.unknown);
}
