//! Callers who drive a run twice, let go of it in the middle, press the kill switch at the worst moment,
//! or whose clock is ahead; and receivers who never answer.

use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aiops_act::approve::Ruling;
use aiops_act::escalate::{EscalationLevel, EscalationPolicy};
use aiops_act::executor::BoxFuture;
use aiops_act::executor::scripted::{Reaction, Scripted};
use aiops_act::machine::{Event, NoticeKind, Stuck};
use aiops_act::{
    Call, Delivered, Digest, Ending, Engine, EngineBuilder, FixedApprover, LineNotifier, Message,
    MetricFn, MetricQuery, Notifier, Output, Permit, Preview, Probe, Resolution, Risk, Run, RunId,
    Says, SendError, State, StepError, StepExecutor,
};
use aiops_core::Batch;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::a20_store_failures::Sick;
use crate::common::{Bench, Held, Lines, answer, library_of, one_write, runbook, situation};

fn bench() -> Bench {
    Bench::with_library(situation(&[("api", 0.9)]), library_of([one_write("one", "")]))
}

fn builder(bench: &Bench) -> EngineBuilder {
    bench
        .builder()
        .approver(Arc::new(FixedApprover::approving("ada", bench.clock.clone())))
        .metrics(Arc::new(MetricFn(|_: &MetricQuery, _| Some(0.0))))
}

type Hook = Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

/// Counts, waits for `go` in the middle of a step, and does something of the test's at its begin.
#[derive(Clone)]
struct Hands {
    begun: Arc<AtomicUsize>,
    ended: Arc<AtomicUsize>,
    cut: Arc<AtomicUsize>,
    here: Arc<Notify>,
    go: Arc<Notify>,
    at_begin: Hook,
    at_probe: Hook,
}

fn nothing() -> Hook {
    Arc::new(|| Box::pin(std::future::ready(())))
}

impl Hands {
    fn new() -> Hands {
        Hands {
            begun: Arc::default(),
            ended: Arc::default(),
            cut: Arc::default(),
            here: Arc::default(),
            go: Arc::default(),
            at_begin: nothing(),
            at_probe: nothing(),
        }
    }

    fn counts(&self) -> (usize, usize, usize) {
        let count = |n: &AtomicUsize| n.load(Ordering::SeqCst);
        (count(&self.begun), count(&self.ended), count(&self.cut))
    }
}

/// Notes when a step is cut off.
struct Inside(Hands, bool);

impl Drop for Inside {
    fn drop(&mut self) {
        let count = if self.1 { &self.0.ended } else { &self.0.cut };
        count.fetch_add(1, Ordering::SeqCst);
    }
}

impl StepExecutor for Hands {
    fn name(&self) -> &str {
        "hands"
    }
    fn version(&self) -> &str {
        "1"
    }
    fn risk_floor(&self, _: &Call) -> Risk {
        Risk::Reversible
    }
    fn plan<'a>(&'a self, _: &'a Call) -> BoxFuture<'a, Result<Preview, StepError>> {
        Box::pin(std::future::ready(Ok(Preview::default())))
    }
    fn run<'a>(&'a self, _: &'a Call, _: &'a Permit) -> BoxFuture<'a, Result<Output, StepError>> {
        Box::pin(async move {
            self.begun.fetch_add(1, Ordering::SeqCst);
            let mut inside = Inside(self.clone(), false);
            (self.at_begin)().await;
            self.here.notify_one();
            self.go.notified().await;
            inside.1 = true;
            Ok(Output::default())
        })
    }
    fn probe<'a>(&'a self, _: &'a Call, _: Digest) -> BoxFuture<'a, Probe> {
        Box::pin(async move {
            (self.at_probe)().await;
            if self.ended.load(Ordering::SeqCst) > 0 {
                Probe::Done { output: Output::default() }
            } else {
                Probe::NotDone
            }
        })
    }
    fn undo<'a>(
        &'a self,
        _: &'a Call,
        _: &'a serde_json::Value,
        _: &'a Permit,
    ) -> BoxFuture<'a, Result<Output, StepError>> {
        Box::pin(std::future::ready(Ok(Output::default())))
    }
}

fn driven(engine: &Engine, id: RunId) -> JoinHandle<aiops_act::Result<Run>> {
    let engine = engine.clone();
    tokio::spawn(async move { engine.drive(id).await })
}

#[tokio::test]
async fn a_run_that_many_callers_drive_at_once_is_driven_once() {
    let (bench, hands) = (bench(), Hands::new());
    let engine = builder(&bench).executor(Arc::new(hands.clone())).build().unwrap();
    let id = engine.submit(bench.plan(&engine).await).await.unwrap();
    let callers: Vec<_> = (0..5).map(|_| driven(&engine, id)).collect();
    hands.here.notified().await;
    // It is driven: nobody else needs to.
    assert_eq!(engine.orphans().await.unwrap(), []);
    let late = driven(&engine, id);
    tokio::time::sleep(Duration::from_millis(20)).await;
    hands.go.notify_one();
    for caller in callers.into_iter().chain([late]) {
        let run = caller.await.unwrap().unwrap();
        assert_eq!(run.ending(), Some(Ending::Succeeded), "{:?}", run.because);
    }
    assert_eq!(hands.counts(), (1, 1, 0));
}

#[tokio::test]
async fn a_step_whose_end_could_not_be_written_is_not_begun_again_by_the_same_engine() {
    let (mut bench, mut hands) = (bench(), Hands::new());
    let sick = Arc::new(Sick { inner: bench.store.clone(), how: AtomicU8::new(0) });
    bench.store = sick.clone();
    let breaks = sick.clone();
    hands.at_begin = Arc::new(move || {
        breaks.how.store(1, Ordering::SeqCst); // the disk is full from now on
        Box::pin(std::future::ready(()))
    });
    let engine = builder(&bench).executor(Arc::new(hands.clone())).build().unwrap();
    let id = engine.submit(bench.plan(&engine).await).await.unwrap();
    hands.go.notify_one();
    engine.drive(id).await.unwrap_err();
    assert_eq!(hands.counts(), (1, 1, 0));
    assert_eq!(engine.orphans().await.unwrap(), [id]);
    sick.how.store(0, Ordering::SeqCst);
    let run = engine.drive(id).await.unwrap();
    assert_eq!(run.ending(), Some(Ending::Succeeded));
    assert_eq!(hands.counts(), (1, 1, 0), "it was asked what became of it");
    assert_eq!(run.steps[0].unknowns, 1);
}

#[tokio::test]
async fn a_driver_that_is_dropped_leaves_nothing_running_and_what_it_did_in_doubt() {
    let (bench, hands) = (bench(), Hands::new());
    let engine = builder(&bench).executor(Arc::new(hands.clone())).build().unwrap();
    let id = engine.submit(bench.plan(&engine).await).await.unwrap();
    tokio::select! {
        _ = engine.drive(id) => panic!("nobody lets the step end"),
        () = hands.here.notified() => {}
    }
    let cut = async {
        while hands.counts().2 == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), cut).await.expect("the step is cut off");
    hands.go.notify_one();
    let run = engine.drive(id).await.unwrap();
    assert_eq!(run.ending(), Some(Ending::Succeeded));
    // Probed, found not done, and done once.
    assert_eq!(hands.counts(), (2, 1, 1));
}

#[tokio::test]
async fn the_kill_switch_pressed_during_a_look_stops_the_step() {
    let bench = bench();
    let scripted = Scripted::new("hands");
    let held = Held::before_look(scripted.clone(), "act");
    let engine = builder(&bench).executor(Arc::new(held.clone())).build().unwrap();
    let id = engine.submit(bench.plan_quietly(&engine).await).await.unwrap();
    let driver = driven(&engine, id);
    held.wait_until_held().await;
    engine.pause("grace", "stop everything").await.unwrap();
    held.release();
    let run = driver.await.unwrap().unwrap();
    assert_eq!(run.state, State::NeedsHuman { over: Stuck::Halted });
    assert!(scripted.effects().is_empty());
    // A rollback does not begin while it is pressed either.
    engine.resolve(id, "grace", Resolution::RollBack).await.unwrap();
    assert_eq!(engine.drive(id).await.unwrap().ending(), Some(Ending::RolledBack));
    assert!(scripted.effects().is_empty(), "nothing was done, nothing is undone");
}

#[tokio::test]
async fn the_kill_switch_pressed_during_a_probe_stops_another_attempt() {
    let bench = bench();
    let (slot, mut hands) = (Arc::new(Mutex::new(None::<Engine>)), Hands::new());
    let engine_of = slot.clone();
    hands.at_begin = Arc::new(|| -> BoxFuture<'static, ()> { panic!("lost") });
    hands.at_probe = Arc::new(move || {
        let engine = engine_of.lock().unwrap().clone().unwrap();
        Box::pin(async move { engine.pause("grace", "stop everything").await.unwrap() })
    });
    let engine = builder(&bench).executor(Arc::new(hands)).build().unwrap();
    *slot.lock().unwrap() = Some(engine.clone());
    let run = engine.execute(bench.plan(&engine).await).await.unwrap();
    assert_eq!(run.state, State::NeedsHuman { over: Stuck::Halted }, "{:?}", run.because);
    assert_eq!(run.steps[0].attempts, 1);
    slot.lock().unwrap().take();
}

#[tokio::test]
async fn what_a_person_decides_is_begun_once_whoever_records_it() {
    let mut bench = bench();
    let lost = Reaction::HappensThenUnknown(serde_json::json!(1));
    let hands = Scripted::new("hands").cannot_probe().on_run("act", [lost]);
    bench.executors = vec![hands.clone()];
    let first = builder(&bench).build().unwrap();
    let run = first.execute(bench.plan(&first).await).await.unwrap();
    assert_eq!(run.state, State::NeedsHuman { over: Stuck::Step { step: 0 } });
    // Another engine hears the person; the first drives. The undo cannot be probed, and need not be.
    let second = builder(&bench).build().unwrap();
    second.resolve(run.plan.run, "ada", Resolution::RollBack).await.unwrap();
    let run = first.drive(run.plan.run).await.unwrap();
    assert_eq!(run.ending(), Some(Ending::RolledBack), "{:?}", run.because);
    let calls: Vec<_> = hands.effects().into_iter().map(|asked| asked.step).collect();
    assert_eq!(calls, ["act", "act/undo"]);
}

/// A plan is data: what its tier says is not believed below what its document and executors ask for.
#[tokio::test]
async fn a_plan_that_says_it_is_harmless_is_asked_about_all_the_same() {
    let library = library_of([one_write("one", "approvals: {count: 1}")]);
    let mut bench = Bench::with_library(situation(&[("api", 0.9)]), library);
    bench.executors = vec![Scripted::new("hands").with_risk(Risk::Stateful)];
    let engine = bench.builder().build().unwrap();
    let mut plan = bench.plan(&engine).await;
    assert_eq!(plan.risk, Risk::Stateful);
    let honest = plan.binding();
    plan.risk = Risk::ReadOnly;
    let id = engine.submit(plan).await.unwrap();
    let run = engine.run(id).await.unwrap();
    assert_eq!(run.plan.binding(), honest);
    let driver = driven(&engine, id);
    while engine.run(id).await.unwrap().state == State::Proposed {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(engine.run(id).await.unwrap().state, State::Asking);
    assert!(bench.effects().is_empty());
    engine.cancel(id, "ada").await.unwrap();
    driver.await.unwrap().unwrap();

    // Made by hand, with an undo that is riskier than its step.
    let undo = "steps:\n  - {id: act, uses: hands, undo: {uses: heavy_hands}}\n";
    let head = "match: {services: [api]}\ntargets: {services: [api]}\n\
                safety: {risk: 1, max_percent: 100}\n";
    bench.library = library_of([runbook("two", &format!("{head}{undo}"))]);
    bench.executors = vec![
        Scripted::new("hands").with_risk(Risk::Reversible),
        Scripted::new("heavy_hands").with_risk(Risk::Irreversible),
    ];
    bench.manual.advance(Duration::from_secs(1));
    let engine = bench.builder().build().unwrap();
    let plan = bench.plan_quietly(&engine).await;
    assert_eq!(plan.risk, Risk::Reversible);
    let id = engine.submit(plan).await.unwrap();
    assert_eq!(engine.run(id).await.unwrap().plan.risk, Risk::Irreversible);
}

#[tokio::test]
async fn an_answer_from_a_clock_that_is_ahead_makes_no_approval_longer() {
    let bench = bench();
    let engine = bench.builder().build().unwrap();
    let (run, driver) = bench.ask(&engine).await;
    driver.abort();
    let policy = &bench.config.approval;
    let ahead = answer(&run, "ada", Says::Approve, bench.now() + Duration::from_secs(600));
    let event = Event::Answered { answer: ahead };
    let approved = run.apply(event, bench.now(), policy, None).unwrap().run;
    let Some(Ruling::Approved(approval)) =
        approved.ruling(policy, None, bench.now()).map(|decision| decision.ruling)
    else {
        panic!("one answer suffices");
    };
    assert_eq!(approval.expires_at(), bench.now() + policy.valid_for);

    // One that says itself that it came when the question was over is too late, to the nanosecond.
    let over = run.question.as_ref().unwrap().expires_at;
    let event = Event::Answered { answer: answer(&run, "ada", Says::Approve, over) };
    let still_asking = run.apply(event, bench.now(), policy, None).unwrap().run;
    assert_eq!((still_asking.state, still_asking.answers.len()), (State::Asking, 0));
}

/// Never answers, and counts how often it was tried.
#[derive(Clone, Default)]
struct Silent(Arc<AtomicUsize>);

impl Notifier for Silent {
    fn name(&self) -> &str {
        "silent"
    }
    fn send<'a>(&'a self, _: &'a Message) -> BoxFuture<'a, Result<(), SendError>> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Box::pin(std::future::pending())
    }
}

#[tokio::test]
async fn one_route_that_never_answers_is_waited_for_once_a_round() {
    let mut bench = bench();
    bench.config.delivery_timeout = Duration::from_millis(20);
    let (silent, lines, last) = (Silent::default(), Lines::default(), Lines::default());
    let engine = builder(&bench)
        .notifier(Arc::new(silent.clone()))
        .notifier(Arc::new(LineNotifier::new("log", Box::new(lines.clone()))))
        .last_resort(Arc::new(LineNotifier::new("last", Box::new(last.clone()))))
        .build()
        .unwrap();
    let run = engine.execute(bench.plan(&engine).await).await.unwrap();
    assert_eq!(run.ending(), Some(Ending::Succeeded));
    let first = engine.deliver().await.unwrap();
    let told = lines.messages().len();
    assert!(told > 1);
    assert_eq!(first, Delivered { sent: told, later: told, ..Delivered::default() });
    assert_eq!(silent.0.load(Ordering::SeqCst), 1, "not once for each message");
    // All of them reach the last resort as soon as the first does.
    for _ in 0..4 {
        bench.manual.advance(Duration::from_secs(20));
        engine.deliver().await.unwrap();
    }
    assert_eq!(silent.0.load(Ordering::SeqCst), 5);
    assert_eq!(last.messages().len(), told);
}

#[tokio::test]
async fn every_page_of_very_many_is_followed_and_forgotten_when_it_pages_nobody() {
    let mut bench = bench();
    let fails = vec![Reaction::Fails(StepError::failed("no")); 9];
    bench.executors =
        vec![Scripted::new("hands").on_run("act", fails.clone()).on_run("act/undo", fails)];
    let level = |route: &str| EscalationLevel {
        routes: vec![route.to_owned()],
        acknowledge_within: Duration::from_secs(60),
        hours: None,
    };
    bench.config.escalation =
        EscalationPolicy { levels: vec![level("one"), level("two")], repeats: 0 };
    let (one, two) = (Lines::default(), Lines::default());
    let engine = builder(&bench)
        .notifier(Arc::new(LineNotifier::new("one", Box::new(one.clone()))))
        .notifier(Arc::new(LineNotifier::new("two", Box::new(two.clone()))))
        .build()
        .unwrap();
    let run = engine.execute(bench.plan(&engine).await).await.unwrap();
    assert!(matches!(run.state, State::NeedsHuman { .. }), "{:?}", run.state);
    // As many more as a long bad night brings.
    let page = bench.store.scan(b"act/page/", None, 10).unwrap().remove(0);
    for n in 0..1_200 {
        let copy = Batch::new().put(format!("act/page/x{n:04}"), page.value.clone());
        bench.store.commit(copy).unwrap();
    }
    let pages = |lines: &Lines| {
        let needs = |m: &Message| m.kind == NoticeKind::NeedsHuman;
        lines.messages().into_iter().filter(needs).count()
    };
    engine.deliver().await.unwrap();
    assert_eq!(pages(&two), 0);
    let paged = pages(&one);
    bench.manual.advance(Duration::from_secs(60));
    engine.deliver().await.unwrap();
    assert!(paged > 0 && pages(&two) == paged, "{paged}, {}", pages(&two));
    let left = |bench: &Bench| bench.store.scan(b"act/page/", None, 2_000).unwrap();
    let second = left(&bench).iter().filter(|page| !contains(&page.value, "\"level\":1")).count();
    assert_eq!(second, 0, "all of them went on");
    // They stay as long as the run does.
    bench.manual.advance(Duration::from_secs(60));
    engine.deliver().await.unwrap();
    assert_eq!(left(&bench).len(), 1_201);
    engine.resolve(run.plan.run, "ada", Resolution::CloseAsBad).await.unwrap();
    engine.deliver().await.unwrap();
    assert!(left(&bench).is_empty());
}

fn contains(bytes: &[u8], text: &str) -> bool {
    String::from_utf8_lossy(bytes).contains(text)
}
