//! Group commit: writes that wait while one commit is made durable share the next.
//!
//! Every transition extends one audit chain, so two of them can never be committed side by side: the
//! second has to know the hash of the first. Instead of racing for the head and losing, writes queue
//! up; one task drafts all that wait into one batch, record after record, and commits it once. A
//! durable commit costs a disk flush whatever its size, so the rate under load grows with the number
//! of runs. Each write still is all or nothing, and what is wrong with one concerns no other.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aiops_core::{Batch, Store, StoreError, Timestamp, Version};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::oneshot;

use super::{AUDIT_HEAD, AUDIT_LOG, BOOK, CommitError, busy, encode, read};
use crate::audit::{AuditRecord, Head};
use crate::book::Book;
use crate::error::{Error, Result};
use crate::plan::RunId;

/// More writes than this wait for the commit after the next: a bound on what one failure can take
/// with it.
const MAX_GROUP: usize = 256;
/// How often a group is drafted anew when another engine wrote the audit or the book meanwhile.
const TRIES: usize = 64;

type ChangeOfBook = Box<dyn FnOnce(&mut Book)>;

/// Writes that are drafted together.
pub(crate) struct Draft<'a> {
    store: &'a dyn Store,
    batch: Batch,
    /// The chain as it will end, and the version under which its end was read.
    head: Option<(Head, Version)>,
    extended: bool,
    book: Option<(Book, Version)>,
    book_changed: bool,
    /// Changes of the book that hold only if the write they belong to is taken into the group.
    book_changes: Vec<ChangeOfBook>,
    now: Option<Timestamp>,
    paused: Option<Option<String>>,
    /// Keys that the group writes.
    written: BTreeSet<Vec<u8>>,
}

/// How far a draft had come.
struct Mark {
    expects: usize,
    changes: usize,
    head: Option<(Head, Version)>,
    extended: bool,
}

impl Draft<'_> {
    /// Requires a key to be at a version.
    pub(crate) fn expect(&mut self, key: impl Into<Vec<u8>>, version: Version) {
        self.batch.expects.push((key.into(), version));
    }

    /// Writes a value.
    pub(crate) fn put<T: Serialize>(&mut self, key: impl Into<Vec<u8>>, value: &T) {
        let batch = std::mem::take(&mut self.batch);
        self.batch = batch.put(key, encode(value));
    }

    /// Removes a key.
    pub(crate) fn delete(&mut self, key: impl Into<Vec<u8>>) {
        let batch = std::mem::take(&mut self.batch);
        self.batch = batch.delete(key);
    }

    /// Appends to a log.
    pub(crate) fn append<T: Serialize>(&mut self, log: impl Into<Vec<u8>>, record: &T) {
        let batch = std::mem::take(&mut self.batch);
        self.batch = batch.append(log, encode(record));
    }

    /// Appends a record to the audit.
    pub(crate) fn audit(
        &mut self,
        at: Timestamp,
        run: Option<RunId>,
        what: &str,
        body: Value,
    ) -> Result<()> {
        let (head, version) = match self.head {
            Some(known) => known,
            None => read(self.store, AUDIT_HEAD)?.unwrap_or_default(),
        };
        let record = AuditRecord::next(head, at, run, what, body);
        self.append(AUDIT_LOG, &record);
        self.head = Some((record.head(), version));
        self.extended = true;
        Ok(())
    }

    /// The book as the writes before this one leave it.
    pub(crate) fn book(&mut self) -> Result<&Book> {
        match &mut self.book {
            Some((book, _)) => Ok(book),
            none => {
                let found = read(self.store, BOOK)?.unwrap_or_default();
                Ok(&none.insert(found).0)
            }
        }
    }

    /// Changes the book when this write is taken into the group.
    pub(crate) fn change_book(&mut self, change: impl FnOnce(&mut Book) + 'static) -> Result<()> {
        self.book()?;
        self.book_changes.push(Box::new(change));
        Ok(())
    }

    /// The store's clock, asked once for the group.
    pub(crate) fn now(&mut self) -> Result<Timestamp> {
        match self.now {
            Some(now) => Ok(now),
            None => {
                let now = self.store.now().map_err(Error::store("asking its clock"))?;
                Ok(*self.now.insert(now))
            }
        }
    }

    /// Why everything is paused, if it is.
    pub(crate) fn paused(&mut self) -> Result<Option<String>> {
        if self.paused.is_none() {
            self.paused = Some(super::paused(self.store)?);
        }
        Ok(self.paused.clone().flatten())
    }

    fn mark(&self) -> Mark {
        Mark {
            expects: self.batch.expects.len(),
            changes: self.batch.changes.len(),
            head: self.head,
            extended: self.extended,
        }
    }

    fn back_to(&mut self, mark: &Mark) {
        self.batch.expects.truncate(mark.expects);
        self.batch.changes.truncate(mark.changes);
        (self.head, self.extended) = (mark.head, mark.extended);
        self.book_changes.clear();
    }

    /// Whether the write since `mark` rests on something that another of the group writes: it was
    /// decided without knowing, and has to be decided again.
    fn is_overtaken(&self, mark: &Mark) -> bool {
        self.batch.expects[mark.expects..].iter().any(|(key, _)| self.written.contains(key))
    }

    /// Takes the write since `mark` into the group.
    fn take(&mut self, mark: &Mark) {
        use aiops_core::Change::{Delete, Put};
        for change in &self.batch.changes[mark.changes..] {
            if let Put { key, .. } | Delete { key } = change {
                self.written.insert(key.clone());
            }
        }
        for change in std::mem::take(&mut self.book_changes) {
            if let Some((book, _)) = &mut self.book {
                change(book);
                self.book_changed = true;
            }
        }
    }

    /// The whole group as one batch.
    fn finish(&mut self) -> Batch {
        let mut batch = std::mem::take(&mut self.batch);
        if let (true, Some((head, version))) = (self.extended, self.head) {
            batch = batch.expect(AUDIT_HEAD, version).put(AUDIT_HEAD, encode(&head));
        }
        if let (true, Some((book, version))) = (self.book_changed, &self.book) {
            batch = batch.expect(BOOK, *version).put(BOOK, encode(book));
        }
        batch
    }
}

/// What a durable write is known by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Committed {
    /// The version of every key that it wrote.
    pub(crate) version: Version,
    /// The end of the audit chain afterwards.
    pub(crate) head: Option<Head>,
}

type Outcome = Result<Committed, CommitError>;
type Write = Box<dyn FnMut(&mut Draft<'_>) -> Result<(), CommitError> + Send>;

struct Waiting {
    write: Write,
    done: oneshot::Sender<Outcome>,
}

impl Waiting {
    fn settle(self, outcome: Outcome) {
        // What it drafted goes first, so that whoever asked has it alone. They may be gone; the write
        // stands all the same.
        drop(self.write);
        let _ = self.done.send(outcome);
    }
}

#[derive(Default)]
struct Queue {
    waiting: Vec<Waiting>,
    leading: bool,
    /// The end of the chain and its version after our last commit, until somebody else writes it.
    head: Option<(Head, Version)>,
}

/// Commits writes in groups.
#[derive(Clone)]
pub(crate) struct Group {
    store: Arc<dyn Store>,
    queue: Arc<Mutex<Queue>>,
}

impl Group {
    pub(crate) fn new(store: Arc<dyn Store>) -> Group {
        Group { store, queue: Arc::default() }
    }

    /// Commits what `write` drafts, with whatever else waits. It is called again, on a newer state,
    /// when another engine was quicker; what it returned for the draft that was committed is
    /// returned.
    ///
    /// The write may be committed even if this future is dropped.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        mut write: impl FnMut(&mut Draft<'_>) -> Result<T, CommitError> + Send + 'static,
    ) -> Result<(T, Committed), CommitError> {
        let made = Arc::new(Mutex::new(None));
        let slot = made.clone();
        let write = Box::new(move |draft: &mut Draft<'_>| {
            let value = write(draft)?;
            *lock(&slot) = Some(value);
            Ok(())
        });
        let (done, outcome) = oneshot::channel();
        let leads = {
            let mut queue = lock(&self.queue);
            queue.waiting.push(Waiting { write, done });
            !std::mem::replace(&mut queue.leading, true)
        };
        if leads {
            let group = self.clone();
            tokio::task::spawn_blocking(move || group.lead());
        }
        let committed = outcome.await.unwrap_or_else(|_| Err(stopped()))?;
        let value = lock(&made).take();
        value.map(|value| (value, committed)).ok_or_else(stopped)
    }

    /// Commits group after group until nothing waits.
    fn lead(&self) {
        let mut term = Term { queue: &self.queue, over: false };
        loop {
            let (group, head) = {
                let mut queue = lock(&self.queue);
                if queue.waiting.is_empty() {
                    queue.leading = false;
                    term.over = true;
                    return;
                }
                let size = queue.waiting.len().min(MAX_GROUP);
                (queue.waiting.drain(..size).collect(), queue.head.take())
            };
            let head = self.commit(group, head);
            lock(&self.queue).head = head;
        }
    }

    /// Commits one group; returns the end of the chain if nobody else can have moved it.
    fn commit(
        &self,
        group: Vec<Waiting>,
        mut head: Option<(Head, Version)>,
    ) -> Option<(Head, Version)> {
        let mut open = group;
        let mut overtaken = Vec::new();
        for _ in 0..TRIES {
            let mut draft = self.draft(head.take());
            let mut ready: Vec<(Waiting, std::ops::Range<usize>)> = Vec::new();
            for mut waiting in std::mem::take(&mut open) {
                let mark = draft.mark();
                match (waiting.write)(&mut draft) {
                    Err(error) => {
                        draft.back_to(&mark);
                        waiting.settle(Err(error));
                    }
                    Ok(()) if draft.is_overtaken(&mark) => {
                        draft.back_to(&mark);
                        overtaken.push(waiting);
                    }
                    Ok(()) => {
                        draft.take(&mark);
                        ready.push((waiting, mark.expects..draft.batch.expects.len()));
                    }
                }
            }
            let batch = draft.finish();
            if ready.is_empty() {
                break;
            }
            let expects: Vec<Vec<u8>> = batch.expects.iter().map(|(key, _)| key.clone()).collect();
            match self.store.commit(batch) {
                Ok(version) => {
                    let end = draft.head.map(|(head, _)| head);
                    for (waiting, _) in ready {
                        waiting.settle(Ok(Committed { version, head: end }));
                    }
                    head = if draft.extended { end.map(|end| (end, version)) } else { draft.head };
                    break;
                }
                // The end of the audit and the book are expected by nobody in particular: the whole
                // group is drafted anew.
                Err(StoreError::Conflict { key, .. }) => {
                    for (waiting, range) in ready {
                        if expects[range].contains(&key) {
                            waiting.settle(Err(CommitError::Moved));
                        } else {
                            open.push(waiting);
                        }
                    }
                }
                Err(source) => {
                    for (waiting, _) in ready {
                        waiting.settle(Err(CommitError::Failed(again(&source))));
                    }
                    break;
                }
            }
        }
        for waiting in open {
            waiting.settle(Err(busy(TRIES).into()));
        }
        for waiting in overtaken {
            waiting.settle(Err(CommitError::Moved));
        }
        head
    }

    fn draft(&self, head: Option<(Head, Version)>) -> Draft<'_> {
        Draft {
            store: &*self.store,
            batch: Batch::new(),
            head,
            extended: false,
            book: None,
            book_changed: false,
            book_changes: Vec::new(),
            now: None,
            paused: None,
            written: BTreeSet::new(),
        }
    }
}

/// A leader that panics leaves nobody waiting, and the next write leads again.
struct Term<'a> {
    queue: &'a Mutex<Queue>,
    over: bool,
}

impl Drop for Term<'_> {
    fn drop(&mut self) {
        if !self.over {
            let mut queue = lock(self.queue);
            queue.waiting.clear();
            queue.leading = false;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn stopped() -> CommitError {
    let source = "the task that led the group commit stopped".into();
    CommitError::Failed(StoreError::Failed { operation: "commit", applied: None, source })
}

/// The same error for another write of the group.
fn again(error: &StoreError) -> StoreError {
    match error {
        StoreError::Damaged { reason } => StoreError::Damaged { reason: reason.clone() },
        StoreError::Failed { operation, applied, source } => {
            StoreError::Failed { operation, applied: *applied, source: source.to_string().into() }
        }
        other => StoreError::Failed {
            operation: "commit",
            applied: None,
            source: other.to_string().into(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::super::PAUSE;
    use super::*;
    use crate::audit;
    use aiops_core::MemoryStore;
    use serde_json::json;

    type Received = oneshot::Receiver<Outcome>;

    fn waiting(
        write: impl FnMut(&mut Draft<'_>) -> Result<(), CommitError> + Send + 'static,
    ) -> (Waiting, Received) {
        let (done, outcome) = oneshot::channel();
        (Waiting { write: Box::new(write), done }, outcome)
    }

    /// Writes `key` once it is found at `version`, with an audit record.
    fn writes(key: &'static str, expects: &'static str, version: Version) -> (Waiting, Received) {
        waiting(move |draft| {
            draft.audit(Timestamp::EPOCH, None, key, json!({}))?;
            draft.expect(expects, version);
            draft.put(key, &1);
            Ok(())
        })
    }

    fn words(store: &MemoryStore) -> Vec<String> {
        let log = store.read_log(AUDIT_LOG.as_bytes(), 0, 100).unwrap();
        let records: Vec<AuditRecord> =
            log.iter().map(|r| super::super::decode("record", &r.record).unwrap()).collect();
        audit::verify(&records, None).unwrap();
        records.into_iter().map(|record| record.what).collect()
    }

    #[test]
    fn a_write_that_rests_on_another_of_its_group_is_decided_again() {
        let store = Arc::new(MemoryStore::default());
        let group = Group::new(store.clone());
        let ((a, mut a_done), (b, mut b_done)) = (writes("a", "a", 0), writes("b", "a", 0));
        group.commit(vec![a, b], None);
        assert!(a_done.try_recv().unwrap().is_ok());
        assert!(matches!(b_done.try_recv().unwrap(), Err(CommitError::Moved)));
        assert_eq!(store.get(b"b").unwrap(), None);
        assert_eq!(words(&store), ["a"]);
    }

    #[test]
    fn a_write_that_gives_up_leaves_nothing_in_the_batch_of_the_others() {
        let store = Arc::new(MemoryStore::default());
        let group = Group::new(store.clone());
        let (gives_up, mut given_up) = waiting(|draft| {
            draft.audit(Timestamp::EPOCH, None, "gives up", json!({}))?;
            draft.put("x", &1);
            draft.change_book(|book| book.fence = 77)?;
            Err(CommitError::BookMoved)
        });
        let (b, mut b_done) = writes("b", "b", 0);
        group.commit(vec![gives_up, b], None);
        assert!(matches!(given_up.try_recv().unwrap(), Err(CommitError::BookMoved)));
        assert!(b_done.try_recv().unwrap().is_ok());
        assert_eq!(store.get(b"x").unwrap(), None);
        assert_eq!(store.get(BOOK.as_bytes()).unwrap(), None, "nobody changed the book");
        assert_eq!(words(&store), ["b"]);
    }

    #[test]
    fn a_conflict_concerns_the_write_that_expected_something_else_and_no_other() {
        let store = Arc::new(MemoryStore::default());
        let group = Group::new(store.clone());
        let ((a, mut a_done), (b, mut b_done)) = (writes("a", "a", 0), writes("b", "b", 5));
        group.commit(vec![b, a], None);
        assert!(matches!(b_done.try_recv().unwrap(), Err(CommitError::Moved)));
        assert!(a_done.try_recv().unwrap().is_ok());
        assert_eq!(words(&store), ["a"]);
    }

    #[test]
    fn a_group_is_drafted_anew_when_another_engine_wrote_the_audit_or_the_book() {
        let store = Arc::new(MemoryStore::default());
        let (ours, theirs) = (Group::new(store.clone()), Group::new(store.clone()));
        let (first, _) = writes("first", "first", 0);
        let known = ours.commit(vec![first], None);
        assert!(known.is_some());
        let (second, _) = writes("second", "second", 0);
        theirs.commit(vec![second], None);
        let (third, mut done) = writes("third", "third", 0);
        let head = ours.commit(vec![third], known).unwrap().0;
        assert_eq!(done.try_recv().unwrap().unwrap().head, Some(head));
        assert_eq!(words(&store), ["first", "second", "third"]);

        // The book moves under a draft that has read it.
        let mut once = Some(store.clone());
        let (counts, mut done) = waiting(move |draft| {
            let fence = draft.book()?.fence;
            if let Some(store) = once.take() {
                let mut book = Book::default();
                book.fence = 10;
                store.commit(Batch::new().put(BOOK, encode(&book))).unwrap();
            }
            draft.change_book(move |book| book.fence = fence + 1)?;
            Ok(())
        });
        ours.commit(vec![counts], None);
        assert!(done.try_recv().unwrap().is_ok());
        let (book, _): (Book, _) = read(&*store, BOOK).unwrap().unwrap();
        assert_eq!(book.fence, 11);
    }

    #[test]
    fn a_draft_sees_the_kill_switch() {
        let store = Arc::new(MemoryStore::default());
        let group = Group::new(store.clone());
        assert_eq!(group.draft(None).paused().unwrap(), None);
        store.commit(Batch::new().put(PAUSE, encode(&json!({"why": "drill"})))).unwrap();
        assert_eq!(group.draft(None).paused().unwrap(), Some("drill".to_owned()));
    }

    #[tokio::test]
    async fn a_write_that_panics_leaves_nobody_waiting_and_the_next_one_leads_again() {
        let group = Group::new(Arc::new(MemoryStore::default()));
        let failed = group.write(|_| -> Result<(), CommitError> { panic!("a bug") }).await;
        assert!(matches!(failed, Err(CommitError::Failed(_))));
        // One that queued up before the leader was gone fails with it; the one after that leads.
        let next = async {
            loop {
                let written = group.write(|draft| {
                    draft.put("k", &1);
                    Ok(7)
                });
                match written.await {
                    Err(CommitError::Failed(_)) => tokio::task::yield_now().await,
                    written => return written,
                }
            }
        };
        let next = tokio::time::timeout(std::time::Duration::from_secs(10), next).await;
        assert_eq!(next.expect("somebody leads").unwrap().0, 7);
    }
}
