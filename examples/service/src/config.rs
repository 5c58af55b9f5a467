//! One file with everything that can be set.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use aiops_core::Prefer;
use serde::{Deserialize, Serialize};

use crate::{ActConfig, Error, Result};

/// The configuration of the service, as it stands in a TOML file. What is left out keeps its
/// default; what is misspelt is an error.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where to listen. Elsewhere than on loopback only with `tokens`.
    pub listen: SocketAddr,
    /// The folder of everything that outlives the process.
    pub data: PathBuf,
    /// Keep everything in PostgreSQL instead of in `data`, so that several services can share it:
    /// a connection string, `host=127.0.0.1 user=aiops dbname=aiops`. Needs the feature `postgres`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub postgres: Option<String>,
    /// Which mistake is worse: `fewer_misses`, `balanced` or `fewer_pages`.
    pub prefer: Prefer,
    /// Who depends on whom: a `.yaml`, `.json` or `.csv` file. Without one, grouping falls back to
    /// what alerts say of themselves and ranking to the evidence alone.
    pub topology: Option<PathBuf>,
    /// How many series are watched; more are refused and counted.
    pub max_series: usize,
    /// Distance of the points that are kept for charts and rankings, in seconds.
    pub step_seconds: u64,
    /// How many minutes of them are kept in memory.
    pub keep_minutes: u64,
    /// How often an open incident is ranked again, in seconds.
    pub rank_every_seconds: u64,
    /// How many hours of alerts and changes are read again after a restart.
    pub recover_hours: u64,
    /// What may be done about incidents.
    pub act: ActConfig,
    /// Who may do what. Without tokens, everybody who reaches the loopback address may do all.
    pub tokens: Vec<Token>,
}

/// A token of one person or sender.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// Whose it is: what stands in the record of who said what.
    pub name: String,
    /// What it allows.
    pub role: Role,
    /// The secret, at least 16 characters.
    pub token: String,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Token { name, role, .. } = self;
        f.debug_struct("Token").field("name", name).field("role", role).finish_non_exhaustive()
    }
}

/// What a token allows; each allows what those before it allow, but a sender sees nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Sending samples, alerts and changes.
    Sender,
    /// Looking.
    Viewer,
    /// Answering: what was the cause, what was noise; and approving remedies, as somebody on call.
    Approver,
    /// Everything: the kill switch, and approving as a lead.
    Admin,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9480),
            data: "aiops-data".into(),
            postgres: None,
            prefer: Prefer::default(),
            topology: None,
            max_series: 20_000,
            step_seconds: 5,
            keep_minutes: 60,
            rank_every_seconds: 10,
            recover_hours: 24,
            act: ActConfig::default(),
            tokens: Vec::new(),
        }
    }
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`Error::Config`] names file, line and column of what is wrong.
    pub fn read(file: &Path) -> Result<Self> {
        let failed = |reason: String| Error::Config { file: file.to_owned(), reason };
        let text = std::fs::read_to_string(file).map_err(|error| failed(error.to_string()))?;
        let config: Config = toml::from_str(&text).map_err(|error| failed(error.to_string()))?;
        config.check().map_err(failed)?;
        Ok(config)
    }

    /// What must hold beyond the types.
    ///
    /// # Errors
    /// Says what is wrong, and what to write instead.
    pub fn check(&self) -> std::result::Result<(), String> {
        if !self.listen.ip().is_loopback() && self.tokens.is_empty() {
            return Err(format!(
                "refusing to listen on {} without authentication: anybody could read and answer \
                 everything; add [[tokens]], or listen on 127.0.0.1",
                self.listen
            ));
        }
        if self.postgres.is_some() && !cfg!(feature = "postgres") {
            return Err(
                "postgres: this binary was built without the feature of that name".to_owned()
            );
        }
        for (field, value) in [
            ("max_series", self.max_series as u64),
            ("step_seconds", self.step_seconds),
            ("keep_minutes", self.keep_minutes),
            ("rank_every_seconds", self.rank_every_seconds),
            ("recover_hours", self.recover_hours),
        ] {
            if value == 0 {
                return Err(format!("{field} must be above zero"));
            }
        }
        for token in &self.tokens {
            if token.token.len() < 16 || token.name.is_empty() {
                return Err(format!(
                    "the token of {:?} needs a name and at least 16 characters",
                    token.name
                ));
            }
        }
        Ok(())
    }

    /// The distance of kept points.
    pub fn step(&self) -> Duration {
        Duration::from_secs(self.step_seconds)
    }

    /// How many points are kept of a series.
    pub fn slots(&self) -> usize {
        (self.keep_minutes * 60).div_ceil(self.step_seconds) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_can_be_printed_and_read_again() {
        let text = toml::to_string(&Config::default()).unwrap();
        assert_eq!(toml::from_str::<Config>(&text).unwrap(), Config::default());
        assert_eq!(Config::default().check(), Ok(()));
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        let error = toml::from_str::<Config>("step_seconds = 5\nkeep_minuts = 3\n").unwrap_err();
        let text = error.to_string();
        assert!(text.contains("line 2") && text.contains("keep_minuts"), "{text}");
        let open = Config { listen: "0.0.0.0:9480".parse().unwrap(), ..Config::default() };
        assert!(open.check().unwrap_err().contains("without authentication"));
        assert!(Config { step_seconds: 0, ..Config::default() }.check().is_err());
        let token = Token { name: "ada".into(), role: Role::Viewer, token: "short".into() };
        let text = format!("{token:?}");
        assert!(!text.contains("short"), "secrets are not printed: {text}");
        assert!(Config { tokens: vec![token], ..Config::default() }.check().is_err());
    }
}
