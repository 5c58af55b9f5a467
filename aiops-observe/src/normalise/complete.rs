//! What series, alerts and events do not say of themselves: tenant, service, labels of the tables.

use super::series::Normaliser;
use crate::alert_identity::identify;
use aiops_core::{Alert, Event, EventId, Labels};

/// Alerts and events.
impl Normaliser {
    /// Fills in what an alert does not say: tenant, service and the labels of the mapping tables.
    /// Fingerprint and id are those of the labels that came, with the tenant and without what is
    /// ignored: a table that learns a team tomorrow must not make a new alert of an old one.
    pub fn complete_alert(&self, tenant: &str, alert: &mut Alert) {
        let tenant = self.take_tenant(&mut alert.labels).unwrap_or_else(|| tenant.to_owned());
        let ignored: Vec<&str> = self.ignored().collect();
        identify(alert, tenant, &ignored);
        if let Some(service) = alert.service.take() {
            alert.labels.insert("service", service);
        }
        self.enrich(&alert.name, &mut alert.labels);
        alert.service = alert.labels.get("service").map(str::to_owned);
    }

    /// Fills in what an event does not say: tenant, service and the labels of the mapping tables.
    pub fn complete_event(&self, tenant: &str, event: &mut Event) {
        event.tenant = self.take_tenant(&mut event.labels).unwrap_or_else(|| tenant.to_owned());
        let service = event.service.as_deref();
        event.id = EventId::of(&event.tenant, event.kind, service, &event.title, event.starts_at);
        if let Some(service) = event.service.take() {
            event.labels.insert("service", service);
        }
        self.enrich("", &mut event.labels);
        event.service = event.labels.get("service").map(str::to_owned);
    }

    fn ignored(&self) -> impl Iterator<Item = &str> {
        self.config.fingerprint_ignores.iter().chain(&self.config.drop_labels).map(String::as_str)
    }

    pub(super) fn take_tenant(&self, labels: &mut Labels) -> Option<String> {
        let label = self.config.tenant_label.as_deref()?;
        labels.remove(label).filter(|tenant| !tenant.is_empty())
    }

    pub(super) fn enrich(&self, name: &str, labels: &mut Labels) {
        let tables = &self.config.tables;
        tables.iter().for_each(|table| table.enrich(labels));
        let found = self.config.services.iter().find_map(|rule| rule.resolve(name, labels));
        if let Some(service) = found.map(str::to_owned) {
            labels.insert("service", service);
            tables.iter().for_each(|table| table.enrich(labels));
        }
    }
}
