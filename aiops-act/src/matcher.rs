//! Which runbooks fit an incident, in a total and deterministic order, and why the others do not.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use aiops_core::{Cause, Reason, Timestamp};

use crate::canonical::Digest;
use crate::runbook::{Library, Runbook};
use crate::situation::{Situation, kind_of_cause};

/// A runbook that fits.
#[derive(Debug, Clone, PartialEq)]
pub struct Fit {
    /// The runbook.
    pub runbook: Runbook,
    /// The most probable cause that it fits.
    pub cause: Cause,
    /// Rank of that cause, counted from 1.
    pub rank: usize,
    /// Probability that the cause is what the runbook is for: the sum over the candidates of this
    /// service that it fits.
    pub confidence: f64,
    /// `confidence` minus the probability of the best rival: another service, or the unknown.
    pub margin: f64,
    /// How narrow its conditions are: one for each of `services`, `cause_kinds` and `when`.
    pub specificity: u8,
    /// Share of verified runs that helped, where any are known.
    pub precision: Option<f64>,
    /// Why it fits.
    pub reasons: Vec<Reason>,
}

/// A runbook that does not fit, and every reason for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Misfit {
    /// Its id.
    pub runbook: String,
    /// Why it does not fit.
    pub reasons: Vec<Reason>,
}

/// What was matched: the best fit first, and why the rest did not fit.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Matches {
    /// Runbooks that fit: narrower conditions first, then higher precision, then by id.
    pub fits: Vec<Fit>,
    /// Runbooks that do not, by id.
    pub misfits: Vec<Misfit>,
}

impl Matches {
    /// The best fit.
    #[must_use]
    pub fn best(&self) -> Option<&Fit> {
        self.fits.first()
    }
}

/// Matches every runbook of `library` against the situation.
///
/// `precision` gives the share of verified runs that helped, by document hash
/// ([`crate::trust`] keeps it); where it is silent, a runbook counts as unproven and comes after
/// those with any precision.
///
/// A change of a service and the service itself are not rivals: they are two descriptions of one
/// place, and confidence is summed over the ones that the runbook accepts.
///
/// ```
/// use aiops_act::{Library, Situation, match_runbooks};
/// # use aiops_core::{Candidate, Cause, Fingerprint, Incident, IncidentId, IncidentState, Ranking, Severity, Timestamp};
/// # let runbook = aiops_act::Runbook::parse(br#"
/// # {schema: aiops.runbook/v1, id: restart-api, version: 1.0.0, title: t, owner: o,
/// #  match: {services: [api]}, targets: {services: [api]},
/// #  steps: [{id: look, uses: http, effect: read}]}"#).unwrap();
/// # let now = Timestamp::from_secs(100);
/// # let incident = Incident { id: IncidentId::of("", Fingerprint::from_u64(1), now), tenant: String::new(),
/// #   state: IncidentState::Open, onset: now, shown_at: None, resolved_at: None, severity: Severity::Critical,
/// #   title: String::new(), alerts: vec![], services: ["api".to_owned()].into(), events: vec![], timeline: vec![] };
/// # let candidate = |s: &str, score| Candidate { cause: Cause::Service { service: s.into() }, probability: 0.0, score, evidence: vec![] };
/// # let ranking = Ranking::from_weights("bayes", vec![candidate("api", 0.7), candidate("redis", 0.2)], 0.1).unwrap();
/// let mut library = Library::new();
/// library.add(runbook)?;
/// let matches = match_runbooks(&library, &Situation::new(incident, ranking), &Default::default(), now);
/// let best = matches.best().unwrap();
/// assert_eq!((best.runbook.id(), best.rank), ("restart-api", 1));
/// assert_eq!(best.reasons[0].code, "cause_fits");
/// # Ok::<(), aiops_act::runbook::LibraryError>(())
/// ```
#[must_use]
pub fn match_runbooks(
    library: &Library,
    situation: &Situation,
    precision: &BTreeMap<Digest, f64>,
    now: Timestamp,
) -> Matches {
    let mut matches = Matches::default();
    for runbook in library.iter() {
        match fit(runbook, situation, precision.get(&runbook.hash()).copied(), now) {
            Ok(fit) => matches.fits.push(fit),
            Err(reasons) => {
                matches.misfits.push(Misfit { runbook: runbook.id().to_owned(), reasons });
            }
        }
    }
    // The sort is stable and the library is in order of id: ties end there.
    matches.fits.sort_by(|a, b| {
        let proven = |fit: &Fit| fit.precision.unwrap_or(-1.0);
        Reverse(a.specificity).cmp(&Reverse(b.specificity)).then(proven(b).total_cmp(&proven(a)))
    });
    matches
}

/// How well one runbook fits, or every reason why it does not.
///
/// # Errors
/// The reasons.
pub fn fit(
    runbook: &Runbook,
    situation: &Situation,
    precision: Option<f64>,
    now: Timestamp,
) -> Result<Fit, Vec<Reason>> {
    let matching = &runbook.document().matching;
    let mut against = Vec::new();
    if !runbook.is_valid_at(now) {
        against.push(Reason::new("not_valid", "the document is revoked or past its date"));
    }
    let accepted = match accepted_ranks(runbook, situation) {
        Ok(ranks) => ranks,
        Err(reason) => {
            against.push(reason);
            return Err(against);
        }
    };
    let Some(&rank) = accepted.first() else { return Err(against) };
    let Some(best) = situation.candidate(rank) else { return Err(against) };
    let service = best.cause.service();
    let (mut confidence, mut rivals) = (0.0, BTreeMap::<&str, f64>::new());
    for (candidate, r) in situation.ranking.candidates.iter().zip(1..) {
        if candidate.cause.service() != service {
            *rivals.entry(candidate.cause.service().unwrap_or("")).or_default() +=
                candidate.probability;
        } else if accepted.binary_search(&r).is_ok() {
            confidence += candidate.probability;
        }
    }
    let rival = rivals.values().fold(situation.ranking.unknown, |a, b| a.max(*b));
    let margin = confidence - rival;
    // Written so that a probability that is not a number does not pass.
    let sure = confidence >= matching.min_confidence;
    if !sure {
        against.push(
            Reason::new(
                "low_confidence",
                format!(
                    "{} is the cause with {:.0} %, below the {:.0} % that the runbook asks for",
                    best.cause,
                    confidence * 100.0,
                    matching.min_confidence * 100.0
                ),
            )
            .with("confidence", confidence)
            .with("needed", matching.min_confidence),
        );
    }
    let ahead = margin >= matching.min_margin;
    if !ahead {
        against.push(
            Reason::new(
                "thin_margin",
                format!(
                    "{} leads the next cause by {:.0} points, fewer than {:.0}",
                    best.cause,
                    margin * 100.0,
                    matching.min_margin * 100.0
                ),
            )
            .with("margin", margin)
            .with("needed", matching.min_margin),
        );
    }
    if !against.is_empty() {
        return Err(against);
    }
    let specificity = u8::from(!matching.services.is_empty())
        + u8::from(!matching.cause_kinds.is_empty())
        + u8::from(matching.when.is_some());
    let sentence = format!("{} is the cause with {:.0} %", best.cause, confidence * 100.0);
    let mut reasons = vec![
        Reason::new("cause_fits", sentence)
            .with("rank", rank)
            .with("confidence", confidence)
            .with("margin", margin),
    ];
    if let Some(when) = &matching.when {
        reasons.push(Reason::new("condition_holds", format!("`{when}` holds")));
    }
    if let Some(precision) = precision {
        let sentence = format!("{:.0} % of its verified runs helped", precision * 100.0);
        reasons.push(Reason::new("precision", sentence).with("precision", precision));
    }
    Ok(Fit {
        runbook: runbook.clone(),
        cause: best.cause.clone(),
        rank,
        confidence,
        margin,
        specificity,
        precision,
        reasons,
    })
}

/// Ranks of the candidates that the runbook accepts, or why there are none: the reason names the
/// first thing that the most probable cause fails.
fn accepted_ranks(runbook: &Runbook, situation: &Situation) -> Result<Vec<usize>, Reason> {
    let matching = &runbook.document().matching;
    let mut first_reason = None;
    let mut accepted = Vec::new();
    // Made once: it holds every candidate, and one for each candidate would cost their square.
    let mut scope = None;
    let make_scope = || {
        let params = runbook.document().fill_params(&BTreeMap::new()).unwrap_or_default();
        situation.scope(1).with("params", params.into())
    };
    for (candidate, rank) in situation.ranking.candidates.iter().zip(1..) {
        let cause = &candidate.cause;
        let service = cause.service().unwrap_or("");
        let reason =
            if !matching.services.is_empty() && !matching.services.iter().any(|s| s == service) {
                Some(
                    Reason::new("other_service", format!("it is not for {cause}"))
                        .with("for", matching.services.clone()),
                )
            } else if !matching.cause_kinds.is_empty()
                && !kind_of_cause(cause).is_some_and(|kind| matching.cause_kinds.contains(&kind))
            {
                Some(Reason::new("other_kind", format!("it is not for causes such as {cause}")))
            } else if let Some(when) = &matching.when {
                let scope = scope.get_or_insert_with(make_scope);
                scope.set("cause", situation.cause(rank));
                match when.holds(scope) {
                    Ok(true) => None,
                    Ok(false) => Some(Reason::new(
                        "condition_fails",
                        format!("`{when}` does not hold for {cause}"),
                    )),
                    Err(error) => Some(Reason::new("condition_unknown", error.to_string())),
                }
            } else {
                None
            };
        match reason {
            None => accepted.push(rank),
            Some(reason) => {
                first_reason.get_or_insert(reason);
            }
        }
    }
    if accepted.is_empty() {
        let nothing = || Reason::new("no_cause", "no cause was found");
        return Err(first_reason.unwrap_or_else(nothing));
    }
    Ok(accepted)
}
