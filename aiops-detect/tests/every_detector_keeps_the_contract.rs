//! Every implementation of the crate's traits passes the conformance functions, and keeps what the
//! list says of it: saved state continues bit for bit and a batch is a stream for all of them; scale, shift and
//! gaps matter where the list says why.

use aiops_detect::testing::{Holds, check_detector, check_invariances, every_detector};
use proptest::prelude::*;

#[test]
fn saved_or_not_every_detector_keeps_the_contract() {
    for listed in every_detector() {
        check_detector(&listed.make);
    }
}

#[test]
fn a_batch_is_a_stream() {
    for listed in every_detector() {
        (listed.check_bank)();
    }
}

#[test]
fn what_does_not_hold_says_why() {
    for listed in every_detector() {
        for holds in [listed.scale, listed.shift, listed.gaps] {
            assert!(!matches!(holds, Holds::No(why) if why.len() < 10), "{}", listed.name);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4))]
    #[test]
    fn scale_shift_and_gaps(seed in any::<u64>()) {
        for listed in every_detector() {
            check_invariances(&listed, seed);
        }
    }
}
