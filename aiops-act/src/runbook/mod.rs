//! Runbooks: documents that say when they fit, what may go wrong, what to do and how to tell
//! whether it helped.
//!
//! [`Runbook::parse`] is the only door: what it returns has been checked, and carries the hash
//! that approvals, trust and runs are bound to. A changed comment changes nothing; a changed
//! value is a different runbook.
//!
//! ```
//! use aiops_act::Runbook;
//!
//! let text = r#"
//! schema: aiops.runbook/v1
//! id: restart-api
//! version: 1.0.0
//! title: Restart the API
//! owner: platform
//! match: {services: [api]}
//! targets: {services: ["${{ cause.service }}"]}
//! steps:
//!   - id: restart
//!     uses: http
//!     with: {method: POST, url: "http://127.0.0.1:9000/restart"}
//!     undo: {uses: nothing}
//! "#;
//! let runbook = Runbook::parse(text.as_bytes()).unwrap();
//! assert_eq!(runbook.id(), "restart-api");
//!
//! let slip = text.replace("owner:", "onwer:");
//! let errors = Runbook::parse(slip.as_bytes()).unwrap_err();
//! assert_eq!(
//!     errors.to_string(),
//!     "line 6, column 1: onwer: no field is called `onwer` here; did you mean `owner`?"
//! );
//! ```

pub(crate) mod calendar;
pub(crate) mod duration;
pub mod expr;
mod json_schema;
mod library;
mod params;
mod parse;
mod schema;
pub mod template;
mod validate;

use std::fmt;
use std::sync::Arc;

use aiops_core::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use json_schema::JSON_SCHEMA;
pub use library::{Library, LibraryError};
pub use params::ParamError;
pub use parse::{DocumentError, MAX_DOCUMENT};
pub use schema::{
    Approvals, Auto, CauseKind, Day, Direction, Document, Effect, Freeze, Guard, Idempotent, Match,
    Metric, OnFailure, OnTimeout, OnUnknown, Param, ParamType, Rate, Retry, Risk, SCHEMA, Safety,
    Step, Targets, Undo, Verify, Weekly,
};
pub use validate::{MAX_METRICS, MAX_STEPS, UNDO_BY_EXECUTOR, UNDO_NOTHING};

use crate::canonical::Digest;

/// A checked document and its hash. Cheap to clone.
#[derive(Clone, PartialEq)]
pub struct Runbook {
    document: Arc<Document>,
    hash: Digest,
}

/// Everything that is wrong with a document, in reading order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentErrors(pub Vec<DocumentError>);

impl fmt::Display for DocumentErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.0.iter().enumerate() {
            let separator = if i > 0 { "\n" } else { "" };
            write!(f, "{separator}{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for DocumentErrors {}

impl Runbook {
    /// Reads and checks a document in YAML or JSON.
    ///
    /// # Errors
    /// The first problem that keeps it from being read, or else every problem of its content.
    pub fn parse(bytes: &[u8]) -> Result<Runbook, DocumentErrors> {
        let document = parse::parse(bytes).map_err(|error| DocumentErrors(vec![error]))?;
        Runbook::check(document).map_err(|errors| {
            let mut located: Vec<DocumentError> =
                errors.0.into_iter().map(|error| parse::locate(bytes, error)).collect();
            located.sort_by_key(|e| (e.line, e.column));
            DocumentErrors(located)
        })
    }

    /// Checks a document that was built in code.
    ///
    /// # Errors
    /// Every problem of its content, by path; there are no lines to point to.
    pub fn check(document: Document) -> Result<Runbook, DocumentErrors> {
        let problems = validate::check(&document);
        if !problems.is_empty() {
            return Err(DocumentErrors(problems));
        }
        let value = serde_json::to_value(&document)
            .map_err(|e| DocumentErrors(vec![DocumentError::whole(e.to_string())]))?;
        Ok(Runbook { document: Arc::new(document), hash: Digest::of_json(&value) })
    }

    /// The document's stable name.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.document.id
    }

    /// The document.
    #[must_use]
    pub fn document(&self) -> &Document {
        &self.document
    }

    /// SHA-256 over the canonical JSON of the document, every default written out: the name of
    /// these exact steps and limits. Comments, order of keys and spelling of durations do not
    /// enter; any value does.
    #[must_use]
    pub fn hash(&self) -> Digest {
        self.hash
    }

    /// Whether it may be used at `now`: not revoked, not past `valid_until`.
    #[must_use]
    pub fn is_valid_at(&self, now: Timestamp) -> bool {
        let until = self.document.valid_until.as_deref().map(calendar::instant);
        !self.document.revoked && until.is_none_or(|until| until.is_some_and(|until| now < until))
    }
}

impl Document {
    /// The risk that the document states or that follows from its steps, whichever is higher. A
    /// document cannot talk an irreversible step down.
    #[must_use]
    pub fn risk(&self) -> Risk {
        let of_step = |step: &Step| match step.effect {
            Effect::Read => Risk::ReadOnly,
            Effect::Write => Risk::Reversible,
            Effect::Irreversible => Risk::Irreversible,
        };
        self.steps.iter().map(of_step).fold(self.safety.risk, Risk::max)
    }
}

impl fmt::Debug for Runbook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Runbook({} {} {})", self.document.id, self.document.version, self.hash.short())
    }
}

/// As its document.
impl Serialize for Runbook {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.document.serialize(serializer)
    }
}

/// Checks again: a stored document is as untrusted as a new one.
impl<'de> Deserialize<'de> for Runbook {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Runbook::check(Document::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}
