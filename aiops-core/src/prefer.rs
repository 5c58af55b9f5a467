//! The one setting for people who do not want to set thirty.

use serde::{Deserialize, Serialize};

/// Which mistake is worse. Each stage documents the settings that a preference stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prefer {
    /// A missed incident is worse than a noisy one. The default.
    #[default]
    FewerMisses,
    /// Neither.
    Balanced,
    /// A page for nothing is worse than a late one.
    FewerPages,
}
