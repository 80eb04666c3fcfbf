//! What the store tells its caller: errors, refusals, what was found.

use std::path::{Path, PathBuf};

use firstmile_columns::chunk::ChunkError;

/// Why the store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum DaysError {
    /// The engine failed on a file.
    #[error("cannot {action} in {}", path.display())]
    Engine {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the engine said.
        source: rusqlite::Error,
    },
    /// The folder cannot be read or changed.
    #[error("cannot {action} {}", path.display())]
    Folder {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A write failed before: what the disk has is known again when the store is opened again.
    #[error("a write failed before; open the store again")]
    Broken,
    /// More series than a chunk holds.
    #[error("the samples of agent {agent} do not fit in a chunk")]
    Chunk {
        /// Whose.
        agent: u32,
        /// How many.
        source: ChunkError,
    },
}

/// Why a sample was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Its day is past retention.
    TooOld,
    /// More than a day ahead of the collector's clock.
    Future,
}

/// When an agent's samples become a chunk.
#[derive(Clone, Copy, Debug)]
pub struct Seal {
    /// So many at least.
    pub rows: usize,
    /// Or the oldest waits so long.
    pub after_ms: i64,
}

impl Default for Seal {
    fn default() -> Self {
        Self {
            rows: crate::SEAL_ROWS,
            after_ms: crate::SEAL_AFTER_MS,
        }
    }
}

/// What was found at the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// Samples that were in the inbox and in no chunk.
    pub replayed: usize,
    /// Rows of the inbox that cannot be read; they are kept aside.
    pub unreadable_rows: usize,
    /// Files of days that cannot be read; they were renamed.
    pub quarantined: Vec<PathBuf>,
}

/// What an answer rests on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// Samples shown.
    pub rows: usize,
    /// Chunks that cannot be read, and files that broke while they were read: their samples are missing.
    pub damaged: usize,
}

/// Names what was tried, on which file, when the engine failed.
pub(crate) fn engine(
    action: &'static str,
    path: &Path,
) -> impl FnOnce(rusqlite::Error) -> DaysError {
    let path = path.to_owned();
    move |source| DaysError::Engine {
        action,
        path,
        source,
    }
}

/// The same of the file system.
pub(crate) fn folder(
    action: &'static str,
    path: &Path,
) -> impl FnOnce(std::io::Error) -> DaysError {
    let path = path.to_owned();
    move |source| DaysError::Folder {
        action,
        path,
        source,
    }
}
