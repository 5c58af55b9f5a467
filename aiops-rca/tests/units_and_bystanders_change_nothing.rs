//! Properties of the default ranking: units, idle bystanders and gaps carry no information.

use aiops_core::{Frame, MetricKind, NodeKind, Ranking, SeriesKey, Timestamp};
use aiops_rca::testing::SyntheticIncident;
use aiops_rca::{DefaultConfig, MetricInfo, RootCauseAnalyzer};
use proptest::prelude::*;

fn rank(incident: &SyntheticIncident) -> Ranking {
    let analyzer = DefaultConfig::default().build().expect("valid");
    analyzer.rank(&incident.context()).expect("ranks")
}

fn services(ranking: &Ranking) -> Vec<(String, f64)> {
    let named = |c: &aiops_core::Candidate| Some((c.cause.service()?.to_owned(), c.probability));
    ranking.candidates.iter().filter_map(named).collect()
}

#[track_caller]
fn same(a: &Ranking, b: &Ranking) {
    let (a, b) = (services(a), services(b));
    assert_eq!(a.len(), b.len());
    for (x, y) in a.iter().zip(&b) {
        assert_eq!(x.0, y.0);
        assert!((x.1 - y.1).abs() < 1e-6, "{x:?} and {y:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_change_of_unit_changes_nothing(exponents in proptest::array::uniform4(-6.0_f64..6.0)) {
        let plain = SyntheticIncident::named(str::to_owned);
        let mut scaled = plain.clone();
        for row in 0..scaled.window.n_series() {
            let exponent = match scaled.metrics[row].kind {
                MetricKind::Latency => exponents[0],
                MetricKind::Errors => exponents[1],
                MetricKind::Cpu => exponents[2],
                _ => exponents[3],
            };
            let factor = 10.0_f64.powf(exponent);
            scaled.window.row_mut(row).iter_mut().for_each(|v| *v *= factor);
        }
        same(&rank(&plain), &rank(&scaled));
    }

    #[test]
    fn an_offset_changes_next_to_nothing(offset in -50.0_f64..50.0) {
        // Next to nothing: the floor under the scale is a share of the median. The order stays.
        let plain = SyntheticIncident::named(str::to_owned);
        let mut moved = plain.clone();
        for row in 0..moved.window.n_series() {
            if moved.metrics[row].kind == MetricKind::Cpu {
                moved.window.row_mut(row).iter_mut().for_each(|v| *v += offset);
            }
        }
        let first = |ranking: &Ranking| services(ranking)[0].0.clone();
        prop_assert_eq!(first(&rank(&plain)), first(&rank(&moved)));
    }

    #[test]
    fn names_carry_no_information(prefixes in proptest::array::uniform4("[a-z]{1,6}")) {
        let plain = SyntheticIncident::named(str::to_owned);
        let place = |name: &str| ["gateway", "api", "db", "auth"].iter().position(|n| *n == name);
        // The number keeps two equal prefixes apart.
        let new = |name: &str| match place(name) {
            Some(i) => format!("{}-{i}", prefixes[i]),
            None => name.to_owned(),
        };
        let renamed = SyntheticIncident::named(new);
        let mut old: Vec<(String, f64)> =
            services(&rank(&plain)).into_iter().map(|(name, p)| (new(&name), p)).collect();
        let mut new = services(&rank(&renamed));
        // By name, because equals are ordered by it; a service stands twice, its change beside it.
        let order = |a: &(String, f64), b: &(String, f64)| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1));
        old.sort_by(order);
        new.sort_by(order);
        prop_assert_eq!(old.len(), new.len());
        for (old, new) in old.iter().zip(&new) {
            prop_assert!(old.0 == new.0 && (old.1 - new.1).abs() < 1e-9, "{:?} {:?}", old, new);
        }
    }

    #[test]
    fn the_order_of_rows_carries_no_information(keys in proptest::array::uniform9(0_u32..1_000)) {
        let plain = SyntheticIncident::named(str::to_owned);
        let mut order: Vec<usize> = (0..plain.window.n_series()).collect();
        order.sort_by_key(|&row| (keys[row], row));
        let mut permuted = plain.clone();
        let series = order.iter().map(|&row| plain.window.series()[row].clone()).collect();
        let values = order.iter().flat_map(|&row| plain.window.row(row).to_vec()).collect();
        let (start, step) = (plain.window.start(), plain.window.step());
        permuted.window = Frame::new(series, start, step, values).expect("rows of equal length");
        permuted.metrics = order.iter().map(|&row| plain.metrics[row].clone()).collect();
        same(&rank(&plain), &rank(&permuted));
    }

    #[test]
    fn an_idle_service_changes_no_order(level in 0.0_f64..1e6, seed in 1_u64..1_000) {
        let plain = SyntheticIncident::named(str::to_owned);
        let mut more = plain.clone();
        let steps = more.window.n_steps();
        let mut series = more.window.series().to_vec();
        let mut values = more.window.values().to_vec();
        series.push(SeriesKey::new("latency", [("service", "idle")]));
        values.extend((0..steps as u64).map(|t| level + ((t * 7_919 * seed) % 13) as f64 / 13.0));
        let (start, step) = (more.window.start(), more.window.step());
        more.window = Frame::new(series, start, step, values).expect("rows of equal length");
        more.metrics.push(MetricInfo::new("idle", MetricKind::Latency));
        more.topology.upsert_node("idle", NodeKind::Service, Timestamp::EPOCH);
        let names = |ranking: &Ranking| -> Vec<String> {
            let all = services(ranking).into_iter().map(|(name, _)| name);
            all.filter(|name| name != "idle").collect()
        };
        prop_assert_eq!(names(&rank(&plain)), names(&rank(&more)));
    }

    #[test]
    fn a_few_gaps_do_not_move_the_blame(holes in proptest::collection::vec((0_usize..9, 0_usize..720), 0..60)) {
        let mut gappy = SyntheticIncident::named(str::to_owned);
        for (row, step) in holes {
            gappy.window.row_mut(row)[step] = f64::NAN;
        }
        let ranked = services(&rank(&gappy));
        prop_assert_eq!(ranked[0].0.as_str(), "db");
    }
}
