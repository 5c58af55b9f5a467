//! Where sealed files stand: a folder, or an object store.

use super::HistoryError;
use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use std::sync::Arc;
use tokio::runtime::Runtime;

/// A place for sealed files, by the `object_store` crate.
///
/// Calls block until the store answered: from async code use a blocking pool.
#[derive(Debug)]
pub struct Shelf {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    runtime: Runtime,
}

impl Shelf {
    /// A folder of this machine, made if it is not there. Files appear whole, after a flush to disk.
    ///
    /// # Errors
    /// [`HistoryError::Failed`] when the folder cannot be made.
    pub fn folder(path: impl AsRef<std::path::Path>) -> Result<Self, HistoryError> {
        std::fs::create_dir_all(&path).map_err(HistoryError::failed("making a folder"))?;
        let store = LocalFileSystem::new_with_prefix(path)
            .map_err(HistoryError::failed("opening a folder"))?;
        let store = store.with_fsync(true).with_automatic_cleanup(true);
        Shelf::of(Arc::new(store), Path::default())
    }

    /// The memory of this process: for tests, and for history that need not outlive it.
    ///
    /// # Errors
    /// [`HistoryError::Failed`] when the machine has no threads or files left.
    pub fn memory() -> Result<Self, HistoryError> {
        Shelf::of(Arc::new(InMemory::new()), Path::default())
    }

    /// A store by its address, such as `s3://bucket/prefix`, with options by the names that
    /// `object_store` knows: `aws_endpoint`, `aws_region`, `aws_access_key_id` and so on. Nothing is
    /// read from the environment.
    ///
    /// # Errors
    /// [`HistoryError::InvalidConfig`] when the address or an option is not understood,
    /// [`HistoryError::Failed`] when the machine has no threads or files left.
    #[cfg(feature = "s3")]
    #[cfg_attr(docsrs, doc(cfg(feature = "s3")))]
    pub fn url<'a>(
        url: &str,
        options: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, HistoryError> {
        let invalid = |reason: String| HistoryError::InvalidConfig { field: "url", reason };
        let url = url::Url::parse(url).map_err(|error| invalid(format!("{url:?}: {error}")))?;
        let parsed = object_store::parse_url_opts(&url, options);
        let (store, prefix) = parsed.map_err(|error| invalid(error.to_string()))?;
        Shelf::of(store.into(), prefix)
    }

    fn of(store: Arc<dyn ObjectStore>, prefix: Path) -> Result<Self, HistoryError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(HistoryError::failed("starting the client of a store"))?;
        Ok(Shelf { store, prefix, runtime })
    }

    /// Where `path` is within the store.
    fn place(&self, path: &str) -> Path {
        path.split('/').fold(self.prefix.clone(), |place, folder| place.join(folder))
    }

    /// Every path below the prefix.
    pub(super) fn list(&self) -> Result<Vec<String>, HistoryError> {
        let listing =
            self.store.list(Some(&self.prefix)).map_ok(|meta| meta.location).try_collect();
        let found: Vec<Path> =
            self.runtime.block_on(listing).map_err(HistoryError::failed("listing files"))?;
        let below = |path: Path| {
            let parts: Vec<_> =
                path.prefix_match(&self.prefix)?.map(|p| p.as_ref().to_owned()).collect();
            Some(parts.join("/"))
        };
        Ok(found.into_iter().filter_map(below).collect())
    }

    pub(super) fn get(&self, path: &str) -> Result<Bytes, HistoryError> {
        let place = self.place(path);
        let read = async { self.store.get(&place).await?.bytes().await };
        self.runtime.block_on(read).map_err(HistoryError::failed("reading a file"))
    }

    /// Whole or not at all.
    pub(super) fn put(&self, path: &str, bytes: Bytes) -> Result<(), HistoryError> {
        let place = self.place(path);
        let put = self.store.put(&place, bytes.into());
        self.runtime.block_on(put).map_err(HistoryError::failed("writing a file"))?;
        Ok(())
    }

    /// A file that is not there is deleted already.
    pub(super) fn delete(&self, path: &str) -> Result<(), HistoryError> {
        match self.runtime.block_on(self.store.delete(&self.place(path))) {
            Err(object_store::Error::NotFound { .. }) | Ok(()) => Ok(()),
            Err(error) => Err(HistoryError::failed("deleting a file")(error)),
        }
    }

    /// Puts a file out of the way, under `quarantine/`, where a person finds it.
    pub(super) fn quarantine(&self, path: &str) -> Result<(), HistoryError> {
        let (from, to) = (self.place(path), self.place(&format!("quarantine/{path}")));
        let moved = self.runtime.block_on(self.store.rename(&from, &to));
        moved.map_err(HistoryError::failed("putting a damaged file aside"))
    }
}
