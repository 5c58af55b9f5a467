//! Random histories: the pure machine against a world that fails, lies, crashes and answers late.
//!
//! A hundred thousand in the long check, in slices (`AIOPS_HISTORIES=0..10000` and on), some in the
//! short one. A failure names its seed; the same seed is the same history.

use std::collections::BTreeMap;
use std::time::Duration;

use aiops_act::machine::{Do, Event, Resolution, StepStatus, UndoStatus};
use aiops_act::runbook::Idempotent;
use aiops_act::verify::Values;
use aiops_act::{
    ApprovalPolicy, Digest, GateReport, Output, Plan, Preview, Probe, Run, Runbook, Says, State,
    StepError, matcher,
};
use aiops_core::Timestamp;

use crate::common::{START, answer, runbook, situation};

/// A small generator (splitmix64), so that a seed is a history on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// A runbook of one to six steps with random properties.
fn random_runbook(random: &mut Random) -> Runbook {
    let mut text = "match: {services: [api]}\ntargets: {services: [api]}\n\
                    safety: {risk: 1, max_percent: 100}\n"
        .to_owned();
    let on_failure =
        ["rollback", "rollback", "rollback", "stop", "human"][random.below(5) as usize];
    text.push_str(&format!("on_failure: {on_failure}\n"));
    if random.chance(70) {
        text.push_str("verify: {metrics: {m: {metric: m}}, success_when: 'now.m < 1.0', fail_when: 'now.m > 2.0', count: 2, max_measurements: 5}\n");
    }
    text.push_str("steps:\n");
    for n in 0..=random.below(6) {
        let idempotent = ["false", "false", "true", "key"][random.below(4) as usize];
        let unknown = if random.chance(20) { "human" } else { "probe" };
        let undo = if random.chance(25) { "nothing" } else { "hands" };
        let needs = if n > 0 && random.chance(40) {
            format!("s{}", random.below(n))
        } else {
            String::new()
        };
        let tolerant = random.chance(15);
        let attempts = 1 + random.below(3);
        text.push_str(&format!(
            "- {{id: s{n}, uses: hands, idempotent: {idempotent}, on_unknown: {unknown}, needs: [{needs}], \
             continue_on_error: {tolerant}, retry: {{attempts: {attempts}, delay: 1s}}, undo: {{uses: {undo}}}}}\n"
        ));
    }
    runbook("random", &text)
}

/// What really happened to a key, which the machine does not see.
#[derive(Default)]
struct World {
    /// Calls begun, by key.
    begun: BTreeMap<Digest, u32>,
    /// Effects in place, by key.
    done: BTreeMap<Digest, bool>,
    /// Whether the last thing said of the key allowed another call.
    allowed: BTreeMap<Digest, bool>,
}

impl World {
    /// A call begins. It must be the first, or one that something made harmless.
    fn begin(&mut self, key: Digest, repeatable: bool, seed: u64) {
        let begun = self.begun.entry(key).or_default();
        let harmless = repeatable || self.allowed.get(&key).copied().unwrap_or(false);
        assert!(*begun == 0 || harmless, "seed {seed}: repeated blindly");
        *begun += 1;
        self.allowed.insert(key, false);
    }
}

fn random_end(random: &mut Random, world: &mut World, key: Digest) -> Result<Output, StepError> {
    match random.below(10) {
        0 => {
            world.allowed.insert(key, true);
            Err(StepError::not_started("busy"))
        }
        1 => Err(StepError::failed("broken")),
        2 | 3 => {
            // Nobody knows, and both are possible.
            let happened = random.chance(50);
            world.done.insert(key, happened);
            Err(StepError::unknown("lost"))
        }
        _ => {
            world.done.insert(key, true);
            Ok(Output::default())
        }
    }
}

fn probe(random: &mut Random, world: &mut World, key: Digest) -> Probe {
    if random.chance(30) {
        return Probe::CannotTell { reason: "who knows".to_owned() };
    }
    if world.done.get(&key).copied().unwrap_or(false) {
        return Probe::Done { output: Output::default() };
    }
    world.allowed.insert(key, true);
    Probe::NotDone
}

fn open_gates() -> GateReport {
    GateReport { checks: Vec::new() }
}

fn values(random: &mut Random) -> Values {
    let value = match random.below(6) {
        0 => None,
        1 => Some(3.0),
        2 => Some(1.5),
        _ => Some(0.5),
    };
    Values::from([("m".to_owned(), value)])
}

fn history(seed: u64, policy: &ApprovalPolicy) {
    let mut random = Random(seed);
    let runbook = random_runbook(&mut random);
    let situation = situation(&[("api", 0.9)]);
    let fit = matcher::fit(&runbook, &situation, None, START).unwrap();
    let plan = Plan::new(&fit, &situation, &BTreeMap::new(), "engine", START).unwrap();
    let (mut run, mut world) = (Run::new(plan), World::default());
    let mut now = START;
    let mut fence = 0;
    let mut decisions = 0;
    for transition in 0.. {
        assert!(transition < 400, "seed {seed}: it does not end: {:?}", run.state);
        now += Duration::from_millis(random.below(3_000));
        let due = run.due();
        if due == Do::Nothing {
            break;
        }
        // A crash: what was under way may or may not have happened; whoever comes next takes over.
        if random.chance(8) {
            let key = match due {
                Do::Run { step } => Some((run.key(step), repeatable(&run, step))),
                Do::Undo { step } => Some((run.undo_key(step), true)),
                _ => None,
            };
            if let Some((key, repeatable)) = key
                && random.chance(60)
            {
                world.begin(key, repeatable, seed);
                let happened = random.chance(70);
                world.done.insert(key, happened);
            }
            fence += 1;
            run = apply(&run, Event::TakenOver { fence }, now, policy, seed);
            continue;
        }
        // An event from nowhere changes nothing, or is a transition like any other.
        if random.chance(10) {
            let stray = [
                Event::Tick,
                Event::Answered { answer: answer(&run, "ada", Says::Approve, now) },
                Event::Done { step: 0, output: Output::default() },
                Event::Measured { values: Values::new() },
                Event::Undone { step: 0 },
            ];
            let stray = stray[random.below(3) as usize].clone();
            let is_due = matches!((&stray, due), (Event::Done { .. }, Do::Run { step: 0 }));
            if !is_due && let Err(_late) = run.apply(stray.clone(), now, policy, None) {
                continue;
            }
        }
        let event = match due {
            Do::CheckGates if run.state == State::Approved => {
                fence += 1;
                Event::Claimed { fence }
            }
            Do::CheckGates => Event::Gated { report: open_gates(), trusted: false },
            Do::Ask { until } => {
                if random.chance(5) {
                    now = until;
                    Event::Tick
                } else {
                    let says = if random.chance(5) { Says::Reject } else { Says::Approve };
                    Event::Answered { answer: answer(&run, "ada", says, now) }
                }
            }
            Do::Wait { until } => {
                now = now.max(until);
                Event::Tick
            }
            Do::Baseline => Event::Baselined { values: values(&mut random) },
            Do::Prepare { step } => match random.below(12) {
                0 => Event::Failed { step, error: StepError::not_started("not there") },
                1 => Event::Halted { why: "drill".to_owned() },
                _ => Event::Prepared { step, preview: Preview::default() },
            },
            Do::Run { step } => {
                let key = run.key(step);
                world.begin(key, repeatable(&run, step), seed);
                match random_end(&mut random, &mut world, key) {
                    Ok(output) => Event::Done { step, output },
                    Err(error) => Event::Failed { step, error },
                }
            }
            Do::Probe { step } => {
                let probe = probe(&mut random, &mut world, run.key(step));
                Event::Probed { step, probe }
            }
            Do::Undo { step } => {
                let key = run.undo_key(step);
                world.begin(key, true, seed);
                match random_end(&mut random, &mut world, key) {
                    Ok(_) => Event::Undone { step },
                    Err(error) => Event::UndoFailed { step, error },
                }
            }
            Do::ProbeUndo { step } => {
                let probe = probe(&mut random, &mut world, run.undo_key(step));
                Event::Probed { step, probe }
            }
            Do::Measure { at } => {
                now = now.max(at);
                Event::Measured { values: values(&mut random) }
            }
            Do::AwaitPerson => {
                decisions += 1;
                let all = [
                    Resolution::Happened,
                    Resolution::DidNotHappen,
                    Resolution::RollBack,
                    Resolution::CloseAsFixed,
                    Resolution::CloseAsBad,
                ];
                let pick = if decisions > 4 { 3 } else { random.below(5) as usize };
                let resolution = all[pick];
                if resolution == Resolution::DidNotHappen {
                    // A person knows; then it is no blind repetition.
                    world.allowed = world.allowed.keys().map(|k| (*k, true)).collect();
                }
                Event::Resolved { by: "ada".to_owned(), resolution }
            }
            Do::Nothing => unreachable!("the loop has ended"),
            other => panic!("seed {seed}: nobody knows how to {other:?}"),
        };
        if matches!(event, Event::Resolved { .. })
            && run.apply(event.clone(), now, policy, None).is_err()
        {
            continue; // not a decision for this state
        }
        run = apply(&run, event, now, policy, seed);
    }
}

fn repeatable(run: &Run, step: usize) -> bool {
    run.plan.runbook.document().steps[step].idempotent != Idempotent::No
}

/// Applies, and checks what must hold after every transition.
fn apply(run: &Run, event: Event, now: Timestamp, policy: &ApprovalPolicy, seed: u64) -> Run {
    let name = event.name();
    let next = run
        .apply(event, now, policy, None)
        .unwrap_or_else(|late| panic!("seed {seed}: {name} in {:?}: {late}", run.state))
        .run;
    assert_eq!(next.revision, run.revision + 1, "seed {seed}");
    assert!(
        !next.because.is_empty() || next.ending().is_none(),
        "seed {seed}: an end has a reason"
    );
    if next.started_at.is_some() {
        assert!(
            next.approved(policy, None, now).is_some(),
            "seed {seed}: nothing starts unapproved"
        );
    }
    for (index, step) in next.steps.iter().enumerate() {
        if step.undo == UndoStatus::Done {
            let touched = !matches!(step.status, StepStatus::Pending | StepStatus::Skipped);
            assert!(touched, "seed {seed}: undone and never done");
            assert!(
                next.plan.runbook.document().steps[index]
                    .undo
                    .as_ref()
                    .is_some_and(|u| u.uses != "nothing"),
                "seed {seed}"
            );
        }
    }
    // What is stored is what is read.
    if run.revision.is_multiple_of(16) {
        let text = serde_json::to_string(&next).unwrap();
        assert_eq!(serde_json::from_str::<Run>(&text).unwrap(), next, "seed {seed}");
    }
    next
}

/// Which histories: `AIOPS_HISTORIES=20000..30000`, a hundred thousand with `AIOPS_FULL`, else a few.
fn wanted() -> std::ops::Range<u64> {
    if let Ok(range) = std::env::var("AIOPS_HISTORIES") {
        let (from, to) = range.split_once("..").expect("from..to");
        return from.parse().unwrap()..to.parse().unwrap();
    }
    0..if std::env::var_os("AIOPS_FULL").is_some() { 100_000 } else { 1_500 }
}

#[test]
fn random_histories_end_and_repeat_nothing_blindly() {
    let policy = ApprovalPolicy::default().with_person("ada", &["oncall"]);
    let range = wanted();
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(4);
    std::thread::scope(|scope| {
        for first in 0..threads as u64 {
            let (range, policy) = (range.clone(), &policy);
            scope.spawn(move || {
                for seed in range.skip(first as usize).step_by(threads) {
                    history(seed, policy);
                }
            });
        }
    });
}
