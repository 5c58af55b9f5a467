//! What exporters of OpenTelemetry are told.

use crate::encode::proto;
use crate::{IntakeAnswer, Tally};

/// The signals of OpenTelemetry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    Metrics,
    Logs,
    Traces,
}

impl Signal {
    /// What is rejected, as the answer in JSON calls it.
    fn rejected(self) -> &'static str {
        match self {
            Signal::Metrics => "rejectedDataPoints",
            Signal::Logs => "rejectedLogRecords",
            Signal::Traces => "rejectedSpans",
        }
    }
}

/// `Export*ServiceResponse {partial_success = 1 {rejected_* = 1; error_message = 2}}`, the same for all
/// signals; empty when nothing was rejected.
pub(crate) fn protobuf(tally: &Tally) -> IntakeAnswer {
    let mut body = Vec::new();
    if tally.rejected() > 0 {
        let mut partial = Vec::new();
        proto::number(&mut partial, 1, tally.rejected());
        proto::bytes(&mut partial, 2, tally.to_string().as_bytes());
        proto::bytes(&mut body, 1, &partial);
    }
    let headers = vec![("content-type", "application/x-protobuf".to_owned())];
    IntakeAnswer { status: 200, headers, body, tally: None }
}

/// The same as JSON.
pub(crate) fn json(signal: Signal, tally: &Tally) -> IntakeAnswer {
    let body = match tally.rejected() {
        0 => serde_json::json!({}),
        rejected => serde_json::json!({"partialSuccess": {
            signal.rejected(): rejected.to_string(),
            "errorMessage": tally.to_string(),
        }}),
    };
    let headers = vec![("content-type", "application/json".to_owned())];
    IntakeAnswer { status: 200, headers, body: body.to_string().into_bytes(), tally: None }
}
