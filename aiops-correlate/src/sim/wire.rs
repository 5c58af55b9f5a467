//! From firings to records as they arrive: resent, twice, late, skewed, unlabelled.

use aiops_core::{Alert, AlertId, Fingerprint, Labels, Timestamp};
use std::collections::BTreeMap;
use std::time::Duration;

use super::graph::Graph;
use super::incidents::Firing;
use super::{Dice, StormConfig};
use crate::eval::{Kind, Truth};

pub(super) fn records(
    config: &StormConfig,
    graph: &Graph,
    firings: Vec<Firing>,
    dice: &mut Dice,
) -> (Vec<Alert>, Vec<Truth>) {
    let hosts = graph.on_host.len();
    let mut skew: Vec<f64> = (0..hosts).map(|_| dice.normal(config.skew_s)).collect();
    if let Some(first) = skew.first_mut() {
        *first += config.one_host_ahead_s;
    }
    let mut records: Vec<(f64, Alert, Truth)> = Vec::new();
    for firing in &firings {
        let host = graph.host_of[firing.service];
        let mut send = |at: f64, end: bool, kind: Kind, dice: &mut Dice| {
            let late = dice.chance(config.late);
            let delay = dice.exponential(2.0)
                + if late { dice.between(60.0_f64.min(config.late_s), config.late_s) } else { 0.0 };
            let mut labels = Labels::from([
                ("service", Graph::service(firing.service)),
                ("host", Graph::host(host)),
            ]);
            let fingerprint = Fingerprint::of("", firing.name, &labels, &["host"]);
            let said = time((at + skew[host]).max(0.0));
            if dice.chance(config.unlabelled) {
                labels.remove("service");
            }
            let mut alert = Alert::new(firing.name, labels, said);
            alert.fingerprint = fingerprint;
            alert.severity = firing.severity;
            alert.ends_at = end.then_some(said);
            alert.received_at = time(at + delay);
            let truth = Truth {
                incident: firing.incident,
                kind,
                important: false,
                episode: firing.episode,
            };
            records.push((at + delay, alert, truth));
        };
        let mut at = firing.start;
        let mut sent = 0;
        // Noise is as long as it is; only incidents stop resending.
        while at < firing.end && (sent < config.resends || firing.incident.is_none()) {
            send(at, false, firing.kind, dice);
            if dice.chance(config.duplicates) {
                let again = dice.between(0.0, 2.0);
                send(at + again, false, Kind::Duplicate, dice);
            }
            sent += 1;
            at += firing.resend_every;
        }
        if !dice.chance(config.lost_ends) {
            send(firing.end, true, firing.kind, dice);
        }
    }
    records.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut alerts, mut truth): (Vec<_>, Vec<_>) =
        records.into_iter().map(|(_, alert, truth)| (alert, truth)).unzip();
    for (number, alert) in alerts.iter_mut().enumerate() {
        // Every record has an id of its own: what counts is where each one ends up.
        alert.id = AlertId::from_u64(number as u64 + 1);
    }
    mark_important(&alerts, &mut truth);
    (alerts, truth)
}

/// The alerts of the cause, and the first of each incident to arrive.
fn mark_important(alerts: &[Alert], truth: &mut [Truth]) {
    let mut first: BTreeMap<u32, usize> = BTreeMap::new();
    for (at, (alert, truth)) in alerts.iter().zip(truth.iter_mut()).enumerate() {
        if let Some(incident) = truth.incident
            && !alert.is_resolved()
        {
            first.entry(incident).or_insert(at);
            truth.important = truth.kind == Kind::Cause;
        }
    }
    for at in first.into_values() {
        truth[at].important = true;
    }
}

fn time(seconds: f64) -> Timestamp {
    Timestamp::EPOCH + Duration::from_secs_f64(seconds.max(0.0))
}
