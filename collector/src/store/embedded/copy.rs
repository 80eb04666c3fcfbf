//! A copy of the store as it is at one moment, while others write to it.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::{engine, schema};
use crate::store::{StoreError, StoreResult};

/// Whether a folder holds a store.
pub fn is_in(folder: &Path) -> bool {
    folder.join(schema::FILE_NAME).is_file()
}

/// Copies the store in `from` into the folder `to`, as one snapshot: no writer waits, and none can make it begin again. Needs
/// free space for the whole of it.
///
/// # Errors
/// [`StoreError::Engine`], on a full disk for example; a copy that was begun is left where it is.
pub fn copy_into(from: &Path, to: &Path) -> StoreResult<()> {
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
        .map(drop)
        .map_err(engine("copy itself"))
}
