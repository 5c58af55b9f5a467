//! The journal: one commit for each transition, with everything that belongs to it.
//!
//! A commit writes the run as it is now (its plan, which never changes, once), the event, the audit record, the messages and, where the
//! book changes, the book; all or nothing. It succeeds only if the run and its owner are as they
//! were read: an engine that has lost a run cannot write to it any more, and so cannot make an
//! intent durable, and so has no effect.
//!
//! Transitions of different runs that wait at the same time share a commit ([`group`]).

mod group;
mod outbox;
mod write;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use aiops_core::{IncidentId, Outcome, Reason, Store, StoreError, Timestamp, Version};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub(crate) use group::Draft;
pub(crate) use write::{BookChange, Commit, Tenant};

use crate::approve::{Answer, Question};
use crate::audit::{AuditRecord, Head};
use crate::book::Book;
use crate::error::{Error, Result};
use crate::escalate::Page;
use crate::machine::{Do, Event, Run, State, StepRun};
use crate::notify::Message;
use crate::plan::{Plan, RunId};
use crate::verify::Progress;

/// Version of everything that is stored.
const FORMAT: u32 = 1;

const BOOK: &str = "act/book";
const PAUSE: &str = "act/pause";
const AUDIT_HEAD: &str = "act/audit/head";
const AUDIT_LOG: &str = "act/audit";
const RUNS: &str = "act/run/";
const PLANS: &str = "act/plan/";
const OUTBOX: &str = "act/outbox/";
const PAGES: &str = "act/page/";

fn run_key(run: RunId) -> String {
    format!("{RUNS}{run}")
}
fn plan_key(run: RunId) -> String {
    format!("{PLANS}{run}")
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

/// A run without its plan, which is written once, when the run begins: what changes with every
/// transition is a fraction of what does not.
#[derive(Serialize, Deserialize)]
struct StoredRun<'a> {
    state: State,
    #[serde(default)]
    question: Cow<'a, Option<Question>>,
    #[serde(default)]
    answers: Cow<'a, [Answer]>,
    steps: Cow<'a, [StepRun]>,
    #[serde(default)]
    progress: Cow<'a, Progress>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    outcome: Option<Outcome>,
    #[serde(default)]
    fence: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    started_at: Option<Timestamp>,
    #[serde(default)]
    because: Cow<'a, [Reason]>,
    #[serde(default)]
    revision: u64,
}

impl<'a> StoredRun<'a> {
    fn of(run: &'a Run) -> StoredRun<'a> {
        // In full, so that a field that is added to a run is not forgotten here.
        let Run {
            plan: _,
            state,
            question,
            answers,
            steps,
            progress,
            outcome,
            fence,
            started_at,
            because,
            revision,
        } = run;
        StoredRun {
            state: *state,
            question: Cow::Borrowed(question),
            answers: Cow::Borrowed(answers),
            steps: Cow::Borrowed(steps),
            progress: Cow::Borrowed(progress),
            outcome: *outcome,
            fence: *fence,
            started_at: *started_at,
            because: Cow::Borrowed(because),
            revision: *revision,
        }
    }

    fn with(self, plan: Arc<Plan>) -> Run {
        Run {
            plan,
            state: self.state,
            question: self.question.into_owned(),
            answers: self.answers.into_owned(),
            steps: self.steps.into_owned(),
            progress: self.progress.into_owned(),
            outcome: self.outcome,
            fence: self.fence,
            started_at: self.started_at,
            because: self.because.into_owned(),
            revision: self.revision,
        }
    }
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

/// Why nothing was committed.
#[derive(Debug)]
pub(crate) enum CommitError {
    /// A key is not as it was read, or another write of the same moment changes it: load it again and
    /// decide again.
    Moved,
    /// The book does not allow it any more: judge again.
    BookMoved,
    /// The store failed; whether it was applied is unknown unless the error says so.
    Failed(StoreError),
    /// Anything else.
    Other(Error),
}

impl From<Error> for CommitError {
    fn from(error: Error) -> CommitError {
        CommitError::Other(error)
    }
}

/// The store, and how this crate uses it. What reads blocks, and async callers go through a blocking
/// pool; what writes is async and goes through the group commit.
#[derive(Clone)]
pub(crate) struct Journal {
    store: Arc<dyn Store>,
    group: group::Group,
    plans: Plans,
}

/// The plans of the runs in hand, so that loading a run again does not read and check its document
/// again. A plan that nobody holds any more is forgotten.
#[derive(Clone, Default)]
struct Plans(Arc<Mutex<BTreeMap<RunId, Weak<Plan>>>>);

impl Plans {
    fn known(&self, run: RunId) -> Option<Arc<Plan>> {
        self.lock().get(&run)?.upgrade()
    }

    fn note(&self, plan: &Arc<Plan>) {
        let mut plans = self.lock();
        // Swept when it has doubled at most: a constant cost for each plan.
        if plans.len() >= 64 && plans.len().is_power_of_two() {
            plans.retain(|_, plan| plan.strong_count() > 0);
        }
        plans.insert(plan.run, Arc::downgrade(plan));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<RunId, Weak<Plan>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Journal {
    pub(crate) fn new(store: Arc<dyn Store>) -> Journal {
        Journal { group: group::Group::new(store.clone()), store, plans: Plans::default() }
    }

    pub(crate) fn now(&self) -> Result<Timestamp> {
        self.store.now().map_err(Error::store("asking its clock"))
    }

    pub(crate) fn load(&self, run: RunId) -> Result<Loaded> {
        let stored: Option<(StoredRun<'static>, _)> = read(&*self.store, &run_key(run))?;
        let (stored, version) = stored.ok_or(Error::UnknownRun(run))?;
        let plan = self.plan(run)?;
        let (owner, owner_version) = match read::<Owner>(&*self.store, &owner_key(run))? {
            Some((owner, version)) => (Some(owner), version),
            None => (None, 0),
        };
        Ok(Loaded { run: stored.with(plan), version, owner, owner_version })
    }

    /// Who drives a run, and what is due in it; its plan is not read for that.
    pub(crate) fn standing(&self, run: RunId) -> Result<(Option<Owner>, Do)> {
        let stored: Option<(StoredRun<'static>, _)> = read(&*self.store, &run_key(run))?;
        let (stored, _) = stored.ok_or(Error::UnknownRun(run))?;
        let owner = read::<Owner>(&*self.store, &owner_key(run))?.map(|(owner, _)| owner);
        Ok((owner, stored.state.due(stored.question.as_ref().as_ref())))
    }

    fn plan(&self, run: RunId) -> Result<Arc<Plan>> {
        if let Some(plan) = self.plans.known(run) {
            return Ok(plan);
        }
        let key = plan_key(run);
        let found: Option<(Plan, _)> = read(&*self.store, &key)?;
        let reason = "the run is there and its plan is not".to_owned();
        let plan = Arc::new(found.ok_or(Error::Damaged { what: key, reason })?.0);
        self.plans.note(&plan);
        Ok(plan)
    }

    pub(crate) fn book(&self) -> Result<(Book, Version)> {
        Ok(read(&*self.store, BOOK)?.unwrap_or_default())
    }

    pub(crate) fn paused(&self) -> Result<Option<String>> {
        paused(&*self.store)
    }

    pub(crate) fn active_run(&self, incident: IncidentId) -> Result<Option<RunId>> {
        #[derive(Deserialize)]
        struct Active {
            run: RunId,
        }
        let active = read::<Active>(&*self.store, &incident_key(incident))?;
        Ok(active.map(|(active, _)| active.run))
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

    pub(crate) fn audit_head(&self) -> Result<Head> {
        Ok(read(&*self.store, AUDIT_HEAD)?.unwrap_or_default().0)
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
}

fn read<T: DeserializeOwned>(store: &dyn Store, key: &str) -> Result<Option<(T, Version)>> {
    let found = store.get(key.as_bytes()).map_err(Error::store("reading"))?;
    let Some(found) = found else { return Ok(None) };
    Ok(Some((decode(key, &found.value)?, found.version)))
}

fn paused(store: &dyn Store) -> Result<Option<String>> {
    #[derive(Deserialize)]
    struct Paused {
        why: String,
    }
    Ok(read::<Paused>(store, PAUSE)?.map(|(paused, _)| paused.why))
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

fn busy(tries: usize) -> Error {
    let source = StoreError::Failed {
        operation: "commit",
        applied: Some(false),
        source: format!("others wrote the audit or the book {tries} times in between").into(),
    };
    Error::Store { operation: "committing", source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::shop_incident;
    use crate::{Library, Runbook, match_runbooks};

    /// The next version looks there.
    #[test]
    fn everything_has_its_place() {
        let run: RunId = "00000000000000ab".parse().unwrap();
        let incident: IncidentId = "00000000000000cd".parse().unwrap();
        let keys = [run_key(run), plan_key(run), owner_key(run), page_key(run), journal_log(run)];
        let places = ["run", "plan", "owner", "page", "journal"];
        assert_eq!(keys, places.map(|place| format!("act/{place}/00000000000000ab")));
        assert_eq!(incident_key(incident), "act/incident/00000000000000cd");
    }

    fn plan() -> Plan {
        let document = "{schema: aiops.runbook/v1, id: a, version: 1.0.0, title: A, owner: o, \
                        match: {services: [api]}, targets: {services: [api]}, \
                        steps: [{id: s, uses: hands, effect: read}]}";
        let mut library = Library::new();
        library.add(Runbook::parse(document.as_bytes()).unwrap()).unwrap();
        let (situation, _) = shop_incident("api", 0.9, Timestamp::EPOCH);
        let fits = match_runbooks(&library, &situation, &BTreeMap::new(), Timestamp::EPOCH);
        let fit = fits.best().unwrap();
        Plan::new(fit, &situation, &BTreeMap::new(), "engine", Timestamp::EPOCH).unwrap()
    }

    /// Notes plans of the runs `from..to`; who keeps them has them.
    fn note(plans: &Plans, like: &Plan, ids: std::ops::Range<u64>) -> Vec<Arc<Plan>> {
        let plan = |id| Arc::new(Plan { run: RunId::for_tests(id), ..like.clone() });
        let noted: Vec<Arc<Plan>> = ids.map(plan).collect();
        noted.iter().for_each(|plan| plans.note(plan));
        noted
    }

    #[test]
    fn a_plan_that_somebody_holds_is_not_read_again() {
        let (plans, like) = (Plans::default(), plan());
        let held = note(&plans, &like, 0..1);
        assert!(Arc::ptr_eq(&plans.known(held[0].run).unwrap(), &held[0]));
        assert!(plans.known(RunId::for_tests(1)).is_none());
        let id = held[0].run;
        drop(held);
        assert!(plans.known(id).is_none());
    }

    #[test]
    fn plans_that_nobody_holds_are_swept_when_there_are_twice_as_many() {
        let (plans, like) = (Plans::default(), plan());
        let held = note(&plans, &like, 0..8);
        (8..64).for_each(|id| drop(note(&plans, &like, id..id + 1)));
        assert_eq!(plans.lock().len(), 64, "few are kept as they are");
        let more = note(&plans, &like, 64..100);
        assert_eq!(plans.lock().len(), 8 + 36);
        note(&plans, &like, 100..120);
        assert_eq!(plans.lock().len(), 64);
        note(&plans, &like, 120..121);
        assert_eq!(plans.lock().len(), 8 + 36 + 1);
        for plan in held.iter().chain(&more) {
            assert!(Arc::ptr_eq(&plans.known(plan.run).unwrap(), plan));
        }
        // Above that, only at powers of two.
        let many = note(&plans, &like, 200..200 + 70);
        note(&plans, &like, 300..301);
        assert_eq!(plans.lock().len(), 8 + 36 + 70 + 1);
        drop(many);
    }
}
