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
