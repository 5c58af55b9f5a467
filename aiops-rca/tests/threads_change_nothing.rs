//! The number of threads changes how long it takes, and nothing else.
#![cfg(feature = "rayon")]

use aiops_core::{Frame, Labels, SeriesKey, Timestamp};
use aiops_rca::testing::SyntheticIncident;
use aiops_rca::{
    CausalDiscovery, ConditionalGrangerConfig, DefaultConfig, DirectLingamConfig, GrangerConfig,
    HypothesisConfig, Knowledge, PcConfig, PcmciConfig, PcmciPlusConfig, RcdConfig,
    RootCauseAnalyzer, TidyConfig,
};
use std::time::Duration;

fn on_threads<R: Send>(threads: usize, work: impl FnOnce() -> R + Send) -> R {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    pool.expect("a pool").install(work)
}

#[test]
fn rankings_are_the_same_to_the_last_bit() {
    let incident = SyntheticIncident::named(str::to_owned);
    let analyzers: Vec<Box<dyn RootCauseAnalyzer>> = vec![
        Box::new(DefaultConfig::default().build().expect("valid")),
        Box::new(HypothesisConfig::default().build().expect("valid")),
        Box::new(RcdConfig::default().build().expect("valid")),
    ];
    for analyzer in analyzers {
        let rank = || analyzer.rank(&incident.context()).expect("ranks");
        let one = on_threads(1, rank);
        for threads in [2, 5] {
            assert_eq!(on_threads(threads, rank), one, "{} on {threads}", analyzer.id());
        }
    }
}

#[test]
fn graphs_are_the_same_to_the_last_bit() {
    let (rows, steps) = (12_usize, 240_usize);
    let mut state = 1_u64;
    let mut noise = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888);
        (state >> 11) as f64 / (1_u64 << 53) as f64 - 0.5
    };
    let mut values = vec![vec![0.0; steps]; rows];
    for t in 1..steps {
        for row in 0..rows {
            let before = values[(row + rows - 1) % rows][t - 1];
            values[row][t] = 0.4 * before + noise();
        }
    }
    let keys = (0..rows).map(|row| SeriesKey::new(format!("x{row}"), Labels::new())).collect();
    let data = Frame::new(keys, Timestamp::EPOCH, Duration::from_secs(1), values.concat());
    let data = data.expect("a full table");
    let tidy = TidyConfig::default().build().expect("valid");
    let methods: Vec<Box<dyn CausalDiscovery>> = vec![
        Box::new(GrangerConfig::default().build().expect("valid")),
        Box::new(ConditionalGrangerConfig::default().build().expect("valid")),
        Box::new(PcConfig::default().build().expect("valid")),
        Box::new(PcmciConfig::default().build().expect("valid")),
        Box::new(PcmciPlusConfig::default().build().expect("valid")),
        Box::new(DirectLingamConfig::default().build().expect("valid")),
        Box::new(tidy.before(PcmciConfig::default().build().expect("valid"))),
    ];
    for method in methods {
        let discover = || method.discover(&data, &Knowledge::none()).expect("enough data");
        let one = on_threads(1, discover);
        for threads in [2, 5] {
            assert_eq!(on_threads(threads, discover), one, "{} on {threads}", method.id());
        }
    }
}
