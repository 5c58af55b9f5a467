//! Messages that wait for delivery, and pages that wait for somebody.

use aiops_core::{Batch, Version};

use super::{Journal, OUTBOX, PAGES, Pending, StoredPage, decode, encode};
use crate::error::{Error, Result};
use crate::machine::Do;
use crate::plan::RunId;

impl Journal {
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

    /// Pages that are out, in order of key.
    pub(crate) fn pages(
        &self,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Version, StoredPage)>> {
        let entries = self
            .store
            .scan(PAGES.as_bytes(), after, limit)
            .map_err(Error::store("reading the pages"))?;
        entries.into_iter().map(|e| Ok((e.key, e.version, decode("page", &e.value)?))).collect()
    }

    /// Forgets a page that pages nobody any more, if its run is over: only a run that goes on would
    /// take it away otherwise.
    pub(crate) fn forget_page(&self, key: &[u8], version: Version, run: RunId) -> Result<()> {
        match self.standing(run) {
            Ok((_, Do::Nothing)) | Err(Error::UnknownRun(_)) => {}
            Ok(_) => return Ok(()),
            Err(error) => return Err(error),
        }
        match self.store.commit(Batch::new().expect(key, version).delete(key)) {
            Ok(_) => Ok(()),
            Err(error) if error.is_conflict() => Ok(()),
            Err(source) => Err(Error::Store { operation: "forgetting a page", source }),
        }
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
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use aiops_core::{MemoryStore, Timestamp};

    use super::*;
    use crate::escalate::Page;
    use crate::testing::{CrashPoint, CrashingStore, message};

    const KEY: &[u8] = b"act/outbox/somebody";

    fn pending(attempts: u32) -> Pending {
        let message = message("a page");
        Pending { route: "chat".to_owned(), message, attempts, not_before: Timestamp::EPOCH }
    }

    /// A journal, and one on the same store whose commits fail.
    fn journals() -> (Journal, Journal) {
        let store = Arc::new(MemoryStore::default());
        let failing = CrashingStore::new(store.clone(), 0, CrashPoint::Before);
        (Journal::new(store), Journal::new(Arc::new(failing)))
    }

    #[test]
    fn a_message_is_settled_by_whoever_comes_first() {
        let (journal, failing) = journals();
        let waiting = || journal.outbox(None, 9).unwrap();
        journal.settle(KEY, 0, Some(&pending(0))).unwrap();
        let [(_, version, first)] = &waiting()[..] else { panic!("one waits") };
        assert_eq!(*first, pending(0));
        journal.settle(KEY, *version, Some(&pending(1))).unwrap();
        assert_eq!(waiting()[0].2, pending(1));
        // Another engine read it when this one did: what it says of it comes too late, and is no error.
        journal.settle(KEY, *version, Some(&pending(7))).unwrap();
        journal.settle(KEY, *version, None).unwrap();
        assert_eq!(waiting()[0].2, pending(1));

        let version = waiting()[0].1;
        assert!(matches!(failing.settle(KEY, version, None), Err(Error::Store { .. })));
        journal.settle(KEY, version, None).unwrap();
        assert_eq!(waiting(), []);
    }

    #[test]
    fn a_page_moves_with_its_messages_once() {
        let (journal, failing) = journals();
        let page = |level| {
            let mut page = Page::new(Timestamp::EPOCH);
            page.level = level;
            StoredPage { page, message: message("a page") }
        };
        let key = b"act/page/0000000000000002";
        journal.move_page(key, 0, &page(None), &[]).unwrap();
        let version = journal.pages(None, 9).unwrap()[0].1;
        let refused = failing.move_page(key, version, &page(Some(0)), &[pending(0)]);
        assert!(matches!(refused, Err(Error::Store { .. })));

        journal.move_page(key, version, &page(Some(0)), &[pending(0)]).unwrap();
        // Another engine does the same.
        journal.move_page(key, version, &page(Some(1)), &[pending(3)]).unwrap();
        let pages = journal.pages(None, 9).unwrap();
        assert_eq!(pages.iter().map(|(_, _, page)| page).collect::<Vec<_>>(), [&page(Some(0))]);
        let messages = journal.outbox(None, 9).unwrap();
        assert_eq!(messages.iter().map(|(_, _, m)| m).collect::<Vec<_>>(), [&pending(0)]);
    }

    #[test]
    fn a_page_is_forgotten_by_whoever_read_it_last() {
        let (journal, failing) = journals();
        let (run, key) = (message("a page").run, b"act/page/0000000000000002");
        let page = StoredPage { page: Page::new(Timestamp::EPOCH), message: message("a page") };
        journal.move_page(key, 0, &page, &[]).unwrap();
        let version = journal.pages(None, 9).unwrap()[0].1;
        journal.forget_page(key, version + 1, run).unwrap();
        assert_eq!(journal.pages(None, 9).unwrap().len(), 1, "it is another one by now");
        assert!(matches!(failing.forget_page(key, version, run), Err(Error::Store { .. })));
        journal.forget_page(key, version, run).unwrap();
        assert_eq!(journal.pages(None, 9).unwrap(), []);
    }
}
