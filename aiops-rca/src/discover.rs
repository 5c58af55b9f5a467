//! Discovery: who influences whom, from data alone or within what is known.

mod granger;
mod graph;
mod knowledge;
mod lagged;
mod lingam;
mod pc;
mod pcmci;
mod pcmci_plus;
mod tidy;
mod unit_root;
mod var_granger;

pub use granger::{Granger, GrangerConfig, GrangerTest, LagChoice};
pub use graph::{CausalEdge, CausalGraph, Mark};
pub use knowledge::{Dropped, Knowledge};
pub use lingam::{DirectLingam, DirectLingamConfig, VarLingam, VarLingamConfig};
pub use pc::{Pc, PcConfig, PcTest};
pub use pcmci::{Pcmci, PcmciConfig};
pub use pcmci_plus::{PcmciPlus, PcmciPlusConfig};
pub use tidy::{Tidied, Tidy, TidyConfig, Tidying, Treatment, Unfit};
pub use unit_root::{Deterministic, UnitRootTest, unit_root};
pub use var_granger::{ConditionalGranger, ConditionalGrangerConfig, WaldTest};

pub(crate) use granger::longest_run;
pub(crate) use pc::for_each_subset;

use crate::Result;
use aiops_core::Frame;

/// Learns a causal graph over the rows of a frame.
///
/// **For callers.** Give it normal time (and perhaps the ramp), not the fault alone: discovery is
/// about how the system works, not about how it broke. The result is a function of the data and the
/// knowledge, the same for any number of threads. Every edge carries the test that it rests on.
/// Absence of an edge means that the data did not show it, not that there is none; presence means
/// predictive or conditional dependence under the assumptions that the implementation names, never
/// proof.
///
/// **For implementers.** Steps with a gap in any value that a test needs are left out, not filled.
/// Constant rows get no edge. Too few samples are [`Error::NotEnoughData`](crate::Error), repeated
/// rows either [`Error::Singular`](crate::Error) or no edge, never NaN. Respect
/// [`Knowledge`]: no forbidden edge, every required one. Permuting rows permutes the graph, but
/// for conflicts that are settled by order; say where. Run
/// `testing::check_discovery` (feature `testing`).
pub trait CausalDiscovery: Send + Sync {
    /// A short, stable, lower-case name, such as `pcmci`.
    fn id(&self) -> &str;

    /// The graph over the rows of `data`.
    ///
    /// # Errors
    /// [`Error::NotEnoughData`](crate::Error::NotEnoughData),
    /// [`Error::Singular`](crate::Error::Singular), and
    /// [`Error::Mismatch`](crate::Error::Mismatch) when the knowledge speaks of other rows.
    fn discover(&self, data: &Frame, knowledge: &Knowledge) -> Result<CausalGraph>;
}
