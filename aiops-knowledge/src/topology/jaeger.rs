//! The dependencies document of Jaeger's query service.

use serde::Deserialize;

use super::{Sighting, shares};
use crate::{Error, Result};

#[derive(Deserialize)]
struct Document {
    data: Vec<Dependency>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Dependency {
    parent: String,
    child: String,
    call_count: f64,
}

/// Reads what `GET /api/dependencies` of Jaeger answers: caller, callee, number of calls.
///
/// Jaeger aggregates and may be minutes behind, so an edge is as fresh as the question and not as
/// the calls.
///
/// # Errors
/// [`Error::Malformed`] with line and column when it is not such a document.
pub fn from_jaeger(bytes: &[u8]) -> Result<Vec<Sighting>> {
    let document: Document = serde_json::from_slice(bytes)
        .map_err(|error| Error::malformed("dependencies of Jaeger", error))?;
    let calls = document.data.into_iter().map(|d| (d.parent, d.child, d.call_count));
    Ok(shares(calls.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_become_shares_and_calls_to_oneself_are_left_out() {
        let bytes = br#"{"data": [
            {"parent": "api", "child": "db", "callCount": 30},
            {"parent": "api", "child": "cache", "callCount": 10, "source": ""},
            {"parent": "api", "child": "api", "callCount": 99},
            {"parent": "gateway", "child": "api", "callCount": 0}
        ], "total": 0, "errors": null}"#;
        let expected = [Sighting::call("api", "cache", 0.25), Sighting::call("api", "db", 0.75)];
        assert_eq!(from_jaeger(bytes).unwrap(), expected);
        let error = from_jaeger(b"{\"data\": [{\"parent\": 1}]}").unwrap_err();
        assert!(error.to_string().contains("line 1 column"), "{error}");
    }
}
