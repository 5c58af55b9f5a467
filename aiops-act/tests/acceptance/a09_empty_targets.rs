//! Nothing never means everything.

use std::collections::BTreeSet;

use aiops_act::plan::Targets;
use aiops_act::{Ending, Plan, PlanError, Runbook, matcher};
use serde_json::json;

use crate::common::{Bench, library_of, runbook, situation};

fn selecting(targets: &str) -> Runbook {
    runbook(
        "select",
        &format!(
            "match: {{services: [api]}}\nparams: {{names: {{type: string, default: ''}}}}\n\
             targets: {{services: [{targets}]}}\nsafety: {{max_percent: 100}}\n\
             steps: [{{id: act, uses: hands, undo: {{uses: nothing}}}}]\n"
        ),
    )
}

/// Pass: an empty target set, an unknown target and a wildcard make zero calls and an explicit
/// outcome.
#[tokio::test]
async fn acceptance_09_empty_targets() {
    let situation = situation(&[("api", 0.9)]);
    let plan = |targets: &str, params: serde_json::Value| {
        let runbook = selecting(targets);
        let fit = matcher::fit(&runbook, &situation, None, crate::common::START).unwrap();
        let params = serde_json::from_value(params).unwrap();
        Plan::new(&fit, &situation, &params, "test", crate::common::START)
    };
    // A correctly empty set.
    let empty = plan("'${{ params.names }}'", json!({})).unwrap_err();
    assert_eq!(empty, PlanError::NoTarget);
    let filtered = plan("'${{ incident.services.filter(s, s == \"nope\") }}'", json!({}));
    assert_eq!(filtered.unwrap_err(), PlanError::NoTarget);
    // A wildcard, by way of a parameter, and things that are no names.
    let star = plan("'${{ params.names }}'", json!({"names": "*"})).unwrap_err();
    assert_eq!(star, PlanError::NotATarget { name: "*".to_owned() });
    assert!(matches!(plan("'${{ 1 + 1 }}'", json!({})), Err(PlanError::NotATarget { .. })));
    // A wildcard in the document is refused when it is read.
    let text = "{schema: aiops.runbook/v1, id: a, version: 1.0.0, title: t, owner: o, match: {}, \
                targets: {services: ['*']}, steps: [{id: x, uses: u, effect: read}]}";
    let errors = Runbook::parse(text.as_bytes()).unwrap_err();
    assert_eq!(errors.0[0].path, "targets.services[0]");
    assert!(Targets::try_from(BTreeSet::new()).is_err());
    assert!(serde_json::from_value::<Targets>(json!([])).is_err(), "not from a journal either");

    // An unknown target is shown and not touched.
    let library = library_of([selecting("atlantis")]);
    let bench = Bench::with_library(situation.clone(), library);
    let engine = bench.builder().build().unwrap();
    let run = engine.execute(bench.plan(&engine).await).await.unwrap();
    assert_eq!(run.ending(), Some(Ending::Proposed));
    assert_eq!(run.because[0].code, "unknown_target");
    assert!(bench.effects().is_empty());
}
