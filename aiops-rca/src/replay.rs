//! Past incidents whose cause is known, ranked again: which method should one trust here?

use crate::eval::{Interval, Judged, paired_bootstrap};
use crate::{Context, RootCauseAnalyzer};

/// An incident whose cause was found out.
#[derive(Debug, Clone)]
pub struct PastIncident<'a> {
    /// What was known while it lasted.
    pub context: Context<'a>,
    /// The services that caused it, by themselves or by a change.
    pub causes: Vec<String>,
}

/// Ranks every incident again. A method that fails, or for which the unknown leads, has ranked
/// nothing: that is a miss, not a gap in the statistics.
pub fn replay(analyzer: &dyn RootCauseAnalyzer, past: &[PastIncident<'_>]) -> Vec<Judged> {
    let judge = |incident: &PastIncident<'_>| {
        let ranking = analyzer.rank(&incident.context).ok();
        let ranking = ranking.filter(|r| r.top().is_some_and(|top| top.probability > r.unknown));
        let candidates = ranking.map(|ranking| ranking.candidates).unwrap_or_default();
        let services = candidates.iter().filter_map(|candidate| candidate.cause.service());
        Judged { truth: incident.causes.clone(), ..Judged::new(services, "") }
    };
    past.iter().map(judge).collect()
}

/// Two methods over the same incidents.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// The methods, ours first.
    pub methods: [String; 2],
    /// How many incidents there were.
    pub incidents: usize,
    /// AC@1 of each.
    pub ac1: [f64; 2],
    /// Avg@5 of each.
    pub avg5: [f64; 2],
    /// The difference in Avg@5, with its 95 % interval.
    pub lead: Interval,
}

/// Compares two methods, for example the default with
/// [`CorrelationRanking`](crate::CorrelationRanking): does causality pay its way on *your* incidents?
///
/// The interval is that of 10,000 paired draws with `seed`.
pub fn compare(
    ours: &dyn RootCauseAnalyzer,
    theirs: &dyn RootCauseAnalyzer,
    past: &[PastIncident<'_>],
    seed: u64,
) -> Comparison {
    let judged = [replay(ours, past), replay(theirs, past)];
    let at = |k: usize| judged.each_ref().map(|of| crate::eval::ac_at_k(of, k));
    let avg = judged.each_ref().map(|of| of.iter().map(|j| j.avg_at_k(5)).collect::<Vec<f64>>());
    Comparison {
        methods: [ours.id().to_owned(), theirs.id().to_owned()],
        incidents: past.len(),
        ac1: at(1),
        avg5: judged.each_ref().map(|of| crate::eval::avg_at_k(of, 5)),
        lead: paired_bootstrap(&avg[0], &avg[1], 0.95, 10_000, seed),
    }
}
