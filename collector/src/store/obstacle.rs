//! What keeps a store from writing, in words for whoever has to mend it.

use std::error::Error;
use std::io;

use rusqlite::ErrorCode;

use super::StoreError;

/// Why nothing can be written, where that can be told from a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// No room is left.
    Full,
    /// The file system, or the file, may only be read.
    ReadOnly,
    /// The disk fails to read or write.
    Faulty,
}

impl Obstacle {
    /// The obstacle behind a failure, by the first of its sources that names one.
    pub fn of(failure: &StoreError) -> Option<Self> {
        let mut source = failure.source();
        while let Some(cause) = source {
            if let Some(obstacle) = named_by(cause) {
                return Some(obstacle);
            }
            source = cause.source();
        }
        None
    }

    /// What is the matter with the collector's disk: a predicate without subject.
    pub const fn predicate(self) -> &'static str {
        match self {
            Self::Full => "is full",
            Self::ReadOnly => "is read-only",
            Self::Faulty => "answers with errors",
        }
    }
}

fn named_by(cause: &(dyn Error + 'static)) -> Option<Obstacle> {
    if let Some(error) = cause.downcast_ref::<rusqlite::Error>() {
        let said = error.sqlite_error_code()?;
        return told_by(
            &said,
            &[
                (ErrorCode::DiskFull, Obstacle::Full),
                (ErrorCode::ReadOnly, Obstacle::ReadOnly),
                (ErrorCode::SystemIoFailure, Obstacle::Faulty),
            ],
        );
    }
    told_by(
        &cause.downcast_ref::<io::Error>()?.kind(),
        &[
            (io::ErrorKind::StorageFull, Obstacle::Full),
            (io::ErrorKind::QuotaExceeded, Obstacle::Full),
            (io::ErrorKind::ReadOnlyFilesystem, Obstacle::ReadOnly),
        ],
    )
}

fn told_by<T: PartialEq>(said: &T, words: &[(T, Obstacle)]) -> Option<Obstacle> {
    words
        .iter()
        .find_map(|(word, obstacle)| (word == said).then_some(*obstacle))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(source: impl Into<Box<dyn Error + Send + Sync>>) -> StoreError {
        StoreError::Engine {
            action: "store reports",
            source: source.into(),
        }
    }

    fn sqlite(code: i32) -> StoreError {
        failure(rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(code),
            None,
        ))
    }

    #[test]
    fn what_the_engine_and_the_system_say_is_told_apart() {
        use rusqlite::ffi::{
            SQLITE_BUSY, SQLITE_FULL, SQLITE_IOERR, SQLITE_IOERR_FSYNC, SQLITE_READONLY,
        };
        for (failure, obstacle) in [
            (sqlite(SQLITE_FULL), Some(Obstacle::Full)),
            (sqlite(SQLITE_READONLY), Some(Obstacle::ReadOnly)),
            (sqlite(SQLITE_IOERR), Some(Obstacle::Faulty)),
            (sqlite(SQLITE_IOERR_FSYNC), Some(Obstacle::Faulty)),
            (sqlite(SQLITE_BUSY), None),
            (
                failure(io::Error::from(io::ErrorKind::StorageFull)),
                Some(Obstacle::Full),
            ),
            (
                failure(io::Error::from(io::ErrorKind::ReadOnlyFilesystem)),
                Some(Obstacle::ReadOnly),
            ),
            (failure(io::Error::from(io::ErrorKind::NotFound)), None),
            (failure("a panic"), None),
            (StoreError::Stopped, None),
        ] {
            assert_eq!(Obstacle::of(&failure), obstacle, "{failure:?}");
        }
    }
}
