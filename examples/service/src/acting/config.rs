//! What may be set about acting.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use aiops_act::Mode;
use serde::{Deserialize, Serialize};

/// What may be done about incidents, and how people hear of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ActConfig {
    /// A folder of runbooks, YAML or JSON. Without one nothing is proposed.
    pub runbooks: Option<PathBuf>,
    /// Walk approved runbooks without any effect. Set it to false when you have seen what they do.
    pub dry_run: bool,
    /// The same remedy must have fitted the same cause for so long before it is proposed.
    pub propose_after_seconds: u64,
    /// Everything up to `full`, `suggest_only`, `notify_only` or `pass_through`.
    pub mode: Mode,
    /// Services that the service itself needs: never touched.
    pub never_touch: BTreeSet<String>,
    /// Beginnings of addresses that steps with `uses: http` may reach.
    pub allow_urls: Vec<String>,
    /// Programs that steps with `uses: process` may start, by the name that they call them.
    pub allow_programs: BTreeMap<String, PathBuf>,
    /// Who is told what is asked and what came of it.
    pub notify: Vec<Route>,
}

impl Default for ActConfig {
    fn default() -> Self {
        ActConfig {
            runbooks: None,
            dry_run: true,
            propose_after_seconds: 20,
            mode: Mode::Full,
            never_touch: BTreeSet::new(),
            allow_urls: Vec::new(),
            allow_programs: BTreeMap::new(),
            notify: Vec::new(),
        }
    }
}

/// A way to tell people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Its name, in the record of what was told to whom.
    pub name: String,
    /// Of what kind it is.
    pub kind: RouteKind,
    /// Where it leads; PagerDuty has an address of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The environment variable that holds its secret: PagerDuty's integration key, the webhook's signing key,
    /// or for Slack the whole address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_from: Option<String>,
}

/// Kinds of [`Route`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RouteKind {
    /// PagerDuty, Events API v2.
    Pagerduty,
    /// A webhook that takes Slack's `{"text": ...}`.
    Slack,
    /// A webhook that can check the signature.
    Webhook,
    /// A line of JSON on standard error.
    Log,
}
