//! Every implementation of the crate's traits passes the conformance functions.

use aiops_detect::{
    testing::{check_bank, check_detector},
    tier1::{EwmaConfig, RobustConfig},
};

#[test]
fn ewma() {
    let make = || EwmaConfig::default().build().unwrap();
    check_detector(make);
    check_bank(|| EwmaConfig::default().build_bank().unwrap(), make, 0.0);
}

#[test]
fn robust() {
    let make = || RobustConfig::default().build().unwrap();
    check_detector(make);
    check_bank(|| RobustConfig::default().build_bank().unwrap(), make, 0.0);
}
