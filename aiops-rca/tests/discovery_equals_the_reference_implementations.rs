//! Golden values of statsmodels, causal-learn and tigramite; see `golden/README.md`.

use aiops_core::{Frame, Labels, SeriesKey, Timestamp};
use aiops_rca::{
    Adjust, CausalDiscovery, ConditionalGrangerConfig, Deterministic, DirectLingamConfig,
    GrangerConfig, Knowledge, LagChoice, Mark, PcConfig, PcTest, PcmciPlusConfig, unit_root,
};
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::Duration;

fn frame(csv: &str) -> Frame {
    let rows: Vec<Vec<f64>> = csv
        .lines()
        .map(|line| line.split(',').map(|cell| cell.parse().expect("a number")).collect())
        .collect();
    let width = rows[0].len();
    let series = (0..width).map(|i| SeriesKey::new(format!("x{i}"), Labels::new())).collect();
    let values = (0..width).flat_map(|i| rows.iter().map(move |row| row[i])).collect();
    Frame::new(series, Timestamp::EPOCH, Duration::from_secs(1), values).expect("a full table")
}

fn golden() -> Value {
    serde_json::from_str(include_str!("golden/golden.json")).expect("the golden file is JSON")
}

fn numbers(row: &Value) -> Vec<f64> {
    row.as_array().expect("a row").iter().map(|v| v.as_f64().expect("a number")).collect()
}

fn rows(value: &Value) -> Vec<Vec<f64>> {
    value.as_array().expect("rows").iter().map(numbers).collect()
}

#[track_caller]
fn close(ours: f64, theirs: f64, what: &str) {
    assert!((ours - theirs).abs() <= 1e-8 * (1.0 + theirs.abs()), "{what}: {ours} and {theirs}");
}

#[test]
fn bivariate_granger_is_that_of_statsmodels() {
    let data = frame(include_str!("golden/var.csv"));
    for row in rows(&golden()["bivariate"]) {
        let [cause, effect, lag] = [row[0] as usize, row[1] as usize, row[2] as usize];
        let config = GrangerConfig { lags: LagChoice::Fixed(lag), ..GrangerConfig::default() };
        let granger = config.build().expect("valid");
        let test = granger.test(data.row(cause), data.row(effect)).expect("enough data");
        let what = format!("{cause} -> {effect}, lag {lag}");
        close(test.f, row[3], &what);
        close(test.f_p_value, row[4], &what);
        close(test.chi2, row[5], &what);
        close(test.chi2_p_value, row[6], &what);
    }
}

#[test]
fn the_order_of_a_pair_is_that_of_statsmodels() {
    let data = frame(include_str!("golden/var.csv"));
    for row in rows(&golden()["order"]) {
        let (cause, effect) = (data.row(row[0] as usize), data.row(row[1] as usize));
        for (choice, expected) in
            [(LagChoice::Aic { max: 6 }, row[2]), (LagChoice::Bic { max: 6 }, row[3])]
        {
            let config = GrangerConfig { lags: choice, ..GrangerConfig::default() };
            let test = config.build().expect("valid").test(cause, effect).expect("enough data");
            assert_eq!(test.lags, (expected as usize).max(1), "{choice:?} of {row:?}");
        }
    }
}

#[test]
fn conditional_granger_is_that_of_statsmodels() {
    let data = frame(include_str!("golden/var.csv"));
    let tests = ConditionalGrangerConfig::default().build().expect("valid");
    let tests = tests.tests(&data).expect("enough data");
    for row in rows(&golden()["conditional"]) {
        let (cause, effect) = (row[0] as usize, row[1] as usize);
        let of_pair = |t: &&aiops_rca::WaldTest| (t.cause, t.effect) == (cause, effect);
        let test = tests.iter().find(of_pair).expect("every pair is tested");
        let what = format!("{cause} -> {effect}");
        close(test.wald, row[2], &what);
        close(test.wald_p_value, row[3], &what);
        close(test.f, row[4], &what);
        close(test.f_p_value, row[5], &what);
    }
}

#[test]
fn pc_is_that_of_causal_learn() {
    let data = frame(include_str!("golden/sem.csv"));
    for (level, expected) in golden()["pc"].as_object().expect("by level") {
        let config = PcConfig { level: level.parse().expect("a level"), ..PcConfig::default() };
        let graph = config.build().expect("valid").discover(&data, &Knowledge::none());
        let graph = graph.expect("enough data");
        let of = |mark: Mark| -> BTreeSet<(usize, usize)> {
            let edges = graph.edges.iter().filter(|e| e.mark == mark);
            edges.map(|e| (e.from, e.to)).collect()
        };
        let pairs = |name: &str| -> BTreeSet<(usize, usize)> {
            rows(&expected[name]).iter().map(|p| (p[0] as usize, p[1] as usize)).collect()
        };
        assert_eq!(of(Mark::Directed), pairs("directed"), "level {level}");
        assert_eq!(of(Mark::Undirected), pairs("undirected"), "level {level}");
    }
}

/// `large_sem` of `golden/make.py`, to the last bit.
fn large_sem() -> Frame {
    let (width, length) = (50, 1_000);
    let mut state = 1_u64;
    let mut uniform = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1_u64 << 53) as f64
    };
    let mut causes: Vec<Vec<(usize, f64)>> = Vec::new();
    for to in 0..width {
        let mut of = Vec::new();
        for from in 0..to {
            if uniform() < 0.06 {
                let size = 0.5 + 0.5 * uniform();
                of.push((from, if uniform() < 0.5 { size } else { -size }));
            }
        }
        causes.push(of);
    }
    let mut values = vec![0.0; width * length];
    for row in 0..length {
        for to in 0..width {
            let noise = (0..12).fold(0.0, |sum, _| sum + uniform()) - 6.0;
            let from = |(from, weight): &(usize, f64)| weight * values[from * length + row];
            values[to * length + row] =
                causes[to].iter().fold(noise, |sum, cause| sum + from(cause));
        }
    }
    let series = (0..width).map(|i| SeriesKey::new(format!("x{i}"), Labels::new())).collect();
    Frame::new(series, Timestamp::EPOCH, Duration::from_secs(1), values).expect("a full table")
}

#[test]
fn the_skeleton_of_fifty_variables_is_that_of_causal_learn() {
    let data = large_sem();
    for (level, expected) in golden()["pc_large"].as_object().expect("by level") {
        let config = PcConfig { level: level.parse().expect("a level"), ..PcConfig::default() };
        let graph = config.build().expect("valid").discover(&data, &Knowledge::none());
        let edges = graph.expect("enough data").edges;
        let ours: BTreeSet<_> =
            edges.iter().map(|e| (e.from.min(e.to), e.from.max(e.to))).collect();
        assert!(ours.len() > 50, "{} links", ours.len());
        assert_eq!(ours, pairs(expected), "level {level}");
    }
}

fn pairs(rows_of: &Value) -> BTreeSet<(usize, usize)> {
    rows(rows_of).iter().map(|p| (p[0] as usize, p[1] as usize)).collect()
}

#[test]
fn pc_with_categories_is_that_of_causal_learn() {
    let mut data = frame(include_str!("golden/sem.csv"));
    for row in 0..data.n_series() {
        let cut = |v: f64| f64::from(u8::from(v > -1.0) + u8::from(v > 1.0));
        data.row_mut(row).iter_mut().for_each(|v| *v = cut(*v));
    }
    for (level, expected) in golden()["pc_g_square"].as_object().expect("by level") {
        let test = PcTest::GSquare { bins: None };
        let level = level.parse().expect("a level");
        let method = PcConfig { test, level, ..PcConfig::default() }.build().expect("valid");
        let graph = method.discover(&data, &Knowledge::none()).expect("enough data");
        let of = |mark: Mark| -> BTreeSet<(usize, usize)> {
            graph.edges.iter().filter(|e| e.mark == mark).map(|e| (e.from, e.to)).collect()
        };
        assert_eq!(of(Mark::Directed), pairs(&expected["directed"]), "level {level}");
        assert_eq!(of(Mark::Undirected), pairs(&expected["undirected"]), "level {level}");
    }
}

#[test]
fn pcmci_plus_is_that_of_tigramite() {
    let tables =
        [("var", include_str!("golden/var.csv")), ("svar", include_str!("golden/svar.csv"))];
    for (name, table) in tables {
        let data = frame(table);
        for level in [0.01, 0.05] {
            let expected = &golden()["pcmci_plus"][format!("{name} {level}")];
            let method = PcmciPlusConfig { level, ..PcmciPlusConfig::default() }.build();
            let graph = method.expect("valid").discover(&data, &Knowledge::none());
            let graph = graph.expect("enough data");
            let directed = graph.edges.iter().filter(|e| e.mark == Mark::Directed);
            let directed: BTreeSet<_> = directed.map(|e| (e.from, e.to, e.lag as usize)).collect();
            let theirs: BTreeSet<_> = rows(&expected["directed"])
                .iter()
                .map(|e| (e[0] as usize, e[1] as usize, e[2] as usize))
                .collect();
            assert_eq!(directed, theirs, "{name}, level {level}");
            let open = graph.edges.iter().filter(|e| e.mark == Mark::Undirected);
            let open: BTreeSet<_> = open.map(|e| (e.from, e.to)).collect();
            assert_eq!(open, pairs(&expected["undirected"]), "{name}, level {level}");
        }
    }
}

#[test]
fn direct_lingam_orders_as_causal_learn_does() {
    let data = frame(include_str!("golden/lingam.csv"));
    let lingam = DirectLingamConfig { level: 1.0 }.build().expect("valid");
    let golden = &golden()["direct_lingam"];
    let order = lingam.order(&data, &Knowledge::none()).expect("enough data");
    let expected: Vec<usize> = numbers(&golden["order"]).iter().map(|&v| v as usize).collect();
    assert_eq!(order, expected);
    let graph = lingam.discover(&data, &Knowledge::none()).expect("enough data");
    for row in rows(&golden["weights"]) {
        let edge =
            graph.edges.iter().find(|e| (e.from, e.to) == (row[0] as usize, row[1] as usize));
        close(edge.expect("no coefficient was dropped").strength, row[2], &format!("{row:?}"));
    }
}

#[test]
fn adjusted_p_values_are_those_of_statsmodels() {
    let golden = &golden()["adjusted"];
    let p_values = numbers(&golden["p"]);
    for (adjust, name) in [
        (Adjust::BenjaminiHochberg, "bh"),
        (Adjust::BenjaminiYekutieli, "by"),
        (Adjust::Bonferroni, "bonferroni"),
    ] {
        for (ours, theirs) in adjust.apply(&p_values).iter().zip(numbers(&golden[name])) {
            close(*ours, theirs, name);
        }
    }
}

#[test]
fn unit_roots_are_those_of_statsmodels() {
    let data = frame(include_str!("golden/var.csv"));
    let golden = golden();
    for case in golden["unit_root"].as_array().expect("rows") {
        let values = data.row(case[0].as_u64().expect("a column") as usize).iter();
        let series: Vec<f64> = match case[1].as_str().expect("a shape") {
            "sum" => values
                .scan(0.0, |sum, v| {
                    *sum += v;
                    Some(*sum)
                })
                .collect(),
            "line" => values.enumerate().map(|(t, v)| v + 0.05 * t as f64).collect(),
            _ => values.copied().collect(),
        };
        let around = match case[2].as_str() {
            Some("ct") => Deterministic::ConstantAndTrend,
            _ => Deterministic::Constant,
        };
        let test = unit_root(&series, around, None).expect("enough data");
        assert_eq!(Some(test.lags as u64), case[5].as_u64(), "{case}");
        close(test.statistic, case[3].as_f64().expect("a statistic"), &case.to_string());
        let p_value = case[4].as_f64().expect("a p-value");
        assert!((test.p_value - p_value).abs() < 1e-8, "{} and {case}", test.p_value);
    }
}
