//! The default correlator passes the conformance function of its trait, under every hold.

use aiops_correlate::{FunnelConfig, Hold, StaticHold, testing::check_correlator};

#[test]
fn under_every_hold() {
    let holds = [Hold::default(), Hold::Never, Hold::Static(StaticHold::default())];
    for hold in holds {
        check_correlator(|| {
            FunnelConfig { hold: hold.clone(), ..FunnelConfig::default() }.build().unwrap()
        });
    }
}
