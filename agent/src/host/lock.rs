//! One agent for each state directory: two of them would give the same sequences to different reports.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::report::durable::give_to_owner_of_folder;

const LOCK_FILE: &str = "run.lock";

/// Why a state directory is not ours alone.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LockError {
    #[error("another firstmile-agent is running on {}; stop it first, or give this one another state_dir", state_dir.display())]
    Taken { state_dir: PathBuf },
    #[error("cannot lock {}", file.display())]
    Unusable { file: PathBuf, source: io::Error },
}

/// Holds a state directory until dropped; the kernel lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct StateLock {
    _file: File,
}

/// Takes `state_dir` for this process alone.
///
/// # Errors
/// See [`LockError`].
pub(crate) fn take(state_dir: &Path) -> Result<StateLock, LockError> {
    let path = state_dir.join(LOCK_FILE);
    let unusable = |source| LockError::Unusable {
        file: path.clone(),
        source,
    };
    let file = open(&path).map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => Ok(StateLock { _file: file }),
        Err(std::fs::TryLockError::WouldBlock) => Err(LockError::Taken {
            state_dir: state_dir.to_owned(),
        }),
        Err(std::fs::TryLockError::Error(source)) => Err(unusable(source)),
    }
}

fn open(path: &Path) -> io::Result<File> {
    let created = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path);
    match created {
        Ok(file) => {
            give_to_owner_of_folder(&file, path)?;
            Ok(file)
        }
        // A lock wants no right to write.
        Err(error) => File::open(path).map_err(|_| error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_directory_has_one_agent_at_a_time() {
        let directory = tempfile::tempdir().expect("a directory");
        let first = take(directory.path()).expect("free");
        let second = take(directory.path()).expect_err("taken");
        assert!(matches!(second, LockError::Taken { .. }), "{second}");
        drop(first);
        assert!(take(directory.path()).is_ok());
    }

    #[test]
    fn a_directory_that_is_not_there_says_so() {
        let directory = tempfile::tempdir().expect("a directory");
        let missing = take(&directory.path().join("none")).expect_err("missing");
        assert!(matches!(missing, LockError::Unusable { .. }), "{missing}");
    }
}
