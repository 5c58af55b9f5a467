//! What is written: new runs, transitions, leases, the kill switch and changes of the book.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aiops_core::{StoreError, Timestamp, Version, report, telemetry};
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    CommitError, Draft, Journal, Loaded, OUTBOX, Owner, PAUSE, Pending, StoredPage, StoredRun,
    busy, incident_key, journal_log, owner_key, page_key, plan_key, read, run_key,
};
use crate::audit::Head;
use crate::book::Book;
use crate::canonical::Digest;
use crate::error::{Error, Result};
use crate::machine::{Event, Run, State, Transition};
use crate::plan::RunId;

/// How often a write that is no transition is tried again when its keys moved.
const TRIES: usize = 64;

/// Who is to own a run, and for how long after the commit.
#[derive(Debug, Clone)]
pub(crate) struct Tenant {
    pub(crate) engine: String,
    pub(crate) incarnation: String,
    pub(crate) ttl: Duration,
}

impl Tenant {
    fn owner(&self, draft: &mut Draft<'_>) -> Result<Owner> {
        let (engine, incarnation) = (self.engine.clone(), self.incarnation.clone());
        Ok(Owner { engine, incarnation, until: draft.now()? + self.ttl })
    }
}

/// A change of the book that belongs to a transition, whatever the book has become.
pub(crate) type BookChange = Arc<dyn Fn(&mut Book) + Send + Sync>;

/// Everything that belongs to one transition.
pub(crate) struct Commit {
    pub(crate) event: Event,
    pub(crate) transition: Transition,
    pub(crate) messages: Vec<Pending>,
    /// Who is paged level by level, if anybody is.
    pub(crate) page: Option<StoredPage>,
    pub(crate) book: Option<BookChange>,
    /// The new owner; `None` leaves it as it is.
    pub(crate) tenant: Option<Tenant>,
    pub(crate) at: Timestamp,
}

/// A `JournalRecord` as it is written.
#[derive(Serialize)]
struct JournalRecordRef<'a> {
    at: Timestamp,
    event: Option<&'a Event>,
    revision: u64,
}

/// The versions under which a run was read, and who owns it.
#[derive(Debug, Clone)]
struct Read {
    version: Version,
    owner: Option<Owner>,
    owner_version: Version,
}

impl Read {
    fn of(loaded: &Loaded) -> Read {
        let Loaded { version, owner, owner_version, .. } = loaded;
        Read { version: *version, owner: owner.clone(), owner_version: *owner_version }
    }
}

impl Commit {
    /// Drafts the transition; returns the owner that it writes.
    fn draft(&self, draft: &mut Draft<'_>, from: &Read) -> Result<Option<Owner>> {
        let (run, at) = (&self.transition.run, self.at);
        let id = run.plan.run;
        let body = audit_body(&self.event, &self.transition);
        draft.audit(at, Some(id), self.event.name(), body)?;
        draft.expect(run_key(id), from.version);
        draft.expect(owner_key(id), from.owner_version);
        draft.put(run_key(id), &StoredRun::of(run));
        let event = Some(&self.event);
        draft.append(journal_log(id), &JournalRecordRef { at, event, revision: run.revision });
        let mut owner = None;
        if run.ending().is_some() {
            draft.delete(incident_key(run.plan.incident));
            draft.delete(owner_key(id));
        } else if let Some(tenant) = &self.tenant {
            let new = tenant.owner(draft)?;
            draft.put(owner_key(id), &new);
            owner = Some(new);
        }
        // A run that needs a person is paged until somebody takes it; one that goes on is not.
        match &self.page {
            Some(page) => draft.put(page_key(id), page),
            None => draft.delete(page_key(id)),
        }
        for (n, pending) in self.messages.iter().enumerate() {
            draft.put(format!("{OUTBOX}{id}/{:010}/{n}", run.revision), pending);
        }
        if let Some(change) = self.book.clone() {
            draft.change_book(move |book| change(book))?;
        }
        Ok(owner)
    }
}

impl Journal {
    /// Makes a transition durable; gives the run as it is stored then, and the end of the audit.
    pub(crate) async fn commit(
        &self,
        from: &Loaded,
        commit: Commit,
    ) -> Result<(Loaded, Option<Head>), CommitError> {
        let commit = Arc::new(commit);
        let drafted = commit.clone();
        self.commit_judged(from, move |_| Ok(drafted.clone())).await
    }

    /// Makes a transition durable that is decided on the book of that very commit: what `decide`
    /// sees there is what holds when it becomes durable.
    pub(crate) async fn commit_judged(
        &self,
        from: &Loaded,
        mut decide: impl FnMut(&mut Draft<'_>) -> Result<Arc<Commit>, CommitError> + Send + 'static,
    ) -> Result<(Loaded, Option<Head>), CommitError> {
        let (read, before) = (Read::of(from), Read::of(from));
        let decided = Arc::new(Mutex::new(None));
        let slot = decided.clone();
        let write = move |draft: &mut Draft<'_>| {
            let commit = decide(draft)?;
            let owner = commit.draft(draft, &before)?;
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(commit);
            Ok(owner)
        };
        let written = self.group.write(write).await;
        let commit = decided.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Nobody else holds it any more; a copy would do as well.
        let run_of = |commit: Arc<Commit>| match Arc::try_unwrap(commit) {
            Ok(commit) => commit.transition.run,
            Err(shared) => shared.transition.run.clone(),
        };
        match (written, commit) {
            (Ok((owner, committed)), Some(commit)) => {
                went_on(&commit.transition.run, commit.event.name());
                Ok((after(read, run_of(commit), owner, committed.version), committed.head))
            }
            (Err(CommitError::Failed(source)), Some(commit)) => {
                self.was_applied(run_of(commit), source).await
            }
            (Err(CommitError::Failed(source)), None) => {
                Err(failed("committing a transition", source))
            }
            (Err(error), _) => Err(error),
            (Ok(_), None) => unreachable!("what was committed was decided"),
        }
    }

    /// The store failed and may or may not have committed: read back which. If the run cannot be
    /// read either, the caller stops, and whoever takes the run over reads it.
    async fn was_applied(
        &self,
        run: Run,
        source: StoreError,
    ) -> Result<(Loaded, Option<Head>), CommitError> {
        if !matches!(&source, StoreError::Failed { applied: Some(false), .. }) {
            let journal = self.clone();
            let id = run.plan.run;
            let read = tokio::task::spawn_blocking(move || {
                Ok::<_, Error>((journal.load(id)?, journal.audit_head()?))
            });
            if let Ok(Ok((loaded, head))) = read.await
                && loaded.run == run
            {
                return Ok((loaded, Some(head)));
            }
        }
        Err(failed("committing a transition", source))
    }

    /// Makes a new run durable, unless its incident has an active one.
    pub(crate) async fn create(&self, run: Run, tenant: Tenant, at: Timestamp) -> Result<Head> {
        let plan = &run.plan;
        let (id, incident) = (plan.run, plan.incident);
        self.plans.note(plan);
        let body = json!({
            "by": plan.proposer, "runbook": plan.runbook.id(),
            "document": plan.runbook.hash(), "binding": plan.binding(),
            "incident": incident, "targets": plan.targets, "risk": plan.risk,
        });
        let write = move |draft: &mut Draft<'_>| {
            draft.audit(at, Some(id), "proposed", body.clone())?;
            draft.expect(run_key(id), 0);
            draft.expect(incident_key(incident), 0);
            draft.put(run_key(id), &StoredRun::of(&run));
            draft.put(plan_key(id), &*run.plan);
            let owner = tenant.owner(draft)?;
            draft.put(owner_key(id), &owner);
            draft.put(incident_key(incident), &json!({"run": id}));
            let record = JournalRecordRef { at, event: None, revision: run.revision };
            draft.append(journal_log(id), &record);
            Ok(())
        };
        match self.group.write(write).await {
            Ok(((), committed)) => Ok(committed.head.unwrap_or_default()),
            Err(CommitError::Moved | CommitError::BookMoved) => {
                let journal = self.clone();
                let active =
                    tokio::task::spawn_blocking(move || journal.active_run(incident)).await;
                let active = active.ok().transpose()?.flatten();
                Err(Error::AlreadyActive(active.unwrap_or(id)))
            }
            Err(CommitError::Failed(source)) => {
                Err(Error::Store { operation: "committing", source })
            }
            Err(CommitError::Other(error)) => Err(error),
        }
    }

    /// Extends, takes or, without a tenant, gives up the ownership of a run.
    pub(crate) async fn own(
        &self,
        from: Loaded,
        tenant: Option<Tenant>,
    ) -> Result<Loaded, CommitError> {
        let id = from.run.plan.run;
        let (version, owner_version) = (from.version, from.owner_version);
        let write = move |draft: &mut Draft<'_>| {
            draft.expect(run_key(id), version);
            draft.expect(owner_key(id), owner_version);
            let Some(tenant) = &tenant else {
                draft.delete(owner_key(id));
                return Ok(None);
            };
            let owner = tenant.owner(draft)?;
            draft.put(owner_key(id), &owner);
            Ok(Some(owner))
        };
        match self.group.write(write).await {
            Ok((owner, committed)) => {
                let owner_version = if owner.is_some() { committed.version } else { 0 };
                Ok(Loaded { owner, owner_version, ..from })
            }
            Err(CommitError::Failed(source)) => Err(failed("renewing a lease", source)),
            Err(error) => Err(error),
        }
    }

    /// Writes or clears the kill switch, audited.
    pub(crate) async fn set_paused(
        &self,
        why: Option<String>,
        by: String,
        at: Timestamp,
    ) -> Result<Head> {
        let what = if why.is_some() { "paused" } else { "resumed" };
        let body = json!({"by": by, "why": why});
        self.audited(None, what, body, at, move |draft| {
            match &why {
                Some(why) => draft.put(PAUSE, &json!({"why": why, "by": by})),
                None => draft.delete(PAUSE),
            }
            Ok(())
        })
        .await
    }

    /// Changes the book, audited. `change` is tried on a copy first, so that it may refuse.
    pub(crate) async fn change_book(
        &self,
        what: &'static str,
        body: Value,
        at: Timestamp,
        change: impl Fn(&mut Book) -> Result<()> + Send + Sync + 'static,
    ) -> Result<Head> {
        self.audited(None, what, body, at, move |draft| {
            let mut changed = draft.book()?.clone();
            change(&mut changed)?;
            draft.change_book(move |book| *book = changed)?;
            Ok(())
        })
        .await
    }

    /// Somebody takes a page, audited.
    pub(crate) async fn acknowledge(&self, run: RunId, by: String, at: Timestamp) -> Result<Head> {
        let (key, store) = (page_key(run), self.store.clone());
        self.audited(Some(run), "acknowledged", json!({"by": by}), at, move |draft| {
            let stored = read::<StoredPage>(&*store, &key)?;
            let (mut stored, version) = stored.ok_or(Error::UnknownRun(run))?;
            stored.page.acknowledge(&by);
            draft.expect(&*key, version);
            draft.put(&*key, &stored);
            Ok(())
        })
        .await
    }

    /// One write with one audit record, tried again while its keys move.
    async fn audited(
        &self,
        run: Option<RunId>,
        what: &'static str,
        body: Value,
        at: Timestamp,
        fill: impl Fn(&mut Draft<'_>) -> Result<(), CommitError> + Send + Sync + 'static,
    ) -> Result<Head> {
        let fill = Arc::new(fill);
        for _ in 0..TRIES {
            let (fill, body) = (fill.clone(), body.clone());
            let write = move |draft: &mut Draft<'_>| {
                draft.audit(at, run, what, body.clone())?;
                fill(draft)
            };
            match self.group.write(write).await {
                Ok(((), committed)) => return Ok(committed.head.unwrap_or_default()),
                Err(CommitError::Moved | CommitError::BookMoved) => {}
                Err(CommitError::Failed(source)) => {
                    return Err(Error::Store { operation: "committing", source });
                }
                Err(CommitError::Other(error)) => return Err(error),
            }
        }
        Err(busy(TRIES))
    }
}

/// Reports a transition.
fn went_on(run: &Run, event: &'static str) {
    telemetry::count("aiops_act_transitions_total", "event", event, 1);
    report!(info, "aiops_act", "a run went on"; run = run.plan.run, event = event);
}

/// The run as it is stored after a commit.
fn after(from: Read, run: Run, owner: Option<Owner>, version: Version) -> Loaded {
    let (owner, owner_version) = match (run.ending(), owner) {
        (Some(_), _) => (None, 0),
        (None, Some(owner)) => (Some(owner), version),
        (None, None) => (from.owner, from.owner_version),
    };
    Loaded { run, version, owner, owner_version }
}

fn failed(operation: &'static str, source: StoreError) -> CommitError {
    CommitError::Other(Error::Store { operation, source })
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
