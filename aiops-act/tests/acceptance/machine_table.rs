//! The state machine, row by row: which event does what in which state, on the very instant of each
//! deadline, and which events change nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use aiops_act::approve::Ruling;
use aiops_act::book::Closing;
use aiops_act::gates::{Gate, GateCheck};
use aiops_act::machine::{Do, Event, Late, NoticeKind, StepStatus, Stuck, Transition, UndoStatus};
use aiops_act::verify::Values;
use aiops_act::{
    Answer, ApprovalPolicy, Ending, GateReport, Output, Passage, Plan, Preview, Probe, Resolution,
    Run, Says, State, StepError, matcher,
};
use aiops_core::{Outcome, Reason, Timestamp};
use serde_json::json;

use crate::common::{START, answer, runbook, situation};

/// A run, moved by hand.
struct Table {
    run: Run,
    policy: ApprovalPolicy,
    now: Timestamp,
}

impl Table {
    /// A run that nothing happened to; `rest` ends the document.
    fn new(rest: &str) -> Table {
        let head = "match: {services: [api]}\ntargets: {services: [api]}\n";
        let runbook = runbook("table", &format!("{head}{rest}"));
        let situation = situation(&[("api", 0.9)]);
        let fit = matcher::fit(&runbook, &situation, None, START).unwrap();
        let plan = Plan::new(&fit, &situation, &BTreeMap::new(), "engine", START).unwrap();
        let policy = ApprovalPolicy::default().with_person("ada", &[]).with_person("grace", &[]);
        Table { run: Run::new(plan), policy, now: START }
    }

    /// The same, about to look before its first step.
    fn begun(rest: &str) -> Table {
        let mut table = Table::approved(rest);
        table.step(Event::Claimed { fence: 1 });
        table.step(Event::Baselined { values: values(1.0) });
        table
    }

    fn approved(rest: &str) -> Table {
        let mut table = Table::new(rest);
        table.step(gated(&[]));
        let yes = table.says("ada", Says::Approve);
        table.step(Event::Answered { answer: yes });
        assert_eq!(table.run.state, State::Approved);
        table
    }

    fn says(&self, by: &str, says: Says) -> Answer {
        answer(&self.run, by, says, self.now)
    }

    fn apply(&self, event: Event) -> Result<Transition, Late> {
        self.run.apply(event, self.now, &self.policy, None)
    }

    fn step(&mut self, event: Event) -> Transition {
        let before = self.run.revision;
        let transition = self.apply(event).unwrap();
        self.run = transition.run.clone();
        assert_eq!(self.run.revision, before + 1);
        transition
    }

    fn is_late(&self, event: Event) {
        let name = event.name();
        let late = self.apply(event).unwrap_err();
        assert!(late.reason.contains(&format!("`{name}` changes nothing")), "{late}");
    }

    /// Late until the instant `after` from now, and then not.
    fn comes_due_after(&mut self, after: Duration) -> Transition {
        let due = self.now + after;
        self.now = due - Duration::from_nanos(1);
        self.is_late(Event::Tick);
        self.now = due;
        self.step(Event::Tick)
    }

    fn look(&mut self, step: usize) -> Transition {
        self.step(Event::Prepared { step, preview: Preview::default() })
    }

    fn run(&mut self, step: usize) {
        self.look(step);
        self.step(Event::Done { step, output: Output::default() });
    }

    fn fail(&mut self, step: usize, error: StepError) -> Transition {
        self.step(Event::Failed { step, error })
    }

    fn codes(&self) -> Vec<&str> {
        self.run.because.iter().map(|reason| &*reason.code).collect()
    }
}

fn gated(answers: &[Passage]) -> Event {
    let check = |(n, passage): (usize, &Passage)| GateCheck {
        gate: Gate::Lease,
        passage: *passage,
        reason: Reason::new("because", format!("gate {n}")),
    };
    let checks = answers.iter().enumerate().map(check).collect();
    Event::Gated { report: GateReport { checks }, trusted: false }
}

fn values(value: f64) -> Values {
    Values::from([("m".to_owned(), Some(value))])
}

fn kinds(transition: &Transition) -> Vec<NoticeKind> {
    transition.notices.iter().map(|notice| notice.kind).collect()
}

fn unknown() -> StepError {
    StepError::unknown("lost")
}

const SECOND: Duration = Duration::from_secs(1);

/// Two writes that can be undone; the second needs the first.
const TWO: &str = "steps:
- {id: a, uses: hands, undo: {uses: hands}}
- {id: b, uses: hands, needs: [a], undo: {uses: hands}}
verify: {metrics: {m: {metric: m}}, success_when: now.m < 1.0, fail_when: now.m > 2.0, settle: 5s, interval: 7s, count: 2, failure_limit: 1, max_measurements: 3}
";

#[test]
fn what_another_step_reports_changes_nothing() {
    let other = 1;
    let mut table = Table::begun(TWO);
    table.is_late(Event::Prepared { step: other, preview: Preview::default() });
    table.is_late(Event::Failed { step: other, error: unknown() });
    table.look(0);
    table.is_late(Event::Done { step: other, output: Output::default() });
    table.is_late(Event::Failed { step: other, error: unknown() });
    table.fail(0, unknown());
    assert_eq!(table.run.due(), Do::Probe { step: 0 });
    table.is_late(Event::Probed { step: other, probe: Probe::NotDone });
    table.step(Event::Probed { step: 0, probe: Probe::Done { output: Output::default() } });
    table.look(1);
    table.fail(1, StepError::failed("no"));
    assert_eq!(table.run.due(), Do::Undo { step: 1 });
    table.is_late(Event::Undone { step: 0 });
    table.is_late(Event::UndoFailed { step: 0, error: unknown() });
    table.step(Event::UndoFailed { step: 1, error: unknown() });
    assert_eq!(table.run.due(), Do::ProbeUndo { step: 1 });
    table.is_late(Event::Probed { step: 0, probe: Probe::NotDone });
}

#[test]
fn every_wait_ends_on_its_instant_and_not_before() {
    // A question.
    let mut table = Table::new(&format!("safety: {{risk: 1, approvals: {{timeout: 90s}}}}\n{TWO}"));
    let asked = table.step(gated(&[]));
    assert_eq!(kinds(&asked), [NoticeKind::Question]);
    assert_eq!(table.run.due(), Do::Ask { until: START + 90 * SECOND });
    let over = table.comes_due_after(90 * SECOND);
    assert_eq!(table.run.ending(), Some(Ending::Expired));
    assert_eq!((kinds(&over), over.closing), (vec![NoticeKind::Ended], Some(Closing::Good)));
    // Something that was busy.
    let mut table = Table::approved(TWO);
    table.step(Event::Busy { reason: Reason::new("target_taken", "taken") });
    assert_eq!(table.codes(), ["target_taken"]);
    table.comes_due_after(15 * SECOND);
    assert_eq!(table.run.state, State::Approved);
    // A pause between attempts: it doubles, up to ten minutes.
    let retry = "steps:\n- {id: a, uses: hands, idempotent: true, retry: {attempts: 5, delay: 200s}, undo: {uses: hands}}\n";
    let mut table = Table::begun(retry);
    for (attempt, pause) in [(1, 200), (2, 400), (3, 600), (4, 600)] {
        table.look(0);
        table.fail(0, StepError::failed("no"));
        assert_eq!(table.run.steps[0].attempts, attempt);
        table.comes_due_after(pause * SECOND);
        assert_eq!(table.run.due(), Do::Prepare { step: 0 });
    }
    table.look(0);
    let last = table.fail(0, StepError::failed("no"));
    assert_eq!(table.run.due(), Do::Undo { step: 0 }, "the fifth was the last attempt");
    assert_eq!((kinds(&last), last.closing), (vec![NoticeKind::RollingBack], Some(Closing::Bad)));
    // A pause between attempts at an undo.
    table.step(Event::UndoFailed { step: 0, error: StepError::not_started("busy") });
    table.comes_due_after(2 * SECOND);
    assert_eq!(table.run.due(), Do::Undo { step: 0 });
}

#[test]
fn the_first_gates_refuse_propose_or_ask() {
    for (gates, ending, kind) in [
        (&[Passage::Wait, Passage::Refuse][..], Ending::Refused, NoticeKind::Refused),
        (&[Passage::Propose, Passage::Wait], Ending::Proposed, NoticeKind::Proposal),
    ] {
        let mut table = Table::new(TWO);
        let ended = table.step(gated(gates));
        assert_eq!((table.run.ending(), kinds(&ended)), (Some(ending), vec![kind]));
        assert_eq!(table.codes(), ["because"]);
    }
    let mut table = Table::new(TWO);
    table.step(gated(&[Passage::Wait]));
    assert_eq!(table.run.state, State::Asking, "not now is no reason not to ask");
    assert_eq!(table.codes(), ["waiting"]);
    table.is_late(gated(&[]));
}

#[test]
fn the_gates_after_the_approval_refuse_propose_wait_or_let_it_through() {
    for (gates, ending) in
        [(Passage::Refuse, Ending::Refused), (Passage::Propose, Ending::Proposed)]
    {
        let mut table = Table::approved(TWO);
        table.step(gated(&[gates]));
        assert_eq!(table.run.ending(), Some(ending));
    }
    let mut table = Table::approved(TWO);
    table.step(gated(&[Passage::Wait]));
    assert_eq!(table.run.due(), Do::Wait { until: START + 15 * SECOND });
    let mut table = Table::approved(TWO);
    table.step(gated(&[Passage::Open]));
    assert_eq!(table.run.state, State::Approved);
    // An approval that is too old lets nothing through, whichever comes first.
    for event in [gated(&[Passage::Open]), Event::Claimed { fence: 3 }] {
        let mut table = Table::approved(TWO);
        table.now += Duration::from_secs(10 * 24 * 3_600);
        table.step(event);
        assert_eq!(table.run.ending(), Some(Ending::Expired));
        assert_eq!(table.codes(), ["approval_expired"]);
    }
    let mut table = Table::approved(TWO);
    assert!(!table.run.holds_lease());
    let started = table.step(Event::Claimed { fence: 9 });
    assert_eq!(kinds(&started), [NoticeKind::Started]);
    assert_eq!((table.run.fence, table.run.started_at), (9, Some(START)));
    assert!(table.run.holds_lease());
}

#[test]
fn answers_that_do_not_count_are_dropped_and_remarked() {
    let mut table = Table::new(&format!("safety: {{risk: 1, approvals: {{count: 2}}}}\n{TWO}"));
    table.step(gated(&[]));
    let no = table.says("mallory", Says::Reject);
    let refused = table.step(Event::Answered { answer: no });
    let [remark] = refused.remarks.as_slice() else { panic!("{:?}", refused.remarks) };
    assert_eq!(remark.code, "unknown_person");
    assert!(table.run.answers.is_empty());
    assert_eq!(table.run.state, State::Asking);
    let yes = table.says("ada", Says::Approve);
    table.step(Event::Answered { answer: yes });
    assert_eq!(table.run.because[0].sentence, "1 of 2 approvals");
    let yes = table.says("grace", Says::Approve);
    table.step(Event::Answered { answer: yes });
    assert_eq!(table.run.because[0].sentence, "approved by ada, grace");
    assert!(matches!(
        table.run.ruling(&table.policy, None, START).unwrap().ruling,
        Ruling::Approved(_)
    ));

    let mut table = Table::new(TWO);
    table.step(gated(&[]));
    let mut no = table.says("ada", Says::Reject);
    no.comment = "not on a Friday".to_owned();
    let ended = table.step(Event::Answered { answer: no });
    assert_eq!(table.run.ending(), Some(Ending::Rejected));
    assert_eq!(table.run.because[0].sentence, "rejected by ada: not on a Friday");
    assert_eq!(kinds(&ended), [NoticeKind::Ended]);
}

#[test]
fn silence_is_escalated_where_the_document_says_so() {
    let rest =
        format!("safety: {{risk: 1, approvals: {{timeout: 1m, on_timeout: escalate}}}}\n{TWO}");
    let mut table = Table::new(&rest);
    table.step(gated(&[]));
    let over = table.comes_due_after(60 * SECOND);
    assert_eq!(kinds(&over), [NoticeKind::Ended, NoticeKind::NeedsHuman]);
}

#[test]
fn what_has_not_begun_can_be_cancelled() {
    let cancelled = || Event::Cancelled { by: "ada".to_owned() };
    let mut asking = Table::new(TWO);
    asking.step(gated(&[]));
    let mut waiting = Table::approved(TWO);
    waiting.step(gated(&[Passage::Wait]));
    for mut table in [Table::new(TWO), asking, Table::approved(TWO), waiting] {
        table.step(cancelled());
        assert_eq!(table.run.ending(), Some(Ending::Cancelled));
        assert_eq!(table.run.because[0].sentence, "cancelled by ada");
        table.is_late(cancelled());
    }
    Table::begun(TWO).is_late(cancelled());
}

#[test]
fn steps_are_skipped_for_their_needs_and_conditions() {
    let rest = "steps:
- {id: a, uses: hands, if: 1 > 2, undo: {uses: hands}}
- {id: b, uses: hands, needs: [a], undo: {uses: hands}}
- {id: c, uses: hands, if: \"steps.a.status == 'skipped'\", undo: {uses: hands}}
- {id: d, uses: hands, needs: [c], undo: {uses: hands}}
";
    let mut table = Table::begun(rest);
    assert_eq!(table.run.due(), Do::Prepare { step: 2 });
    table.run(2);
    assert_eq!(table.run.due(), Do::Prepare { step: 3 });
    let statuses: Vec<StepStatus> = table.run.steps.iter().map(|step| step.status).collect();
    use StepStatus::{Active, Skipped, Succeeded};
    assert_eq!(statuses, [Skipped, Skipped, Succeeded, Active]);
}

#[test]
fn what_cannot_be_judged_or_filled_in_fails_before_it_starts() {
    for step in [
        "{id: a, uses: hands, if: steps.a.outputs.x == 1, undo: {uses: hands}}",
        "{id: a, uses: hands, with: {n: '${{ steps.a.outputs.x }}'}, undo: {uses: hands}}",
    ] {
        let table = Table::begun(&format!("steps:\n- {step}\n"));
        assert_eq!(table.run.steps[0].status, StepStatus::Failed, "{step}");
        assert!(matches!(table.run.steps[0].error, Some(StepError::NotStarted { .. })));
        assert_eq!(table.run.ending(), Some(Ending::RolledBack), "nothing to undo");
    }
}

#[test]
fn a_precheck_has_to_hold_and_is_not_tried_again() {
    for (precheck, runs) in [("1 < 2", true), ("1 > 2", false), ("steps.a.outputs.x == 1", false)] {
        let rest = format!(
            "steps:\n- {{id: a, uses: hands, precheck: {precheck}, retry: {{attempts: 3, delay: 1s}}, undo: {{uses: hands}}}}\n"
        );
        let mut table = Table::begun(&rest);
        table.look(0);
        assert_eq!(table.run.state == State::Running { step: 0 }, runs, "{precheck}");
        assert_eq!(table.run.ending() == Some(Ending::RolledBack), !runs, "{precheck}");
    }
}

#[test]
fn only_what_is_harmless_is_tried_again() {
    let step = |idempotent: &str| {
        format!(
            "steps:\n- {{id: a, uses: hands, idempotent: {idempotent}, retry: {{attempts: 2, delay: 1s}}, undo: {{uses: hands}}}}\n"
        )
    };
    for (idempotent, error, again) in [
        ("false", StepError::failed("no"), false),
        ("false", StepError::not_started("busy"), true),
        ("true", StepError::failed("no"), true),
    ] {
        let mut table = Table::begun(&step(idempotent));
        table.look(0);
        table.fail(0, error);
        let pauses = matches!(table.run.state, State::Pausing { .. });
        assert_eq!(pauses, again, "{idempotent}: {:?}", table.run.state);
    }
    // A look changes nothing, so whatever became of it may be tried again.
    for error in [StepError::failed("no"), unknown()] {
        let mut table = Table::begun(&step("false"));
        table.fail(0, error);
        assert!(matches!(table.run.state, State::Pausing { step: 0, .. }));
        assert!(matches!(table.run.steps[0].error, Some(StepError::NotStarted { .. })));
    }
}

#[test]
fn an_outcome_that_nobody_knows_is_probed_three_times_at_most() {
    let mut table = Table::begun(TWO);
    table.look(0);
    for n in 1..=3 {
        table.fail(0, unknown());
        assert_eq!(
            (table.run.steps[0].unknowns, table.run.steps[0].status),
            (n, StepStatus::Unknown)
        );
        assert_eq!(table.codes(), ["step_unknown"]);
        if n < 3 {
            table.step(Event::Probed { step: 0, probe: Probe::NotDone });
            assert_eq!(table.run.state, State::Running { step: 0 });
            assert_eq!(table.run.steps[0].status, StepStatus::Active);
            assert_eq!(table.run.steps[0].attempts, n + 1);
        }
    }
    let lost = table.step(Event::Probed { step: 0, probe: Probe::NotDone });
    assert_eq!(table.run.state, State::NeedsHuman { over: Stuck::Step { step: 0 } });
    assert_eq!((table.codes(), kinds(&lost)), (vec!["step_lost"], vec![NoticeKind::NeedsHuman]));
    assert_eq!(lost.closing, Some(Closing::Bad));
    // Nobody can tell: only what may be repeated is.
    let cannot = || Event::Probed { step: 0, probe: Probe::CannotTell { reason: "?".to_owned() } };
    let mut table = Table::begun(TWO);
    table.look(0);
    table.fail(0, unknown());
    table.step(cannot());
    assert_eq!(table.run.state, State::NeedsHuman { over: Stuck::Step { step: 0 } });
    let mut table =
        Table::begun("steps:\n- {id: a, uses: hands, idempotent: key, undo: {uses: hands}}\n");
    table.look(0);
    for state in [State::Running { step: 0 }; 2] {
        table.fail(0, unknown());
        table.step(cannot());
        assert_eq!(table.run.state, state);
    }
    table.fail(0, unknown());
    table.step(cannot());
    assert_eq!(table.run.state, State::NeedsHuman { over: Stuck::Step { step: 0 } });
    // Some documents want a person at once.
    let mut table =
        Table::begun("steps:\n- {id: a, uses: hands, on_unknown: human, undo: {uses: hands}}\n");
    table.look(0);
    table.fail(0, unknown());
    assert_eq!(table.run.state, State::NeedsHuman { over: Stuck::Step { step: 0 } });
}

#[test]
fn outputs_are_kept_and_a_missing_one_is_a_failure_that_is_undone() {
    let rest = "steps:\n- {id: a, uses: hands, outputs: {x: /x, y: /y}, undo: {uses: hands}}\n";
    let done = |value| Event::Done { step: 0, output: Output { value, log: None } };
    let mut table = Table::begun(rest);
    table.look(0);
    table.step(done(json!({"x": 1, "y": 2})));
    assert_eq!(json!(table.run.steps[0].outputs), json!({"x": 1, "y": 2}));
    assert_eq!(table.run.steps[0].error, None);
    let mut table = Table::begun(rest);
    table.look(0);
    table.step(done(json!({"x": 1})));
    assert_eq!(table.run.steps[0].status, StepStatus::Failed);
    assert_eq!(table.run.due(), Do::Undo { step: 0 });
}

#[test]
fn a_tolerated_failure_is_remarked_passed_over_and_not_undone() {
    let rest = "steps:
- {id: a, uses: hands, continue_on_error: true, undo: {uses: hands}}
- {id: b, uses: hands, undo: {uses: nothing}}
- {id: c, uses: hands, undo: {uses: hands}}
";
    let mut table = Table::begun(rest);
    table.look(0);
    let failed = table.fail(0, StepError::failed("no"));
    assert_eq!((failed.closing, failed.remarks[0].code.as_ref()), (None, "step_failed"));
    assert_eq!(table.run.due(), Do::Prepare { step: 1 });
    table.run(1);
    table.look(2);
    table.fail(2, StepError::failed("no"));
    assert_eq!(table.run.due(), Do::Undo { step: 2 });
    table.step(Event::Undone { step: 2 });
    assert_eq!(table.run.ending(), Some(Ending::RolledBack));
    assert_eq!(table.run.steps[0].undo, UndoStatus::Pending);
}

#[test]
fn what_failed_before_it_started_is_not_undone() {
    let mut table = Table::begun(TWO);
    table.run(0);
    table.look(1);
    table.fail(1, StepError::not_started("busy"));
    assert_eq!(table.run.due(), Do::Undo { step: 0 }, "the second never began");
    assert_eq!(table.run.steps[1].undo, UndoStatus::Pending);
}

#[test]
fn the_document_says_what_follows_a_failure() {
    for (on_failure, state, kind) in [
        ("stop", State::Ended { ending: Ending::Failed }, NoticeKind::NeedsHuman),
        ("human", State::NeedsHuman { over: Stuck::Failure }, NoticeKind::NeedsHuman),
        ("rollback", State::Undoing { step: 0 }, NoticeKind::RollingBack),
    ] {
        let mut table = Table::begun(&format!("on_failure: {on_failure}\n{TWO}"));
        table.look(0);
        let failed = table.fail(0, StepError::failed("no"));
        assert_eq!((table.run.state, kinds(&failed)), (state, vec![kind]));
        assert_eq!(failed.closing, Some(Closing::Bad));
        assert!(failed.notices[0].title.starts_with("table on api "), "{:?}", failed.notices);
    }
}

#[test]
fn what_is_measured_ends_the_run_rolls_it_back_or_asks_a_person() {
    let measured = |value| Event::Measured { values: values(value) };
    let verifying = || {
        let mut table = Table::begun(TWO);
        table.run(0);
        table.run(1);
        assert_eq!(table.run.due(), Do::Measure { at: table.now + 5 * SECOND });
        table
    };
    let mut table = verifying();
    table.step(measured(0.5));
    assert_eq!(table.run.due(), Do::Measure { at: table.now + 7 * SECOND });
    let ended = table.step(measured(0.5));
    assert_eq!(
        (table.run.ending(), table.run.outcome),
        (Some(Ending::Succeeded), Some(Outcome::Ok))
    );
    assert_eq!((kinds(&ended), ended.closing), (vec![NoticeKind::Succeeded], Some(Closing::Good)));
    let mut table = verifying();
    table.step(measured(3.0));
    assert!(matches!(table.run.state, State::Verifying { .. }), "one bad one is tolerated");
    let worse = table.step(measured(3.0));
    assert_eq!((table.run.due(), worse.closing), (Do::Undo { step: 1 }, Some(Closing::Worse)));
    table.step(Event::Undone { step: 1 });
    assert_eq!(table.run.steps[1].undo, UndoStatus::Done);
    let back = table.step(Event::Undone { step: 0 });
    assert_eq!(
        (table.run.ending(), kinds(&back)),
        (Some(Ending::RolledBack), vec![NoticeKind::NeedsHuman])
    );
    assert_eq!(back.closing, Some(Closing::Bad));
    let mut table = verifying();
    for _ in 0..3 {
        table.step(measured(f64::NAN));
    }
    assert_eq!(table.run.state, State::NeedsHuman { over: Stuck::Verdict });
    // Nothing to verify by: fine for what only reads, a person's matter for what writes.
    let mut table = Table::begun("steps:\n- {id: a, uses: hands, undo: {uses: hands}}\n");
    table.run(0);
    assert_eq!(table.run.state, State::NeedsHuman { over: Stuck::Verdict });
    assert_eq!(
        (table.run.outcome, table.codes()),
        (Some(Outcome::Inconclusive), vec!["unverified"])
    );
    let mut table =
        Table::approved("safety: {risk: 1}\nsteps:\n- {id: a, uses: hands, effect: read}\n");
    table.step(Event::Claimed { fence: 1 });
    table.step(Event::Baselined { values: values(1.0) });
    table.run(0);
    assert_eq!(table.run.ending(), Some(Ending::Completed));
}

#[test]
fn an_undo_is_tried_three_times_if_that_is_harmless() {
    let failing = |idempotent: &str| {
        let mut table = Table::begun(&format!(
            "steps:\n- {{id: a, uses: hands, undo: {{uses: hands, idempotent: {idempotent}}}}}\n"
        ));
        table.look(0);
        table.fail(0, StepError::failed("no"));
        table
    };
    let undo_failed = |error| Event::UndoFailed { step: 0, error };
    for (idempotent, error, tries) in [
        ("false", StepError::not_started("busy"), 3),
        ("true", StepError::failed("no"), 3),
        ("false", StepError::failed("no"), 1),
    ] {
        let mut table = failing(idempotent);
        for n in 1..tries {
            assert_eq!(table.run.steps[0].undo_attempts, n);
            table.step(undo_failed(error.clone()));
            table.comes_due_after(2 * SECOND);
        }
        let given_up = table.step(undo_failed(error));
        assert_eq!(table.run.state, State::NeedsHuman { over: Stuck::Rollback });
        assert_eq!(table.run.steps[0].undo, UndoStatus::Failed);
        assert_eq!(given_up.closing, Some(Closing::Worse));
        assert_eq!(table.codes(), ["undo_failed", "rollback_failed"]);
    }
    // An undo that nobody knows of is probed, and repeated where that is harmless.
    for (idempotent, probe, state) in [
        ("false", Probe::NotDone, State::Undoing { step: 0 }),
        ("true", Probe::CannotTell { reason: String::new() }, State::Undoing { step: 0 }),
        (
            "false",
            Probe::CannotTell { reason: String::new() },
            State::NeedsHuman { over: Stuck::Rollback },
        ),
        (
            "false",
            Probe::Done { output: Output::default() },
            State::Ended { ending: Ending::RolledBack },
        ),
    ] {
        let mut table = failing(idempotent);
        table.step(undo_failed(unknown()));
        table.step(Event::Probed { step: 0, probe });
        assert_eq!(table.run.state, state);
    }
    for probe in [Probe::NotDone, Probe::CannotTell { reason: String::new() }] {
        let mut table = failing("true");
        for _ in 1..3 {
            table.step(undo_failed(unknown()));
            table.step(Event::Probed { step: 0, probe: probe.clone() });
            assert_eq!(table.run.due(), Do::Undo { step: 0 });
        }
        table.step(undo_failed(unknown()));
        table.step(Event::Probed { step: 0, probe });
        assert_eq!(table.run.state, State::NeedsHuman { over: Stuck::Rollback });
    }
}

#[test]
fn what_rests_on_a_failed_undo_stays_and_the_rest_is_undone() {
    let rest = "steps:
- {id: a, uses: hands, undo: {uses: hands}}
- {id: other, uses: hands, undo: {uses: hands}}
- {id: b, uses: hands, needs: [a], undo: {uses: nothing}}
- {id: c, uses: hands, needs: [b], undo: {uses: hands, idempotent: false}}
- {id: d, uses: hands, undo: {uses: hands}}
";
    let mut table = Table::begun(rest);
    (0..4).for_each(|step| table.run(step));
    table.look(4);
    table.fail(4, StepError::failed("no"));
    table.step(Event::Undone { step: 4 });
    assert_eq!(table.run.due(), Do::Undo { step: 3 });
    table.step(Event::UndoFailed { step: 3, error: StepError::failed("no") });
    assert_eq!(table.run.due(), Do::Undo { step: 1 }, "the other one rests on nothing");
    table.step(Event::Undone { step: 1 });
    assert_eq!(table.run.steps[0].undo, UndoStatus::Blocked, "c needs b, b needs a");
    assert_eq!(table.run.state, State::NeedsHuman { over: Stuck::Rollback });
    // A person asks for another try: what was undone is not undone twice.
    let again = Event::Resolved { by: "ada".to_owned(), resolution: Resolution::RollBack };
    table.step(again);
    table.step(Event::Tick);
    assert_eq!(table.run.due(), Do::Undo { step: 3 });
    assert_eq!(table.run.steps[3].undo_attempts, 1, "counted anew");
    table.step(Event::Undone { step: 3 });
    assert_eq!(table.run.due(), Do::Undo { step: 0 });
    table.step(Event::Undone { step: 0 });
    assert_eq!(table.run.ending(), Some(Ending::RolledBack));
}

#[test]
fn an_undo_is_called_with_its_own_limit_and_what_was_there_before() {
    let rest = "steps:
- {id: a, uses: hands, with: {n: 1}, timeout: 3s, undo: {uses: self, timeout: 9s}}
- {id: b, uses: hands, timeout: 3s, undo: {uses: hands, timeout: 8s, with: {n: '${{ before.n }}'}}}
";
    let mut table = Table::begun(rest);
    table.run(0);
    let preview = Preview { summary: String::new(), before: json!({"n": 7}) };
    table.step(Event::Prepared { step: 1, preview });
    table.fail(1, StepError::failed("no"));
    let call = table.run.steps[1].undo_call.clone().unwrap();
    assert_eq!((call.step.as_str(), call.timeout), ("b/undo", 8 * SECOND));
    assert_eq!(json!(call.with), json!({"n": 7}));
    table.step(Event::Undone { step: 1 });
    let call = table.run.steps[0].undo_call.clone().unwrap();
    assert_eq!((call.step.as_str(), call.timeout), ("a", 9 * SECOND));
    assert_eq!(json!(call.with), json!({"n": 1}));
    // What cannot be filled in cannot be undone.
    let rest =
        "steps:\n- {id: a, uses: hands, undo: {uses: hands, with: {n: '${{ before.n }}'}}}\n";
    let mut table = Table::begun(rest);
    table.look(0);
    table.fail(0, StepError::failed("no"));
    assert_eq!(table.run.state, State::NeedsHuman { over: Stuck::Rollback });
    assert_eq!(table.codes(), ["step_failed", "undo_failed", "rollback_failed"]);
}

#[test]
fn a_person_decides_what_only_a_person_can() {
    let decides = |resolution| Event::Resolved { by: "ada".to_owned(), resolution };
    let in_doubt = || {
        let mut table =
            Table::begun(&TWO.replacen("uses: hands", "uses: hands, on_unknown: human", 1));
        table.look(0);
        table.fail(0, unknown());
        table
    };
    let mut table = in_doubt();
    table.step(decides(Resolution::Happened));
    assert_eq!(table.run.due(), Do::Prepare { step: 1 });
    let mut table = in_doubt();
    table.step(decides(Resolution::DidNotHappen));
    // Whoever records a decision begins nothing: that is the driver's, who knows when it did.
    let at_once = Do::Wait { until: START };
    assert_eq!((table.run.due(), table.run.steps[0].unknowns), (at_once, 0));
    assert_eq!(table.codes(), ["resolved"]);
    table.step(Event::Tick);
    table.look(0);
    assert_eq!((table.run.due(), table.run.steps[0].attempts), (Do::Run { step: 0 }, 2));
    let mut table = in_doubt();
    table.step(decides(Resolution::RollBack));
    assert_eq!(table.run.due(), at_once);
    table.step(Event::Tick);
    assert_eq!((table.run.due(), table.run.steps[0].undo_attempts), (Do::Undo { step: 0 }, 1));
    for (resolution, closing) in
        [(Resolution::CloseAsFixed, Closing::Good), (Resolution::CloseAsBad, Closing::Bad)]
    {
        let mut table = in_doubt();
        let closed = table.step(decides(resolution));
        assert_eq!(table.run.ending(), Some(Ending::ClosedByPerson));
        assert_eq!(closed.closing, Some(closing));
        assert!(!table.run.holds_lease());
    }
    let mut table = Table::begun("steps:\n- {id: a, uses: hands, undo: {uses: hands}}\n");
    table.run(0);
    for resolution in [Resolution::Happened, Resolution::DidNotHappen] {
        let late = table.apply(decides(resolution)).unwrap_err();
        assert!(late.reason.starts_with("no step is in question"), "{late}");
    }
    Table::begun(TWO).is_late(decides(Resolution::RollBack));
}

#[test]
fn a_take_over_doubts_what_was_under_way_and_nothing_else() {
    let taken = |fence| Event::TakenOver { fence };
    let mut table = Table::begun(TWO);
    table.step(taken(2));
    assert_eq!((table.run.due(), table.run.fence), (Do::Prepare { step: 0 }, 2));
    table.look(0);
    table.step(taken(3));
    assert_eq!(table.run.due(), Do::Probe { step: 0 });
    assert_eq!(table.run.steps[0].unknowns, 1);
    table.step(taken(4));
    assert_eq!(table.run.steps[0].unknowns, 1, "it is in doubt already");
    assert_eq!(
        table.codes(),
        ["step_unknown", "taken_over"],
        "the reason stays, the news do not pile up"
    );
    table.step(Event::Probed { step: 0, probe: Probe::Done { output: Output::default() } });
    table.look(1);
    table.fail(1, StepError::failed("no"));
    table.step(taken(5));
    assert_eq!(table.run.due(), Do::ProbeUndo { step: 1 });
    assert_eq!(
        table.run.steps[1].error,
        Some(StepError::unknown("the engine stopped while it ran"))
    );
    let mut table = Table::new(TWO);
    table.step(gated(&[Passage::Refuse]));
    table.is_late(taken(6));
}

#[test]
fn the_kill_switch_stops_before_an_effect_and_not_in_one() {
    let halted = || Event::Halted { why: "fire drill".to_owned() };
    let mut table = Table::begun(TWO);
    table.step(halted());
    assert_eq!(table.run.state, State::NeedsHuman { over: Stuck::Halted });
    assert_eq!(table.codes(), ["halted"]);
    let mut table = Table::begun(TWO);
    table.run(0);
    table.look(1);
    table.is_late(halted());
    table.fail(1, StepError::failed("no"));
    table.step(Event::Undone { step: 1 });
    table.step(halted());
    let undos: Vec<UndoStatus> = table.run.steps.iter().map(|step| step.undo).collect();
    assert_eq!(undos, [UndoStatus::Pending, UndoStatus::Done], "still to be done, and done");
    let go_on = Event::Resolved { by: "ada".to_owned(), resolution: Resolution::RollBack };
    table.step(go_on);
    table.step(Event::Tick);
    assert_eq!(table.run.due(), Do::Undo { step: 0 });
    // What was probed and not begun again.
    let mut table = Table::begun(TWO);
    table.look(0);
    table.fail(0, unknown());
    table.step(halted());
    assert_eq!(table.run.state, State::NeedsHuman { over: Stuck::Halted });
    assert_eq!(table.run.steps[0].status, StepStatus::Unknown, "it may have happened");
}
