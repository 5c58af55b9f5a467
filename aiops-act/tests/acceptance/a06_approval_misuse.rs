//! Answers that must not count.

use std::sync::Arc;
use std::time::Duration;

use aiops_act::canonical::Digest;
use aiops_act::{Answer, Ending, Risk, Run, Says, State};

use crate::common::{Bench, answer, library_of, one_write, situation};

/// Pass: replay, self-approval, the same person twice, an unknown person, a missing role, and any
/// change of document, parameters, targets or tier after the approval are refused and audited; to
/// reject takes the same rights.
#[tokio::test]
async fn acceptance_06_approval_misuse() {
    let library = library_of([one_write("one", "approvals: {count: 2, roles: [oncall]}")]);
    let mut bench = Bench::with_library(situation(&[("api", 0.9)]), library);
    bench.config.name = "grace".to_owned(); // the proposer is a known person with the role
    bench.config.approval =
        std::mem::take(&mut bench.config.approval).with_person("eve", &["intern"]);
    let engine = bench.builder().build().unwrap();
    let (run, driver) = bench.ask(&engine).await;
    let id = run.plan.run;
    let at = bench.now();

    type Forge = fn(&mut Answer);
    let forgeries: [(&str, Forge); 9] = [
        ("own_proposal", |a| a.by = "grace".to_owned()),
        ("unknown_person", |a| a.by = "mallory".to_owned()),
        ("missing_role", |a| a.by = "eve".to_owned()),
        ("other_plan", |a| a.to.document = Digest::ZERO),
        ("other_plan", |a| a.to.params = Digest::ZERO),
        ("other_plan", |a| a.to.targets = Digest::ZERO),
        ("other_plan", |a| a.to.risk = Risk::ReadOnly),
        ("other_plan", |a| a.to.run = "00000000deadbeef".parse().unwrap()),
        ("too_late", |a| a.at += Duration::from_secs(86_400)),
    ];
    for (code, forge) in forgeries {
        for says in [Says::Approve, Says::Reject] {
            let mut forged = answer(&run, "ada", says, at);
            forge(&mut forged);
            let after = engine.answer(id, forged).await.unwrap();
            assert_eq!(after.state, State::Asking, "{code} {says:?}");
            assert!(after.answers.is_empty());
            assert_eq!(last_remark(&engine, &after).await, code);
        }
    }
    // The same person twice is one person; and the same answer delivered twice is one answer.
    for _ in 0..2 {
        let after = engine.answer(id, answer(&run, "ada", Says::Approve, at)).await.unwrap();
        assert_eq!((after.state, after.answers.len()), (State::Asking, 1));
    }
    assert_eq!(last_remark(&engine, &run).await, "same_person");
    assert!(bench.effects().is_empty());

    // A changed plan is not the approved one, whatever the answers say.
    let policy = bench.config.approval.clone().with_person("lin", &["oncall"]);
    let both = |run: &Run| {
        let mut run = run.clone();
        run.answers = ["ada", "lin"].map(|by| answer(&run, by, Says::Approve, at)).to_vec();
        run
    };
    let approved = both(&run);
    assert!(approved.approved(&policy, None, at).is_some());
    let mut riskier = approved.clone();
    Arc::make_mut(&mut riskier.plan).raise_risk(Risk::Irreversible);
    assert!(riskier.approved(&policy, None, at).is_none(), "tier");
    let mut edited = approved.clone();
    Arc::make_mut(&mut edited.plan).params.insert("size".to_owned(), 9.into());
    assert!(edited.approved(&policy, None, at).is_none(), "parameters");
    let mut swapped = approved.clone();
    Arc::make_mut(&mut swapped.plan).runbook = one_write("one", "approvals: {count: 1}");
    assert!(swapped.approved(&policy, None, at).is_none(), "document");
    let mut wider = approved;
    Arc::make_mut(&mut wider.plan).targets = ["api".to_owned(), "redis".to_owned()]
        .into_iter()
        .collect::<std::collections::BTreeSet<_>>()
        .try_into()
        .unwrap();
    assert!(wider.approved(&policy, None, at).is_none(), "targets");

    // A question that was made by hand, or changed where it is stored, lowers no quorum.
    let unasked = |earned: bool, risk: Risk| {
        let mut run = run.clone();
        Arc::make_mut(&mut run.plan).risk = risk;
        let question = run.question.as_mut().unwrap();
        (question.count, question.earned, question.binding.risk) = (0, earned, risk);
        run.approved(&policy, None, at).is_some()
    };
    assert!(!unasked(false, run.plan.risk), "the policy's own floor holds");
    assert!(!unasked(true, run.plan.risk), "to say that it was earned is not to have earned it");
    assert!(!unasked(true, Risk::Irreversible), "nobody earns what cannot be undone");

    // A rejection by somebody with the right to approve ends it.
    let after = engine.answer(id, answer(&run, "ada", Says::Reject, at)).await.unwrap();
    assert_eq!(after.state, State::Asking, "ada has already approved");
    driver.abort();
    let rejected = bench.config.approval.clone().with_person("lin", &["oncall"]);
    let event =
        aiops_act::machine::Event::Answered { answer: answer(&run, "lin", Says::Reject, at) };
    let after = after.apply(event, at, &rejected, None).unwrap().run;
    assert_eq!(after.ending(), Some(Ending::Rejected));
}

async fn last_remark(engine: &aiops_act::Engine, run: &Run) -> String {
    let records = engine.audit(0, 1_000).await.unwrap();
    let last = records.iter().rev().find(|r| r.run == Some(run.plan.run)).unwrap();
    last.body["remarks"][0]["code"].as_str().unwrap_or_default().to_owned()
}
