//! What the long tests do not look at: the single conditions of the policy, the audit and the gates.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aiops_act::approve::Ruling;
use aiops_act::audit::Head;
use aiops_act::{ApprovalPolicy, Digest, GateConfig, Plan, Runbook, Says, match_runbooks};

use crate::common::{START, answer, library_of, runbook, shop, situation};

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
