//! The audit: a chain of records that shows when one was changed, left out, moved or cut off.
//!
//! Every record carries the hash of the one before it. A chain alone does not show that its tail is
//! missing or that all of it was written anew, so its head also goes to a sink that the engine cannot
//! rewrite ([`HeadSink`]); [`verify`] takes such a head and then shows both.

use std::fmt;

use aiops_core::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::canonical::Digest;
use crate::plan::RunId;

/// One record of the audit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// Its number, from 0, without gaps.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// The run it is about, if one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
    /// What happened, in one word.
    pub what: String,
    /// Details: who, the state afterwards, the reasons.
    pub body: Value,
    /// Hash of the record before, [`Digest::ZERO`] for the first.
    pub prev: Digest,
    /// Hash of this record.
    pub hash: Digest,
}

/// The end of a chain: what a later check is held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Number of the next record.
    pub next: u64,
    /// Hash of the last record, [`Digest::ZERO`] before the first.
    pub hash: Digest,
}

impl Default for Head {
    fn default() -> Head {
        Head { next: 0, hash: Digest::ZERO }
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.next, self.hash)
    }
}

/// Where heads go that the engine cannot take back: a log line, an object store, a mailbox.
pub trait HeadSink: Send + Sync {
    /// Takes the head of the chain at `at`. It must not block for long and cannot fail: what it
    /// cannot store it drops, and the next head says as much.
    fn publish(&self, head: Head, at: Timestamp);
}

/// The first thing that is wrong with a chain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("audit record {seq}: {what}")]
pub struct Tampered {
    /// Number of the first bad record.
    pub seq: u64,
    /// What is wrong with it.
    pub what: String,
}

impl AuditRecord {
    /// The next record of a chain that ends at `head`.
    #[must_use]
    pub fn next(
        head: Head,
        at: Timestamp,
        run: Option<RunId>,
        what: &str,
        body: Value,
    ) -> AuditRecord {
        let mut record = AuditRecord {
            seq: head.next,
            at,
            run,
            what: what.to_owned(),
            body,
            prev: head.hash,
            hash: Digest::ZERO,
        };
        record.hash = record.digest();
        record
    }

    /// The head of a chain that ends with this record.
    #[must_use]
    pub fn head(&self) -> Head {
        Head { next: self.seq + 1, hash: self.hash }
    }

    fn digest(&self) -> Digest {
        Digest::of_json(&json!({
            "seq": self.seq, "at": self.at, "run": self.run, "what": self.what,
            "body": self.body, "prev": self.prev,
        }))
    }
}

/// Checks a chain from its first record on, and that it reaches `published` if a head is given.
///
/// Returns the head of what was read.
///
/// # Errors
/// The first bad record: changed, out of order, missing; or the number at which the chain leaves the
/// published head, when its tail was cut off or all of it was written anew.
pub fn verify<'a>(
    records: impl IntoIterator<Item = &'a AuditRecord>,
    published: Option<Head>,
) -> Result<Head, Tampered> {
    let mut head = Head::default();
    let meets = |head: Head| match published {
        Some(published) if published.next == head.next && published.hash != head.hash => {
            Err(Tampered {
                seq: head.next.saturating_sub(1),
                what: "differs from the published head: the chain was written anew".to_owned(),
            })
        }
        _ => Ok(()),
    };
    meets(head)?;
    for record in records {
        let wrong = |what: String| Tampered { seq: head.next, what };
        if record.seq != head.next {
            return Err(wrong(format!("found number {} in its place", record.seq)));
        }
        if record.prev != head.hash {
            return Err(wrong("does not follow the record before it".to_owned()));
        }
        if record.hash != record.digest() {
            return Err(wrong("its content does not have its hash".to_owned()));
        }
        head = record.head();
        meets(head)?;
    }
    match published {
        Some(published) if published.next > head.next => Err(Tampered {
            seq: head.next,
            what: format!("missing: {} records were published", published.next),
        }),
        _ => Ok(head),
    }
}
