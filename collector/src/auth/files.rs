//! Small files that must be whole or absent, whatever dies while they are written.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Who may read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readers {
    /// Only the user that the collector runs as (mode 0600).
    Owner,
    /// Everybody (mode 0644).
    Everybody,
}

/// Writes a file that must not exist yet. `false`: it exists already, and is left as it is.
///
/// # Errors
/// Those of the file system.
pub fn create_whole(path: &Path, content: &[u8], readers: Readers) -> io::Result<bool> {
    let draft = write_draft(path, content, readers)?;
    // A hard link never replaces: of two processes that start at once, one wins and both use its file.
    let linked = fs::hard_link(&draft, path);
    fs::remove_file(&draft)?;
    match linked {
        Ok(()) => sync_folder(path).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// Writes a file, in the place of an older one if there is one.
///
/// # Errors
/// Those of the file system.
pub fn replace_whole(path: &Path, content: &[u8], readers: Readers) -> io::Result<()> {
    let draft = write_draft(path, content, readers)?;
    fs::rename(&draft, path)?;
    sync_folder(path)
}

fn write_draft(path: &Path, content: &[u8], readers: Readers) -> io::Result<PathBuf> {
    let name = format!("draft-{:016x}", rand::random::<u64>());
    let draft = path.with_file_name(name);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    restrict(&mut options, readers);
    let mut file = options.open(&draft)?;
    give_to_owner_of_folder(&file, path)?;
    file.write_all(content)?;
    file.sync_all()?;
    Ok(draft)
}

#[cfg(unix)]
fn restrict(options: &mut OpenOptions, readers: Readers) {
    use std::os::unix::fs::OpenOptionsExt;
    options.mode(match readers {
        Readers::Owner => 0o600,
        Readers::Everybody => 0o644,
    });
}

/// Elsewhere the folder's access list is inherited.
#[cfg(not(unix))]
fn restrict(_options: &mut OpenOptions, _readers: Readers) {}

/// The administrator's commands run as root, the service as a user of its own: what root writes into the service's folder
/// is the service's to read.
#[cfg(unix)]
pub(crate) fn give_to_owner_of_folder(file: &File, path: &Path) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, fchown};
    const ROOT: u32 = 0;
    let folder = fs::metadata(path.parent().unwrap_or(path))?;
    if folder.uid() == ROOT || file.metadata()?.uid() != ROOT {
        return Ok(());
    }
    fchown(file, Some(folder.uid()), Some(folder.gid()))
}

/// Elsewhere the folder's access list is inherited.
#[cfg(not(unix))]
pub(crate) fn give_to_owner_of_folder(_file: &File, _path: &Path) -> io::Result<()> {
    Ok(())
}

/// A new name is durable once its folder is synced; where folders cannot be opened, the system does it by itself.
fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) if cfg!(unix) => File::open(folder)?.sync_all(),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_writer_wins_and_a_replacement_replaces() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("secret");
        assert!(create_whole(&path, b"one", Readers::Owner).expect("creates"));
        assert!(!create_whole(&path, b"two", Readers::Owner).expect("leaves it"));
        assert_eq!(fs::read(&path).expect("reads"), b"one");
        replace_whole(&path, b"three", Readers::Everybody).expect("replaces");
        assert_eq!(fs::read(&path).expect("reads"), b"three");
        assert_eq!(
            fs::read_dir(folder.path()).expect("lists").count(),
            1,
            "no draft is left"
        );
    }

    #[cfg(unix)]
    #[test]
    fn a_secret_is_its_owners_alone() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("secret");
        create_whole(&path, b"one", Readers::Owner).expect("creates");
        let mode = fs::metadata(&path).expect("metadata").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
