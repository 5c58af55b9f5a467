//! Any one part goes away during ten minutes.

use std::collections::BTreeSet;
use std::time::Duration;

use aiops_act::Mode;
use aiops_act::modes::{Health, Part};
use aiops_core::Timestamp;

const PARTS: [Part; 5] = [Part::Store, Part::Topology, Part::Model, Part::Notifier, Part::Engine];

/// Pass: with any part gone for two of ten minutes, every alert is processed or passed on unchanged,
/// the mode changes within 10 s, and comes back by itself.
#[test]
fn acceptance_26_availability_drill() {
    for gone in PARTS {
        let at = |s: i64| Timestamp::from_secs(1_800_000_000 + s);
        let (silence, hold) = (Duration::from_secs(5), Duration::from_secs(60));
        let mut health = Health::new(PARTS, silence, hold, at(0));
        let (mut processed, mut passed_on) = (BTreeSet::new(), BTreeSet::new());
        let (mut changed, mut recovered) = (None, None);
        for second in 0..600 {
            let is_gone = (200..320).contains(&second);
            for part in PARTS.into_iter().filter(|part| !(is_gone && *part == gone)) {
                health.report(part, true, at(second)); // a part that is gone says nothing at all
            }
            let mode = health.mode(at(second));
            if mode == gone.mode_without() {
                changed.get_or_insert(second);
            } else {
                assert_eq!(mode, Mode::Full, "{gone:?} at {second}");
                if changed.is_some() {
                    recovered.get_or_insert(second);
                }
            }
            // One alert a second: it is either processed, or goes on unchanged.
            match mode {
                Mode::Full | Mode::SuggestOnly | Mode::NotifyOnly => processed.insert(second),
                Mode::PassThrough => passed_on.insert(second),
            };
        }
        assert_eq!(processed.len() + passed_on.len(), 600, "no alert is lost");
        assert_eq!(passed_on.is_empty(), gone != Part::Engine);
        let changed = changed.expect("it is noticed");
        assert!((200..210).contains(&changed), "{gone:?}: after {} s", changed - 200);
        assert_eq!(recovered, Some(320 + 60), "{gone:?}: by itself, after the hold time");
    }
}
