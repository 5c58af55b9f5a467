//! The contract of ranking.

use crate::{Context, Result};
use aiops_core::Ranking;

/// Says who or what caused an incident.
///
/// **For callers.** [`rank`](Self::rank) is a function of the context: no clock, no network, no
/// state that a call would change; the same context gives the same ranking, on any number of
/// threads. Probabilities of candidates and `unknown` sum to one. A method that has nothing to say
/// returns no candidates and `unknown = 1`, which is a result: escalate to a person. Probabilities
/// of different methods are comparable only as far as both are calibrated; scores never are.
///
/// **For implementers.** Call [`Context::check`] first, since its fields are open. Gaps are NaN and
/// may fill whole rows; constant rows, an empty topology, cycles in it, services that only the
/// window or only the topology knows, and an empty window all have an answer that is not an error.
/// The names of services carry no information, and neither does the order of rows: renaming one or
/// permuting the other must rename or leave the ranking and nothing else. A candidate with no
/// weight at all is left out. Build the result with [`Ranking::from_weights`], which orders ties by
/// a stated key. Run `testing::check_analyzer` (feature `testing`) over
/// your implementation.
///
/// ```
/// use aiops_core::Ranking;
/// use aiops_rca::{Context, Result, RootCauseAnalyzer};
///
/// /// Never knows: the row that every benchmark table should have.
/// struct Abstains;
///
/// impl RootCauseAnalyzer for Abstains {
///     fn id(&self) -> &str { "abstains" }
///     fn rank(&self, context: &Context<'_>) -> Result<Ranking> {
///         context.check()?;
///         // Right: no candidates, and all of the probability on the unknown.
///         Ok(Ranking::from_weights(self.id(), vec![], 1.0)?)
///         // Wrong: `Err(..)` for "nothing found"; a harness would count a failure.
///     }
/// }
/// ```
pub trait RootCauseAnalyzer: Send + Sync {
    /// A short, stable, lower-case name, such as `robust`; it becomes [`Ranking::method`].
    fn id(&self) -> &str;

    /// Ranks the possible causes of the incident in `context`.
    ///
    /// # Errors
    /// [`Error::Mismatch`](crate::Error::Mismatch) when the parts of the context do not fit.
    fn rank(&self, context: &Context<'_>) -> Result<Ranking>;
}

impl<A: RootCauseAnalyzer + ?Sized> RootCauseAnalyzer for Box<A> {
    fn id(&self) -> &str {
        (**self).id()
    }

    fn rank(&self, context: &Context<'_>) -> Result<Ranking> {
        (**self).rank(context)
    }
}
