//! The state directory, and what the running agent last wrote there.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::Path;

use crate::config::AgentConfig;
use crate::doctor::facts::{Access, LastWord, State};
use crate::report::status::Status;

pub(super) fn state(config: &AgentConfig) -> State {
    let directory = &config.state_dir;
    State {
        directory: directory.clone(),
        access: access(directory),
        free_bytes: free_bytes(directory),
        spool_max_bytes: config.spool.max_bytes,
    }
}

fn access(directory: &Path) -> Access {
    let judged = |error: io::Error| {
        if error.kind() == io::ErrorKind::PermissionDenied {
            Access::NotPermitted
        } else if error.kind() == io::ErrorKind::NotFound {
            Access::Missing
        } else {
            Access::Broken(error.to_string())
        }
    };
    match fs::metadata(directory) {
        Ok(found) if !found.is_dir() => return Access::Broken("it is no directory".to_owned()),
        Ok(_) => {}
        Err(error) => return judged(error),
    }
    // Only writing shows whether a directory can be written.
    let file = directory.join(format!(".doctor-{}", std::process::id()));
    let tried = OpenOptions::new().write(true).create_new(true).open(&file);
    match tried {
        Ok(_) => fs::remove_file(&file).map_or_else(judged, |()| Access::Writable),
        Err(error) => judged(error),
    }
}

/// Free for this user, in the directory or the nearest one above it that exists.
#[cfg(unix)]
fn free_bytes(directory: &Path) -> Option<u64> {
    let found = directory
        .ancestors()
        .find_map(|above| nix::sys::statvfs::statvfs(above).ok())?;
    #[cfg_attr(
        target_pointer_width = "64",
        expect(clippy::useless_conversion, reason = "both are 32 bits wide elsewhere")
    )]
    let (blocks, size) = (
        u64::from(found.blocks_available()),
        u64::from(found.fragment_size()),
    );
    Some(blocks.saturating_mul(size))
}

#[cfg(not(unix))]
const fn free_bytes(_directory: &Path) -> Option<u64> {
    None
}

pub(super) fn last_word(config: &AgentConfig) -> Option<LastWord> {
    let status = Status::load(&config.state_dir).ok()?;
    Some(LastWord {
        newer_expected: status.newer_expected().map(|version| version.to_string()),
        written_unix_ms: status.written_unix_ms,
        last_upload_unix_ms: status.last_upload_unix_ms,
        upload_problem: status.upload_problem,
        spool_reports: status.spool_reports,
        spool_bytes: status.spool_bytes,
        spool_problem: status.spool_problem,
        dropped_reports: status.dropped_reports,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_tried_by_writing() {
        let directory = tempfile::tempdir().expect("a directory");
        assert_eq!(access(directory.path()), Access::Writable);
        assert_eq!(fs::read_dir(directory.path()).expect("there").count(), 0);
        assert_eq!(access(&directory.path().join("none")), Access::Missing);
        let file = directory.path().join("file");
        fs::write(&file, b"").expect("written");
        assert!(matches!(access(&file), Access::Broken(_)));
    }
}
