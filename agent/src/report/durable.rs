//! Small files that are whole or as before, whatever dies while they are written, and that the service can read whoever
//! wrote them.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// What the name of an unfinished file ends in.
pub(crate) const UNFINISHED: &str = ".tmp";

/// Writes a file so that after a crash it is either as before or complete.
pub(crate) fn write_durably(file: &Path, bytes: &[u8]) -> io::Result<()> {
    write_durably_as(file, bytes, 0o644)
}

/// As [`write_durably`], with the permissions of a new file (Unix).
pub(crate) fn write_durably_as(file: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    replace(file, bytes, mode, File::sync_all)?;
    sync_directory(directory_of(file))
}

/// Writes a file so that whoever reads it finds it whole; after a power cut it may be as before, or damaged.
pub(crate) fn write_whole(file: &Path, bytes: &[u8]) -> io::Result<()> {
    replace(file, bytes, 0o644, |_| Ok(()))
}

fn replace(
    file: &Path,
    bytes: &[u8],
    mode: u32,
    sync: impl FnOnce(&File) -> io::Result<()>,
) -> io::Result<()> {
    let mut unfinished = file.as_os_str().to_owned();
    unfinished.push(UNFINISHED);
    let unfinished = PathBuf::from(unfinished);
    let written = create(&unfinished, mode).and_then(|mut handle| {
        give_to_owner_of_folder(&handle, file)?;
        handle.write_all(bytes)?;
        sync(&handle)?;
        rename(&unfinished, file)
    });
    if written.is_err() {
        // A full disk: leave nothing behind. Failing to remove it changes nothing, opening the spool removes it too.
        drop(fs::remove_file(&unfinished));
    }
    written
}

#[cfg(not(windows))]
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)
}

/// Windows replaces no file that somebody has open, be it a virus scanner for a moment: it is asked again, a tenth of a second
/// in all.
#[cfg(windows)]
#[expect(
    clippy::disallowed_methods,
    reason = "files are written where waiting holds nobody up"
)]
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    for pause_ms in [1, 4, 15, 30, 50] {
        match fs::rename(from, to) {
            Err(error)
                if error.kind() == io::ErrorKind::PermissionDenied
                    || error.raw_os_error() == Some(32) =>
            {
                std::thread::sleep(std::time::Duration::from_millis(pause_ms));
            }
            ended => return ended,
        }
    }
    fs::rename(from, to)
}

#[cfg(unix)]
fn create(file: &Path, mode: u32) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    drop(fs::remove_file(file)); // an old one may have other permissions
    File::options()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(file)
}

#[cfg(not(unix))]
fn create(file: &Path, _mode: u32) -> io::Result<File> {
    File::create(file)
}

/// The administrator's commands run as root, the service as a user of its own: what root writes into the service's folder
/// is the service's to read.
#[cfg(unix)]
pub(crate) fn give_to_owner_of_folder(handle: &File, file: &Path) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, fchown};
    const ROOT: u32 = 0;
    let folder = fs::metadata(directory_of(file))?;
    if folder.uid() == ROOT || handle.metadata()?.uid() != ROOT {
        return Ok(());
    }
    fchown(handle, Some(folder.uid()), Some(folder.gid()))
}

/// Elsewhere the folder's access list is inherited.
#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "on Unix it can fail")]
pub(crate) fn give_to_owner_of_folder(_handle: &File, _file: &Path) -> io::Result<()> {
    Ok(())
}

fn directory_of(file: &Path) -> &Path {
    match file.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => directory,
        _ => Path::new("."),
    }
}

#[cfg(unix)]
fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "on Unix it can fail")]
fn sync_directory(_directory: &Path) -> io::Result<()> {
    Ok(())
}
