//! Every correlator of this crate passes the conformance function of the trait.

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

#[test]
fn so_do_the_simple_ones() {
    use aiops_correlate::{GroupBy, SimpleConfig};
    for by in [GroupBy::Fingerprint, GroupBy::Service, GroupBy::Name, GroupBy::Everything] {
        check_correlator(|| SimpleConfig { by, ..SimpleConfig::default() }.build().unwrap());
        check_correlator(|| SimpleConfig::alertmanager(by).build().unwrap());
    }
}
