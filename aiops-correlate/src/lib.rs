#![doc = include_str!("../README.md")]
//! # The path of an alert
//!
//! | stage | what it does | settings |
//! | --- | --- | --- |
//! | map | an alert without a service gets one from its labels | [`MapRule`] |
//! | clock skew | senders whose clocks are off are corrected | [`SkewConfig`] |
//! | deduplicate | records of one fingerprint become firings with a beginning and an end | [`DedupConfig`] |
//! | quiet | silences, maintenance windows and inhibition, which end loudly | [`Silence`], [`InhibitRule`] |
//! | link | a firing hangs on the earlier onset that explains it best, weighed against chance | [`SpreadConfig`] |
//! | hold | a group is shown when the evidence for trouble outweighs what was learned about firings of its kind | [`Hold`], [`Priors`] |
//! | front | very much that begins at once is a second root | [`FrontConfig`] |
//! | cone | known symptoms inside an incident that is in sight show nothing by themselves | [`ConeConfig`] |
//! | storm | display is sampled while more comes than anybody reads | [`BreakerConfig`] |
//! | correct | people merge, split, move, pin, and say what is noise | [`Correction`] |
//! | changes | deploys and other changes are attached to what they precede | [`ChangeConfig`] |
//! | tell | incidents, decisions and their reasons | [`Decision`], [`Because`] |
//!
//! [`Correlator`] is the contract, with a manual for both sides; [`Funnel`] is the default
//! implementation, built from a [`FunnelConfig`].
//!
//! # Features
//! `sim`: the storm generator. `linfa`: `SimilarConfig`, which groups by wording where no topology helps. `zones`: maintenance windows in named time zones. `testing`: `testing::check_correlator`, which judges an implementation of [`Correlator`].
#![cfg_attr(docsrs, feature(doc_cfg))]

mod baseline;
mod breaker;
mod changes;
mod config;
mod correlator;
mod decision;
mod dedup;
mod delay;
mod error;
pub mod eval;
mod feedback;
mod front;
mod funnel;
mod group;
mod history;
mod hold;
mod inhibit;
mod life;
mod mapping;
mod matcher;
mod names;
mod near;
mod onset;
mod silence;
#[cfg(feature = "sim")]
#[cfg_attr(docsrs, doc(cfg(feature = "sim")))]
pub mod sim;
#[cfg(feature = "linfa")]
#[cfg_attr(docsrs, doc(cfg(feature = "linfa")))]
mod similar;
mod skew;
mod snapshot;
#[cfg(feature = "testing")]
#[cfg_attr(docsrs, doc(cfg(feature = "testing")))]
pub mod testing;

pub use baseline::{GroupBy, Simple, SimpleConfig};
pub use breaker::{Breaker, BreakerConfig, BreakerNews, Display, StormCounts};
pub use changes::ChangeConfig;
pub use config::FunnelConfig;
pub use correlator::{Context, Correlator, CorrelatorExt, News, Update};
pub use decision::{Action, Because, Decision};
pub use dedup::DedupConfig;
pub use error::{Error, Result};
pub use feedback::{Corrected, Correction, Subject};
pub use front::FrontConfig;
pub use funnel::{ConeConfig, Funnel};
pub use history::Priors;
pub use hold::{Hold, HoldConfig, StaticHold};
pub use inhibit::{InhibitRule, Inhibitions};
pub use life::LogLogistic;
pub use mapping::{MapRule, Mapping};
pub use matcher::Matcher;
pub use near::Relation;
pub use onset::SpreadConfig;
pub use silence::{Expired, Silence, Silences, Weekday, When, Zone};
#[cfg(feature = "linfa")]
#[cfg_attr(docsrs, doc(cfg(feature = "linfa")))]
pub use similar::SimilarConfig;
pub use skew::{ClockSkew, SkewConfig};
