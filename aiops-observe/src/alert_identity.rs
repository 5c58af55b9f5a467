//! What makes two deliveries the same alert.

use aiops_core::{Alert, AlertId, Fingerprint, Labels, SeriesHash};

/// The label under which decoders keep a key by which the sender itself tells alerts apart:
/// PagerDuty's `dedup_key`, source and id of a CloudEvent.
pub(crate) const DEDUP_KEY: &str = "dedup_key";

/// Sets tenant, fingerprint and id. A key of the sender outranks the labels: PagerDuty resolves by
/// it alone, with no payload to take labels from.
pub(crate) fn identify(alert: &mut Alert, tenant: String, ignored: &[&str]) {
    alert.fingerprint = match alert.labels.get(DEDUP_KEY) {
        Some(key) => {
            Fingerprint::of(&tenant, &alert.source, &Labels::from([(DEDUP_KEY, key)]), &[])
        }
        None => Fingerprint::of(&tenant, &alert.name, &alert.labels, ignored),
    };
    let as_series = SeriesHash::from_u64(alert.fingerprint.as_u64());
    alert.id = AlertId::of(&tenant, as_series, &alert.name, alert.starts_at);
    alert.tenant = tenant;
}
