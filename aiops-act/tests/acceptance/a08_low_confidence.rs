//! Not sure enough to act.

use aiops_act::{Ending, match_runbooks};

use crate::common::{Bench, library_of, one_write, situation};

/// Pass: low confidence or a thin margin does not match, with the reason; a ranking that is not
/// calibrated makes a proposal only, with zero executor calls.
#[tokio::test]
async fn acceptance_08_low_confidence() {
    for (causes, code) in [
        (&[("api", 0.45), ("redis", 0.1)][..], "low_confidence"),
        (&[("api", 0.51), ("redis", 0.46)][..], "thin_margin"),
        (&[("api", 0.52)][..], "thin_margin"), // the rival is the unknown
        (&[("redis", 0.9)][..], "other_service"),
        (&[][..], "no_cause"),
    ] {
        let bench = Bench::with_library(situation(causes), library_of([one_write("one", "")]));
        let matches =
            match_runbooks(&bench.library, &bench.situation, &Default::default(), bench.now());
        assert!(matches.fits.is_empty());
        assert_eq!(matches.misfits[0].reasons[0].code, code);
    }

    let bench = Bench::with_library(situation(&[("api", 0.9)]), library_of([one_write("one", "")]));
    bench.world.change(|w| w.calibrated = false);
    let engine = bench.builder().build().unwrap();
    let run = engine.execute(bench.plan(&engine).await).await.unwrap();
    assert_eq!(run.ending(), Some(Ending::Proposed));
    assert_eq!(run.because[0].code, "uncalibrated");
    assert!(bench.effects().is_empty());
}
