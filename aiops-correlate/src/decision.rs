//! What the correlator did with one alert, and why, as data.

use aiops_core::{AlertId, EventId, IncidentId, Reason, Timestamp};
use serde::{Deserialize, Serialize};

/// What became of one alert record.
///
/// [`Correlator::ingest`](crate::Correlator::ingest) returns it, and
/// [`Correlator::decision`](crate::Correlator::decision) tells it again later; `incident` is then
/// the incident the alert is in by that time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// The alert.
    pub alert: AlertId,
    /// When it was decided, on the arrival clock.
    pub at: Timestamp,
    /// What was done.
    pub action: Action,
    /// The incident it is in, held ones included; `None` only where it belongs to none.
    pub incident: Option<IncidentId>,
    /// Why, most important first; never empty.
    pub because: Vec<Because>,
}

impl Decision {
    /// The reasons in the family's one serialised form.
    pub fn reasons(&self) -> Vec<Reason> {
        self.because.iter().map(Because::reason).collect()
    }

    /// One line for people: the action and its reasons.
    pub fn sentence(&self) -> String {
        let reasons: Vec<_> = self.because.iter().map(|b| b.reason().sentence).collect();
        format!("{}: {}", self.action.name().replace('_', " "), reasons.join("; "))
    }
}

/// What was done with an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Action {
    /// It began a new incident, held or shown.
    Founded,
    /// It joined an incident on the strength of another member's onset.
    Joined,
    /// The same firing as one before it, delivered again.
    Duplicate,
    /// The same alert fires on.
    Repeated,
    /// It ended a firing.
    Ended,
    /// It ended a firing that was never seen.
    EndedUnseen,
    /// It began a new incident that is not shown while something else explains it.
    Suppressed,
    /// It was evaluated and counted, and not displayed, because a storm is on.
    Sampled,
}

impl Action {
    /// The action in one snake_case word, as in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Action::Founded => "founded",
            Action::Joined => "joined",
            Action::Duplicate => "duplicate",
            Action::Repeated => "repeated",
            Action::Ended => "ended",
            Action::EndedUnseen => "ended_unseen",
            Action::Suppressed => "suppressed",
            Action::Sampled => "sampled",
        }
    }
}

/// One reason of a decision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "because", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Because {
    /// No onset that it could belong to lies near.
    NothingRelated,
    /// The service is unknown, so only the same alert is recognised.
    UnknownService,
    /// A dependency of its service began first.
    DependsOn {
        /// The dependency.
        service: String,
        /// Calls from its service to that one.
        hops: u32,
    },
    /// A dependent of its service began first: trouble seen at the caller before the callee.
    CalledBy {
        /// The dependent.
        service: String,
        /// Calls from that one to its service.
        hops: u32,
    },
    /// Another alert of the same service began near it.
    SameService {
        /// The service.
        service: String,
    },
    /// A service on the same host began near it.
    SameHost {
        /// The other service.
        service: String,
    },
    /// A service that shares a dependency with its own began near it.
    SharedDependency {
        /// The other service.
        service: String,
    },
    /// The same alert had ended not long before.
    CameBack {
        /// Seconds between that end and this onset.
        after_s: i64,
    },
    /// The alert that it is linked to and the time between the onsets.
    Within {
        /// The first alert of the other firing.
        of: AlertId,
        /// Seconds from that onset to this one.
        gap_s: i64,
    },
    /// How much more likely the link is than chance, in nats (ln of the ratio).
    Likelihood {
        /// The natural logarithm of the likelihood ratio.
        nats: f64,
    },
    /// It is the firing that this alert began.
    SameFiring {
        /// The first alert of the firing.
        of: AlertId,
        /// Records of that firing so far, this one included.
        count: u32,
    },
    /// The alert that ended.
    Lasted {
        /// The first alert of the firing.
        of: AlertId,
        /// Seconds from onset to end.
        seconds: i64,
    },
    /// Held: how probable trouble is by now, and when it will be shown unless it ends.
    HeldUntil {
        /// When it is shown if it lasts.
        until: Timestamp,
        /// Seconds from the decision to that.
        for_s: i64,
        /// Probability that it is an incident, as of the decision.
        probability: f64,
        /// Median seconds after which firings of this kind end by themselves, as learned.
        typical_life_s: f64,
        /// Of real incidents of this kind, the share expected to end before `until` and so to be
        /// missed.
        expected_miss: f64,
    },
    /// Its incident is not shown, because firings like it ended by themselves.
    EndedByItself {
        /// Probability that it was an incident, as of its end.
        probability: f64,
    },
    /// Shown: probability that it is an incident.
    Shown {
        /// When it was shown.
        at: Timestamp,
        /// Seconds from the decision about the alert to that; not above 0 if it stood there before.
        after_s: i64,
        /// That probability as of then.
        probability: f64,
    },
    /// The longest allowed hold is over.
    HoldExpired {
        /// The longest allowed hold, in seconds.
        limit_s: i64,
    },
    /// Alerts of this kind were never seen to end by themselves, so it is not held.
    NoTransientRecord,
    /// A person said that this kind of alert is never to be held.
    Pinned,
    /// An active alert inhibits it by a rule.
    Inhibited {
        /// The rule's name.
        rule: String,
        /// The alert that inhibits it.
        by: AlertId,
    },
    /// Announced: a silence or a maintenance window covers it.
    Silenced {
        /// The event that announced it.
        by: EventId,
        /// When it ends.
        until: Timestamp,
        /// Seconds from the decision to that.
        for_s: i64,
    },
    /// It is a known symptom inside the cone of an incident that is being looked at.
    InCone {
        /// That incident.
        incident: IncidentId,
        /// The service where that incident began.
        service: String,
        /// Calls from the alert's service to that one.
        hops: u32,
    },
    /// A storm is on; display is sampled.
    Storm {
        /// The most alerts within a minute of that storm so far.
        per_minute: u64,
        /// The meta-incident that counts it.
        incident: IncidentId,
    },
    /// What would have led to another decision.
    Counterfactual {
        /// One sentence.
        sentence: String,
    },
    /// A person moved it.
    ByHand {
        /// Who.
        by: String,
    },
    /// A rule of a simple correlator, in words.
    Rule {
        /// The rule.
        rule: String,
    },
}

impl Because {
    /// This reason in the family's one serialised form.
    pub fn reason(&self) -> Reason {
        match self {
            Because::NothingRelated => {
                Reason::new("nothing_related", "no onset that it could belong to lies near")
            }
            Because::UnknownService => Reason::new(
                "unknown_service",
                "its service is unknown, so only repetitions of the same alert are recognised",
            ),
            Because::DependsOn { service, hops } => {
                Reason::new("depends_on", format!("depends on {service}, {}", calls(*hops)))
                    .with("service", service.as_str())
                    .with("hops", *hops)
            }
            Because::CalledBy { service, hops } => {
                Reason::new("called_by", format!("is called by {service}, {}", calls(*hops)))
                    .with("service", service.as_str())
                    .with("hops", *hops)
            }
            Because::SameService { service } => {
                Reason::new("same_service", format!("same service, {service}"))
                    .with("service", service.as_str())
            }
            Because::SameHost { service } => {
                Reason::new("same_host", format!("on the same host as {service}"))
                    .with("service", service.as_str())
            }
            Because::SharedDependency { service } => {
                Reason::new("shared_dependency", format!("shares a dependency with {service}"))
                    .with("service", service.as_str())
            }
            Because::CameBack { after_s } => {
                Reason::new("came_back", format!("the same alert came back after {after_s} s"))
                    .with("after_s", *after_s)
            }
            Because::Within { of, gap_s } => {
                Reason::new("within", format!("began {gap_s} s after alert {of}"))
                    .with("alert", of.to_string())
                    .with("gap_s", *gap_s)
            }
            Because::Likelihood { nats } => Reason::new(
                "likelihood",
                format!("{} times more likely together than by chance", ratio(*nats)),
            )
            .with("nats", *nats),
            Because::SameFiring { of, count } => {
                Reason::new("same_firing", format!("record {count} of the firing that {of} began"))
                    .with("alert", of.to_string())
                    .with("count", *count)
            }
            Because::Lasted { of, seconds } => {
                Reason::new("lasted", format!("the firing that {of} began lasted {seconds} s"))
                    .with("alert", of.to_string())
                    .with("seconds", *seconds)
            }
            Because::HeldUntil { until, for_s, probability, typical_life_s, expected_miss } => Reason::new(
                "held_until",
                format!(
                    "held for {} unless it ends: {} likely to be an incident so far, firings like it \
                     last {}; {} of real ones end before that",
                    span(*for_s),
                    percent(*probability),
                    span(typical_life_s.round() as i64),
                    percent(*expected_miss),
                ),
            )
            .with("until", *until)
            .with("for_s", *for_s)
            .with("probability", *probability)
            .with("typical_life_s", *typical_life_s)
            .with("expected_miss", *expected_miss),
            Because::EndedByItself { probability } => Reason::new(
                "ended_by_itself",
                format!("ended while held; {} likely to have been an incident", percent(*probability)),
            )
            .with("probability", *probability),
            Because::Shown { at, after_s, probability } => {
                let when = match *after_s {
                    ..0 => format!("in sight since {} before", span(-after_s)),
                    0 => "shown at once".to_owned(),
                    seconds => format!("shown after {}", span(seconds)),
                };
                let likely = percent(*probability);
                Reason::new("shown", format!("{when}: {likely} likely to be an incident"))
            }
            .with("at", *at)
            .with("after_s", *after_s)
            .with("probability", *probability),
            Because::HoldExpired { limit_s } => {
                Reason::new("hold_expired", format!("nothing is held longer than {limit_s} s"))
                    .with("limit_s", *limit_s)
            }
            Because::NoTransientRecord => Reason::new(
                "no_transient_record",
                "alerts of this kind were never seen to end by themselves",
            ),
            Because::Pinned => Reason::new("pinned", "this kind of alert is pinned: never held"),
            Because::Inhibited { rule, by } => {
                Reason::new("inhibited", format!("inhibited by alert {by} under rule {rule}"))
                    .with("rule", rule.as_str())
                    .with("alert", by.to_string())
            }
            Because::Silenced { by, until, for_s } => {
                let text = format!("covered by announcement {by} for another {}", span(*for_s));
                Reason::new("silenced", text)
                    .with("event", by.to_string())
                    .with("until", *until)
                    .with("for_s", *for_s)
            }
            Because::InCone { incident, service, hops } => Reason::new(
                "in_cone",
                format!(
                    "a known symptom of incident {incident}: depends on {service}, {}",
                    calls(*hops)
                ),
            )
            .with("incident", incident.to_string())
            .with("service", service.as_str())
            .with("hops", *hops),
            Because::Storm { per_minute, incident } => Reason::new(
                "storm",
                format!("up to {per_minute} alerts a minute; counted in incident {incident}"),
            )
            .with("per_minute", *per_minute)
            .with("incident", incident.to_string()),
            Because::Counterfactual { sentence } => {
                Reason::new("counterfactual", sentence.clone())
            }
            Because::ByHand { by } => {
                Reason::new("by_hand", format!("put there by {by}")).with("by", by.as_str())
            }
            Because::Rule { rule } => Reason::new("rule", rule.clone()),
        }
    }
}

fn calls(hops: u32) -> String {
    match hops {
        1 => "1 hop".to_owned(),
        hops => format!("{hops} hops"),
    }
}

/// A span of time for people, to two digits or better.
pub(crate) fn span(seconds: i64) -> String {
    match seconds {
        ..180 => format!("{seconds} s"),
        180..10_800 => format!("{} min", (seconds + 30) / 60),
        _ => format!("{} h", (seconds + 1_800) / 3_600),
    }
}

fn percent(probability: f64) -> String {
    format!("{:.0} %", probability * 100.0)
}

fn ratio(nats: f64) -> String {
    let ratio = nats.exp();
    if ratio < 10.0 { format!("{ratio:.1}") } else { format!("{ratio:.0}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_carries_its_facts() {
        let reason = Because::DependsOn { service: "db-1".into(), hops: 2 }.reason();
        assert_eq!(reason.to_string(), "depends on db-1, 2 hops");
        assert_eq!(serde_json::to_value(&reason).unwrap()["facts"]["hops"], 2);
    }

    #[test]
    fn times_are_told_as_spans() {
        let at = Timestamp::from_secs(1_795_559_466);
        let said = |after_s| Because::Shown { at, after_s, probability: 0.97 }.reason().sentence;
        assert_eq!(said(0), "shown at once: 97 % likely to be an incident");
        assert_eq!(said(93), "shown after 93 s: 97 % likely to be an incident");
        assert_eq!(said(-570), "in sight since 10 min before: 97 % likely to be an incident");
        assert_eq!(span(7_300), "122 min");
        assert_eq!(span(86_400), "24 h");
    }

    #[test]
    fn a_decision_survives_json() {
        let decision = Decision {
            alert: AlertId::from_u64(7),
            at: Timestamp::from_secs(1),
            action: Action::Joined,
            incident: Some(IncidentId::from_u64(9)),
            because: vec![Because::Within { of: AlertId::from_u64(1), gap_s: 40 }],
        };
        let json = serde_json::to_string(&decision).unwrap();
        assert_eq!(serde_json::from_str::<Decision>(&json).unwrap(), decision);
        assert_eq!(decision.sentence(), "joined: began 40 s after alert 0000000000000001");
    }
}
