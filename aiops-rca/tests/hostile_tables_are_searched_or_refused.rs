//! Discovery answers any table with a graph or a typed error.

use aiops_core::{Frame, Labels, SeriesKey, Timestamp};
use aiops_rca::{
    CausalDiscovery, ConditionalGrangerConfig, DirectLingamConfig, Error, GrangerConfig, Knowledge,
    Pc, PcConfig, PcTest, PcmciConfig, PcmciPlusConfig, TidyConfig, VarLingamConfig,
};
use std::time::Duration;

fn methods() -> Vec<Box<dyn CausalDiscovery>> {
    let tidy = TidyConfig::default().build().expect("valid");
    vec![
        Box::new(GrangerConfig::default().build().expect("valid")),
        Box::new(ConditionalGrangerConfig::default().build().expect("valid")),
        Box::new(PcConfig::default().build().expect("valid")),
        Box::new(categories(Some(3))),
        Box::new(categories(None)),
        Box::new(PcmciConfig::default().build().expect("valid")),
        Box::new(PcmciPlusConfig::default().build().expect("valid")),
        Box::new(DirectLingamConfig::default().build().expect("valid")),
        Box::new(VarLingamConfig::default().build().expect("valid")),
        Box::new(tidy.before(ConditionalGrangerConfig::default().build().expect("valid"))),
    ]
}

fn categories(bins: Option<usize>) -> Pc {
    PcConfig { test: PcTest::GSquare { bins }, ..PcConfig::default() }.build().expect("valid")
}

fn noise(row: usize, t: usize) -> f64 {
    ((row * 613 + t * 7_919 + row * t * 31) % 1_009) as f64 / 1_009.0
}

fn search(rows: &[Vec<f64>], what: &str) {
    let keys = (0..rows.len()).map(|i| SeriesKey::new(format!("x{i}"), Labels::new())).collect();
    let data = Frame::new(keys, Timestamp::EPOCH, Duration::from_secs(1), rows.concat());
    let data = data.expect("rows of equal length");
    for method in methods() {
        match method.discover(&data, &Knowledge::none()) {
            Ok(graph) => {
                for edge in &graph.edges {
                    assert!(edge.strength.is_finite(), "{} of {what}: {edge:?}", method.id());
                    assert!(
                        (0.0..=1.0).contains(&edge.p_value),
                        "{} of {what}: {edge:?}",
                        method.id()
                    );
                }
            }
            Err(Error::NotEnoughData { .. } | Error::Singular { .. }) => {}
            Err(error) => panic!("{} of {what}: {error}", method.id()),
        }
    }
}

#[test]
fn small_tables() {
    search(&[], "no rows");
    for rows in [1, 2, 5] {
        for steps in [0, 1, 2, 3, 5, 8, 13, 21] {
            let table: Vec<Vec<f64>> =
                (0..rows).map(|row| (0..steps).map(|t| noise(row, t)).collect()).collect();
            search(&table, &format!("{rows} x {steps}"));
        }
    }
}

#[test]
fn odd_numbers() {
    let whole: Vec<Vec<f64>> =
        (0..5).map(|row| (0..200).map(|t| noise(row, t)).collect()).collect();
    for value in
        [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, f64::MIN, 1e200, 5e-324, 0.0]
    {
        let mut table = whole.clone();
        table[1].fill(value);
        search(&table, &format!("a row of {value}"));
        let mut table = whole.clone();
        table[1][100] = value;
        table[2][0] = value;
        search(&table, &format!("cells of {value}"));
        search(&vec![vec![value; 200]; 5], &format!("nothing but {value}"));
        let mut table = whole.clone();
        table.iter_mut().enumerate().for_each(|(row, v)| v[row * 40..].fill(value));
        search(&table, &format!("then {value}"));
    }
    // Scales far apart.
    let mut table = whole.clone();
    table[0].iter_mut().for_each(|v| *v *= 1e150);
    table[1].iter_mut().for_each(|v| *v *= 1e-150);
    search(&table, "scales far apart");
}

#[test]
fn rows_that_say_the_same() {
    let one: Vec<f64> = (0..200).map(|t| noise(0, t)).collect();
    search(&vec![one.clone(); 12], "twelve times the same");
    let nearly = |row: usize| one.iter().enumerate().map(move |(t, v)| v + 1e-9 * noise(row, t));
    let table: Vec<Vec<f64>> = (0..12).map(|row| nearly(row).collect()).collect();
    search(&table, "twelve times nearly the same");
    let mut sum: Vec<Vec<f64>> =
        (0..4).map(|row| (0..200).map(|t| noise(row, t)).collect()).collect();
    sum.push((0..200).map(|t| sum[0][t] + sum[1][t] - sum[2][t]).collect());
    search(&sum, "one row is the sum of others");
}
