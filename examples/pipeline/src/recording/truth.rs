//! What really happened. No stage reads it: only the last step of a replay does, to judge.

use std::path::Path;

use aiops_core::{Cause, MetricKind, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Result, context};

/// What was injected when the recording was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Truth {
    /// The fault; `None` for a recording in which nothing went wrong.
    pub fault: Option<String>,
    /// Services at which naming the cause counts as right.
    #[serde(default)]
    pub root_services: Vec<String>,
    /// What the metric that shows it first measures.
    #[serde(default)]
    pub root_metric_kind: Option<MetricKind>,
    /// The title of the change that caused it, if a change did.
    #[serde(default)]
    pub root_change: Option<String>,
    /// When it began, in milliseconds.
    #[serde(default)]
    pub start_ms: Option<i64>,
    /// When it was over, in milliseconds.
    #[serde(default)]
    pub end_ms: Option<i64>,
}

impl Truth {
    /// Reads `truth.json`; `None` where a recording has none.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn read(dir: &Path) -> Result<Option<Truth>> {
        let file = dir.join("truth.json");
        if file.exists() { context::json(&file).map(Some) } else { Ok(None) }
    }

    /// When the fault began.
    pub fn start(&self) -> Option<Timestamp> {
        self.start_ms.map(Timestamp::from_millis)
    }

    /// Whether `cause` is the true root: the change where a change is to blame, otherwise anything
    /// at a root service (the service, one of its metrics).
    pub fn is_root(&self, cause: &Cause) -> bool {
        match (&self.root_change, cause) {
            (Some(title), Cause::Change { title: named, .. }) => title == named,
            (Some(_), _) | (None, Cause::Change { .. }) => false,
            (None, cause) => {
                cause.service().is_some_and(|s| self.root_services.iter().any(|root| root == s))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(name: &str) -> Cause {
        Cause::Service { service: name.into() }
    }

    fn change(title: &str) -> Cause {
        let event = aiops_core::EventId::from_u64(1);
        Cause::Change { service: Some("api".into()), event, title: title.into() }
    }

    #[test]
    fn where_a_change_is_to_blame_only_the_change_is_right() {
        let json = r#"{"fault": "bad_deploy", "root_services": ["api"], "root_metric_kind": "latency",
            "root_change": "deploy api 2", "start_ms": 5, "end_ms": 9, "seed": 1}"#;
        let truth: Truth = serde_json::from_str(json).unwrap();
        assert!(truth.is_root(&change("deploy api 2")));
        assert!(!truth.is_root(&change("deploy api 1")) && !truth.is_root(&service("api")));
    }

    #[test]
    fn otherwise_a_change_on_the_root_service_is_wrong() {
        let json = r#"{"fault": "slow", "root_services": ["postgres", "api"], "seed": 1}"#;
        let truth: Truth = serde_json::from_str(json).unwrap();
        assert!(truth.is_root(&service("api")) && !truth.is_root(&service("redis")));
        assert!(!truth.is_root(&change("deploy api 2")));
    }
}
