//! Opening the database file: pragmas, numbered migrations, a backup before any of them touches data.

use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::backup::Progress;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::engine;
use crate::store::{StoreError, StoreResult};

/// The one file of the store, beside its `-wal` and `-shm`.
pub const FILE_NAME: &str = "firstmile.db";

/// The version of the schema that this program reads and writes.
const VERSION: u32 = 17;

/// Entry `n` takes the schema from version `n` to `n + 1`. Only ever appended to.
const MIGRATIONS: [&str; VERSION as usize] = [
    include_str!("../migrations/0001.sql"),
    include_str!("../migrations/0002.sql"),
    include_str!("../migrations/0003.sql"),
    include_str!("../migrations/0004.sql"),
    include_str!("../migrations/0005.sql"),
    include_str!("../migrations/0006.sql"),
    include_str!("../migrations/0007.sql"),
    include_str!("../migrations/0008.sql"),
    include_str!("../migrations/0009.sql"),
    include_str!("../migrations/0010.sql"),
    include_str!("../migrations/0011.sql"),
    include_str!("../migrations/0012.sql"),
    include_str!("../migrations/0013.sql"),
    include_str!("../migrations/0014.sql"),
    include_str!("../migrations/0015.sql"),
    include_str!("../migrations/0016.sql"),
    include_str!("../migrations/0017.sql"),
];

/// How long one process waits for another's transaction; the longest transaction builds one rollup window.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// The log grows with one long transaction (a rollup of thousands of agents); what is beyond this is given back after it.
const LOG_KEPT_BYTES: u32 = 64 << 20;

/// Opens the connection that writes.
///
/// WAL: readers never wait for the writer. `synchronous = FULL`: a commit returns when its data is on disk (the WAL is synced
/// at each commit).
pub(super) fn open_writer(path: &Path) -> StoreResult<Connection> {
    keep_private(path)?;
    let connection = open_connection(path)?;
    write_ahead(&connection, path)?;
    connection
        .pragma_update(None, "journal_size_limit", LOG_KEPT_BYTES)
        .map_err(engine("limit its log"))?;
    connection
        .pragma_update(None, "synchronous", "FULL")
        .map_err(engine("set its durability"))?;
    Ok(connection)
}

/// Turns on the write-ahead log, one process after the other: where two open a new file at once, `SQLite` tells the second
/// that it is locked without the patience of [`BUSY_TIMEOUT`]. The lock is on the folder, so no further file is left there.
fn write_ahead(connection: &Connection, path: &Path) -> StoreResult<()> {
    let folder = path.parent().filter(|folder| folder != &Path::new(""));
    let folder = folder.unwrap_or(Path::new("."));
    let folder = File::open(folder).map_err(engine("open its folder"))?;
    folder.lock().map_err(engine("lock its folder"))?;
    connection
        .pragma_update(None, "journal_mode", "WAL")
        .map_err(engine("turn on its write-ahead log"))
}

/// Opens a connection that cannot write.
pub(super) fn open_reader(path: &Path) -> StoreResult<Connection> {
    let connection = open_connection(path)?;
    connection
        .pragma_update(None, "query_only", true)
        .map_err(engine("open a reader"))?;
    Ok(connection)
}

fn open_connection(path: &Path) -> StoreResult<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(engine("open its file"))?;
    connection
        .busy_timeout(BUSY_TIMEOUT)
        .map_err(engine("set its patience"))?;
    // Else a statement is made anew whenever another value is bound: a fifth of a writer's time.
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)
        .map_err(engine("keep its plans"))?;
    connection.set_prepared_statement_cache_capacity(128);
    Ok(connection)
}

/// Makes the file readable by its owner alone; `SQLite` gives `-wal` and `-shm` the same permissions.
pub(super) fn keep_private(path: &Path) -> StoreResult<()> {
    let mut options = std::fs::OpenOptions::new();
    // An existing file is not touched: closing any handle of it would give up this process's locks on it.
    options.create_new(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            Err(engine("create its file")(error))
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Brings the schema to this program's version. Two processes may try at once: the second finds nothing left to do.
pub(super) fn migrate(connection: &mut Connection, path: &Path) -> StoreResult<()> {
    let found = version(connection)?;
    if found > VERSION {
        return Err(StoreError::Damaged {
            what: "a schema",
            detail: format!(
                "{} has version {found}, this program knows up to {VERSION}: run the newer program that wrote it",
                path.display()
            ),
        });
    }
    if found == VERSION {
        return Ok(());
    }
    if found > 0 {
        back_up(connection, &backup_path(path, found))?;
    }
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(engine("begin to migrate"))?;
    // Somebody else may have migrated while we waited for the lock.
    let found = version(&transaction)?;
    for sql in MIGRATIONS.iter().skip(found as usize) {
        transaction.execute_batch(sql).map_err(engine("migrate"))?;
    }
    transaction
        .pragma_update(None, "user_version", VERSION)
        .map_err(engine("note its version"))?;
    transaction.commit().map_err(engine("finish migrating"))
}

/// Whether a store of this version, which need not be this program's, keeps samples.
pub(super) fn has_samples(connection: &Connection) -> StoreResult<bool> {
    Ok(version(connection)? >= 13)
}

/// Whether a store of this version says how far its inbox of samples went.
pub(super) fn knows_last_sample(connection: &Connection) -> StoreResult<bool> {
    Ok(version(connection)? >= 14)
}

/// Where the state before a migration is kept.
fn backup_path(path: &Path, version: u32) -> PathBuf {
    path.with_extension(format!("db.version-{version}"))
}

/// Copies the database as it is. An older backup of the same version stays: it is the first state, hence the untouched one.
fn back_up(connection: &Connection, to: &Path) -> StoreResult<()> {
    if to.exists() {
        return Ok(());
    }
    let partial = to.with_extension("partial");
    keep_private(&partial)?;
    connection
        .backup("main", &partial, None::<fn(Progress)>)
        .map_err(engine("back itself up before migrating"))?;
    std::fs::rename(&partial, to).map_err(engine("put its backup in place"))
}

fn version(connection: &Connection) -> StoreResult<u32> {
    connection
        .pragma_query_value(None, "user_version", |row| row.get::<_, u32>(0))
        .map_err(engine("read its version"))
}

#[cfg(test)]
#[path = "migration_tests.rs"]
mod migration_tests;

#[cfg(test)]
mod tests {
    use super::*;

    fn open_at(dir: &Path) -> (Connection, PathBuf) {
        let path = dir.join(FILE_NAME);
        (open_writer(&path).unwrap(), path)
    }

    #[test]
    fn a_second_migration_changes_nothing_and_makes_no_backup() {
        let dir = tempfile::tempdir().unwrap();
        let (mut connection, path) = open_at(dir.path());
        migrate(&mut connection, &path).unwrap();
        migrate(&mut connection, &path).unwrap();
        assert_eq!(version(&connection).unwrap(), VERSION);
        assert!(!backup_path(&path, VERSION).exists());
    }

    #[test]
    fn every_table_names_its_organisation() {
        let dir = tempfile::tempdir().unwrap();
        let (mut connection, path) = open_at(dir.path());
        migrate(&mut connection, &path).unwrap();
        let strangers: Vec<String> = connection
            .prepare(
                "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'
                 AND NOT EXISTS (SELECT 1 FROM pragma_table_info(sqlite_schema.name) WHERE name = 'organisation')",
            )
            .unwrap()
            .query_map([], |row| row.get(0))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        assert_eq!(strangers, Vec::<String>::new());
    }

    #[test]
    fn a_store_of_a_later_program_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (mut connection, path) = open_at(dir.path());
        connection
            .pragma_update(None, "user_version", VERSION + 1)
            .unwrap();
        let error = migrate(&mut connection, &path).unwrap_err();
        assert!(error.to_string().contains("newer program"), "{error}");
    }

    #[test]
    fn a_store_is_backed_up_before_it_is_migrated() {
        let dir = tempfile::tempdir().unwrap();
        let (mut connection, path) = open_at(dir.path());
        connection.execute_batch(MIGRATIONS[0]).unwrap();
        connection.pragma_update(None, "user_version", 1).unwrap();
        connection
            .execute("INSERT INTO organisation VALUES ('of-version-1')", [])
            .unwrap();
        migrate(&mut connection, &path).unwrap();
        assert_eq!(version(&connection).unwrap(), VERSION);
        let backup = Connection::open(backup_path(&path, 1)).unwrap();
        assert_eq!(version(&backup).unwrap(), 1);
        for connection in [&connection, &backup] {
            let kept: u32 = connection
                .query_row("SELECT count(*) FROM organisation", [], |row| row.get(0))
                .unwrap();
            assert_eq!(kept, 2);
        }
        // A second try after a failure in between keeps the first backup.
        connection.execute("DELETE FROM organisation", []).unwrap();
        back_up(&connection, &backup_path(&path, 1)).unwrap();
        let kept: u32 = backup
            .query_row("SELECT count(*) FROM organisation", [], |row| row.get(0))
            .unwrap();
        assert_eq!(kept, 2);
    }

    #[test]
    fn events_of_version_5_stay_readable() {
        let dir = tempfile::tempdir().unwrap();
        let (mut connection, path) = open_at(dir.path());
        for sql in &MIGRATIONS[..5] {
            connection.execute_batch(sql).unwrap();
        }
        connection.pragma_update(None, "user_version", 5).unwrap();
        let form = include_str!("event-of-version-5.json");
        connection
            .execute(
                "INSERT INTO event VALUES ('default', 'e', 'a', 2, NULL, ?1)",
                [form],
            )
            .unwrap();
        migrate(&mut connection, &path).unwrap();
        let kept: String = connection
            .query_row(
                "SELECT form FROM event WHERE incident_id IS NULL",
                [],
                |row| row.get(0),
            )
            .unwrap();
        let event: crate::api::types::Event = serde_json::from_str(&kept).unwrap();
        assert_eq!(event.class, crate::api::types::EventClass::Geo);
        assert_eq!(event.reasons, ["3 rounds in a row agree"]);
        assert_eq!(event.confidence, None);
        let ending = (
            event.state.as_str(),
            event.ending.as_deref(),
            event.ended_unix_ms,
        );
        assert_eq!(
            ending,
            ("closed", Some("not_observed"), Some(3)),
            "nobody follows it any more"
        );
    }

    #[cfg(unix)]
    #[test]
    fn nobody_else_can_read_the_files() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let (mut connection, path) = open_at(dir.path());
        migrate(&mut connection, &path).unwrap();
        for name in ["firstmile.db", "firstmile.db-wal"] {
            let mode = dir
                .path()
                .join(name)
                .metadata()
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o077, 0, "{name}");
        }
    }
}
