//! Every discovery method of the crate passes the conformance function.

use aiops_rca::testing::check_discovery;
use aiops_rca::{
    CausalDiscovery, ConditionalGrangerConfig, DirectLingamConfig, GrangerConfig, PcConfig, PcTest,
    PcmciConfig, PcmciPlusConfig, TidyConfig, VarLingamConfig,
};

#[test]
fn the_manual_holds() {
    let methods: Vec<Box<dyn CausalDiscovery>> = vec![
        Box::new(GrangerConfig::default().build().expect("valid")),
        Box::new(ConditionalGrangerConfig::default().build().expect("valid")),
        Box::new(PcConfig::default().build().expect("valid")),
        Box::new(PcmciConfig::default().build().expect("valid")),
        Box::new(PcmciPlusConfig::default().build().expect("valid")),
        Box::new(
            PcConfig { test: PcTest::GSquare { bins: Some(3) }, ..PcConfig::default() }
                .build()
                .expect("valid"),
        ),
        Box::new(
            TidyConfig::default()
                .build()
                .expect("valid")
                .before(PcmciConfig::default().build().expect("valid")),
        ),
        Box::new(DirectLingamConfig::default().build().expect("valid")),
        Box::new(VarLingamConfig::default().build().expect("valid")),
    ];
    for method in methods {
        check_discovery(method.as_ref());
    }
}
