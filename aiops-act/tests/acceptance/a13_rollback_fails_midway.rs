//! A rollback in which one undo fails, at each position.

use std::sync::Arc;
use std::time::Duration;

use aiops_act::executor::scripted::{Reaction, Scripted};
use aiops_act::machine::{Stuck, UndoStatus};
use aiops_act::{Ending, Engine, Error, FixedApprover, LineNotifier, Resolution, State, StepError};
use aiops_core::Severity;

use crate::common::{Bench, Lines, On, library_of, runbook, situation};

fn bench(hands: Scripted, on: On) -> Bench {
    // a <- b <- c is a chain; d stands alone; e fails.
    let library = library_of([runbook(
        "chain",
        "match: {services: [api]}\ntargets: {services: [api]}\nsafety: {risk: 1, max_percent: 100}\n\
         steps:\n\
         - {id: a, uses: hands, undo: {uses: hands}}\n\
         - {id: b, uses: hands, needs: [a], undo: {uses: hands}}\n\
         - {id: c, uses: hands, needs: [b], undo: {uses: hands}}\n\
         - {id: d, uses: hands, undo: {uses: hands}}\n\
         - {id: e, uses: hands, undo: {uses: nothing}}\n",
    )]);
    let mut bench = Bench::with_library(situation(&[("api", 0.9)]), library);
    bench.executors = vec![hands];
    bench.on(on)
}

fn engine(bench: &Bench, lines: &Lines) -> Engine {
    bench
        .builder()
        .approver(Arc::new(FixedApprover::approving("ada", bench.clock.clone())))
        .notifier(Arc::new(LineNotifier::new("log", Box::new(lines.clone()))))
        .build()
        .unwrap()
}

/// Pass: wherever the rollback fails, the independent undos still run, the targets stay taken, one
/// page at the top level goes out, and after a restart nothing that was undone is undone again.
#[tokio::test]
async fn acceptance_13_rollback_fails_midway() {
    for on in On::BOTH {
        fails_midway(on).await;
    }
}

async fn fails_midway(on: On) {
    use UndoStatus::{Blocked, Done, Failed};
    for (broken, expected) in [
        ("a/undo", [Failed, Done, Done, Done]),
        ("b/undo", [Blocked, Failed, Done, Done]),
        ("c/undo", [Blocked, Blocked, Failed, Done]),
        ("d/undo", [Done, Done, Done, Failed]),
    ] {
        let failure = Reaction::Fails(StepError::failed("stuck"));
        let hands = Scripted::new("hands")
            .on_run("e", [Reaction::Fails(StepError::failed("no"))])
            .on_run(broken, vec![failure; 3]);
        let mut bench = bench(hands, on);
        let lines = Lines::default();
        let first = engine(&bench, &lines);
        let run = first.execute(bench.plan(&first).await).await.unwrap();
        assert_eq!(run.state, State::NeedsHuman { over: Stuck::Rollback }, "{broken}");
        let undos: Vec<UndoStatus> = run.steps[..4].iter().map(|s| s.undo).collect();
        assert_eq!(undos, expected, "{broken}");

        // One page, and the targets stay taken: another run does not start.
        first.deliver().await.unwrap();
        let pages = lines.messages().into_iter().filter(|m| m.severity == Severity::Critical);
        assert_eq!(pages.count(), 1, "{broken}");
        let plan = bench.plan(&first).await;
        let lease = first.check_gates(&plan).await.unwrap();
        assert!(lease.checks.iter().any(|c| c.reason.code == "quarantined"));
        assert!(matches!(first.submit(plan).await, Err(Error::AlreadyActive(_))));

        // The process dies; the next one finds nothing to do until the person decides.
        drop(first);
        bench.restart();
        bench.manual.advance(Duration::from_secs(60));
        let second = engine(&bench, &lines);
        assert_eq!(second.orphans().await.unwrap(), []);
        let before = bench.effects().len();
        second.resolve(run.plan.run, "ada", Resolution::RollBack).await.unwrap();
        let run = second.drive(run.plan.run).await.unwrap();
        assert_eq!(run.ending(), Some(Ending::RolledBack), "{broken}");
        let again: Vec<String> =
            bench.effects()[before..].iter().map(|a| a.step.replace("/undo", "")).collect();
        let open: Vec<&str> = ["d", "c", "b", "a"]
            .into_iter()
            .filter(|id| expected[usize::from(id.as_bytes()[0] - b'a')] != Done)
            .collect();
        assert_eq!(again, open, "{broken}: only what was still to be undone, last first");
    }
}
