//! A secret that must be nowhere.

use std::sync::Arc;

use aiops_act::executor::scripted::{Reaction, Scripted};
use aiops_act::secret::StaticSecrets;
use aiops_act::{FixedApprover, LineNotifier, Plan, PlanError, StepError, match_runbooks};
use serde_json::json;

use crate::common::{Bench, Lines, library_of, runbook, situation};

/// Contains what needs escaping in JSON and in addresses.
const CANARY: &str = "c4n\"ary/va+lue";
/// Base64 of the canary, of "x" and the canary, and of "xy" and the canary (by `base64 -w0`).
const BASE64: [&str; 3] =
    ["YzRuImFyeS92YStsdWU=", "eGM0biJhcnkvdmErbHVl", "eHljNG4iYXJ5L3ZhK2x1ZQ=="];

/// Pass: a secret in params, output, error, preview, panic text, and in base64, URL and JSON form, is
/// absent from journal, audit, book, outbox, notifications and Debug; all bytes are scanned.
#[tokio::test]
async fn acceptance_16_secret_canary() {
    let text = "match: {services: [api]}\ntargets: {services: [api]}\n\
         safety: {risk: 1, max_percent: 100}\n\
         params: {token: {type: string, secret: true, default: 'secret://token'}}\n\
         steps:\n\
         - {id: a, uses: hands, with: {token: '${{ params.token }}'}, outputs: {all: ''}, undo: {uses: hands}}\n\
         - {id: b, uses: hands, undo: {uses: hands}}\n\
         - {id: c, uses: hands, undo: {uses: hands}}\n";
    let mut bench =
        Bench::with_library(situation(&[("api", 0.9)]), library_of([runbook("one", text)]));
    let url = "c4n%22ary%2Fva%2Blue";
    let everything = format!("{CANARY} {url} {} {}", json!(CANARY), BASE64.join(" "));
    let leaky = json!({"echo": everything, CANARY: [CANARY, {"deep": everything}]});
    let hands = Scripted::new("hands")
        .finding("a", json!({"was": everything}))
        .giving("a", leaky)
        .on_run("b", [Reaction::Fails(StepError::unknown(everything.clone()))])
        .on_run("c", [Reaction::Fails(StepError::failed(everything.clone()))])
        .on_run("b/undo", [Reaction::Fails(StepError::failed(everything.clone()))]);
    bench.executors = vec![hands.clone()];
    let secrets = Arc::new(StaticSecrets::new().with("token", CANARY));
    let lines = Lines::default();
    let engine = bench
        .builder()
        .secrets(secrets.clone())
        .approver(Arc::new(FixedApprover::approving("ada", bench.clock.clone())))
        .notifier(Arc::new(LineNotifier::new("log", Box::new(lines.clone()))))
        .build()
        .unwrap();
    let run = engine.execute(bench.plan(&engine).await).await.unwrap();
    engine.deliver().await.unwrap();
    assert!(hands.effects().len() >= 4);
    assert_eq!(hands.effects()[0].with["token"], "secret://token", "a reference until the end");

    let mut all =
        format!("{run:?} {run:#?} {secrets:?} {engine:?} {bench:?}", bench = bench.config);
    let mut bytes = lines.bytes();
    for prefix in [&b"act/"[..]] {
        for entry in bench.store.scan(prefix, None, 10_000).unwrap() {
            bytes.extend(entry.value);
        }
    }
    for log in ["act/audit".to_owned(), format!("act/journal/{}", run.plan.run)] {
        for record in bench.store.read_log(log.as_bytes(), 0, 10_000).unwrap() {
            bytes.extend(record.record);
        }
    }
    all.push_str(&String::from_utf8_lossy(&bytes));
    assert!(all.contains("[redacted]"), "the places were reached");
    for form in [CANARY, url, "c4n\\\"ary", "c4n\\\\\\\"ary", BASE64[0], BASE64[1], BASE64[2]] {
        assert!(!all.contains(form), "{form} leaks");
    }
    // What does not depend on its neighbours in base64 is gone as well.
    for middle in ["YzRuImFyeS92YStsd", "0biJhcnkvdmErbHVl", "jNG4iYXJ5L3ZhK2x1"] {
        assert!(!all.contains(middle), "{middle} leaks");
    }

    // A value where a reference must stand is refused, and not repeated.
    let matches =
        match_runbooks(&bench.library, &bench.situation, &Default::default(), bench.now());
    let params = [("token".to_owned(), json!(CANARY))].into();
    let error = Plan::new(matches.best().unwrap(), &bench.situation, &params, "test", bench.now());
    let error: PlanError = error.unwrap_err();
    assert!(error.to_string().contains("give a reference"));
    assert!(!format!("{error} {error:?}").contains("c4n"));
}
