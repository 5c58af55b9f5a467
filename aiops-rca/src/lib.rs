//! From an incident to its probable root cause, with probabilities, evidence and an honest
//! "unknown".
//!
//! Four steps:
//!
//! 1. **Context.** A window of metrics on a common grid ([`aiops_core::Frame`]), what each row is
//!    ([`MetricInfo`]), who depends on whom, what changed, what was detected: one [`Context`].
//! 2. **Preparation.** [`PrepareConfig::prepare`] reads each row: how many robust standard
//!    deviations it is worse than before, in the direction that hurts, since when, and how much
//!    work that touched ([`Deviation`]); then gathers them by service ([`Suspect`]).
//! 3. **Ranking.** A [`RootCauseAnalyzer`] turns that into an [`aiops_core::Ranking`]. Use
//!    [`DefaultConfig`].
//! 4. **Evidence.** Every candidate carries its time line, its worst metrics, the path to the
//!    symptoms and what would change the answer, as data. [`ConfidenceConfig`] says when a person
//!    should decide.
//!
//! Beside that: [`CausalDiscovery`] learns who influences whom, [`Experience`] turns what people say
//! about rankings into better ones, [`replay`] and [`eval`] judge methods on past incidents.
//!
//! # Which method
//! | to ... | use |
//! | --- | --- |
//! | rank the causes of an incident | [`DefaultConfig`] |
//! | the same by the plain definition | [`BayesConfig`] |
//! | know what the graph adds | [`RobustConfig`] beside it: same preparation, no graph |
//! | compare with the literature | [`PublishedScorer`], [`HypothesisConfig`] (CIRCA class), [`WalkConfig`] (page rank, random walk), [`TraversalConfig`], [`RcdConfig`], [`CorrelationRanking`] |
//! | find lagged influences among many series | [`ConditionalGrangerConfig`], or [`PcmciConfig`] when they are strongly autocorrelated |
//! | the same, and influences within one step | [`PcmciPlusConfig`] |
//! | test one pair | [`GrangerConfig`] |
//! | know which route, instance or tenant it is | [`DrillConfig`] |
//! | make wandering or repeated series fit for that | [`TidyConfig`], before any of them |
//! | find influences within one step | [`PcConfig`]; [`DirectLingamConfig`], [`VarLingamConfig`] with non-Gaussian noise |
//!
//! [`Context`] has a complete example.
//!
//! # When not to use it
//! Without a time that is known to be normal there is nothing to compare with. To find out *that*
//! something is wrong, use a detector; this crate is told when.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod adjust;
mod analyzer;
mod confidence;
mod context;
mod discover;
mod drill;
mod error;
pub mod eval;
mod experience;
mod fuse;
mod independence;
mod linalg;
mod parallel;
mod prepare;
mod rank;
pub mod replay;
mod stats;
#[cfg(feature = "testing")]
#[cfg_attr(docsrs, doc(cfg(feature = "testing")))]
pub mod testing;

pub use adjust::Adjust;
pub use analyzer::RootCauseAnalyzer;
pub use confidence::{Advice, ConfidenceConfig};
pub use context::{Context, MetricInfo};
pub use discover::{
    CausalDiscovery, CausalEdge, CausalGraph, ConditionalGranger, ConditionalGrangerConfig,
    Deterministic, DirectLingam, DirectLingamConfig, Dropped, Granger, GrangerConfig, GrangerTest,
    Knowledge, LagChoice, Mark, Pc, PcConfig, PcTest, Pcmci, PcmciConfig, PcmciPlus,
    PcmciPlusConfig, Tidied, Tidy, TidyConfig, Tidying, Treatment, Unfit, UnitRootTest, VarLingam,
    VarLingamConfig, WaldTest, unit_root,
};
pub use drill::{DimensionValue, Drill, DrillConfig, Finding};
pub use error::{Error, Result};
pub use experience::{Experience, ExperienceConfig, Trouble};
pub use fuse::{FusedEdge, FusedGraph, FusionConfig, Why};
pub use prepare::{Deviation, PrepareConfig, Prepared, Suspect};
pub use rank::{
    Bayes, BayesConfig, ChangeConfig, CorrelationRanking, DefaultConfig, HypothesisConfig,
    HypothesisTest, MagnitudeConfig, PublishedScorer, Rcd, RcdConfig, RobustConfig, RobustScorer,
    Scale, Traversal, TraversalConfig, Walk, WalkConfig,
};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
