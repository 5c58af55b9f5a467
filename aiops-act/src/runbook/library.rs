//! A set of runbooks, by id.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::{DocumentErrors, Runbook};

/// Most documents of a library; more is a wrong directory.
const MAX_RUNBOOKS: usize = 10_000;

/// Runbooks by id, in order of id.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Library {
    runbooks: BTreeMap<String, Runbook>,
}

/// Why a library could not be loaded. Nothing is loaded then: a library that lacks a document
/// silently would choose a worse one.
#[derive(Debug)]
#[non_exhaustive]
pub enum LibraryError {
    /// A file or the directory could not be read.
    Io {
        /// What was read.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A document is wrong.
    Document {
        /// Its file.
        path: PathBuf,
        /// All that is wrong with it.
        source: DocumentErrors,
    },
    /// Two documents have the same id.
    Duplicate {
        /// The id.
        id: String,
    },
    /// More documents than any library has.
    TooMany {
        /// How many a library may have.
        limit: usize,
    },
}

impl fmt::Display for LibraryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LibraryError::Io { path, .. } => write!(f, "cannot read {}", path.display()),
            LibraryError::Document { path, source } => write!(f, "{}: {source}", path.display()),
            LibraryError::Duplicate { id } => write!(f, "two runbooks have the id `{id}`"),
            LibraryError::TooMany { limit } => write!(f, "more than {limit} runbooks"),
        }
    }
}

impl std::error::Error for LibraryError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            LibraryError::Io { source, .. } => Some(source),
            _ => None, // the document's errors are in the message, with their positions
        }
    }
}

impl Library {
    /// An empty library.
    #[must_use]
    pub fn new() -> Library {
        Library::default()
    }

    /// Loads every `.yaml`, `.yml` and `.json` file of a directory; its subdirectories are not
    /// entered.
    ///
    /// # Errors
    /// The first file, in order of name, that cannot be read or is wrong.
    pub fn load_dir(directory: &Path) -> Result<Library, LibraryError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| LibraryError::Io { path, source }
        };
        let mut files = Vec::new();
        for entry in std::fs::read_dir(directory).map_err(at(directory))? {
            let path = entry.map_err(at(directory))?.path();
            let extension = path.extension().and_then(|e| e.to_str()).unwrap_or("");
            if ["yaml", "yml", "json"].contains(&extension) && path.is_file() {
                files.push(path);
            }
        }
        files.sort();
        let mut library = Library::new();
        for path in files {
            let bytes = read_bounded(&path).map_err(at(&path))?;
            let runbook =
                Runbook::parse(&bytes).map_err(|source| LibraryError::Document { path, source })?;
            library.add(runbook)?;
        }
        Ok(library)
    }

    /// Adds one runbook.
    ///
    /// # Errors
    /// Its id is taken, or the library is full.
    pub fn add(&mut self, runbook: Runbook) -> Result<(), LibraryError> {
        if self.runbooks.contains_key(runbook.id()) {
            return Err(LibraryError::Duplicate { id: runbook.id().to_owned() });
        }
        if self.runbooks.len() >= MAX_RUNBOOKS {
            return Err(LibraryError::TooMany { limit: MAX_RUNBOOKS });
        }
        self.runbooks.insert(runbook.id().to_owned(), runbook);
        Ok(())
    }

    /// The runbook of that id.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Runbook> {
        self.runbooks.get(id)
    }

    /// All runbooks, in order of id.
    pub fn iter(&self) -> impl Iterator<Item = &Runbook> {
        self.runbooks.values()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.runbooks.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.runbooks.is_empty()
    }
}

/// Reads at most one byte more than a document may have, so that a huge file costs nothing.
fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(super::MAX_DOCUMENT as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
