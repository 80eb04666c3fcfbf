//! A copy of the store as it is at one moment, while others write to it.

use std::io::ErrorKind;
use std::path::Path;

use firstmile_days::{DayNumber, FsckReport, copy_day, fsck};
use rusqlite::{Connection, OpenFlags};

use super::{engine, samples, schema};
use crate::store::{StoreError, StoreResult};

/// Whether a folder holds a store.
pub fn is_in(folder: &Path) -> bool {
    folder.join(schema::FILE_NAME).is_file()
}

/// Copies the store in `from` into the folder `to`, as it is at one moment: no writer waits, and none can make it begin again.
/// Needs free space for the whole of it. Says which files it wrote, as names below `to`.
///
/// # Errors
/// [`StoreError::Engine`], on a full disk for example; a copy that was begun is left where it is.
pub fn copy_into(from: &Path, to: &Path) -> StoreResult<Vec<String>> {
    let copy = to.join(schema::FILE_NAME);
    schema::keep_private(&copy)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(from.join(schema::FILE_NAME), flags)
        .map_err(engine("open its file"))?;
    let name = copy.to_str().ok_or_else(|| StoreError::Damaged {
        what: "a path",
        detail: format!("{} is not written in UTF-8", copy.display()),
    })?;
    connection
        .execute("VACUUM INTO ?1", [name])
        .map_err(engine("copy itself"))?;
    let mut written = vec![schema::FILE_NAME.to_owned()];
    // First the inbox, then the files of days as far as that inbox goes: each sample is in one of the two.
    let copied = Connection::open_with_flags(&copy, flags).map_err(engine("open its copy"))?;
    if schema::has_samples(&copied)? {
        let upto = samples::last_row(&copied)?;
        copy_days(
            &from.join(samples::FOLDER),
            &to.join(samples::FOLDER),
            upto,
            &mut written,
        )?;
    }
    Ok(written)
}

/// Whether a folder holds samples, be it without their store.
pub fn has_days(folder: &Path) -> bool {
    folder.join(samples::FOLDER).exists()
}

/// Whether a file of a backup is one of a store's: its own, or that of a day.
pub fn is_file_of(name: &str) -> bool {
    let day = name.strip_prefix(samples::FOLDER);
    let day = day.and_then(|day| day.strip_prefix('/'));
    name == schema::FILE_NAME || day.is_some_and(|day| DayNumber::of_file_name(day).is_some())
}

/// What a check of all files found.
#[derive(Clone, Debug, Default)]
pub struct Checked {
    /// Files of days, chunks in them, samples in those.
    pub days: FsckReport,
    /// What is wrong with the store's own file.
    pub faults: Vec<String>,
}

impl Checked {
    /// Whether all can be read.
    pub const fn is_sound(&self) -> bool {
        self.faults.is_empty() && self.days.is_sound()
    }
}

/// Reads all that the store in a folder has, and changes nothing. A collector may run on it.
///
/// # Errors
/// [`StoreError::Engine`] if a file cannot be opened at all.
pub fn check(folder: &Path) -> StoreResult<Checked> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(folder.join(schema::FILE_NAME), flags)
        .map_err(engine("open its file"))?;
    let mut select = connection
        .prepare("PRAGMA integrity_check(20)")
        .map_err(engine("check its file"))?;
    let lines = select.query_map([], |row| row.get::<_, String>(0));
    let lines = lines.map_err(engine("check its file"))?;
    let lines: Vec<String> = lines
        .collect::<Result<_, _>>()
        .map_err(engine("check its file"))?;
    let days = folder.join(samples::FOLDER);
    let days = if days.exists() {
        fsck(&days).map_err(engine("list the files of its samples"))?
    } else {
        FsckReport::default()
    };
    Ok(Checked {
        days,
        faults: lines.into_iter().filter(|line| line != "ok").collect(),
    })
}

fn copy_days(from: &Path, to: &Path, upto: i64, written: &mut Vec<String>) -> StoreResult<()> {
    let entries = match std::fs::read_dir(from) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(engine("list the files of its samples"))?,
    };
    samples::make_folder(to)?;
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(engine("list the files of its samples"))?;
        let name = entry.file_name().into_string().unwrap_or_default();
        names.extend(DayNumber::of_file_name(&name).map(|_| name));
    }
    names.sort();
    for name in names {
        schema::keep_private(&to.join(&name))?;
        match copy_day(&from.join(&name), &to.join(&name), upto) {
            Ok(()) => written.push(format!("{}/{name}", samples::FOLDER)),
            // Retention took it since it was listed: so it is not in the copy either.
            Err(_) if !from.join(&name).exists() => {
                std::fs::remove_file(to.join(&name)).map_err(engine("take back a copy"))?;
            }
            Err(error) => return Err(engine("copy the samples of a day")(error)),
        }
    }
    Ok(())
}
