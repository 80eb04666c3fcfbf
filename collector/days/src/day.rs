//! The file of one UTC day: chunks, and for each agent up to which row of the inbox its samples of the day are in them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::civil::Date;
use jiff::{Span, Unit};
use rusqlite::{Connection, OpenFlags, TransactionBehavior, params};

/// First and last byte of a file's name; between them the date.
const PREFIX: &str = "samples-";
const SUFFIX: &str = ".db";
/// The schema that this program reads and writes.
const VERSION: u32 = 1;
const DAY_MS: i64 = 86_400_000;
/// Chunks are about 860 bytes: of pages of 4 KiB a tenth is left over at the end, of these a fortieth.
const PAGE_BYTES: u32 = 16_384;
/// How long a reader waits for the writer's checkpoint.
const BUSY: Duration = Duration::from_secs(10);
/// Below this span of all agents chunks are looked for in the index first; they lie near each other.
const SHORT_MS: i64 = 6 * 3_600_000;

const SCHEMA: &str = "
CREATE TABLE chunk (agent INTEGER NOT NULL, from_unix_ms INTEGER NOT NULL, to_unix_ms INTEGER NOT NULL,
    rows INTEGER NOT NULL, inbox INTEGER NOT NULL, bytes BLOB NOT NULL);
CREATE INDEX chunk_of_agent ON chunk (agent, from_unix_ms, to_unix_ms);
CREATE TABLE sealed (agent INTEGER PRIMARY KEY, inbox INTEGER NOT NULL);
";

/// A UTC day, counted from 1970-01-01.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DayNumber(pub i64);

impl DayNumber {
    /// The day that an instant lies in.
    pub const fn of(at_unix_ms: i64) -> Self {
        Self(at_unix_ms.div_euclid(DAY_MS))
    }

    /// Its midnight; that of a day beyond all calendars is the last instant there is.
    pub const fn start_unix_ms(self) -> i64 {
        self.0.saturating_mul(DAY_MS)
    }

    /// Its date, `2026-11-23`; `None` beyond the calendar.
    pub fn date(self) -> Option<String> {
        let name = self.file_name()?;
        let date = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
        Some(date.to_owned())
    }

    /// The name of its file, `samples-2026-11-23.db`; `None` beyond the calendar.
    pub fn file_name(self) -> Option<String> {
        let date = Date::constant(1970, 1, 1).checked_add(Span::new().try_days(self.0).ok()?);
        Some(format!("{PREFIX}{}{SUFFIX}", date.ok()?))
    }

    /// The day whose file has this name.
    pub fn of_file_name(name: &str) -> Option<Self> {
        let date: Date = name
            .strip_prefix(PREFIX)?
            .strip_suffix(SUFFIX)?
            .parse()
            .ok()?;
        let since = date.since((Unit::Day, Date::constant(1970, 1, 1))).ok()?;
        Some(Self(i64::from(since.get_days())))
    }
}

/// One chunk as it lies in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) agent: u32,
    pub(crate) from_unix_ms: i64,
    pub(crate) to_unix_ms: i64,
    pub(crate) rows: usize,
    pub(crate) bytes: Vec<u8>,
}

/// The chunks of a day, to read; the writer is not held up.
#[derive(Debug)]
pub struct Chunks {
    connection: Connection,
}

impl Chunks {
    /// Opens the file of a day that exists.
    ///
    /// # Errors
    /// What the engine says of a file that is none of its own, or is not there.
    pub fn open(path: &Path) -> rusqlite::Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(BUSY)?;
        connection.pragma_update(None, "query_only", true)?;
        // Never mapped: a file that is cut under a reader would end the process, not the query.
        version(&connection)?;
        Ok(Self { connection })
    }

    /// Runs `read` on one moment of the file.
    pub(crate) fn at_once<T>(
        &mut self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let snapshot = self.connection.transaction()?;
        read(&snapshot)
    }

    /// Shows the chunks of one agent, or of all, that have samples of a span: agent, bytes.
    ///
    /// # Errors
    /// What the engine says of a damaged file.
    pub fn each(
        &self,
        agent: Option<u32>,
        from_unix_ms: i64,
        to_unix_ms: i64,
        show: impl FnMut(u32, &[u8]),
    ) -> rusqlite::Result<()> {
        each(&self.connection, agent, from_unix_ms, to_unix_ms, show)
    }

    pub(crate) fn sealed(&self) -> rusqlite::Result<BTreeMap<u32, i64>> {
        sealed(&self.connection)
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }
}

/// Copies the file of a day as it is at one moment into a new one, as far as row `upto` of the inbox goes: what was sealed beyond
/// it is left out, since the inbox of that moment still has it. The writer is not held up.
///
/// # Errors
/// What the engine says, on a full disk for example; a copy that was begun stays where it is.
pub fn copy_day(from: &Path, to: &Path, upto: i64) -> rusqlite::Result<()> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let source = Connection::open_with_flags(from, flags)?;
    source.busy_timeout(BUSY)?;
    version(&source)?;
    source.execute("VACUUM INTO ?1", [to.to_string_lossy()])?;
    let mut copy = Connection::open_with_flags(to, flags)?;
    let tx = copy.transaction()?;
    tx.execute("DELETE FROM chunk WHERE inbox > ?1", [upto])?;
    tx.execute_batch(
        "DELETE FROM sealed; INSERT INTO sealed SELECT agent, max(inbox) FROM chunk GROUP BY agent;",
    )?;
    tx.commit()
}

/// The file of a day, to write.
#[derive(Debug)]
pub(crate) struct DayFile {
    connection: Connection,
}

impl DayFile {
    /// Opens or makes it.
    pub(crate) fn open(path: &Path) -> rusqlite::Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(BUSY)?;
        connection.pragma_update(None, "page_size", PAGE_BYTES)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        if version(&connection)? == 0 {
            let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            tx.execute_batch(SCHEMA)?;
            tx.pragma_update(None, "user_version", VERSION)?;
            tx.commit()?;
        }
        Ok(Self { connection })
    }

    /// Writes chunks, and that they have their agents' samples up to a row of the inbox; synced when it returns.
    pub(crate) fn put(&mut self, chunks: &[Stored], inbox: i64) -> rusqlite::Result<()> {
        let tx = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        {
            let mut chunk =
                tx.prepare_cached("INSERT INTO chunk VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
            let mut sealed = tx.prepare_cached(
                "INSERT INTO sealed VALUES (?1, ?2) ON CONFLICT (agent) DO UPDATE SET inbox = max(inbox, excluded.inbox)",
            )?;
            for one in chunks {
                let rows = i64::try_from(one.rows).unwrap_or(i64::MAX);
                chunk.execute(params![
                    one.agent,
                    one.from_unix_ms,
                    one.to_unix_ms,
                    rows,
                    inbox,
                    one.bytes
                ])?;
                sealed.execute(params![one.agent, inbox])?;
            }
        }
        tx.commit()
    }

    /// Up to which row of the inbox each agent's samples are in chunks.
    pub(crate) fn sealed(&self) -> rusqlite::Result<BTreeMap<u32, i64>> {
        sealed(&self.connection)
    }

    /// Brings the log into the file: a finished day is one file.
    pub(crate) fn settle(&self) -> rusqlite::Result<()> {
        self.connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
    }
}

/// Up to which row of the inbox each agent's samples are in chunks.
pub(crate) fn sealed(connection: &Connection) -> rusqlite::Result<BTreeMap<u32, i64>> {
    let mut select = connection.prepare_cached("SELECT agent, inbox FROM sealed")?;
    let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.collect()
}

/// Shows the chunks of one agent, or of all, that have samples of a span: agent, bytes.
pub(crate) fn each(
    connection: &Connection,
    agent: Option<u32>,
    from_unix_ms: i64,
    to_unix_ms: i64,
    mut show: impl FnMut(u32, &[u8]),
) -> rusqlite::Result<()> {
    let sql = if agent.is_some() {
        "SELECT agent, bytes FROM chunk WHERE from_unix_ms < ?2 AND to_unix_ms >= ?1 AND agent = ?3"
    } else if to_unix_ms.saturating_sub(from_unix_ms) < SHORT_MS {
        "SELECT agent, bytes FROM chunk WHERE ?3 IS NULL AND rowid IN
             (SELECT rowid FROM chunk INDEXED BY chunk_of_agent WHERE from_unix_ms < ?2 AND to_unix_ms >= ?1)"
    } else {
        // In the order of the file: as fast as the disk gives it.
        "SELECT agent, bytes FROM chunk NOT INDEXED WHERE from_unix_ms < ?2 AND to_unix_ms >= ?1 AND ?3 IS NULL"
    };
    let mut select = connection.prepare_cached(sql)?;
    let mut rows = select.query(params![from_unix_ms, to_unix_ms, agent])?;
    while let Some(row) = rows.next()? {
        show(row.get(0)?, row.get_ref(1)?.as_blob()?);
    }
    Ok(())
}

/// The schema of a file; an error if it is no database, or one of a later program.
fn version(connection: &Connection) -> rusqlite::Result<u32> {
    let found = connection.pragma_query_value(None, "user_version", |row| row.get::<_, u32>(0))?;
    if found > VERSION {
        let text = format!("the file has version {found}, this program knows up to {VERSION}");
        return Err(rusqlite::Error::ToSqlConversionFailure(text.into()));
    }
    Ok(found)
}

/// The file and what the engine keeps beside it.
pub(crate) fn with_companions(path: &Path) -> [PathBuf; 3] {
    ["", "-wal", "-shm"].map(|end| {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        PathBuf::from(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_has_one_file_name_and_back() {
        for (day, name) in [
            (0, "samples-1970-01-01.db"),
            (20_780, "samples-2026-11-23.db"),
            (-1, "samples-1969-12-31.db"),
        ] {
            assert_eq!(DayNumber(day).file_name().as_deref(), Some(name));
            assert_eq!(DayNumber::of_file_name(name), Some(DayNumber(day)));
        }
        assert_eq!(DayNumber(i64::MAX / 2).file_name(), None);
        for name in ["samples-.db", "firstmile.db", "samples-2026-11-23.db-wal"] {
            assert_eq!(DayNumber::of_file_name(name), None, "{name}");
        }
        assert_eq!(DayNumber::of(-1), DayNumber(-1));
        assert_eq!(DayNumber::of(DAY_MS), DayNumber(1));
    }
}
