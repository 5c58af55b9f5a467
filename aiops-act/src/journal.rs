//! The journal: one commit for each transition, with everything that belongs to it.
//!
//! A commit writes the run as it is now, the event, the audit record, the messages and, where the
//! book changes, the book; all or nothing. It succeeds only if the run and its owner are as they
//! were read: an engine that has lost a run cannot write to it any more, and so cannot make an
//! intent durable, and so has no effect.

use std::sync::Arc;
use std::time::Duration;

use aiops_core::{Batch, IncidentId, Store, StoreError, Timestamp, Version, report, telemetry};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::audit::{AuditRecord, Head};
use crate::book::Book;
use crate::canonical::Digest;
use crate::error::{Error, Result};
use crate::escalate::Page;
use crate::machine::{Event, Run, State, Transition};
use crate::notify::Message;
use crate::plan::RunId;

/// Version of everything that is stored.
const FORMAT: u32 = 1;
/// How often a commit is tried again when somebody else wrote the audit or the book meanwhile.
const TRIES: usize = 64;

const BOOK: &str = "act/book";
const PAUSE: &str = "act/pause";
const AUDIT_HEAD: &str = "act/audit/head";
const AUDIT_LOG: &str = "act/audit";
const RUNS: &str = "act/run/";
const OUTBOX: &str = "act/outbox/";
const PAGES: &str = "act/page/";

fn run_key(run: RunId) -> String {
    format!("{RUNS}{run}")
}
fn owner_key(run: RunId) -> String {
    format!("act/owner/{run}")
}
fn incident_key(incident: IncidentId) -> String {
    format!("act/incident/{incident}")
}
fn page_key(run: RunId) -> String {
    format!("{PAGES}{run}")
}
fn journal_log(run: RunId) -> String {
    format!("act/journal/{run}")
}

/// What is stored, with the version of its format.
#[derive(Serialize, Deserialize)]
struct Stored<T> {
    format: u32,
    value: T,
}

#[derive(Serialize, Deserialize)]
struct StoredRun {
    run: Run,
}

/// One event as the journal keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JournalRecord {
    /// When it was applied.
    pub at: Timestamp,
    /// The event; `None` for the record that begins a run.
    pub event: Option<Event>,
    /// The run's revision afterwards.
    pub revision: u64,
}

/// Who drives a run, and until when nobody else may.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Owner {
    pub(crate) engine: String,
    /// Changes with every process, so that a restarted engine of the same name is another one.
    pub(crate) incarnation: String,
    /// By the store's clock.
    pub(crate) until: Timestamp,
}

/// A run with the versions under which it was read.
#[derive(Debug, Clone)]
pub(crate) struct Loaded {
    pub(crate) run: Run,
    pub(crate) version: Version,
    pub(crate) owner: Option<Owner>,
    pub(crate) owner_version: Version,
}

/// A message that waits for delivery.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Pending {
    pub(crate) route: String,
    pub(crate) message: Message,
    pub(crate) attempts: u32,
    pub(crate) not_before: Timestamp,
}

/// A page with the message that it brings from level to level.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct StoredPage {
    pub(crate) page: Page,
    pub(crate) message: Message,
}

/// The lost race of a commit.
#[derive(Debug)]
pub(crate) enum CommitError {
    /// The run or its owner changed: load it again.
    Moved,
    /// The book changed in a way that the caller must judge again.
    BookMoved,
    /// Anything else.
    Other(Error),
}

impl From<Error> for CommitError {
    fn from(error: Error) -> CommitError {
        CommitError::Other(error)
    }
}

/// A change of the book that belongs to a transition.
pub(crate) enum BookChange {
    /// Leave it.
    None,
    /// Exactly this one, if it is still at the version at which it was judged.
    Exactly(Book, Version),
    /// A change that can be made whatever it has become.
    With(Box<dyn Fn(&mut Book) + Send>),
}

/// Everything that belongs to one transition.
pub(crate) struct Commit {
    pub(crate) event: Event,
    pub(crate) transition: Transition,
    pub(crate) messages: Vec<Pending>,
    /// Who is paged level by level, if anybody is.
    pub(crate) page: Option<StoredPage>,
    pub(crate) book: BookChange,
    /// The new owner; `None` leaves it as it is.
    pub(crate) owner: Option<Owner>,
    pub(crate) at: Timestamp,
}

/// The store, and how this crate uses it. Every method blocks; async callers go through a blocking
/// pool.
#[derive(Clone)]
pub(crate) struct Journal {
    store: Arc<dyn Store>,
}

impl Journal {
    pub(crate) fn new(store: Arc<dyn Store>) -> Journal {
        Journal { store }
    }

    pub(crate) fn now(&self) -> Result<Timestamp> {
        self.store.now().map_err(Error::store("asking its clock"))
    }

    fn read<T: DeserializeOwned>(&self, key: &str) -> Result<Option<(T, Version)>> {
        let found = self.store.get(key.as_bytes()).map_err(Error::store("reading"))?;
        let Some(found) = found else { return Ok(None) };
        Ok(Some((decode(key, &found.value)?, found.version)))
    }

    pub(crate) fn load(&self, run: RunId) -> Result<Loaded> {
        let stored: Option<(StoredRun, _)> = self.read(&run_key(run))?;
        let (stored, version) = stored.ok_or(Error::UnknownRun(run))?;
        let (owner, owner_version) = match self.read::<Owner>(&owner_key(run))? {
            Some((owner, version)) => (Some(owner), version),
            None => (None, 0),
        };
        Ok(Loaded { run: stored.run, version, owner, owner_version })
    }

    pub(crate) fn book(&self) -> Result<(Book, Version)> {
        Ok(self.read(BOOK)?.unwrap_or_default())
    }

    pub(crate) fn paused(&self) -> Result<Option<String>> {
        #[derive(Deserialize)]
        struct Paused {
            why: String,
        }
        Ok(self.read::<Paused>(PAUSE)?.map(|(paused, _)| paused.why))
    }

    pub(crate) fn active_run(&self, incident: IncidentId) -> Result<Option<RunId>> {
        #[derive(Deserialize)]
        struct Active {
            run: RunId,
        }
        Ok(self.read::<Active>(&incident_key(incident))?.map(|(active, _)| active.run))
    }

    /// Ids of runs, in order of id, from after `after` on.
    pub(crate) fn run_ids(&self, after: Option<RunId>, limit: usize) -> Result<Vec<RunId>> {
        let after = after.map(run_key);
        let found = self
            .store
            .scan(RUNS.as_bytes(), after.as_deref().map(str::as_bytes), limit)
            .map_err(Error::store("listing runs"))?;
        let ids = found
            .iter()
            .filter_map(|entry| std::str::from_utf8(&entry.key[RUNS.len()..]).ok()?.parse().ok());
        Ok(ids.collect())
    }

    /// Writes or clears the kill switch, audited.
    pub(crate) fn set_paused(&self, why: Option<&str>, by: &str, at: Timestamp) -> Result<Head> {
        let what = if why.is_some() { "paused" } else { "resumed" };
        let body = json!({"by": by, "why": why});
        self.audited(None, what, &body, at, |batch| match why {
            Some(why) => batch.put(PAUSE, encode(&json!({"why": why, "by": by}))),
            None => batch.delete(PAUSE),
        })
    }

    /// Changes the book, audited.
    pub(crate) fn change_book(
        &self,
        what: &str,
        body: &Value,
        at: Timestamp,
        change: impl Fn(&mut Book) -> Result<()>,
    ) -> Result<Head> {
        for _ in 0..TRIES {
            let (mut book, version) = self.book()?;
            change(&mut book)?;
            let fill = |batch: Batch| batch.expect(BOOK, version).put(BOOK, encode(&book));
            match self.audited(None, what, body, at, fill) {
                Err(Error::Store { source: StoreError::Conflict { .. }, .. }) => {}
                done => return done,
            }
        }
        Err(busy())
    }

    /// One commit with one audit record, tried again while others write the audit.
    fn audited(
        &self,
        run: Option<RunId>,
        what: &str,
        body: &Value,
        at: Timestamp,
        fill: impl Fn(Batch) -> Batch,
    ) -> Result<Head> {
        for _ in 0..TRIES {
            let (head, version) = self.audit_head()?;
            let record = AuditRecord::next(head, at, run, what, body.clone());
            let batch = with_audit(fill(Batch::new()), &record, version);
            match self.store.commit(batch) {
                Ok(_) => return Ok(record.head()),
                Err(StoreError::Conflict { key, .. }) if key == AUDIT_HEAD.as_bytes() => {}
                Err(source) => return Err(Error::Store { operation: "committing", source }),
            }
        }
        Err(busy())
    }

    pub(crate) fn audit_head(&self) -> Result<(Head, Version)> {
        Ok(self.read(AUDIT_HEAD)?.unwrap_or_default())
    }

    /// Records of the audit from `from` on.
    pub(crate) fn audit(&self, from: u64, limit: usize) -> Result<Vec<AuditRecord>> {
        let records = self
            .store
            .read_log(AUDIT_LOG.as_bytes(), from, limit)
            .map_err(Error::store("reading the audit"))?;
        records.iter().map(|r| decode("audit record", &r.record)).collect()
    }

    /// The events of a run, in order.
    pub(crate) fn events(&self, run: RunId) -> Result<Vec<JournalRecord>> {
        let mut events: Vec<JournalRecord> = Vec::new();
        loop {
            let page = self
                .store
                .read_log(journal_log(run).as_bytes(), events.len() as u64, 1_000)
                .map_err(Error::store("reading the journal"))?;
            if page.is_empty() {
                return Ok(events);
            }
            for record in page {
                events.push(decode("journal record", &record.record)?);
            }
        }
    }

    /// Makes a new run durable, owned by `owner`, unless its incident has an active one.
    pub(crate) fn create(&self, run: &Run, owner: &Owner, at: Timestamp) -> Result<Loaded> {
        let id = run.plan.run;
        let body = json!({
            "by": run.plan.proposer, "runbook": run.plan.runbook.id(),
            "document": run.plan.runbook.hash(), "binding": run.plan.binding(),
            "incident": run.plan.incident, "targets": run.plan.targets, "risk": run.plan.risk,
        });
        let record = JournalRecord { at, event: None, revision: run.revision };
        let fill = |batch: Batch| {
            batch
                .expect(run_key(id), 0)
                .expect(incident_key(run.plan.incident), 0)
                .put(run_key(id), encode(&StoredRun { run: run.clone() }))
                .put(owner_key(id), encode(owner))
                .put(incident_key(run.plan.incident), encode(&json!({"run": id})))
                .append(journal_log(id), encode(&record))
        };
        match self.audited(Some(id), "proposed", &body, at, fill) {
            Ok(_) => self.load(id),
            Err(Error::Store { source: StoreError::Conflict { key, .. }, .. })
                if key == incident_key(run.plan.incident).into_bytes() =>
            {
                let active = self.active_run(run.plan.incident)?;
                Err(Error::AlreadyActive(active.unwrap_or(id)))
            }
            Err(Error::Store { source: StoreError::Conflict { .. }, .. }) => {
                Err(Error::AlreadyActive(id))
            }
            Err(error) => Err(error),
        }
    }

    /// Makes a transition durable.
    pub(crate) fn commit(&self, from: &Loaded, commit: &Commit) -> Result<Loaded, CommitError> {
        let Commit { event, transition, messages, page, book, owner, at } = commit;
        let (run, at) = (&transition.run, *at);
        let id = run.plan.run;
        let journal = JournalRecord { at, event: Some(event.clone()), revision: run.revision };
        let body = audit_body(event, transition);
        for _ in 0..TRIES {
            let (head, head_version) = self.audit_head()?;
            let record = AuditRecord::next(head, at, Some(id), event.name(), body.clone());
            let mut batch = Batch::new()
                .expect(run_key(id), from.version)
                .expect(owner_key(id), from.owner_version)
                .put(run_key(id), encode(&StoredRun { run: run.clone() }))
                .append(journal_log(id), encode(&journal));
            if let Some(owner) = owner {
                batch = batch.put(owner_key(id), encode(owner));
            }
            if run.ending().is_some() {
                batch = batch.delete(incident_key(run.plan.incident)).delete(owner_key(id));
            }
            // A run that needs a person is paged until somebody takes it; one that goes on is not.
            batch = match page {
                Some(page) => batch.put(page_key(id), encode(page)),
                None => batch.delete(page_key(id)),
            };
            for (n, pending) in messages.iter().enumerate() {
                let key = format!("{OUTBOX}{id}/{:010}/{n}", run.revision);
                batch = batch.put(key, encode(pending));
            }
            batch = match book {
                BookChange::None => batch,
                BookChange::Exactly(book, version) => {
                    batch.expect(BOOK, *version).put(BOOK, encode(book))
                }
                BookChange::With(change) => {
                    let (mut book, version) = self.book()?;
                    change(&mut book);
                    batch.expect(BOOK, version).put(BOOK, encode(&book))
                }
            };
            match self.store.commit(with_audit(batch, &record, head_version)) {
                Ok(_) => {
                    telemetry::count("aiops_act_transitions_total", "event", event.name(), 1);
                    report!(info, "aiops_act", "a run went on"; run = id, event = event.name());
                    return Ok(self.load(id)?);
                }
                Err(StoreError::Conflict { key, .. }) if key == AUDIT_HEAD.as_bytes() => {}
                Err(StoreError::Conflict { key, .. }) if key == BOOK.as_bytes() => {
                    if matches!(book, BookChange::Exactly(..)) {
                        return Err(CommitError::BookMoved);
                    }
                }
                Err(StoreError::Conflict { .. }) => return Err(CommitError::Moved),
                Err(source) => return self.was_applied(run, source),
            }
        }
        Err(busy().into())
    }

    /// The store failed and may or may not have committed: read back which. The revision and the
    /// state tell; if they cannot be read either, the caller stops, and whoever takes the run over
    /// reads them.
    fn was_applied(&self, run: &Run, source: StoreError) -> Result<Loaded, CommitError> {
        let unknown = !matches!(&source, StoreError::Failed { applied: Some(false), .. });
        if unknown
            && let Ok(loaded) = self.load(run.plan.run)
            && loaded.run == *run
        {
            return Ok(loaded);
        }
        Err(CommitError::Other(Error::Store { operation: "committing a transition", source }))
    }

    /// Extends or takes the ownership of a run.
    pub(crate) fn own(&self, from: &Loaded, owner: &Owner) -> Result<Loaded, CommitError> {
        let id = from.run.plan.run;
        let batch = Batch::new()
            .expect(run_key(id), from.version)
            .expect(owner_key(id), from.owner_version)
            .put(owner_key(id), encode(owner));
        match self.store.commit(batch) {
            Ok(_) => Ok(self.load(id)?),
            Err(error) if error.is_conflict() => Err(CommitError::Moved),
            Err(source) => {
                Err(CommitError::Other(Error::Store { operation: "renewing a lease", source }))
            }
        }
    }

    /// Messages that wait, in order of key.
    pub(crate) fn outbox(
        &self,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Version, Pending)>> {
        let entries = self
            .store
            .scan(OUTBOX.as_bytes(), after, limit)
            .map_err(Error::store("reading the outbox"))?;
        entries
            .into_iter()
            .map(|e| Ok((e.key, e.version, decode("outbox message", &e.value)?)))
            .collect()
    }

    /// Takes a delivered message out, or puts it back for later. A lost race means that another
    /// engine delivered it too; receivers drop the second one by its key.
    pub(crate) fn settle(
        &self,
        key: &[u8],
        version: Version,
        later: Option<&Pending>,
    ) -> Result<()> {
        let batch = Batch::new().expect(key, version);
        let batch = match later {
            Some(pending) => batch.put(key, encode(pending)),
            None => batch.delete(key),
        };
        match self.store.commit(batch) {
            Ok(_) => Ok(()),
            Err(error) if error.is_conflict() => Ok(()),
            Err(source) => Err(Error::Store { operation: "settling a message", source }),
        }
    }

    /// Pages that are out, with their runs.
    pub(crate) fn pages(&self) -> Result<Vec<(Vec<u8>, Version, StoredPage)>> {
        let entries = self
            .store
            .scan(PAGES.as_bytes(), None, 1_000)
            .map_err(Error::store("reading the pages"))?;
        entries.into_iter().map(|e| Ok((e.key, e.version, decode("page", &e.value)?))).collect()
    }

    /// Writes a page that moved to another level, with the messages of that level. A lost race means
    /// that another engine did the same.
    pub(crate) fn move_page(
        &self,
        key: &[u8],
        version: Version,
        page: &StoredPage,
        messages: &[Pending],
    ) -> Result<()> {
        let mut batch = Batch::new().expect(key, version).put(key, encode(page));
        for pending in messages {
            let id = pending.message.run;
            let key = format!("{OUTBOX}{id}/page/{}/{}", pending.message.key, pending.route);
            batch = batch.put(key, encode(pending));
        }
        match self.store.commit(batch) {
            Ok(_) => Ok(()),
            Err(error) if error.is_conflict() => Ok(()),
            Err(source) => Err(Error::Store { operation: "escalating", source }),
        }
    }

    /// Somebody takes a page, audited.
    pub(crate) fn acknowledge(&self, run: RunId, by: &str, at: Timestamp) -> Result<Head> {
        let key = page_key(run);
        for _ in 0..TRIES {
            let stored: Option<(StoredPage, Version)> = self.read(&key)?;
            let (mut stored, version) = stored.ok_or(Error::UnknownRun(run))?;
            stored.page.acknowledge(by);
            let fill = |batch: Batch| batch.expect(&*key, version).put(&*key, encode(&stored));
            match self.audited(Some(run), "acknowledged", &json!({"by": by}), at, fill) {
                Err(Error::Store { source: StoreError::Conflict { .. }, .. }) => {}
                done => return done,
            }
        }
        Err(busy())
    }

    /// How long after `now` an owner may go on without writing.
    pub(crate) fn lease_until(&self, ttl: Duration) -> Result<Timestamp> {
        Ok(self.now()? + ttl)
    }
}

fn with_audit(batch: Batch, record: &AuditRecord, version: Version) -> Batch {
    batch
        .expect(AUDIT_HEAD, version)
        .put(AUDIT_HEAD, encode(&record.head()))
        .append(AUDIT_LOG, encode(record))
}

fn audit_body(event: &Event, transition: &Transition) -> Value {
    let run = &transition.run;
    let mut body = json!({
        "state": run.state, "revision": run.revision, "because": run.because,
        "event_sha256": Digest::of_json(&json!(event)),
    });
    if !transition.remarks.is_empty() {
        body["remarks"] = json!(transition.remarks);
    }
    let by = match event {
        Event::Answered { answer } => {
            body["answer"] =
                json!({"says": answer.says, "via": answer.via, "comment": answer.comment});
            Some(&answer.by)
        }
        Event::Resolved { by, resolution } => {
            body["resolution"] = json!(resolution);
            Some(by)
        }
        Event::Cancelled { by } => Some(by),
        _ => None,
    };
    if let Some(by) = by {
        body["by"] = json!(by);
    }
    if let State::Running { step } | State::Undoing { step } = run.state {
        body["step"] = json!(run.steps[step].id);
    }
    body
}

pub(crate) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    // Our own types serialise: their maps have string keys and their numbers are finite or null.
    let stored = Stored { format: FORMAT, value };
    serde_json::to_vec(&stored).expect("a record of this crate is JSON")
}

pub(crate) fn decode<T: DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T> {
    let damaged = |reason: String| Error::Damaged { what: what.to_owned(), reason };
    let stored: Stored<T> = serde_json::from_slice(bytes).map_err(|e| damaged(e.to_string()))?;
    if stored.format != FORMAT {
        let reason = format!("format {} is not one that this version reads", stored.format);
        return Err(damaged(reason));
    }
    Ok(stored.value)
}

fn busy() -> Error {
    let source = StoreError::Failed {
        operation: "commit",
        applied: Some(false),
        source: format!("others wrote the audit or the book {TRIES} times in between").into(),
    };
    Error::Store { operation: "committing", source }
}
