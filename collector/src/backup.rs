//! Everything that a collector is, in one folder, and back: the store, the certificate authority, the login.
//!
//! A backup is taken beside a running collector: the store is copied as one snapshot (`VACUUM INTO`), and the small files are
//! whole at every moment. A folder holds a manifest with the digest of each file, so that a restore begins with knowing that
//! the backup is what was written. Nothing is restored over a collector that runs, and nothing that is there is deleted.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::auth::files::{Readers, give_to_owner_of_folder, replace_whole};
use crate::store::StoreError;
use crate::store::embedded;

/// Name of the manifest in a backup.
const MANIFEST: &str = "MANIFEST.json";
/// The form of a backup that this program writes and reads.
const FORM: u32 = 1;
/// What is a collector besides its store; what is absent was never made.
const SMALL_FILES: [&str; 4] = [
    "ca/authority.pem",
    "ca/ca.crt",
    "ca/server.pem",
    "login.json",
];

/// What a backup holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Form of the backup.
    pub form: u32,
    /// Version of the program that wrote it.
    pub version: String,
    /// When it was begun, milliseconds since the Unix epoch.
    pub created_unix_ms: i64,
    /// Its files.
    pub files: Vec<Entry>,
}

/// One file of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Path below the backup's folder, with `/`.
    pub path: String,
    /// Size.
    pub bytes: u64,
    /// SHA-256, hexadecimal.
    pub sha256: String,
}

/// Why there is no backup, or why it was not restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// There is nothing to back up.
    #[error("there is no collector in {}; name its configuration", folder.display())]
    NoCollector {
        /// Where it was looked for.
        folder: PathBuf,
    },
    /// The folder is in use.
    #[error("{} exists and is not empty; name a folder that does not exist yet", folder.display())]
    NotEmpty {
        /// Which.
        folder: PathBuf,
    },
    /// Something is there already.
    #[error(
        "{} holds a collector already; stop it, move the folder away, and restore again", folder.display()
    )]
    Occupied {
        /// Where.
        folder: PathBuf,
    },
    /// The store could not be copied.
    #[error("the store cannot be copied")]
    Store(#[from] StoreError),
    /// A file could not be read or written.
    #[error("{} cannot be {action}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The manifest is no manifest.
    #[error("{} is no manifest of a backup", path.display())]
    Manifest {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A later program wrote the backup.
    #[error(
        "the backup has form {found}, this program knows {FORM}; use the program that wrote it, version {version}"
    )]
    Form {
        /// Form of the backup.
        found: u32,
        /// Version of its program.
        version: String,
    },
    /// A file is not what was written.
    #[error("{} is not what was backed up: it was damaged or changed since", path.display())]
    Changed {
        /// Which.
        path: PathBuf,
    },
}

/// Backs the collector in `data_dir` up into the folder `to`, which must not exist, or be empty. The collector may run.
///
/// # Errors
/// See [`BackupError`]. What was written so far stays, without a manifest: it is no backup.
pub fn back_up(data_dir: &Path, to: &Path, now_unix_ms: i64) -> Result<Manifest, BackupError> {
    if !embedded::is_in(data_dir) {
        let folder = data_dir.to_owned();
        return Err(BackupError::NoCollector { folder });
    }
    make_empty(to)?;
    let of_store = embedded::copy_into(data_dir, to)?;
    let of_store = of_store.iter().map(|name| entry(to, name));
    let mut files: Vec<Entry> = of_store.collect::<Result<_, _>>()?;
    for name in SMALL_FILES {
        if copy(data_dir, to, name)? {
            files.push(entry(to, name)?);
        }
    }
    let manifest = Manifest {
        form: FORM,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        created_unix_ms: now_unix_ms,
        files,
    };
    let path = to.join(MANIFEST);
    let text = serde_json::to_vec_pretty(&manifest).map_err(|source| BackupError::Manifest {
        path: path.clone(),
        source,
    })?;
    replace_whole(&path, &text, Readers::Owner).map_err(failed("written", &path))?;
    Ok(manifest)
}

/// Puts the backup in the folder `from` into `data_dir`, which must hold no collector.
///
/// # Errors
/// See [`BackupError`]. Nothing is written before the whole backup was found to be what was written.
pub fn restore(from: &Path, data_dir: &Path) -> Result<Manifest, BackupError> {
    let manifest = read_manifest(from)?;
    for expected in &manifest.files {
        if entry(from, &expected.path)? != *expected {
            let path = from.join(&expected.path);
            return Err(BackupError::Changed { path });
        }
    }
    let known = |name: &str| data_dir.join(name).exists();
    if embedded::is_in(data_dir)
        || embedded::has_days(data_dir)
        || SMALL_FILES.iter().any(|name| known(name))
    {
        let folder = data_dir.to_owned();
        return Err(BackupError::Occupied { folder });
    }
    make_private(&behind_link(data_dir))?;
    // The store's own file comes last: a folder with it is a whole collector.
    let is_whole = |name: &str| name == embedded::FILE_NAME;
    let names = manifest.files.iter().map(|entry| entry.path.as_str());
    let names = names.filter(|name| SMALL_FILES.contains(name) || embedded::is_file_of(name));
    let (last, first): (Vec<_>, Vec<_>) = names.partition(|name| is_whole(name));
    for name in first.into_iter().chain(last) {
        copy(from, data_dir, name)?;
    }
    Ok(manifest)
}

/// What every form of a manifest says of itself.
#[derive(Deserialize)]
struct Head {
    form: u32,
    version: String,
}

fn read_manifest(from: &Path) -> Result<Manifest, BackupError> {
    let path = from.join(MANIFEST);
    let text = fs::read(&path).map_err(failed("read", &path))?;
    let no_manifest = |source| BackupError::Manifest {
        path: path.clone(),
        source,
    };
    let head: Head = serde_json::from_slice(&text).map_err(no_manifest)?;
    if head.form != FORM {
        return Err(BackupError::Form {
            found: head.form,
            version: head.version,
        });
    }
    serde_json::from_slice(&text).map_err(no_manifest)
}

fn make_empty(folder: &Path) -> Result<(), BackupError> {
    match fs::read_dir(folder) {
        Ok(mut entries) => {
            if entries.next().is_some() {
                let folder = folder.to_owned();
                return Err(BackupError::NotEmpty { folder });
            }
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => make_private(folder),
        Err(source) => Err(failed("read", folder)(source)),
    }
}

/// Where a folder is, or would be: the service's own is a link, which stays when what it leads to was moved away.
fn behind_link(folder: &Path) -> PathBuf {
    let beside = folder.parent().unwrap_or(Path::new(""));
    fs::read_link(folder).map_or_else(|_| folder.to_owned(), |target| beside.join(target))
}

fn make_private(folder: &Path) -> Result<(), BackupError> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    let make = || {
        if folder.exists() {
            return Ok(());
        }
        builder.create(folder)?;
        give_to_owner_of_folder(&File::open(folder)?, folder)
    };
    make().map_err(failed("created", folder))
}

/// Copies a file, whole or not at all. False: there is none.
fn copy(from: &Path, to: &Path, name: &str) -> Result<bool, BackupError> {
    let (source, destination) = (from.join(name), to.join(name));
    if !source.exists() {
        return Ok(false);
    }
    if let Some(folder) = destination.parent() {
        make_private(folder)?;
    }
    let draft = destination.with_extension("partial");
    fs::copy(&source, &draft)
        .and_then(|_| {
            let file = File::open(&draft)?;
            give_to_owner_of_folder(&file, &draft)?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&draft, &destination))
        .map_err(failed("copied", &source))?;
    Ok(true)
}

fn entry(folder: &Path, name: &str) -> Result<Entry, BackupError> {
    let path = folder.join(name);
    let mut file = File::open(&path).map_err(failed("read", &path))?;
    let (mut digest, mut bytes) = (Sha256::new(), 0_u64);
    let mut buffer = vec![0_u8; 1 << 16];
    loop {
        let read = file.read(&mut buffer).map_err(failed("read", &path))?;
        let Some(chunk) = buffer.get(..read).filter(|chunk| !chunk.is_empty()) else {
            break;
        };
        digest.update(chunk);
        bytes += u64::try_from(chunk.len()).unwrap_or(u64::MAX);
    }
    let digits = digest.finalize();
    let digits = digits.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    let digits = digits.filter_map(|digit| char::from_digit(u32::from(digit), 16));
    Ok(Entry {
        path: name.to_owned(),
        bytes,
        sha256: digits.collect(),
    })
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BackupError {
    let path = path.to_owned();
    move |source| BackupError::File {
        action,
        path,
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    const NOW: i64 = 1_750_000_000_000;

    /// A collector with one audit line and a login.
    async fn collector() -> (tempfile::TempDir, embedded::Embedded) {
        let folder = tempfile::tempdir().expect("a folder");
        let store = embedded::open(folder.path()).await.expect("opens");
        fs::create_dir(folder.path().join("ca")).expect("creates");
        fs::write(folder.path().join("ca/authority.pem"), "key").expect("writes");
        fs::write(folder.path().join("login.json"), "{}").expect("writes");
        (folder, store)
    }

    async fn sites(folder: &Path) -> usize {
        let store = embedded::open(folder).await.expect("opens");
        let organisation = firstmile_wire::ids::OrganisationId::default_organisation();
        store.sites(&organisation).await.expect("reads").len()
    }

    #[tokio::test]
    async fn what_is_backed_up_while_it_runs_comes_back() {
        let (running, store) = collector().await;
        let organisation = firstmile_wire::ids::OrganisationId::default_organisation();
        let site = crate::registry::Site {
            id: crate::registry::SiteId(uuid::Uuid::from_u128(1)),
            organisation,
            name: "Amsterdam".to_owned(),
            geography: crate::geo::Geography::default(),
        };
        store.put_site(&site).await.expect("puts");
        let shelf = tempfile::tempdir().expect("a folder");
        let backup = shelf.path().join("monday");
        let written = back_up(running.path(), &backup, NOW).expect("backs up");
        assert_eq!(written.files.len(), 3);
        let again = back_up(running.path(), &backup, NOW);
        assert!(matches!(again, Err(BackupError::NotEmpty { .. })));

        let fresh = shelf.path().join("fresh");
        let read = restore(&backup, &fresh).expect("restores");
        assert_eq!(read, written);
        assert_eq!(sites(&fresh).await, 1);
        let key = fs::read(fresh.join("ca/authority.pem")).expect("there");
        assert_eq!(key, b"key");
        let onto = restore(&backup, &fresh);
        assert!(matches!(onto, Err(BackupError::Occupied { .. })));
    }

    /// As the service's folder is a link, and what it led to was moved away to make room.
    #[cfg(unix)]
    #[tokio::test]
    async fn a_backup_comes_back_behind_a_link_that_leads_nowhere() {
        let (running, _store) = collector().await;
        let shelf = tempfile::tempdir().expect("a folder");
        let backup = shelf.path().join("monday");
        back_up(running.path(), &backup, NOW).expect("backs up");
        let link = shelf.path().join("collector");
        std::os::unix::fs::symlink("private/collector", &link).expect("links");
        fs::create_dir(shelf.path().join("private")).expect("a folder");
        restore(&backup, &link).expect("restores");
        assert!(
            shelf
                .path()
                .join("private/collector/firstmile.db")
                .is_file()
        );
        assert!(fs::symlink_metadata(&link).expect("there").is_symlink());
        assert_eq!(sites(&link).await, 0);
    }

    #[tokio::test]
    async fn a_damaged_backup_is_refused_before_anything_is_written() {
        let (running, _store) = collector().await;
        let shelf = tempfile::tempdir().expect("a folder");
        for (name, damage) in [
            ("a byte of the store", ("firstmile.db", "changed")),
            ("the authority", ("ca/authority.pem", "another key")),
        ] {
            let backup = shelf.path().join(name.replace(' ', "-"));
            back_up(running.path(), &backup, NOW).expect("backs up");
            fs::write(backup.join(damage.0), damage.1).expect("writes");
            let fresh = shelf.path().join("fresh");
            let refused = restore(&backup, &fresh);
            assert!(
                matches!(refused, Err(BackupError::Changed { .. })),
                "{name}"
            );
            assert!(!fresh.exists(), "{name}");
        }
    }

    #[tokio::test]
    async fn what_is_no_backup_and_what_is_of_a_later_program_is_told() {
        let shelf = tempfile::tempdir().expect("a folder");
        let fresh = shelf.path().join("fresh");
        for (manifest, want) in [
            (None, "cannot be read"),
            (Some("{}"), "no manifest"),
            (Some(r#"{"form":2,"version":"9.9","new":1}"#), "form 2"),
        ] {
            if let Some(text) = manifest {
                fs::write(shelf.path().join(MANIFEST), text).expect("writes");
            }
            let refused = restore(shelf.path(), &fresh).expect_err("refused");
            assert!(refused.to_string().contains(want), "{refused}");
        }
        let nothing = back_up(&fresh, &shelf.path().join("backup"), NOW);
        assert!(matches!(nothing, Err(BackupError::NoCollector { .. })));
    }
}
