//! Connect a system of your own: one trait, six methods, three kinds of failure.
//!
//! ```text
//! cargo run -p aiops-examples --example embed_with_your_executor
//! ```
#![allow(clippy::print_stdout, reason = "an example shows what a user would see")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aiops_act::executor::BoxFuture;
use aiops_act::testing::check_executor;
use aiops_act::{Call, Digest, Output, Permit, Preview, Probe, Risk, StepError, StepExecutor};
use serde_json::{Value, json};

/// A feature switch in this process. Yours talks to a service.
#[derive(Clone, Default)]
struct FeatureSwitch(Arc<AtomicBool>);

impl FeatureSwitch {
    fn wanted(call: &Call) -> Result<bool, StepError> {
        let on = call.with.get("on").and_then(Value::as_bool);
        // Nothing was started: a second try is harmless.
        on.ok_or_else(|| StepError::not_started("`on` must be true or false"))
    }

    fn set(&self, on: bool) -> Output {
        self.0.store(on, Ordering::SeqCst);
        Output::of(json!({"on": on}))
    }
}

impl StepExecutor for FeatureSwitch {
    fn name(&self) -> &str {
        "feature-switch"
    }

    fn version(&self) -> &str {
        "1" // another behaviour is another version: trust does not carry over
    }

    fn risk_floor(&self, _: &Call) -> Risk {
        Risk::Reversible
    }

    /// Looks, and keeps what is there, so that `undo: {uses: self}` can restore it.
    fn plan<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Result<Preview, StepError>> {
        Box::pin(async move {
            let (on, now) = (Self::wanted(call)?, self.0.load(Ordering::SeqCst));
            Ok(Preview { summary: format!("switch from {now} to {on}"), before: json!(now) })
        })
    }

    fn run<'a>(
        &'a self,
        call: &'a Call,
        _permit: &'a Permit, // its key and token go to the other side, where that takes them
    ) -> BoxFuture<'a, Result<Output, StepError>> {
        Box::pin(async move { Ok(self.set(Self::wanted(call)?)) })
    }

    /// After a crash: did it happen?
    fn probe<'a>(&'a self, call: &'a Call, _: Digest) -> BoxFuture<'a, Probe> {
        Box::pin(async move {
            match Self::wanted(call) {
                Ok(on) if on == self.0.load(Ordering::SeqCst) => {
                    Probe::Done { output: Output::of(json!({"on": on})) }
                }
                Ok(_) => Probe::NotDone,
                Err(error) => Probe::CannotTell { reason: error.to_string() },
            }
        })
    }

    fn undo<'a>(
        &'a self,
        _: &'a Call,
        before: &'a Value,
        _: &'a Permit,
    ) -> BoxFuture<'a, Result<Output, StepError>> {
        let on = before.as_bool().ok_or_else(|| StepError::not_started("nothing to restore"));
        Box::pin(async move { Ok(self.set(on?)) })
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let switch = FeatureSwitch::default();
    let call = Call {
        step: "switch-on".to_owned(),
        uses: "feature-switch".to_owned(),
        with: json!({"on": true}).as_object().cloned().unwrap_or_default(),
        targets: vec!["api".to_owned()],
        timeout: std::time::Duration::from_secs(5),
    };
    // The manual of the trait as a test: looking changes nothing, twice is as once, and so on.
    check_executor(&switch, &call, true, || switch.0.load(Ordering::SeqCst).to_string()).await;
    assert!(switch.0.load(Ordering::SeqCst));
    println!("the executor keeps the contract");
}
