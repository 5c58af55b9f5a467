//! Which service something is about: rules over its labels.

use super::pattern::Pattern;
use aiops_core::Labels;
use serde::{Deserialize, Serialize};

/// One way to tell the service from labels. Rules are tried in order; the first that finds a name
/// that is not empty wins.
///
/// ```
/// use aiops_observe::{ServiceRule, Take};
/// use aiops_core::Labels;
/// let rule = ServiceRule { take: Take::WithoutPodHash, ..ServiceRule::label("pod") };
/// let labels = Labels::from([("pod", "checkout-7f9c6bd48d-x2v7q")]);
/// assert_eq!(rule.resolve("up", &labels), Some("checkout"));
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServiceRule {
    /// Applies to metrics and alerts whose name has this form. Default `*`.
    pub metric: Pattern,
    /// The label to read. Ignored when `service` is set.
    pub label: String,
    /// What to take of its value.
    pub take: Take,
    /// The service itself, for metrics that are known to be about one: `pg_*` about `postgres`.
    pub service: Option<String>,
}

/// What a rule takes of a label value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Take {
    /// All of it.
    #[default]
    Whole,
    /// What stands before the hashes that Kubernetes appends to the name of a pod: of
    /// `checkout-7f9c6bd48d-x2v7q` and of `db-0` the first word.
    WithoutPodHash,
    /// What stands before the port: of `10.0.0.7:9100` the address.
    Host,
    /// What stands behind the last `/`: OpenTelemetry's `job` is `namespace/service`.
    AfterSlash,
}

impl Default for ServiceRule {
    fn default() -> Self {
        ServiceRule::label("service")
    }
}

impl ServiceRule {
    /// Reads all of one label.
    pub fn label(label: &str) -> Self {
        ServiceRule {
            metric: Pattern::default(),
            label: label.to_owned(),
            take: Take::Whole,
            service: None,
        }
    }

    /// The default rules: OpenTelemetry's and Kubernetes' names of a service, then those of a
    /// workload, then a pod without its hashes, last Prometheus' `job`, which is a scrape
    /// configuration and only often a service.
    pub fn defaults() -> Vec<ServiceRule> {
        let whole = [
            "service",
            "service.name",
            "service_name",
            "app.kubernetes.io/name",
            "app_kubernetes_io_name",
            "k8s.deployment.name",
            "k8s_deployment_name",
            "deployment",
            "statefulset",
            "daemonset",
            "app",
            "application",
        ];
        let mut rules: Vec<_> = whole.into_iter().map(ServiceRule::label).collect();
        for pod in ["k8s.pod.name", "k8s_pod_name", "pod"] {
            rules.push(ServiceRule { take: Take::WithoutPodHash, ..ServiceRule::label(pod) });
        }
        rules.push(ServiceRule { take: Take::AfterSlash, ..ServiceRule::label("job") });
        rules
    }

    /// The service that this rule finds, if it applies.
    pub fn resolve<'a>(&'a self, metric: &str, labels: &'a Labels) -> Option<&'a str> {
        if !self.metric.matches(metric) {
            return None;
        }
        let found = match &self.service {
            Some(service) => service,
            None => self.take.of(labels.get(&self.label)?),
        };
        (!found.is_empty()).then_some(found)
    }
}

impl Take {
    fn of(self, value: &str) -> &str {
        match self {
            Take::Whole => value,
            Take::WithoutPodHash => without_pod_hash(value),
            Take::Host => match value.rsplit_once(':') {
                Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
                _ => value,
            },
            Take::AfterSlash => value.rsplit_once('/').map_or(value, |(_, last)| last),
        }
    }
}

/// Pods of a deployment end in a replica set's hash (8 to 10) and five more; pods of a stateful set
/// in their number; those of a daemon set in five. Kubernetes draws from an alphabet without vowels,
/// so `mail-relay` keeps both its words.
fn without_pod_hash(pod: &str) -> &str {
    let drawn = |part: &str| part.bytes().all(|b| b"bcdfghjklmnpqrstvwxz2456789".contains(&b));
    let Some((head, last)) = pod.rsplit_once('-') else { return pod };
    if !last.is_empty() && last.bytes().all(|b| b.is_ascii_digit()) {
        return head;
    }
    if last.len() != 5 || !drawn(last) {
        return pod;
    }
    match head.rsplit_once('-') {
        Some((name, hash)) if (8..=10).contains(&hash.len()) && drawn_hex(hash, drawn) => name,
        _ => head,
    }
}

/// Replica sets of old releases carry a decimal or hexadecimal hash instead.
fn drawn_hex(hash: &str, drawn: impl Fn(&str) -> bool) -> bool {
    let digits = hash.bytes().any(|b| b.is_ascii_digit());
    drawn(hash) || digits && hash.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_lose_their_hashes_and_nothing_else() {
        for (pod, service) in [
            ("checkout-7f9c6bd48d-x2v7q", "checkout"),
            ("payment-api-5d4f8c7b9-zk6mp", "payment-api"),
            ("db-0", "db"),
            ("node-agent-x2v7q", "node-agent"),
            ("mail-relay", "mail-relay"),
            ("frontend", "frontend"),
            ("a-", "a-"),
        ] {
            assert_eq!(without_pod_hash(pod), service);
        }
    }

    #[test]
    fn the_first_rule_that_finds_a_name_wins() {
        let rules = ServiceRule::defaults();
        let of = |labels| {
            let labels = Labels::from(labels);
            rules.iter().find_map(|rule| rule.resolve("m", &labels)).map(str::to_owned)
        };
        assert_eq!(of([("job", "shop/cart"), ("instance", "x:1")]).as_deref(), Some("cart"));
        assert_eq!(of([("job", "k8s"), ("service_name", "cart")]).as_deref(), Some("cart"));
        assert_eq!(of([("service", ""), ("app", "cart")]).as_deref(), Some("cart"));
        assert_eq!(of([("zone", "a"), ("instance", "x:1")]), None);
    }

    #[test]
    fn a_metric_can_name_its_service() {
        let rule = ServiceRule {
            metric: "pg_*".into(),
            service: Some("postgres".into()),
            ..ServiceRule::default()
        };
        assert_eq!(rule.resolve("pg_up", &Labels::new()), Some("postgres"));
        assert_eq!(rule.resolve("up", &Labels::new()), None);
        let host = ServiceRule { take: Take::Host, ..ServiceRule::label("instance") };
        assert_eq!(host.resolve("up", &Labels::from([("instance", "db-7:9100")])), Some("db-7"));
    }
}
