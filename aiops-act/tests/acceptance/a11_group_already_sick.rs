//! A group that is too sick to be the remedy's business.

use std::collections::BTreeSet;
use std::sync::Arc;

use aiops_act::machine::NoticeKind;
use aiops_act::{Ending, LineNotifier};

use crate::common::{Bench, Lines, library_of, runbook, situation};

/// Pass: above `max_unhealthy_percent` nothing is remediated, and people hear of it once.
#[tokio::test]
async fn acceptance_11_group_already_sick() {
    let group = runbook(
        "restart-group",
        "match: {services: [api]}\ntargets: {services: [api, redis, postgres]}\n\
         safety: {max_percent: 100, max_unhealthy_percent: 34}\n\
         steps: [{id: act, uses: hands, undo: {uses: nothing}}]\n",
    );
    for (sick, refused) in [(vec!["api"], false), (vec!["api", "redis"], true)] {
        let bench = Bench::with_library(situation(&[("api", 0.9)]), library_of([group.clone()]));
        let sick: BTreeSet<String> = sick.into_iter().map(str::to_owned).collect();
        bench.world.change(|w| w.unhealthy = sick);
        let lines = Lines::default();
        let notifier = LineNotifier::new("log", Box::new(lines.clone()));
        let engine = bench.builder().notifier(Arc::new(notifier)).build().unwrap();
        let (run, driver) = bench.ask(&engine).await;
        assert_eq!(run.ending() == Some(Ending::Refused), refused);
        if refused {
            assert_eq!(run.because[0].code, "group_unhealthy");
            engine.deliver().await.unwrap();
            engine.deliver().await.unwrap();
            let messages = lines.messages();
            assert_eq!(messages.len(), 1, "people hear of it once");
            assert_eq!(messages[0].kind, NoticeKind::Refused);
        }
        driver.abort();
        assert!(bench.effects().is_empty());
    }
}
