//! What the long tests do not look at: the single conditions of the policy, the audit and the gates.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use aiops_act::approve::Ruling;
use aiops_act::audit::Head;
use aiops_act::escalate::{EscalationLevel, EscalationPolicy};
use aiops_act::executor::scripted::{Reaction, Scripted};
use aiops_act::machine::NoticeKind;
use aiops_act::{
    ApprovalPolicy, Digest, Error, GateConfig, Plan, Resolution, Runbook, Says, State,
    match_runbooks,
};

use crate::common::{Bench, START, answer, library_of, one_write, runbook, shop, situation};

fn plan_of(runbook: Runbook) -> Plan {
    let situation = situation(&[("api", 0.9)]);
    let library = library_of([runbook]);
    let matches = match_runbooks(&library, &situation, &BTreeMap::new(), START);
    let fit = matches.best().unwrap();
    let mut plan = Plan::new(fit, &situation, &BTreeMap::new(), "engine", START).unwrap();
    plan.measure_blast(&shop(START), Duration::from_secs(300), START);
    plan
}

fn reading(approvals: &str) -> Plan {
    plan_of(runbook(
        "read",
        &format!(
            "match: {{services: [api]}}\ntargets: {{services: [api]}}\n\
             safety: {{risk: 0, max_percent: 100, approvals: {approvals}}}\n\
             steps:\n  - {{id: look, uses: hands, effect: read}}\n"
        ),
    ))
}

fn writing() -> Plan {
    plan_of(crate::common::one_write("one", "approvals: {count: 2}"))
}

#[test]
fn reading_asks_nobody_unless_its_document_insists_on_roles() {
    let policy = ApprovalPolicy::default();
    let free = policy.question(&reading("{count: 1}"), None, START);
    assert_eq!((free.count, free.earned), (0, false));
    let insists = policy.question(&reading("{count: 1, roles: [lead]}"), None, START);
    assert_eq!(insists.count, 1, "the document says who has to be asked");
    let writes = policy.question(&writing(), None, START);
    assert_eq!(writes.count, 2, "and a plan that writes is never free");
}

#[test]
fn an_approval_says_who_gave_it_and_until_when_it_holds() {
    let policy = ApprovalPolicy { valid_for: Duration::from_secs(60), ..ApprovalPolicy::default() }
        .with_person("ada", &[])
        .with_person("grace", &[]);
    let plan = writing();
    let question = policy.question(&plan, None, START);
    let run = aiops_act::Run::new(plan);
    let given: Vec<_> = ["ada", "grace"]
        .into_iter()
        .zip([START, START + Duration::from_secs(5)])
        .map(|(by, at)| answer(&run, by, Says::Approve, at))
        .collect();
    let Ruling::Waiting { have, need } = policy.decide(&question, &given[..1], None, START).ruling
    else {
        panic!("one of two is not enough");
    };
    assert_eq!((have, need), (1, 2));
    let Ruling::Approved(approval) = policy.decide(&question, &given, None, START).ruling else {
        panic!("two are");
    };
    assert_eq!(approval.by(), ["ada", "grace"]);
    assert_eq!(approval.expires_at(), START + Duration::from_secs(65), "from the last answer on");
}

#[test]
fn what_comes_after_a_rejection_is_refused_and_the_rejection_is_not() {
    let policy = ApprovalPolicy::default().with_person("ada", &[]).with_person("grace", &[]);
    let plan = writing();
    let question = policy.question(&plan, None, START);
    let run = aiops_act::Run::new(plan);
    let given = [
        answer(&run, "mallory", Says::Approve, START),
        answer(&run, "ada", Says::Reject, START),
        answer(&run, "grace", Says::Approve, START),
    ];
    let decision = policy.decide(&question, &given, None, START);
    assert!(matches!(decision.ruling, Ruling::Rejected { by, .. } if by == "ada"));
    let refused: Vec<(usize, &str)> =
        decision.refused.iter().map(|(index, reason)| (*index, &*reason.code)).collect();
    assert_eq!(refused, [(0, "unknown_person"), (2, "too_late")]);
}

#[test]
fn a_head_is_written_as_its_number_and_hash() {
    let head = Head { next: 7, hash: Digest::of_bytes(b"x") };
    assert_eq!(head.to_string(), format!("7:{}", Digest::of_bytes(b"x")));
}

#[test]
fn what_gates_are_built_with_is_what_they_go_by() {
    let own: BTreeSet<String> = ["postgres".to_owned()].into();
    let mut config = GateConfig { self_exclusion: own.clone(), ..GateConfig::default() };
    config.limits.max_concurrent = 9;
    let built = config.clone().build().unwrap();
    assert_eq!(built, config);
    config.max_topology_age = Duration::ZERO;
    assert!(config.build().is_err());
    let mut none = GateConfig::default();
    none.limits.max_per_hour = 0;
    assert!(none.build().is_err());
}

#[tokio::test]
async fn the_audit_says_who_answered_decided_cancelled_or_took_a_page() {
    let library = library_of([one_write("one", "approvals: {count: 1}")]);
    let mut bench = Bench::with_library(situation(&[("api", 0.9)]), library);
    let fails = vec![Reaction::Fails(aiops_act::StepError::failed("no")); 9];
    bench.executors =
        vec![Scripted::new("hands").on_run("act", fails.clone()).on_run("act/undo", fails)];
    let level = EscalationLevel {
        routes: vec!["log".to_owned()],
        acknowledge_within: Duration::from_secs(60),
        hours: None,
    };
    bench.config.escalation = EscalationPolicy { levels: vec![level], repeats: 0 };
    let lines = crate::common::Lines::default();
    let engine = bench
        .builder()
        .notifier(Arc::new(aiops_act::LineNotifier::new("log", Box::new(lines.clone()))))
        .build()
        .unwrap();
    let (run, driver) = bench.ask(&engine).await;
    let id = run.plan.run;
    // The incident has a run already, and the refusal says which.
    bench.manual.advance(Duration::from_secs(1));
    let second = bench.plan(&engine).await;
    assert_ne!(second.run, id);
    assert!(
        matches!(engine.submit(second).await, Err(Error::AlreadyActive(active)) if active == id)
    );
    let mut yes = answer(&run, "ada", Says::Approve, bench.now());
    yes.comment = "go".to_owned();
    engine.answer(id, yes).await.unwrap();
    let run = driver.await.unwrap().unwrap();
    assert!(matches!(run.state, State::NeedsHuman { .. }), "{:?}", run.state);
    engine.deliver().await.unwrap();
    let messages = lines.messages();
    let pages = messages.iter().filter(|message| message.kind == NoticeKind::NeedsHuman);
    assert_eq!(pages.count(), 1, "the level is paged");
    engine.acknowledge(id, "grace").await.unwrap();
    engine.resolve(id, "grace", Resolution::CloseAsBad).await.unwrap();

    let records = engine.audit(0, 1_000).await.unwrap();
    let body = |what: &str| {
        let record = records.iter().find(|record| record.what == what);
        record.unwrap_or_else(|| panic!("no {what}")).body.clone()
    };
    let answered = body("answered");
    assert_eq!((&answered["by"], &answered["answer"]["comment"]), (&"ada".into(), &"go".into()));
    assert_eq!(answered["answer"]["says"], "approve");
    assert_eq!(body("acknowledged")["by"], "grace");
    let resolved = body("resolved");
    assert_eq!(
        (&resolved["by"], &resolved["resolution"]),
        (&"grace".into(), &"close_as_bad".into())
    );
    assert_eq!(body("prepared")["step"], "act", "a running step is named");
    let history = engine.history(id).await.unwrap();
    assert_eq!(history.len() as u64, engine.run(id).await.unwrap().revision + 1);

    let mut bench = Bench::with_library(situation(&[("api", 0.9)]), bench.library.clone());
    bench.executors = vec![Scripted::new("hands")];
    let engine = bench.builder().build().unwrap();
    let (run, driver) = bench.ask(&engine).await;
    let mut no_person = answer(&run, "mallory", Says::Approve, bench.now());
    no_person.comment = "trust me".to_owned();
    engine.answer(run.plan.run, no_person).await.unwrap();
    engine.cancel(run.plan.run, "ada").await.unwrap();
    driver.await.unwrap().unwrap();
    let records = engine.audit(0, 1_000).await.unwrap();
    let body = |what: &str| &records.iter().find(|record| record.what == what).unwrap().body;
    assert_eq!(body("cancelled")["by"], "ada");
    assert_eq!(body("answered")["remarks"][0]["code"], "unknown_person");
    assert_eq!(body("gated").get("remarks"), None, "nothing to remark");
}

#[tokio::test]
async fn runs_of_different_incidents_have_owners_pages_and_journals_of_their_own() {
    let library = library_of([one_write("one", "approvals: {count: 1}")]);
    let mut bench = Bench::with_library(situation(&[("api", 0.9)]), library);
    bench.executors = vec![Scripted::new("hands")];
    bench.config.gates.limits.max_concurrent = 9;
    let engine = bench.builder().build().unwrap();
    let (first, one) = bench.ask(&engine).await;
    let fingerprint = aiops_core::Fingerprint::from_u64(8);
    let other = aiops_core::IncidentId::of("", fingerprint, START);
    bench.situation.incident.id = other;
    let situation = bench.situation.clone();
    bench.world.change(|world| world.situation = situation);
    let (second, two) = bench.ask(&engine).await;
    assert_ne!(first.plan.run, second.plan.run);
    engine.cancel(first.plan.run, "ada").await.unwrap();
    one.await.unwrap().unwrap();
    // The end of the first is not the end of the second.
    assert_eq!(engine.run(second.plan.run).await.unwrap().state, State::Asking);
    let third = bench.plan(&engine).await;
    assert!(matches!(engine.submit(third).await, Err(Error::AlreadyActive(_))));
    for (run, last) in [(&first, "cancelled"), (&second, "gated")] {
        let history = engine.history(run.plan.run).await.unwrap();
        let names: Vec<_> = history.iter().filter_map(|r| Some(r.event.as_ref()?.name())).collect();
        assert_eq!(names.last().copied(), Some(last), "{names:?}");
    }
    engine.cancel(second.plan.run, "ada").await.unwrap();
    two.await.unwrap().unwrap();
}

/// A parser that is off by one in the last digit would make a whole chain look tampered with.
#[test]
fn every_float_in_an_audit_record_is_read_back_as_it_was_written() {
    use aiops_act::audit::{self, AuditRecord};
    let mut seed = 7_u64;
    let floats = (0..20_000).map(|_| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 11) as f64 / 9_007_199_254_740_992.0
    });
    let (mut records, mut head) = (Vec::new(), Head::default());
    for float in floats {
        let body = serde_json::json!({ "confidence": float });
        let record = AuditRecord::next(head, START, None, "measured", body);
        head = record.head();
        let text = serde_json::to_string(&record).unwrap();
        records.push(serde_json::from_str(&text).unwrap());
    }
    audit::verify(&records, Some(head)).unwrap();
}
